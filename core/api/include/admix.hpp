/*
 * Admix plugins in C++17: one header over `admix.h`, nothing to link but libtorch.
 *
 * A plugin is a class derived from `admix::Mixer` or `admix::Loss` with a constant `about`; `ADMIX_PLUGINS(A, B)` at
 * the end of one file of the library exports them. Compile with -DNDEBUG -fPIC -shared -fvisibility=hidden.
 *
 * Every function of a plugin may throw: `admix::Error`, `admix::BadSetting`, libtorch's errors or any other exception
 * reach the user as one line that names the plugin and the library.
 */
#ifndef ADMIX_HPP
#define ADMIX_HPP

#ifndef NDEBUG
/* Some classes of libtorch have a member more without NDEBUG (ATen/record_function.h, the dispatcher), so code built
 * without it would disagree with the library about their layout. */
#error "compile plugins with -DNDEBUG, as libtorch was built: without it some of its classes have another layout"
#endif

#include "admix.h"

#include <ATen/ATen.h>
#include <torch/headeronly/version.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <locale>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

/** Name and version of the library, as `admix plugins` shows them. By default the name of the file that holds
 * `ADMIX_PLUGINS`, and "0.0.0". Define both before the include, or with -D. */
#ifndef ADMIX_VERSION
#define ADMIX_VERSION "0.0.0"
#endif

/* Whether a structure of the host, which may be older than this header, holds this field. */
#define ADMIX_HAS_(from, field)                                                                                      \
  ((from)->size >= static_cast<size_t>(reinterpret_cast<const char*>(&(from)->field) -                               \
                                       reinterpret_cast<const char*>(from)) +                                        \
                       sizeof((from)->field))

/* Hidden: two libraries that both hold this header, perhaps of two versions, must not share its functions' constants. */
namespace admix __attribute__((visibility("hidden"))) {

using at::Tensor;

/** A failure of a plugin. The message is one line: what is wrong and what to do. */
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** A setting that is refused. The message goes on after its name: "is 0, expected a whole number from 1 to 64". */
struct BadSetting : Error {
  /** Which setting. */
  std::string setting;
  BadSetting(std::string name, const std::string& message) : Error(message), setting(std::move(name)) {}
};

/** How lambda is drawn: once for a batch, or for each sample. */
enum class Per : uint32_t { Batch = ADMIX_PER_BATCH, Sample = ADMIX_PER_SAMPLE };

/** How partners are chosen: any permutation, one without fixed points, N - 1 - i, or one without fixed points in which
 * a share of the samples meet one of their own pseudo label. */
enum class Partner : uint32_t {
  Permutation = ADMIX_PERMUTATION,
  Derangement = ADMIX_DERANGEMENT,
  Flip = ADMIX_FLIP,
  ClusterAware = ADMIX_CLUSTER_AWARE
};

/** The settings that the host serves for every mixer. A plugin only gives their defaults. */
struct Pairing {
  /** lambda ~ Beta(alpha, alpha); above 0. */
  double alpha = 1.0;
  Per per = Per::Batch;
  /** max(lambda, 1 - lambda). */
  bool fold = false;
  Partner partner = Partner::Permutation;
  /** Of `ClusterAware`, in [0, 1]. */
  double share = 0.5;
};

/** What a plugin says of itself: `static constexpr admix::About about{...};`. */
struct About {
  /** The name in scripts and messages: "grid_mix". */
  const char* name;
  /** The name in recipes: "GridMix". */
  const char* type_name;
  /** One line. */
  const char* summary;
  /** The paper and equation it comes from. */
  const char* source;
  /** Defaults of the settings that the host serves. Mixers only. */
  Pairing pairing = {};
};

/** What a mixer reads beside the images. */
struct Needs {
  /** The feature map of this stage of a network, from 1; 0 for none. */
  int64_t features = 0;
  /** A saliency map, [N, H, W]. */
  bool saliency = false;
  /** Pseudo labels, [N] int64. */
  bool pseudo = false;
  /** A mix can be replayed from a captured graph: nothing is read back, no shape depends on data. */
  bool capturable = true;
  /** A part of the work runs on the host. */
  bool host_solver = false;
  /** The deepest stage at whose output a mix may happen, from 1; 0 where images alone are mixed. */
  int64_t hidden = 0;
  /** Images to show in place of those that it looks at are taken, where some are given. See Input::shown. */
  bool shown = false;
};

namespace detail {

inline admix_text text(const char* from, size_t size) { return admix_text{from, size}; }
inline admix_text text(const std::string& from) { return admix_text{from.data(), from.size()}; }
inline std::string string(admix_text from) { return from.size ? std::string(from.data, from.size) : std::string(); }

/* Writes without the user's locale, which may have decimal commas. */
template <class T>
std::string plain(T value, int precision = 6) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(precision);
  out << value;
  return out.str();
}

/* The shortest decimal that reads back as the same double. */
inline std::string shortest(double value) {
  for (int precision = 6; precision < 17; ++precision) {
    std::string text = plain(value, precision);
    std::istringstream in(text);
    in.imbue(std::locale::classic());
    double back = 0;
    if (in >> back && back == value) return text;
  }
  return plain(value, 17);
}

/* A number as JSON that stays a float: 2 becomes 2.0. */
inline std::string json(double value) {
  std::string text = shortest(value);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

inline std::string json(const std::string& text) {
  static const char* const digits = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += digits[c >> 4];
      out += digits[c & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

/* A value of a flat JSON object. Numbers, `true`, `false` and `null` keep their text. */
struct Json {
  enum Kind { Number, Flag, Text, Null, Other } kind = Null;
  std::string text;
  bool used = false;
};

using Object = std::vector<std::pair<std::string, Json>>;

/* Reads one JSON object whose values are plain. Lists and objects within are kept as `Other`. */
class Reader {
 public:
  explicit Reader(const std::string& from) : at_(from.data()), end_(from.data() + from.size()) {}

  Object object() {
    Object all;
    blank();
    if (at_ == end_) return all;
    take('{');
    blank();
    if (next() == '}') return all;
    for (;;) {
      blank();
      std::string name = quoted();
      blank();
      take(':');
      blank();
      Json found = value();
      all.emplace_back(std::move(name), std::move(found));
      blank();
      if (next() != ',') break;
      ++at_;
    }
    take('}');
    return all;
  }

 private:
  [[noreturn]] static void broken() { throw Error("the settings are not a JSON object"); }
  char next() const { return at_ < end_ ? *at_ : '\0'; }
  void take(char wanted) {
    if (next() != wanted) broken();
    ++at_;
  }
  void blank() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) ++at_;
  }

  unsigned hex4() {
    unsigned code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = next();
      if (c >= '0' && c <= '9') code = code * 16 + static_cast<unsigned>(c - '0');
      else if (c >= 'a' && c <= 'f') code = code * 16 + static_cast<unsigned>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') code = code * 16 + static_cast<unsigned>(c - 'A' + 10);
      else broken();
    }
    return code;
  }

  static void utf8(std::string& out, unsigned code) {
    const auto put = [&out](unsigned byte) { out += static_cast<char>(byte); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xc0 | (code >> 6)), put(0x80 | (code & 63));
    } else if (code < 0x10000) {
      put(0xe0 | (code >> 12)), put(0x80 | ((code >> 6) & 63)), put(0x80 | (code & 63));
    } else {
      put(0xf0 | (code >> 18)), put(0x80 | ((code >> 12) & 63)), put(0x80 | ((code >> 6) & 63));
      put(0x80 | (code & 63));
    }
  }

