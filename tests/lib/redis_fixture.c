#include "redis_fixture.h"

#include <stdarg.h>

#include "redis/sentinel.h"

enum { WAIT_MS = 30000, LOOK_MS = 10 };

struct test_server redis;
struct redis_conn *conn;
static struct error err;

/* ---- life ---------------------------------------------------------------------------------- */

struct redis_conn *new_conn(void)
{
    struct redis_url url;

    OK(redis_url_parse(redis.url, &url, &err));
    struct redis_conn *made = redis_open(&url, (struct redis_timeouts){3000, 10000});
    cr_assert_not_null(made);
    return made;
}

void redis_connect(void)
{
    conn = new_conn();
    OK(queue_install(conn, NULL, &err));
}

void redis_setup(void)
{
    test_redis_start(&redis, NULL);
    redis_connect();
}

void redis_teardown(void)
{
    redis_conn_free(conn);
    test_server_stop(&redis);
}

/* ---- raw commands -------------------------------------------------------------------------- */

static redisReply *reply_to(const char *first, va_list words)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    for (const char *word = first; word != NULL; word = va_arg(words, const char *)) {
        redis_args_str(&args, word);
    }
    OK(redis_conn_append(conn, &args, &err));
    OK(redis_conn_collect(conn, &reply, &err));
    redis_args_free(&args);
    return reply;
}

redisReply *ask_reply(const char *first, ...)
{
    va_list words;

    va_start(words, first);
    redisReply *reply = reply_to(first, words);
    va_end(words);
    return reply;
}

redisReply *good_reply(const char *first, ...)
{
    va_list words;

    va_start(words, first);
    redisReply *reply = reply_to(first, words);
    va_end(words);
    OK(redis_reply_status(reply, &err));
    return reply;
}

long long integer_of(redisReply *reply)
{
    const long long number = reply->integer;

    cr_assert_eq(reply->type, REDIS_REPLY_INTEGER);
    redis_reply_free(reply);
    return number;
}

const char *ask(const char *first, ...)
{
    static char out[4][4096];
    static unsigned turn;
    char *const shown = out[turn++ % 4];
    va_list words;

    va_start(words, first);
    redisReply *reply = reply_to(first, words);
    va_end(words);
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        snprintf(shown, sizeof out[0], "%lld", reply->integer);
        break;
    case REDIS_REPLY_NIL:
        snprintf(shown, sizeof out[0], "(nil)");
        break;
    case REDIS_REPLY_ARRAY:
        snprintf(shown, sizeof out[0], "[%zu]", reply->elements);
        break;
    default:
        snprintf(shown, sizeof out[0], "%s", reply->str);
        break;
    }
    redis_reply_free(reply);
    return shown;
}

void flatten(const redisReply *reply, char *out, size_t size)
{
    const size_t used = strlen(out);

    if (reply->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < reply->elements; i++) {
            flatten(reply->element[i], out, size);
        }
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        snprintf(out + used, size - used, "%s%lld", used > 0 ? " " : "", reply->integer);
    } else {
        snprintf(out + used, size - used, "%s%s", used > 0 ? " " : "",
                 reply->type == REDIS_REPLY_NIL ? "(nil)" : reply->str);
    }
}

/* ---- queues -------------------------------------------------------------------------------- */

struct queue queue_named(const char *name)
{
    struct queue named;

    OK(queue_init(&named, "sh", name, &err));
    return named;
}

struct queue_stats figures_of(const struct queue *of)
{
    struct queue_stats now;

    OK(queue_get_stats(conn, of, &now, &err));
    return now;
}

struct queue_stats stats_of(const char *name)
{
    const struct queue named = queue_named(name);

    return figures_of(&named);
}

int64_t counter_in(const struct queue_stats *stats, const char *counter)
{
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        if (strcmp(queue_counter_names[i], counter) == 0) {
            return stats->counters[i];
        }
    }
    cr_assert_fail("no counter \"%s\"", counter);
    return -1;
}

int64_t counter_of(const char *name, const char *counter)
{
    const struct queue_stats now = stats_of(name);

    return counter_in(&now, counter);
}

void check_balance(const struct queue_stats *stats)
{
    const struct queue_balance balance = queue_check_balance(stats);

    cr_assert_eq(balance.jobs, 0, "the jobs' books are out by %lld", (long long)balance.jobs);
    cr_assert_eq(balance.dead, 0, "the dead letters' books are out by %lld",
                 (long long)balance.dead);
}

void wait_for(const char *name, const char *counter, int64_t count)
{
    const int64_t until_ms = clock_now_ms() + WAIT_MS;
    struct queue_stats stats = stats_of(name);

    while (counter_in(&stats, counter) < count) {
        cr_assert(clock_now_ms() < until_ms, "queue %s: counter %s stays at %lld", name, counter,
                  (long long)counter_in(&stats, counter));
        clock_sleep_ms(LOOK_MS);
        stats = stats_of(name);
    }
    check_balance(&stats);
}

struct slice text(const char *chars)
{
    return (struct slice){chars, strlen(chars)};
}
