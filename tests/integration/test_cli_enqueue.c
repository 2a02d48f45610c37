/* stillhouse enqueue, prompt and result. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "base/text.h"
#include "cli_fixture.h"
#include "jobs/bodies.h"
#include "queue/keys.h"

TestSuite(cli_enqueue, .init = start_redis, .fini = redis_teardown);

/* The only entry of a stream; the caller frees the reply. */
static redisReply *only_entry(const char *stream)
{
    redisReply *entries = COMMAND("XRANGE", stream, "-", "+");

    cr_assert_eq(entries->elements, 1, "%zu entries in %s", entries->elements, stream);
    return entries;
}

/* Field `name` of the first entry. */
static redisReply *field_of(const redisReply *entries, const char *name)
{
    const redisReply *fields = entries->element[0]->element[1];

    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (strcmp(fields->element[i]->str, name) == 0) {
            return fields->element[i + 1];
        }
    }
    cr_assert_fail("no field \"%s\"", name);
    return NULL;
}

/* A result as a worker would cache it; freed by the caller. */
static struct strbuf result_of(const char *query, const char *few_shot, int64_t epoch,
                               const char *error)
{
    char hash[TEXT_HASH_CHARS + 1];
    struct strbuf body = {0};
    struct example example = {{"t-1", 3}, {"prompt\n\nresult", 14}, 0.25, NULL, 0};
    const struct enrich_result result = {
        .domain = {"legal", 5},
        .query_hash = {hash, TEXT_HASH_CHARS},
        .created_unix_ms = 1700000000000,
        .epoch = epoch,
        .k = 3,
        .examples = &example,
        .count = few_shot[0] == '\0' ? 0 : 1,
        .few_shot = {few_shot, strlen(few_shot)},
        .error = {error, error == NULL ? 0 : strlen(error)},
    };

    text_hash(query, strlen(query), hash);
    bodies_encode_result(&result, &body);
    cr_assert(strbuf_ok(&body));
    return body;
}

static void cache(const char *query, const struct strbuf *body)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];

    text_hash(query, strlen(query), hash);
    redis_args_str(&args, "SET");
    redis_args_str(&args, keys_name(key, KEYS_CACHE, "sh", "legal", hash));
    redis_args_add(&args, body->data, body->bytes);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, NULL), STATUS_OK);
    redis_args_free(&args);
    redis_reply_free(reply);
}

/* ---- one job ------------------------------------------------------------------------------- */

Test(cli_enqueue, an_enrichment_stands_in_the_stream_and_its_twin_gets_the_same_id)
{
    char id[80];
    struct enrich_body body;

    RUN(0, "enqueue", "enrich", "--domain", "legal", "--query", "notice period", "--k", "5");
    snprintf(id, sizeof id, "%.*s", (int)strcspn(out, "\n"), out);
    redisReply *entries = only_entry("sh:{enrich}:jobs");
    cr_assert_str_eq(field_of(entries, "id")->str, id);
    const redisReply *packed = field_of(entries, "body");
    cr_assert_eq(bodies_decode_enrich(packed->str, (size_t)packed->len, NULL, &body, NULL),
                 STATUS_OK);
    cr_assert_eq(body.k.value, 5);
    redis_reply_free(entries);

    RUN(0, "enqueue", "enrich", "--domain", "legal", "--query", " notice  period", "--k", "5",
        "--json");
    cJSON *twin = document();
    cr_assert_str_eq(text_at(twin, "id"), id);
    cJSON_Delete(twin);
    cr_assert_eq(stat_of("queues.enrich.counters.deduplicated"), 1);
}

