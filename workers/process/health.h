/* process/health.h - the HTTP endpoint: /healthz, /readyz, /metrics (producer/CONTRACT.md, section
 * 9).
 *
 *     GET /healthz  200 "ok", or 503 "stuck" when the process makes no progress
 *     GET /readyz   200 when Redis answers, else 503; a JSON object with "status" ok, degraded (a
 *                   breaker is not closed, a queue is set aside) or unready, and each upstream
 *     GET /metrics  Prometheus text
 *     GET /learn/NAME?PARAMETER=VALUE  a question to the learning store, of a worker that has one
 *                   (recorder/answers.h)
 *     GET /         the list of them
 *
 * Nobody logs in: whoever reaches the address may read all of it. The server's thread
 * (common/http/server.h) answers all but questions; it reads atomics and locked state only. Start
 * and stop from the main thread.
 */
#ifndef STILLHOUSE_PROCESS_HEALTH_H
#define STILLHOUSE_PROCESS_HEALTH_H

#include <stdbool.h>

#include "base/status.h"
#include "context/families.h"
#include "context/upstreams.h"
#include "metrics/metrics.h"

struct health; /* opaque */

/* Everything is borrowed and must outlive the endpoint. The callbacks run in its thread. */
struct health_config {
    const char *bind; /* "127.0.0.1:9464", "[::1]:9464"; port 0 = any */
    const struct metrics *metrics;
    struct families *families; /* NULL = only what `metrics` holds */
    struct upstreams *upstreams;
    bool (*alive)(void *context);                        /* the process makes progress */
    bool (*redis_ready)(void *context);                  /* Redis answered the last time */
    bool (*describe)(void *context, struct strbuf *out); /* more for /readyz; NULL = nothing */
    void (*measure)(void *context); /* sets gauges of `metrics` for /metrics; NULL = nothing */
    void *context;
    const struct settings *learn; /* that name a learning store; NULL = it answers no question */
};

/* STATUS_INVALID for an address that cannot be parsed, STATUS_FAILED when it cannot be listened on;
 * the text names it. */
enum status health_start(const struct health_config *config, struct health **out,
                         struct error *err) MUSTCHECK;
void health_stop(struct health *health); /* waits for the thread; NULL is fine */

/* The port in use, also where 0 was asked for. */
int health_port(const struct health *health);

#endif
