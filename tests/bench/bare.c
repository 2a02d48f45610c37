#include "bare.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/enqueue.h"
#include "support.h"

enum { FILL_DEPTH = 1000, TIMEOUT_S = 60 };

redisContext *bare_connect(const struct test_server *redis)
{
    const struct timeval bound = {.tv_sec = TIMEOUT_S};
    redisContext *context = redisConnectWithTimeout("127.0.0.1", redis->port, bound);

    if (context == NULL || context->err != 0 || redisSetTimeout(context, bound) != REDIS_OK) {
        bench_fail("connect: %s", context != NULL ? context->errstr : "out of memory");
    }
    return context;
}

static redisReply *checked(redisContext *context, redisReply *reply)
{
    if (reply == NULL) {
        bench_fail("redis: %s", context->errstr);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        bench_fail("redis: %s", reply->str);
    }
    return reply;
}

static redisReply *run(redisContext *context, const char *format, va_list args)
{
    return checked(context, redisvCommand(context, format, args));
}

redisReply *bare_command(redisContext *context, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    redisReply *reply = run(context, format, args);
    va_end(args);
    return reply;
}

void bare_run(redisContext *context, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    freeReplyObject(run(context, format, args));
    va_end(args);
}

long long bare_number(redisContext *context, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    redisReply *reply = run(context, format, args);
    va_end(args);
    const long long number =
        reply->type == REDIS_REPLY_STRING ? strtoll(reply->str, NULL, 10) : reply->integer;
    freeReplyObject(reply);
    return number;
}

void bare_set(redisContext *context, const char *key, const void *data, size_t bytes)
{
    const char *argv[] = {"SET", key, data};
    const size_t lengths[] = {3, strlen(key), bytes};

    freeReplyObject(checked(context, redisCommandArgv(context, 3, argv, lengths)));
}

redisReply *bare_collect(redisContext *context)
{
    void *reply = NULL;

    return redisGetReply(context, &reply) == REDIS_OK ? checked(context, reply)
                                                      : checked(context, NULL);
}

void bare_collect_many(redisContext *context, long count)
{
    for (long i = 0; i < count; i++) {
        freeReplyObject(bare_collect(context));
    }
}

long long bare_info(redisContext *context, const char *section, const char *name)
{
    char line[64];
    redisReply *reply = bare_command(context, "INFO %s", section);

    snprintf(line, sizeof line, "\n%s:", name);
    const char *at = strstr(reply->str, line);
    if (at == NULL) {
        bench_fail("redis: no %s in INFO %s", name, section);
    }
    const long long number = strtoll(at + strlen(line), NULL, 10);
    freeReplyObject(reply);
    return number;
}

void bare_jobs_make(struct bare_jobs *jobs, int prefix, long count, struct slice body)
{
    *jobs = (struct bare_jobs){
        .ids = calloc((size_t)count, sizeof *jobs->ids), .count = count, .body = body};
    if (jobs->ids == NULL) {
        bench_fail("no memory for %ld ids", count);
    }
    for (long i = 0; i < count; i++) {
        snprintf(jobs->ids[i], sizeof jobs->ids[i], "%08x-cafe-7000-8000-%012lx", (unsigned)prefix,
                 (unsigned long)i & 0xffffffffffffUL);
    }
}

void bare_jobs_free(struct bare_jobs *jobs)
{
    free(jobs->ids);
    *jobs = (struct bare_jobs){0};
}

struct slice bare_make_body(size_t bytes)
{
    const size_t head = bytes < 5 ? 0 : 5;
    const size_t text = bytes - head;
    char *body = malloc(bytes + 1);

    if (body == NULL || head == 0) {
        bench_fail("body of %zu bytes: expected at least 5, and memory for it", bytes);
    }
    body[0] = (char)0xdb; /* str 32 */
    for (int i = 0; i < 4; i++) {
        body[1 + i] = (char)(text >> (24 - 8 * i) & 0xff);
    }
    memset(body + head, 'x', text);
    return (struct slice){body, bytes};
}

void bare_append_job(redisContext *context, const char *stream, const struct bare_jobs *jobs,
                     long index)
{
    const char *argv[] = {
        "XADD",    stream, "*",       "id", jobs->ids[index], "domain",       "bench",
        "attempt", "0",    "options", "",   "body",           jobs->body.data};
    const size_t bytes[] = {4, strlen(stream),  1, 2, BARE_ID_BYTES, 6, 5, 7, 1, 7, 0,
                            4, jobs->body.bytes};

    if (redisAppendCommandArgv(context, sizeof argv / sizeof argv[0], argv, bytes) != REDIS_OK) {
        bench_fail("redis: %s", context->errstr);
    }
}

void bare_fill(redisContext *context, const char *stream, const struct bare_jobs *jobs)
{
    bare_run(context, "XGROUP CREATE %s fleet 0 MKSTREAM", stream);
    for (long done = 0; done < jobs->count; done += FILL_DEPTH) {
        const long depth = jobs->count - done < FILL_DEPTH ? jobs->count - done : FILL_DEPTH;
        for (long i = 0; i < depth; i++) {
            bare_append_job(context, stream, jobs, done + i);
        }
        bare_collect_many(context, depth);
    }
}

void bench_fill(struct redis_conn *conn, const struct queue *queue, const struct bare_jobs *jobs,
                const char *options)
{
    static struct queue_item items[FILL_DEPTH];
    static struct queue_answer answers[FILL_DEPTH];
    struct error err = {0};

    for (long done = 0; done < jobs->count; done += FILL_DEPTH) {
        const long depth = jobs->count - done < FILL_DEPTH ? jobs->count - done : FILL_DEPTH;
        for (long i = 0; i < depth; i++) {
            items[i] = (struct queue_item){.id = {jobs->ids[done + i], BARE_ID_BYTES},
                                           .domain = {"bench", 5},
                                           .options = {options, strlen(options)},
                                           .body = jobs->body};
        }
        if (queue_enqueue(conn, &(struct queue_items){queue, 0, items, (size_t)depth}, answers,
                          &err) != STATUS_OK) {
            bench_fail("enqueue: %s", err.text);
        }
    }
}
