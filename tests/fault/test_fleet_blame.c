/* Who is to blame, on a real fleet with the default limits: what everybody meets is nobody's fault,
 * what fails alone while others pass is. */
#include <stdatomic.h>

#include "chroma_calls.h"
#include "fleet_fixture.h"
#include "queue/operate.h"
#include "queue/queue.h"
#include "rule_server.h"

enum {
    DEFAULT_ATTEMPTS = 5,
    DEFAULT_FAILURES = 5,
    BATCHES_MAX = 4, /* in which 64 jobs may come, each at least a call */
};

TestSuite(fleet_blame, .init = fleet_setup, .fini = fleet_teardown, .timeout = 120);

static atomic_int code;        /* of a rule while the server is ill; 0 = it is well */
static const char *ill_answer; /* what it says then */
static struct rule_server *server;

static void assert_default_limits(void)
{
    cr_assert_eq(settings.max_attempts, DEFAULT_ATTEMPTS);
    cr_assert_eq(settings.breaker_failures, DEFAULT_FAILURES);
}

static void learn(int number)
{
    char id[16];
    char prompt[64];

    snprintf(id, sizeof id, "t-%d", number);
    snprintf(prompt, sizeof prompt, "prompt number %d of a test", number);
    push_distill("legal", id, prompt, "a result", 0.9, "");
}

static void embed_at(const struct rule_server *at)
{
    settings.embedder = EMBEDDER_OPENAI;
    settings.embed_dimension = 2;
    snprintf(settings.embed_url, sizeof settings.embed_url, "%s/v1", rule_server_url(at));
}

/* Nothing was burnt, nothing is lost, and all is done once the server is well. */
static void assert_waits_and_is_done(int lessons)
{
    wait_for("distill", "parked", lessons);
    cr_assert_eq(stats_of("distill").dead, 0);
    atomic_store(&code, 0);
    wait_for("distill", "done", lessons);
    cr_assert_eq(stats_of("distill").dead, 0);
    cr_assert_eq(counter_of("distill", "retried"), 0);
}

/* ---- what everybody meets ------------------------------------------------------------------ */

static int ill_embedder(void *unused, const struct rule_request *request, struct strbuf *answer)
{
    (void)unused;
    if (atomic_load(&code) == 0) {
        return rule_embed(request, answer);
    }
    strbuf_append_str(answer, ill_answer);
    return atomic_load(&code);
}

static void assert_an_outage(int said, const char *body)
{
    atomic_store(&code, said);
    ill_answer = body;
    server = rule_server_start(ill_embedder, NULL, NULL);
    embed_at(server);
    assert_default_limits();
    start_fleet();
    for (int i = 0; i < 10; i++) {
        learn(i);
    }
    assert_waits_and_is_done(10);
    stop_fleet();
    rule_server_stop(server);
}

Test(fleet_blame, an_embedder_that_says_no_to_everybody_is_away)
{
    assert_an_outage(401, "{\"error\":\"key expired\"}");
}

Test(fleet_blame, an_embedder_that_calls_every_text_bad_is_away)
{
    assert_an_outage(400, "{\"error\":\"bad request\"}");
}

Test(fleet_blame, an_embedder_without_its_model_is_away)
{
    assert_an_outage(404, "{\"error\":\"model not found, try pulling it first\"}");
}

Test(fleet_blame, a_page_is_no_vector)
{
    assert_an_outage(200, "<html>please log in</html>");
}

Test(fleet_blame, an_error_with_code_200_is_no_vector)
{
    assert_an_outage(200, "{\"error\":{\"message\":\"overloaded\"}}");
}

Test(fleet_blame, vectors_of_another_length_are_another_model)
{
    assert_an_outage(200, "{\"data\":[{\"index\":0,\"embedding\":[1,2,3]}]}");
}

static int full_disk(void *unused, const struct rule_request *request, struct strbuf *answer)
{
    (void)unused;
    strbuf_append_str(answer, "{\"message\":\"database or disk is full\"}");
    return strstr(request->path, "/upsert") != NULL ? atomic_load(&code) : RULE_FORWARD;
}

static void assert_writes_park(int said)
{
    atomic_store(&code, said);
    server = rule_server_start(full_disk, NULL, chroma_server.url);
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", rule_server_url(server));
    assert_default_limits();
    start_fleet();
    for (int i = 0; i < 6; i++) { /* thin: each is read, and found unwritten, by itself */
        learn(i);
        wait_for("distill", "parked", i + 1);
    }
    cr_assert_eq(upstreams_state(fleet_worker(fleet)->upstreams, OPERATION_GET), BREAKER_CLOSED);
    assert_waits_and_is_done(6);
    cr_assert_eq(documents_in("legal"), 6);
    stop_fleet();
    rule_server_stop(server);
}

