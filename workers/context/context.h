/* context/context.h - what a lane hands to a handler: its own clients, its arena, and the process's
 * shared parts.
 *
 * Everything here belongs to one lane and its thread, except where `shared` is said.
 */
#ifndef STILLHOUSE_CONTEXT_CONTEXT_H
#define STILLHOUSE_CONTEXT_CONTEXT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/arena.h"
#include "chroma/chroma.h"
#include "chroma_writer/writer.h"
#include "config/settings.h"
#include "context/blackbox.h"
#include "context/upstreams.h"
#include "embedder/embedder.h"
#include "handlers/handler.h"
#include "jobs/bodies.h"
#include "metrics/metrics.h"
#include "redis/conn.h"
#include "rules/retry.h"

struct lane_tools {
    const struct settings *settings; /* shared, read-only */
    struct metrics *metrics;         /* shared, atomics */
    struct upstreams *upstreams;     /* shared, locks inside */
    struct writer *writer;           /* shared, locks inside */
    struct group_write *group_write; /* shared, locks inside */
    struct reader *reader;           /* shared, locks inside */
    struct takes *takes;             /* what the lane's turn at the reader brought */

    struct redis_conn *redis; /* the queue's Redis */
    struct redis_conn *cache; /* the cache's Redis; the same object where there is only one */
    struct chroma *chroma;
    struct embedder *embedder;

    struct arena arena; /* one batch's memory */
    struct backoff_random random;
    atomic_llong *redis_clock_ms; /* shared: Redis' Unix time minus our monotonic one */
    atomic_llong progress_ms;     /* when this lane last moved; read by the janitor */
    struct blackbox blackbox;     /* what is noted of the batch in hand */
    char token[80];               /* this lane's name in leases */
};

/* Opens a lane's clients (nothing connects yet). STATUS_INVALID names the setting. */
enum status tools_open(struct lane_tools *tools, struct error *err) MUSTCHECK;
void tools_close(struct lane_tools *tools);

/* Unix ms by Redis' clock: what expiry is judged by. Our own wall clock has no say in it, since it
 * may be stepped; by the monotonic one Redis' time goes on from when it was asked last, with each
 * connection and every few seconds. */
int64_t tools_now_unix_ms(const struct lane_tools *tools);

/* The same, asked now: for what cannot be undone. */
enum status tools_ask_time(struct lane_tools *tools, int64_t *unix_ms, struct error *err) MUSTCHECK;

/* "This lane moves": called between phases, so that its jobs' heartbeats go on. */
void tools_progress(struct lane_tools *tools);

/* "This lane will wait now, for whatever it may be": called before the first wait of a batch, so
 * that another lane reads meanwhile. Costs nothing when called again. */
void tools_will_wait(struct lane_tools *tools);

/* Both, at the door of a phase: also noted for jobs that were taken over. */
void tools_phase(struct lane_tools *tools, enum phase phase);

/* NUL-terminated copy in the arena; "" when memory is short. */
const char *tools_text(struct lane_tools *tools, struct slice slice);

/* A result's body in the arena; {NULL, 0} when memory is short. */
struct slice tools_encode_result(struct lane_tools *tools,
                                 const struct enrich_result *result) MUSTCHECK;

#endif
