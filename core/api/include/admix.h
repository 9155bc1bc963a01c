/*
 * The boundary between Admix and a plugin library: plain C, so that any language can write one.
 *
 * A library exports one function, `admix_plugin_manifest`, which returns a manifest that stays valid for the life
 * of the process (libraries are never unloaded). From there the host finds every plugin, its settings and its
 * functions.
 *
 * Rules that hold everywhere:
 *  - Tensors are libtorch's own: an `admix_tensor *` is an `at::Tensor *`. Host and library must use the very same
 *    libtorch; the manifest says which one the library was built with. Graphs and gradients cross freely.
 *  - "Borrowed": valid until the call returns; the callee copies what it wants to keep (for a tensor:
 *    `at::Tensor mine = *borrowed;`, which shares the values). "Owned": made with `new at::Tensor`, and whoever
 *    receives it deletes it. Input tensors are never modified.
 *  - Texts are UTF-8, not null-terminated, and borrowed.
 *  - A function that can fail returns `ADMIX_OK` or another status, after one call of `errors->report` with a
 *    message of one line. No exception, panic or longjmp crosses the boundary. Out-parameters are set to null or
 *    zero by the caller; what a callee put there before it failed is still taken over.
 *  - Gradient mode and autocast of the calling thread hold inside the library; the host restores both after each
 *    call. A library never draws from libtorch's generators: all draws come from `admix_draws`.
 *  - Calls on one instance never overlap. Different instances may be called from different threads.
 *  - Structures that begin with `size` hold `sizeof` as the side that made them knew it. They grow only by
 *    appending; a reader looks at a field only if it lies within `size`, and a missing function is a null one.
 *
 *  - A structure that lies inside of another or in a list (`admix_pairing`, `admix_log`, `admix_named`) never grows.
 *
 * Version 1 is frozen: what it has keeps its place and its meaning, and only additions come. A host of a later release
 * loads a library that was built for version 1.
 */
#ifndef ADMIX_H
#define ADMIX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The bytes "ADMIXPLG", first to last, read as a little-endian number. */
#define ADMIX_MAGIC UINT64_C(0x474c5058494d4441)

/* Version of this boundary. Host and library must agree. */
#define ADMIX_ABI 1u

/* Name of the function that a library exports; its type is `admix_manifest_fn`. */
#define ADMIX_ENTRY "admix_plugin_manifest"

/* What a function that can fail returns. */
enum {
  ADMIX_OK = 0,
  /* The work failed: a shape, an input, an operation of libtorch. */
  ADMIX_FAILED = 1,
  /* A setting is wrong; `errors->report` got the name of the setting. */
  ADMIX_BAD_SETTING = 2,
  /* The library's own code broke: a panic, an unknown exception. */
  ADMIX_BROKEN = 3
};

/* What a plugin is (`admix_descriptor.kind`). */
enum { ADMIX_MIXER = 1, ADMIX_LOSS = 2 };

/* How lambda is drawn (`admix_pairing.per`): once for a batch, or for each sample. */
enum { ADMIX_PER_BATCH = 0, ADMIX_PER_SAMPLE = 1 };

/* How partners are chosen (`admix_pairing.partner`): any permutation, one without fixed points, N - 1 - i, or one
 * without fixed points in which a share of the samples meet one of their own pseudo label. The last is made on the
 * device, from random numbers that `admix_plan.draw` adds to the plan, and the mix finds it there as "partner". */
enum { ADMIX_PERMUTATION = 0, ADMIX_DERANGEMENT = 1, ADMIX_FLIP = 2, ADMIX_CLUSTER_AWARE = 3 };

/* How a new parameter is filled (`admix_build.parameter`), from a draw that depends on the run's seed and the
 * parameter's name alone: the value itself; normal with this standard deviation; normal after He et al. 2015,
 * fan-out; uniform in [-value, value]. */
enum { ADMIX_INIT_CONSTANT = 0, ADMIX_INIT_NORMAL = 1, ADMIX_INIT_HE_FAN_OUT = 2, ADMIX_INIT_UNIFORM = 3 };

/* What comes out of a mix (`admix_mixed.kind`): mixed images, or a mix inside of the network. */
enum { ADMIX_IMAGES = 0, ADMIX_HIDDEN = 1 };

/* Levels of `admix_log.say`. */
enum { ADMIX_LOG_ERROR = 1, ADMIX_LOG_WARN = 2, ADMIX_LOG_INFO = 3, ADMIX_LOG_DEBUG = 4 };

/* An `at::Tensor`. */
typedef struct admix_tensor admix_tensor;

