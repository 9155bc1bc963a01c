// Plugins that do what a plugin must not do, one thing at a time, and one that shows what the SDK hands over.
// For tests alone.

#include <admix.hpp>

#include <c10/core/GradMode.h>

#include <stdexcept>

enum class Fault {
  None, Throws, ThrowsAnything, Torch, NaN, Shape, Shares, Draws, Writes, Empty, Kind, GradOff, Create, Plan, Partners,
  DrawsInCreate, Half, Missing, AfterStep, Lines,
  Device, Train, HiddenImages, HiddenMask, HiddenStage,
};

struct Misbehaving : admix::Mixer {
  static constexpr admix::About about{"misbehaving", "Misbehaving", "breaks one rule", "tests/plugins"};
  Fault fault = Fault::None;
  int64_t after = 0, mixes = 0;

  void settings(admix::Settings& s) override {
    s.choice<Fault>("fault", fault,
                    {{"None", Fault::None},
                     {"Throws", Fault::Throws},
                     {"ThrowsAnything", Fault::ThrowsAnything},
                     {"Torch", Fault::Torch},
                     {"NaN", Fault::NaN},
                     {"Shape", Fault::Shape},
                     {"Shares", Fault::Shares},
                     {"Draws", Fault::Draws},
                     {"Writes", Fault::Writes},
                     {"Empty", Fault::Empty},
                     {"Kind", Fault::Kind},
                     {"GradOff", Fault::GradOff},
                     {"Create", Fault::Create},
                     {"Plan", Fault::Plan},
                     {"Partners", Fault::Partners},
                     {"DrawsInCreate", Fault::DrawsInCreate},
                     {"Half", Fault::Half},
                     {"Missing", Fault::Missing},
                     {"AfterStep", Fault::AfterStep},
                     {"Lines", Fault::Lines},
                     {"Device", Fault::Device},
                     {"Train", Fault::Train},
                     {"HiddenImages", Fault::HiddenImages},
                     {"HiddenMask", Fault::HiddenMask},
                     {"HiddenStage", Fault::HiddenStage}},
                    "Which rule.");
    s.whole("after", after, "Mixes of an instance before the rule is broken.", 0, 1000);
  }

  admix::Needs needs() const override {
    admix::Needs all;
    all.hidden = 2;
    return all;
  }

  void build(admix::Build&) override {
    if (fault == Fault::Create) throw std::runtime_error("no room for the mask");
    if (fault == Fault::DrawsInCreate) at::rand({2});
  }

  void plan(const admix::Ask& ask, admix::Draws&, admix::Plan& plan) override {
    if (fault == Fault::Plan) throw admix::Error("nothing to plan with");
    plan.draw();
    if (fault == Fault::Partners) plan.wholes("partner", std::vector<int64_t>(ask.batch(), ask.batch()));
  }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    at::Tensor images = in.images();
    const at::Tensor partner = plan.partner(), lambda = plan.lambda();
    const auto lerp = [&](const at::Tensor& own) { return at::lerp(in.partners(partner), own, admix::over_images(lambda)); };
    at::Tensor mixed = lerp(images);
    const Fault now = mixes++ < after ? Fault::None : fault;
    switch (now) {
      case Fault::Throws: throw std::runtime_error("the blade is dull");
      case Fault::ThrowsAnything: throw 7;
      case Fault::Lines: throw std::runtime_error("the first line\nthe second line");
      case Fault::Torch: mixed = images.reshape({7, -1, 13}); break;
      case Fault::NaN: mixed = mixed * std::numeric_limits<double>::quiet_NaN(); break;
      case Fault::Shape: mixed = mixed.narrow(2, 0, 1); break;
      case Fault::Draws: mixed = mixed + at::rand({}); break;
      case Fault::Writes: images.add_(1); break;
      case Fault::Empty: mixed = at::Tensor(); break;
      case Fault::Kind: mixed = mixed.to(at::kLong); break;
      case Fault::GradOff: c10::GradMode::set_enabled(false); break;
      case Fault::Device: mixed = at::empty_like(images, at::device(at::kMeta)); break;
      case Fault::Missing: mixed = mixed + plan["angle"]; break;
      default: break;
    }
    if (now == Fault::Shares || now == Fault::Half) {
      const at::Tensor own = at::arange(images.size(0), partner.options());
      const at::Tensor shares = at::full({images.size(0), 2}, 0.7, images.options());
      return admix::Mixed::shares(mixed, at::stack({own, partner}, 1), now == Fault::Half ? at::Tensor() : shares);
    }
    const at::Tensor share = lambda.reshape({-1, 1, 1, 1});
    if (now == Fault::HiddenMask) return admix::Mixed::hidden(1, share.expand({1, 1, 1, 2}), partner, lambda);
    if (now == Fault::HiddenStage) return admix::Mixed::hidden(3, share, partner, lambda);
    if (now == Fault::HiddenImages) {
      admix::Mixed hidden = admix::Mixed::hidden(1, share, partner, lambda);
      hidden.images = mixed;
      return hidden;
    }
    return admix::Mixed::pair(mixed, partner, lambda);
  }

  void train(bool) override {
    if (fault == Fault::Train) throw std::runtime_error("no such mode");
  }

  void after_step() override {
    if (fault == Fault::AfterStep && mixes > after) throw std::runtime_error("no way back");
  }
};

