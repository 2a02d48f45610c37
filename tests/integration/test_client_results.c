/* The producer library on a real Redis: results looked up, replies awaited. */
#include <pthread.h>
#include <unistd.h>

#include "client_fixture.h"

static struct error err;

TestSuite(client_results, .init = client_setup, .fini = client_teardown);

/* ---- results ------------------------------------------------------------------------------- */

static stillhouse_result *result;

static stillhouse_status look_up(const char *query, int k)
{
    stillhouse_result_free(result);
    return stillhouse_lookup(client, "legal", query, k, &result);
}

static void drop_result(void)
{
    stillhouse_result_free(result);
    result = NULL;
}

Test(client_results, a_cached_result_is_found_and_then_remembered)
{
    IS(look_up("q", 0), STILLHOUSE_NOT_FOUND);
    WRITE_RESULT(.query = "q", .examples = 2);
    IS(look_up(" q ", 3), STILLHOUSE_OK);
    cr_assert_eq(result->count, 2);
    cr_assert_str_eq(result->domain, "legal");
    cr_assert_str_eq(result->few_shot, "block\n");
    cr_assert_str_eq(result->examples[1].text, "second");
    cr_assert_str_eq(result->examples[0].metadata[0].key, "year");
    cr_assert_eq(result->examples[0].metadata[0].integer, 2026);
    cr_assert_not(result->stale);
    cr_assert_str_eq(ask("DEL", cache_key("q"), NULL), "1");
    IS(look_up(" q ", 3), STILLHOUSE_OK);
    cr_assert_str_eq(result->examples[1].text, "second");
    cr_assert_eq(result->examples[0].metadata[0].integer, 2026);
    IS(look_up("q", 3), STILLHOUSE_NOT_FOUND); /* memory goes by the text as it is written */
    drop_result();
}

Test(client_results, what_is_remembered_is_forgotten_in_time)
{
    stillhouse_options options = patient(redis.url);
    const int64_t until = clock_now_ms() + 5000;
    stillhouse_status status = STILLHOUSE_OK;

    options.memory_ttl_ms = 20;
    stillhouse_client *other = open_client(&options);
    WRITE_RESULT(.query = "q", .examples = 1);
    cr_assert_eq(stillhouse_lookup(other, "legal", "q", 0, &result), STILLHOUSE_OK);
    cr_assert_str_eq(ask("DEL", cache_key("q"), NULL), "1");
    while (status == STILLHOUSE_OK && clock_now_ms() < until) {
        stillhouse_result_free(result);
        status = stillhouse_lookup(other, "legal", "q", 0, &result);
    }
    cr_assert_eq(status, STILLHOUSE_NOT_FOUND);
    stillhouse_close(other);
}

Test(client_results, a_result_of_another_epoch_is_stale_and_not_remembered)
{
    WRITE_RESULT(.query = "q", .examples = 1, .epoch = 4);
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "5", NULL), "OK");
    IS(look_up("q", 0), STILLHOUSE_OK);
    cr_assert(result->stale);
    cr_assert_eq(result->epoch, 4);
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "4", NULL), "OK");
    IS(look_up("q", 0), STILLHOUSE_OK);
    cr_assert_not(result->stale);
    drop_result();
}

Test(client_results, memory_learns_of_a_moved_epoch_with_the_next_look_up_of_the_domain)
{
    WRITE_RESULT(.query = "q", .examples = 1);
    IS(look_up("q", 0), STILLHOUSE_OK);
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "1", NULL), "OK");
    IS(look_up("q", 0), STILLHOUSE_OK);
    cr_assert_not(result->stale, "from memory: nobody has said that the domain has moved");
    IS(look_up("another", 0), STILLHOUSE_NOT_FOUND);
    IS(look_up("q", 0), STILLHOUSE_OK);
    cr_assert(result->stale, "asked for again");
    drop_result();
}

