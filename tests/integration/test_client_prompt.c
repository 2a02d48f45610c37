/* stillhouse_prompt() on a real Redis: what comes out, what is enqueued, what is counted. */
#include <pthread.h>

#include "client_fixture.h"
#include "prompt/holdout.h"
#include "queue/settle.h"
#include "queue/take.h"

TestSuite(client_prompt, .init = client_setup, .fini = client_teardown);

static stillhouse_prompt_result prompt;

static stillhouse_prompt_kind ask_prompt(stillhouse_client *of, const char *query, int wait_ms)
{
    stillhouse_prompt_free(&prompt);
    const stillhouse_prompt_kind kind =
        stillhouse_prompt(of, "legal", query, BASE, wait_ms, &prompt);
    cr_assert_eq(kind, prompt.kind);
    return kind;
}

static void is_base(stillhouse_status status)
{
    cr_assert_eq(prompt.kind, STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_str_eq(prompt.text, BASE);
    cr_assert_null(prompt.owned);
    cr_assert_eq(prompt.status, status, "%d: %s", (int)prompt.status, stillhouse_error(client));
    cr_assert_eq(prompt.examples, 0);
}

Test(client_prompt, a_miss_gives_the_base_itself_and_enqueues_the_enrichment)
{
    static const char base[] = "base\r\n with \xf0\x9f\x8d\xba";

    cr_assert_eq(stillhouse_prompt(client, "legal", "q", base, 0, &prompt),
                 STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_eq(prompt.text, base);
    cr_assert_eq(prompt.status, STILLHOUSE_NOT_FOUND);
    says("enqueued");
    cr_assert_eq(counter("enqueued"), 1);
    cr_assert_null(strstr(first_field(queue.stream[JOB_NORMAL], "options"), "reply"));
    ask_prompt(client, "q", 0);
    is_base(STILLHOUSE_NOT_FOUND);
    cr_assert_eq(counter("enqueued"), 1);
    cr_assert_eq(counter("deduplicated"), 1);
}

Test(client_prompt, examples_stand_in_front_of_the_base_and_are_remembered)
{
    WRITE_RESULT(.query = "q", .examples = 2);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(ask_prompt(client, "q", 0), STILLHOUSE_PROMPT_ENRICHED);
        cr_assert_str_eq(prompt.text, "block\n\n" BASE);
        cr_assert_eq(prompt.examples, 2);
        cr_assert_eq(prompt.status, STILLHOUSE_OK);
        (void)ask("DEL", cache_key("q"), NULL); /* the second one is from memory */
    }
    cr_assert_eq(counter("enqueued"), 0);
}

Test(client_prompt, no_examples_leave_the_base_unchanged_and_ask_for_nothing)
{
    WRITE_RESULT(.query = "q", .examples = 0);
    for (int i = 0; i < 2; i++) {
        ask_prompt(client, "q", 0);
        is_base(STILLHOUSE_OK);
        (void)ask("DEL", cache_key("q"), NULL);
    }
    cr_assert_eq(counter("enqueued"), 0);
}

Test(client_prompt, a_stale_result_is_used_and_refreshed_once_it_is_no_longer_fresh)
{
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "9", NULL), "OK");
    WRITE_RESULT(.query = "young", .examples = 1, .epoch = 8, .age_ms = 1000);
    cr_assert_eq(ask_prompt(client, "young", 0), STILLHOUSE_PROMPT_STALE);
    cr_assert_str_eq(prompt.text, "block\n\n" BASE);
    cr_assert_eq(counter("enqueued"), 0);

    WRITE_RESULT(.query = "old", .examples = 1, .epoch = 8, .age_ms = 120000);
    cr_assert_eq(ask_prompt(client, "old", 0), STILLHOUSE_PROMPT_STALE);
    cr_assert_eq(prompt.status, STILLHOUSE_OK);
    cr_assert_eq(counter("enqueued"), 1);

    WRITE_RESULT(.query = "old", .examples = 1, .epoch = 9);
    cr_assert_eq(ask_prompt(client, "old", 0), STILLHOUSE_PROMPT_ENRICHED);
    stillhouse_prompt_free(&prompt);
}

