/* resolvent: a portable analysis engine for Transformer Field Theory. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * `cargo xtask header` writes this file from the sources of crates/capi. Do not edit it.
 *
 * - A call returns a status. If it is not RESOLVENT_STATUS_OK, resolvent_last_error() has a message, and outputs other
 *   than lengths are null or unchanged.
 * - What has a variable size is copied into a buffer of yours: `(buffer, capacity, length)`. A call with a null buffer
 *   sets `length` alone. Capacities and lengths count elements, and bytes with the zero byte for text. `length` may
 *   be null.
 * - Text is UTF-8 and ends with a zero byte. Arrays are row-major.
 * - Handles are freed by you, each once, in any order. Several threads may use one handle at once, but none while it is
 *   freed. There is no global state.
 */

#ifndef RESOLVENT_H
#define RESOLVENT_H

#include <stddef.h>
#include <stdint.h>

/**
 * The outcome of a call. Every other value than `RESOLVENT_STATUS_OK` leaves a message: see `resolvent_last_error`.
 */
enum resolvent_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The call succeeded.
   */
  RESOLVENT_STATUS_OK = 0,
  /**
   * An argument is invalid: null, not UTF-8, out of range, or of the wrong length.
   */
  RESOLVENT_STATUS_ARGUMENT = 1,
  /**
   * The buffer is too small. The length is set, and nothing is copied.
   */
  RESOLVENT_STATUS_BUFFER = 2,
  /**
   * The model does not exist, cannot be read, or is not supported.
   */
  RESOLVENT_STATUS_MODEL = 3,
  /**
   * The device does not exist, has no memory left, or has failed.
   */
  RESOLVENT_STATUS_DEVICE = 4,
  /**
   * A result fails its own check, so there is none.
   */
  RESOLVENT_STATUS_CHECK = 5,
  /**
   * The callback `stop` has stopped the work.
   */
  RESOLVENT_STATUS_STOPPED = 6,
  /**
   * A file cannot be written.
   */
  RESOLVENT_STATUS_FILE = 7,
  /**
   * The library has a bug. The handles of the call can only be freed.
   */
  RESOLVENT_STATUS_PANIC = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum resolvent_status resolvent_status;
#else
typedef int32_t resolvent_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What an edit does to the value y of a site at a token.
 */
enum resolvent_edit_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * `y + v`: a source.
   */
  RESOLVENT_EDIT_KIND_ADD = 0,
  /**
   * `v`: a patch.
   */
  RESOLVENT_EDIT_KIND_PUT = 1,
  /**
   * `factor y`: 0 ablates.
   */
  RESOLVENT_EDIT_KIND_SCALE = 2,
  /**
   * `y` without its component along `v`.
   */
  RESOLVENT_EDIT_KIND_PROJECT = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum resolvent_edit_kind resolvent_edit_kind;
#else
typedef int32_t resolvent_edit_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A model with its weights on a device.
 *
 * Several threads may use it at once. A run retains what it needs of its model, so either may be freed first.
 */
typedef struct resolvent_model resolvent_model;

/**
 * The result of an analysis, in memory. Several threads may use it at once.
 */
typedef struct resolvent_result resolvent_result;

/**
 * A forward pass of one prompt, on the device. Several threads may use it at once.
 */
typedef struct resolvent_run resolvent_run;

/**
 * How a model is opened. Set `size`, and leave what you do not need at zero:
 * `resolvent_options options = {.size = sizeof options, .device = "host"};`
 */
typedef struct resolvent_options {
  /**
   * `sizeof(resolvent_options)`. It tells the library which fields the program knows.
   */
  size_t size;
  /**
   * The device: `auto` (or null), `gpu`, `host`, an index, or a part of an adapter's name.
   */
  const char *device;
  /**
   * Folder of the cache of compiled kernels; null is the user's, and an empty text is none.
   */
  const char *cache;
  /**
   * Memory of a batch's intermediate values in bytes; 0 is 512 MiB. Larger work is split.
   */
  uint64_t batch_bytes;
  /**
   * Threads of the host executor; 0 is one for each core.
   */
  uint32_t threads;
  /**
   * Stores the weights as 16-bit floats, unless it is 0.
   */
  int f16_weights;
  /**
   * Rounds the inputs of forward products to 16-bit floats as well, unless it is 0.
   */
  int f16_inputs;
} resolvent_options;

/**
 * Callbacks of one call. They are called on the thread of the call, before it returns. Either may be null.
 *
 * They are called often, so they must be fast. They must return: no exception and no `longjmp` may leave them. They
 * may call this library.
 */
typedef struct resolvent_watch {
  /**
   * Receives that `done` of `all` parts are done. `what` says what is counted; it is valid during the callback.
   */
  void (*progress)(void *user, const char *what, uint64_t done, uint64_t all);
  /**
   * Returns whether the work has to stop: any value but 0 ends the call with `RESOLVENT_STATUS_STOPPED`.
   */
  int (*stop)(void *user);
  /**
   * The first argument of both callbacks.
   */
  void *user;
} resolvent_watch;