  std::string quoted() {
    take('"');
    std::string out;
    while (next() != '"') {
      if (at_ == end_) broken();
      const char c = *at_++;
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escaped = next();
      ++at_;
      switch (escaped) {
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        case 'r': out += '\r'; break;
        case 'b': out += '\b'; break;
        case 'f': out += '\f'; break;
        case '"': case '\\': case '/': out += escaped; break;
        case 'u': {
          unsigned code = hex4();
          if (code >= 0xd800 && code < 0xdc00) {
            take('\\');
            take('u');
            code = 0x10000 + ((code - 0xd800) << 10) + (hex4() - 0xdc00);
          }
          utf8(out, code);
          break;
        }
        default: broken();
      }
    }
    ++at_;
    return out;
  }

  Json value() {
    Json found;
    const char first = next();
    if (first == '"') {
      found.kind = Json::Text;
      found.text = quoted();
    } else if (first == '{' || first == '[') {
      found.kind = Json::Other;
      found.text = "a list or an object";
      int depth = 0;
      do {
        const char c = next();
        if (c == '"') {
          quoted();
          continue;
        }
        if (at_ == end_) broken();
        depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
        ++at_;
      } while (depth > 0);
    } else {
      while (at_ < end_ && std::string(",}] \t\r\n").find(*at_) == std::string::npos) found.text += *at_++;
      const bool flag = found.text == "true" || found.text == "false";
      const bool number = first == '-' || (first >= '0' && first <= '9');
      if (!flag && !number && found.text != "null") broken();
      found.kind = flag ? Json::Flag : number ? Json::Number : Json::Null;
    }
    return found;
  }

  const char* at_;
  const char* end_;
};

}  // namespace detail

/** The settings of a plugin. Each call in `settings(Settings&)` names one: it documents it, gives its default (the
 * value that the member has), its range, reads it and checks it. */
class Settings {
 public:
  /** A number from `least` to `most`. Name the unit in `doc`. */
  void number(const char* name, double& value, const char* doc, double least = -kNone, double most = kNone) {
    const std::string wanted = "a number" + range(least, most);
    describe(name, doc, "number", detail::json(value), limits(least, most, [](double v) { return detail::json(v); }));
    if (const detail::Json* given = find(name)) {
      double read = 0;
      if (given->kind != detail::Json::Number || !parse(given->text, read) || !(read >= least && read <= most)) {
        refuse(name, *given, wanted);
      }
      value = read;
    }
    resolve(name, detail::json(value));
  }

  /** A whole number from `least` to `most`. */
  void whole(const char* name, int64_t& value, const char* doc, int64_t least = kLeast, int64_t most = kMost) {
    const double low = least == kLeast ? -kNone : static_cast<double>(least);
    const double high = most == kMost ? kNone : static_cast<double>(most);
    const auto plain = [](double v) { return std::to_string(static_cast<int64_t>(v)); };
    describe(name, doc, "integer", std::to_string(value), limits(low, high, plain));
    if (const detail::Json* given = find(name)) {
      int64_t read = 0;
      if (given->kind != detail::Json::Number || !parse(given->text, read) || read < least || read > most) {
        refuse(name, *given, "a whole number" + range(low, high));
      }
      value = read;
    }
    resolve(name, std::to_string(value));
  }

  /** Yes or no. */
  void flag(const char* name, bool& value, const char* doc) {
    const auto plain = [](bool v) { return std::string(v ? "true" : "false"); };
    describe(name, doc, "boolean", plain(value), "");
    if (const detail::Json* given = find(name)) {
      if (given->kind != detail::Json::Flag) refuse(name, *given, "true or false");
      value = given->text == "true";
    }
    resolve(name, plain(value));
  }

  /** Any text. */
  void text(const char* name, std::string& value, const char* doc) {
    describe(name, doc, "string", detail::json(value), "");
    if (const detail::Json* given = find(name)) {
      if (given->kind != detail::Json::Text) refuse(name, *given, "a text in quotes");
      value = given->text;
    }
    resolve(name, detail::json(value));
  }

  /** One of several names: `s.choice("shape", shape, {{"Square", Shape::Square}, {"Round", Shape::Round}}, "...")`. */
  template <class E>
  void choice(const char* name, E& value, std::initializer_list<std::pair<const char*, E>> names, const char* doc) {
    std::string all, wanted;
    for (const auto& [one, meaning] : names) {
      (void)meaning;
      all += (all.empty() ? "" : ",") + detail::json(std::string(one));
      wanted += (wanted.empty() ? "one of " : ", ") + std::string(one);
    }
    const auto written = [&names](E of) {
      for (const auto& [one, meaning] : names) {
        if (meaning == of) return detail::json(std::string(one));
      }
      throw Error("a choice whose default has no name: add it to the list of names");
    };
    describe(name, doc, "string", written(value), ",\"enum\":[" + all + "]");
    if (const detail::Json* given = find(name)) {
      const std::pair<const char*, E>* found = nullptr;
      for (const auto& one : names) {
        if (given->kind == detail::Json::Text && given->text == one.first) found = &one;
      }
      if (!found) refuse(name, *given, wanted);
      value = found->second;
    }
    resolve(name, written(value));
  }

