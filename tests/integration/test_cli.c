/* The program stillhouse: usage, settings, and what operators do with queues. */
#include <signal.h>

#include "cli_fixture.h"

TestSuite(cli, .init = start_redis, .fini = redis_teardown);

/* ---- usage --------------------------------------------------------------------------------- */

Test(cli, help_names_every_command_and_each_has_its_own)
{
    static const char *const names[] = {
        "init", "enqueue", "prompt", "result", "stats",  "workers", "ping",     "dead",
        "peek", "pause",   "resume", "verify", "doctor", "export",  "feedback", "learn"};

    RUN(0, "--help");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        PRINTS(names[i]);
    }
    PRINTS("--redis-url");
    PRINTS("exit codes");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char usage[64];
        RUN(0, "help", names[i]);
        snprintf(usage, sizeof usage, "usage: stillhouse %s", names[i]);
        PRINTS(usage);
        RUN(0, names[i], "--help");
        PRINTS(usage);
    }
    RUN(0, "help");
    RUN(0, "-h");
}

Test(cli, bad_usage_is_exit_code_2_and_names_what_is_wrong)
{
    RUN(2, "frobnicate");
    SAYS("frobnicate");
    RUN(2, "help", "frobnicate");
    SAYS("frobnicate");
    RUN(2, "stats", "--frob=1");
    SAYS("--frob");
    SAYS("stillhouse help stats");
    RUN(2, "stats", "-x");
    SAYS("-x");
    RUN(2, "--frob", "stats");
    SAYS("--frob");
    RUN(2, "stats", "--json=1");
    SAYS("takes no value");
    RUN(2, "stats", "--redis-url");
    SAYS("--redis-url");
    RUN(2, "stats", "now");
    SAYS("now");
    RUN(2, "pause");
    SAYS("QUEUE");
    RUN(2, "pause", "NO GOOD");
    SAYS("NO GOOD");
    RUN(2, "pause", "enrich", "distill");
    SAYS("distill");
    cr_assert_eq(run_with(NULL, (const char *const[]){NULL}), 2);
    SAYS("which command");
}

Test(cli, messages_never_carry_a_terminal_s_control_characters)
{
    RUN(2, "a\x1b[2Jb");
    cr_assert_null(strchr(err_out, '\x1b'));
    SAYS("a?[2Jb");
}

Test(cli, settings_come_from_flags_before_the_environment)
{
    setenv("STILLHOUSE_PREFIX", "env", 1);
    RUN(0, "--print-config");
    PRINTS("STILLHOUSE_PREFIX=env");
    RUN(0, "stats", "--prefix", "flag", "--print-config");
    PRINTS("STILLHOUSE_PREFIX=flag");
    RUN(0, "--prefix=front", "stats", "--print-config");
    PRINTS("STILLHOUSE_PREFIX=front");
    setenv("STILLHOUSE_CHROMA_TOKEN", "very-secret", 1);
    RUN(0, "--print-config");
    cr_assert_null(strstr(out, "very-secret"));
    unsetenv("STILLHOUSE_PREFIX");
}

Test(cli, a_setting_out_of_its_range_is_named)
{
    RUN(2, "stats", "--max-backlog", "many");
    SAYS("--max-backlog");
    SAYS("many");
    RUN(2, "stats", "--redis-url", "http://x");
    SAYS("http://x");
    setenv("STILLHOUSE_MAX_BODY", "-5", 1);
    RUN(2, "stats");
    SAYS("STILLHOUSE_MAX_BODY");
    unsetenv("STILLHOUSE_MAX_BODY");
}

Test(cli, version_is_one_line)
{
    RUN(0, "--version");
    cr_assert_str_eq(out, "stillhouse 0.1.0\n");
}

Test(cli, output_that_cannot_be_written_is_a_failure)
{
    char line[1024];
    char program[512];

    snprintf(line, sizeof line, "%s help > /dev/full", test_program("stillhouse", program));
    const char *const argv[] = {"/bin/sh", "-c", line, NULL};
    cr_assert_eq(test_run(argv, NULL, out, sizeof out, err_out, sizeof err_out), 1);
    SAYS("standard output");
}

