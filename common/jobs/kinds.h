/* jobs/kinds.h - the kinds of jobs: what kinds.def says, as C. Pure, any thread.
 *
 *     const enum kind_id id = kind_of("enrich.3", strlen("enrich.3"));
 *     if (id != KINDS && (job_kinds[id].traits & KIND_ASKS_HTTP) != 0) {
 *         puts(job_kinds[id].name);
 *     }
 */
#ifndef STILLHOUSE_JOBS_KINDS_H
#define STILLHOUSE_JOBS_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "jobs/operation.h"

/* KIND_enrich, KIND_distill ... in the order of kinds.def; KINDS: of none. */
enum kind_id {
#define JOB_KIND(name, needs, traits) KIND_##name,
#include "jobs/kinds.def"
    KINDS
};

enum {
    KIND_ASKS_HTTP = 1,   /* its handler asks Chroma or an embedder */
    KIND_IS_KEPT = 2,     /* what Redis does not take may wait in a spool */
    KIND_GIVES_WAY = 4,   /* it matters less than other jobs: half of a spool is left to those */
    KIND_READS_STORE = 8, /* its handler reads the learning store */
};

enum kind_field_type {
    FIELD_TEXT,
    FIELD_FULL,
    FIELD_DOCUMENT,
    FIELD_ID,
    FIELD_INTEGER,
    FIELD_NUMBER,
    FIELD_TRUTH,
    FIELD_ANY,
    FIELD_WORD,
    FIELD_METADATA,
    FIELD_LIST
};

enum {
    FIELD_OPTIONAL = 0,
    FIELD_REQUIRED = 1,
    FIELD_KEY = 2,
    FIELD_REST = 4,
    FIELD_EITHER = 8, /* of those that belong to the body one at least is there */
    SHAPE_FIELDS_MAX = 48
};

/* A row of kinds.def. */
struct kind_field {
    struct slice name;
    enum kind_field_type type;
    unsigned rules;
    int64_t least, most; /* INTEGER, NUMBER; LIST: how many elements; TEXT: bytes, 0 = any number */
    const char *fallback;             /* "" = none */
    const char *when;                 /* "" = always */
    const char *words;                /* WORD: which; METADATA: keys that are ours */
    const struct kind_shape *element; /* LIST */
    size_t at;                        /* where its member stands in the struct of bodies.h */
};

/* The fields of a body, or of a list's element. */
struct kind_shape {
    const struct kind_field *fields;
    size_t count;
    size_t bytes; /* of its struct */
};

struct kind {
    const char *name; /* and its queue's */
    const struct kind_shape *shape;
    unsigned needs; /* bits 1 << enum operation: without these its queue is not read */
    unsigned traits;
};

extern const struct kind job_kinds[KINDS];

enum { KIND_PARTITION_DIGITS = 4 };

/* The kind of a queue, "enrich" or a partition such as "enrich.3"; KINDS for a stranger. */
enum kind_id kind_of(const char *queue, size_t bytes) MUSTCHECK;

/* Whether who serves it must name a learning store, to write it or to read it. Not KINDS. */
bool kind_wants_store(enum kind_id kind) MUSTCHECK;

/* The place of `text` among the words, which single spaces separate; -1: it is none of them. */
int kind_word_at(const char *words, struct slice text) MUSTCHECK;

/* True for one of the words. */
static inline bool kind_is_word(const char *words, struct slice text)
{
    return kind_word_at(words, text) >= 0;
}

/* What a shape's WORD field may say; "" where it has none. */
const char *kind_words(const struct kind_shape *shape) MUSTCHECK;

/* Whether a field belongs to a body whose WORD field says `word`. */
bool kind_has(const struct kind_field *field, struct slice word) MUSTCHECK;

/* "enrich, distill, index, echo, record or vector": for messages and help. Returns `out`. */
enum { KIND_LIST_BYTES = 256 };
const char *kind_list(char out[KIND_LIST_BYTES]);

#endif
