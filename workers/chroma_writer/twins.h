/* chroma_writer/twins.h - experiences with the very same prompt: a domain keeps the best and newest
 * STILLHOUSE_TWINS of them.
 *
 * From about 100 identical vectors on, Chroma's index makes other documents unreachable. A sorted
 * set per prompt remembers the task ids, best and newest last; it has a TTL and may be lost: then
 * the count starts again. Runs in the lane's thread.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_TWINS_H
#define STILLHOUSE_CHROMA_WRITER_TWINS_H

#include "base/text.h"
#include "context/context.h"

struct twin {
    struct slice task_id;
    char text_hash[TEXT_HASH_CHARS + 1];
    double quality; /* 0..1; 1 where none was given */
    int64_t created_unix_ms;
};

/* Remembers the experiences just written to `domain`, and deletes those that are too many from
 * Chroma. On failure *failed says what failed. */
enum status twins_trim(struct context *ctx, const char *domain, const struct twin *twins,
                       size_t count, enum operation *failed, struct error *err) MUSTCHECK;

/* The order of twins: quality first (in thousandths), then age. Pure. */
double twins_score(double quality, int64_t created_unix_ms);

#endif