Test(cli_enqueue, a_distillation_carries_everything_that_was_given)
{
    struct distill_body body;
    struct arena arena = {0};

    RUN(0, "enqueue", "distill", "--domain", "legal", "--task-id", "t-1", "--prompt", "p",
        "--result", "r", "--quality", "0.9", "--model", "m", "--meta", "lang=de", "--meta",
        "pages:=7", "--meta", "score:=0.5", "--meta", "final:=true", "--meta", "note=a=b",
        "--priority", "high");
    redisReply *entries = only_entry("sh:{distill}:jobs:high");
    const redisReply *packed = field_of(entries, "body");
    cr_assert_eq(bodies_decode_distill(packed->str, (size_t)packed->len, &arena, &body, NULL),
                 STATUS_OK);
    cr_assert(body.success.value);
    cr_assert_float_eq(body.quality.value, 0.9, 1e-9);
    cr_assert_eq(body.metadata.count, 5);
    cr_assert_eq(body.metadata.pairs[0].value.type, META_STRING);
    cr_assert_eq(body.metadata.pairs[1].value.integer, 7);
    cr_assert_float_eq(body.metadata.pairs[2].value.number, 0.5, 1e-9);
    cr_assert(body.metadata.pairs[3].value.boolean);
    cr_assert_eq(memcmp(body.metadata.pairs[4].value.string.data, "a=b", 3), 0);
    arena_free(&arena);
    redis_reply_free(entries);
}

Test(cli_enqueue, a_delay_and_a_deadline_are_counted_from_now)
{
    RUN(0, "enqueue", "echo", "--domain", "d", "--text", "hi", "--delay", "1h");
    cr_assert_eq(stat_of("queues.echo.delayed"), 1);
    RUN(0, "enqueue", "echo", "--domain", "d", "--deadline", "2s");
    redisReply *entries = only_entry("sh:{echo}:jobs");
    cr_assert_not_null(strstr(field_of(entries, "options")->str, "deadline_ms="));
    redis_reply_free(entries);
}

Test(cli_enqueue, wrong_flags_are_named)
{
    RUN(2, "enqueue");
    RUN(2, "enqueue", "sweep");
    SAYS("sweep");
    RUN(2, "enqueue", "enrich", "--query", "q");
    SAYS("--domain");
    RUN(2, "enqueue", "enrich", "--domain", "No Good", "--query", "q");
    SAYS("No Good");
    RUN(2, "enqueue", "enrich", "--domain", "d");
    SAYS("--query");
    RUN(2, "enqueue", "enrich", "--domain", "d", "--query", "  ");
    SAYS("--query");
    RUN(2, "enqueue", "enrich", "--domain", "d", "--query", "q", "--k", "0");
    SAYS("--k \"0\": expected a whole number from 1 to 20");
    RUN(2, "enqueue", "enrich", "--domain", "d", "--query", "q", "--k", "1000");
    RUN(2, "enqueue", "enrich", "--domain", "d", "--query", "q", "--task-id", "t");
    SAYS("--task-id");
    RUN(2, "enqueue", "enrich", "--domain", "d", "--query", "q", "--priority", "urgent");
    SAYS("urgent");
    RUN(2, "enqueue", "enrich", "--domain", "d", "--query", "q", "--delay", "soon");
    SAYS("soon");
    RUN(2, "enqueue", "distill", "--domain", "d", "--task-id", "t", "--prompt", "p");
    SAYS("--result");
    RUN(2, "enqueue", "distill", "--domain", "d", "--task-id", "t", "--prompt", "p", "--result",
        "r", "--quality", "2");
    SAYS("--quality");
    RUN(2, "enqueue", "record", "--domain", "d", "--kind", "outcome", "--task-id", "t", "--quality",
        "0.9");
    SAYS("--quality \"0.9\": for record it is 0..100, only for distill 0..1; expected 0 or more "
         "than 1");
    RUN(2, "enqueue", "record", "--domain", "d", "--kind", "outcome", "--task-id", "t", "--quality",
        "101");
    SAYS("expected a number from 0 to 100");
    RUN(2, "enqueue", "distill", "--domain", "d", "--task-id", "t", "--prompt", "p", "--result",
        "r", "--meta", "x");
    SAYS("--meta");
    RUN(2, "enqueue", "distill", "--domain", "d", "--task-id", "t", "--prompt", "p", "--result",
        "r", "--meta", "x:=y");
    SAYS("--meta");
    RUN(2, "enqueue", "index", "--domain", "d");
    SAYS("--jsonl");
    RUN(2, "enqueue", "enrich", "--jsonl", "-", "--query", "q");
    SAYS("--query");
    RUN(2, "enqueue", "enrich", "--jsonl", "-", "--wait", "1s");
    SAYS("--wait");
    RUN(2, "enqueue", "enrich", "--domain", "d", "--query", "q", "--wait-full");
    SAYS("--wait-full");
    RUN(2, "enqueue", "enrich", "--jsonl", "/no/such/file");
    SAYS("/no/such/file");
    cr_assert_eq(stat_of("queues.enrich.counters.enqueued"), 0);
}

