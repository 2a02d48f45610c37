/* The main job, on a real Redis and a real Chroma: what the handlers leave behind. */
#include "chroma_calls.h"
#include "fleet_fixture.h"
#include "queue/enqueue.h"
#include "queue/keys.h"
#include "queue/operate.h"

TestSuite(fleet, .init = fleet_setup, .fini = fleet_teardown, .timeout = 120);

static bool is_slice(struct slice slice, const char *text)
{
    return slice.bytes == strlen(text) && memcmp(slice.data, text, slice.bytes) == 0;
}

Test(fleet, a_distilled_task_is_found_by_an_enrichment)
{
    struct arena arena = {0};
    struct enrich_result result;

    start_fleet();
    push_distill("legal", "t1", "notice period for tenants", "three months", 0.9, "");
    push_distill("legal", "t2", "how to bake bread", "with flour", 0.9, "");
    wait_for("distill", "done", 2);
    push_enrich("legal", "e1", "notice period for a tenant", 1, "");
    wait_for("enrich", "done", 1);

    cr_assert(cached("legal", " notice  period for a tenant", &arena, &result));
    cr_assert_eq(result.count, 1);
    cr_assert(is_slice(result.examples[0].id, "t1"));
    cr_assert(is_slice(result.examples[0].text, "notice period for tenants\n\nthree months"));
    cr_assert_not_null(memmem(result.few_shot.data, result.few_shot.bytes, "three months", 12));
    cr_assert_geq(result.epoch, 1);
    arena_free(&arena);
    stop_fleet();
}

static const struct meta_value *value_of(const struct example *example, const char *key)
{
    for (size_t i = 0; i < example->metadata_count; i++) {
        if (is_slice(example->metadata[i].key, key)) {
            return &example->metadata[i].value;
        }
    }
    return NULL;
}

Test(fleet, the_source_of_an_experience_is_the_queue_it_came_through_not_what_its_body_says)
{
    struct meta_pair claims[] = {
        {{"source", 6}, {.type = META_STRING, .string = {"payroll", 7}}},
        {{"page", 4}, {.type = META_INT, .integer = 7}},
    };
    struct distill_body distill = {
        .task_id = {"t1", 2},
        .prompt = {"notice period", 13},
        .result = {"three months", 12},
        .success.value = true,
        .metadata = {claims, 2, {NULL, 0}},
    };
    struct strbuf body = {0};
    struct arena arena = {0};
    struct enrich_result result;

    snprintf(settings.queues, sizeof settings.queues, "distill.7,enrich");
    start_fleet();
    bodies_encode_distill(&distill, &body);
    push("distill.7", "t1", "legal", "", body.data, body.bytes);
    wait_for("distill.7", "done", 1);
    push_enrich("legal", "e1", "notice period", 1, "");
    wait_for("enrich", "done", 1);

    cr_assert(cached("legal", "notice period", &arena, &result));
    cr_assert_eq(result.count, 1);
    const struct example *example = &result.examples[0];
    cr_assert(is_slice(value_of(example, "source")->string, "distill.7"));
    cr_assert(is_slice(value_of(example, "caller_source")->string, "payroll"));
    cr_assert_eq(value_of(example, "page")->integer, 7);
    arena_free(&arena);
    strbuf_free(&body);
    stop_fleet();
}

static void set(const char *key, const void *data, size_t bytes)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    redis_args_str(&args, "SET");
    redis_args_str(&args, key);
    redis_args_add(&args, data, bytes);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
}