/* ---- servers that are not there ------------------------------------------------------------ */

Test(cli, an_unreachable_server_is_exit_code_3)
{
    static const char *const commands[] = {"init", "stats", "workers", "verify", "ping"};
    char url[64];

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", test_free_port());
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        RUN(3, commands[i], "--redis-url", url);
        cr_assert_str_eq(out, "", "%s", commands[i]);
        cr_assert_eq(strncmp(err_out, "stillhouse: ", 12), 0, "%s", err_out);
    }
    RUN(3, "enqueue", "enrich", "--domain", "d", "--query", "q", "--redis-url", url);
    RUN_WITH(3, "{}\n", "enqueue", "enrich", "--jsonl", "-", "--redis-url", url);
    RUN(3, "result", "--domain", "d", "--query", "q", "--redis-url", url);
    RUN(3, "dead", "list", "enrich", "--redis-url", url);
    RUN(3, "peek", "enrich", "--redis-url", url);
    RUN(3, "pause", "enrich", "--redis-url", url);
}

Test(cli, before_init_the_message_says_so)
{
    DO("FUNCTION", "FLUSH");
    RUN(1, "stats");
    SAYS("stillhouse init");
    RUN(1, "enqueue", "enrich", "--domain", "d", "--query", "q");
    SAYS("stillhouse init");
    RUN_WITH(1, "{\"domain\":\"d\",\"query\":\"q\"}\n", "enqueue", "enrich", "--jsonl", "-",
             "--json");
    SAYS("stillhouse init");
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "accepted"), 0);
    cr_assert_eq(number_at(counts, "failed"), 1);
    cJSON_Delete(counts);
}

/* ---- init ---------------------------------------------------------------------------------- */

Test(cli, init_loads_the_functions_and_prepares_the_queues_once)
{
    DO("FUNCTION", "FLUSH");
    RUN(0, "init", "--json");
    cJSON *first = document();
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItem(first, "loaded")));
    cJSON_Delete(first);
    RUN(0, "init");
    PRINTS("there already");
    DO("XINFO", "GROUPS", "sh:{enrich}:jobs");
    DO("XINFO", "GROUPS", "sh:{echo}:jobs:low");
}

Test(cli, init_warns_of_a_redis_that_throws_keys_away)
{
    DO("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    RUN(0, "init");
    SAYS("allkeys-lru");
    SAYS("noeviction");
}

/* ---- stats, verify, workers ---------------------------------------------------------------- */

Test(cli, stats_have_the_contract_s_shape_and_find_queues_of_other_names)
{
    RUN(0, "init");
    DO("FCALL", "sh_push", "1", "sh:{enrich}", "domain", "legal", "query", "a");
    DO("FCALL", "sh_push", "1", "sh:{enrich.3}", "domain", "legal", "query", "b", "delay_ms",
       "60000");
    RUN(0, "stats", "--json");
    cJSON *stats = document();
    cr_assert_eq(number_at(stats, "queues.enrich.waiting"), 1);
    cr_assert_eq(number_at(stats, "queues.enrich.counters.enqueued"), 1);
    cr_assert_eq(number_at(stats, "queues.echo.oldest_ms"), 0);
    cr_assert_eq(number_at(stats, "workers"), 0);
    const cJSON *queues = cJSON_GetObjectItem(stats, "queues");
    cr_assert_eq(cJSON_GetArraySize(queues), KINDS + 1);
    cr_assert_eq(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItem(queues, "enrich.3"), "delayed")
            ->valueint,
        1);
    cr_assert(cJSON_IsFalse(cJSON_GetObjectItem(cJSON_GetObjectItem(queues, "echo"), "paused")));
    cJSON_Delete(stats);

    RUN(0, "stats");
    PRINTS("enrich.3");
    PRINTS("0 workers");
}