Test(fleet_blame, a_full_disk_is_no_lessons_fault_though_reads_pass)
{
    assert_writes_park(500);
}

Test(fleet_blame, a_token_that_may_only_read_is_no_lessons_fault)
{
    assert_writes_park(403);
}

static int no_new_collections(void *unused, const struct rule_request *request,
                              struct strbuf *answer)
{
    const size_t bytes = strlen(request->path);
    const size_t end = strlen("/collections");
    const bool creates = strcmp(request->method, "POST") == 0 && bytes > end &&
                         strcmp(request->path + bytes - end, "/collections") == 0;
    (void)unused;
    strbuf_append_str(answer, "{\"message\":\"quota\"}");
    return creates && strstr(request->body, "sh-new") != NULL ? atomic_load(&code) : RULE_FORWARD;
}

Test(fleet_blame, a_collection_that_cannot_be_made_holds_up_no_other)
{
    atomic_store(&code, 402);
    server = rule_server_start(no_new_collections, NULL, chroma_server.url);
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", rule_server_url(server));
    start_fleet();
    push_distill("new", "n-1", "a prompt", "a result", 0.9, "");
    wait_for("distill", "parked", DEFAULT_FAILURES + 1);
    cr_assert_eq(upstreams_state(fleet_worker(fleet)->upstreams, OPERATION_COLLECTION) ==
                     BREAKER_CLOSED,
                 false);
    cr_assert_eq(upstreams_state(fleet_worker(fleet)->upstreams, OPERATION_WRITE), BREAKER_CLOSED);
    learn(1);
    wait_for("distill", "done", 1);
    atomic_store(&code, 0);
    wait_for("distill", "done", 2);
    cr_assert_eq(stats_of("distill").dead, 0);
    stop_fleet();
    rule_server_stop(server);
}

/* ---- what one text does --------------------------------------------------------------------- */

static int poisoned(void *unused, const struct rule_request *request, struct strbuf *answer)
{
    (void)unused;
    if (strstr(request->body, "poison") != NULL) {
        strbuf_append_str(answer, "unsupported value: NaN");
        return atomic_load(&code);
    }
    return rule_embed(request, answer);
}

/* 64 lessons in one call, one of them bad. */
static void learn_with_a_poison(int said)
{
    struct queue queue = queue_named("distill");
    struct error err = {0};

    atomic_store(&code, said);
    server = rule_server_start(poisoned, NULL, NULL);
    embed_at(server);
    settings.lanes = 1;
    assert_default_limits();
    for (int i = 0; i < 63; i++) {
        learn(i);
    }
    push_distill("legal", "bad-1", "this is poison", "a result", 0.9, "");
    cr_assert_eq(queue_prepare(conn, &queue, &err), STATUS_OK, "%s", err.text);
    start_fleet();
    wait_for("distill", "done", 63);
}

static void assert_dead(const char *reason)
{
    char said[400];
    char expected[64];

    wait_for("distill", "buried", 1);
    dead_letter("distill", said, sizeof said);
    snprintf(expected, sizeof expected, "%s: document \"bad-1\": ", reason);
    cr_assert_eq(strncmp(said, expected, strlen(expected)), 0, "%s", said);
    cr_assert_eq(counter_of("distill", "done"), 63);
    for (int i = 0; i < OPERATIONS; i++) {
        cr_assert_eq(upstreams_state(fleet_worker(fleet)->upstreams, (enum operation)i),
                     BREAKER_CLOSED, "one text opens no breaker");
    }
    stop_fleet();
    rule_server_stop(server);
}

Test(fleet_blame, one_text_that_is_refused_costs_few_calls_and_dies_alone)
{
    learn_with_a_poison(400);
    wait_for("distill", "buried", 1);
    cr_assert_leq(rule_server_requests(server), 2 * 6 + 2 + BATCHES_MAX);
    assert_dead("rejected");
}

Test(fleet_blame, one_text_that_makes_the_model_fail_dies_of_its_own_attempts)
{
    learn_with_a_poison(500);
    assert_dead("retries_exhausted");
}

static int picky_chroma(void *unused, const struct rule_request *request, struct strbuf *answer)
{
    (void)unused;
    strbuf_append_str(answer, "{\"message\":\"no\"}");
    return strstr(request->path, "/upsert") != NULL && strstr(request->body, "poison") != NULL
               ? atomic_load(&code)
               : RULE_FORWARD;
}