/**
 * The sizes of a model.
 */
typedef struct resolvent_sizes {
  /**
   * Blocks. The field has one level more.
   */
  size_t layers;
  /**
   * Width of the residual stream.
   */
  size_t width;
  /**
   * Query heads of a block.
   */
  size_t heads;
  /**
   * Width of a head.
   */
  size_t head_width;
  /**
   * Tokens of the vocabulary.
   */
  size_t vocabulary;
  /**
   * Tokens of the longest prompt.
   */
  size_t positions;
} resolvent_sizes;

/**
 * A change of the value of a site at one token. Edits at one place are applied in the given order.
 */
typedef struct resolvent_edit {
  /**
   * The site, such as `blocks.1.hook_resid_pre` or `blocks.0.attn.hook_z[2]`.
   */
  const char *site;
  /**
   * The token, from 0.
   */
  size_t token;
  /**
   * A value of `resolvent_edit_kind`.
   */
  int32_t kind;
  /**
   * The factor of `RESOLVENT_EDIT_KIND_SCALE`.
   */
  float factor;
  /**
   * The vector v of the other kinds, as long as the site is wide.
   */
  const float *vector;
  /**
   * The number of elements of `vector`.
   */
  size_t length;
} resolvent_edit;

/**
 * A check that a result has passed.
 */
typedef struct resolvent_check {
  /**
   * The name, which is valid until the result is freed.
   */
  const char *name;
  /**
   * The figure.
   */
  double value;
  /**
   * The part of the figure that rounding can cause.
   */
  double noise;
  /**
   * The check passes if the figure is at most `bound + noise`.
   */
  double bound;
} resolvent_check;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the message of the last call on this thread that failed: one line of UTF-8 that names the cause and the fix.
 *
 * It is empty if no call has failed. The pointer is valid until the next call on this thread fails, or the thread
 * ends.
 */
const char *resolvent_last_error(void);

/**
 * Returns the version of the library, such as `0.1.0`.
 */
const char *resolvent_version(void);

/**
 * Opens a model on a device, and sets `model` to its handle, or to null.
 *
 * The name denotes an embedded model (`atlas-nano`, `atlas-micro`, `atlas-small`), a directory or a GGUF file, a model
 * of a hub, or random weights (`random:7`). A GPU must first pass the self-test, once for each driver. `options` and
 * `watch` may be null.
 *
 * Required: Pointers are null or valid. `options` has as many bytes as its field `size` says.
 */
resolvent_status resolvent_model_open(const char *name,
                                      const struct resolvent_options *options,
                                      const struct resolvent_watch *watch,
                                      struct resolvent_model **model);

/**
 * Frees a model. Null is ignored.
 *
 * Required: The handle is not used afterwards, nor by a call on another thread.
 */
void resolvent_model_free(struct resolvent_model *model);

/**
 * Sets `sizes` to the sizes of a model.
 *
 * Required: Pointers are null or valid.
 */
resolvent_status resolvent_model_sizes(const struct resolvent_model *model, struct resolvent_sizes *sizes);

/**
 * Copies the description of the device that a model is on. The length includes the zero byte at the end.
 *
 * Required: Pointers are null or valid, and `buffer` has room for `capacity` bytes.
 */
resolvent_status resolvent_model_device(const struct resolvent_model *model,
                                        char *buffer,
                                        size_t capacity,
                                        size_t *length);

/**
 * Copies the token ids of a prompt. A model without a tokenizer reads ids with commas between them: `5,9,12`.
 *
 * Required: Pointers are null or valid, and `tokens` has room for `capacity` elements.
 */
resolvent_status resolvent_model_encode(const struct resolvent_model *model,
                                        const char *prompt,
                                        uint32_t *tokens,
                                        size_t capacity,
                                        size_t *length);

/**
 * Copies the text of tokens. The length includes the zero byte at the end.
 *
 * Required: Pointers are null or valid. `tokens` has `count` elements, and `buffer` has room for `capacity` bytes.
 */
resolvent_status resolvent_model_decode(const struct resolvent_model *model,
                                        const uint32_t *tokens,
                                        size_t count,
                                        char *buffer,
                                        size_t capacity,
                                        size_t *length);

/**
 * Runs a prompt of `token_count` tokens with `edit_count` edits, and sets `run` to its handle, or to null.
 *
 * `edits` may be null if there are none. `watch` may be null.
 *
 * Required: Pointers are null or valid, and arrays have as many elements as their counts say.
 */
resolvent_status resolvent_model_run(const struct resolvent_model *model,
                                     const uint32_t *tokens,
                                     size_t token_count,
                                     const struct resolvent_edit *edits,
                                     size_t edit_count,
                                     const struct resolvent_watch *watch,
                                     struct resolvent_run **run);

/**
 * Frees a run. Null is ignored.
 *
 * Required: The handle is not used afterwards, nor by a call on another thread.
 */
void resolvent_run_free(struct resolvent_run *run);

/**
 * Copies the field h of a run: `(layers + 1) * token_count * width` elements, row-major, `[level, token, width]`.
 *
 * Required: Pointers are null or valid, and `field` has room for `capacity` elements.
 */