Test(client_prompt, what_memory_holds_of_a_domain_that_moved_is_better_than_nothing)
{
    WRITE_RESULT(.query = "q", .examples = 1);
    cr_assert_eq(ask_prompt(client, "q", 0), STILLHOUSE_PROMPT_ENRICHED);
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "1", NULL), "OK");
    ask_prompt(client, "another", 0); /* learns of it */
    (void)ask("DEL", cache_key("q"), NULL);
    cr_assert_eq(ask_prompt(client, "q", 0), STILLHOUSE_PROMPT_STALE);
    cr_assert_str_eq(prompt.text, "block\n\n" BASE);
    cr_assert_eq(counter("enqueued"), 2, "a newer one is asked for");
    stillhouse_prompt_free(&prompt);
}

Test(client_prompt, what_memory_is_good_for_is_counted)
{
    const stillhouse_options options = patient(redis.url);
    stillhouse_client *other = open_client(&options);

    WRITE_RESULT(.query = "q", .examples = 1);
    ask_prompt(other, "q", 0);
    ask_prompt(other, "q", 0);
    ask_prompt(other, "q", 0);
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "1", NULL), "OK");
    ask_prompt(other, "another", 0);
    ask_prompt(other, "q", 0);
    stillhouse_prompt_free(&prompt);
    stillhouse_close(other);
    cr_assert_str_eq(ask("HGET", "sh:prompts", "memory_hit", NULL), "2");
    cr_assert_str_eq(ask("HGET", "sh:prompts", "memory_miss", NULL), "2");
    cr_assert_str_eq(ask("HGET", "sh:prompts", "memory_stale", NULL), "1");
}

Test(client_prompt, a_cached_thing_that_is_no_result_is_replaced)
{
    cr_assert_str_eq(ask("SET", cache_key("q"), "junk", NULL), "OK");
    ask_prompt(client, "q", 0);
    is_base(STILLHOUSE_NOT_FOUND);
    cr_assert_eq(counter("enqueued"), 1);
}

Test(client_prompt, a_full_queue_gives_the_base)
{
    stillhouse_options options = patient(redis.url);

    options.max_backlog = 1;
    stillhouse_client *other = open_client(&options);
    ask_prompt(other, "one", 0);
    ask_prompt(other, "two", 1000);
    is_base(STILLHOUSE_FULL);
    stillhouse_close(other);
}

