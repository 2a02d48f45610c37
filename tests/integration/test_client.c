/* The producer library enqueues, on a real Redis. Opening, results and prompts have files of their
 * own. */
#include "client_fixture.h"

#include "queue/queue.h"
#include <math.h>
#include <unistd.h>

static struct error err;

TestSuite(client, .init = client_setup, .fini = client_teardown);

/* ---- one job ------------------------------------------------------------------------------- */

static const char *field(const char *name)
{
    return first_field(queue.stream[JOB_NORMAL], name);
}

Test(client, an_enrichment_is_a_job_with_a_uuid_and_a_unique_key)
{
    char id[STILLHOUSE_ID_BYTES];
    char hash[33];
    char expected[96];

    IS(stillhouse_enqueue_enrich(client, "legal", "notice period", 0, NULL, id), STILLHOUSE_OK);
    cr_assert_eq(strlen(id), 36);
    cr_assert_eq(id[14], '7', "%s is no UUIDv7", id);
    cr_assert_str_eq(field("id"), id);
    cr_assert_str_eq(field("domain"), "legal");
    stillhouse_query_hash("notice period", hash);
    snprintf(expected, sizeof expected, "unique=%s.3", hash);
    cr_assert_str_eq(field("options"), expected);
    check_books();
}

Test(client, the_same_enrichment_at_once_is_one_job_and_another_k_is_another)
{
    char first[STILLHOUSE_ID_BYTES];
    char second[STILLHOUSE_ID_BYTES];
    char third[STILLHOUSE_ID_BYTES];

    IS(stillhouse_enqueue_enrich(client, "legal", "notice period", 3, NULL, first), STILLHOUSE_OK);
    IS(stillhouse_enqueue_enrich(client, "legal", " notice  period\n", 0, NULL, second),
       STILLHOUSE_OK);
    IS(stillhouse_enqueue_enrich(client, "legal", "notice period", 4, NULL, third), STILLHOUSE_OK);
    cr_assert_str_eq(first, second);
    cr_assert_str_neq(first, third);
    cr_assert_eq(counter("enqueued"), 2);
    cr_assert_eq(counter("deduplicated"), 1);
}

Test(client, options_go_along)
{
    const stillhouse_job_options options = {.priority = STILLHOUSE_HIGH,
                                            .deadline_ms = 60000,
                                            .reply = true,
                                            .traceparent = "00-ab-cd-01"};
    struct job_options parsed;
    const int64_t before = clock_unix_ms();

    IS(stillhouse_enqueue_enrich(client, "legal", "q", 0, &options, NULL), STILLHOUSE_OK);
    const char *written = first_field(queue.stream[JOB_HIGH], "options");
    OK(job_options_parse(written, strlen(written), false, &parsed, &err));
    cr_assert(parsed.reply);
    assert_slice(parsed.traceparent, "00-ab-cd-01");
    cr_assert(parsed.deadline_unix_ms >= before + 60000 &&
              parsed.deadline_unix_ms <= clock_unix_ms() + 60000);

    const stillhouse_job_options later = {.priority = STILLHOUSE_LOW, .delay_ms = 60000};
    IS(stillhouse_enqueue_enrich(client, "legal", "q2", 0, &later, NULL), STILLHOUSE_OK);
    cr_assert_eq(stats().delayed, 1);
}

#define REFUSED(call, part)                                                                        \
    do {                                                                                           \
        char id[STILLHOUSE_ID_BYTES] = "x";                                                        \
        IS(call, STILLHOUSE_INVALID);                                                              \
        cr_assert_str_eq(id, "");                                                                  \
        says(part);                                                                                \
    } while (0)

static stillhouse_status with_options(const stillhouse_job_options *options, char *id)
{
    return stillhouse_enqueue_enrich(client, "legal", "q", 0, options, id);
}

#define REFUSED_OPTIONS(part, ...)                                                                 \
    REFUSED(with_options(&(const stillhouse_job_options){__VA_ARGS__}, id), part)