Test(cli, a_queue_whose_jobs_wait_for_nobody_is_said_to_be_served_by_nobody)
{
    RUN(0, "init");
    DO("FCALL", "sh_push", "1", "sh:{record}", "domain", "legal", "kind", "outcome", "task_id", "t",
       "success", "true", "delay_ms", "60000");
    DO("FCALL", "sh_push", "1", "sh:{enrich}", "domain", "legal", "query", "a");
    DO("FCALL", "sh_push", "1", "sh:{enrich.3}", "domain", "legal", "query", "b");
    DO("FCALL", "sh_push", "1", "sh:{special}", "domain", "legal", "body", "x");
    DO("ZADD", "sh:workers", "1700000000000", "w-1", "1700000000000", "w-2");
    DO("HSET", "sh:worker:w-1", "queues", "distill,enrich");
    DO("HSET", "sh:worker:w-2", "queues", "enrich.30,recorder");
    RUN(0, "stats");
    PRINTS("record: nobody serves it");
    PRINTS("enrich.3: nobody serves it");
    cr_assert_null(strstr(out, "enrich: nobody"), "%s", out);
    cr_assert_null(strstr(out, "echo: nobody"), "no job waits there: %s", out);
    cr_assert_null(strstr(out, "special: nobody"), "whose workers are not ours: %s", out);
    cr_assert_eq(stat_of("queues.enrich.workers"), 1);
    cr_assert_eq(stat_of("queues.record.workers"), 0);
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("nobody serves it: 1 jobs wait: start a worker with it in STILLHOUSE_QUEUES and the "
           "store in STILLHOUSE_LEARN");

    DO("HSET", "sh:worker:w-2", "queues", "record,enrich.3");
    RUN(0, "stats");
    cr_assert_null(strstr(out, "nobody"), "%s", out);
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    cr_assert_null(strstr(out, "nobody serves"), "%s", out);
}

Test(cli, the_doctor_names_the_domains_that_examples_surely_hurt)
{
    RUN(0, "init");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    cr_assert_null(strstr(out, "examples"), "nobody was held out: %s", out);
    DO("SET", "sh:learn:lift",
       "{\"at_ms\":1,\"days\":30,\"compared\":3,\"hurt\":1,\"domains\":["
       "{\"domain\":\"acme.shop\",\"examples\":\"hurt\",\"difference\":-0.15,\"low\":-0.2,"
       "\"high\":-0.1,\"new\":[]},{\"domain\":\"legal\",\"examples\":\"help\"}]}");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("domain acme.shop");
    PRINTS("examples hurt: -15.0 points, -20.0 to -10.0 with 99.9 %");
    cr_assert_null(strstr(out, "domain legal"), "%s", out);
    DO("SET", "sh:learn:lift", "{\"compared\":3,\"domains\":[]}");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("hurt none of the 3 domains that are compared");
    DO("SET", "sh:learn:lift", "[7]");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("key \"sh:learn:lift\" is not what a recorder writes");
    DO("DEL", "sh:learn:lift");
    DO("LPUSH", "sh:learn:lift", "x");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("WRONGTYPE");
}

Test(cli, watching_prints_again_every_second_until_interrupted)
{
    char line[1024];
    char program[512];

    snprintf(line, sizeof line, "timeout -s INT 2.6 %s stats --watch --json",
             test_program("stillhouse", program));
    const char *const argv[] = {"/bin/sh", "-c", line, NULL};
    const int code = test_run(argv, NULL, out, sizeof out, err_out, sizeof err_out);
    cr_assert(code == 124, "timeout(1) ended it: %d", code);
    char *second = strchr(out, '\n');
    cr_assert_not_null(second);
    cr_assert_not_null(strchr(second + 1, '\n'), "%s", out);

    snprintf(line, sizeof line, "%s stats --watch & sleep 1.5; kill -INT $!; wait $!", program);
    cr_assert_eq(test_run(argv, NULL, out, sizeof out, err_out, sizeof err_out), 0);
    PRINTS("done/s");
}

Test(cli, a_purge_is_asked_for_and_leaves_the_books_in_order)
{
    DO("FCALL", "sh_push", "1", "sh:{enrich}", "domain", "legal", "query", "a");
    DO("FCALL", "sh_push", "1", "sh:{enrich}", "domain", "legal", "query", "b", "delay_ms",
       "60000");
    RUN(2, "purge", "enrich");
    SAYS("--yes");
    RUN(2, "purge", "--yes");
    RUN(0, "purge", "enrich", "--yes");
    PRINTS("2 purged");
    RUN(0, "purge", "enrich", "--yes", "--json");
    PRINTS("{\"purged\":0}");
    RUN(0, "verify");
    PRINTS("discarded 2   ok");
}

