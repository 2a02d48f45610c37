/* embedder/embedder.h - texts to vectors: builtin, OpenAI-compatible, or Ollama.
 *
 *     struct embedder *embedder = NULL;
 *     status = embedder_new(&(struct embedder_config){.kind = EMBEDDER_BUILTIN}, &embedder, &err);
 *     float *vectors = calloc(count * embedder_dimension(embedder), sizeof *vectors);
 *     status = embedder_embed(embedder, texts, count, vectors, &err);
 *
 * `builtin` is lexical and needs no server (embedder/builtin.h); the others speak HTTP. Vectors are
 * validated: length, finite, not all zero; then scaled to unit length. One thread per handle.
 */
#ifndef STILLHOUSE_EMBEDDER_EMBEDDER_H
#define STILLHOUSE_EMBEDDER_EMBEDDER_H

#include <stddef.h>

#include "base/slice.h"
#include "base/status.h"
#include "http/client.h"

struct embedder; /* opaque */

enum { EMBEDDER_TEXT_BYTES = 512 }; /* of a URL, of a key */

enum embedder_kind { EMBEDDER_BUILTIN, EMBEDDER_OPENAI, EMBEDDER_OLLAMA };

struct embedder_config {
    enum embedder_kind kind;
    const char *url; /* "" = http://127.0.0.1:11434 (ollama), https://api.openai.com/v1 (openai) */
    const char *model; /* "" = text-embedding-3-small (openai), nomic-embed-text (ollama) */
    const char *key;   /* "" = none */
    size_t dimension;  /* 0 = the model's own: 384 (builtin), known, or learnt (embedder_learn) */
    int timeout_ms;
    http_observer *observer;
    void *observer_context;
};

/* STATUS_INVALID names the setting that is wrong (builtin with a dimension other than 64..4096, a
 * URL, a key with control characters). */
enum status embedder_new(const struct embedder_config *config, struct embedder **out,
                         struct error *err) MUSTCHECK;
void embedder_free(struct embedder *embedder);

/* See http_on_wait. */
void embedder_on_wait(struct embedder *embedder, http_waiter *waiter, void *context);

/* The bound of each following request; 0 = that of the configuration. */
void embedder_set_timeout(struct embedder *embedder, int timeout_ms);

/* 0 while nobody knows: of a model that we do not know, with no dimension configured. */
size_t embedder_dimension(const struct embedder *embedder);

/* Does it embed at all? Asks for a short text of our own: the comparison for one that fails. Where
 * the server refuses that without a reason, it is asked without optional fields from then on. */
enum status embedder_compare(struct embedder *embedder, struct error *err) MUSTCHECK;

/* Where the dimension is not known: embeds a short text and takes the length of its vector. Errors
 * as of embedder_embed. */
enum status embedder_learn(struct embedder *embedder, struct error *err) MUSTCHECK;

/* The identity: "builtin-384-v1", "openai/text-embedding-3-small", "ollama/nomic-embed-text". It
 * names the model in cache keys and in a collection's metadata. Lives as long as the embedder. */
const char *embedder_model(const struct embedder *embedder);

/* Embeds `count` texts (valid UTF-8, not blank: STATUS_INVALID otherwise, before any call) into
 * vectors[count * dimension], in requests of at most 256 texts. Whole or not at all.
 * INVALID: the server refused the data, or the vector of a text is not finite or all zero.
 * MISMATCH: vectors of another length; the text names the index, the length found and expected.
 * GARBLED: wrong count, not JSON. Others as in chroma.h. */
enum status embedder_embed(struct embedder *embedder, const struct slice *texts, size_t count,
                           float *vectors, struct error *err) MUSTCHECK;

#endif
