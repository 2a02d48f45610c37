/* vectors.h - what our own codec makes of a vector of tests/contract/vectors: the members of the
 * vector that are answers ("fields", "error", "canonical" ...), computed anew.
 *
 *     cJSON *answer = vectors_answer("bodies", vector);
 *     every member of the vector that is none of the question is in `answer`, and equal
 *     cJSON_Delete(answer);
 */
#ifndef STILLHOUSE_TESTS_VECTORS_H
#define STILLHOUSE_TESTS_VECTORS_H

#include <cjson/cJSON.h>

#include "base/status.h"
#include "base/strbuf.h"

/* `file` is bodies, options, results, hashes, ids or domains. */
cJSON *vectors_answer(const char *file, const cJSON *vector);

/* "82a5..." and back. */
void vectors_bytes(const char *hex, struct strbuf *out);
void vectors_add_hex(cJSON *to, const char *name, const struct strbuf *bytes);

#endif