// ManifoldMix, stage by stage as the bundled one.
struct Deep : admix::Mixer {
  static constexpr admix::About about{"deep", "Deep", "mixes the maps of a stage", "arXiv:1806.05236"};

  admix::Needs needs() const override {
    admix::Needs all;
    all.hidden = 2;
    return all;
  }

  void plan(const admix::Ask&, admix::Draws& draws, admix::Plan& plan) override {
    plan.draw();
    plan.structure(static_cast<uint64_t>(draws.choice(3)));
  }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const at::Tensor partner = plan.partner(), lambda = plan.lambda();
    if (const auto stage = static_cast<int64_t>(plan.structure())) {
      return admix::Mixed::hidden(stage, lambda.reshape({-1, 1, 1, 1}), partner, lambda);
    }
    return admix::Mixed::pair(at::lerp(in.partners(partner), in.images(), admix::over_images(lambda)), partner, lambda);
  }
};

// The same in a way of its own: what it makes of a map outlives `mix`.
struct DeepMap : Deep {
  static constexpr admix::About about{"deep_map", "DeepMap", "mixes the maps of a stage itself", "arXiv:1806.05236"};
  bool flat = false;

  void settings(admix::Settings& s) override { s.flag("flat", flat, "Whether it returns maps of another shape."); }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const auto stage = static_cast<int64_t>(plan.structure());
    if (!stage) return Deep::mix(in, plan);
    const at::Tensor partner = plan.partner(), lambda = plan.lambda();
    const auto blend = [lambda, flat = flat](const at::Tensor& own, const at::Tensor& partners) {
      return flat ? own.flatten(1) : at::lerp(partners, own, lambda.reshape({-1, 1, 1, 1}).to(own.scalar_type()));
    };
    return admix::Mixed::hidden_map(stage, blend, partner, lambda);
  }
};

// With a parameter in what it makes of maps.
struct LearnedMap : DeepMap {
  static constexpr admix::About about{"learned_map", "LearnedMap", "mixes maps by a parameter", "tests/plugins"};
  at::Tensor gain;

  void build(admix::Build& b) override { gain = b.parameter("gain", {1}, admix::normal(0.5), false); }

  void plan(const admix::Ask&, admix::Draws& draws, admix::Plan& plan) override {
    plan.draw();
    plan.structure(static_cast<uint64_t>(1 + draws.choice(2)));
  }

  admix::Mixed mix(const admix::Input&, const admix::Planned& plan) override {
    const auto stage = static_cast<int64_t>(plan.structure());
    const auto blend = [gain = gain](const at::Tensor& own, const at::Tensor& partners) {
      return at::lerp(partners, own, at::sigmoid(gain).reshape({1, 1, 1, 1}).to(own.scalar_type()));
    };
    return admix::Mixed::hidden_map(stage, blend, plan.partner(), plan.lambda());
  }
};

// Keeps a running mean of the images in a buffer, and pulls images towards it.
struct Running : admix::Mixer {
  static constexpr admix::About about{"running", "Running", "pulls images towards their running mean", "tests/plugins"};
  at::Tensor seen;