  /** For the glue below: settings as given, JSON. */
  explicit Settings(const std::string& given) : given_(detail::Reader(given).object()) {}
  /** For the glue below: refuses what no call has named. */
  void finish() const {
    for (const auto& [name, value] : given_) {
      if (!value.used) throw BadSetting(name, "is no setting of this plugin; it has " + (names_.empty() ? "none" : names_));
    }
  }
  /** For the glue below: JSON Schema. */
  std::string schema() const {
    return "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{" + schema_ + "}}";
  }
  /** For the glue below: the settings in full, as JSON. */
  std::string resolved() const { return "{" + resolved_ + "}"; }

 private:
  static constexpr double kNone = std::numeric_limits<double>::infinity();
  static constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  static constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

  static std::string range(double least, double most) {
    if (least > -kNone && most < kNone) return " from " + detail::shortest(least) + " to " + detail::shortest(most);
    if (least > -kNone) return ", " + detail::shortest(least) + " or more";
    if (most < kNone) return ", " + detail::shortest(most) + " or less";
    return "";
  }

  template <class Write>
  static std::string limits(double least, double most, Write write) {
    std::string out;
    if (least > -kNone) out += ",\"minimum\":" + write(least);
    if (most < kNone) out += ",\"maximum\":" + write(most);
    return out;
  }

  template <class T>
  static bool parse(const std::string& text, T& value) {
    std::istringstream in(text);
    in.imbue(std::locale::classic());
    return static_cast<bool>(in >> value) && in.peek() == std::istringstream::traits_type::eof();
  }

  void describe(const char* name, const char* doc, const char* type, const std::string& standard,
                const std::string& more) {
    if (!names_.empty()) schema_ += ",", resolved_ += ",", names_ += ", ";
    schema_ += detail::json(std::string(name)) + ":{\"type\":\"" + type + "\",\"description\":" +
               detail::json(std::string(doc)) + ",\"default\":" + standard + more + "}";
    names_ += name;
  }

  void resolve(const char* name, const std::string& value) {
    resolved_ += detail::json(std::string(name)) + ":" + value;
  }

  const detail::Json* find(const char* name) {
    for (auto& [have, value] : given_) {
      if (have == name) {
        value.used = true;
        return &value;
      }
    }
    return nullptr;
  }

  [[noreturn]] static void refuse(const char* name, const detail::Json& got, const std::string& wanted) {
    const std::string shown = got.kind == detail::Json::Text ? detail::json(got.text) : got.text;
    throw BadSetting(name, "is " + shown + ", expected " + wanted);
  }

  detail::Object given_;
  std::string schema_, resolved_, names_;
};

/** How a new parameter is filled. See `constant`, `normal`, `he` and `uniform`. */
struct Init {
  uint32_t kind;
  double value;
};
/** The same value everywhere. */
inline Init constant(double value) { return {ADMIX_INIT_CONSTANT, value}; }
/** Normal with mean 0 and this standard deviation. */
inline Init normal(double deviation) { return {ADMIX_INIT_NORMAL, deviation}; }
/** Normal after He et al. 2015, fan-out. Two dimensions or more. */
inline Init he() { return {ADMIX_INIT_HE_FAN_OUT, 0.0}; }
/** Uniform in [-bound, bound]. */
inline Init uniform(double bound) { return {ADMIX_INIT_UNIFORM, bound}; }

/** What an instance is built with. Valid during `build`. */
class Build {
 public:
  /** A trained tensor, filled from the run's seed and this name. The host optimises and saves it; its name is the key
   * in checkpoints. Keep the handle. */
  Tensor parameter(const std::string& name, at::IntArrayRef shape, Init init, bool weight_decay = true) {
    need(ADMIX_HAS_(from_, parameter) && from_->parameter, "parameter");
    return made([&](admix_tensor** out, const admix_errors* errors) {
      return from_->parameter(from_->host, detail::text(name), shape.data(), shape.size(), init.kind, init.value,
                              weight_decay, out, errors);
    });
  }

  /** A tensor that is saved but not trained, filled with `value`. All state that outlives a step belongs into
   * parameters and buffers. */
  Tensor buffer(const std::string& name, at::IntArrayRef shape, double value = 0.0) {
    need(ADMIX_HAS_(from_, buffer) && from_->buffer, "buffer");
    return made([&](admix_tensor** out, const admix_errors* errors) {
      return from_->buffer(from_->host, detail::text(name), shape.data(), shape.size(), value, out, errors);
    });
  }

  /** Hands the host a tensor that the plugin made, on `device()`: trained, or saved only. */
  void adopt(const std::string& name, const Tensor& tensor, bool trained = true, bool weight_decay = true) {
    need(ADMIX_HAS_(from_, adopt) && from_->adopt, "adopt");
    done([&](const admix_errors* errors) {
      return from_->adopt(from_->host, detail::text(name), reinterpret_cast<const admix_tensor*>(&tensor), trained,
                          weight_decay, errors);
    });
  }

  /** Hands the host the parameters and buffers of a `torch::nn` module (for a holder: `*linear`), moved to `device()`.
   * Modules that draw their initial values draw them from libtorch's generator, which no seed of a recipe reaches and
   * which the host refuses: see `KeepGenerator`. */
  template <class Module, class = decltype(std::declval<Module&>().named_parameters())>
  void adopt(const std::string& name, Module& module) {
    module.to(device());
    for (auto& one : module.named_parameters()) adopt(name + "." + one.key(), one.value(), true);
    for (auto& one : module.named_buffers()) adopt(name + "." + one.key(), one.value(), false);
  }

