/* What an operator's fingers and other people's tools did to a queue, put right. */
#include "base/arena.h"
#include "jobs/bodies.h"
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_repair, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

/* ---- entries that nobody will ever run ---------------------------------------------------------
 */

typedef enum status walk(struct redis_conn *, const struct queue *, char[QUEUE_CURSOR_BYTES],
                         size_t *, struct error *);

static size_t walk_all(walk *step)
{
    char cursor[QUEUE_CURSOR_BYTES] = "0";
    size_t total = 0;
    size_t some = 0;

    for (int i = 0; cursor[0] != '\0'; i++) {
        cr_assert_lt(i, 100, "it does not end");
        OK(step(conn, &queue, cursor, &some, &err));
        total += some;
    }
    return total;
}

/* `jobs` of them are found, put back, and can be run; then there are none. */
static void check_orphans(size_t jobs)
{
    struct queue_batch batch = {0};

    cr_assert_eq(walk_all(queue_count_orphans), jobs);
    read_jobs("thief", 100, &batch);
    cr_assert_eq(batch.count, 0, "nobody would ever have run them");
    cr_assert_eq(walk_all(queue_adopt_orphans), jobs);
    cr_assert_eq(walk_all(queue_count_orphans), 0);
    finish_waiting("heir", jobs);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_repair, what_a_deleted_consumer_held_is_put_back_and_what_runs_is_not)
{
    struct queue_batch gone = {0};
    struct queue_batch held = {0};

    for (int i = 0; i < 3; i++) {
        add("gone", "unique=u");
        add("held", "");
        read_jobs("gone", 1, &gone);
        read_jobs("me", 1, &held);
        ask("DEL", "sh:{enrich}:unique:u", NULL);
    }
    add("waits", "");
    ask("XGROUP", "DELCONSUMER", queue.stream[JOB_NORMAL], "fleet", "gone", NULL);
    cr_assert_eq(walk_all(queue_count_orphans), 3);
    cr_assert_eq(walk_all(queue_adopt_orphans), 3);
    cr_assert_eq(stats().running, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(finish_as("gone", &gone.jobs[i]), QUEUE_LOST);
        cr_assert_eq(finish_as("me", &held.jobs[i]), QUEUE_MOVED);
    }
    finish_waiting("heir", 4);
    cr_assert_eq(counter("done"), 7);
    queue_batch_free(&gone);
    queue_batch_free(&held);
}

BOOKED_TEST(queue_repair, who_may_not_see_what_runs_puts_nothing_back)
{
    struct queue_batch batch = {0};
    char cursor[QUEUE_CURSOR_BYTES] = "0";
    size_t some = 0;

    add("a", "");
    const struct job *job = read_one("me", &batch);
    ask("ACL", "SETUSER", "default", "-xpending", NULL);
    cr_assert_eq(queue_adopt_orphans(conn, &queue, cursor, &some, &err), STATUS_REFUSED);
    cr_assert_eq(queue_count_orphans(conn, &queue, cursor, &some, &err), STATUS_REFUSED);
    ask("ACL", "SETUSER", "default", "+xpending", NULL);
    cr_assert_eq(walk_all(queue_count_orphans), 0);
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_repair, what_was_acknowledged_by_hand_is_put_back)
{
    struct queue_batch batch = {0};

    add("a", "priority=low since=5");
    ask("XACK", queue.stream[JOB_LOW], "fleet", read_one("me", &batch)->entry.data, NULL);
    check_orphans(1);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_repair, what_a_group_was_set_beyond_is_put_back)
{
    add("a", "");
    add("b", "priority=high");
    ask("XGROUP", "SETID", queue.stream[JOB_NORMAL], "fleet", "$", NULL);
    ask("XGROUP", "SETID", queue.stream[JOB_HIGH], "fleet", "$", NULL);
    check_orphans(2);

    ask("XGROUP", "DESTROY", queue.stream[JOB_NORMAL], "fleet", NULL);
    add("c", "");
    ask("XGROUP", "CREATE", queue.stream[JOB_NORMAL], "fleet", "$", NULL);
    OK(queue_prepare(conn, &queue, &err));
    check_orphans(1);
}