Test(client_prompt, wrong_arguments_give_the_base_with_the_field_named)
{
    ask_prompt(client, " ", 0);
    is_base(STILLHOUSE_INVALID);
    says("query");
    ask_prompt(client, "q", -1);
    is_base(STILLHOUSE_INVALID);
    says("wait_ms");
    cr_assert_eq(stillhouse_prompt(client, "L", "q", BASE, 0, &prompt), STILLHOUSE_PROMPT_FALLBACK);
    is_base(STILLHOUSE_INVALID);
    says("domain \"L\"");
    cr_assert_eq(stillhouse_prompt(client, NULL, "q", BASE, 0, &prompt),
                 STILLHOUSE_PROMPT_FALLBACK);
    is_base(STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_prompt(client, "legal", NULL, BASE, 0, &prompt),
                 STILLHOUSE_PROMPT_FALLBACK);
    is_base(STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_prompt(client, "legal", "q", NULL, 0, &prompt),
                 STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_str_eq(prompt.text, "");
    says("base");
}

/* ---- waiting ------------------------------------------------------------------------------- */

/* Does the first job that comes as a worker would, and pushes `reply`. */
struct worker {
    pthread_t thread;
    struct redis_conn *conn;
    struct strbuf reply;
    const char *fault;
};

static const char *do_one_job(struct worker *worker)
{
    const char *const streams[] = {queue.stream[JOB_NORMAL]};
    struct queue_batch batch = {0};
    struct queue_end item = {.reply = {worker->reply.data, worker->reply.bytes}};
    struct error detail = {0};
    redisReply *reply = NULL;

    if (queue_read_append(worker->conn, &(struct queue_read){"w", 1, 5000, streams, 1}, &detail) !=
            STATUS_OK ||
        redis_conn_collect(worker->conn, &reply, &detail) != STATUS_OK ||
        queue_read_parse(&queue, reply, &batch, &detail) != STATUS_OK ||
        queue_batch_own(&batch, reply, &detail) != STATUS_OK || batch.count != 1) {
        return "no job came";
    }
    item.job = &batch.jobs[0];
    const enum status status = queue_finish(
        worker->conn, &(struct queue_holder){.queue = &queue, .consumer = "w"}, &item, 1, &detail);
    queue_batch_free(&batch);
    return status == STATUS_OK && item.fate != QUEUE_LOST ? NULL : "the job was not finished";
}

static void *work(void *argument)
{
    struct worker *worker = argument;

    worker->fault = do_one_job(worker);
    return NULL;
}

static void start_worker(struct worker *worker, const struct written *written)
{
    *worker = (struct worker){.conn = new_conn()};
    encode_written(written, &worker->reply);
    cr_assert_eq(pthread_create(&worker->thread, NULL, work, worker), 0);
}

static void stop_worker(struct worker *worker)
{
    cr_assert_eq(pthread_join(worker->thread, NULL), 0);
    cr_assert_null(worker->fault, "%s", worker->fault);
    redis_conn_free(worker->conn);
    strbuf_free(&worker->reply);
}

Test(client_prompt, with_time_to_wait_a_miss_is_enriched_after_all)
{
    struct worker worker;

    start_worker(&worker, &(const struct written){.query = "q", .examples = 1});
    cr_assert_eq(ask_prompt(client, "q", 5000), STILLHOUSE_PROMPT_ENRICHED, "%s",
                 stillhouse_error(client));
    cr_assert_str_eq(prompt.text, "block\n\n" BASE);
    stop_worker(&worker);
    cr_assert_eq(ask_prompt(client, "q", 0), STILLHOUSE_PROMPT_ENRICHED); /* from memory */
    stillhouse_prompt_free(&prompt);
    check_books();
}

Test(client_prompt, an_enrichment_that_fails_gives_the_base)
{
    struct worker worker;

    start_worker(&worker, &(const struct written){.query = "q", .error = "no embedder"});
    ask_prompt(client, "q", 5000);
    is_base(STILLHOUSE_FAILED);
    says("enrichment: no embedder");
    stop_worker(&worker);
}

Test(client_prompt, a_wait_ends_when_it_was_to_end)
{
    const int64_t start = clock_now_ms();

    ask_prompt(client, "q", 100);
    is_base(STILLHOUSE_NOT_FOUND);
    const int64_t took_ms = clock_now_ms() - start;
    cr_assert(took_ms >= 100 && took_ms < 2500, "%lld ms", (long long)took_ms);
    cr_assert_not_null(strstr(first_field(queue.stream[JOB_NORMAL], "options"), "reply=1"));
}

/* ---- counting ------------------------------------------------------------------------------ */

Test(client_prompt, kinds_are_counted_along_with_later_commands_and_at_the_end)
{
    const stillhouse_options options = patient(redis.url);
    stillhouse_client *other = open_client(&options);

    WRITE_RESULT(.query = "hit", .examples = 1);
    ask_prompt(other, "miss", 0);
    cr_assert_str_eq(ask("HGET", "sh:prompts", "fallback", NULL), "(nil)");
    ask_prompt(other, "hit", 0);
    cr_assert_str_eq(ask("HGET", "sh:prompts", "fallback", NULL), "1");
    ask_prompt(other, "hit", 0);
    const int64_t until_ms = clock_now_ms() + 10000; /* it is done once a second */
    do {
        cr_assert_lt(clock_now_ms(), until_ms, "not counted by later commands");
        cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "other", 0, NULL, NULL),
                     STILLHOUSE_OK);
    } while (strcmp(ask("HGET", "sh:prompts", "enriched", NULL), "2") != 0);
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "1", NULL), "OK");
    WRITE_RESULT(.query = "stale", .examples = 1);
    ask_prompt(other, "stale", 0);
    stillhouse_prompt_free(&prompt);
    stillhouse_close(other);
    cr_assert_str_eq(ask("HGET", "sh:prompts", "stale", NULL), "1");
    cr_assert_str_eq(ask("HGET", "sh:prompts", "fallback", NULL), "1");
}