Test(client_results, a_result_for_fewer_examples_is_none_and_one_for_more_is_whole)
{
    WRITE_RESULT(.query = "q", .examples = 2, .k = 2);
    IS(look_up("q", 3), STILLHOUSE_NOT_FOUND);
    IS(look_up("q", 1), STILLHOUSE_OK);
    cr_assert_eq(result->count, 2);
    drop_result();
}

Test(client_results, what_is_cached_but_no_result_is_refused)
{
    cr_assert_str_eq(ask("SET", cache_key("a"), "junk", NULL), "OK");
    IS(look_up("a", 0), STILLHOUSE_FAILED);
    says("result: ");
    cr_assert_str_eq(ask("RPUSH", cache_key("b"), "x", NULL), "1");
    IS(look_up("b", 0), STILLHOUSE_NOT_FOUND); /* a key of another kind is no result, and is
                                                  overwritten by the next one */
    WRITE_RESULT(.query = "c", .examples = 1);
    cr_assert_str_eq(ask("SET", "sh:epoch:{legal}", "many", NULL), "OK");
    IS(look_up("c", 0), STILLHOUSE_FAILED);
    says("sh:epoch:{legal}");
}

Test(client_results, what_is_larger_than_any_result_is_not_read_to_its_end_and_another_is_asked_for)
{
    stillhouse_prompt_result prompt;

    cr_assert_str_eq(ask("SETRANGE", cache_key("a"), "41943040", "x", NULL), "41943041");
    IS(look_up("a", 0), STILLHOUSE_FAILED);
    says("a value of more than 17 MiB");
    cr_assert_eq(stillhouse_prompt(client, "legal", "a", BASE, 0, &prompt),
                 STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_eq(prompt.status, STILLHOUSE_NOT_FOUND, "%s", stillhouse_error(client));
    cr_assert_str_eq(prompt.text, BASE);
    stillhouse_prompt_free(&prompt);
    cr_assert_eq(counter("enqueued"), 1);

    WRITE_RESULT(.query = "a", .examples = 1);
    IS(look_up("a", 0), STILLHOUSE_OK);
}

Test(client_results, a_look_up_that_is_wrong_is_refused)
{
    IS(stillhouse_lookup(client, "L", "q", 0, &result), STILLHOUSE_INVALID);
    cr_assert_null(result);
    IS(stillhouse_lookup(client, NULL, "q", 0, &result), STILLHOUSE_INVALID);
    IS(stillhouse_lookup(client, "legal", NULL, 0, &result), STILLHOUSE_INVALID);
    says("query: expected text, got NULL");
    IS(look_up(" ", 0), STILLHOUSE_INVALID);
    says("white space");
    IS(look_up("\xff", 0), STILLHOUSE_INVALID);
    IS(look_up("q", 21), STILLHOUSE_INVALID);
    says("k 21: expected 1 to 20");
    IS(look_up("q", -1), STILLHOUSE_INVALID);
    IS(stillhouse_lookup(client, "legal", "q", 0, NULL), STILLHOUSE_INVALID);
}

Test(client_results, the_cache_may_live_in_another_redis)
{
    struct test_server second;
    struct redis_url url;

    test_redis_start(&second, NULL);
    OK(redis_url_parse(second.url, &url, &err));
    struct redis_conn *to = redis_conn_new(&url, (struct redis_timeouts){3000, 3000});
    cr_assert_not_null(to);
    write_result_to(to, &(const struct written){.query = "q", .examples = 1});
    redis_conn_free(to);

    stillhouse_options options = patient(redis.url);
    options.cache_url = second.url;
    stillhouse_client *other = open_client(&options);
    cr_assert_eq(stillhouse_lookup(other, "legal", "q", 0, &result), STILLHOUSE_OK, "%s",
                 stillhouse_error(other));
    drop_result();
    cr_assert_eq(stillhouse_lookup(other, "legal", "q2", 0, &result), STILLHOUSE_NOT_FOUND);
    cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "q2", 0, NULL, NULL), STILLHOUSE_OK);
    cr_assert_eq(counter("enqueued"), 1);
    stillhouse_close(other);
    test_server_stop(&second);
}

