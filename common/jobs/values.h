/* jobs/values.h - metadata of foreign bodies, as Chroma can hold it, and msgpack as JSON.
 *
 * Metadata values are text, whole numbers of 64 bits, finite numbers, truth values or nothing;
 * lists and maps become JSON text. Keys are 1-128 bytes of text, no two of one map equal (the last
 * one wins), at most METADATA_MAX. In job bodies our own keys are refused, and those that begin
 * with
 * '#', '$' or "chroma:", for which Chroma would refuse the whole batch. Pure, any thread.
 */
#ifndef STILLHOUSE_JOBS_VALUES_H
#define STILLHOUSE_JOBS_VALUES_H

#include "base/arena.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "jobs/example.h"
#include "jobs/msgpack.h"
#include "json/writer.h"

enum {
    METADATA_MAX = 64,        /* of a caller's */
    METADATA_RESULT_MAX = 96, /* of an example's: ours are among them */
};

struct metadata {
    struct meta_pair *pairs;
    size_t count;
    struct slice dropped; /* keys of what was left out, for people; {NULL, 0} = none */
};

/* How a body is read: strictly for who has just written it; leniently for a worker, whom the one
 * who wrote it will not hear. */
struct reading {
    struct arena *arena;
    bool lenient;
};

/* Where pairs come from: a map, and of a body that takes the rest what is none of its fields. */
struct metadata_source {
    const struct mp_value *map;  /* MP_NONE: there is none */
    const char *reserved;        /* keys that are ours; words with single spaces between */
    const struct mp_value *body; /* NULL: takes no rest */
    bool (*is_field)(void *context, const struct mp_value *key);
    void *context;
};

/* Strictly: INVALID names the key that cannot be kept, or that there are too many. Leniently: what
 * Chroma cannot keep is left out (a number that is not finite or has more than 64 bits, binary
 * data, a key that is empty, too long or reserved, a 65th one), and key "dropped_keys" says which.
 */
enum status metadata_read(const struct metadata_source *source, const struct reading *how,
                          struct metadata *out, struct error *err) MUSTCHECK;

/* The same for a result, whose odd pairs are left out without a word, lists and maps too. */
enum status metadata_read_tolerant(const struct mp_value *map, struct arena *arena,
                                   struct metadata *out, struct error *err) MUSTCHECK;

/* Appends the map. */
void metadata_write(const struct meta_pair *pairs, size_t count, struct strbuf *out);

/* Leniently: a text with NUL bytes becomes a copy with U+FFFD in their place. */
enum status values_repair(const struct reading *how, struct slice *text,
                          struct error *err) MUSTCHECK;

/* Puts one msgpack value into a JSON document (bin as base64 text, NaN/inf as null, map keys as
 * text), as the member `name` of an object, or NULL. INVALID puts nothing. For `stillhouse peek`,
 * `dead show`, `result`. */
enum status values_to_json(const void *data, size_t bytes, struct json_writer *json,
                           const char *name, struct error *err) MUSTCHECK;
/* The members of a map into an object that is open already. */
enum status values_members_to_json(const void *data, size_t bytes, struct json_writer *json,
                                   struct error *err) MUSTCHECK;

#endif
