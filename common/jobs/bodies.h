/* jobs/bodies.h - the msgpack bodies of jobs and results (producer/CONTRACT.md, sections 3 and 4):
 * decode and encode.
 *
 * For each kind NAME of kinds.def there are struct NAME_body, with a member for each of its fields,
 * and bodies_decode_NAME, bodies_accept_NAME and bodies_encode_NAME, all made of that table:
 *
 *     struct arena arena = {0};
 *     struct reading strict = {&arena, false};
 *     struct distill_body lesson;
 *     if (bodies_decode(KIND_distill, body, &strict, &lesson, &err) == STATUS_OK &&
 *         (!lesson.quality.given || lesson.quality.value >= 0.5)) {
 *         metadata_write(lesson.metadata.pairs, lesson.metadata.count, &out);
 *     }
 *
 * Foreign bytes go through msgpack.h's reader. Decoders name the field, what it was and what was
 * expected. Decoded slices point into the body itself: it must outlive them. Unknown fields are
 * ignored, or kept as metadata by a kind that takes the rest. Pure, any thread.
 */
#ifndef STILLHOUSE_JOBS_BODIES_H
#define STILLHOUSE_JOBS_BODIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "jobs/example.h"
#include "jobs/kinds.h"
#include "jobs/values.h"

enum { BODIES_K_DEFAULT = 3, BODIES_K_MAX = 20, BODIES_ID_MAX = 256 };

/* ---- the structs ----------------------------------------------------------------------------- */

/* `given`: the body had it; else `value` is what an absent one counts as, or 0. */
struct maybe_integer {
    int64_t value;
    bool given;
};
struct maybe_number {
    double value;
    bool given;
};
struct maybe_truth {
    bool value;
    bool given;
};

/* Texts that are absent are {NULL, 0}; ANY is the value's bytes; a list is its elements. */
#define MEMBER_TEXT(name) struct slice name;
#define MEMBER_FULL(name) struct slice name;
#define MEMBER_DOCUMENT(name) struct slice name;
#define MEMBER_ID(name) struct slice name;
#define MEMBER_ANY(name) struct slice name;
#define MEMBER_INTEGER(name) struct maybe_integer name;
#define MEMBER_NUMBER(name) struct maybe_number name;
#define MEMBER_TRUTH(name) struct maybe_truth name;

/* clang-format off */
#define JOB_KIND(name, needs, traits) struct name##_body {
#define JOB_SHAPE(of) struct of {
#define JOB_FIELD(of, name, type, rules, least, most, fallback, when) MEMBER_##type(name)
#define JOB_WORD(of, name, rules, words) struct slice name;
#define JOB_METADATA(of, rules, reserved) struct metadata metadata;
#define JOB_LIST(of, name, shape, least, most) struct { struct shape *each; size_t count; } name;
#define JOB_END(of) };
#include "jobs/kinds.def"
/* clang-format on */

/* Room for a body of any kind. */
union any_body {
#define JOB_KIND(name, needs, traits) struct name##_body name;
#include "jobs/kinds.def"
};

/* ---- decode and encode ----------------------------------------------------------------------- */

/* STATUS_INVALID with the field named, or OOM; *out is then unspecified. Arrays come from the
 * arena. nil counts as absent; bin is taken as text if it is UTF-8; no text may hold a NUL byte; a
 * float with a whole value is an integer; of equal keys the last one counts. What is odd in a body
 * without being wrong, such as success=false, is the handler's to judge.
 *
 * Leniently, for a worker: documents and metadata are the lesson or beside it. A NUL byte in a text
 * becomes U+FFFD, and of metadata is left out what Chroma cannot keep (values.h). */
enum status bodies_decode(enum kind_id kind, struct slice body, const struct reading *how,
                          void *out, struct error *err) MUSTCHECK;

/* Appends the msgpack map to `out` (check strbuf_ok). Optional fields that are absent are left out.
 */
void bodies_encode(enum kind_id kind, const void *body, struct strbuf *out);

/* The same for one kind, with its struct; decode is strict, accept is lenient. */
#define JOB_KIND(name, needs, traits)                                                              \
    enum status bodies_decode_##name(const void *data, size_t bytes, struct arena *arena,          \
                                     struct name##_body *out, struct error *err) MUSTCHECK;        \
    enum status bodies_accept_##name(const void *data, size_t bytes, struct arena *arena,          \
                                     struct name##_body *out, struct error *err) MUSTCHECK;        \
    void bodies_encode_##name(const struct name##_body *body, struct strbuf *out);
#include "jobs/kinds.def"

/* The two above for any shape: what lists and tests are made of. The value is checked already. */
enum status bodies_read(const struct kind_shape *shape, const struct mp_value *map,
                        const struct reading *how, void *out, struct error *err) MUSTCHECK;
void bodies_write(const struct kind_shape *shape, const void *body, struct strbuf *out);

/* INVALID where UTF-8 text is no id of a task or document: not blank, 1 to BODIES_ID_MAX bytes, no
 * control characters. The error calls it `name`. */
enum status bodies_check_id(const char *name, struct slice text, struct error *err) MUSTCHECK;

/* The key under which one such job at a time may be outstanding, in a buffer of
 * BODIES_UNIQUE_BYTES: its KEY fields, texts as their text_hash, with points between. "" where the
 * kind has none. */
enum { BODIES_UNIQUE_BYTES = 64 };
void bodies_unique(enum kind_id kind, const void *body, char out[BODIES_UNIQUE_BYTES]);

/* ---- results --------------------------------------------------------------------------------- */

enum {
    BODIES_FEW_SHOT_MAX = 16 * 1024, /* of a result's block */
    BODIES_RESULT_MAX = 16 * 1024 * 1024,
};

/* Result of an enrichment: {v, domain, query_hash, created_ms, epoch, k, examples, few_shot}, and
 * `error` (a string) instead of examples where the job ended in a dead letter. */
struct enrich_result {
    struct slice domain;
    struct slice query_hash;
    int64_t created_unix_ms;
    int64_t epoch;
    int k; /* how many were asked for */
    struct example *examples;
    size_t count;
    struct slice few_shot; /* "" when there are none */
    struct slice error;    /* {NULL, 0} = none */
};

/* Decoding is patient with what others wrote: absent fields are "" or 0 (k: the default), odd
 * metadata and distances are left out. INVALID: a field of the wrong type, `v` other than 1, or a
 * block that is longer than any of ours. */
void bodies_encode_result(const struct enrich_result *result, struct strbuf *out);
enum status bodies_decode_result(const void *data, size_t bytes, struct arena *arena,
                                 struct enrich_result *out, struct error *err) MUSTCHECK;

/* True for the result of this query: who asks gets nothing that was made for somebody else, however
 * it came to stand in its place. It holds texts of other tasks, perhaps of another tenant. */
bool bodies_result_is_of(const struct enrich_result *result, const char *domain,
                         const char *query_hash) MUSTCHECK;

#endif
