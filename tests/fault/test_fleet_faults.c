/* The fleet when its servers misbehave for real: nothing is lost, the books balance, work goes on.
 */
#include "fleet_fixture.h"
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/take.h"

TestSuite(fleet_faults, .init = fleet_setup, .fini = fleet_teardown, .timeout = 180);

Test(fleet_faults, while_chroma_is_down_distillations_wait_and_then_are_done)
{
    settings.breaker_failures = 2;
    start_fleet();
    test_server_kill(&chroma_server);
    for (int i = 0; i < 6; i++) {
        char id[16];
        snprintf(id, sizeof id, "t-%d", i);
        push_distill("legal", id, id, "a result", 0.9, "");
    }
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (upstreams_worst(fleet_worker(fleet)->upstreams, METRICS_CHROMA) == BREAKER_CLOSED) {
        cr_assert(clock_now_ms() < until_ms, "the breaker did not open");
        clock_sleep_ms(POLL_MS);
    }
    test_server_restart(&chroma_server);
    wait_for("distill", "done", 6);
    cr_assert_eq(documents_in("legal"), 6);
    cr_assert_eq(stats_of("distill").dead, 0);
    stop_fleet();
}

/* Too little traffic to open any breaker: the breaker is not what saves it. */
Test(fleet_faults, one_lesson_alone_in_an_outage_burns_no_attempt)
{
    settings.breaker_failures = 1000;
    settings.breaker_pause_ms = 50;
    settings.max_attempts = 1;
    start_fleet();
    test_server_kill(&chroma_server);
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    wait_for("distill", "parked", 5);
    test_server_restart(&chroma_server);
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("distill", "retried"), 0);
    cr_assert_eq(documents_in("legal"), 1);
    stop_fleet();
}

Test(fleet_faults, while_the_breaker_is_open_enrichments_are_answered_at_once_with_nothing)
{
    struct queue queue = queue_named("enrich");
    struct strbuf reply = {0};
    struct arena arena = {0};
    struct enrich_result result;
    struct error err = {0};

    settings.breaker_failures = 1;
    settings.breaker_pause_ms = 60000;
    settings.max_attempts = 1000;
    start_fleet();
    test_server_kill(&chroma_server);
    push_enrich("legal", "first", "a query", 3, "");
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (upstreams_worst(fleet_worker(fleet)->upstreams, METRICS_CHROMA) != BREAKER_OPEN) {
        cr_assert(clock_now_ms() < until_ms, "the breaker did not open");
        clock_sleep_ms(POLL_MS);
    }
    push_enrich("legal", "second", "another query", 3, "reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "second", 5000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(bodies_decode_result(reply.data, reply.bytes, &arena, &result, &err), STATUS_OK);
    cr_assert_eq(result.count, 0);
    wait_for("enrich", "done", 2);
    strbuf_free(&reply);
    arena_free(&arena);
    stop_fleet();
}

Test(fleet_faults, who_waits_is_answered_without_the_cache_and_nobody_elses_result_is_lost)
{
    struct queue queue = queue_named("enrich");
    struct strbuf reply = {0};
    struct arena arena = {0};
    struct enrich_result result;
    struct error err = {0};

    start_fleet();
    push_distill("legal", "t1", "notice period", "three months", 0.9, "");
    wait_for("distill", "done", 1);
    stop_fleet();

    snprintf(settings.cache_url, sizeof settings.cache_url, "redis://127.0.0.1:1/0");
    start_fleet();
    push_enrich("legal", "e1", "notice period for tenants", 3, "reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "e1", 5000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(bodies_decode_result(reply.data, reply.bytes, &arena, &result, &err), STATUS_OK);
    cr_assert_eq(result.count, 1);
    wait_for("enrich", "done", 1);
    push_enrich("legal", "e2", "notice period for landlords", 3, "");
    wait_for("enrich", "parked", 1);
    cr_assert_eq(counter_of("enrich", "retried"), 0);
    strbuf_free(&reply);
    arena_free(&arena);
    stop_fleet();
}

/* No attempt is burnt, but an experience is not worth more than its own life. */
Test(fleet_faults, a_lesson_that_waits_in_vain_ends_with_its_experience)
{
    char said[400];

    settings.experience_ttl_ms = 1000;
    start_fleet();
    test_server_kill(&chroma_server);
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    wait_for("distill", "buried", 1);
    dead_letter("distill", said, sizeof said);
    cr_assert_eq(strncmp(said, "retries_exhausted: ", 19), 0, "%s", said);
    cr_assert_gt(counter_of("distill", "parked"), 0);
    cr_assert_eq(counter_of("distill", "retried"), 0);
    stop_fleet();
}

/* Reads jobs as a worker that dies with them. */
static void die_with_jobs(const char *queue_name)
{
    struct queue queue = queue_named(queue_name);
    const char *stream = queue.stream[JOB_NORMAL];
    redisReply *reply = NULL;
    struct error err = {0};

    cr_assert_eq(queue_prepare(conn, &queue, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(
        queue_read_append(conn, &(struct queue_read){"dead-worker.0", 10, 0, &stream, 1}, &err),
        STATUS_OK);
    cr_assert_eq(redis_conn_collect(conn, &reply, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(reply->type, REDIS_REPLY_ARRAY);
    redis_reply_free(reply);
}

Test(fleet_faults, the_jobs_of_a_dead_worker_are_taken_over)
{
    settings.visibility_ms = 1000;
    push("echo", "a", "legal", "", "x", 1);
    push("echo", "b", "legal", "", "x", 1);
    die_with_jobs("echo");
    cr_assert_eq(stats_of("echo").running, 2);
    start_fleet();
    wait_for("echo", "done", 2);
    cr_assert_eq(counter_of("echo", "reclaimed"), 2, "takeovers are counted");
    stop_fleet();
}

Test(fleet_faults, a_fleet_that_loses_everything_in_redis_prepares_it_again)
{
    start_fleet();
    push("echo", "a", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    redis_reply_free(good_reply("FUNCTION", "FLUSH", NULL));
    redis_reply_free(good_reply("FLUSHALL", "SYNC", NULL));

    struct error err = {0};
    cr_assert_eq(queue_install(conn, NULL, &err), STATUS_OK, "%s", err.text);
    push("echo", "b", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    stop_fleet();
}

Test(fleet_faults, a_fleet_outlives_a_restart_of_redis)
{
    start_fleet();
    push("echo", "a", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    test_server_kill(&redis);
    test_server_restart(&redis);

    struct error err = {0};
    redis_conn_close(conn);
    cr_assert_eq(queue_install(conn, NULL, &err), STATUS_OK, "%s", err.text);
    push("echo", "b", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    cr_assert(fleet_is_alive(fleet));
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS; /* the janitor comes back by itself */
    while (!fleet_redis_ready(fleet)) {
        cr_assert_lt(clock_now_ms(), until_ms);
        clock_sleep_ms(POLL_MS);
    }
    stop_fleet();
}