Test(client, an_enrichment_that_is_wrong_is_refused_before_anything_is_sent)
{
    char trace[200];

    memset(trace, 'a', sizeof trace - 1);
    trace[sizeof trace - 1] = '\0';
    REFUSED(stillhouse_enqueue_enrich(client, "Legal!", "q", 0, NULL, id),
            "domain \"Legal!\": expected [a-z0-9]");
    REFUSED(stillhouse_enqueue_enrich(client, NULL, "q", 0, NULL, id), "domain");
    REFUSED(stillhouse_enqueue_enrich(client, "legal", NULL, 0, NULL, id), "query");
    REFUSED(stillhouse_enqueue_enrich(client, "legal", " \n", 0, NULL, id),
            "\"query\" holds nothing");
    REFUSED(stillhouse_enqueue_enrich(client, "legal", "\xff", 0, NULL, id), "UTF-8");
    REFUSED(stillhouse_enqueue_enrich(client, "legal", "q", 1000, NULL, id), "\"k\": expected");
    REFUSED(stillhouse_enqueue_enrich(client, "legal", "q", -1, NULL, id), "found -1");
    REFUSED_OPTIONS("priority 9", .priority = (stillhouse_priority)9);
    REFUSED_OPTIONS("delay_ms -1", .delay_ms = -1);
    REFUSED_OPTIONS("deadline_ms", .deadline_ms = INT64_MAX);
    REFUSED_OPTIONS("traceparent \"a reply=1\"", .traceparent = "a reply=1");
    REFUSED_OPTIONS("traceparent", .traceparent = "");
    REFUSED_OPTIONS("1 to 128", .traceparent = trace);
    cr_assert_eq(counter("enqueued"), 0);
}

Test(client, a_body_over_the_bound_is_refused_with_both_sizes)
{
    char *query = malloc(1 << 20);

    cr_assert_not_null(query);
    memset(query, 'q', (1 << 20) - 1);
    query[(1 << 20) - 1] = '\0';
    REFUSED(stillhouse_enqueue_enrich(client, "legal", query, 0, NULL, id),
            "expected at most 262144");
    free(query);
}

/* ---- experiences and documents ------------------------------------------------------------- */

static const stillhouse_meta metas[] = {
    {.key = "court", .type = STILLHOUSE_META_STRING, .string = "BGH"},
    {.key = "year", .type = STILLHOUSE_META_INT, .integer = 2026},
    {.key = "weight", .type = STILLHOUSE_META_FLOAT, .number = 0.5},
    {.key = "final", .type = STILLHOUSE_META_BOOL, .boolean = true},
};

static const stillhouse_experience good = {
    .domain = "legal",
    .task_id = "t-1",
    .prompt = "prompt",
    .result = "result",
    .success = true,
    .quality = 0.9,
    .model = "m",
    .metadata = metas,
    .metadata_count = 4,
};

/* The body of the first job of a queue's normal stream, decoded. */
static void first_body(const char *stream, struct strbuf *out)
{
    redisReply *reply = ask_reply("XRANGE", stream, "-", "+", "COUNT", "1", NULL);

    cr_assert(reply->type == REDIS_REPLY_ARRAY && reply->elements == 1);
    const redisReply *body = reply->element[0]->element[1]->element[9];
    strbuf_append(out, body->str, (size_t)body->len);
    redis_reply_free(reply);
}