Test(fleet, what_others_put_in_a_results_place_is_neither_handed_on_nor_left_there)
{
    static const char *const queries[] = {"of another domain", "too large"};
    const size_t large_bytes = REDIS_VALUE_MAX + 16384;
    const struct enrich_result foreign = {.domain = {"other", 5},
                                          .query_hash = {"", 0},
                                          .created_unix_ms = clock_unix_ms(),
                                          .k = 3,
                                          .few_shot = {"a secret", 8}};
    char *large = calloc(1, large_bytes);
    struct strbuf packed = {0};
    struct arena arena = {0};
    struct enrich_result result;
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];

    cr_assert_not_null(large);
    bodies_encode_result(&foreign, &packed);
    text_hash(queries[0], strlen(queries[0]), hash);
    set(keys_name(key, KEYS_CACHE, "sh", "legal", hash), packed.data, packed.bytes);
    text_hash(queries[1], strlen(queries[1]), hash);
    set(keys_name(key, KEYS_CACHE, "sh", "legal", hash), large, large_bytes);
    start_fleet();
    for (size_t i = 0; i < 2; i++) {
        push_enrich("legal", i == 0 ? "e1" : "e2", queries[i], 1, "");
        wait_for("enrich", "done", (int64_t)i + 1);
        cr_assert(cached("legal", queries[i], &arena, &result));
        cr_assert(is_slice(result.domain, "legal"));
        cr_assert(is_slice(result.few_shot, ""));
    }
    arena_free(&arena);
    strbuf_free(&packed);
    free(large);
    stop_fleet();
}

Test(fleet, the_same_task_twice_is_one_document)
{
    start_fleet();
    push_distill("legal", "t1", "notice period", "three months", 0.9, "");
    wait_for("distill", "done", 1);
    push_distill("legal", "t1", "notice period", "four months", 0.9, "");
    wait_for("distill", "done", 2);
    cr_assert_eq(documents_in("legal"), 1);
    stop_fleet();
}

Test(fleet, of_many_twins_the_best_and_newest_stay)
{
    struct arena arena = {0};
    struct chroma_hits hits = {0};
    struct error err = {0};
    struct slice best = {"task-0", 6};
    char id[16];

    settings.twins = 3;
    start_fleet();
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "task-%d", i);
        push_distill("legal", id, "the very same prompt", id, i == 0 ? 1.0 : 0.6, "");
        wait_for("distill", "done", i + 1);
    }
    cr_assert_eq(documents_in("legal"), 3);
    cr_assert_eq(get_ids(chroma, "legal", &best, 1, &arena, &hits, &err), STATUS_OK);
    cr_assert_eq(hits.count, 1, "the best one left");
    arena_free(&arena);
    stop_fleet();
}

/* Runs a command of NUL-terminated words. */
static void run(const char *const *words)
{
    struct redis_args args = {0};
    struct error err = {0};
    redisReply *reply = NULL;

    for (; *words != NULL; words++) {
        redis_args_str(&args, *words);
    }
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_args_free(&args);
    redis_reply_free(reply);
}

Test(fleet, what_stands_under_an_epoch_s_or_a_prompt_s_key_costs_no_experience)
{
    static const char *const domains[] = {"text", "list", "full"};
    char epochs[3][KEYS_BYTES];
    char twins[KEYS_BYTES];
    char hash[TEXT_HASH_CHARS + 1];
    char id[16];

    for (int i = 0; i < 3; i++) {
        keys_name(epochs[i], KEYS_EPOCH, "sh", domains[i]);
    }
    run((const char *const[]){"SET", epochs[0], "junk", NULL});
    run((const char *const[]){"RPUSH", epochs[1], "junk", NULL});
    run((const char *const[]){"SET", epochs[2], "9223372036854775807", NULL});
    text_hash("a prompt", 8, hash);
    keys_name(twins, KEYS_TWINS, "sh", "text", hash);
    run((const char *const[]){"SET", twins, "junk", NULL});

    settings.twins = 1;
    settings.max_attempts = 1;
    start_fleet();
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof id, "t%d", i);
        push_distill(domains[i % 3], id, "a prompt", "a result", 0.9, "");
        wait_for("distill", "done", i + 1);
    }
    for (int i = 0; i < 3; i++) {
        redisReply *epoch = good_reply("GET", epochs[i], NULL);
        cr_assert_eq(epoch->type, REDIS_REPLY_STRING);
        cr_assert(atoll(epoch->str) > 1700000000000 && atoll(epoch->str) < INT64_MAX, "%s is %s",
                  epochs[i], epoch->str);
        redis_reply_free(epoch);
    }
    cr_assert_eq(documents_in("text"), 1, "the set of a prompt is one again");
    stop_fleet();
}

