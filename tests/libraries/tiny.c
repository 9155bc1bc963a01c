/* The least that a plugin library can be, in plain C and without libtorch. The tests spoil one thing at a time, by
 * defining one of the names below on the compiler's command line. */
#include "admix.h"

#ifdef __cplusplus
#include <stdexcept>
#endif

#include <stdlib.h>
#include <unistd.h>

#ifndef MAGIC
#define MAGIC ADMIX_MAGIC
#endif
#ifndef ABI
#define ABI ADMIX_ABI
#endif
#ifndef NAME
#define NAME "fade"
#endif
#ifndef TYPE_NAME
#define TYPE_NAME "Fade"
#endif
#ifndef DESCRIPTOR_SIZE
#define DESCRIPTOR_SIZE sizeof(admix_descriptor)
#endif
#ifndef RESOLVED
#define RESOLVED "{}"
#endif
#ifndef CREATE_STATUS
#define CREATE_STATUS ADMIX_OK
#endif
#ifndef MIX
#define MIX mix
#endif
#ifndef ENTRY
#define ENTRY admix_plugin_manifest
#endif

#define TEXT(words) {words, sizeof(words) - 1}

static int32_t check(const void *data, admix_text settings, const admix_texts *resolved, admix_needs *needs,
                     const admix_errors *errors) {
  admix_text text = TEXT(RESOLVED);
  resolved->put(resolved->host, text);
  return ADMIX_OK;
}

static int32_t create(const void *data, admix_text settings, const admix_build *build, void **self,
                      const admix_errors *errors) {
  return CREATE_STATUS;
}

static void destroy(void *self) {}

/* Says that all is well, and leaves every result null. */
static int32_t mix(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) {
  return ADMIX_OK;
}

/* Ends the program as if all were well. */
static int32_t leave(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) { exit(0); }

/* The same, past everything that a program has for its end. */
static int32_t leave_at_once(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) {
  _exit(0);
}

static int32_t give_up(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) { abort(); }

static int32_t close_output(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) {
  close(STDOUT_FILENO);
  return ADMIX_OK;
}

#ifdef __cplusplus
/* What no function of a library may do. */
static int32_t throw_up(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) {
  throw std::runtime_error("no cell\nleft");
}
static int32_t throw_a_number(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) {
  throw 7;
}
#endif

/* Reports what would steer a terminal. */
static int32_t steer(void *self, const admix_mix *mix, admix_mixed *mixed, const admix_errors *errors) {
  admix_text setting = TEXT(""), message = TEXT("\033[31mred\a");
  errors->report(errors->host, setting, message);
  return 1;
}

#ifdef LEAVES_EARLY
__attribute__((constructor)) static void leave_early(void) { LEAVES_EARLY; }
#endif

static const admix_mixer mixer = {
    .size = sizeof(admix_mixer), .check = check, .create = create, .destroy = destroy, .mix = MIX};

static const admix_descriptor descriptor = {
    .size = DESCRIPTOR_SIZE,
    .kind = ADMIX_MIXER,
    .name = TEXT(NAME),
    .type_name = TEXT(TYPE_NAME),
    .summary = TEXT("nothing at all"),
    .source = TEXT("the tests"),
    .pairing = {.size = sizeof(admix_pairing), .alpha = 1.0},
    .mixer = &mixer,
};

static const admix_descriptor *const descriptors[] = {&descriptor};

static const admix_manifest manifest = {
    .magic = MAGIC,
    .abi = ABI,
    .size = sizeof(admix_manifest),
    .libtorch = TEXT(LIBTORCH),
    .package = TEXT("tiny"),
    .version = TEXT("0.0.1"),
    .descriptors = descriptors,
    .count = 1,
};

#ifdef __cplusplus
extern "C"
#endif
const admix_manifest *ENTRY(void) { return &manifest; }