Test(client, an_experience_arrives_as_it_was_handed_in_and_carries_no_unique_key)
{
    struct strbuf bytes = {0};
    struct arena arena = {0};
    struct distill_body body;
    char id[STILLHOUSE_ID_BYTES];

    IS(stillhouse_enqueue_distill(client, &good, NULL, id), STILLHOUSE_OK);
    cr_assert_str_eq(first_field("sh:{distill}:jobs", "id"), id);
    cr_assert_str_eq(first_field("sh:{distill}:jobs", "options"), "");
    first_body("sh:{distill}:jobs", &bytes);
    OK(bodies_decode_distill(bytes.data, bytes.bytes, &arena, &body, &err));
    assert_slice(body.task_id, "t-1");
    assert_slice(body.prompt, "prompt");
    assert_slice(body.result, "result");
    assert_slice(body.model, "m");
    cr_assert(body.success.value && body.quality.given && body.quality.value == 0.9);
    cr_assert_eq(body.metadata.count, 4);
    assert_slice(body.metadata.pairs[0].value.string, "BGH");
    cr_assert_eq(body.metadata.pairs[1].value.integer, 2026);
    cr_assert_eq(body.metadata.pairs[2].value.number, 0.5);
    cr_assert(body.metadata.pairs[3].value.boolean);
    arena_free(&arena);
    strbuf_free(&bytes);
}

Test(client, what_is_not_given_of_an_experience_is_not_sent)
{
    const stillhouse_experience bare = {
        .domain = "legal", .task_id = "t", .prompt = "p", .result = "r", .quality = -1};
    struct strbuf bytes = {0};
    struct arena arena = {0};
    struct distill_body body;

    IS(stillhouse_enqueue_distill(client, &bare, NULL, NULL), STILLHOUSE_OK);
    first_body("sh:{distill}:jobs", &bytes);
    OK(bodies_decode_distill(bytes.data, bytes.bytes, &arena, &body, &err));
    cr_assert_not(body.quality.given);
    cr_assert_not(body.success.value);
    cr_assert_null(body.model.data);
    cr_assert_eq(body.metadata.count, 0);
    arena_free(&arena);
    strbuf_free(&bytes);
}

/* `good` with one field changed. */
#define REFUSED_EXPERIENCE(part, member, ...)                                                      \
    do {                                                                                           \
        stillhouse_experience changed_ = good;                                                     \
        changed_.member = __VA_ARGS__;                                                             \
        REFUSED(stillhouse_enqueue_distill(client, &changed_, NULL, id), part);                    \
    } while (0)

#define REFUSED_META(part, ...)                                                                    \
    do {                                                                                           \
        const stillhouse_meta meta_ = {__VA_ARGS__};                                               \
        stillhouse_experience changed_ = good;                                                     \
        changed_.metadata = &meta_;                                                                \
        changed_.metadata_count = 1;                                                               \
        REFUSED(stillhouse_enqueue_distill(client, &changed_, NULL, id), part);                    \
    } while (0)

Test(client, an_experience_that_is_wrong_is_refused_with_the_field_named)
{
    REFUSED(stillhouse_enqueue_distill(client, NULL, NULL, id), "experience");
    REFUSED_EXPERIENCE("domain", domain, "a b");
    REFUSED_EXPERIENCE("task_id", task_id, NULL);
    REFUSED_EXPERIENCE("\"task_id\" is empty", task_id, "");
    REFUSED_EXPERIENCE("prompt", prompt, NULL);
    REFUSED_EXPERIENCE("\"prompt\" holds nothing", prompt, "  ");
    REFUSED_EXPERIENCE("result", result, NULL);
    REFUSED_EXPERIENCE("UTF-8", result, "\xc3(");
    REFUSED_EXPERIENCE("\"quality\": expected a number from 0 to 1", quality, 2);
    REFUSED_EXPERIENCE("\"quality\"", quality, (double)NAN);
    REFUSED_EXPERIENCE("metadata: 65 values, expected at most 64", metadata_count, 65);
    REFUSED_EXPERIENCE("metadata: 4 values at NULL", metadata, NULL);
    REFUSED_META("metadata key", .key = NULL);
    REFUSED_META("metadata \"a\": value", .key = "a", .type = STILLHOUSE_META_STRING);
    REFUSED_META("metadata \"a\": type 7", .key = "a", .type = (stillhouse_meta_type)7);
    REFUSED_META("a", .key = "a", .type = STILLHOUSE_META_FLOAT, .number = (double)INFINITY);
    REFUSED_META("task_id", .key = "task_id", .type = STILLHOUSE_META_INT);
    cr_assert_str_eq(ask("EXISTS", "sh:{distill}:counters", NULL), "0");
}