/* UTF-8, `size` bytes from `data`; `data` may be null if `size` is 0. */
typedef struct admix_text {
  const char *data;
  size_t size;
} admix_text;

/* Where a callee says what went wrong. */
typedef struct admix_errors {
  void *host;
  /* `setting` names the wrong setting for ADMIX_BAD_SETTING and is empty otherwise. Both texts are copied. */
  void (*report)(void *host, admix_text setting, admix_text message);
} admix_errors;

/* Where a callee puts texts, one at a time. They are copied. */
typedef struct admix_texts {
  void *host;
  void (*put)(void *host, admix_text text);
} admix_texts;

/* Messages for the program's log. Valid for the life of the process. */
typedef struct admix_log {
  void *host;
  void (*say)(void *host, int32_t level, admix_text message);
} admix_log;

/* The settings that the host serves for every mixer. */
typedef struct admix_pairing {
  size_t size;
  /* lambda ~ Beta(alpha, alpha); above 0. */
  double alpha;
  /* ADMIX_PER_... */
  uint32_t per;
  /* Not 0: max(lambda, 1 - lambda). */
  uint32_t fold;
  /* ADMIX_PERMUTATION, ... */
  uint32_t partner;
  uint32_t reserved;
  /* For ADMIX_CLUSTER_AWARE: the share that meets its own pseudo label, in [0, 1]. Else 0. */
  double share;
} admix_pairing;

/* What a mixer reads beside the images. Filled by the library. */
typedef struct admix_needs {
  size_t size;
  /* The feature map of this stage of a network, from 1; 0 for none. */
  int64_t features;
  /* Not 0: a saliency map, [N, H, W]. */
  uint32_t saliency;
  /* Not 0: pseudo labels, [N] int64. */
  uint32_t pseudo;
  /* Not 0: a mix can be replayed from a captured graph (no reading back, no shapes that depend on data). */
  uint32_t capturable;
  /* Not 0: a part of the work runs on the host. */
  uint32_t host_solver;
  /* The deepest stage at whose output a mix may happen, from 1; 0 where images alone are mixed. */
  int64_t hidden;
  /* Not 0: takes images to show in place of those that it looks at, where some are given: "shown", "partner_shown". */
  uint32_t shown;
  uint32_t reserved;
} admix_needs;

/* Random draws of one mix, in float64 on the host. Each mix of each step has its own stream. */
typedef struct admix_draws {
  size_t size;
  void *host;
  /* Uniform in [0, 1). */
  double (*uniform)(void *host);
  /* Standard normal. */
  double (*normal)(void *host);
  /* Beta(a, b); not a number unless both are positive and finite. */
  double (*beta)(void *host, double a, double b);
  /* A whole number, uniform in 0 .. end - 1; 0 if `end` is not positive. */
  int64_t (*choice)(void *host, int64_t end);
  /* A permutation of 0 .. n - 1 into `out`, which holds n values. */
  void (*permutation)(void *host, int64_t n, int64_t *out);
  /* The same without fixed points (n = 1 has none: 0). */
  void (*derangement)(void *host, int64_t n, int64_t *out);
  /* 32 random bits: the key of a random field made on the device. */
  int64_t (*field)(void *host);
} admix_draws;

/* What a plan is wanted for. */
typedef struct admix_ask {
  size_t size;
  /* Samples in the batch. */
  int64_t batch;
  /* Pixels. */
  int64_t height;
  int64_t width;
  admix_pairing pairing;
  /* This lambda for every sample instead of a drawn one; not a number where lambda is to be drawn. */
  double lambda;
  /* Progress of the run, in [0, 1]. */
  double progress;
  /* Not 0: the mix makes no graph; it trains the encoder alone. */
  uint32_t quiet;
  uint32_t reserved;
} admix_ask;

/* Where a plan puts its values. Floats become float32 tensors on the device, whole numbers int64. */
typedef struct admix_plan {
  size_t size;
  void *host;
  /* The usual start: draws `lambda` and `partner` as the settings of the host say. Returns a status. A mixer whose `mix`
   * gives sources and shares may do without both. */
  int32_t (*draw)(void *host);
  /* A number (`n` is 0 and `values` points to one: a 0-dim tensor), or one for each of `n` samples: [n]. */
  void (*floats)(void *host, admix_text name, const double *values, size_t n);
  void (*ints)(void *host, admix_text name, const int64_t *values, size_t n);
  /* Reads a float value of the plan, say `lambda` after `draw`: writes at most `room` numbers and returns how many
   * there are (1 for a number), or 0 if the plan has none of this name. */
  size_t (*read)(void *host, admix_text name, double *out, size_t room);
  /* Differs between plans that need other shapes or kernels. */
  void (*structure)(void *host, uint64_t structure);
} admix_plan;