Test(cli, verify_puts_the_books_right_and_tells_of_jobs_that_are_nobodys)
{
    DO("FCALL", "sh_push", "1", "sh:{enrich}", "domain", "legal", "query", "a");
    DO("HINCRBY", "sh:{enrich}:counters", "enqueued", "2");
    RUN(1, "verify");
    SAYS("--repair");
    RUN(0, "verify", "--repair");
    SAYS("enrich: the books were out by +2 jobs and +0 dead letters, and are put right");
    PRINTS("enqueued 3 + requeued 0 + adjusted -2 = done 0");
    RUN(0, "verify", "--repair");

    RUN(0, "init");
    DO("XGROUP", "SETID", "sh:{enrich}:jobs", "fleet", "$");
    RUN(1, "verify");
    PRINTS("of those that wait, 1 were taken out of the group by hand");
    RUN(1, "verify", "--json");
    PRINTS("\"orphans\":1");
}

Test(cli, verify_holds_on_good_days_and_names_the_difference_on_others)
{
    DO("FCALL", "sh_push", "1", "sh:{enrich}", "domain", "legal", "query", "a");
    RUN(0, "verify");
    PRINTS("enqueued 1 + requeued 0 = done 0 + buried 0 + expired 0 + waiting 1");
    RUN(0, "verify", "--json");
    cJSON *books = document();
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItem(books, "ok")));
    cr_assert_eq(number_at(books, "queues.enrich.waiting"), 1);
    cJSON_Delete(books);

    DO("HINCRBY", "sh:{enrich}:counters", "enqueued", "2");
    DO("HINCRBY", "sh:{distill}:counters", "discarded", "1");
    RUN(1, "verify");
    PRINTS("+2");
    PRINTS("-1");
    RUN(1, "verify", "--json");
    books = document();
    cr_assert(cJSON_IsFalse(cJSON_GetObjectItem(books, "ok")));
    cr_assert_eq(number_at(books, "queues.enrich.jobs_difference"), 2);
    cr_assert_eq(number_at(books, "queues.distill.dead_difference"), -1);
    cJSON_Delete(books);
}

Test(cli, a_key_of_another_type_is_named_and_the_other_queues_are_shown)
{
    DO("FCALL", "sh_push", "1", "sh:{echo}", "domain", "legal", "text", "a");
    DO("SET", "sh:{enrich}:counters", "junk");
    DO("SET", "sh:{distill}:jobs:low", "junk");
    DO("SET", "sh:workers", "junk");
    RUN(0, "stats");
    PRINTS("echo");
    PRINTS("enrich: key \"sh:{enrich}:counters\" holds a string, expected a hash");
    PRINTS("distill: key \"sh:{distill}:jobs:low\" holds a string, expected a stream");
    SAYS("the workers are not known");
    RUN(0, "stats", "--json");
    cJSON *stats = document();
    cr_assert_eq(number_at(stats, "queues.echo.waiting"), 1);
    cJSON_Delete(stats);

    RUN(1, "verify");
    PRINTS("echo\n  enqueued 1 + requeued 0");
    PRINTS("key \"sh:{enrich}:counters\" holds a string");
    RUN(1, "verify", "--json");
    cJSON *books = document();
    cr_assert(cJSON_IsFalse(cJSON_GetObjectItem(books, "ok")));
    cr_assert_eq(number_at(books, "queues.echo.enqueued"), 1);
    cJSON_Delete(books);

    RUN(1, "doctor");
    PRINTS("queue enrich");
    PRINTS("sh:{distill}:jobs:low");
}

Test(cli, counters_that_nobody_counted_do_not_balance)
{
    DO("HSET", "sh:{echo}:counters", "enqueued", "-9223372036854775808", "requeued",
       "-9223372036854775808", "discarded", "-9223372036854775808");
    RUN(1, "verify");
    PRINTS("counts \"-9223372036854775808\" as enqueued");
    DO("FCALL", "sh_reap", "1", "sh:{echo}", "60000");
    RUN(0, "verify");
    PRINTS("3 times a counter held no number and began anew");
    RUN(1, "doctor");
    PRINTS("somebody writes into the books");
}