  /** Where tensors live. */
  at::Device device() const {
    if (!ADMIX_HAS_(from_, device_index) || from_->device_type != 1) return at::Device(at::kCPU);
    return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(from_->device_index));
  }

  /** Channels of the feature map that `needs` asked for; 0 for none. */
  int64_t feature_channels() const { return ADMIX_HAS_(from_, feature_channels) ? from_->feature_channels : 0; }

  /** Mean of each channel by which images are normalised, (pixel - mean) / std with pixels in [0, 1]; empty where images
   * are pixels as they are. */
  std::vector<double> mean() const { return numbers(&admix_build::mean); }
  /** Standard deviation of each channel, in the same way. */
  std::vector<double> deviation() const { return numbers(&admix_build::std); }

  /** Number of classes; 0 if unknown. */
  int64_t classes() const { return ADMIX_HAS_(from_, classes) ? from_->classes : 0; }

  /** A line for the program's log (ADMIX_LOG_INFO, ...). */
  void log(int32_t level, const std::string& message) const {
    if (ADMIX_HAS_(from_, log) && from_->log.say) from_->log.say(from_->log.host, level, detail::text(message));
  }

  /** For the glue below. */
  explicit Build(const admix_build* from) : from_(from) {}

 private:
  std::vector<double> numbers(const double* admix_build::*which) const {
    if (!ADMIX_HAS_(from_, channels) || !(from_->*which)) return {};
    return std::vector<double>(from_->*which, from_->*which + from_->channels);
  }

  static void need(bool is, const char* what) {
    if (!is) throw Error(std::string("this version of Admix has no `") + what + "`: use a newer one");
  }

  template <class Call>
  static void done(Call call) {
    std::string said;
    const admix_errors errors{&said, [](void* host, admix_text, admix_text message) {
                                *static_cast<std::string*>(host) = detail::string(message);
                              }};
    if (call(&errors) != ADMIX_OK) throw Error(said.empty() ? "the host refused a tensor" : said);
  }

  template <class Call>
  static Tensor made(Call call) {
    admix_tensor* out = nullptr;
    const auto free_later = [&out] { return std::unique_ptr<Tensor>(reinterpret_cast<Tensor*>(out)); };
    done([&](const admix_errors* errors) { return call(&out, errors); });
    const std::unique_ptr<Tensor> own = free_later();
    if (!own) throw Error("the host made no tensor");
    return *own;
  }

  const admix_build* from_;
};

/** Keeps libtorch's generator of the CPU as it is over a scope: for building `torch::nn` modules, which draw. Give
 * what they drew another value that depends on the run's seed, say `linear->weight = b.parameter(...)`. */
class KeepGenerator {
 public:
  KeepGenerator() : generator_(at::detail::getDefaultCPUGenerator()) {
    std::lock_guard<std::mutex> lock(generator_.mutex());
    state_ = generator_.get_state();
  }
  ~KeepGenerator() {
    std::lock_guard<std::mutex> lock(generator_.mutex());
    generator_.set_state(state_);
  }
  KeepGenerator(const KeepGenerator&) = delete;
  KeepGenerator& operator=(const KeepGenerator&) = delete;

 private:
  at::Generator generator_;
  Tensor state_;
};

/** What a plan is wanted for. */
class Ask {
 public:
  /** Samples in the batch. */
  int64_t batch() const { return from_->batch; }
  /** Height of the images, in pixels. */
  int64_t height() const { return from_->height; }
  /** Width of the images, in pixels. */
  int64_t width() const { return from_->width; }
  /** The settings that the host serves. */
  Pairing pairing() const {
    const admix_pairing& from = from_->pairing;
    return {from.alpha, static_cast<Per>(from.per), from.fold != 0, static_cast<Partner>(from.partner), from.share};
  }
  /** Progress of the run, in [0, 1]. */
  double progress() const { return from_->progress; }
  /** The mix makes no graph; it trains the encoder alone. */
  bool quiet() const { return ADMIX_HAS_(from_, quiet) && from_->quiet != 0; }
  /** Whether each sample has a lambda of its own. A lambda that was asked for is one for all. */
  bool per_sample() const { return std::isnan(from_->lambda) && from_->pairing.per == ADMIX_PER_SAMPLE; }

  /** For the glue below. */
  explicit Ask(const admix_ask* from) : from_(from) {
    if (!ADMIX_HAS_(from, progress)) throw Error("the host asks for a plan in an older form: rebuild the plugin");
  }

 private:
  const admix_ask* from_;
};

/** Random draws of one mix, in float64 on the host. The only source of chance that a plugin may use. */
class Draws {
 public:
  /** Uniform in [0, 1). */
  double uniform() { return from_->uniform(from_->host); }
  /** Standard normal. */
  double normal() { return from_->normal(from_->host); }
  /** Beta(a, b). */
  double beta(double a, double b) {
    const double drawn = from_->beta(from_->host, a, b);
    if (std::isnan(drawn)) throw Error("Beta(a, b) needs a and b above 0");
    return drawn;
  }
  /** A whole number, uniform in 0 .. end - 1. */
  int64_t choice(int64_t end) { return from_->choice(from_->host, end); }
  /** A permutation of 0 .. n - 1. */
  std::vector<int64_t> permutation(int64_t n) {
    std::vector<int64_t> all(static_cast<size_t>(n < 0 ? 0 : n));
    from_->permutation(from_->host, static_cast<int64_t>(all.size()), all.data());
    return all;
  }
  /** The same without fixed points. */
  std::vector<int64_t> derangement(int64_t n) {
    std::vector<int64_t> all(static_cast<size_t>(n < 0 ? 0 : n));
    from_->derangement(from_->host, static_cast<int64_t>(all.size()), all.data());
    return all;
  }
  /** The key of a random field on the device: put it into the plan as a whole number, use `uniform_field` in `mix`. */
  int64_t field() { return from_->field(from_->host); }

  /** For the glue below. */
  explicit Draws(const admix_draws* from) : from_(from) {
    if (!ADMIX_HAS_(from, field)) throw Error("the host offers fewer draws than this plugin knows: rebuild it");
  }