static int64_t number_of(const struct example *example, const char *key)
{
    const struct meta_value *value = value_of(example, key);

    cr_assert(value != NULL && value->type == META_INT, "%s", key);
    return value->integer;
}

Test(fleet, an_experience_expires_in_its_time_whatever_its_job_s_id_and_since_say)
{
    static const char *const entries[][2] = {{"18446744073709551614-1", ""},
                                             {"1-1", ""},
                                             {"*", "since=999999999999999"},
                                             {"*", "since=1"}};
    struct distill_body body = {.task_id = {"t", 1},
                                .prompt = {"a prompt", 8},
                                .result = {"a result", 8},
                                .success.value = true};
    struct arena arena = {0};
    struct error err = {0};

    start_fleet();
    for (int i = 0; i < 4; i++) {
        struct queue queue = queue_named("distill");
        struct redis_args args = {0};
        struct strbuf encoded = {0};
        redisReply *reply = NULL;
        struct chroma_hits hits = {0};
        bodies_encode_distill(&body, &encoded);
        const char *const words[] = {
            "XADD",        queue.stream[i == 0 ? JOB_HIGH : i == 1 ? JOB_LOW : JOB_NORMAL],
            entries[i][0], "id",
            "hand",        "domain",
            "legal",       "attempt",
            "0",           "options",
            entries[i][1], "body"};
        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
            redis_args_str(&args, words[w]);
        }
        redis_args_add(&args, encoded.data, encoded.bytes);
        cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
        redis_reply_free(reply);
        redis_args_free(&args);
        strbuf_free(&encoded);
        reply = NULL;
        run((const char *const[]){"HINCRBY", "sh:{distill}:counters", "enqueued", "1", NULL});
        wait_for("distill", "done", i + 1);
        cr_assert_eq(get_ids(chroma, "legal", &body.task_id, 1, &arena, &hits, &err), STATUS_OK);
        cr_assert_eq(hits.count, 1);
        const int64_t created_ms = number_of(&hits.examples[0], "created_ms");
        cr_assert(llabs(created_ms - clock_unix_ms()) < 60000, "%s %s: %lld", entries[i][0],
                  entries[i][1], (long long)created_ms);
        cr_assert_eq(number_of(&hits.examples[0], "expires_ms"),
                     created_ms + settings.experience_ttl_ms);
    }
    arena_free(&arena);
    stop_fleet();
}

Test(fleet, an_unfit_experience_is_dead_with_the_field_named)
{
    static const struct {
        const char *body;
        size_t bytes;
        const char *said;
    } bad[] = {
        {"\xc1", 1, "malformed: "},
        {"\x81\xa7task_id\xa1t", 11, "rejected: "},
    };
    char said[400];

    start_fleet();
    for (size_t i = 0; i < 2; i++) {
        char id[16];
        snprintf(id, sizeof id, "bad-%zu", i);
        push("distill", id, "legal", "", bad[i].body, bad[i].bytes);
        wait_for("distill", "buried", (int64_t)i + 1);
        dead_letter("distill", said, sizeof said);
        cr_assert_eq(strncmp(said, bad[i].said, strlen(bad[i].said)), 0, "%s", said);
    }
    push_distill("legal", "low", "prompt", "result", 0.1, "");
    wait_for("distill", "buried", 3);
    dead_letter("distill", said, sizeof said);
    cr_assert_not_null(strstr(said, "quality"), "%s", said);
    stop_fleet();
}

Test(fleet, a_body_over_the_bound_is_oversize)
{
    static char body[2000];
    char said[400];

    settings.max_body_bytes = 1000;
    start_fleet();
    push("echo", "big", "legal", "", body, sizeof body);
    wait_for("echo", "buried", 1);
    dead_letter("echo", said, sizeof said);
    cr_assert_eq(strncmp(said, "oversize: body of 2000 bytes", 28), 0, "%s", said);
    stop_fleet();
}