Test(cli_enqueue, a_full_queue_is_exit_code_5)
{
    RUN(0, "enqueue", "enrich", "--domain", "d", "--query", "a", "--max-backlog", "1");
    RUN(5, "enqueue", "enrich", "--domain", "d", "--query", "b", "--max-backlog", "1");
    SAYS("stillhouse: ");
}

Test(cli_enqueue, a_backlog_of_0_is_no_bound_whatever_the_environment_says)
{
    setenv("STILLHOUSE_MAX_BACKLOG", "1", 1);
    RUN(0, "enqueue", "enrich", "--domain", "d", "--query", "a");
    RUN(5, "enqueue", "enrich", "--domain", "d", "--query", "b");
    RUN(0, "enqueue", "enrich", "--domain", "d", "--query", "b", "--max-backlog", "0");
}

/* ---- waiting for the result ---------------------------------------------------------------- */

Test(cli_enqueue, waiting_prints_the_examples_or_the_whole_result_as_json)
{
    struct strbuf body = result_of("a", "Example 1\nprompt", 0, NULL);
    const pid_t worker = start_answering("enrich", body.data, body.bytes);

    RUN(0, "enqueue", "enrich", "--domain", "legal", "--query", "a", "--wait", "20s");
    cr_assert_str_eq(out, "Example 1\nprompt\n");
    RUN(0, "enqueue", "enrich", "--domain", "legal", "--query", "a", "--wait", "20s", "--json");
    cJSON *result = document();
    cr_assert_str_eq(text_at(result, "few_shot"), "Example 1\nprompt");
    cr_assert_eq(number_at(result, "epoch"), 0);
    cJSON_Delete(result);
    stop_answering(worker);
    strbuf_free(&body);
}

Test(cli_enqueue, an_echo_comes_back_as_it_was)
{
    const pid_t worker = start_answering("echo", NULL, 0);

    RUN(0, "enqueue", "echo", "--domain", "d", "--text", "hi", "--wait", "20s", "--json");
    cr_assert_str_eq(out, "{\"text\":\"hi\"}\n");
    stop_answering(worker);
}

Test(cli_enqueue, a_result_that_is_an_error_is_exit_code_1)
{
    struct strbuf body = result_of("a", "", 0, "retries exhausted");
    const pid_t worker = start_answering("enrich", body.data, body.bytes);

    RUN(1, "enqueue", "enrich", "--domain", "legal", "--query", "a", "--wait", "20s", "--json");
    SAYS("retries exhausted");
    cJSON_Delete(document());
    stop_answering(worker);
    strbuf_free(&body);
}

Test(cli_enqueue, a_reply_that_is_not_msgpack_is_exit_code_1)
{
    const pid_t worker = start_answering("echo", "\xc1", 1);

    RUN(1, "enqueue", "echo", "--domain", "d", "--wait", "20s");
    SAYS("the reply");
    stop_answering(worker);
}

Test(cli_enqueue, a_result_that_does_not_come_is_exit_code_4_and_the_job_goes_on)
{
    RUN(4, "enqueue", "enrich", "--domain", "d", "--query", "a", "--wait", "100ms");
    SAYS("100 ms");
    RUN(4, "enqueue", "enrich", "--domain", "d", "--query", "a", "--wait", "100ms", "--json");
    cJSON *answer = document();
    cr_assert_str_eq(text_at(answer, "error"), "timed out");
    cJSON_Delete(answer);
    cr_assert_eq(stat_of("queues.enrich.waiting"), 1);
}

/* ---- JSON Lines ---------------------------------------------------------------------------- */