 private:
  const admix_draws* from_;
};

/** Where `plan` puts its values. In `mix` they are tensors on the device, of the same name. */
class Plan {
 public:
  /** The usual start: draws `lambda` and `partner` as the settings of the host say. */
  void draw() {
    if (from_->draw(from_->host) != ADMIX_OK) throw Error("lambda and the partners could not be drawn");
  }
  /** A number: a 0-dim float32 tensor. */
  void number(const std::string& name, double value) { from_->floats(from_->host, detail::text(name), &value, 0); }
  /** Numbers, say one for each sample: float32, one dimension. */
  void numbers(const std::string& name, const std::vector<double>& values) {
    filled(name, values.size());
    from_->floats(from_->host, detail::text(name), values.data(), values.size());
  }
  /** A whole number: a 0-dim int64 tensor. */
  void whole(const std::string& name, int64_t value) { from_->ints(from_->host, detail::text(name), &value, 0); }
  /** Whole numbers: int64, one dimension. */
  void wholes(const std::string& name, const std::vector<int64_t>& values) {
    filled(name, values.size());
    from_->ints(from_->host, detail::text(name), values.data(), values.size());
  }
  /** The numbers of this name that are in the plan already. */
  std::vector<double> read(const std::string& name) const {
    const size_t count = from_->read(from_->host, detail::text(name), nullptr, 0);
    if (count == 0) throw Error("the plan holds no numbers named `" + name + "`");
    std::vector<double> values(count);
    from_->read(from_->host, detail::text(name), values.data(), count);
    return values;
  }
  /** lambda after `draw`: one for the batch, or one for each sample. */
  std::vector<double> lambdas() const { return read("lambda"); }
  /** Tells apart plans that need other shapes or kernels. */
  void structure(uint64_t structure) { from_->structure(from_->host, structure); }

  /** For the glue below. */
  explicit Plan(const admix_plan* from) : from_(from) {
    if (!ADMIX_HAS_(from, structure)) throw Error("the host takes plans in an older form: rebuild the plugin");
  }

 private:
  static void filled(const std::string& name, size_t count) {
    // A count of zero means one number at this boundary.
    if (count == 0) throw Error("the plan's value `" + name + "` is an empty list");
  }

  const admix_plan* from_;
};

namespace detail {

inline const Tensor* tensor(const admix_tensor* from) { return reinterpret_cast<const Tensor*>(from); }

inline const admix_named* find(const admix_named* list, size_t count, const std::string& name) {
  for (size_t i = 0; i < count; ++i) {
    const bool same = list[i].name.size == name.size() && name.compare(0, name.size(), list[i].name.data, name.size()) == 0;
    if (same && list[i].tensor) return &list[i];
  }
  return nullptr;
}

inline Tensor get(const admix_named* list, size_t count, const std::string& name, const char* whose) {
  if (const admix_named* found = find(list, count, name)) return *tensor(found->tensor);
  std::string known;
  for (size_t i = 0; i < count; ++i) known += (i ? ", " : "") + string(list[i].name);
  throw Error(std::string("there is no `") + name + "` in " + whose + "; there is " + (known.empty() ? "nothing" : known));
}

}  // namespace detail

/** The plan's values on the device. */
class Planned {
 public:
  /** A value by name: 0-dim, or one dimension; float32 or int64. */
  Tensor operator[](const std::string& name) const {
    return detail::get(from_->plan, from_->plan_count, name, "the plan");
  }
  /** lambda, the share of the own image: 0-dim or [N]. */
  Tensor lambda() const { return (*this)["lambda"]; }
  /** The partner of each sample: [N] int64. */
  Tensor partner() const { return (*this)["partner"]; }
  /** What `Plan::structure` was given, 0 if nothing: a mix may do other work for another one. */
  uint64_t structure() const { return ADMIX_HAS_(from_, structure) ? from_->structure : 0; }

  /** For the glue below. */
  explicit Planned(const admix_mix* from) : from_(from) {}

 private:
  const admix_mix* from_;
};

/** The tensors given to one mix. Never write into them. */
class Input {
 public:
  /** The own images, [N, C, H, W], normalised. */
  Tensor images() const { return (*this)["images"]; }
  /** The partner's image for each sample, [N, C, H, W]: from the other view if there is one. */
  Tensor partners(const Tensor& partner) const {
    return (*this)[has("partner_images") ? "partner_images" : "images"].index_select(0, partner);
  }
  /** The feature map that `needs` asked for, [N, D, h, w]. */
  Tensor features() const { return (*this)["features"]; }
  /** Saliency of the images, [N, H, W]. */
  Tensor saliency() const { return (*this)["saliency"]; }
  /** Pseudo labels, [N] int64. */
  Tensor pseudo() const { return (*this)["pseudo"]; }
  /** The own images as the mix shows them, [N, C, H, W]: those that were given for it, else the images. */
  Tensor shown() const { return (*this)[has("shown") ? "shown" : "images"]; }
  /** The partners as the mix shows them, in the same way. */
  Tensor shown_partners(const Tensor& partner) const {
    return has("partner_shown") ? (*this)["partner_shown"].index_select(0, partner) : partners(partner);
  }
  /** The mix trains the encoder alone: no graph. */
  bool quiet() const { return ADMIX_HAS_(from_, quiet) && from_->quiet != 0; }
  /** Whether a tensor of this name was given. */
  bool has(const std::string& name) const { return detail::find(from_->inputs, from_->inputs_count, name) != nullptr; }
  /** A tensor by name, "partner_features" for one. */
  Tensor operator[](const std::string& name) const {
    return detail::get(from_->inputs, from_->inputs_count, name, "the mix's input");
  }

  /** For the glue below. */
  explicit Input(const admix_mix* from) : from_(from) {
    if (!ADMIX_HAS_(from, plan_count)) throw Error("the host asks for a mix in an older form: rebuild the plugin");
  }

 private:
  const admix_mix* from_;
};