Test(client_prompt, counts_that_a_broken_connection_swallowed_are_sent_again)
{
    ask_prompt(client, "one", 0);
    cr_assert_str_eq(ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL), "1");
    ask_prompt(client, "two", 0);
    cr_assert_str_eq(ask("HGET", "sh:prompts", "fallback", NULL), "1");
}

/* ---- holding out ----------------------------------------------------------------------------- */

static stillhouse_client *open_holding(const char *share)
{
    stillhouse_options options = patient(redis.url);

    options.holdout = share;
    return open_client(&options);
}

static void ask_for(stillhouse_client *of, const char *query, const char *task_id)
{
    const stillhouse_question question = {.size = sizeof question,
                                          .domain = "legal",
                                          .query = query,
                                          .base = BASE,
                                          .task_id = task_id};

    stillhouse_prompt_free(&prompt);
    cr_assert_eq(stillhouse_prompt_for(of, &question, &prompt), prompt.kind);
}

static void is_held_out(void)
{
    cr_assert_eq(prompt.kind, STILLHOUSE_PROMPT_HOLDOUT);
    cr_assert_str_eq(prompt.text, BASE);
    cr_assert_null(prompt.owned);
    cr_assert_eq(prompt.examples, 0);
    cr_assert_eq(prompt.status, STILLHOUSE_OK);
}

Test(client_prompt, held_out_is_only_what_had_examples_in_time)
{
    stillhouse_client *other = open_holding("100%");

    WRITE_RESULT(.query = "none", .examples = 0);
    ask_prompt(other, "none", 0);
    is_base(STILLHOUSE_OK);
    ask_prompt(other, "miss", 0);
    is_base(STILLHOUSE_NOT_FOUND);
    cr_assert_eq(counter("enqueued"), 1);

    WRITE_RESULT(.query = "hit", .examples = 2, .tasks = true);
    for (int i = 0; i < 2; i++) { /* from Redis, then from memory */
        ask_prompt(other, "hit", 0);
        is_held_out();
        cr_assert_eq(strlen(stillhouse_prompt_id(other)), 36);
    }
    stillhouse_messages_result past;
    cr_assert_eq(stillhouse_messages(other, "legal", "hit", 0, 0, &past),
                 STILLHOUSE_PROMPT_HOLDOUT);
    cr_assert_null(past.messages);
    cr_assert_eq(past.count, 0);
    cr_assert_eq(past.examples, 0);
    stillhouse_messages_free(&past);
    cr_assert(stillhouse_prompt_from_memory(other, "legal", "hit", BASE, &prompt));
    is_held_out();

    WRITE_RESULT(.query = "documents", .examples = 2);
    cr_assert_eq(stillhouse_messages(other, "legal", "documents", 0, 0, &past),
                 STILLHOUSE_PROMPT_FALLBACK, "documents make no messages: nothing to take away");
    stillhouse_messages_free(&past);

    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "9", NULL), "OK");
    WRITE_RESULT(.query = "old", .examples = 1, .epoch = 8, .age_ms = 120000);
    ask_prompt(other, "old", 0);
    is_held_out();
    cr_assert_eq(counter("enqueued"), 2, "a stale one is refreshed for it as for others");
    stillhouse_close(other);
    cr_assert_str_eq(ask("HGET", "sh:prompts", "holdout", NULL), "5");
    cr_assert_str_eq(ask("HGET", "sh:prompts", "fallback", NULL), "3");
    cr_assert_str_eq(ask("HGET", "sh:prompts", "enriched", NULL), "(nil)");
}

