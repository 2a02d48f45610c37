/* The writer on a real Redis and a real Chroma: threads stand for lanes. Another process holds the
 * slot until all of them stand in line, so what goes together is known beforehand. */
#include <pthread.h>

#include "chroma_writer/records.h"
#include "chroma_writer/same_prompt.h"
#include "chroma_writer/slots.h"
#include "fleet_fixture.h"
#include "rule_server.h"

enum { LANES_MAX = 4, EACH_MAX = 120, DOMAINS_MAX = 3 };

struct test_lane {
    pthread_t thread;
    struct context ctx;
    struct write_order orders[DOMAINS_MAX];
    size_t order_count;
    struct record_write writes[DOMAINS_MAX][EACH_MAX];
    struct record_write *lists[DOMAINS_MAX][EACH_MAX];
    struct task tasks[DOMAINS_MAX][EACH_MAX];
    char ids[DOMAINS_MAX][EACH_MAX][24];
};

static struct test_lane lanes[LANES_MAX];
static size_t lane_count;
static struct upstreams *upstreams;
static struct writer *writer;
static struct slots *other; /* another process */
static size_t other_slot;
static atomic_llong redis_clock_ms;
static float vector[384] = {[0] = 1};

static void take_slot(void)
{
    struct error err = {0};
    bool held = false;

    cr_assert_eq(slots_try(other, conn, 0, &other_slot, &held, &err), STATUS_OK, "%s", err.text);
    cr_assert(held);
}

static void prepare(void)
{
    struct error err = {0};

    fleet_setup();
    settings.chroma_timeout_ms = 2000;
    metrics = metrics_new();
    upstreams = upstreams_new(&settings, metrics);
    writer = writer_new(&(struct writer_config){.settings = &settings,
                                                .metrics = metrics,
                                                .upstreams = upstreams,
                                                .redis_clock_ms = &redis_clock_ms,
                                                .token = "us"});
    other = slots_new("sh", 1, "other");
    memset(lanes, 0, sizeof lanes);
    lane_count = 0;
    cr_assert_eq(chroma_open_collection(chroma, "legal", true, &err), STATUS_OK, "%s", err.text);
    take_slot();
}

static void clean(void)
{
    for (size_t i = 0; i < lane_count; i++) {
        context_close(&lanes[i].ctx);
    }
    writer_free(writer);
    slots_free(other);
    upstreams_free(upstreams);
    metrics_free(metrics);
    fleet_teardown();
}

TestSuite(writer, .init = prepare, .fini = clean, .timeout = 120);

static struct test_lane *new_lane(void)
{
    struct test_lane *lane = &lanes[lane_count++];
    struct error err = {0};

    lane->ctx = (struct context){.settings = &settings,
                                 .metrics = metrics,
                                 .upstreams = upstreams,
                                 .writer = writer,
                                 .redis_clock_ms = &redis_clock_ms};
    cr_assert_eq(context_open(&lane->ctx, &err), STATUS_OK, "%s", err.text);
    return lane;
}

/* `count` records named <name>0, <name>1, ... for a domain. */
static void order(struct test_lane *lane, const char *domain, const char *name, size_t count)
{
    const size_t at = lane->order_count++;

    for (size_t i = 0; i < count; i++) {
        char *id = lane->ids[at][i];
        snprintf(id, sizeof lane->ids[at][i], "%s%zu", name, i);
        lane->tasks[at][i].verdict = VERDICT_DONE;
        lane->writes[at][i] = (struct record_write){
            .record = {.id = {id, strlen(id)}, .vector = vector, .document = {"text", 4}},
            .task = &lane->tasks[at][i],
        };
        lane->lists[at][i] = &lane->writes[at][i];
    }
    lane->orders[at] =
        (struct write_order){.domain = domain, .writes = lane->lists[at], .count = count};
}

static void *write_orders(void *argument)
{
    struct test_lane *lane = argument;

    writer_put(writer, &lane->ctx, lane->orders, lane->order_count);
    for (size_t i = 0; i < lane->order_count; i++) {
        for (size_t j = 0; j < lane->orders[i].count; j++) {
            records_judge(&lane->ctx, lane->orders[i].domain, lane->orders[i].writes[j]);
        }
    }
    return NULL;
}