Test(cli_enqueue, good_lines_go_in_and_bad_ones_are_reported_by_their_number)
{
    RUN_WITH(1,
             "{\"domain\":\"d\",\"query\":\"a\"}\n"
             "\n"
             "{\"domain\":\"d\",\"query\":\"b\",\"k\":1000}\n"
             "{\"query\":\"c\"}\r\n"
             "not json\n"
             "{\"domain\":\"d\",\"query\":\"a\"}",
             "enqueue", "enrich", "--jsonl", "-", "--domain", "other", "--json");
    SAYS("line 3: field \"k\"");
    SAYS("line 5: not JSON");
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "accepted"), 2);
    cr_assert_eq(number_at(counts, "deduplicated"), 1);
    cr_assert_eq(number_at(counts, "refused"), 0);
    cr_assert_eq(number_at(counts, "invalid"), 2);
    cJSON_Delete(counts);
    cr_assert_eq(stat_of("queues.enrich.waiting"), 2);
}

Test(cli_enqueue, a_mistyped_field_is_named_and_counted)
{
    RUN_WITH(0,
             "{\"domain\":\"legal\",\"query\":\"a\",\"k\":1,\"priority\":\"low\"}\n"
             "{\"domain\":\"legal\",\"querry\":\"b\",\"query\":\"b\",\"x\":1}\n",
             "enqueue", "enrich", "--jsonl", "-");
    SAYS("line 2: field \"querry\" is unknown");
    PRINTS("2 accepted, 0 deduplicated, 0 refused, 0 invalid, 2 unknown fields left out");
    RUN_WITH(0, "{\"domain\":\"legal\",\"text\":\"a\",\"k\":1}\n", "enqueue", "echo", "--jsonl",
             "-", "--json");
    PRINTS("\"unknown_fields\":1");
}

Test(cli_enqueue, stop_on_error_keeps_what_came_before)
{
    RUN_WITH(1, "{\"text\":\"a\"}\n{\n{\"text\":\"b\"}\n", "enqueue", "echo", "--jsonl", "-",
             "--domain", "d", "--stop-on-error");
    SAYS("line 2");
    PRINTS("1 accepted, 0 deduplicated, 0 refused, 1 invalid");
    cr_assert_eq(stat_of("queues.echo.waiting"), 1);
}

/* `count` lines into a file of the server's folder; returns its path. */
static const char *write_lines(size_t count)
{
    static char path[512];

    snprintf(path, sizeof path, "%s/lines.jsonl", redis.folder);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    for (size_t i = 0; i < count; i++) {
        fprintf(file,
                "{\"domain\":\"d\",\"task_id\":\"t-%zu\",\"prompt\":\"p\",\"result\":\"r\"}\n", i);
    }
    cr_assert_eq(fclose(file), 0);
    return path;
}

Test(cli_enqueue, many_lines_go_in_by_many_calls)
{
    RUN(0, "enqueue", "distill", "--jsonl", write_lines(12345));
    PRINTS("12345 accepted");
    cr_assert_eq(integer_of(COMMAND("XLEN", "sh:{distill}:jobs")), 12345);
    RUN(0, "verify");
}

Test(cli_enqueue, a_queue_that_becomes_full_says_how_many_are_in)
{
    RUN(5, "enqueue", "distill", "--jsonl", write_lines(7000), "--max-backlog", "2500", "--json");
    SAYS("full");
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "accepted"), 2500);
    cr_assert_gt(number_at(counts, "refused"), 0);
    cJSON_Delete(counts);
    cr_assert_eq(integer_of(COMMAND("XLEN", "sh:{distill}:jobs")), 2500);
}

Test(cli_enqueue, wait_full_waits_for_room_until_every_job_is_in)
{
    const pid_t worker = start_answering("distill", NULL, 0);

    RUN(0, "enqueue", "distill", "--jsonl", write_lines(6500), "--max-backlog", "1500",
        "--wait-full");
    PRINTS("6500 accepted, 0 deduplicated, 0 refused");
    stop_answering(worker);
    cr_assert_eq(stat_of("queues.distill.counters.enqueued"), 6500);
    cr_assert_gt(stat_of("queues.distill.counters.refused"), 0);
}