/* Their numbers: tests/contract/vectors/holdouts.json. */
Test(client_prompt, a_tasks_id_decides_for_all_its_prompts)
{
    stillhouse_client *other = open_holding("32.0353%");
    stillhouse_client *fewer = open_holding("32.0352%");

    WRITE_RESULT(.query = "q", .examples = 1);
    for (int i = 0; i < 3; i++) {
        ask_for(other, "q", "t-17");
        is_held_out();
        ask_for(other, "q", "t-18");
        cr_assert_eq(prompt.kind, STILLHOUSE_PROMPT_ENRICHED);
        ask_for(fewer, "q", "t-17");
        cr_assert_eq(prompt.kind, STILLHOUSE_PROMPT_ENRICHED);
    }
    stillhouse_prompt_free(&prompt);
    stillhouse_close(fewer);
    stillhouse_close(other);
}

Test(client_prompt, without_a_tasks_id_each_prompt_is_drawn_by_its_own)
{
    stillhouse_client *other = open_holding("50%");
    int held = 0;

    WRITE_RESULT(.query = "q", .examples = 1);
    for (int i = 0; i < 400; i++) {
        const bool is_out = ask_prompt(other, "q", 0) == STILLHOUSE_PROMPT_HOLDOUT;
        const char *id = stillhouse_prompt_id(other);
        cr_assert_eq(is_out, holdout_has(500000, "legal", id + 14), "%s", id);
        held += is_out ? 1 : 0;
    }
    cr_assert(held > 100 && held < 300, "%d", held); /* ten standard deviations */
    stillhouse_prompt_free(&prompt);
    stillhouse_close(other);
}

Test(client_prompt, a_question_may_be_kept_to_the_memory)
{
    stillhouse_question question = {.size = sizeof question,
                                    .domain = "legal",
                                    .query = "q",
                                    .base = BASE,
                                    .memory_only = true};

    WRITE_RESULT(.query = "q", .examples = 1);
    stillhouse_prompt_for(client, &question, &prompt);
    is_base(STILLHOUSE_NOT_FOUND);
    cr_assert_eq(counter("enqueued"), 0);
    cr_assert_str_eq(stillhouse_prompt_id(client), "");
    question.memory_only = false;
    cr_assert_eq(stillhouse_prompt_for(client, &question, &prompt), STILLHOUSE_PROMPT_ENRICHED);
    stillhouse_prompt_free(&prompt);
    question.memory_only = true;
    cr_assert_eq(stillhouse_prompt_for(client, &question, &prompt), STILLHOUSE_PROMPT_ENRICHED);
    stillhouse_prompt_free(&prompt);
}

Test(client_prompt, what_is_wrong_with_a_question_is_named_and_the_base_comes_out)
{
    char long_id[258] = {0};
    stillhouse_question question = {
        .size = sizeof question, .domain = "legal", .query = "q", .base = BASE};
    const struct {
        const char *task_id;
        const char *says;
    } ids[] = {{"", "\"task_id\" is empty"},
               {" ", "white space"},
               {"a\nb", "control character 0x0a"},
               {"\xff", "expected UTF-8"},
               {memset(long_id, 'i', 257), "expected 1 to 256 bytes, found 257"}};

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        question.task_id = ids[i].task_id;
        stillhouse_prompt_for(client, &question, &prompt);
        is_base(STILLHOUSE_INVALID);
        says(ids[i].says);
    }
    question.task_id = NULL;
    question.k = 4;
    stillhouse_prompt_for(client, &question, &prompt);
    is_base(STILLHOUSE_INVALID);
    says("k 4: expected 0");
    question.size = sizeof question + 1;
    stillhouse_prompt_for(client, &question, &prompt);
    cr_assert_str_eq(prompt.text, "");
    says("question.size");
    stillhouse_prompt_for(client, NULL, &prompt);
    cr_assert_eq(prompt.status, STILLHOUSE_INVALID);
    says("question: expected one, got NULL");
    cr_assert_eq(counter("enqueued"), 0);
}

