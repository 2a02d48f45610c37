/* jobs/bodies_internal.h - what the decoders of bodies.h share: an unpacked body and its typed
 * fields.
 *
 *     struct body_reader reader;
 *     enum status status = body_open_map(&reader, data, bytes, err);
 *     if (status == STATUS_OK) {
 *         status = body_full_text(&reader.unpacked.data, "query", &out->query, err);
 *     }
 *     body_close(&reader);
 *
 * Slices point into the body's own bytes; the unpacked objects live until body_close.
 */
#ifndef STILLHOUSE_JOBS_BODIES_INTERNAL_H
#define STILLHOUSE_JOBS_BODIES_INTERNAL_H

#include <msgpack.h>

#include "jobs/bodies.h"

enum { BODY_ID_MAX = 256, BODY_KEY_MAX = 128, BODY_LIST_MAX = 1000, BODY_DESCRIBE_BYTES = 96 };

struct body_reader {
    msgpack_unpacked unpacked;
};

/* Scans and unpacks; the map form also wants a map. INVALID or OOM. Always followed by body_close,
 * also after a failure. */
enum status body_open(struct body_reader *reader, const void *data, size_t bytes,
                      struct error *err) MUSTCHECK;
enum status body_open_map(struct body_reader *reader, const void *data, size_t bytes,
                          struct error *err) MUSTCHECK;
void body_close(struct body_reader *reader);

/* The last value of `name` in a map; NULL when it is absent or nil. */
const msgpack_object *body_find(const msgpack_object *map, const char *name);

/* "an array", "1000", "the string "abc"": how an error text shows what it found. Returns `out`. */
const char *body_describe(const msgpack_object *object, char out[BODY_DESCRIBE_BYTES]);

enum body_presence { BODY_OPTIONAL, BODY_REQUIRED };

/* Typed fields of a map. nil counts as absent; an absent optional field leaves *out as it is.
 * INVALID names the field. */

/* str, or bin that is valid UTF-8; no NUL bytes. */
enum status body_text(const msgpack_object *map, const char *name, enum body_presence presence,
                      struct slice *out, struct error *err) MUSTCHECK;
/* Required text with more than white space in it. */
enum status body_full_text(const msgpack_object *map, const char *name, struct slice *out,
                           struct error *err) MUSTCHECK;
/* Required text of 1 to BODY_ID_MAX bytes, without control characters, not blank. */
enum status body_id(const msgpack_object *map, const char *name, struct slice *out,
                    struct error *err) MUSTCHECK;
/* Optional; an integer, or a float with an integral value. */
enum status body_integer(const msgpack_object *map, const char *name, int64_t min, int64_t max,
                         int64_t *out, struct error *err) MUSTCHECK;
/* Optional number from 0 to 1. */
enum status body_fraction(const msgpack_object *map, const char *name, bool *present, double *out,
                          struct error *err) MUSTCHECK;
/* Required. */
enum status body_bool(const msgpack_object *map, const char *name, bool *out,
                      struct error *err) MUSTCHECK;
/* Absent: *out = NULL. */
enum status body_array(const msgpack_object *map, const char *name, enum body_presence presence,
                       size_t min, size_t max, const msgpack_object_array **out,
                       struct error *err) MUSTCHECK;

/* The object as JSON text: what lists, maps, and numbers as keys are in metadata. Of Chroma's
 * servers only new ones take lists, and none maps. */
enum status body_json_text(const msgpack_object *object, struct arena *arena, struct slice *out,
                           struct error *err) MUSTCHECK;

/* Gets the text of a str or bin; false for another type or invalid UTF-8. NUL bytes pass. */
bool body_as_text(const msgpack_object *object, struct slice *out);
/* Gets an int64_t from an integer or an integral float; false for others. */
bool body_as_integer(const msgpack_object *object, int64_t *out);
/* Gets a finite number from a float or an integer; false for others. */
bool body_as_number(const msgpack_object *object, double *out);

/* How a body is read: strictly for who has just written it, leniently for a worker, whom nobody
 * would hear. */
struct body_rules {
    struct arena *arena;
    bool lenient;
};

/* Leniently: a text with NUL bytes becomes a copy with U+FFFD in their place. */
enum status body_repair(const struct body_rules *rules, struct slice *text,
                        struct error *err) MUSTCHECK;

/* Required text with more than white space in it. Leniently a NUL byte becomes U+FFFD. */
enum status body_document_text(const msgpack_object *map, const char *name,
                               const struct body_rules *rules, struct slice *out,
                               struct error *err) MUSTCHECK;

/* The pairs of a metadata map. Lists and maps are JSON text, numbers as keys are text. */
struct body_metadata {
    struct meta_pair *pairs;
    size_t count;
    struct slice dropped; /* keys of what cannot be kept, for people; {NULL, 0} = none */
};

/* Field `metadata` (optional). Strictly: INVALID names the key that cannot be kept. Leniently: such
 * pairs are left out, and key "dropped_keys" says which. `reserved` ends with NULL. */
enum status body_metadata(const msgpack_object *map, const char *const *reserved,
                          const struct body_rules *rules, struct body_metadata *out,
                          struct error *err) MUSTCHECK;

/* The same, leaving out every pair that is not as it should be: for results. */
enum status body_metadata_tolerant(const msgpack_object *map, struct arena *arena,
                                   struct body_metadata *out, struct error *err) MUSTCHECK;

#endif
