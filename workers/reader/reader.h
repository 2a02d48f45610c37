/* reader/reader.h - the process's one reading connection; lanes take turns at it (leader /
 * followers).
 *
 * One blocked reader a process, because Redis re-runs XREADGROUP for every client blocked on a
 * stream at every XADD. The lane whose turn it is reads at most what it can start at once, so
 * nothing is hoarded.
 *
 * A turn: look for stale jobs when somebody asked for it; else read the queues that had jobs last
 * time, in turn, each high before normal before low in one pipeline; else block on all queues, for
 * READER_BLOCK_MS while all of them may be read. Low and normal come first now and then, so that a
 * busy high stream starves nobody. A queue that is paused, or whose upstream is down, is not read;
 * one of whose keys holds what it should not is set aside for a while, and the others go on.
 *
 * In a fleet of more than READER_SEATS workers only so many block on the streams, since every entry
 * that is added is looked at for each of them. Who has no seat waits to be invited: by a reader
 * that had to leave something behind, or by one whose lanes are all busy now, which gives its seat
 * up. It looks by itself every 20 s or so, too.
 *
 * An idle reader costs Redis two commands every READER_BLOCK_MS. What it must do before that,
 * others tell it: reader_call notes it, reader_unblock ends a read that blocks.
 */
#ifndef STILLHOUSE_READER_READER_H
#define STILLHOUSE_READER_READER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "config/settings.h"
#include "context/upstreams.h"
#include "metrics/metrics.h"
#include "queue/queue.h"
#include "queue/take.h"

enum {
    READER_QUEUES_MAX = 32,
    READER_BLOCK_MS = 20000,
    READER_BLOCK_SHORT_MS = 500, /* while a queue waits to be readable again */
    READER_SEATS = 12,
    READER_FEW = 4, /* jobs: a turn that brought no more is not passed on at once */
};

struct reader; /* opaque; one a process */

/* The jobs of one queue that a turn brought. */
struct take {
    size_t queue; /* index into the queues given to reader_new */
    bool suspect; /* one job that may be what kills its workers: reader_end_suspect when it ended */
    struct queue_batch batch;
};

/* What a turn brought: one entry a queue, `count` of them in use. Owned by the lane; zeroed, but
 * for whose they are. */
struct takes {
    const char *consumer; /* the lane's name in the groups */
    struct take each[READER_QUEUES_MAX];
    size_t count;
    bool has_turn; /* the lane still has the turn: reader_pass_turn */
    bool unsure;   /* an answer was lost: the consumer may hold what it does not know of */
};

struct reader_config {
    const struct settings *settings;
    struct metrics *metrics;
    struct upstreams *upstreams;
    const struct queue *queues; /* must outlive the reader */
    size_t queue_count;
    const char *worker_id;
    const atomic_int *fleet_size; /* workers alive; NULL = no matter */
};

enum status reader_new(const struct reader_config *config, struct reader **out,
                       struct error *err) MUSTCHECK;
void reader_free(struct reader *reader);

/* Waits for the turn, takes it, fills `takes`. Returns false when reading failed
 * before it brought any job (the reader has backed off already) or `stopping` was set meanwhile.
 * The turn is passed on, unless takes->has_turn says that the lane has it still. Any lane's thread.
 */
bool reader_take(struct reader *reader, struct takes *takes, bool (*stopping)(void *),
                 void *context);

/* Lets the next lane read. To wake it takes some 20 us, which a lone job that comes to an idle
 * worker need not wait for: after a turn that brought new jobs, READER_FEW at most, the lane has
 * the turn until it calls this, which it does before it first waits for anything. Does nothing
 * where it has not. The lane's thread. */
void reader_pass_turn(struct reader *reader, struct takes *takes);

/* The suspect that a take brought has ended, or goes on elsewhere. A process has one at a time, so
 * that of two jobs that die together it is known which one it was. Any lane's thread. */
void reader_end_suspect(struct reader *reader);

/* A queue is paused, as was seen last: it is looked at while it is. Any thread. */
bool reader_is_paused(const struct reader *reader, size_t queue);

/* Monotonic ms when the queue last brought jobs; 0 = never. Any thread. */
int64_t reader_last_jobs_ms(const struct reader *reader, size_t queue);

/* The next turn looks for stale jobs. Any thread. */
void reader_call(struct reader *reader);
/* ms since such a call that no turn has heeded yet; -1 for none. Any thread. */
int64_t reader_called_for_ms(const struct reader *reader);

/* There is more to take than those take who read: a reader without a seat looks now. Any thread. */
void reader_invite(struct reader *reader);

/* Ends a read that blocks right now, through another connection (CLIENT UNBLOCK): its lane looks at
 * what it was told. False when nothing blocks. Any thread, with a connection of its own. */
bool reader_unblock(struct reader *reader, struct redis_conn *conn);

/* The queue is not read for some seconds: `why` stands in /readyz and in the log. Any thread. */
void reader_set_aside(struct reader *reader, size_t queue, const char *why);

/* Appends `,"set_aside":{"echo.1":"WRONGTYPE ..."}` where there are some; returns how many. Any
 * thread. */
size_t reader_describe_aside(struct reader *reader, struct strbuf *out);

/* Monotonic ms of the last turn that ended, however it ended; and whether the last one failed. Any
 * thread. */
int64_t reader_last_turn_ms(const struct reader *reader);
bool reader_is_connected(const struct reader *reader);

/* Frees what the takes hold; they can be used again. */
void takes_reset(struct takes *takes);
void takes_free(struct takes *takes);

#endif
