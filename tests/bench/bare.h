/* bare.h - Redis as a program without Stillhouse would use it: bare hiredis, nothing checked but
 * that no reply is an error. The limit that ours is measured against, with the very same entries.
 * A context belongs to one thread. Failure is fatal.
 */
#ifndef STILLHOUSE_TESTS_BENCH_BARE_H
#define STILLHOUSE_TESTS_BENCH_BARE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

#include "jobs/job.h"
#include "queue/queue.h"
#include "servers.h"

enum { BARE_ID_BYTES = 36 };

/* A connection over loopback TCP, as the workers have it. redisFree. */
redisContext *bare_connect(const struct test_server *redis);

/* One command without user data; the reply is the caller's. */
redisReply *bare_command(redisContext *context, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same where the reply does not matter. */
void bare_run(redisContext *context, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for its number. */
long long bare_number(redisContext *context, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* SET of any bytes. */
void bare_set(redisContext *context, const char *key, const void *data, size_t bytes);

/* The next reply of a pipeline. */
redisReply *bare_collect(redisContext *context);
void bare_collect_many(redisContext *context, long count);

/* A number out of INFO: bare_info(context, "memory", "used_memory"). */
long long bare_info(redisContext *context, const char *section, const char *name);

/* Jobs to enqueue: ids as long as those the library makes, all with one body. */
struct bare_jobs {
    char (*ids)[BARE_ID_BYTES + 1];
    long count;
    struct slice body;
};

/* `prefix` keeps the ids of several sets apart. The body is a borrowed msgpack value. */
void bare_jobs_make(struct bare_jobs *jobs, int prefix, long count, struct slice body);
void bare_jobs_free(struct bare_jobs *jobs);

/* Makes a body of about `bytes`: a msgpack string. The caller frees body.data. */
struct slice bare_make_body(size_t bytes);

/* Appends XADD of job `index`: the fields of a fresh job, as the function library writes them. */
void bare_append_job(redisContext *context, const char *stream, const struct bare_jobs *jobs,
                     long index);

/* All of them, pipelined, into a stream with group "fleet". */
void bare_fill(redisContext *context, const char *stream, const struct bare_jobs *jobs);

/* All of them through the function library, 1,000 a call, without a bound. */
void bench_fill(struct redis_conn *conn, const struct queue *queue, const struct bare_jobs *jobs,
                const char *options);

#endif