Test(cli, a_stream_whose_ids_are_used_up_is_named_with_the_way_to_mend_it)
{
    DO("XADD", "sh:{echo}:jobs", "18446744073709551615-18446744073709551615", "a", "b");
    RUN(1, "verify");
    PRINTS("\"sh:{echo}:jobs\" takes no more entries: its ids are exhausted");
    RUN(1, "doctor");
    PRINTS("RENAME it");
}

Test(cli, a_worker_whose_key_is_of_another_type_is_gone)
{
    DO("ZADD", "sh:workers", "1700000000000", "w-1");
    DO("SET", "sh:worker:w-1", "junk");
    RUN(0, "workers");
    PRINTS("gone");
    RUN(0, "workers", "--json");
    cJSON *workers = document();
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(workers, "workers"), 0);
    cr_assert(cJSON_IsFalse(cJSON_GetObjectItem(first, "alive")));
    cJSON_Delete(workers);
}

Test(cli, workers_shows_the_living_and_the_gone)
{
    RUN(0, "workers");
    PRINTS("no worker");
    DO("ZADD", "sh:workers", "1700000000000", "w-1", "1700000000000", "w-2");
    DO("HSET", "sh:worker:w-1", "host", "alpha", "pid", "17", "version", "0.1.0", "queues",
       "enrich,distill", "lanes", "4", "busy", "1", "in_flight", "9", "breakers",
       "chroma=closed embedder=open", "started_ms", "1600000000000", "beat_ms", "1700000000000");
    RUN(0, "workers");
    PRINTS("alpha");
    PRINTS("embedder=open");
    PRINTS("gone");
    RUN(0, "workers", "--json");
    cJSON *workers = document();
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(workers, "workers"), 0);
    cr_assert_str_eq(text_at(first, "id"), "w-1");
    cr_assert_str_eq(text_at(first, "version"), "0.1.0");
    cr_assert_eq(number_at(first, "in_flight"), 9);
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItem(first, "alive")));
    cJSON_Delete(workers);
    cr_assert_eq(stat_of("workers"), 1);
}

Test(cli, pause_and_resume_move_the_key)
{
    RUN(0, "pause", "enrich");
    PRINTS("enrich is paused");
    cr_assert_eq(integer_of(COMMAND("EXISTS", "sh:{enrich}:paused")), 1);
    RUN(0, "stats");
    PRINTS("paused");
    RUN(0, "resume", "enrich", "--json");
    cJSON *answer = document();
    cr_assert(cJSON_IsFalse(cJSON_GetObjectItem(answer, "paused")));
    cJSON_Delete(answer);
    cr_assert_eq(integer_of(COMMAND("EXISTS", "sh:{enrich}:paused")), 0);
}

Test(cli, a_mistyped_queue_is_not_found_and_one_of_an_own_name_is)
{
    RUN(4, "pause", "distil");
    SAYS("no such queue: \"distil\"");
    RUN(4, "resume", "distil");
    RUN(4, "resume", "distil", "--parked");
    RUN(4, "peek", "enricher");
    RUN(4, "purge", "bogus", "--yes");
    RUN(4, "dead", "list", "bogus");
    cr_assert_eq(integer_of(COMMAND("DBSIZE")), 0, "nothing was made");
    RUN(0, "peek", "enrich.3");
    RUN(0, "dead", "list", "echo");
    DO("FCALL", "sh_push", "1", "sh:{special}", "domain", "legal", "text", "a");
    RUN(0, "peek", "special");
    RUN(0, "pause", "special");
    RUN(0, "purge", "special", "--yes");
    PRINTS("1 purged");
}