/* Takes Redis' memory; the process that gives it back after a moment. */
static pid_t take_memory(void)
{
    DO("CONFIG", "SET", "maxmemory", "1");
    const pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        clock_sleep_ms(400);
        struct redis_conn *own = new_conn();
        _exit(redis_commandf(own, NULL, NULL, "CONFIG SET maxmemory 0") == STATUS_OK ? 0 : 1);
    }
    return pid;
}

Test(cli_enqueue, wait_full_waits_for_a_redis_that_is_full)
{
    int state = 0;
    const pid_t giver = take_memory();

    RUN(0, "enqueue", "distill", "--jsonl", write_lines(6500), "--wait-full");
    PRINTS("6500 accepted, 0 deduplicated, 0 refused");
    cr_assert_eq(waitpid(giver, &state, 0), giver);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "state %d", state);
    cr_assert_eq(stat_of("queues.distill.waiting"), 6500);
}

Test(cli_enqueue, a_line_over_every_limit_is_reported_and_the_next_goes_in)
{
    const size_t bytes = 1 << 20;
    struct strbuf input = {0};

    strbuf_append_str(&input, "{\"domain\":\"d\",\"query\":\"");
    for (size_t i = 0; i < bytes; i++) {
        strbuf_append_char(&input, 'x');
    }
    strbuf_append_str(&input, "\"}\n{\"domain\":\"d\",\"query\":\"short\"}\n");
    cr_assert(strbuf_ok(&input));
    RUN_WITH(1, input.data, "enqueue", "enrich", "--jsonl", "-");
    SAYS("line 1: the body has");
    PRINTS("1 accepted");
    RUN_WITH(1, input.data, "enqueue", "enrich", "--jsonl", "-", "--max-body", "1KiB");
    SAYS("line 1: longer than");
    PRINTS("0 accepted, 1 deduplicated");
    strbuf_free(&input);
}

Test(cli_enqueue, a_redis_without_memory_refuses_and_says_so)
{
    DO("CONFIG", "SET", "maxmemory", "1");
    RUN(1, "enqueue", "distill", "--jsonl", write_lines(10), "--json");
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "accepted"), 0);
    cr_assert_eq(number_at(counts, "failed"), 10);
    cJSON_Delete(counts);
}

Test(cli_enqueue, a_byte_order_mark_and_an_empty_file_are_fine)
{
    RUN_WITH(0, "\xef\xbb\xbf{\"text\":\"a\"}\n", "enqueue", "echo", "--jsonl", "-", "--domain",
             "d");
    RUN_WITH(0, "", "enqueue", "echo", "--jsonl", "-");
    PRINTS("0 accepted");
}

/* ---- prompt -------------------------------------------------------------------------------- */

Test(cli_enqueue, a_prompt_is_enriched_from_the_cache)
{
    struct strbuf body = result_of("notice period", "Example 1", 0, NULL);

    cache("notice period", &body);
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "notice period", "--base",
             "-");
    PRINTS("Example 1");
    PRINTS("Base.\n");
    cr_assert_str_eq(err_out, "");
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "notice period", "--base", "-",
             "--json");
    cJSON *answer = document();
    cr_assert_str_eq(text_at(answer, "result"), "enriched");
    cr_assert_eq(number_at(answer, "examples"), 1);
    cJSON_Delete(answer);

    DO("SET", "sh:epoch:{legal}", "5");
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "notice period", "--base", "-",
             "--json");
    answer = document();
    cr_assert_str_eq(text_at(answer, "result"), "stale");
    cJSON_Delete(answer);
    strbuf_free(&body);
}