/** A mixed batch. */
struct Mixed {
  /** [N, C, H, W], the input's shape, kind and device. */
  Tensor images;
  /** The own image's mask, [N, 1, H, W] in [0, 1]. May stay undefined. */
  Tensor mask;
  /** Two sources: the partner [N] int64 and the own share as credited to the label, 0-dim or [N]. */
  Tensor partner, lambda;
  /** Or any number: [N, S] int64, and [N, S] float32 with rows that sum to 1. */
  Tensor sources, shares_of;
  /** Whether `shares_of` are weights from 0, whose rows need not sum to 1. */
  bool weights = false;
  /** The stage of the network, from 1, whose map is mixed; 0 for mixed images. See `hidden`. */
  int64_t stage = 0;
  /** Of a hidden mix: makes one map of the own one and the partners', [N, D, h, w] both, if the mask does not. */
  std::function<Tensor(const Tensor& own, const Tensor& partners)> map;
  /** Anything else worth looking at. */
  std::vector<std::pair<std::string, Tensor>> extras;

  /** A mix of pairs: the own image has the share `lambda` of the label, its partner the rest. */
  static Mixed pair(Tensor images, Tensor partner, Tensor lambda) {
    Mixed made;
    made.images = std::move(images);
    made.partner = std::move(partner);
    made.lambda = std::move(lambda);
    return made;
  }
  /** A mix of any number of sources for each image. */
  static Mixed shares(Tensor images, Tensor sources, Tensor shares) {
    Mixed made;
    made.images = std::move(images);
    made.sources = std::move(sources);
    made.shares_of = std::move(shares);
    return made;
  }
  /** The same with weights of the sources from 0, whose rows need not sum to 1. */
  static Mixed weighted(Tensor images, Tensor sources, Tensor weights) {
    Mixed made = shares(std::move(images), std::move(sources), std::move(weights));
    made.weights = true;
    return made;
  }
  /** A mix inside of the network: images stay as they are, and the map m of this stage, [N, D, h, w], becomes
   * mask * m + (1 - mask) * m[partner], with gradient through both. The mask, the own share, is [1 or N, 1 or D, 1, 1] or
   * [1 or N, 1, H, W]. `Needs::hidden` names the deepest stage, and each stage has a `Plan::structure` of its own. */
  static Mixed hidden(int64_t stage, Tensor mask, Tensor partner, Tensor lambda) {
    if (stage < 1) throw Error("a hidden mix happens at stage 1 or deeper; at stage 0 images are mixed");
    Mixed made = pair(Tensor(), std::move(partner), std::move(lambda));
    made.stage = stage;
    return std::move(made).masked(std::move(mask));
  }
  /** A mix inside of the network in a way of its own: `map` makes one map of the own one and the partners', in the same
   * shape and kind. It keeps what it needs of the plan by value; it is called after `mix` has returned. */
  static Mixed hidden_map(int64_t stage, std::function<Tensor(const Tensor&, const Tensor&)> map, Tensor partner,
                          Tensor lambda) {
    if (stage < 1) throw Error("a hidden mix happens at stage 1 or deeper; at stage 0 images are mixed");
    Mixed made = pair(Tensor(), std::move(partner), std::move(lambda));
    made.stage = stage;
    made.map = std::move(map);
    return made;
  }
  /** The same with the own image's mask. */
  Mixed masked(Tensor with) && {
    mask = std::move(with);
    return std::move(*this);
  }
  /** The same with one more named tensor. */
  Mixed with(std::string name, Tensor value) && {
    extras.emplace_back(std::move(name), std::move(value));
    return std::move(*this);
  }
};

/** The tensors given to one loss. Never write into them. */
class LossInput {
 public:
  /** An argument by name. Of a mix: "mask" [N, 1, H, W] and "lambda" (0-dim or [N]). */
  Tensor operator[](const std::string& name) const { return detail::get(list_, count_, name, "the loss's input"); }
  /** Whether there is such a tensor. */
  bool has(const std::string& name) const { return detail::find(list_, count_, name) != nullptr; }
  /** Labels of the sources of each sample, [N, S] int64. Needs the argument "target". */
  Tensor labels() const { return (*this)["target"]; }
  /** Their shares, [N, S] float32, rows of which sum to 1. */
  Tensor shares() const { return weight("target"); }
  /** Keys of the sources of each embedding, [N, S, D]. Needs the argument "contrast". */
  Tensor keys() const { return (*this)["contrast"]; }
  /** Their shares, [N, S] float32, rows of which sum to 1. */
  Tensor key_shares() const { return weight("contrast"); }

  /** For the glue below. */
  LossInput(const admix_named* list, size_t count) : list_(list), count_(count) {}

 private:
  Tensor weight(const char* name) const {
    const admix_named* found = detail::find(list_, count_, name);
    if (!found || !found->weight) {
      throw Error(std::string("the loss got no ") + name + ": name \"" + name + "\" among its arguments");
    }
    return *detail::tensor(found->weight);
  }

  const admix_named* list_;
  size_t count_;
};

/** A mixup policy. Beside these functions it has `static constexpr admix::About about{...}` and a constructor without
 * arguments. `plan` makes every choice, on the host; `mix` does tensor work only, keeps nothing but in declared buffers
 * and reads nothing back, so that a captured step stays right and a test can hand in any plan. */
struct Mixer {
  virtual ~Mixer() = default;
  /** Names the settings. Called before everything else, on members at their defaults. */
  virtual void settings(Settings&) {}
  /** Checks combinations of settings; throws `BadSetting`. */
  virtual void check() const {}
  /** What it reads beside images. */
  virtual Needs needs() const { return {}; }
  /** Makes parameters and buffers, once. */
  virtual void build(Build&) {}
  /** Makes every choice of one mix. */
  virtual void plan(const Ask&, Draws&, Plan& plan) { plan.draw(); }
  /** Mixes a batch by a plan. */
  virtual Mixed mix(const Input& in, const Planned& plan) = 0;
  /** Train mode (batch statistics, dropout) or evaluation mode. */
  virtual void train(bool) {}
  /** Called after each step of the optimiser, without graph: projections of parameters. */
  virtual void after_step() {}
};