Test(client, documents_arrive_and_wrong_ones_are_named)
{
    const stillhouse_document documents[] = {
        {.id = "a", .text = "one"},
        {.id = "b", .text = "two", .metadata = metas, .metadata_count = 4}};
    const stillhouse_document wrong[] = {{.id = "a", .text = "one"}, {.id = "b", .text = NULL}};
    const stillhouse_document blank[] = {{.id = "a", .text = " "}};
    const stillhouse_document nameless[] = {{.text = " "}};
    struct strbuf bytes = {0};
    struct arena arena = {0};
    struct index_body body;

    IS(stillhouse_enqueue_index(client, "legal", documents, 2, NULL, NULL), STILLHOUSE_OK);
    first_body("sh:{index}:jobs", &bytes);
    OK(bodies_decode_index(bytes.data, bytes.bytes, &arena, &body, &err));
    cr_assert_eq(body.documents.count, 2);
    assert_slice(body.documents.each[1].text, "two");
    cr_assert_eq(body.documents.each[1].metadata.count, 4);
    arena_free(&arena);
    strbuf_free(&bytes);

    REFUSED(stillhouse_enqueue_index(client, "legal", wrong, 2, NULL, id), "documents[1]: text");
    REFUSED(stillhouse_enqueue_index(client, "legal", blank, 1, NULL, id), "documents[0]: field");
    REFUSED(stillhouse_enqueue_index(client, "legal", nameless, 1, NULL, id), "documents[0]: id");
    REFUSED(stillhouse_enqueue_index(client, "legal", documents, 0, NULL, id), "1 to 1000");
    REFUSED(stillhouse_enqueue_index(client, "legal", NULL, 1, NULL, id), "at NULL");
    REFUSED(stillhouse_enqueue_index(client, "-", documents, 2, NULL, id), "domain");
}

Test(client, any_queue_takes_a_body_that_is_msgpack)
{
    IS(stillhouse_enqueue_raw(client, "echo", "legal", "\x81\xa1x\x01", 4, NULL, NULL),
       STILLHOUSE_OK);
    cr_assert_str_eq(ask("XLEN", "sh:{echo}:jobs", NULL), "1");
    REFUSED(stillhouse_enqueue_raw(client, "echo", "legal", "\x81", 1, NULL, id), "body: ");
    REFUSED(stillhouse_enqueue_raw(client, "echo", "legal", NULL, 0, NULL, id), "body");
    REFUSED(stillhouse_enqueue_raw(client, "Echo", "legal", "\x80", 1, NULL, id), "queue \"Echo\"");
    REFUSED(stillhouse_enqueue_raw(client, NULL, "legal", "\x80", 1, NULL, id), "queue \"\"");
    REFUSED(stillhouse_enqueue_raw(client, "echo", "", "\x80", 1, NULL, id), "domain \"\"");
}

Test(client, a_full_queue_says_so)
{
    stillhouse_options options = patient(redis.url);

    options.max_backlog = 1;
    stillhouse_client *other = open_client(&options);
    IS(stillhouse_enqueue_enrich(client, "legal", "one", 0, NULL, NULL), STILLHOUSE_OK);
    cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "two", 0, NULL, NULL), STILLHOUSE_FULL);
    cr_assert_str_eq(stillhouse_error(other), "queue \"enrich\" is full: 1 jobs wait already");
    stillhouse_close(other);
    check_books();
}

Test(client, a_redis_without_our_functions_is_told_apart)
{
    cr_assert_str_eq(ask("FUNCTION", "FLUSH", NULL), "OK");
    IS(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL), STILLHOUSE_FAILED);
    says("stillhouse init");
    OK(queue_install(conn, NULL, &err));
}