Test(cli_enqueue, a_prompt_that_is_held_out_says_so)
{
    struct strbuf body = result_of("notice period", "Example 1", 0, NULL);

    cache("notice period", &body);
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "notice period", "--base", "-",
             "--holdout", "100%", "--json");
    cJSON *answer = document();
    cr_assert_str_eq(text_at(answer, "prompt"), "Base.\n");
    cr_assert_str_eq(text_at(answer, "result"), "holdout");
    cr_assert_eq(number_at(answer, "examples"), 0);
    cr_assert_eq(strlen(text_at(answer, "id")), 36);
    cr_assert_str_eq(text_at(answer, "reason"), "held out, to compare");
    cJSON_Delete(answer);
    SAYS("the base prompt, unchanged: held out");

    /* tests/contract/vectors/holdouts.json */
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "notice period", "--base", "-",
             "--task-id", "t-17", "--holdout", "32.0353%");
    cr_assert_str_eq(out, "Base.\n");
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "notice period", "--base", "-",
             "--task-id", "t-17", "--holdout", "32.0352%");
    PRINTS("Example 1");
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "notice period", "--base", "-",
             "--task-id", "a\tb");
    cr_assert_str_eq(out, "Base.\n");
    SAYS("\"task_id\" holds the control character 0x09");
    RUN_WITH(2, "Base.\n", "prompt", "--domain", "legal", "--query", "q", "--base", "-",
             "--holdout", "5");
    SAYS("--holdout: \"5\" is not a share (such as 5%, 0.25%) from 0% to 100%");
    strbuf_free(&body);
}

Test(cli_enqueue, a_miss_gives_the_base_prompt_and_enqueues_the_enrichment)
{
    RUN_WITH(0, "Base\xc3\xa9 without end", "prompt", "--domain", "legal", "--query", "new",
             "--base", "-");
    cr_assert_str_eq(out, "Base\xc3\xa9 without end");
    SAYS("enqueued");
    cr_assert_eq(stat_of("queues.enrich.waiting"), 1);
}

Test(cli_enqueue, a_prompt_comes_out_whatever_state_redis_is_in)
{
    char url[64];

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", test_free_port());
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "q", "--base", "-",
             "--redis-url", url);
    cr_assert_str_eq(out, "Base.\n");
    SAYS("unchanged");
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "q", "--base", "-",
             "--redis-url", url, "--json");
    cJSON *answer = document();
    cr_assert_str_eq(text_at(answer, "prompt"), "Base.\n");
    cr_assert_str_eq(text_at(answer, "result"), "fallback");
    cr_assert(strlen(text_at(answer, "reason")) > 5);
    cJSON_Delete(answer);

    DO("FUNCTION", "FLUSH");
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "q", "--base", "-");
    cr_assert_str_eq(out, "Base.\n");

    test_server_freeze(&redis, true);
    RUN_WITH(0, "Base.\n", "prompt", "--domain", "legal", "--query", "q", "--base", "-");
    test_server_freeze(&redis, false);
    cr_assert_str_eq(out, "Base.\n");
}

Test(cli_enqueue, a_base_prompt_without_end_is_read_no_further_than_16_mib)
{
    RUN(2, "prompt", "--domain", "legal", "--query", "q", "--base", "/dev/zero");
    SAYS("expected at most 16 MiB");
}