/* Lane by lane: each stands in line before the next one comes. */
static void all_in_line(void)
{
    size_t records = 0;

    for (size_t i = 0; i < lane_count; i++) {
        for (size_t j = 0; j < lanes[i].order_count; j++) {
            records += lanes[i].orders[j].count;
        }
        cr_assert_eq(pthread_create(&lanes[i].thread, NULL, write_orders, &lanes[i]), 0);
        const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
        while (writer_waiting(writer) < records) {
            cr_assert_lt(clock_now_ms(), until_ms, "lane %zu does not come into the line", i);
            clock_sleep_ms(1);
        }
    }
}

static void go(void)
{
    all_in_line();
    slots_release(other, conn, other_slot);
    for (size_t i = 0; i < lane_count; i++) {
        pthread_join(lanes[i].thread, NULL);
    }
    cr_assert_eq(writer_waiting(writer), 0);
}

static long long upserts(void)
{
    static const char sample[] =
        "stillhouse_upstream_seconds_count{upstream=\"chroma\",operation=\"upsert\"} ";
    struct strbuf text = {0};

    metrics_render(metrics, &text);
    const char *found = strstr(text.data, sample);
    const long long count = found == NULL ? 0 : strtoll(found + sizeof sample - 1, NULL, 10);
    strbuf_free(&text);
    return count;
}