Test(cli, the_doctor_warns_of_books_that_are_off_and_of_jobs_that_are_parked)
{
    DO("HINCRBY", "sh:{distill}:counters", "enqueued", "1");
    DO("ZADD", "sh:{distill}:delayed", "9000000000000",
       "job-1 legal 0 since=5 parked=3.chroma.write.6\nbody");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("1 parked, waiting for chroma.write");
    cr_assert_null(strstr(out, "the books are off"), "%s", out);
    DO("HINCRBY", "sh:{distill}:counters", "enqueued", "2");
    DO("ZADD", "sh:workers", "1700000000000", "w-1");
    DO("HSET", "sh:worker:w-1", "breakers", "chroma=open embedder=closed");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("open: chroma=open");
    PRINTS("the books are off by +2 jobs and +0 dead letters");
}

Test(cli, whoever_lacks_a_password_or_a_right_is_told_what_to_do)
{
    DO("ACL", "SETUSER", "lowly", "on", ">pw", "~*", "+ping", "+info", "+hello", "+client");
    char url[96];
    const char *port = strrchr(redis.url, ':');
    cr_assert_not_null(port);
    snprintf(url, sizeof url, "redis://lowly:pw@127.0.0.1%s", port);
    RUN(1, "doctor", "--redis-url", url, "--chroma-url", "http://127.0.0.1:1");
    PRINTS("this user may not ask");
    cr_assert_null(strstr(out, "stillhouse init"), "%s", out);
    DO("CONFIG", "SET", "requirepass", "secret");
    (void)run_with(NULL, WORDS("stats"));
    SAYS("put user:password into STILLHOUSE_REDIS_URL");
}

Test(cli, a_key_of_another_type_is_told_apart_from_sums_that_do_not_hold)
{
    DO("SET", "sh:{echo}:delayed", "junk");
    RUN(1, "verify");
    SAYS("the sums hold");
}

Test(cli, parked_jobs_are_shown_with_what_they_wait_for_and_released)
{
    RUN(0, "init");
    redis_reply_free(COMMAND("HINCRBY", "sh:{distill}:counters", "enqueued", "1"));
    redis_reply_free(COMMAND("ZADD", "sh:{distill}:delayed", "9000000000000",
                             "job-1 legal 0 since=5 parked=3.chroma.write.6\nbody"));
    RUN(0, "stats");
    PRINTS("distill: 1 parked, waiting for chroma.write");
    RUN(0, "stats", "--json");
    cJSON *answer = document();
    const cJSON *parked = cJSON_GetObjectItem(
        cJSON_GetObjectItem(cJSON_GetObjectItem(answer, "queues"), "distill"), "parked");
    cr_assert_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(parked, "chroma.write")), 1);
    cJSON_Delete(answer);
    RUN(0, "peek", "distill");
    PRINTS(", waits for chroma.write");
    RUN(0, "peek", "distill", "job-1", "--json");
    answer = document();
    cr_assert_str_eq(text_at(answer, "waits_for"), "chroma.write");
    cr_assert_eq(number_at(answer, "tries"), 3);
    cJSON_Delete(answer);
    RUN(0, "resume", "--parked");
    PRINTS("distill: 1 parked job released");
    RUN(0, "resume", "distill", "--parked", "--json");
    answer = document();
    cr_assert_eq(number_at(answer, "distill"), 0, "it is due already");
    cJSON_Delete(answer);
    RUN(2, "resume");
}

/* ---- ping ---------------------------------------------------------------------------------- */

Test(cli, ping_measures_the_way_there_and_back)
{
    const pid_t worker = start_answering("echo", NULL, 0);

    RUN(0, "ping", "--count", "3");
    PRINTS("3 sent, 3 answered, round trip min/avg/max");
    RUN(0, "ping", "--count", "2", "--json");
    cJSON *answer = document();
    cr_assert_eq(number_at(answer, "answered"), 2);
    cr_assert_gt(number_at(answer, "min_ms"), 0);
    cr_assert_leq(number_at(answer, "min_ms"), number_at(answer, "max_ms"));
    cJSON_Delete(answer);
    stop_answering(worker);
}

Test(cli, a_ping_that_nobody_answers_is_exit_code_4)
{
    RUN(4, "ping", "--count", "2", "--wait", "100ms");
    PRINTS("2 sent, 0 answered");
    SAYS("worker");
    RUN(2, "ping", "--count", "0");
    SAYS("--count");
    RUN(2, "ping", "--wait", "0");
    SAYS("--wait");
}
