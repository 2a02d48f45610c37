/* jobs/msgpack.h - the one reader of foreign msgpack bytes, and writing some.
 *
 * They are checked as a whole first: depth of at most 16, no length or count that the bytes left
 * cannot hold, an exact end, valid UTF-8 in every str. Nothing is unpacked and nothing is
 * allocated; a value is a view of the bytes and of the document, which must outlive it.
 *
 *     struct mp_document document;
 *     enum status status = mp_check(data, bytes, &document, err);
 *     struct mp_cursor at = mp_inside(&document.root);
 *     struct mp_value key, value;
 *     while (mp_next(&at, &key) && mp_next(&at, &value)) {
 *         ...
 *     }
 *
 * Reading bytes that were not checked ends early, never outside of them. Pure, any thread.
 */
#ifndef STILLHOUSE_JOBS_MSGPACK_H
#define STILLHOUSE_JOBS_MSGPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "base/strbuf.h"

enum { MP_DEPTH_MAX = 16, MP_DESCRIBE_BYTES = 96, MP_ENDS = 128 };

struct mp_document;

enum mp_type {
    MP_NONE, /* absent */
    MP_NIL,
    MP_BOOL,
    MP_WHOLE,    /* 0 and more */
    MP_NEGATIVE, /* less than 0 */
    MP_FLOAT,
    MP_STR,
    MP_BIN,
    MP_EXT,
    MP_ARRAY,
    MP_MAP
};

struct mp_value {
    enum mp_type type;
    uint32_t count; /* ARRAY: elements; MAP: pairs */
    union {
        bool truth;
        uint64_t whole;
        int64_t negative;
        double number;
    };
    struct slice bytes; /* STR, BIN, EXT: the payload; ARRAY, MAP: what is in it */
    const char *start;  /* of the value, which ends where `bytes` do */
    const struct mp_document *document;
};

/* What was checked: the value that it is, and where its first arrays and maps end, so that they
 * need not be walked again to step over them (a third of an answered enrichment's decoding). */
struct mp_document {
    struct mp_value root;
    const unsigned char *data;
    size_t count;
    struct mp_end {
        uint32_t inside; /* the offset of what is in it, in rising order */
        uint32_t end;
    } ends[MP_ENDS];
};

struct mp_cursor {
    const unsigned char *at;
    const unsigned char *end;
    const struct mp_document *document;
};

/* STATUS_OK when `data` is exactly one well-formed msgpack value within the limits above; *out (may
 * be NULL) is filled. INVALID says at which byte, and in which field of a map, something is wrong.
 */
enum status mp_check(const void *data, size_t bytes, struct mp_document *out,
                     struct error *err) MUSTCHECK;

/* At the first element of an array, or the first key of a map; at nothing for others. */
struct mp_cursor mp_inside(const struct mp_value *container) MUSTCHECK;
/* The value at the cursor, which steps over all of it; false at the end. */
bool mp_next(struct mp_cursor *cursor, struct mp_value *out) MUSTCHECK;

/* The values of some keys of a map, MP_NONE where there is none: nil counts as absent, of equal
 * keys the last one counts. */
void mp_find_all(const struct mp_value *map, const struct slice *names, size_t count,
                 struct mp_value *out);

/* "an array", "1000", "the string "abc"": how an error text shows what it found. Returns `out`. */
const char *mp_describe(const struct mp_value *value, char out[MP_DESCRIBE_BYTES]);

/* The text of a str or bin; false for another type or invalid UTF-8. NUL bytes pass. */
bool mp_text(const struct mp_value *value, struct slice *out) MUSTCHECK;
/* An int64_t from an integer or a float with a whole value; false for others. */
bool mp_integer(const struct mp_value *value, int64_t *out) MUSTCHECK;
/* A finite number from a float or an integer; false for others. */
bool mp_number(const struct mp_value *value, double *out) MUSTCHECK;

/* Typed fields, whose errors name the field. The value is left as it is in *out where the field is
 * absent and need not be there. */
struct mp_field {
    struct slice name;
    bool required;
};
/* No NUL bytes. */
enum status mp_field_text(struct mp_field field, const struct mp_value *value, struct slice *out,
                          struct error *err) MUSTCHECK;
enum status mp_field_integer(struct mp_field field, const struct mp_value *value, int64_t least,
                             int64_t most, int64_t *out, struct error *err) MUSTCHECK;
/* `value` itself, checked. */
enum status mp_field_array(struct mp_field field, const struct mp_value *value, size_t least,
                           size_t most, struct error *err) MUSTCHECK;
enum status mp_missing(struct mp_field field, const char *expected, struct error *err);
enum status mp_wrong(struct mp_field field, const char *expected, const struct mp_value *value,
                     struct error *err);

/* ---- writing: appended to `out`, in the shortest forms; check strbuf_ok at the end
 * --------------- */

void mp_put_map(struct strbuf *out, size_t pairs);
void mp_put_array(struct strbuf *out, size_t elements);
void mp_put_text(struct strbuf *out, struct slice text);
void mp_put_integer(struct strbuf *out, int64_t number);
void mp_put_number(struct strbuf *out, double number); /* as a float of 64 bits, whole ones too */
void mp_put_truth(struct strbuf *out, bool truth);
void mp_put_nil(struct strbuf *out);

#endif
