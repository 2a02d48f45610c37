/* The writers' leases on a real Redis: processes stood for by slots with tokens of their own. */
#include <pthread.h>
#include <stdatomic.h>

#include "chroma_writer/slots.h"
#include "queue/keys.h"
#include "redis_fixture.h"

TestSuite(slots, .init = redis_setup, .fini = redis_teardown, .timeout = 60);

/* As the writer's threads do it. */
static enum status acquire(struct slots *slots, struct redis_conn *own, int64_t wait_ms,
                           size_t *slot, struct error *err)
{
    const int64_t until_ms = clock_now_ms() + wait_ms;
    bool held = false;
    uint64_t from = 0;
    enum status status = slots_try(slots, own, from, slot, &held, err);

    while (status == STATUS_OK && !held) {
        if (clock_now_ms() >= until_ms) {
            return STATUS_TIMEOUT;
        }
        clock_sleep_ms(2);
        status = slots_try(slots, own, ++from, slot, &held, err);
    }
    return status;
}

static enum status try_for(struct slots *slots, int64_t wait_ms, size_t *slot)
{
    struct error err = {0};

    return acquire(slots, conn, wait_ms, slot, &err);
}

static const char *lease_key(void)
{
    static char key[KEYS_BYTES];

    return keys_name(key, KEYS_LEASE, "sh", (size_t)0);
}

Test(slots, a_second_process_waits_until_the_first_lets_go)
{
    struct slots *first = slots_new("sh", 1, "first");
    struct slots *second = slots_new("sh", 1, "second");
    size_t slot = 9;

    cr_assert_eq(try_for(first, 0, &slot), STATUS_OK);
    cr_assert_eq(slot, 0);
    cr_assert_eq(try_for(second, 50, &slot), STATUS_TIMEOUT);
    slots_release(first, conn, 0);
    cr_assert_eq(try_for(second, 0, &slot), STATUS_OK);
    slots_release(second, conn, slot);
    cr_assert_eq(integer_of(good_reply("EXISTS", lease_key(), NULL)), 0,
                 "the lease outlived its last use");
    slots_free(first);
    slots_free(second);
}

Test(slots, as_many_write_at_once_as_the_setting_says)
{
    struct slots *writers[3];
    size_t slots[3];

    for (int i = 0; i < 3; i++) {
        char token[8] = {'t', (char)('0' + i), '\0'};
        writers[i] = slots_new("sh", 2, token);
    }
    cr_assert_eq(try_for(writers[0], 1000, &slots[0]), STATUS_OK);
    cr_assert_eq(try_for(writers[1], 1000, &slots[1]), STATUS_OK);
    cr_assert_neq(slots[0], slots[1]);
    cr_assert_eq(try_for(writers[2], 50, &slots[2]), STATUS_TIMEOUT);
    slots_release(writers[0], conn, slots[0]);
    cr_assert_eq(try_for(writers[2], 1000, &slots[2]), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        slots_free(writers[i]);
    }
}

Test(slots, a_lease_whose_holder_died_ends_by_itself)
{
    struct slots *dead = slots_new("sh", 1, "dead");
    struct slots *heir = slots_new("sh", 1, "heir");
    size_t slot;

    cr_assert_eq(try_for(dead, 0, &slot), STATUS_OK);
    long long left_ms = integer_of(good_reply("PTTL", lease_key(), NULL));
    cr_assert(left_ms > 0 && left_ms <= 10000, "%lld ms", left_ms);
    integer_of(good_reply("DEL", lease_key(), NULL)); /* what its end does, without the wait */
    cr_assert_eq(try_for(heir, 0, &slot), STATUS_OK);
    slots_free(dead);
    slots_free(heir);
}

Test(slots, renewing_prolongs_a_lease_in_use_and_only_that)
{
    struct slots *slots = slots_new("sh", 1, "us");
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};
    size_t slot;

    cr_assert_eq(try_for(slots, 0, &slot), STATUS_OK);
    redis_args_str(&args, "PEXPIRE");
    redis_args_str(&args, lease_key());
    redis_args_int(&args, 1000);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
    slots_renew(slots, conn);
    cr_assert_gt(integer_of(good_reply("PTTL", lease_key(), NULL)), 5000);

    slots_release(slots, conn, slot);
    slots_renew(slots, conn);
    cr_assert_eq(integer_of(good_reply("EXISTS", lease_key(), NULL)), 0,
                 "renewed though nobody writes");
    slots_free(slots);
}

Test(slots, a_lease_lost_meanwhile_is_asked_for_again)
{
    struct slots *sleeper = slots_new("sh", 1, "sleeper");
    struct slots *other = slots_new("sh", 1, "other");
    size_t slot;

    cr_assert_eq(try_for(sleeper, 0, &slot), STATUS_OK);
    integer_of(good_reply("DEL", lease_key(), NULL));
    cr_assert_eq(try_for(other, 0, &slot), STATUS_OK);
    slots_renew(sleeper, conn); /* learns that it is gone */
    slots_release(sleeper, conn, 0);
    cr_assert_eq(integer_of(good_reply("EXISTS", lease_key(), NULL)), 1,
                 "somebody else's lease was given back");
    cr_assert_eq(try_for(sleeper, 50, &slot), STATUS_TIMEOUT);
    slots_free(sleeper);
    slots_free(other);
}

Test(slots, without_redis_the_trouble_is_named)
{
    struct slots *slots = slots_new("sh", 1, "us");
    struct error err = {0};
    size_t slot;

    test_server_kill(&redis);
    enum status status = acquire(slots, conn, 1000, &slot, &err);
    cr_assert_eq(status, STATUS_UNREACHABLE, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "writer lease"), "%s", err.text);
    slots_free(slots);
}

/* ---- threads of one process ---------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 200 };

static struct slots *shared;
static atomic_int writing;
static atomic_int rounds;

static void *thread(void *argument)
{
    (void)argument;
    struct redis_conn *own = new_conn();

    for (int i = 0; i < ROUNDS; i++) {
        struct error err = {0};
        size_t slot;
        cr_assert_eq(acquire(shared, own, 20000, &slot, &err), STATUS_OK, "%s", err.text);
        cr_assert_eq(atomic_fetch_add(&writing, 1), 0, "two wrote at once");
        atomic_fetch_sub(&writing, 1);
        slots_release(shared, own, slot);
        atomic_fetch_add(&rounds, 1);
    }
    redis_conn_free(own);
    return NULL;
}

Test(slots, threads_of_one_process_have_a_slot_one_after_the_other)
{
    pthread_t threads[THREADS];

    shared = slots_new("sh", 1, "us");
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, thread, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_assert_eq(atomic_load(&rounds), THREADS * ROUNDS);
    cr_assert_eq(integer_of(good_reply("EXISTS", lease_key(), NULL)), 0);
    slots_free(shared);
}

Test(slots, a_slot_is_let_go_after_half_a_second)
{
    struct slots *slots = slots_new("sh", 1, "us");
    size_t slot = 0;

    cr_assert_eq(try_for(slots, 0, &slot), STATUS_OK);
    cr_assert(slots_may_go_on(slots, slot));
    clock_sleep_ms(520);
    cr_assert_not(slots_may_go_on(slots, slot));
    slots_release(slots, conn, slot);
    slots_free(slots);
}
