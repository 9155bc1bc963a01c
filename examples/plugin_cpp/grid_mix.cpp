// GridMix: the image is cut into a grid, and some of its cells are the partner's.
//
// Source  written for this example; CutMix (Yun et al., ICCV 2019) with scattered cells in place of one box.
// Input   images [N, C, H, W], floating.
// Output  images, same shape and kind; mask [N, 1, H, W] of zeros and ones; the label is credited with the share of
//         pixels that stay the own image's, also where the height or width is no multiple of `cells`.
// Plan    `lambda`, `partner` as drawn; `own` a 1 for each cell that stays (row by row; with one lambda for each
//         sample, sample by sample), else 0; `credit` the area that stays.
// Never changes its input, reads nothing back from the device.

#include <admix.hpp>

#include <cmath>
#include <vector>

struct GridMix : admix::Mixer {
  static constexpr admix::About about{"grid_mix", "GridMix", "give scattered cells of a grid to the partner",
                                      "an example; after CutMix, arXiv:1905.04899"};
  int64_t cells = 4;

  void settings(admix::Settings& s) override {
    s.whole("cells", cells, "Cells along each side of the image.", 1, 32);
  }

  void plan(const admix::Ask& ask, admix::Draws& draws, admix::Plan& plan) override {
    plan.draw();
    const auto rows = lengths(ask.height()), columns = lengths(ask.width());
    const double pixels = static_cast<double>(ask.height() * ask.width());
    std::vector<double> own, credit;
    for (double lambda : plan.lambdas()) {
      // Cells in a drawn order go to the partner, until the next would bring the own share away from lambda.
      const size_t first = own.size();
      own.resize(first + cells * cells, 1.0);
      double share = 1.0;
      for (int64_t cell : draws.permutation(cells * cells)) {
        const double less = share - rows[cell / cells] * columns[cell % cells] / pixels;
        if (std::abs(less - lambda) > std::abs(share - lambda)) break;
        own[first + cell] = 0.0;
        share = less;
      }
      credit.push_back(share);
    }
    plan.numbers("own", own);
    if (ask.per_sample()) plan.numbers("credit", credit);
    else plan.number("credit", credit.front());
  }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const at::Tensor images = in.images(), partner = plan.partner();
    const auto height = images.size(2), width = images.size(3);
    // [1 or N, 1, cells, cells], then the cell of each row and column: [1 or N, 1, H, W].
    const at::Tensor grid = plan["own"].reshape({-1, 1, cells, cells});
    const at::Tensor mask = grid.index_select(2, cell_of(height, images)).index_select(3, cell_of(width, images));
    const at::Tensor mixed = at::where(mask > 0.5, images, in.partners(partner));
    return admix::Mixed::pair(mixed, partner, plan["credit"]).masked(mask.expand({images.size(0), 1, height, width}));
  }

 private:
  // The cell of each of `length` pixels: i * cells / length, rounded down.
  at::Tensor cell_of(int64_t length, const at::Tensor& like) const {
    const at::Tensor pixel = at::arange(length, like.options().dtype(at::kLong));
    return (pixel * cells).div(length, "floor");
  }

  // How many of `length` pixels each cell has, by the same rule.
  std::vector<double> lengths(int64_t length) const {
    std::vector<double> all(cells, 0.0);
    for (int64_t pixel = 0; pixel < length; ++pixel) all[pixel * cells / length] += 1.0;
    return all;
  }
};

ADMIX_PLUGINS(GridMix)
