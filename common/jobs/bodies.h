/* jobs/bodies.h - the msgpack bodies of jobs and results (producer/CONTRACT.md, sections 3 and 4):
 * decode and encode.
 *
 * Foreign bytes are scanned first (depth <= 16, every length <= the bytes left, exact end, valid
 * UTF-8 in every str) and only then unpacked, so that a five-byte header cannot reserve gigabytes.
 * Decoders name the field, what it was and what was expected. Decoded slices point into the body
 * itself: it must outlive them. Unknown fields are ignored. Pure, any thread.
 */
#ifndef STILLHOUSE_JOBS_BODIES_H
#define STILLHOUSE_JOBS_BODIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "jobs/job.h"
#include "json/writer.h"

enum { BODIES_K_DEFAULT = 3, BODIES_K_MAX = 20, BODIES_DEPTH_MAX = 16, BODIES_METADATA_MAX = 64 };

/* STATUS_OK when `data` is exactly one well-formed msgpack value within the limits above. */
enum status bodies_scan(const void *data, size_t bytes, struct error *err) MUSTCHECK;

/* A metadata value as Chroma can hold it; lists and maps are JSON text. Keys are 1-128 bytes of
 * text, no two of one map equal (the last one wins), at most BODIES_METADATA_MAX. In job bodies our
 * own keys are refused, and those that begin with '#', '$' or "chroma:", for which Chroma would
 * refuse the whole batch. */
enum meta_type { META_STRING, META_INT, META_FLOAT, META_BOOL, META_NULL };

struct meta_value {
    enum meta_type type;
    struct slice string;
    int64_t integer;
    double number;
    bool boolean;
};

struct meta_pair {
    struct slice key;
    struct meta_value value;
};

struct enrich_body {
    struct slice query; /* not blank */
    int k;              /* 1..20 */
};

struct distill_body {
    struct slice task_id; /* 1-256 bytes, printable, no control characters */
    struct slice prompt;  /* not blank */
    struct slice result;  /* not blank */
    bool success;
    bool has_quality;
    double quality;     /* 0..1 */
    struct slice model; /* {NULL, 0} = absent */
    struct meta_pair *metadata;
    size_t metadata_count;
    struct slice dropped; /* metadata keys left out, {NULL, 0} = none: bodies_accept_distill */
};

struct index_document {
    struct slice id;   /* 1-256 bytes */
    struct slice text; /* not blank */
    struct meta_pair *metadata;
    size_t metadata_count;
    struct slice dropped; /* as above */
};

struct index_body {
    struct index_document *documents;
    size_t count; /* 1..1000 */
};

/* STATUS_INVALID with the field named, or OOM; *out is then unspecified. Arrays come from `arena`.
 * nil counts as absent; bin is taken as text if it is UTF-8; no text may hold a NUL byte; a float
 * with a whole value is an integer; of equal keys the last one counts. */
enum status bodies_decode_enrich(const void *data, size_t bytes, struct enrich_body *out,
                                 struct error *err) MUSTCHECK;
/* success=false and quality under a floor are NOT errors here: the handler judges them. */
enum status bodies_decode_distill(const void *data, size_t bytes, struct arena *arena,
                                  struct distill_body *out, struct error *err) MUSTCHECK;
/* The same for a worker, whom the one who wrote it will not hear: prompt and result are the lesson,
 * metadata is beside it. What Chroma cannot keep of it is left out (a number that is not finite or
 * has more than 64 bits, binary data, a key that is empty, too long or reserved, a 65th one), and
 * key "dropped_keys" says which; a NUL byte in a text becomes U+FFFD. */
enum status bodies_accept_distill(const void *data, size_t bytes, struct arena *arena,
                                  struct distill_body *out, struct error *err) MUSTCHECK;
enum status bodies_accept_index(const void *data, size_t bytes, struct arena *arena,
                                struct index_body *out, struct error *err) MUSTCHECK;
enum status bodies_decode_index(const void *data, size_t bytes, struct arena *arena,
                                struct index_body *out, struct error *err) MUSTCHECK;

/* Append the msgpack map to `out` (check strbuf_ok). Optional fields that are absent are left out.
 */
void bodies_encode_enrich(const struct enrich_body *body, struct strbuf *out);
void bodies_encode_distill(const struct distill_body *body, struct strbuf *out);
void bodies_encode_index(const struct index_body *body, struct strbuf *out);

/* One example of an enrichment result. */
struct example {
    struct slice id;
    struct slice text;
    double distance;
    struct meta_pair *metadata;
    size_t metadata_count;
};

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

/* Puts one msgpack value into a JSON document (bin as base64 text, NaN/inf as null, map keys as
 * text), as the member `name` of an object, or NULL. INVALID puts nothing. For `stillhouse peek`,
 * `dead show`, `result`. */
enum status bodies_to_json(const void *data, size_t bytes, struct json_writer *json,
                           const char *name, struct error *err) MUSTCHECK;
/* The members of a map into an object that is open already. */
enum status bodies_members_to_json(const void *data, size_t bytes, struct json_writer *json,
                                   struct error *err) MUSTCHECK;

#endif