Test(client, a_connection_lost_since_the_last_call_is_replaced_in_the_next)
{
    IS(stillhouse_enqueue_enrich(client, "legal", "one", 0, NULL, NULL), STILLHOUSE_OK);
    cr_assert_str_eq(ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL), "1");
    IS(stillhouse_enqueue_enrich(client, "legal", "two", 0, NULL, NULL), STILLHOUSE_OK);
    cr_assert_eq(counter("enqueued"), 2);
}

/* ---- many ---------------------------------------------------------------------------------- */

enum { MANY = 2500 };

static stillhouse_experience many[MANY];
static char many_ids[MANY][STILLHOUSE_ID_BYTES];
static char task_ids[MANY][16];
static stillhouse_status outcomes[MANY];

static void fill_many(void)
{
    for (size_t i = 0; i < MANY; i++) {
        snprintf(task_ids[i], sizeof task_ids[i], "t-%zu", i);
        many[i] = good;
        many[i].task_id = task_ids[i];
    }
}

Test(client, many_experiences_go_in_few_calls_and_the_invalid_ones_stay_behind)
{
    fill_many();
    many[7].prompt = "";
    many[1700].domain = "?";
    IS(stillhouse_enqueue_distill_many(client, many, MANY, NULL, outcomes, many_ids),
       STILLHOUSE_INVALID);
    says("[7]: field \"prompt\"");
    for (size_t i = 0; i < MANY; i++) {
        const bool wrong = i == 7 || i == 1700;
        cr_assert_eq(outcomes[i], wrong ? STILLHOUSE_INVALID : STILLHOUSE_OK, "%zu", i);
        cr_assert_eq(strlen(many_ids[i]), wrong ? 0 : 36);
    }
    cr_assert_str_eq(ask("HGET", "sh:{distill}:counters", "enqueued", NULL), "2498");
    cr_assert_str_eq(first_field("sh:{distill}:jobs", "id"), many_ids[0]);
}

Test(client, many_large_bodies_are_cut_into_calls_by_their_size)
{
    enum { LARGE = 60, BYTES = 100000 };
    char *prompt = malloc(BYTES);

    cr_assert_not_null(prompt);
    memset(prompt, 'p', BYTES - 1);
    prompt[BYTES - 1] = '\0';
    fill_many();
    for (size_t i = 0; i < LARGE; i++) {
        many[i].prompt = prompt;
    }
    IS(stillhouse_enqueue_distill_many(client, many, LARGE, NULL, NULL, NULL), STILLHOUSE_OK);
    cr_assert_str_eq(ask("XLEN", "sh:{distill}:jobs", NULL), "60");
    free(prompt);
}

Test(client, a_job_that_the_server_refuses_stays_behind_alone)
{
    enum { TOO_LARGE = 17 * 1024 * 1024 /* for the functions */ };
    stillhouse_options options = patient(redis.url);
    char *result = malloc(TOO_LARGE + 1);

    cr_assert_not_null(result);
    memset(result, 'r', TOO_LARGE);
    result[TOO_LARGE] = '\0';
    options.max_body_bytes = 2 * TOO_LARGE;
    stillhouse_client *other = open_client(&options);
    fill_many();
    many[5].result = result;
    cr_assert_eq(stillhouse_enqueue_distill_many(other, many, 10, NULL, outcomes, many_ids),
                 STILLHOUSE_INVALID);
    cr_assert_not_null(strstr(stillhouse_error(other), "[5]: "), "%s", stillhouse_error(other));
    for (size_t i = 0; i < 10; i++) {
        cr_assert_eq(outcomes[i], i == 5 ? STILLHOUSE_INVALID : STILLHOUSE_OK, "%zu", i);
        cr_assert_eq(strlen(many_ids[i]), i == 5 ? 0 : 36);
    }
    cr_assert_str_eq(ask("HGET", "sh:{distill}:counters", "enqueued", NULL), "9");
    stillhouse_close(other);
    free(result);
}

