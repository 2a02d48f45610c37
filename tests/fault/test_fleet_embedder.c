/* The fleet with an embedder that misbehaves: what is dead, what is tried again, what waits. */
#include "fake_server.h"
#include "fleet_fixture.h"
#include "queue/enqueue.h"
#include "queue/operate.h"

TestSuite(fleet_embedder, .init = fleet_setup, .fini = fleet_teardown, .timeout = 120);

#define ASKED EXPECT("/v1/embeddings"), EXPECT("\"input\":["), EXPECT("]}")
#define VECTOR(numbers) ANSWER("200 OK", "{\"data\":[{\"index\":0,\"embedding\":[" numbers "]}]}")

static struct fake_server *play(const struct fake_step *script)
{
    struct fake_server *server = fake_server_start(script);

    settings.embedder = EMBEDDER_OPENAI;
    settings.embed_dimension = 2;
    snprintf(settings.embed_url, sizeof settings.embed_url, "http://127.0.0.1:%d/v1",
             fake_server_port(server));
    settings.lanes = 1;
    start_fleet();
    return server;
}

Test(fleet_embedder, vectors_of_another_length_make_a_lesson_wait_and_readiness_say_both)
{
    static const struct fake_step script[] = {ASKED, VECTOR("1,2,3"), ASKED, VECTOR("3,4"), END};
    struct strbuf said = {0};

    settings.retry_base_ms = 1000;
    settings.retry_max_ms = 1000;
    settings.breaker_pause_ms = 1000;
    struct fake_server *server = play(script);
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    wait_for("distill", "parked", 1);
    upstreams_describe(fleet_worker(fleet)->upstreams, METRICS_EMBEDDER, &said);
    cr_assert_not_null(strstr(said.data, "3 numbers, expected 2"), "%s", said.data);
    strbuf_free(&said);
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("distill", "retried"), 0);
    stop_fleet();
    cr_assert_null(fake_server_stop(server));
}

Test(fleet_embedder, a_busy_embedder_is_asked_again_and_the_vector_is_cached)
{
    static const struct fake_step script[] = {ASKED, ANSWER("503 Busy", "later"), ASKED,
                                              VECTOR("3,4"), END};
    struct fake_server *server = play(script);

    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("distill", "parked"), 1);
    cr_assert_eq(counter_of("distill", "retried"), 0);
    push_enrich("legal", "e1", " a   prompt ", 3, "");
    wait_for("enrich", "done", 1); /* the script has no third answer: the cache had it */
    stop_fleet();
    cr_assert_null(fake_server_stop(server));
}

Test(fleet_embedder, the_rate_of_the_fleet_is_kept_and_costs_no_more_than_a_wait)
{
    static const struct fake_step script[] = {ASKED, VECTOR("3,4"), ASKED, VECTOR("4,3"), END};

    settings.embed_rate_count = 1;
    settings.embed_rate_window_ms = 300;
    struct fake_server *server = play(script);
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    wait_for("distill", "done", 1);
    push_distill("legal", "t2", "another prompt", "a result", 0.9, "");
    wait_for("distill", "done", 2);
    stop_fleet();
    cr_assert_null(fake_server_stop(server));
}

Test(fleet_embedder, while_its_breaker_is_open_enrichments_come_out_empty)
{
    static const struct fake_step script[] = {ASKED, ANSWER("500 Oops", ""), ASKED,
                                              ANSWER("500 Oops", ""), END};
    struct queue queue = queue_named("enrich");
    struct strbuf reply = {0};
    struct error err = {0};

    settings.breaker_failures = 1;
    settings.breaker_pause_ms = 60000;
    struct fake_server *server = play(script);
    push_enrich("legal", "e1", "a query", 3, "");
    wait_for("enrich", "done", 1); /* its own failure opened the breaker */
    push_enrich("legal", "e2", "another query", 3, "reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "e2", 5000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    strbuf_free(&reply);
    stop_fleet();
    cr_assert_null(fake_server_stop(server));
}

Test(fleet_embedder, of_two_texts_only_the_refused_one_is_dead)
{
    static const struct fake_step script[] = {
        ASKED, ANSWER("400 Bad", "no"), ASKED, ANSWER("400 Bad", "no"), ASKED, VECTOR("3,4"), END};
    char said[400];
    struct queue queue = queue_named("distill");
    struct error err = {0};

    cr_assert_eq(queue_pause(conn, &queue, true, &err), STATUS_OK, "%s", err.text);
    push_distill("legal", "t1", "refused prompt", "a result", 0.9, "");
    push_distill("legal", "t2", "good prompt", "a result", 0.9, "");
    struct fake_server *server = play(script);
    cr_assert_eq(queue_pause(conn, &queue, false, &err), STATUS_OK, "%s", err.text);
    wait_for("distill", "buried", 1);
    wait_for("distill", "done", 1);
    dead_letter("distill", said, sizeof said);
    cr_assert_eq(strncmp(said, "rejected: document \"t1\": ", 24), 0, "%s", said);
    stop_fleet();
    cr_assert_null(fake_server_stop(server));
}

/* A text that is too long, whose beginning meets an outage: it waits, and passes after it. */
static void assert_waits_for_its_beginning(const struct fake_step *script)
{
    char prompt[400];

    memset(prompt, 'x', sizeof prompt - 1);
    prompt[sizeof prompt - 1] = '\0';
    settings.breaker_pause_ms = 1000;
    struct fake_server *server = play(script);
    push_distill("legal", "t1", prompt, "a result", 0.9, "");
    wait_for("distill", "parked", 1);
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("distill", "retried"), 0);
    cr_assert_eq(stats_of("distill").dead, 0);
    stop_fleet();
    cr_assert_null(fake_server_stop(server));
}

#define TOO_LONG ANSWER("400 Bad", "{\"error\":\"maximum context length exceeded\"}")

Test(fleet_embedder, a_long_text_waits_where_its_beginning_meets_a_busy_embedder)
{
    static const struct fake_step script[] = {
        ASKED, TOO_LONG,      ASKED, VECTOR("1,2"), ASKED, ANSWER("429 Slow\r\nRetry-After: 1", ""),
        ASKED, VECTOR("3,4"), END};

    assert_waits_for_its_beginning(script);
}

#define GONE ASKED, RST

/* Asked once, again because the connection was an old one, and for the comparison. */
Test(fleet_embedder, a_long_text_waits_where_its_beginning_meets_no_embedder)
{
    static const struct fake_step script[] = {ASKED, TOO_LONG, ASKED, VECTOR("1,2"), GONE,
                                              GONE,  GONE,     ASKED, VECTOR("3,4"), END};

    assert_waits_for_its_beginning(script);
}