Test(fleet_blame, a_record_that_chroma_alone_refuses_dies_alone_and_its_neighbours_stand)
{
    atomic_store(&code, 400);
    server = rule_server_start(picky_chroma, NULL, chroma_server.url);
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", rule_server_url(server));
    settings.lanes = 1;
    for (int i = 0; i < 63; i++) {
        learn(i);
    }
    push_distill("legal", "bad-1", "this is poison", "a result", 0.9, "");
    start_fleet();
    wait_for("distill", "done", 63);
    assert_dead("rejected");
}

/* Chroma has no comparison of ours: a record is at fault once others passed since its last try. */
Test(fleet_blame, a_record_that_makes_chroma_fail_waits_for_others_to_pass_and_then_dies)
{
    char said[400];

    atomic_store(&code, 500);
    server = rule_server_start(picky_chroma, NULL, chroma_server.url);
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", rule_server_url(server));
    assert_default_limits();
    start_fleet();
    push_distill("legal", "bad-1", "this is poison", "a result", 0.9, "");
    wait_for("distill", "parked", DEFAULT_FAILURES + 2);
    cr_assert_eq(stats_of("distill").dead, 0, "nothing to compare it with");
    cr_assert_eq(upstreams_state(fleet_worker(fleet)->upstreams, OPERATION_WRITE), BREAKER_CLOSED,
                 "one text's fault opens no breaker");
    for (int i = 0; i < 200 && stats_of("distill").dead == 0; i++) {
        learn(i);
        wait_for("distill", "done", i + 1);
        clock_sleep_ms(POLL_MS);
    }
    dead_letter("distill", said, sizeof said);
    cr_assert_eq(strncmp(said, "retries_exhausted: document \"bad-1\": ", 37), 0, "%s", said);
    cr_assert_eq(stats_of("distill").dead, 1);
    stop_fleet();
    rule_server_stop(server);
}

/* ---- texts that are too long ----------------------------------------------------------------- */

static int short_model(void *unused, const struct rule_request *request, struct strbuf *answer)
{
    (void)unused;
    if (strlen(request->body) > 2000) {
        strbuf_append_str(answer, "{\"error\":\"the input length exceeds the context length\"}");
        return 400;
    }
    return rule_embed(request, answer);
}

static void push_long(const char *id)
{
    char prompt[6000];

    for (size_t i = 0; i + 5 < sizeof prompt; i += 5) {
        memcpy(prompt + i, "word ", 6);
    }
    push_distill("legal", id, prompt, "a result", 0.9, "");
}

Test(fleet_blame, a_text_longer_than_the_model_is_embedded_by_its_beginning_which_is_said)
{
    const struct slice id = {"long-1", 6};
    struct arena arena = {0};
    struct chroma_hits hits = {0};
    struct error err = {0};
    int64_t embedded = 0;

    server = rule_server_start(short_model, NULL, NULL);
    embed_at(server);
    settings.lanes = 1;
    push_long("long-1");
    learn(1);
    start_fleet();
    wait_for("distill", "done", 2);
    const size_t requests = rule_server_requests(server);
    push_long("long-2");
    wait_for("distill", "done", 3);
    cr_assert_leq(rule_server_requests(server), requests + 1, "it is known by now");

    struct chroma *reading = chroma_new(&(struct chroma_config){
        .url = settings.chroma_url,
        .tenant = settings.chroma_tenant,
        .database = settings.chroma_database,
        .token = "",
        .identity = {"openai/text-embedding-3-small", 2},
    });
    cr_assert_eq(get_ids(reading, "legal", &id, 1, &arena, &hits, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(hits.count, 1);
    cr_assert_gt(hits.examples[0].text.bytes, 5900, "the document stays whole");
    for (size_t i = 0; i < hits.examples[0].metadata_count; i++) {
        const struct meta_pair *pair = &hits.examples[0].metadata[i];
        if (pair->key.bytes == 14 && memcmp(pair->key.data, "embedded_bytes", 14) == 0) {
            embedded = pair->value.integer;
        }
    }
    cr_assert(embedded > 500 && embedded < 2000, "%lld", (long long)embedded);
    chroma_free(reading);
    arena_free(&arena);
    stop_fleet();
    rule_server_stop(server);
}

Test(fleet_blame, a_text_longer_than_the_model_is_rejected_where_the_setting_says_so)
{
    char said[400];

    server = rule_server_start(short_model, NULL, NULL);
    embed_at(server);
    settings.reject_long_text = true;
    settings.embed_max_chars = 1000;
    push_long("long-1");
    learn(1);
    start_fleet();
    wait_for("distill", "done", 1);
    wait_for("distill", "buried", 1);
    dead_letter("distill", said, sizeof said);
    cr_assert_not_null(strstr(said, "rejected: document \"long-1\": a text of"), "%s", said);
    stop_fleet();
    rule_server_stop(server);
}