/** A loss: finite for every finite input. It has an `about` and a constructor without arguments too. */
struct Loss {
  virtual ~Loss() = default;
  /** Names the settings. Called before everything else, on members at their defaults. */
  virtual void settings(Settings&) {}
  /** Checks combinations of settings; throws `BadSetting`. */
  virtual void check() const {}
  /** What a script passes, in order: "target" (labels or a mix's target), "contrast", "mix" (a mix with a mask), or the name of
   * any other tensor. */
  virtual std::vector<std::string> arguments() const = 0;
  /** The value: a scalar, with a graph where the inputs have one. */
  virtual Tensor loss(const LossInput& in) = 0;
};

/** lambda in a form that broadcasts over [N, C, H, W]: 0-dim as it is, [N] as [N, 1, 1, 1]. */
inline Tensor over_images(const Tensor& value) { return value.dim() == 0 ? value : value.reshape({-1, 1, 1, 1}); }

namespace detail {

/* A bijection of 32-bit words held in int64 (multiply, xor-shift; constants of C. Wellons' `lowbias32`). */
inline Tensor scramble(const Tensor& word) {
  const auto shifted = [](const Tensor& w, int64_t by) { return w.bitwise_xor(w.bitwise_right_shift(at::Scalar(by))); };
  const auto multiplied = [](const Tensor& w, int64_t by) { return w.mul(by).bitwise_and(at::Scalar(0xffffffffLL)); };
  // The second factor is taken modulo 2^32 as a negative number: no product leaves the range of int64.
  return shifted(multiplied(shifted(multiplied(shifted(word, 16), 0x7feb352dLL), 15), 0x846ca68bLL - (1LL << 32)), 16);
}

}  // namespace detail

/** Numbers uniform in [0, 1), 24 bits each, of this shape, from a 0-dim int64 key (`Draws::field`) and nothing else.
 * Bit for bit what the bundled plugins make of the same key. */
inline Tensor uniform_field(const Tensor& key, at::IntArrayRef shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  const Tensor position = at::arange(count, key.options());
  const Tensor outer = detail::scramble(key.add(0x9e3779b9LL).bitwise_and(at::Scalar(0xffffffffLL)));
  const Tensor inner = detail::scramble(outer.bitwise_xor(at::Scalar(0x5851f42dLL)));
  const Tensor bits = detail::scramble(detail::scramble(position.bitwise_xor(outer)).bitwise_xor(inner));
  return bits.bitwise_right_shift(at::Scalar(8)).to(at::kFloat).mul(std::exp2(-24.0)).reshape(shape);
}

/* ---- The glue: from here on nothing is for plugin authors, but `ADMIX_PLUGINS` at the end. ---- */