resolvent_status resolvent_run_field(const struct resolvent_run *run, float *field, size_t capacity, size_t *length);

/**
 * Copies the logits of a run: `token_count * vocabulary` elements, row-major, `[token, vocabulary]`.
 *
 * Required: Pointers are null or valid, and `logits` has room for `capacity` elements.
 */
resolvent_status resolvent_run_logits(const struct resolvent_run *run, float *logits, size_t capacity, size_t *length);

/**
 * Sets `value` to the value of an observable, such as `logit(" Mary") - logit(" John")`.
 *
 * Required: Pointers are null or valid.
 */
resolvent_status resolvent_run_value(const struct resolvent_run *run,
                                     const char *observable,
                                     const struct resolvent_watch *watch,
                                     double *value);

/**
 * Frees a result. Null is ignored.
 *
 * Required: The handle is not used afterwards, nor by a call on another thread.
 */
void resolvent_result_free(struct resolvent_result *result);

/**
 * Copies the names of the arrays, with commas between them. The length includes the zero byte at the end.
 *
 * Required: Pointers are null or valid, and `buffer` has room for `capacity` bytes.
 */
resolvent_status resolvent_result_names(const struct resolvent_result *result,
                                        char *buffer,
                                        size_t capacity,
                                        size_t *length);

/**
 * Copies the names of an array's axes, with commas between them, outermost first. The length includes the zero byte.
 *
 * Required: Pointers are null or valid, and `buffer` has room for `capacity` bytes.
 */
resolvent_status resolvent_result_axes(const struct resolvent_result *result,
                                       const char *name,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *length);

/**
 * Copies the lengths of an array's axes, outermost first.
 *
 * Required: Pointers are null or valid, and `shape` has room for `capacity` elements.
 */
resolvent_status resolvent_result_shape(const struct resolvent_result *result,
                                        const char *name,
                                        size_t *shape,
                                        size_t capacity,
                                        size_t *length);

/**
 * Copies the elements of an array, row-major.
 *
 * Required: Pointers are null or valid, and `elements` has room for `capacity` elements.
 */
resolvent_status resolvent_result_array(const struct resolvent_result *result,
                                        const char *name,
                                        float *elements,
                                        size_t capacity,
                                        size_t *length);

/**
 * Copies the checks that a result has passed.
 *
 * Required: Pointers are null or valid, and `checks` has room for `capacity` elements.
 */
resolvent_status resolvent_result_checks(const struct resolvent_result *result,
                                         struct resolvent_check *checks,
                                         size_t capacity,
                                         size_t *length);

/**
 * Copies the whole result as one JSON object: `arrays` (name to `shape` and row-major `data`) and `metadata`, which
 * has model, device, parameters and checks. The length includes the zero byte at the end.
 *
 * Required: Pointers are null or valid, and `buffer` has room for `capacity` bytes.
 */
resolvent_status resolvent_result_json(const struct resolvent_result *result,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *length);

/**
 * Writes a result to a file, whose name ends in `.safetensors` or `.json`. A file of this name is replaced.
 *
 * Required: Pointers are null or valid.
 */
resolvent_status resolvent_result_write(const struct resolvent_result *result, const char *path);

/**
 * Computes the sensitivity field `dJ/dh[l,t]` of an observable: arrays `sensitivity [level, token, d]`,
 * `norm [level, token]` and `value [1]`.
 *
 * Sets `result` to its handle, or to null. `watch` may be null.
 *
 * Required: Pointers are null or valid.
 */
resolvent_status resolvent_run_sensitivity(const struct resolvent_run *run,
                                           const char *observable,
                                           const struct resolvent_watch *watch,
                                           struct resolvent_result **result);

/**
 * Computes the effect on an observable of each `h[l,t]` of the clean run, put into the corrupted run: among others the
 * arrays `effect [level, token]` and its first-order prediction `first_order [level, token]`.
 *
 * Both runs have the same model and as many tokens. In the observable, `kl(base)` denotes the clean run. Sets `result`
 * to its handle, or to null. `watch` may be null.
 *
 * Required: Pointers are null or valid.
 */
resolvent_status resolvent_run_patch(const struct resolvent_run *clean,
                                     const struct resolvent_run *corrupted,
                                     const char *observable,
                                     const struct resolvent_watch *watch,
                                     struct resolvent_result **result);

/**
 * Computes the response of the field to a source at a place, to first order: arrays `response [level, token, d]` and
 * `norm [level, token]`.
 *
 * Level and token count from 0, or backwards from -1. `source` has `length` elements, as many as the stream is wide.
 * Sets `result` to its handle, or to null. `watch` may be null.
 *
 * Required: Pointers are null or valid, and `source` has `length` elements.
 */
resolvent_status resolvent_run_green(const struct resolvent_run *run,
                                     int64_t level,
                                     int64_t token,
                                     const float *source,
                                     size_t length,
                                     const struct resolvent_watch *watch,
                                     struct resolvent_result **result);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RESOLVENT_H */