Test(client_prompt, a_share_that_is_none_opens_no_client)
{
    stillhouse_options options = patient(redis.url);
    stillhouse_client *other = NULL;

    options.holdout = "5";
    cr_assert_eq(stillhouse_open(&options, &other), STILLHOUSE_INVALID);
    cr_assert_str_eq(stillhouse_open_error(),
                     "holdout: \"5\" is not a share (such as 5%, 0.25%) from 0% to 100%");
    setenv("STILLHOUSE_HOLDOUT", "101%", 1);
    options.holdout = NULL;
    cr_assert_eq(stillhouse_open(&options, &other), STILLHOUSE_INVALID);
    cr_assert_not_null(strstr(stillhouse_open_error(), "STILLHOUSE_HOLDOUT: \"101%\""));
    setenv("STILLHOUSE_HOLDOUT", "100%", 1);
    WRITE_RESULT(.query = "q", .examples = 1);
    other = open_client(&options);
    ask_prompt(other, "q", 0);
    is_held_out();
    stillhouse_close(other);
    options.holdout = "0%"; /* the caller wins */
    other = open_client(&options);
    cr_assert_eq(ask_prompt(other, "q", 0), STILLHOUSE_PROMPT_ENRICHED);
    stillhouse_prompt_free(&prompt);
    stillhouse_close(other);
    unsetenv("STILLHOUSE_HOLDOUT");
}

/* ---- clients beside one another -------------------------------------------------------------- */

static stillhouse_client *open_beside(const stillhouse_client *other)
{
    stillhouse_client *made = NULL;

    cr_assert_eq(stillhouse_open_beside(other, &made), STILLHOUSE_OK, "%s",
                 stillhouse_open_error());
    return made;
}

static bool is_in_memory(stillhouse_client *of, const char *query)
{
    stillhouse_prompt_free(&prompt);
    return stillhouse_prompt_from_memory(of, "legal", query, BASE, &prompt);
}

Test(client_prompt, what_one_client_has_read_the_ones_beside_it_remember)
{
    stillhouse_client *first = open_beside(client);
    stillhouse_client *second = open_beside(first);

    WRITE_RESULT(.query = "q", .examples = 2);
    cr_assert_eq(ask_prompt(first, "q", 0), STILLHOUSE_PROMPT_ENRICHED);
    stillhouse_close(first);
    (void)ask("DEL", cache_key("q"), NULL);
    cr_assert(is_in_memory(second, "q"));
    cr_assert_str_eq(prompt.text, "block\n\n" BASE);
    cr_assert_eq(ask_prompt(client, "q", 0), STILLHOUSE_PROMPT_ENRICHED);
    stillhouse_close(second);
    cr_assert(is_in_memory(client, "q"));
    cr_assert_eq(counter("enqueued"), 0);
}

Test(client_prompt, memory_alone_asks_nobody_and_counts_only_what_it_has)
{
    stillhouse_client *away =
        open_client(&(stillhouse_options){SIZED, .redis_url = "redis://127.0.0.1:1"});

    cr_assert_not(is_in_memory(away, "q"));
    cr_assert_str_eq(prompt.text, BASE);
    cr_assert_str_eq(stillhouse_prompt_id(away), "");
    cr_assert_not(stillhouse_prompt_from_memory(client, NULL, "q", BASE, &prompt));
    cr_assert_not(stillhouse_prompt_from_memory(NULL, "legal", "q", BASE, &prompt));
    cr_assert_str_eq(prompt.text, BASE);
    stillhouse_close(away);

    WRITE_RESULT(.query = "none", .examples = 0);
    ask_prompt(client, "none", 0);
    cr_assert(is_in_memory(client, "none"));
    is_base(STILLHOUSE_OK);
    cr_assert_not(is_in_memory(client, "another"));
    stillhouse_close(client);
    client = NULL;
    cr_assert_str_eq(ask("HGET", "sh:prompts", "fallback", NULL), "2");
    cr_assert_str_eq(ask("HGET", "sh:prompts", "memory_hit", NULL), "1");
}

