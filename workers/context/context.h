/* context/context.h - what a handler may use: the settings, an arena, the clock, the lane's own
 * connections, and what the process knows of its upstreams.
 *
 *     static enum status has_key(struct context *ctx, const char *key, struct error *err)
 *     {
 *         struct redis_args args = {0};
 *         redisReply *reply = NULL;
 *
 *         context_phase(ctx, PHASE_QUERY);
 *         redis_args_str(&args, "EXISTS");
 *         redis_args_str(&args, key);
 *         enum status status = redis_conn_command(context_cache(ctx), &args, &reply, err);
 *         redis_reply_free(reply);
 *         redis_args_free(&args);
 *         context_progress(ctx);
 *         return status;
 *     }
 *
 * A connection is had from context_redis, _cache, _chroma or _embedder and in no other way: the
 * lane is told before the first of them in a batch, since it may have something to let go of
 * before it waits (the reader's turn), which is no handler's business. What waits for something
 * else says so by context_wait.
 *
 * The phases are for jobs that were taken over: their last worker may have died of them. Each phase
 * of such a batch is noted in Redis before it begins, so that the dead letter of a job that kills
 * its workers says where, and whom. Fresh jobs, which are nearly all, cost nothing. A note that
 * cannot be written is done without.
 *
 * Everything here belongs to one lane and its thread, except where `shared` is said.
 */
#ifndef STILLHOUSE_CONTEXT_CONTEXT_H
#define STILLHOUSE_CONTEXT_CONTEXT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "chroma/chroma.h"
#include "config/settings.h"
#include "context/upstreams.h"
#include "embedder/embedder.h"
#include "jobs/bodies.h"
#include "metrics/metrics.h"
#include "queue/queue.h"
#include "queue/take.h"
#include "redis/conn.h"
#include "rules/retry.h"

enum phase {
    PHASE_DECODE, /* reading the body, looking into the cache */
    PHASE_EMBED,  /* asking the embedder */
    PHASE_QUERY,  /* asking Chroma */
    PHASE_UPSERT, /* writing to Chroma, or to the learning store */
    PHASE_FINISH, /* committing to the queue */
};

struct writer;       /* chroma_writer/writer.h */
struct recorder;     /* recorder/recorder.h */
struct descriptions; /* recorder/descriptions.h */

struct context {
    const struct settings *settings;   /* shared, read-only */
    struct metrics *metrics;           /* shared, atomics */
    struct upstreams *upstreams;       /* shared, locks inside */
    struct writer *writer;             /* shared, locks inside */
    struct recorder *recorder;         /* shared, locks inside; NULL where no queue needs one */
    struct descriptions *descriptions; /* shared, locks inside; NULL likewise */
    atomic_llong *redis_clock_ms;      /* shared: Redis' Unix time minus our monotonic one */
    const char *consumer;              /* this lane's name in the queues */
    void (*before_wait)(void *lane); /* called before each use of a connection; NULL = nobody is */
    void *lane;

    struct arena arena; /* one batch's memory, which is never short: the process ends before that */
    struct retry_random random;
    atomic_llong progress_ms;  /* when this lane last moved; read by the janitor */
    const struct queue *queue; /* of the batch in hand */

    struct {
        struct redis_conn *redis; /* the queue's Redis */
        struct redis_conn *cache; /* the cache's Redis; the same object where there is only one */
        struct chroma *chroma;
        struct embedder *embedder;
    } clients; /* for those who look at a connection without waiting for it */

    const struct job **suspects; /* of the batch in hand, those that were handed out before */
    size_t suspect_count;
};

/* Opens the clients (nothing connects yet). STATUS_INVALID names the setting. */
enum status context_open(struct context *ctx, struct error *err) MUSTCHECK;
void context_close(struct context *ctx);

struct redis_conn *context_redis(struct context *ctx);
struct redis_conn *context_cache(struct context *ctx);
struct chroma *context_chroma(struct context *ctx);
struct embedder *context_embedder(struct context *ctx);

/* The caller is about to wait, for no connection of these. */
void context_wait(struct context *ctx);

/* The lane: a batch begins, and has ended or goes on elsewhere. */
void context_begin(struct context *ctx, const struct queue *queue, const struct queue_batch *batch);
void context_end(struct context *ctx);

/* "This lane moves": called between phases, so that its jobs' heartbeats go on. */
void context_progress(struct context *ctx);

/* The same, at the door of a phase. */
void context_phase(struct context *ctx, enum phase phase);

/* Unix ms by Redis' clock: what expiry is judged by. Our own wall clock has no say in it, since it
 * may be stepped; by the monotonic one Redis' time goes on from when it was asked last, with each
 * connection and every few seconds. */
int64_t context_now_unix_ms(const struct context *ctx);

/* The same, asked now: for what cannot be undone. */
enum status context_ask_time(struct context *ctx, int64_t *unix_ms, struct error *err) MUSTCHECK;

/* NUL-terminated copy in the arena. */
const char *context_text(struct context *ctx, struct slice slice);

/* The bytes in the arena; empties the buffer. */
struct slice context_keep(struct context *ctx, struct strbuf *bytes);

/* text_derive_id, in the arena. */
struct slice context_derive_id(struct context *ctx, struct slice id, const char *suffix);

/* A result's body in the arena. */
struct slice context_encode_result(struct context *ctx,
                                   const struct enrich_result *result) MUSTCHECK;

#endif
