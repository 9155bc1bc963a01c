// @TYPE@: the top of the image is its own, the rest its partner's; labels by area.
//
// Source  say here where it comes from: paper, equation.
// Input   images [N, C, H, W], floating.
// Output  images, same shape and kind; the mask [N, 1, H, W]; the label is credited with the area seen.

#include <admix.hpp>

struct @TYPE@ : admix::Mixer {
  static constexpr admix::About about{"@NAME@", "@TYPE@", "the top of one image over the bottom of another",
                                      "paper, equation"};
  bool upside_down = false;

  void settings(admix::Settings& s) override {
    s.flag("upside_down", upside_down, "Whether the own part is at the bottom instead.");
  }

  // Lambda and partners are drawn by the host and arrive in the plan. A policy with more to choose (boxes, coins)
  // overrides `plan` too.
  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const at::Tensor images = in.images(), partner = plan.partner();
    const auto samples = images.size(0), height = images.size(2), width = images.size(3);

    // Row i is the own image's where (i + 1/2) / H < lambda. Tensor operations only: nothing is read back.
    at::Tensor row = at::arange(height, images.options().dtype(at::kFloat)).reshape({1, 1, height, 1});
    if (upside_down) row = row.flip({2});
    const at::Tensor own = ((row + 0.5) / height < admix::over_images(plan.lambda())).expand({samples, 1, height, width});

    const at::Tensor mask = own.to(at::kFloat);
    const at::Tensor mixed = at::where(own, images, in.partners(partner));
    return admix::Mixed::pair(mixed, partner, mask.mean(at::IntArrayRef{1, 2, 3})).masked(mask);
  }
};

ADMIX_PLUGINS(@TYPE@)
