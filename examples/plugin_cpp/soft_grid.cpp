// SoftGrid: a mixer that learns where images are kept, and a loss to train with it.
//
// SoftGrid     mask = sigmoid(log(lambda / (1 - lambda)) + z - mean(z)), z the logits of a grid of cells, interpolated
//              to the image's size. The only trained tensor is `logits`, [1, 1, cells, cells]. The label is credited
//              with the mean of the mask.
// SmoothFocal  mean over samples of sum_s share_s f(p_s), with f(p) = -(1 - p)^gamma log p, the shares smoothed:
//              (1 - smoothing) of each stays, the rest is spread over all classes.
// Source       written for this example; the focal factor is Lin et al., ICCV 2017, arXiv:1708.02002, Eq. 4.

#include <admix.hpp>

struct SoftGrid : admix::Mixer {
  static constexpr admix::About about{"soft_grid", "SoftGrid", "learn a soft mask on a grid of cells",
                                      "an example", {2.0}};
  int64_t cells = 4;
  double spread = 0.1;
  double limit = 3.0;
  at::Tensor logits;

  void settings(admix::Settings& s) override {
    s.whole("cells", cells, "Cells along each side of the mask.", 1, 64);
    s.number("spread", spread, "Standard deviation of the logits at the start.", 0, 10);
    s.number("limit", limit, "Logits are kept in [-limit, limit].", 0.01, 100);
  }

  void build(admix::Build& b) override {
    // The host draws it from the run's seed, trains it and saves it; this is a handle on the same values.
    logits = b.parameter("logits", {1, 1, cells, cells}, admix::normal(spread), false);
  }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const at::Tensor images = in.images(), partner = plan.partner(), lambda = plan.lambda();
    const auto height = images.size(2), width = images.size(3);
    // A quiet mix is not learned from, so it has no graph.
    const at::Tensor z = in.quiet() ? logits.detach() : logits;
    const at::Tensor fine = at::upsample_bilinear2d(z - z.mean(), {height, width}, false);
    // [1 or N, 1, H, W].
    const at::Tensor mask = at::sigmoid(admix::over_images(lambda).logit(1e-4) + fine);
    const at::Tensor mixed = at::lerp(in.partners(partner), images, mask.to(images.scalar_type()).expand_as(images));
    const at::Tensor area = mask.detach().mean({1, 2, 3});
    return admix::Mixed::pair(mixed, partner, lambda.dim() == 0 ? area.reshape({}) : area)
        .masked(mask.expand({images.size(0), 1, height, width}));
  }

  void after_step() override { logits.clamp_(-limit, limit); }
};

struct SmoothFocal : admix::Loss {
  static constexpr admix::About about{"smooth_focal", "SmoothFocal", "focal cross-entropy with smoothed labels",
                                      "an example; the focal factor is Lin et al., arXiv:1708.02002, Eq. 4"};
  double gamma = 2.0;
  double smoothing = 0.1;

  void settings(admix::Settings& s) override {
    s.number("gamma", gamma, "How much less the well-classified count; 0 is cross-entropy.", 0, 10);
    s.number("smoothing", smoothing, "Share of a label that is spread over all classes.", 0, 1);
  }

  std::vector<std::string> arguments() const override { return {"logits", "target"}; }

  at::Tensor loss(const admix::LossInput& in) override {
    // Half precision is too coarse for a sum over classes; float64 stays.
    const at::Tensor wide = in["logits"].to(at::promote_types(in["logits"].scalar_type(), at::kFloat));
    const at::Tensor log_p = wide.log_softmax(1);
    // The clamp keeps the gradient of the power finite where p rounds to 1.
    const at::Tensor rest = (1 - log_p.exp()).clamp_min(1e-6);
    const at::Tensor focal = -(rest.pow(gamma) * log_p);
    const at::Tensor hit = (focal.gather(1, in.labels()) * in.shares()).sum(1);
    return ((1 - smoothing) * hit + smoothing * focal.mean(1)).mean();
  }
};

ADMIX_PLUGINS(SoftGrid, SmoothFocal)