static int bound_ms(const char *redis_url, const char *cache_url)
{
    stillhouse_client *made =
        open_client(&(stillhouse_options){SIZED, .redis_url = redis_url, .cache_url = cache_url,
                                          .connect_timeout_ms = 1000, .command_timeout_ms = 10});
    const int bound = stillhouse_prompt_bound_ms(made);

    stillhouse_close(made);
    return bound;
}

Test(client_prompt, its_bound_is_that_of_connecting_and_of_two_round_trips)
{
    cr_assert_eq(stillhouse_prompt_bound_ms(NULL), 0);
    cr_assert_eq(bound_ms("redis://127.0.0.1:1/0", ""), 1040);
    cr_assert_eq(bound_ms("redis://:secret@127.0.0.1:1/2", ""), 1060);
    cr_assert_eq(bound_ms("redis://127.0.0.1:1/0", "redis://:secret@127.0.0.1:2"), 2050);
}

Test(client_prompt, each_prompt_has_an_id_of_its_own)
{
    char first[37];

    cr_assert_str_eq(stillhouse_prompt_id(client), "");
    cr_assert_str_eq(stillhouse_prompt_id(NULL), "");
    ask_prompt(client, "q", 0);
    snprintf(first, sizeof first, "%s", stillhouse_prompt_id(client));
    cr_assert_eq(strlen(first), 36);
    cr_assert_eq(first[14], '7');
    cr_assert_str_eq(stillhouse_prompt_id(client), first);
    ask_prompt(client, "q", 0);
    cr_assert_str_neq(stillhouse_prompt_id(client), first);
}

Test(client_prompt, a_client_beside_none_is_refused)
{
    stillhouse_client *made = client;

    cr_assert_eq(stillhouse_open_beside(NULL, &made), STILLHOUSE_INVALID);
    cr_assert_null(made);
    cr_assert_str_eq(stillhouse_open_error(), "other: expected a client, got NULL");
    cr_assert_eq(stillhouse_open_beside(client, NULL), STILLHOUSE_INVALID);
}

/* ---- messages -------------------------------------------------------------------------------- */

static stillhouse_messages_result past;

static stillhouse_prompt_kind ask_messages(const char *query, int k)
{
    stillhouse_messages_free(&past);
    return stillhouse_messages(client, "legal", query, k, 0, &past);
}

static bool remembers(const char *query, int k)
{
    stillhouse_messages_free(&past);
    return stillhouse_messages_from_memory(client, "legal", query, k, &past);
}

static void are_two(stillhouse_prompt_kind kind)
{
    static const char *const contents[] = {"q2", "a2", "q1", "a1"};

    cr_assert_eq(past.kind, kind);
    cr_assert_eq(past.status, STILLHOUSE_OK, "%s", stillhouse_error(client));
    cr_assert_eq(past.examples, 2);
    cr_assert_eq(past.count, 4);
    for (size_t i = 0; i < past.count; i++) {
        cr_assert_str_eq(past.messages[i].role, i % 2 == 0 ? "user" : "assistant");
        cr_assert_str_eq(past.messages[i].content, contents[i]);
    }
}