/* A tensor with its name. All borrowed. */
typedef struct admix_named {
  admix_text name;
  const admix_tensor *tensor;
  /* Shares that belong to the tensor; null for most. See `admix_loss.loss`. */
  const admix_tensor *weight;
} admix_named;

/* One mix. */
typedef struct admix_mix {
  size_t size;
  /* "images" [N, C, H, W]; if given "partner_images", "features" [N, D, h, w], "partner_features", "saliency"
   * [N, H, W], "pseudo" [N] int64, "shown" and "partner_shown" [N, C, H, W]: own and partners' images as the mix shows
   * them, where they differ from those that it is made for. */
  const admix_named *inputs;
  size_t inputs_count;
  /* The plan's values on the device: "lambda" (0-dim or [N]) and "partner" [N] int64 if drawn, and what `plan` added. */
  const admix_named *plan;
  size_t plan_count;
  /* Not 0: no graph is wanted; the mix trains the encoder alone. */
  uint32_t quiet;
  uint32_t reserved;
  /* The plan's structure: a mix may do other work for another one. */
  uint64_t structure;
} admix_mix;

/* A mixed batch. Filled by the library with owned tensors; those that it does not have stay null. */
typedef struct admix_mixed {
  size_t size;
  /* ADMIX_IMAGES or ADMIX_HIDDEN. */
  uint32_t kind;
  /* Of a hidden mix, the stage of the network at whose output it happens, from 1, and at most what `needs` said; 0 for
   * images. Plans of different stages have different structures. The map m of that stage, [N, D, h, w], becomes
   * mask * m + (1 - mask) * m[partner], with gradient through both. */
  uint32_t stage;
  /* [N, C, H, W], the input's shape and device. Required, but of a hidden mix: null, or the input's own. */
  admix_tensor *images;
  /* The own image's mask, [N, 1, H, W] in [0, 1]. Required of a hidden mix without `mix_map`: [1 or N, 1 or D, 1, 1], or
   * [1 or N, 1, H, W], which the host brings to the map's size. */
  admix_tensor *mask;
  /* Two sources: the partner [N] int64 and the own share as credited to the label, 0-dim or [N]. */
  admix_tensor *partner;
  admix_tensor *lambda;
  /* Or any number: [N, S] int64, and [N, S] float32 with rows that sum to 1. Win over partner and lambda. */
  admix_tensor *sources;
  admix_tensor *shares;
  /* Takes anything else by name; the tensor is owned by the host from then on. */
  void *host;
  void (*extra)(void *host, admix_text name, admix_tensor *owned);
  /* From here on structures of an older host end: look at `size` before writing.
   * Not 0: `shares` are weights from 0, whose rows need not sum to 1. */
  uint32_t weights;
  uint32_t reserved;
  /* Of a hidden mix, in place of a mask: makes one map of the own one and the partners', [N, D, h, w] both, in the same
   * shape and kind, with gradient: an owned tensor into `*out`. Called in passes, until `free_map` ends `map`. */
  void *map;
  int32_t (*mix_map)(void *map, const admix_tensor *own, const admix_tensor *partners, admix_tensor **out,
                     const admix_errors *errors);
  void (*free_map)(void *map);
} admix_mixed;

/* What an instance is built with. Valid during `create`. */
typedef struct admix_build {
  size_t size;
  void *host;
  /* Channels of the feature map that was asked for; 0 for none. */
  int64_t feature_channels;
  /* Where tensors live: a c10::DeviceType (0 CPU, 1 CUDA) and its index (-1 for the CPU). */
  int32_t device_type;
  int32_t device_index;
  /* Makes a trained parameter; `*out` is owned by the library, which shares its values with the host. The host
   * optimises and saves it. Its name is the key in checkpoints; names may hold dots. Returns a status. */
  int32_t (*parameter)(void *host, admix_text name, const int64_t *shape, size_t dims, uint32_t init, double value,
                       uint32_t weight_decay, admix_tensor **out, const admix_errors *errors);
  /* Makes a tensor that is saved but not trained, filled with `value`. All state of an instance must be in
   * parameters and buffers: then a resumed run goes on bit for bit. */
  int32_t (*buffer)(void *host, admix_text name, const int64_t *shape, size_t dims, double value, admix_tensor **out,
                    const admix_errors *errors);
  /* Hands the host a tensor that the library made (a layer of its own): `trained` as parameter, else as buffer.
   * The tensor is borrowed, its values are shared from now on; it must be on the device of what `buffer` makes. */
  int32_t (*adopt)(void *host, admix_text name, const admix_tensor *tensor, uint32_t trained, uint32_t weight_decay,
                   const admix_errors *errors);
  admix_log log;
  /* How images are normalised, (pixel - mean) / std with pixels in [0, 1]: one number for each of `channels`. None where
   * that is not known; then images are taken to be pixels. */
  const double *mean;
  const double *std;
  size_t channels;
  /* Number of classes; 0 if unknown. */
  int64_t classes;
} admix_build;