Test(fleet, a_domain_without_a_collection_gives_no_examples_and_no_error)
{
    struct arena arena = {0};
    struct enrich_result result;

    start_fleet();
    push_enrich("nowhere", "e1", "anything", 3, "");
    wait_for("enrich", "done", 1);
    cr_assert(cached("nowhere", "anything", &arena, &result));
    cr_assert_eq(result.count, 0);
    cr_assert_eq(result.few_shot.bytes, 0);
    arena_free(&arena);
    stop_fleet();
}

Test(fleet, an_entry_too_large_to_be_read_is_dead_and_its_neighbours_are_done_at_once)
{
    enum { HUGE = 80 * 1024 * 1024 };
    struct queue queue = queue_named("echo");
    struct redis_args args = {0};
    struct error err = {0};
    redisReply *reply = NULL;
    char *junk = calloc(1, HUGE);
    char said[400];

    cr_assert_not_null(junk);
    push("echo", "before", "legal", "", "body", 4);
    static const char *const words[] = {"id",      "huge", "domain", "legal", "attempt", "0",
                                        "options", "",     "body",   "b",     "junk"};
    redis_args_str(&args, "XADD");
    redis_args_str(&args, queue.stream[JOB_NORMAL]);
    redis_args_str(&args, "*");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        redis_args_str(&args, words[i]);
    }
    redis_args_add(&args, junk, HUGE);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
    free(junk);
    push("echo", "after", "legal", "", "body", 4);

    start_fleet();
    int64_t until_ms = clock_now_ms() + PATIENCE_MS; /* well below the visibility timeout */
    while (counter_of("echo", "done") < 2 || counter_of("echo", "buried") < 1) {
        cr_assert_lt(clock_now_ms(), until_ms);
        clock_sleep_ms(POLL_MS);
    }
    dead_letter("echo", said, sizeof said);
    cr_assert_eq(strncmp(said, "oversize: an entry of 83886", 27), 0, "%s", said);
    stop_fleet();
}

Test(fleet, a_cached_result_too_large_to_be_read_is_written_over)
{
    struct arena arena = {0};
    struct enrich_result result;
    struct redis_args args = {0};
    struct error err = {0};
    redisReply *reply = NULL;
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];

    text_hash("anything", 8, hash);
    redis_args_str(&args, "SETRANGE");
    redis_args_str(&args, keys_name(key, KEYS_CACHE, "sh", "legal", hash));
    redis_args_str(&args, "104857600");
    redis_args_str(&args, "x");
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);

    start_fleet();
    push_enrich("legal", "e1", "anything", 3, "");
    wait_for("enrich", "done", 1);
    cr_assert(cached("legal", "anything", &arena, &result));
    arena_free(&arena);
    stop_fleet();
}

Test(fleet, a_job_past_its_deadline_is_expired_and_not_run)
{
    start_fleet();
    push_enrich("legal", "late", "anything", 3, "deadline_ms=1000");
    wait_for("enrich", "expired", 1);
    stop_fleet();
}

/* The fleet's idea of Redis' clock as it is right after a step of that one. */
static void step_clock(int64_t by_ms)
{
    atomic_store(&fleet_worker(fleet)->redis_clock_ms, clock_unix_ms() - clock_now_ms() + by_ms);
}

Test(fleet, deadlines_are_judged_by_redis_clock_at_that_moment)
{
    char options[64];
    const int64_t hour_ms = 3600000;

    start_fleet();
    push_enrich("legal", "first", "anything", 3, "");
    wait_for("enrich", "done", 1);
    step_clock(hour_ms);
    snprintf(options, sizeof options, "deadline_ms=%lld", (long long)clock_unix_ms() + hour_ms / 6);
    push_enrich("legal", "in-time", "anything", 3, options);
    wait_for("enrich", "done", 2);

    step_clock(-hour_ms);
    snprintf(options, sizeof options, "deadline_ms=%lld", (long long)clock_unix_ms() - hour_ms / 6);
    push_enrich("legal", "late", "anything", 3, options);
    wait_for("enrich", "expired", 1);
    stop_fleet();
}