BOOKED_TEST(queue_repair, an_orphan_that_is_no_job_is_put_back_as_it_is)
{
    struct queue_batch batch = {0};

    ask("XADD", queue.stream[JOB_NORMAL], "*", "colour", "red", NULL);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "1", NULL);
    ask("XGROUP", "SETID", queue.stream[JOB_NORMAL], "fleet", "$", NULL);
    cr_assert_eq(walk_all(queue_adopt_orphans), 1);
    cr_assert_str_eq(first_field(queue.stream[JOB_NORMAL], "colour"), "red");
    cr_assert_eq(bury_as("me", read_one("me", &batch), "malformed"), QUEUE_MOVED);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_repair, an_answer_of_another_shape_is_laid_to_the_function_that_gave_it)
{
    char cursor[QUEUE_CURSOR_BYTES] = "0";
    size_t some = 0;

    cr_assert_str_eq(ask("FUNCTION", "LOAD", "REPLACE",
                         "#!lua name=stillhouse\nlocal function f() return {'', -1} end\n"
                         "redis.register_function('sh_adopt', f)\n"
                         "redis.register_function{function_name = 'sh_orphans', callback = f, "
                         "flags = {'no-writes'}}",
                         NULL),
                     "stillhouse");
    cr_assert_eq(queue_adopt_orphans(conn, &queue, cursor, &some, &err), STATUS_GARBLED);
    cr_assert_not_null(strstr(err.text, "sh_adopt"), "%s", err.text);
    cr_assert_eq(queue_count_orphans(conn, &queue, cursor, &some, &err), STATUS_GARBLED);
    cr_assert_not_null(strstr(err.text, "sh_orphans"), "%s", err.text);
    OK(queue_install(conn, NULL, &err));
}

/* ---- purge
 * --------------------------------------------------------------------------------------- */

BOOKED_TEST(queue_repair, a_purge_takes_all_jobs_and_tells_who_waits)
{
    struct queue_batch batch = {0};
    struct strbuf reply = {0};
    struct arena arena = {0};
    struct enrich_result result;
    size_t purged = 0;

    add("dead", "");
    cr_assert_eq(bury_as("me", read_one("me", &batch), "rejected"), QUEUE_MOVED);
    add("runs", "priority=high");
    const struct job *runs = read_one("me", &batch);
    add("waits", "unique=u");
    cr_assert_str_eq(add_bounded(0, "twin", "unique=u reply=1").id, "waits");
    add("asked", "priority=low reply=1");
    add("later", "delay_ms=60000 unique=v");

    OK(queue_purge(conn, &queue, 3, &purged, &err));
    cr_assert_eq(purged, 3);
    OK(queue_purge(conn, &queue, 100000, &purged, &err));
    cr_assert_eq(purged, 1);
    OK(queue_purge(conn, &queue, 10, &purged, &err));
    cr_assert_eq(purged, 0);
    cr_assert_eq(finish_as("me", runs), QUEUE_LOST);

    const struct queue_stats now = stats();
    cr_assert_eq(now.waiting + now.running + now.delayed, 0);
    cr_assert_eq(now.dead, 1, "the dead letters stay");
    cr_assert_eq(counter("discarded"), 4);
    cr_assert_str_eq(ask("KEYS", "sh:{enrich}:unique:*", NULL), "[0]");
    static const char *const waiters[] = {"waits", "asked"};
    for (size_t i = 0; i < 2; i++) {
        OK(queue_await_reply(conn, &queue, waiters[i], 0, &reply, &err));
        OK(bodies_decode_result(reply.data, reply.bytes, &arena, &result, &err));
        assert_slice(result.error, "purged by an operator");
        strbuf_reset(&reply);
    }
    strbuf_free(&reply);
    arena_free(&arena);
    queue_batch_free(&batch);
}

/* ---- the books
 * ----------------------------------------------------------------------------------- */

static struct queue_balance repair(void)
{
    struct queue_balance was = {0};

    OK(queue_repair(conn, &queue, &was, &err));
    return was;
}

BOOKED_TEST(queue_repair, books_that_an_operator_put_out_are_put_right)
{
    cr_assert_eq(repair().jobs, 0);
    add("a", "");
    add("b", "");
    ask("DEL", queue.stream[JOB_NORMAL], NULL);
    OK(queue_prepare(conn, &queue, &err));
    cr_assert_eq(repair().jobs, 2);
    cr_assert_eq(stats().adjusted, -2);
    check_books();

    ask("XADD", queue.stream[JOB_LOW], "*", "id", "junk", NULL); /* three jobs from nowhere */
    ask("ZADD", queue.delayed, "5", "junk", "6", "more junk", NULL);
    cr_assert_eq(repair().jobs, -3);
    cr_assert_eq(stats().adjusted, 1);
    check_books();
}

BOOKED_TEST(queue_repair, letters_that_left_or_came_by_hand_are_counted)
{
    struct queue_batch batch = {0};

    add("a", "");
    cr_assert_eq(bury_as("me", read_one("me", &batch), "rejected"), QUEUE_MOVED);
    ask("DEL", queue.dead, NULL);
    cr_assert_eq(repair().dead, 1);
    cr_assert_eq(counter("discarded"), 1);
    check_books();

    ask("XADD", queue.dead, "*", "id", "junk", NULL);
    const struct queue_balance was = repair();
    cr_assert_eq(was.dead, -1);
    cr_assert_eq(was.jobs, 0);
    check_books();
    queue_batch_free(&batch);
}

Test(queue_repair, nothing_is_repaired_beside_a_key_of_another_type)
{
    struct queue_balance was = {0};

    ask("SET", queue.delayed, "x", NULL);
    cr_assert_eq(queue_repair(conn, &queue, &was, &err), STATUS_REFUSED);
}