/* ---- a source ------------------------------------------------------------------------------ */

struct source_of_jobs {
    size_t count;
    size_t next;
    size_t bad; /* this one has no body; SIZE_MAX = none */
    stillhouse_status outcome[MANY];
    bool twin[MANY];
    char ids[MANY][STILLHOUSE_ID_BYTES];
    size_t told;
};

static bool next_job(void *context, stillhouse_job *job)
{
    static const stillhouse_job_options low = {.priority = STILLHOUSE_LOW};
    struct source_of_jobs *source = context;
    const size_t i = source->next++;

    if (i == source->count) {
        return false;
    }
    job->domain = "legal";
    job->body = i == source->bad ? NULL : "\x80";
    job->body_bytes = 1;
    job->options = i == 0 ? &low : NULL;
    job->unique = i == 1 || i == 2 ? "the-same" : NULL;
    return true;
}

static void job_told(void *context, size_t index, stillhouse_status outcome, const char *id,
                     bool twin)
{
    struct source_of_jobs *source = context;

    source->outcome[index] = outcome;
    source->twin[index] = twin;
    snprintf(source->ids[index], STILLHOUSE_ID_BYTES, "%s", id);
    source->told++;
}

Test(client, jobs_from_a_source_go_in_and_each_is_told_of)
{
    static struct source_of_jobs jobs = {.count = MANY, .bad = 7};
    const stillhouse_source source = {.size = sizeof source,
                                      .queue = "record.3",
                                      .next = next_job,
                                      .told = job_told,
                                      .context = &jobs};

    IS(stillhouse_enqueue_all(client, &source), STILLHOUSE_INVALID);
    says("[7]: body: expected msgpack, got NULL");
    cr_assert_eq(jobs.told, MANY);
    for (size_t i = 0; i < MANY; i++) {
        cr_assert_eq(jobs.outcome[i], i == 7 ? STILLHOUSE_INVALID : STILLHOUSE_OK, "%zu", i);
        cr_assert_eq(strlen(jobs.ids[i]), i == 7 ? 0 : 36);
        cr_assert_eq(jobs.twin[i], i == 2);
    }
    cr_assert_str_eq(jobs.ids[2], jobs.ids[1]);
    cr_assert_str_eq(ask("XLEN", "sh:{record.3}:jobs:low", NULL), "1");
    cr_assert_eq(atoi(ask("XLEN", "sh:{record.3}:jobs", NULL)), MANY - 3);
}

Test(client, of_one_job_it_is_not_said_which_one_is_wrong)
{
    static struct source_of_jobs jobs = {.count = 1, .bad = 0};
    const stillhouse_experience bad = {.domain = "legal", .task_id = "a", .prompt = "p"};
    const stillhouse_source source = {
        .size = sizeof source, .queue = "record.3", .next = next_job, .context = &jobs};

    IS(stillhouse_enqueue_all(client, &source), STILLHOUSE_INVALID);
    cr_assert_str_eq(stillhouse_error(client), "body: expected msgpack, got NULL");
    IS(stillhouse_enqueue_distill_many(client, &bad, 1, NULL, NULL, NULL), STILLHOUSE_INVALID);
    cr_assert_str_eq(stillhouse_error(client), "result: expected text, got NULL");
}

