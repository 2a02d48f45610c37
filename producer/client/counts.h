/* client/counts.h - how prompts came out and what memory was good for, added up here and sent along
 * with commands that go out anyway, at most once a second.
 *
 * sh:prompts is a hash of counters, and no prompt waits for it. Counts whose answer does not
 * come are sent again: one too many is possible after a broken connection, none is lost before the
 * client is closed. One thread at a time.
 */
#ifndef STILLHOUSE_CLIENT_COUNTS_H
#define STILLHOUSE_CLIENT_COUNTS_H

#include "client/link.h"
#include "queue/keys.h"
#include "stillhouse.h"

enum counts_kind {
    COUNTS_ENRICHED, /* the first four as stillhouse_prompt_kind has them */
    COUNTS_STALE,
    COUNTS_FALLBACK,
    COUNTS_HOLDOUT,
    COUNTS_MEMORY_MISS, /* as memory_answer has them */
    COUNTS_MEMORY_HIT,
    COUNTS_MEMORY_STALE,
    COUNTS_KINDS
};

struct counts {
    char key[KEYS_BYTES];
    int64_t waiting[COUNTS_KINDS];
    int64_t sent[COUNTS_KINDS]; /* appended, not answered yet */
    int64_t due_ms;             /* monotonic: not sent before */
};

void counts_init(struct counts *counts, const char *prefix);

/* Any thread that holds the client; no I/O. */
void counts_add(struct counts *counts, enum counts_kind kind);

/* Appends what waits to a pipeline, where a second has passed since the last time; counts_collect
 * once the pipeline's other answers are read. Without anything to send both do nothing. A
 * connection that breaks here stays closed. */
void counts_append(struct counts *counts, struct redis_conn *conn);
void counts_collect(struct counts *counts, struct redis_conn *conn);

/* Sends what waits in a bounded round trip of its own. */
void counts_flush(struct counts *counts, struct link *link);

#endif