Test(client_prompt, messages_come_from_redis_once_and_then_from_memory)
{
    WRITE_RESULT(.query = "q", .examples = 2, .tasks = true);
    ask_messages("q", 0);
    are_two(STILLHOUSE_PROMPT_ENRICHED);
    (void)ask("DEL", cache_key("q"), NULL);
    for (int i = 0; i < 3; i++) {
        ask_messages("q", 3);
        are_two(STILLHOUSE_PROMPT_ENRICHED);
        cr_assert(remembers("q", 0));
        are_two(STILLHOUSE_PROMPT_ENRICHED);
    }
    ask_messages("q", 1);
    cr_assert_eq(past.count, 2, "the nearest one");
    cr_assert_str_eq(past.messages[0].content, "q1");
    cr_assert_not(remembers("q", 4), "it was made for 3");
    cr_assert_eq(past.count, 0);
    cr_assert_null(past.messages);
    cr_assert_eq(past.status, STILLHOUSE_NOT_FOUND);
    cr_assert(is_in_memory(client, "q"), "and the block of the same result");
    cr_assert_eq(counter("enqueued"), 0);
}

Test(client_prompt, messages_that_are_not_there_are_asked_for_with_their_own_k)
{
    char hash[33];

    cr_assert_eq(ask_messages("q", 7), STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_eq(past.status, STILLHOUSE_NOT_FOUND);
    cr_assert_eq(past.count, 0);
    stillhouse_query_hash("q", hash);
    const char *options = first_field(queue.stream[JOB_NORMAL], "options");
    cr_assert_not_null(strstr(options, hash), "%s", options);
    cr_assert_not_null(strstr(options, ".7"), "%s", options);
    stillhouse_close(client);
    client = NULL;
    cr_assert_str_eq(ask("HGET", "sh:prompts", "fallback", NULL), "1");
}

Test(client_prompt, messages_of_a_domain_that_has_changed_are_stale)
{
    WRITE_RESULT(.query = "q", .examples = 2, .tasks = true);
    (void)ask("SET", "sh:epoch:{legal}", "5", NULL);
    ask_messages("q", 0);
    are_two(STILLHOUSE_PROMPT_STALE);
    cr_assert_not(remembers("q", 0));
}

Test(client_prompt, examples_that_are_no_tasks_give_no_messages_and_the_block_stands)
{
    WRITE_RESULT(.query = "q", .examples = 2);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(ask_messages("q", 0), STILLHOUSE_PROMPT_FALLBACK);
        cr_assert_eq(past.status, STILLHOUSE_OK);
        cr_assert_null(past.messages);
    }
    cr_assert_eq(ask_prompt(client, "q", 0), STILLHOUSE_PROMPT_ENRICHED);
}

Test(client_prompt, messages_that_cannot_be_asked_for_say_what_is_wrong)
{
    cr_assert_eq(ask_messages("q", 21), STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_eq(past.status, STILLHOUSE_INVALID);
    says("k 21: expected 1 to 20");
    ask_messages("q", -1);
    says("k -1");
    ask_messages(NULL, 0);
    says("query: expected text, got NULL");
    ask_messages(" \n", 0);
    says("white space");
    ask_messages("\xff", 0);
    says("UTF-8");
    cr_assert_eq(stillhouse_messages(client, NULL, "q", 0, 0, &past), STILLHOUSE_PROMPT_FALLBACK);
    says("domain");
    cr_assert_eq(stillhouse_messages(client, "legal", "q", 0, -1, &past),
                 STILLHOUSE_PROMPT_FALLBACK);
    says("wait_ms");
    cr_assert_eq(stillhouse_messages(NULL, "legal", "q", 0, 0, &past), STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_eq(past.status, STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_messages(client, "legal", "q", 0, 0, NULL), STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_not(stillhouse_messages_from_memory(client, "legal", "q", 21, &past));
    cr_assert_eq(past.status, STILLHOUSE_INVALID);
    cr_assert_not(stillhouse_messages_from_memory(client, "legal", "q", 0, NULL));
    stillhouse_messages_free(NULL);
    cr_assert_eq(counter("enqueued"), 0);
}
