/* embedder/decode.h - the answers of embedding servers: foreign bytes. Pure, apart for the fuzzer.
 *
 *     float vectors[2 * 768];
 *     status = embedder_decode_ollama(body, body_bytes, 2, 768, vectors, &err);
 *
 * Each fills vectors[count * dimension], count > 0, with vectors of unit length; on failure what is
 * in there means nothing. Statuses as of embedder_embed.
 */
#ifndef STILLHOUSE_EMBEDDER_DECODE_H
#define STILLHOUSE_EMBEDDER_DECODE_H

#include <stddef.h>

#include "base/status.h"

enum status embedder_decode_openai(const char *body, size_t bytes, size_t count, size_t dimension,
                                   float *vectors, struct error *err) MUSTCHECK;
enum status embedder_decode_ollama(const char *body, size_t bytes, size_t count, size_t dimension,
                                   float *vectors, struct error *err) MUSTCHECK;

/* The length of the first vector of an answer, whoever sent it. GARBLED: there is none. */
enum status embedder_decode_length(const char *body, size_t bytes, size_t *length,
                                   struct error *err) MUSTCHECK;

#endif
