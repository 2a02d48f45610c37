/* operate/fleet.h - which queues and which workers there are, and how they are.
 *
 *     struct fleet_view view = {0};
 *     status = fleet_queues(conn, "sh", &view, &err);      // their names; now and then
 *     status = fleet_look(conn, "sh", &view, &err);        // their numbers; as often as you like
 *     for (size_t i = 0; i < view.count; i++) ...
 *     fleet_view_free(&view);
 *
 * For the programs: a lack of memory ends them. One thread, a caller's connection.
 */
#ifndef STILLHOUSE_OPERATE_FLEET_H
#define STILLHOUSE_OPERATE_FLEET_H

#include "queue/operate.h"
#include "queue/queue.h"
#include "redis/conn.h"

/* ---- queues -------------------------------------------------------------------------------- */

/* A queue at one moment. */
struct queue_view {
    struct queue queue;
    struct queue_stats stats;
    struct queue_parked parked; /* of the delayed ones; an older library cannot say it */
    size_t workers;             /* alive, and serve it */
};

/* All queues at one moment. Zero-initialise. */
struct fleet_view {
    struct queue_view *queues;
    size_t count;
    size_t workers;               /* alive */
    struct error workers_refused; /* why they are not known, where this user may not ask */
    int64_t at_ms;                /* monotonic; 0 = not looked yet */
};

/* Sets the view to the four queues and every other that has counters (found with SCAN), sorted
 * behind them; all numbers 0. */
enum status fleet_queues(struct redis_conn *conn, const char *prefix, struct fleet_view *view,
                         struct error *err) MUSTCHECK;

/* True where jobs of one of our kinds wait and no living worker serves their queue. A queue of
 * another name is somebody else's, whose workers are not known. */
bool fleet_is_unserved(const struct fleet_view *view, const struct queue_view *one);

/* Fills in the numbers of the view's queues. */
enum status fleet_look(struct redis_conn *conn, const char *prefix, struct fleet_view *view,
                       struct error *err) MUSTCHECK;
void fleet_view_free(struct fleet_view *view);

/* *known: the queue is one of the four kinds or a partition of one, or something of it stands in
 * Redis. True also where this user may not look. */
enum status fleet_knows(struct redis_conn *conn, const struct queue *queue, bool *known,
                        struct error *err) MUSTCHECK;

/* ---- what is done to one ------------------------------------------------------------------- */

/* queue_pause, also where the function library was lost. */
enum status fleet_pause(struct redis_conn *conn, const struct queue *queue, bool paused,
                        struct error *err) MUSTCHECK;

/* Takes out the jobs that `stats` counts; who comes meanwhile is not meant. *purged grows by what
 * went, also where it fails half-way. */
enum status fleet_purge(struct redis_conn *conn, const struct queue *queue,
                        const struct queue_stats *stats, size_t *purged,
                        struct error *err) MUSTCHECK;

/* ---- workers ------------------------------------------------------------------------------- */

/* One registered worker. */
struct worker {
    char *id;
    redisReply *fields; /* of its hash: names and values; empty when it is gone */
    int64_t beat_unix_ms;
};

struct worker_list {
    struct worker *workers;
    size_t count;
    size_t alive;
};

/* Everybody in <prefix>:workers; who has no hash any more is gone. */
enum status fleet_workers(struct redis_conn *conn, const char *prefix, struct worker_list *list,
                          struct error *err) MUSTCHECK;
void worker_list_free(struct worker_list *list);
bool worker_is_alive(const struct worker *worker);

/* A field of the worker's hash; "" when it has none of that name. */
const char *worker_field(const struct worker *worker, const char *name);

#endif