/* The functions of a mixer. `data` is the descriptor's. */
typedef struct admix_mixer {
  size_t size;
  /* Checks settings (a JSON object; what is absent has its default), puts them in full, as JSON, into `resolved`,
   * and fills `needs`. */
  int32_t (*check)(const void *data, admix_text settings, const admix_texts *resolved, admix_needs *needs,
                   const admix_errors *errors);
  /* Builds an instance into `*self`. */
  int32_t (*create)(const void *data, admix_text settings, const admix_build *build, void **self,
                    const admix_errors *errors);
  /* Ends an instance. */
  void (*destroy)(void *self);
  /* Makes every scalar choice of one mix, on the host. Null: `plan->draw` alone. */
  int32_t (*plan)(void *self, const admix_ask *ask, const admix_draws *draws, const admix_plan *plan,
                  const admix_errors *errors);
  /* Mixes a batch by a plan: tensor work only, nothing kept. */
  int32_t (*mix)(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors);
  /* Train mode (`on` not 0) or evaluation mode. May be null. */
  int32_t (*train)(void *self, uint32_t on, const admix_errors *errors);
  /* Called after each step of the optimiser, without graph. May be null. */
  int32_t (*after_step)(void *self, const admix_errors *errors);
} admix_mixer;

/* The functions of a loss. */
typedef struct admix_loss {
  size_t size;
  /* As `admix_mixer.check`. Puts into `arguments`, in the order in which a script passes them: "target" (labels or
   * a mix's target), "contrast" (keys, or those of a mix's sources), "mix" (a mix with a mask), or the name of any
   * other tensor. */
  int32_t (*check)(const void *data, admix_text settings, const admix_texts *resolved, const admix_texts *arguments,
                   const admix_errors *errors);
  int32_t (*create)(const void *data, admix_text settings, const admix_build *build, void **self,
                    const admix_errors *errors);
  void (*destroy)(void *self);
  /* The value: a scalar with a graph where the inputs have one, owned by the host. A target arrives as "target" with
   * the labels [N, S] int64 and, as its weight, their shares [N, S] float32; a contrast as "contrast" with the keys
   * [N, S, D] and, as its weight, their shares; a mix as "mask" [N, 1, H, W] and "lambda" (0-dim or [N]); any other
   * argument under its own name. */
  int32_t (*loss)(void *self, const admix_named *inputs, size_t count, admix_tensor **value,
                  const admix_errors *errors);
} admix_loss;

/* One plugin. */
typedef struct admix_descriptor {
  size_t size;
  /* ADMIX_MIXER or ADMIX_LOSS. */
  uint32_t kind;
  uint32_t reserved;
  /* The name that scripts and messages use: "grid_mix". */
  admix_text name;
  /* The name that recipes use: "GridMix". */
  admix_text type_name;
  /* One line. */
  admix_text summary;
  /* The paper and equation it comes from. */
  admix_text source;
  /* JSON Schema of the settings, an object whose properties have `type`, `description` and `default`. */
  admix_text schema;
  /* The settings at their defaults, a JSON object. */
  admix_text defaults;
  /* Defaults of the settings that the host serves. Mixers only. */
  admix_pairing pairing;
  /* Handed to `check` and `create` as it is. */
  const void *data;
  /* One of the two, by kind; the other is null. */
  const admix_mixer *mixer;
  const admix_loss *loss;
} admix_descriptor;

/* What a library says of itself. The first three fields stay where they are for ever. */
typedef struct admix_manifest {
  /* ADMIX_MAGIC */
  uint64_t magic;
  /* ADMIX_ABI */
  uint32_t abi;
  /* sizeof(admix_manifest) */
  uint32_t size;
  /* The libtorch it was built with, such as "2.11.0". */
  admix_text libtorch;
  /* Name and version of the library. */
  admix_text package;
  admix_text version;
  /* `count` pointers to descriptors. */
  const admix_descriptor *const *descriptors;
  size_t count;
} admix_manifest;

typedef const admix_manifest *(*admix_manifest_fn)(void);

#ifdef __cplusplus
}
#endif

#endif