Test(client, a_source_is_told_of_a_full_queue_and_may_wait_for_room)
{
    static struct source_of_jobs jobs = {.count = 20, .bad = SIZE_MAX};
    stillhouse_options options = patient(redis.url);
    stillhouse_source source = {.size = sizeof source,
                                .queue = "record",
                                .next = next_job,
                                .told = job_told,
                                .context = &jobs};

    options.max_backlog = 10;
    stillhouse_client *other = open_client(&options);
    cr_assert_eq(stillhouse_enqueue_all(other, &source), STILLHOUSE_FULL);
    cr_assert_eq(jobs.told, 20);
    cr_assert_eq(jobs.outcome[19], STILLHOUSE_FULL);
    cr_assert_str_eq(jobs.ids[19], "");

    jobs = (struct source_of_jobs){.count = 20, .bad = SIZE_MAX};
    source.room_ms = 200;
    const int64_t start_ms = clock_now_ms();
    cr_assert_eq(stillhouse_enqueue_all(other, &source), STILLHOUSE_FULL);
    cr_assert_geq(clock_now_ms() - start_ms, 200);
    cr_assert_eq(jobs.told, 20);
    stillhouse_close(other);
}

Test(client, a_source_that_is_none_or_a_redis_that_is_away_is_said_at_once)
{
    static struct source_of_jobs jobs = {.count = 20, .bad = SIZE_MAX};
    stillhouse_source source = {.size = sizeof source,
                                .queue = "record",
                                .next = next_job,
                                .told = job_told,
                                .context = &jobs};
    const stillhouse_options away = patient("redis://127.0.0.1:1");

    IS(stillhouse_enqueue_all(client, NULL), STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_enqueue_all(NULL, &source), STILLHOUSE_INVALID);
    source.next = NULL;
    IS(stillhouse_enqueue_all(client, &source), STILLHOUSE_INVALID);
    says("function .next");
    source.next = next_job;
    source.room_ms = -1;
    IS(stillhouse_enqueue_all(client, &source), STILLHOUSE_INVALID);
    says("room_ms -1");
    source.room_ms = 0;
    source.queue = "No Good";
    IS(stillhouse_enqueue_all(client, &source), STILLHOUSE_INVALID);
    source.queue = "record";
    stillhouse_client *other = open_client(&away);
    cr_assert_eq(stillhouse_enqueue_all(other, &source), STILLHOUSE_UNREACHABLE);
    cr_assert_eq(jobs.told, 0);
    cr_assert_eq(jobs.next, 0, "none was asked for");
    stillhouse_close(other);
}

Test(client, many_beyond_the_bound_are_told_which_did_not_fit)
{
    stillhouse_options options = patient(redis.url);

    options.max_backlog = 10;
    stillhouse_client *other = open_client(&options);
    fill_many();
    many[3].result = NULL;
    cr_assert_eq(stillhouse_enqueue_distill_many(other, many, 20, NULL, outcomes, many_ids),
                 STILLHOUSE_INVALID);
    size_t taken = 0;
    for (size_t i = 0; i < 20; i++) {
        taken += outcomes[i] == STILLHOUSE_OK;
        cr_assert_eq(outcomes[i] == STILLHOUSE_OK, many_ids[i][0] != '\0');
    }
    cr_assert_eq(taken, 10);
    cr_assert_eq(outcomes[19], STILLHOUSE_FULL);
    stillhouse_close(other);
}

Test(client, many_enrichments_share_what_is_the_same)
{
    const stillhouse_enrichment enrichments[] = {
        {"legal", "one", 0}, {"legal", "two", 5}, {"legal", "one", 3}, {"legal", "", 3}};
    char ids[4][STILLHOUSE_ID_BYTES];

    IS(stillhouse_enqueue_enrich_many(client, enrichments, 4, NULL, outcomes, ids),
       STILLHOUSE_INVALID);
    cr_assert_str_eq(ids[0], ids[2]);
    cr_assert_str_neq(ids[0], ids[1]);
    cr_assert_str_eq(ids[3], "");
    cr_assert_eq(counter("enqueued"), 2);
    IS(stillhouse_enqueue_enrich_many(client, NULL, 0, NULL, NULL, NULL), STILLHOUSE_OK);
    IS(stillhouse_enqueue_enrich_many(client, NULL, 1, NULL, NULL, NULL), STILLHOUSE_INVALID);
    check_books();
}
