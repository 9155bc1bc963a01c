// @TYPE@: squared distance between the probabilities and the shares of a (mixed) label.
//
// Formula  mean over samples of sum over classes (softmax(logits) - share)^2, the Brier score.
// Source   say here where it comes from: paper, equation.
// Input    logits [N, K]; labels or a mix's target. Output: a scalar in [0, 2].

#include <admix.hpp>

struct @TYPE@ : admix::Loss {
  static constexpr admix::About about{"@NAME@", "@TYPE@", "squared distance between probabilities and shares",
                                      "paper, equation"};
  double scale = 1.0;

  void settings(admix::Settings& s) override {
    s.number("scale", scale, "The value is multiplied by this.", 0.001, 1000);
  }

  // What a method passes, in this order: a tensor by name, and labels or a mix's target.
  std::vector<std::string> arguments() const override { return {"logits", "target"}; }

  at::Tensor loss(const admix::LossInput& in) override {
    at::Tensor logits = in["logits"];
    if (logits.scalar_type() != at::kDouble) logits = logits.to(at::kFloat);
    const at::Tensor probabilities = logits.softmax(1);
    const at::Tensor target =
        at::zeros_like(probabilities).scatter_add(1, in.labels(), in.shares().to(probabilities.scalar_type()));
    return scale * (probabilities - target).square().sum(1).mean();
  }
};

ADMIX_PLUGINS(@TYPE@)