Test(cli_enqueue, a_pipe_that_nobody_writes_to_is_not_waited_for_without_end)
{
    char path[320];

    snprintf(path, sizeof path, "%s/pipe", redis.folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    RUN(2, "prompt", "--domain", "legal", "--query", "q", "--base", path);
    SAYS("nothing came for 10 s");
}

/* A past task in the cache, for "notice period". */
static void cache_a_task(void)
{
    char hash[TEXT_HASH_CHARS + 1];
    struct strbuf body = {0};
    struct meta_pair task = {{"task_id", 7}, {.type = META_STRING, .string = {"t", 1}}};
    struct example example = {{"t-1", 3}, {"a \"q\"\n\nan a", 11}, 0.25, &task, 1};
    const struct enrich_result result = {.domain = {"legal", 5},
                                         .query_hash = {hash, TEXT_HASH_CHARS},
                                         .k = 3,
                                         .examples = &example,
                                         .count = 1,
                                         .few_shot = {"block", 5}};

    text_hash("notice period", 13, hash);
    bodies_encode_result(&result, &body);
    cache("notice period", &body);
    strbuf_free(&body);
}

Test(cli_enqueue, messages_are_printed_as_a_json_list)
{
    static const char list[] = "[{\"role\":\"user\",\"content\":\"a \\\"q\\\"\"},"
                               "{\"role\":\"assistant\",\"content\":\"an a\"}]\n";

    cache_a_task();
    RUN(0, "prompt", "--messages", "--domain", "legal", "--query", "notice period");
    cr_assert_str_eq(out, list);
    cr_assert_str_eq(err_out, "");
    RUN(0, "prompt", "--examples", "messages", "--domain", "legal", "--query", "notice period");
    cr_assert_str_eq(out, list);
    RUN_WITH(0, "Base.\n", "prompt", "--examples", "messages", "--domain", "legal", "--query",
             "notice period", "--base", "-");
    cr_assert_str_eq(out, "block\n\nBase.\n", "a base prompt asks for the block");
    RUN(0, "prompt", "--messages", "--domain", "legal", "--query", "notice period", "--json");
    cJSON *answer = document();
    cr_assert_str_eq(text_at(answer, "result"), "enriched");
    cr_assert_eq(number_at(answer, "examples"), 1);
    cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(answer, "messages")), 2);
    cJSON_Delete(answer);
    RUN(0, "prompt", "--messages", "--domain", "legal", "--query", "another", "--k", "5");
    cr_assert_str_eq(out, "[]\n");
    SAYS("no messages: not in the cache yet");
    RUN(0, "prompt", "--messages", "--domain", "LEGAL", "--query", "q");
    cr_assert_str_eq(out, "[]\n");
    SAYS("--domain");
    RUN(2, "prompt", "--messages", "--domain", "legal", "--query", "q", "--k", "21");
    SAYS("--k");
    RUN_WITH(2, "b", "prompt", "--messages", "--domain", "legal", "--query", "q", "--base", "-");
    SAYS("--base");
    RUN_WITH(2, "b", "prompt", "--domain", "legal", "--query", "q", "--base", "-", "--k", "2");
    SAYS("--k");
    RUN(2, "prompt", "--examples", "both", "--domain", "legal", "--query", "q");
    SAYS("block|messages");
}

Test(cli_enqueue, a_prompt_with_bad_usage_is_still_exit_code_2)
{
    RUN(2, "prompt", "--domain", "legal", "--query", "q");
    SAYS("--base");
    RUN(2, "prompt", "--domain", "legal", "--query", "q", "--base", "/no/such/file");
    SAYS("/no/such/file");
    RUN_WITH(2, "b", "prompt", "--domain", "legal", "--base", "-");
    SAYS("--query");
    RUN_WITH(2, "b", "prompt", "--query", "q", "--base", "-");
    SAYS("--domain");
    RUN_WITH(2, "b", "prompt", "--domain", "legal", "--query", "q", "--base", "-", "--wait", "x");
    SAYS("--wait");
}

Test(cli_enqueue, a_question_that_cannot_be_asked_gives_the_base_prompt)
{
    RUN_WITH(0, "b", "prompt", "--domain", "LEGAL", "--query", "q", "--base", "-");
    cr_assert_str_eq(out, "b");
    SAYS("--domain");
    RUN_WITH(0, "b", "prompt", "--domain", "legal", "--query", "", "--base", "-");
    cr_assert_str_eq(out, "b");
    SAYS("--query");
    RUN_WITH(0, "b", "prompt", "--domain", "legal", "--query", " \n ", "--base", "-");
    cr_assert_str_eq(out, "b");
    RUN_WITH(0, "b", "prompt", "--domain", "legal", "--query", "caf\xe9", "--base", "-");
    cr_assert_str_eq(out, "b");
    SAYS("UTF-8");
    RUN_WITH(0, "caf\xe9", "prompt", "--domain", "legal", "--query", "q", "--base", "-");
    cr_assert_str_eq(out, "caf\xe9");
    RUN_WITH(0, "\xff", "prompt", "--domain", "legal", "--query", "q", "--base", "-", "--json");
    SAYS("UTF-8");
    RUN_WITH(0, "", "prompt", "--domain", "legal", "--query", "q", "--base", "-");
    cr_assert_str_eq(out, "");
}

/* ---- records ------------------------------------------------------------------------------- */

