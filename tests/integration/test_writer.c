/* The writer lease on a real Redis: processes stood for by writers with tokens of their own. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "chroma_writer/writer.h"
#include "queue/keys.h"
#include "queue/queue.h"
#include "servers.h"

static struct test_server redis;
static struct redis_conn *conn;
static struct backoff_random dice = {.state = 1};

static struct redis_conn *connect_redis(void)
{
    struct redis_url url;
    struct error err = {0};

    cr_assert_eq(redis_url_parse(redis.url, &url, &err), STATUS_OK, "%s", err.text);
    struct redis_conn *made = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    cr_assert_not_null(made);
    return made;
}

static void setup(void)
{
    struct error err = {0};

    test_redis_start(&redis, NULL);
    conn = connect_redis();
    cr_assert_eq(queue_install(conn, NULL, &err), STATUS_OK, "%s", err.text);
}

static void teardown(void)
{
    redis_conn_free(conn);
    test_server_stop(&redis);
}

TestSuite(writer, .init = setup, .fini = teardown, .timeout = 60);

static enum status acquire(struct writer *writer, int64_t wait_ms, size_t *slot)
{
    struct error err = {0};

    return writer_acquire(writer, conn, &dice, wait_ms, slot, &err);
}

static long long ask(const char *verb, const char *key)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    redis_args_str(&args, verb);
    redis_args_str(&args, key);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    long long answer = reply->integer;
    redis_reply_free(reply);
    redis_args_free(&args);
    return answer;
}

static const char *lease_key(void)
{
    static char key[KEYS_BYTES];

    return keys_lease(key, "sh", 0);
}

Test(writer, a_second_process_waits_until_the_first_lets_go)
{
    struct writer *first = writer_new("sh", 1, "first");
    struct writer *second = writer_new("sh", 1, "second");
    size_t slot = 9;

    cr_assert_eq(acquire(first, 0, &slot), STATUS_OK);
    cr_assert_eq(slot, 0);
    cr_assert_eq(acquire(second, 50, &slot), STATUS_TIMEOUT);
    writer_release(first, conn, 0);
    cr_assert_eq(acquire(second, 0, &slot), STATUS_OK);
    writer_release(second, conn, slot);
    cr_assert_eq(ask("EXISTS", lease_key()), 0, "the lease outlived its last use");
    writer_free(first);
    writer_free(second);
}

Test(writer, as_many_write_at_once_as_the_setting_says)
{
    struct writer *writers[3];
    size_t slots[3];

    for (int i = 0; i < 3; i++) {
        char token[8] = {'t', (char)('0' + i), '\0'};
        writers[i] = writer_new("sh", 2, token);
    }
    cr_assert_eq(acquire(writers[0], 1000, &slots[0]), STATUS_OK);
    cr_assert_eq(acquire(writers[1], 1000, &slots[1]), STATUS_OK);
    cr_assert_neq(slots[0], slots[1]);
    cr_assert_eq(acquire(writers[2], 50, &slots[2]), STATUS_TIMEOUT);
    writer_release(writers[0], conn, slots[0]);
    cr_assert_eq(acquire(writers[2], 1000, &slots[2]), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        writer_free(writers[i]);
    }
}

Test(writer, a_lease_whose_holder_died_ends_by_itself)
{
    struct writer *dead = writer_new("sh", 1, "dead");
    struct writer *heir = writer_new("sh", 1, "heir");
    size_t slot;

    cr_assert_eq(acquire(dead, 0, &slot), STATUS_OK);
    long long left_ms = ask("PTTL", lease_key());
    cr_assert(left_ms > 0 && left_ms <= 10000, "%lld ms", left_ms);
    ask("DEL", lease_key()); /* what its end does, without the wait */
    cr_assert_eq(acquire(heir, 0, &slot), STATUS_OK);
    writer_free(dead);
    writer_free(heir);
}

Test(writer, renewing_prolongs_a_lease_in_use_and_only_that)
{
    struct writer *writer = writer_new("sh", 1, "us");
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};
    size_t slot;

    cr_assert_eq(acquire(writer, 0, &slot), STATUS_OK);
    redis_args_str(&args, "PEXPIRE");
    redis_args_str(&args, lease_key());
    redis_args_int(&args, 1000);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
    writer_renew(writer, conn);
    cr_assert_gt(ask("PTTL", lease_key()), 5000);

    writer_release(writer, conn, slot);
    writer_renew(writer, conn);
    cr_assert_eq(ask("EXISTS", lease_key()), 0, "renewed though nobody writes");
    writer_free(writer);
}

Test(writer, a_lease_lost_meanwhile_is_asked_for_again)
{
    struct writer *sleeper = writer_new("sh", 1, "sleeper");
    struct writer *other = writer_new("sh", 1, "other");
    size_t slot;

    cr_assert_eq(acquire(sleeper, 0, &slot), STATUS_OK);
    ask("DEL", lease_key());
    cr_assert_eq(acquire(other, 0, &slot), STATUS_OK);
    writer_renew(sleeper, conn); /* learns that it is gone */
    writer_release(sleeper, conn, 0);
    cr_assert_eq(ask("EXISTS", lease_key()), 1, "somebody else's lease was given back");
    cr_assert_eq(acquire(sleeper, 50, &slot), STATUS_TIMEOUT);
    writer_free(sleeper);
    writer_free(other);
}

Test(writer, without_redis_the_trouble_is_named)
{
    struct writer *writer = writer_new("sh", 1, "us");
    struct error err = {0};
    size_t slot;

    test_server_kill(&redis);
    enum status status = writer_acquire(writer, conn, &dice, 1000, &slot, &err);
    cr_assert_eq(status, STATUS_UNREACHABLE, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "writer lease"), "%s", err.text);
    writer_free(writer);
}

/* ---- lanes of one process ------------------------------------------------------------------ */

enum { LANES = 4, ROUNDS = 200 };

static struct writer *shared;
static atomic_int writing;
static atomic_int rounds;

static void *lane(void *argument)
{
    struct redis_conn *own = connect_redis();
    struct backoff_random random = {.state = *(const uint64_t *)argument};

    for (int i = 0; i < ROUNDS; i++) {
        struct error err = {0};
        size_t slot;
        cr_assert_eq(writer_acquire(shared, own, &random, 20000, &slot, &err), STATUS_OK, "%s",
                     err.text);
        cr_assert_eq(atomic_fetch_add(&writing, 1), 0, "two wrote at once");
        atomic_fetch_sub(&writing, 1);
        writer_release(shared, own, slot);
        atomic_fetch_add(&rounds, 1);
    }
    redis_conn_free(own);
    return NULL;
}

Test(writer, lanes_of_one_process_hand_the_lease_to_each_other)
{
    pthread_t threads[LANES];
    uint64_t seeds[LANES];

    shared = writer_new("sh", 1, "us");
    for (int i = 0; i < LANES; i++) {
        seeds[i] = (uint64_t)i + 1;
        cr_assert_eq(pthread_create(&threads[i], NULL, lane, &seeds[i]), 0);
    }
    for (int i = 0; i < LANES; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_assert_eq(atomic_load(&rounds), LANES * ROUNDS);
    cr_assert_eq(ask("EXISTS", lease_key()), 0);
    writer_free(shared);
}