/* ---- replies ------------------------------------------------------------------------------- */

static void push_reply(const char *id, const void *data, size_t bytes)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "FCALL");
    redis_args_str(&args, "sh_reply");
    redis_args_str(&args, "1");
    redis_args_str(&args, queue.base);
    redis_args_str(&args, id);
    redis_args_add(&args, data, bytes);
    OK(redis_conn_command(conn, &args, &reply, &err));
    redis_reply_free(reply);
    redis_args_free(&args);
}

Test(client_results, a_reply_is_awaited_by_as_many_as_want_it)
{
    struct strbuf packed = {0};
    void *body = NULL;
    size_t bytes = 0;

    encode_written(&(const struct written){.query = "q", .examples = 2}, &packed);
    push_reply("job-1", packed.data, packed.bytes);
    IS(stillhouse_await(client, "enrich", "job-1", 1000, &result), STILLHOUSE_OK);
    cr_assert_eq(result->count, 2);
    drop_result();
    IS(stillhouse_await_raw(client, "enrich", "job-1", 0, &body, &bytes), STILLHOUSE_OK);
    cr_assert_eq(bytes, packed.bytes);
    cr_assert_eq(memcmp(body, packed.data, bytes), 0);
    free(body);
    strbuf_free(&packed);
}

Test(client_results, a_reply_that_does_not_come_is_not_found_and_the_client_goes_on)
{
    const int64_t start = clock_now_ms();

    IS(stillhouse_await(client, "enrich", "job-1", 0, &result), STILLHOUSE_NOT_FOUND);
    IS(stillhouse_await(client, "enrich", "job-1", 50, &result), STILLHOUSE_NOT_FOUND);
    says("no reply for job \"job-1\"");
    cr_assert_null(result);
    cr_assert_lt(clock_now_ms() - start, 2500);
    IS(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL), STILLHOUSE_OK);
}

/* Redis may say "nothing came" a tenth of a second late, which is longer than we may wait. */
Test(client_results, a_late_answer_to_a_wait_does_not_make_the_server_unreachable)
{
    const stillhouse_options options = {SIZED, .redis_url = redis.url, .command_timeout_ms = 30};
    stillhouse_client *other = open_client(&options);

    for (int i = 0; i < 5; i++) {
        const int64_t start = clock_now_ms();
        cr_assert_eq(stillhouse_await(other, "enrich", "job-1", 10, &result), STILLHOUSE_NOT_FOUND,
                     "%s", stillhouse_error(other));
        cr_assert_lt(clock_now_ms() - start, 1000);
    }
    stillhouse_close(other);
}

/* What goes wrong while the client waits; the reply comes half a second later. */
struct trouble {
    const char *words[6];
};

static void *make_trouble(void *context)
{
    const struct trouble *trouble = context;
    const int64_t until_ms = clock_now_ms() + 5000;

    while (strstr(ask("INFO", "clients", NULL), "blocked_clients:1") == NULL &&
           clock_now_ms() < until_ms) {
        usleep(1000);
    }
    const char *const *words = trouble->words;
    (void)ask(words[0], words[1], words[2], words[3], words[4], words[5], NULL);
    usleep(500000);
    push_reply("job-1", "\xc0", 1);
    return NULL;
}