namespace detail {

inline void say(const admix_errors* errors, const std::string& setting, const std::string& message) {
  // One line, as the boundary asks.
  const std::string line = message.substr(0, message.find('\n'));
  if (errors && errors->report) errors->report(errors->host, text(setting), text(line));
}

/* Runs the body of a function of the table: no exception leaves it. */
template <class Body>
int32_t guarded(const admix_errors* errors, Body body) noexcept {
  try {
    body();
    return ADMIX_OK;
  } catch (const BadSetting& error) {
    say(errors, error.setting, error.what());
    return ADMIX_BAD_SETTING;
  } catch (const c10::Error& error) {
    say(errors, "", error.what_without_backtrace());
  } catch (const std::exception& error) {
    say(errors, "", error.what());
  } catch (...) {
    say(errors, "", "threw something that is no std::exception");
    return ADMIX_BROKEN;
  }
  return ADMIX_FAILED;
}

inline void put(const admix_texts* sink, const std::string& one) {
  if (sink && sink->put) sink->put(sink->host, text(one));
}

/* An owned tensor for the host; null for one that is not there. */
inline admix_tensor* give(const Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<admix_tensor*>(new Tensor(tensor)) : nullptr;
}

/* An instance with these settings, checked; what the settings came to goes to `resolved`. */
template <class T>
std::unique_ptr<T> configured(admix_text given, std::string* resolved = nullptr) {
  auto made = std::make_unique<T>();
  Settings settings(string(given));
  made->settings(settings);
  settings.finish();
  made->check();
  if (resolved) *resolved = settings.resolved();
  return made;
}

template <class T>
void destroy(void* self) {
  guarded(nullptr, [&] { delete static_cast<T*>(self); });
}

inline int32_t mix_map(void* map, const admix_tensor* own, const admix_tensor* partners, admix_tensor** out,
                       const admix_errors* errors) {
  return guarded(errors, [&] {
    const auto& mix = *static_cast<std::function<Tensor(const Tensor&, const Tensor&)>*>(map);
    *out = give(mix(*tensor(own), *tensor(partners)));
  });
}

inline void free_map(void* map) { destroy<std::function<Tensor(const Tensor&, const Tensor&)>>(map); }

template <class T>
const admix_mixer* mixer_functions() {
  static const admix_mixer functions = {
      sizeof(admix_mixer),
      [](const void*, admix_text given, const admix_texts* resolved, admix_needs* needs, const admix_errors* errors) {
        return guarded(errors, [&] {
          std::string settled;
          const Needs own = configured<T>(given, &settled)->needs();
          put(resolved, settled);
          if (!needs) return;
          if (ADMIX_HAS_(needs, features)) needs->features = own.features;
          if (ADMIX_HAS_(needs, saliency)) needs->saliency = own.saliency;
          if (ADMIX_HAS_(needs, pseudo)) needs->pseudo = own.pseudo;
          if (ADMIX_HAS_(needs, capturable)) needs->capturable = own.capturable;
          if (ADMIX_HAS_(needs, host_solver)) needs->host_solver = own.host_solver;
          if (ADMIX_HAS_(needs, hidden)) needs->hidden = own.hidden;
          if (ADMIX_HAS_(needs, shown)) needs->shown = own.shown;
        });
      },
      [](const void*, admix_text given, const admix_build* build, void** self, const admix_errors* errors) {
        return guarded(errors, [&] {
          auto made = configured<T>(given);
          Build with(build);
          made->build(with);
          *self = made.release();
        });
      },
      destroy<T>,
      [](void* self, const admix_ask* ask, const admix_draws* draws, const admix_plan* plan,
         const admix_errors* errors) {
        return guarded(errors, [&] {
          Draws source(draws);
          Plan into(plan);
          static_cast<T*>(self)->plan(Ask(ask), source, into);
        });
      },
      [](void* self, const admix_mix* mix, admix_mixed* out, const admix_errors* errors) {
        return guarded(errors, [&] {
          const Mixed made = static_cast<T*>(self)->mix(Input(mix), Planned(mix));
          if (!ADMIX_HAS_(out, shares)) throw Error("the host takes mixes in an older form: rebuild the plugin");
          out->kind = made.stage > 0 ? ADMIX_HIDDEN : ADMIX_IMAGES;
          out->stage = static_cast<uint32_t>(made.stage);
          out->images = give(made.images);
          out->mask = give(made.mask);
          out->partner = give(made.partner);
          out->lambda = give(made.lambda);
          out->sources = give(made.sources);
          out->shares = give(made.shares_of);
          if (made.weights) {
            if (!ADMIX_HAS_(out, weights)) throw Error("this version of Admix takes no weights: use a newer one");
            out->weights = 1;
          }
          if (made.map) {
            if (!ADMIX_HAS_(out, free_map)) throw Error("this version of Admix mixes no maps: use a newer one");
            out->map = new std::function<Tensor(const Tensor&, const Tensor&)>(made.map);
            out->mix_map = mix_map;
            out->free_map = free_map;
          }
          if (!ADMIX_HAS_(out, extra) || !out->extra) return;
          for (const auto& [name, tensor] : made.extras) out->extra(out->host, text(name), give(tensor));
        });
      },
      [](void* self, uint32_t on, const admix_errors* errors) {
        return guarded(errors, [&] { static_cast<T*>(self)->train(on != 0); });
      },
      [](void* self, const admix_errors* errors) {
        return guarded(errors, [&] { static_cast<T*>(self)->after_step(); });
      },
  };
  return &functions;
}

template <class T>
const admix_loss* loss_functions() {
  static const admix_loss functions = {
      sizeof(admix_loss),
      [](const void*, admix_text given, const admix_texts* resolved, const admix_texts* arguments,
         const admix_errors* errors) {
        return guarded(errors, [&] {
          std::string settled;
          const auto names = configured<T>(given, &settled)->arguments();
          put(resolved, settled);
          for (const std::string& name : names) put(arguments, name);
        });
      },
      [](const void*, admix_text given, const admix_build*, void** self, const admix_errors* errors) {
        return guarded(errors, [&] { *self = configured<T>(given).release(); });
      },
      destroy<T>,
      [](void* self, const admix_named* inputs, size_t count, admix_tensor** value, const admix_errors* errors) {
        return guarded(errors, [&] { *value = give(static_cast<T*>(self)->loss(LossInput(inputs, count))); });
      },
  };
  return &functions;
}

inline admix_text kept(const char* from) { return text(from, std::char_traits<char>::length(from)); }

template <class T>
const admix_descriptor* descriptor() {
  constexpr bool is_mixer = std::is_base_of<Mixer, T>::value;
  static_assert(is_mixer || std::is_base_of<Loss, T>::value, "a plugin is an admix::Mixer or an admix::Loss");
  static const std::pair<std::string, std::string> told = [] {
    T fresh;
    Settings settings("{}");
    fresh.settings(settings);
    return std::make_pair(settings.schema(), settings.resolved());
  }();
  static const admix_descriptor made = [] {
    const About about = T::about;
    admix_descriptor d{};
    d.size = sizeof(admix_descriptor);
    d.kind = is_mixer ? ADMIX_MIXER : ADMIX_LOSS;
    d.name = kept(about.name);
    d.type_name = kept(about.type_name);
    d.summary = kept(about.summary);
    d.source = kept(about.source);
    d.schema = text(told.first);
    d.defaults = text(told.second);
    d.pairing = {sizeof(admix_pairing),
                 about.pairing.alpha,
                 static_cast<uint32_t>(about.pairing.per),
                 about.pairing.fold,
                 static_cast<uint32_t>(about.pairing.partner),
                 0,
                 about.pairing.partner == Partner::ClusterAware ? about.pairing.share : 0.0};
    if constexpr (is_mixer) d.mixer = mixer_functions<T>();
    else d.loss = loss_functions<T>();
    return d;
  }();
  return &made;
}

/* The last part of a path, without its ending. */
inline std::string stem(const std::string& path) {
  const std::string file = path.substr(path.find_last_of('/') + 1);
  return file.substr(0, file.find('.'));
}

#define ADMIX_TEXT_(text) #text
#define ADMIX_TEXT_OF_(text) ADMIX_TEXT_(text)

/* The manifest; null if a plugin cannot even be described, which the host reports. */
template <class... Plugins>
const admix_manifest* manifest(const char* package) noexcept {
  try {
    static const std::string name = stem(package);
    static const admix_descriptor* const all[] = {descriptor<Plugins>()...};
    static const admix_manifest made = {
        ADMIX_MAGIC,
        ADMIX_ABI,
        sizeof(admix_manifest),
        kept(ADMIX_TEXT_OF_(TORCH_VERSION_MAJOR) "." ADMIX_TEXT_OF_(TORCH_VERSION_MINOR) "." ADMIX_TEXT_OF_(
            TORCH_VERSION_PATCH)),
        text(name),
        kept(ADMIX_VERSION),
        all,
        sizeof...(Plugins),
    };
    return &made;
  } catch (...) {
    return nullptr;
  }
}

}  // namespace detail
}  // namespace admix

#ifndef ADMIX_PACKAGE
#define ADMIX_PACKAGE __FILE__
#endif

/** Exports the plugins of a library: once, at the end of one of its files, outside of every namespace. */
#define ADMIX_PLUGINS(...)                                                                                           \
  extern "C" __attribute__((visibility("default"))) const admix_manifest* admix_plugin_manifest(void) {              \
    return ::admix::detail::manifest<__VA_ARGS__>(ADMIX_PACKAGE);                                                    \
  }

#endif