Test(fleet, a_reply_comes_to_who_asked_and_to_the_twins_asker)
{
    struct queue queue = queue_named("enrich");
    struct strbuf reply = {0};
    struct error err = {0};

    start_fleet();
    push_enrich("legal", "asked", "anything", 3, "reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "asked", 5000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_gt(reply.bytes, 0);
    strbuf_free(&reply);
    wait_for("enrich", "done", 1);
    stop_fleet();
}

Test(fleet, work_without_a_result_tells_who_waits_that_it_is_done)
{
    struct queue queue = queue_named("distill");
    struct strbuf reply = {0};
    struct error err = {0};

    start_fleet();
    push_distill("legal", "t1", "notice period", "three months", 0.9, "reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "t1", 10000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(reply.bytes, 1);
    cr_assert_eq((unsigned char)reply.data[0], 0x80, "an empty map");
    strbuf_free(&reply);
    wait_for("distill", "done", 1);
    stop_fleet();
}

Test(fleet, somebody_who_waits_for_an_expired_job_is_told_so)
{
    struct queue queue = queue_named("enrich");
    struct strbuf reply = {0};
    struct arena arena = {0};
    struct enrich_result result;
    struct error err = {0};

    start_fleet();
    push_enrich("legal", "late", "anything", 3, "deadline_ms=1000 reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "late", 5000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(bodies_decode_result(reply.data, reply.bytes, &arena, &result, &err), STATUS_OK,
                 "%s", err.text);
    cr_assert_eq(strncmp(result.error.data, "expired", 7), 0);
    arena_free(&arena);
    strbuf_free(&reply);
    wait_for("enrich", "expired", 1);
    stop_fleet();
}

Test(fleet, somebody_who_waits_for_a_dead_job_is_told_why)
{
    struct queue queue = queue_named("distill");
    struct strbuf reply = {0};
    struct arena arena = {0};
    struct enrich_result result;
    struct error err = {0};

    start_fleet();
    push_distill("legal", "low", "prompt", "result", 0.1, "reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "low", 5000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(bodies_decode_result(reply.data, reply.bytes, &arena, &result, &err), STATUS_OK);
    cr_assert_not_null(memmem(result.error.data, result.error.bytes, "quality", 7));
    strbuf_free(&reply);
    arena_free(&arena);
    stop_fleet();
}

static void push_index(const char *job, const char *text)
{
    struct strbuf body = {0};
    struct meta_pair meta = {{"page", 4}, {.type = META_INT, .integer = 7}};
    struct index_document documents[2] = {
        {{"d1", 2}, {text, strlen(text)}, {&meta, 1, {NULL, 0}}},
        {.id = {"d2", 2}, .text = {"another text", 12}},
    };
    const struct index_body index = {.documents = {documents, 2}};

    bodies_encode_index(&index, &body);
    push("index", job, "books", "", body.data, body.bytes);
    strbuf_free(&body);
}

Test(fleet, unchanged_documents_are_not_written_again)
{
    char key[KEYS_BYTES];

    start_fleet();
    push_index("i1", "the first text");
    wait_for("index", "done", 1);
    push_index("i2", "the first text");
    wait_for("index", "done", 2);
    redisReply *epoch = good_reply("GET", keys_name(key, KEYS_EPOCH, "sh", "books"), NULL);
    cr_assert_str_eq(epoch->str, "1", "the second time nothing was written");
    redis_reply_free(epoch);

    push_index("i3", "a changed text");
    wait_for("index", "done", 3);
    epoch = good_reply("GET", keys_name(key, KEYS_EPOCH, "sh", "books"), NULL);
    cr_assert_str_eq(epoch->str, "2");
    redis_reply_free(epoch);
    cr_assert_eq(documents_in("books"), 2);
    stop_fleet();
}

/* One job of `count` documents, `text` being part of each. */
static void push_many_documents(const char *job, size_t count, const char *text)
{
    struct index_document *documents = calloc(count, sizeof *documents);
    char(*texts)[64] = calloc(count, sizeof *texts);
    struct strbuf body = {0};

    cr_assert(documents != NULL && texts != NULL);
    for (size_t i = 0; i < count; i++) {
        int bytes = snprintf(texts[i], sizeof texts[i], "document %zu %s", i, text);
        documents[i].text = (struct slice){texts[i], (size_t)bytes};
        documents[i].id = (struct slice){texts[i] + 9, strcspn(texts[i] + 9, " ")};
    }
    bodies_encode_index(&(struct index_body){.documents = {documents, count}}, &body);
    push("index", job, "library", "", body.data, body.bytes);
    strbuf_free(&body);
    free(documents);
    free(texts);
}

Test(fleet, a_job_of_many_documents_is_written_in_parts_and_is_one_epoch)
{
    enum { DOCUMENTS = 450 };
    char key[KEYS_BYTES];

    start_fleet();
    push_many_documents("m1", DOCUMENTS, "of the first edition");
    wait_for("index", "done", 1);
    cr_assert_eq(documents_in("library"), DOCUMENTS);
    push_many_documents("m2", DOCUMENTS, "of the first edition");
    wait_for("index", "done", 2);
    redisReply *epoch = good_reply("GET", keys_name(key, KEYS_EPOCH, "sh", "library"), NULL);
    cr_assert_str_eq(epoch->str, "1", "the second time nothing was written");
    redis_reply_free(epoch);
    stop_fleet();
}

Test(fleet, near_twins_are_merged_where_the_setting_says_so)
{
    settings.merge_distance = 0.2;
    start_fleet();
    push_distill("legal", "t1", "notice period for tenants", "three months", 0.6, "");
    wait_for("distill", "done", 1);
    push_distill("legal", "t2", "notice period for tenants!", "four months", 0.9, "");
    wait_for("distill", "done", 2);
    cr_assert_eq(documents_in("legal"), 1);
    push_distill("legal", "t3", "notice period for tenants?", "worse", 0.6, "");
    wait_for("distill", "done", 3);
    cr_assert_eq(documents_in("legal"), 1);
    stop_fleet();
}

Test(fleet, a_collection_of_another_embedder_makes_lessons_wait_and_readiness_name_both)
{
    struct strbuf said = {0};

    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    start_fleet();
    wait_for("distill", "done", 1);
    stop_fleet();

    settings.embed_dimension = 128;
    start_fleet();
    push_distill("legal", "t2", "a prompt", "a result", 0.9, "");
    wait_for("distill", "parked", 6);
    cr_assert_eq(stats_of("distill").dead, 0, "a deployment is no lesson's fault");
    upstreams_describe(fleet_worker(fleet)->upstreams, METRICS_CHROMA, &said);
    cr_assert_not_null(strstr(said.data, "builtin-384"), "%s", said.data);
    cr_assert_not_null(strstr(said.data, "builtin-128"), "%s", said.data);
    strbuf_free(&said);
    stop_fleet();

    settings.embed_dimension = 0;
    start_fleet();
    wait_for("distill", "done", 2);
    cr_assert_eq(counter_of("distill", "retried"), 0);
    stop_fleet();
}

Test(fleet, a_paused_queue_keeps_its_jobs_until_it_is_resumed)
{
    struct queue queue = queue_named("echo");
    struct error err = {0};

    start_fleet();
    push("echo", "before", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    cr_assert_eq(queue_pause(conn, &queue, true, &err), STATUS_OK, "%s", err.text);
    push("echo", "held", "legal", "", "x", 1);
    int64_t until_ms = clock_now_ms() + 700; /* longer than a read blocked when the pause came */
    while (clock_now_ms() < until_ms) {
        cr_assert_eq(counter_of("echo", "done"), 1, "a paused queue worked");
        clock_sleep_ms(POLL_MS);
    }
    cr_assert_eq(stats_of("echo").waiting, 1);
    cr_assert_eq(counter_of("echo", "done"), 1);
    cr_assert_eq(queue_pause(conn, &queue, false, &err), STATUS_OK, "%s", err.text);
    wait_for("echo", "done", 2);
    stop_fleet();
}

Test(fleet, delayed_jobs_run_when_they_are_due_and_priorities_are_served)
{
    start_fleet();
    push("echo", "later", "legal", "delay_ms=300", "x", 1);
    push("echo", "high", "legal", "priority=high", "x", 1);
    push("echo", "low", "legal", "priority=low", "x", 1);
    wait_for("echo", "done", 3);
    cr_assert_eq(stats_of("echo").delayed, 0);
    stop_fleet();
}

/* ---- outcomes for the learning store -------------------------------------------------------- */

/* The body of the record with this id; it has no NUL in these tests. */
static void read_outcome(const char *id, struct arena *arena, struct record_body *out)
{
    struct redis_args args = {0};
    struct error err = {0};
    redisReply *reply = NULL;
    bool found = false;

    redis_args_str(&args, "XRANGE");
    redis_args_str(&args, "sh:{record}:jobs:low");
    redis_args_str(&args, "-");
    redis_args_str(&args, "+");
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    for (size_t i = 0; i < reply->elements && !found; i++) {
        const redisReply *fields = reply->element[i]->element[1];
        found = strcmp(fields->element[1]->str, id) == 0;
        if (found) {
            char *body = arena_array(arena, fields->element[9]->len, 1);
            memcpy(body, fields->element[9]->str, fields->element[9]->len);
            cr_assert_eq(bodies_decode_record(body, fields->element[9]->len, arena, out, &err),
                         STATUS_OK, "%s", err.text);
        }
    }
    cr_assert(found, "no record %s", id);
    redis_reply_free(reply);
    redis_args_free(&args);
}

static void push_outcome(const char *id, bool success, double quality)
{
    struct meta_pair pairs[] = {
        {slice_of("arm"), {.type = META_STRING, .string = slice_of("holdout")}},
        {slice_of("task_type"), {.type = META_STRING, .string = slice_of("fix")}},
    };
    const struct distill_body body = {.task_id = slice_of(id),
                                      .prompt = slice_of("p"),
                                      .result = slice_of("r"),
                                      .success = {success, true},
                                      .quality = {quality, true},
                                      .metadata = {.pairs = pairs, .count = 2}};
    struct strbuf bytes = {0};

    bodies_encode_distill(&body, &bytes);
    push("distill", id, "legal", "", bytes.data, bytes.bytes);
    strbuf_free(&bytes);
}

Test(fleet, each_distill_job_leaves_an_outcome_where_the_setting_asks_and_a_failure_is_done)
{
    struct arena arena = {0};
    struct record_body outcome;

    settings.record_distill = true;
    start_fleet();
    push_outcome("good", true, 0.75);
    push_outcome("poor", true, 0.25);
    push_outcome("failed", false, 0);
    wait_for("distill", "done", 2);
    wait_for("distill", "buried", 1);
    wait_for("record", "enqueued", 3);
    read_outcome("good.o", &arena, &outcome);
    cr_assert(is_slice(outcome.kind, "outcome") && is_slice(outcome.task_id, "good"));
    cr_assert(outcome.success.given && outcome.success.value);
    cr_assert_eq(outcome.quality_score.value, 75);
    cr_assert(outcome.at_ms.given && outcome.at_ms.value > INT64_C(1600000000000));
    cr_assert(is_slice(outcome.arm, "holdout") && is_slice(outcome.task_type, "fix"));
    read_outcome("poor.o", &arena, &outcome);
    cr_assert(outcome.success.value);
    cr_assert_eq(outcome.quality_score.value, 25);
    read_outcome("failed.o", &arena, &outcome);
    cr_assert(outcome.success.given && !outcome.success.value);
    cr_assert_eq(documents_in("legal"), 1, "only the good one is an experience");
    arena_free(&arena);
}

/* Of what is too large or has expired before it is looked at. */
static void make_ends(char large[1500], char options[64])
{
    settings.max_body_bytes = 1000;
    memset(large, 'x', 1499);
    large[1499] = '\0';
    snprintf(options, 64, "deadline_ms=%lld", (long long)(clock_unix_ms() - 60000));
}

/* The outcome is of the task: it says nothing of what became of its job. */
Test(fleet, a_distill_job_that_ends_unread_or_unkept_leaves_its_outcome_all_the_same)
{
    struct arena arena = {0};
    struct record_body outcome;
    char options[64];
    char large[1500];

    settings.record_distill = true;
    make_ends(large, options);
    start_fleet();
    push_distill("legal", "late", "a prompt", "a result", 0.5, options);
    wait_for("distill", "expired", 1);
    push_distill("legal", "large", "a prompt", large, 0.5, "");
    wait_for("distill", "buried", 1);
    push("distill", "garbled", "legal", "", "\xc1", 1);
    wait_for("distill", "buried", 2);
    read_outcome("late.o", &arena, &outcome);
    cr_assert(is_slice(outcome.task_id, "late") && outcome.success.value);
    read_outcome("large.o", &arena, &outcome);
    cr_assert(is_slice(outcome.task_id, "large") && outcome.quality_score.value == 50);
    cr_assert_eq(counter_of("record", "enqueued"), 2, "of what cannot be read there is none");
    arena_free(&arena);
}

Test(fleet, a_distill_job_that_waited_in_vain_leaves_its_outcome_before_it_is_dead)
{
    struct arena arena = {0};
    struct record_body outcome;
    char letter[256];

    settings.record_distill = true;
    settings.experience_ttl_ms = 1;
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "http://127.0.0.1:%d",
             test_free_port());
    start_fleet();
    push_distill("legal", "waits", "a prompt", "a result", 0.5, "");
    wait_for("distill", "buried", 1);
    dead_letter("distill", letter, sizeof letter);
    cr_assert_not_null(strstr(letter, "retries_exhausted"), "%s", letter);
    cr_assert_eq(counter_of("record", "enqueued"), 1);
    read_outcome("waits.o", &arena, &outcome);
    cr_assert(is_slice(outcome.task_id, "waits") && outcome.success.value);
    arena_free(&arena);
}

static void limit_redis(const char *maxmemory)
{
    struct error err = {0};
    redisReply *reply = NULL;

    cr_assert_eq(redis_commandf(conn, &reply, &err, "CONFIG SET maxmemory %s", maxmemory),
                 STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
}

/* Whichever end it is: with the outcome it comes once Redis takes it. */
Test(fleet, while_redis_takes_no_outcome_no_distill_job_ends)
{
    struct arena arena = {0};
    struct record_body outcome;
    char options[64];
    char large[1500];

    settings.record_distill = true;
    make_ends(large, options);
    push_distill("legal", "late", "a prompt", "a result", 0.5, options);
    push_distill("legal", "large", "a prompt", large, 0.5, "");
    push_outcome("failed", false, 0);
    limit_redis("1mb");
    start_fleet();
    wait_for("distill", "parked", 3);
    cr_assert_eq(counter_of("distill", "expired") + counter_of("distill", "buried"), 0);
    limit_redis("0");
    wait_for("distill", "expired", 1);
    wait_for("distill", "buried", 1);
    wait_for("distill", "done", 1);
    read_outcome("late.o", &arena, &outcome);
    read_outcome("large.o", &arena, &outcome);
    read_outcome("failed.o", &arena, &outcome);
    arena_free(&arena);
}

Test(fleet, a_full_queue_of_records_costs_outcomes_and_no_lesson)
{
    settings.record_distill = true;
    settings.max_backlog = 1;
    start_fleet();
    push_outcome("a", true, 0.75);
    wait_for("distill", "done", 1);
    push_outcome("b", true, 0.75);
    wait_for("distill", "done", 2);
    cr_assert_eq(counter_of("record", "enqueued"), 1);
    cr_assert_eq(counter_of("record", "refused"), 1);
    cr_assert_eq(documents_in("legal"), 2);
}

Test(fleet, without_the_setting_no_outcome_is_left_and_a_failure_is_a_dead_letter)
{
    char letter[256];

    start_fleet();
    push_outcome("good", true, 0.75);
    push_outcome("failed", false, 0);
    wait_for("distill", "done", 1);
    wait_for("distill", "buried", 1);
    dead_letter("distill", letter, sizeof letter);
    cr_assert_not_null(strstr(letter, "field \"success\": false, expected true"), "%s", letter);
    cr_assert_eq(counter_of("record", "enqueued"), 0);
}