static void has_documents(const char *domain, int64_t expected)
{
    struct error err = {0};
    int64_t count = 0;

    cr_assert_eq(chroma_count(chroma, domain, &count, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(count, expected, "%lld documents", (long long)count);
}

static void lease_is_free(void)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    struct error err = {0};
    bool held = false;

    while (!held) { /* it is let go a moment after the last lane has its answer */
        cr_assert_lt(clock_now_ms(), until_ms);
        cr_assert_eq(slots_try(other, conn, 0, &other_slot, &held, &err), STATUS_OK, "%s",
                     err.text);
    }
}

static size_t judged(enum verdict verdict)
{
    size_t count = 0;

    for (size_t i = 0; i < lane_count; i++) {
        for (size_t j = 0; j < lanes[i].order_count; j++) {
            for (size_t k = 0; k < EACH_MAX && lanes[i].writes[j][k].task != NULL; k++) {
                count += lanes[i].tasks[j][k].verdict == verdict;
            }
        }
    }
    return count;
}

Test(writer, records_of_several_lanes_go_to_chroma_in_requests_of_a_hundred)
{
    static const char *const names[] = {"a", "b", "c", "d"};

    for (size_t i = 0; i < 4; i++) {
        order(new_lane(), "legal", names[i], 50);
    }
    go();
    has_documents("legal", 200);
    cr_assert_eq(upserts(), 2);
    cr_assert_eq(judged(VERDICT_DONE), 200);
    lease_is_free();
}

Test(writer, a_lane_with_more_than_a_request_holds_is_written_whole)
{
    order(new_lane(), "legal", "a", EACH_MAX);
    order(new_lane(), "legal", "b", EACH_MAX);
    go();
    has_documents("legal", 240);
    cr_assert_eq(upserts(), 3);
    lease_is_free();
}

Test(writer, each_domain_of_several_lanes_is_one_request)
{
    static const char *const names[] = {"a", "b", "c"};

    for (size_t i = 0; i < 3; i++) {
        struct test_lane *lane = new_lane();
        order(lane, "legal", names[i], 10);
        order(lane, "code", names[i], 5);
        order(lane, "health", names[i], 1);
    }
    go();
    has_documents("legal", 30);
    has_documents("code", 15);
    has_documents("health", 3);
    cr_assert_eq(upserts(), 3);
    lease_is_free();
}

Test(writer, the_same_document_of_two_lanes_goes_into_two_requests)
{
    order(new_lane(), "legal", "a", 10);
    order(new_lane(), "legal", "a", 10);
    go();
    has_documents("legal", 10);
    cr_assert_eq(upserts(), 2);
    cr_assert_eq(judged(VERDICT_DONE), 20);
    lease_is_free();
}

Test(writer, a_record_that_is_refused_fails_alone)
{
    struct test_lane *lane = new_lane();

    order(lane, "legal", "a", 10);
    lane->writes[0][3].record.id = (struct slice){"", 0};
    order(new_lane(), "legal", "b", 10);
    go();
    has_documents("legal", 19);
    cr_assert_eq(judged(VERDICT_REJECT), 1);
    cr_assert_eq(lane->tasks[0][3].verdict, VERDICT_REJECT);
    cr_assert(lane->writes[0][3].failed);
    lease_is_free();
}

Test(writer, with_chroma_dead_every_record_fails_and_nobody_waits_for_ever)
{
    order(new_lane(), "legal", "a", EACH_MAX);
    order(new_lane(), "legal", "b", 10);
    test_server_kill(&chroma_server);
    go();
    cr_assert_eq(judged(VERDICT_PARK), EACH_MAX + 10, "no lesson's fault");
    cr_assert_eq(lanes[0].tasks[0][0].operation, OPERATION_WRITE);
    cr_assert(lanes[0].tasks[0][0].tried);
    lease_is_free();
}

Test(writer, without_redis_the_records_are_parked_and_burn_no_attempt)
{
    order(new_lane(), "legal", "a", 10);
    order(new_lane(), "legal", "b", 10);
    all_in_line();
    test_server_kill(&redis);
    for (size_t i = 0; i < lane_count; i++) {
        pthread_join(lanes[i].thread, NULL);
    }
    cr_assert_eq(judged(VERDICT_PARK), 20);
    cr_assert_not_null(strstr(lanes[0].tasks[0][0].error, "writer lease"), "%s",
                       lanes[0].tasks[0][0].error);
    cr_assert_gt(lanes[0].tasks[0][0].wait_ms, 0);
    has_documents("legal", 0);
}

/* ---- what is deleted ------------------------------------------------------------------------ */

/* Two documents of one prompt, of which one may stay; both have expired. */
static void store_two(void)
{
    struct meta_pair metadata[] = {
        {slice_of("expires_ms"), {.type = META_INT, .integer = 1}},
        {slice_of(SAME_PROMPT_KEY), {.type = META_INT}},
    };
    struct chroma_record records[2];
    char hash[TEXT_HASH_CHARS + 1];
    struct error err = {0};

    text_hash("a prompt", strlen("a prompt"), hash);
    metadata[1].value.integer = same_prompt_hash(hash);
    for (int i = 0; i < 2; i++) {
        records[i] = (struct chroma_record){slice_of(i == 0 ? "one" : "two"), vector,
                                            slice_of("text"), metadata, 2};
    }
    cr_assert_eq(chroma_upsert(chroma, "legal", records, 2, &err), STATUS_OK, "%s", err.text);
}

/* The prompt's surplus, or what has expired, is ordered to be deleted while an operation's breaker
 * is open. */
static void is_held_back(enum operation paused, bool expired)
{
    static const struct slice ids[] = {{"one", 3}, {"two", 3}};
    struct same_prompt prompt = {.domain = "legal", .id = {"one", 3}, .quality = 1};
    struct same_prompt *seen[] = {&prompt};
    struct test_lane *lane = new_lane();
    struct write_order *order = &lane->orders[0];
    struct error err = {0};

    settings.twins = 1;
    store_two();
    text_hash("a prompt", strlen("a prompt"), prompt.text_hash);
    *order = expired ? (struct write_order){.domain = "legal", .expired = ids, .expired_count = 2}
                     : (struct write_order){.domain = "legal", .seen = seen, .seen_count = 1};
    slots_release(other, conn, other_slot);
    (void)error_set(&err, STATUS_UNREACHABLE, "nobody is there");
    for (int64_t i = 0; i < settings.breaker_failures; i++) {
        upstreams_report(upstreams, paused, err.status, &err);
    }
    writer_put(writer, &lane->ctx, order, 1);
    cr_assert_eq(order->state, WRITE_HELD_BACK, "nothing was tried: %s", order->error.text);
    cr_assert_eq(order->operation, paused);
    has_documents("legal", 2);
}

Test(writer, of_a_prompt_nothing_is_tried_while_reads_are_paused)
{
    is_held_back(OPERATION_GET, false);
}

Test(writer, what_is_too_many_of_a_prompt_stays_while_writes_are_paused)
{
    is_held_back(OPERATION_WRITE, false);
}

Test(writer, what_has_expired_stays_while_writes_are_paused)
{
    is_held_back(OPERATION_WRITE, true);
}

Test(writer, what_has_expired_is_not_read_again_while_reads_are_paused)
{
    is_held_back(OPERATION_GET, true);
}

/* ---- outages in the middle ------------------------------------------------------------------ */

static atomic_int upserts_of_first; /* of the two that stumble, alone */
static atomic_int upserts_of_last;
static atomic_int upserts_seen;

static bool is_alone(const struct rule_request *request, const char *id)
{
    const char *ids = strstr(request->body, "\"ids\":[");

    return ids != NULL && strncmp(ids + strlen("\"ids\":["), id, strlen(id)) == 0 &&
           ids[strlen("\"ids\":[") + strlen(id)] == ']';
}

/* Chroma stumbles over a1 and a3, and is busy when a1 comes again. */
static int busy_later(void *unused, const struct rule_request *request, struct strbuf *answer)
{
    (void)unused;
    if (strstr(request->path, "/upsert") == NULL) {
        return RULE_FORWARD;
    }
    strbuf_append_str(answer, "{\"message\":\"no\"}");
    if (is_alone(request, "\"a1\"") && atomic_fetch_add(&upserts_of_first, 1) > 0) {
        return 429;
    }
    (void)(is_alone(request, "\"a3\"") && atomic_fetch_add(&upserts_of_last, 1) > 0);
    return strstr(request->body, "\"a1\"") != NULL || strstr(request->body, "\"a3\"") != NULL
               ? 500
               : RULE_FORWARD;
}

Test(writer, a_second_try_that_meets_an_outage_burns_nothing_and_is_the_last)
{
    struct rule_server *server = rule_server_start(busy_later, NULL, chroma_server.url);

    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", rule_server_url(server));
    order(new_lane(), "legal", "a", 4);
    go();
    cr_assert_eq(judged(VERDICT_DONE), 2);
    cr_assert_eq(judged(VERDICT_PARK), 2, "neither is at fault");
    cr_assert_not_null(strstr(lanes[0].tasks[0][3].error, "429"), "%s", lanes[0].tasks[0][3].error);
    cr_assert_eq(atomic_load(&upserts_of_first), 2);
    cr_assert_eq(atomic_load(&upserts_of_last), 1);
    lease_is_free();
    rule_server_stop(server);
}

/* The whole is refused, the first half passes, then nothing answers in time. */
static int silent_later(void *unused, const struct rule_request *request, struct strbuf *answer)
{
    (void)unused;
    if (strstr(request->path, "/upsert") == NULL) {
        return RULE_FORWARD;
    }
    const int seen = atomic_fetch_add(&upserts_seen, 1);
    if (seen == 1) {
        return RULE_FORWARD;
    }
    clock_sleep_ms(seen == 0 ? 0 : 600);
    strbuf_append_str(answer, "{\"message\":\"no\"}");
    return 500;
}

Test(writer, silence_in_the_middle_is_waited_for_a_few_times_only)
{
    struct rule_server *server = rule_server_start(silent_later, NULL, chroma_server.url);

    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", rule_server_url(server));
    settings.chroma_timeout_ms = 500;
    order(new_lane(), "legal", "a", 64);
    go();
    cr_assert_eq(judged(VERDICT_DONE), 32);
    cr_assert_eq(judged(VERDICT_PARK), 32, "no record's fault");
    cr_assert_leq(atomic_load(&upserts_seen), 2 + 4);
    lease_is_free();
    rule_server_stop(server);
}