  void build(admix::Build& b) override { seen = b.buffer("seen", {}); }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const at::Tensor images = in.images(), partner = plan.partner(), lambda = plan.lambda();
    const at::Tensor before = seen.clone();
    {
      const at::NoGradGuard off;
      seen.mul_(0.9).add_(images.mean().to(at::kFloat), 0.1);
    }
    const at::Tensor share = admix::over_images(lambda).to(images.scalar_type());
    const at::Tensor mixed = share * images + (1 - share) * in.partners(partner);
    return admix::Mixed::pair(mixed + 0.1 * before.to(images.scalar_type()), partner, lambda);
  }
};

// The own image, with weights that do not sum to 1.
struct Weighted : admix::Mixer {
  static constexpr admix::About about{"weighted", "Weighted", "weighs the own label", "tests/plugins"};
  double weight = 0.5;

  void settings(admix::Settings& s) override { s.number("weight", weight, "Of each label.", -1, 1); }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const at::Tensor partner = plan.partner();
    const at::Tensor own = at::arange(partner.size(0), partner.options());
    const at::Tensor weights = at::full({partner.size(0), 2}, weight, in.images().options().dtype(at::kFloat));
    return admix::Mixed::weighted(in.images().clone(), at::stack({own, partner}, 1), weights);
  }
};

// Every kind of setting, and what the host hands over, as extras of its mix.
struct Probe : admix::Mixer {
  static constexpr admix::About about{
      "probe", "Probe", "shows what it is given", "tests/plugins", {0.5, admix::Per::Sample, true, admix::Partner::Flip}};
  enum class Form { Round, Square };
  double number = 0.25;
  int64_t whole = -3;
  bool flag = true;
  std::string text = "a \"quoted\" \\ line\nand another, \xc3\xa4";
  Form form = Form::Square;
  at::Tensor weight, counter, adopted, data;

  void settings(admix::Settings& s) override {
    s.number("number", number, "A number, in pixels.", 0, 1);
    s.whole("whole", whole, "A whole number.");
    s.flag("flag", flag, "A \"switch\".");
    s.text("text", text, "A text.");
    s.choice<Form>("form", form, {{"Round", Form::Round}, {"Square", Form::Square}}, "A choice.");
  }

  void check() const override {
    if (whole == 13 && flag) throw admix::BadSetting("whole", "is 13, which needs `flag: false`");
  }

  void build(admix::Build& b) override {
    {
      admix::KeepGenerator keep;
      at::rand({3});
    }
    weight = b.parameter("inner.weight", {2, 3}, admix::he());
    counter = b.buffer("counter", {}, 5.0);
    adopted = at::full({2}, 0.5, at::device(b.device()));
    b.adopt("adopted", adopted);
    std::vector<double> facts = b.mean();
    for (double one : b.deviation()) facts.push_back(one);
    facts.push_back(static_cast<double>(b.classes()));
    data = at::tensor(facts);
    if (text == "twice") b.parameter("inner.weight", {1}, admix::constant(0));
  }

  void plan(const admix::Ask& ask, admix::Draws& draws, admix::Plan& plan) override {
    plan.draw();
    plan.whole("key", draws.field());
    plan.number("uniform", draws.uniform());
    plan.number("normal", draws.normal());
    plan.number("beta", draws.beta(2, 3));
    plan.whole("choice", draws.choice(10));
    plan.wholes("permutation", draws.permutation(6));
    plan.wholes("derangement", draws.derangement(6));
    plan.wholes("size", {ask.batch(), ask.height(), ask.width(), ask.quiet(), ask.per_sample()});
    plan.structure(42);
  }

  admix::Mixed mix(const admix::Input& in, const admix::Planned& plan) override {
    const auto n = in.images().size(0);
    auto made = admix::Mixed::pair(in.images().clone(), plan.partner(), plan.lambda())
                    .with("field", admix::uniform_field(plan["key"], {n, 3, 7}))
                    .with("weight", weight)
                    .with("data", data)
                    .with("settings", at::tensor({number, static_cast<double>(whole), flag ? 1.0 : 0.0,
                                                  static_cast<double>(text.size()),
                                                  form == Form::Round ? 0.0 : 1.0}));
    return made;
  }

  void train(bool on) override { counter.fill_(on ? 1 : 2); }
  void after_step() override { weight.clamp_(-0.01, 0.01); }
};

ADMIX_PLUGINS(Misbehaving, Deep, DeepMap, LearnedMap, Running, Weighted, Probe)
