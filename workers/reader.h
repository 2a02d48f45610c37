/* reader.h - the process's one reading connection; lanes take turns at it (leader / followers).
 *
 * One blocked reader a process, because Redis re-runs XREADGROUP for every client blocked on a
 * stream at every XADD. The lane whose turn it is reads at most what it can start at once, so
 * nothing is hoarded.
 *
 * A turn: take over stale jobs when that is due; else read the queues that had jobs last time, in
 * turn, each high before normal before low in one pipeline; else block on all queues for at most
 * half a second. Low and normal come first now and then, so that a busy high stream starves nobody.
 * A queue that is paused, or whose upstream is down, is not read.
 */
#ifndef STILLHOUSE_WORKERS_READER_H
#define STILLHOUSE_WORKERS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics.h"
#include "queue.h"
#include "settings.h"
#include "upstreams.h"

enum {
    READER_QUEUES_MAX = 32,
    READER_BLOCK_MS = 500,
    READER_FEW = 4, /* jobs: a turn that brought no more is not passed on at once */
};

struct reader; /* opaque; one a process */

/* The jobs of one queue that a turn brought. */
struct take {
    size_t queue; /* index into the queues given to reader_new */
    bool suspect; /* one job that may be what kills its workers: reader_end_suspect when it ended */
    struct queue_batch batch;
};

/* What a turn brought: one entry a queue, `count` of them in use. Owned by the lane;
 * zero-initialise. */
struct takes {
    struct take each[READER_QUEUES_MAX];
    size_t count;
    bool has_turn; /* the lane still has the turn: reader_pass_turn */
};

struct reader_config {
    const struct settings *settings;
    struct metrics *metrics;
    struct upstreams *upstreams;
    const struct queue *queues; /* must outlive the reader */
    size_t queue_count;
    const char *worker_id;
};

enum status reader_new(const struct reader_config *config, struct reader **out,
                       struct error *err) MUSTCHECK;
void reader_free(struct reader *reader);

/* Waits for the turn, takes it, fills `takes` for `consumer`. Returns false when reading failed
 * before it brought any job (the reader has backed off already) or `stopping` was set meanwhile.
 * The turn is passed on, unless takes->has_turn says that the lane has it still. Any lane's thread.
 */
bool reader_take(struct reader *reader, const char *consumer, struct takes *takes,
                 bool (*stopping)(void *), void *context);

/* Lets the next lane read. To wake it takes some 20 us, which a lone job that comes to an idle
 * worker need not wait for: after a turn that brought new jobs, READER_FEW at most, the lane has
 * the turn until it calls this, which it does before it first waits for anything. Does nothing
 * where it has not. The lane's thread. */
void reader_pass_turn(struct reader *reader, struct takes *takes);

/* The suspect that a take brought has ended, or goes on elsewhere. A process has one at a time, so
 * that of two jobs that die together it is known which one it was. Any lane's thread. */
void reader_end_suspect(struct reader *reader);

/* Says whether a queue is paused, as the janitor saw it. Any thread. */
void reader_set_paused(struct reader *reader, size_t queue, bool paused);

/* Monotonic ms of the last turn that ended, however it ended; and whether the last one failed. Any
 * thread. */
int64_t reader_last_turn_ms(const struct reader *reader);
bool reader_is_connected(const struct reader *reader);

/* Frees what the takes hold; they can be used again. */
void takes_reset(struct takes *takes);
void takes_free(struct takes *takes);

#endif