Test(client_results, a_wait_goes_on_when_its_connection_is_lost)
{
    char id[32] = "";
    struct trouble troubles[] = {{{"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}},
                                 {{"CLIENT", "UNBLOCK", id, "ERROR"}},
                                 {{"CLIENT", "UNBLOCK", id, "TIMEOUT"}}};
    void *body = NULL;
    size_t bytes = 0;

    for (size_t i = 0; i < 3; i++) {
        pthread_t thread;
        IS(stillhouse_await(client, "enrich", "none", 0, &result), STILLHOUSE_NOT_FOUND);
        const char *clients = ask("CLIENT", "LIST", "TYPE", "normal", NULL);
        const char *line = strstr(clients, "cmd=lmove");
        cr_assert_not_null(line);
        while (line > clients && line[-1] != '\n') {
            line--;
        }
        snprintf(id, sizeof id, "%.*s", (int)strcspn(line + 3, " "), line + 3);
        cr_assert_eq(pthread_create(&thread, NULL, make_trouble, &troubles[i]), 0);
        const stillhouse_status status =
            stillhouse_await_raw(client, "enrich", "job-1", 10000, &body, &bytes);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(status, STILLHOUSE_OK, "%zu: %s", i, stillhouse_error(client));
        cr_assert_eq(bytes, 1);
        free(body);
        (void)ask("FLUSHALL", NULL);
    }
}

Test(client_results, a_wait_ends_in_time_when_redis_says_nothing_any_more)
{
    const stillhouse_options options = {SIZED, .redis_url = redis.url, .command_timeout_ms = 8000};
    stillhouse_client *other = open_client(&options);
    const int64_t start = clock_now_ms();

    cr_assert_eq(stillhouse_await(other, "enrich", "job-1", 0, &result), STILLHOUSE_NOT_FOUND);
    test_server_freeze(&redis, true);
    cr_assert_eq(stillhouse_await(other, "enrich", "job-1", 300, &result), STILLHOUSE_NOT_FOUND,
                 "%s", stillhouse_error(other));
    test_server_freeze(&redis, false);
    cr_assert_lt(clock_now_ms() - start, 4000);
    stillhouse_close(other);
}

Test(client_results, a_reply_is_read_from_a_redis_that_is_full)
{
    void *body = NULL;
    size_t bytes = 0;
    const int64_t start = clock_now_ms();

    push_reply("job-1", "\xc0", 1);
    cr_assert_str_eq(ask("CONFIG", "SET", "maxmemory", "1", NULL), "OK");
    IS(stillhouse_await_raw(client, "enrich", "job-1", 5000, &body, &bytes), STILLHOUSE_OK);
    cr_assert_eq(bytes, 1);
    free(body);
    IS(stillhouse_await_raw(client, "enrich", "job-2", 300, &body, &bytes), STILLHOUSE_FAILED);
    says("no reply for job \"job-2\" yet, and Redis is out of memory");
    cr_assert_geq(clock_now_ms() - start, 300);
}

Test(client_results, a_reply_that_is_an_error_has_its_text_and_other_replies_are_no_result)
{
    struct strbuf packed = {0};

    encode_written(&(const struct written){.query = "q", .error = "rejected: k"}, &packed);
    push_reply("job-1", packed.data, packed.bytes);
    IS(stillhouse_await(client, "enrich", "job-1", 0, &result), STILLHOUSE_OK);
    cr_assert_str_eq(result->error, "rejected: k");
    drop_result();
    strbuf_free(&packed);

    push_reply("job-2", "\xc1", 1);
    IS(stillhouse_await(client, "enrich", "job-2", 0, &result), STILLHOUSE_FAILED);
    cr_assert_null(result);
}

Test(client_results, a_wait_that_is_wrong_is_refused)
{
    void *body = NULL;
    size_t bytes = 0;

    IS(stillhouse_await(client, "enrich", "a b", 0, &result), STILLHOUSE_INVALID);
    says("id \"a b\": expected 1 to 64");
    IS(stillhouse_await(client, "enrich", NULL, 0, &result), STILLHOUSE_INVALID);
    IS(stillhouse_await(client, "enrich", "a", -1, &result), STILLHOUSE_INVALID);
    says("wait_ms -1");
    IS(stillhouse_await(client, NULL, "a", 0, &result), STILLHOUSE_INVALID);
    IS(stillhouse_await(client, "enrich", "a", 0, NULL), STILLHOUSE_INVALID);
    IS(stillhouse_await_raw(client, "e e", "a", 0, &body, &bytes), STILLHOUSE_INVALID);
    IS(stillhouse_await_raw(client, "enrich", "a", 0, NULL, &bytes), STILLHOUSE_INVALID);
    IS(stillhouse_await_raw(client, "enrich", "a", 0, &body, NULL), STILLHOUSE_INVALID);
}