static void must_wait(const char *count)
{
    cr_assert_str_eq(ask("XLEN", "sh:{record}:jobs:low", NULL), count);
}

Test(cli_enqueue, feedback_is_a_record_and_says_something)
{
    RUN(0, "feedback", "--domain", "legal", "--task-id", "t-1", "--rating", "4", "--accepted",
        "--comment", "good", "--type", "review", "--user", "ann");
    must_wait("1");
    RUN(0, "feedback", "--domain", "legal", "--task-id", "t-1", "--rejected", "--json");
    cJSON *answer = document();
    cr_assert(cJSON_IsString(cJSON_GetObjectItem(answer, "id")));
    cJSON_Delete(answer);
    must_wait("2");
    RUN(0, "peek", "record");
    PRINTS("\"user_accepted\":true");
    RUN(2, "feedback", "--domain", "legal", "--task-id", "t-1");
    SAYS("--rating");
    RUN(2, "feedback", "--domain", "legal", "--rating", "4");
    SAYS("--task-id");
    RUN(2, "feedback", "--domain", "legal", "--task-id", "t-1", "--rating", "6");
    SAYS("--rating");
    RUN(2, "feedback", "--domain", "legal", "--task-id", "t-1", "--accepted", "--rejected");
    SAYS("exclude");
    must_wait("2");
}

Test(cli_enqueue, a_record_is_given_by_flags_and_by_lines_with_fields_of_their_own)
{
    RUN(0, "enqueue", "record", "--domain", "legal", "--kind", "outcome", "--task-id", "t-1",
        "--success", "true", "--duration", "3.2", "--meta", "room=blue", "--priority", "low");
    must_wait("1");
    RUN(2, "enqueue", "record", "--domain", "legal", "--kind", "outcome", "--task-id", "t-1",
        "--success", "yes");
    SAYS("--success \"yes\": expected true or false");
    RUN(2, "enqueue", "record", "--domain", "legal", "--kind", "outcome");
    SAYS("\"task_id\"");
    RUN_WITH(0,
             "{\"kind\":\"outcome\",\"task_id\":\"t-2\",\"success\":false,\"room\":\"green\","
             "\"floor\":3}\n",
             "enqueue", "record", "--domain", "legal", "--jsonl", "-", "--priority", "low");
    must_wait("2");
    RUN(0, "peek", "record");
    PRINTS("green");
    RUN_WITH(1, "{\"kind\":\"feedback\",\"task_id\":\"t\",\"user_rating\":6}\n", "enqueue",
             "record", "--domain", "legal", "--jsonl", "-");
    SAYS("line 1: field \"user_rating\": expected an integer from 1 to 5, found 6");
}

/* ---- result -------------------------------------------------------------------------------- */

Test(cli_enqueue, a_cached_result_is_printed_with_its_staleness)
{
    struct strbuf body = result_of("q", "Example 1", 2, NULL);

    cache("q", &body);
    RUN(0, "result", "--domain", "legal", "--query", " q ", "--json");
    cJSON *result = document();
    cr_assert_eq(number_at(result, "v"), 1);
    cr_assert_eq(number_at(result, "epoch"), 2);
    cr_assert(cJSON_IsFalse(cJSON_GetObjectItem(result, "stale")));
    cJSON_Delete(result);
    cr_assert_eq(strcspn(out, "\n"), strlen(out) - 1, "on one line");

    DO("SET", "sh:epoch:{legal}", "3");
    RUN(0, "result", "--domain", "legal", "--query", "q");
    result = document();
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItem(result, "stale")));
    cJSON_Delete(result);
    strbuf_free(&body);
}

Test(cli_enqueue, no_result_is_exit_code_4_and_a_broken_one_1)
{
    const struct strbuf broken = {.data = (char[]){"\xc1"}, .bytes = 1};

    RUN(4, "result", "--domain", "legal", "--query", "q");
    SAYS("legal");
    cr_assert_str_eq(out, "");
    cache("q", &broken);
    RUN(1, "result", "--domain", "legal", "--query", "q");
    RUN(2, "result", "--query", "q");
    SAYS("--domain");
}
