/* The program stillhouse-worker, run as people run it. */
#include <criterion/criterion.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/settings.h"
#include "fake_server.h"
#include "folder.h"
#include "servers.h"

enum { PATIENCE_MS = 15000 };

static char out[1 << 16];
static char err_out[1 << 16];
static char program[512];

static void setup(void)
{
    test_program("stillhouse-worker", program);
}

TestSuite(worker, .init = setup, .timeout = 120);

#define RUN(...) run((const char *const[]){program, __VA_ARGS__, NULL})

static int run(const char *const *words)
{
    return test_run(words, NULL, out, sizeof out, err_out, sizeof err_out);
}

Test(worker, help_shows_every_setting_of_a_worker)
{
    cr_assert_eq(RUN("--help"), 0);
    for (size_t i = 0; i < settings_count(); i++) {
        char flag[64];
        bool ours = (settings_row(i).scope & SETTINGS_WORKER) != 0;
        snprintf(flag, sizeof flag, "--%s ", settings_row(i).flag);
        cr_assert_eq(strstr(out, flag) != NULL, ours, "%s", flag);
    }
    cr_assert_eq(RUN("--version"), 0);
    cr_assert_not_null(strstr(out, "stillhouse-worker"));
}

Test(worker, print_config_hides_secrets)
{
    cr_assert_eq(RUN("--print-config", "--embed-key", "very-secret"), 0);
    cr_assert_null(strstr(out, "very-secret"));
    cr_assert_not_null(strstr(out, "STILLHOUSE_LANES=4"));
}

/* The words of a process as all may read them, as one text. */
static void read_words(pid_t pid, char *words, size_t size)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file);
    const size_t bytes = fread(words, 1, size - 1, file);
    fclose(file);
    words[bytes] = '\0';
    for (size_t i = 0; i < bytes; i++) {
        words[i] = words[i] == '\0' ? ' ' : words[i];
    }
}

Test(worker, secrets_given_as_flags_do_not_stay_in_the_list_of_processes)
{
    char words[1024] = "very-secret";
    struct test_server redis;
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    test_redis_start(&redis, NULL);
    const char *const argv[] = {program,       "--http",      "off",
                                "--embed-key", "very-secret", "--chroma-token=very-secret",
                                "--redis-url", redis.url,     NULL};
    const pid_t pid = test_spawn(argv, "/dev/null");
    while ((strstr(words, "very-secret") != NULL || strstr(words, "--embed-key") == NULL) &&
           clock_now_ms() < until_ms) {
        usleep(1000);
        read_words(pid, words, sizeof words);
    }
    cr_assert_not_null(strstr(words,
                              "--http off --embed-key *********** --chroma-token=*********** "
                              "--redis-url redis://***"),
                       "%s", words);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    test_server_stop(&redis);
}

Test(worker, bad_usage_is_exit_code_2_with_the_thing_named)
{
    static const struct {
        const char *words[3];
        const char *said;
    } bad[] = {
        {{"--lanes", "0"}, "--lanes"},         {{"--colour", "red"}, "colour"},
        {{"surplus", NULL}, "surplus"},        {{"--chroma-url", "gopher://x"}, "gopher"},
        {{"--queues", "enrich,brew"}, "brew"}, {{"--redis-url", "http://x"}, "http://x"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(RUN(bad[i].words[0], bad[i].words[1]), 2, "%s", bad[i].words[0]);
        cr_assert_not_null(strstr(err_out, bad[i].said), "%s: %s", bad[i].said, err_out);
    }
    setenv("STILLHOUSE_BATCH", "many", 1);
    cr_assert_eq(RUN("--version"), 2);
    cr_assert_not_null(strstr(err_out, "STILLHOUSE_BATCH"), "%s", err_out);
}

Test(worker, no_redis_is_exit_code_3)
{
    char url[64];

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", test_free_port());
    cr_assert_eq(RUN("--redis-url", url, "--http", "off", "--chroma-url", "http://chroma:8000",
                     "--chroma-token", "hush"),
                 3, "%s", err_out);
    cr_assert_not_null(strstr(err_out, "chroma-token goes over plain http"), "%s", err_out);
    cr_assert_null(strstr(err_out, "hush"), "%s", err_out);
}

Test(worker, a_redis_without_room_for_one_more_client_is_exit_code_3)
{
    struct test_server redis;
    const char *extra[] = {"--maxclients", "1", NULL};

    test_redis_start(&redis, extra);
    redisContext *in = redisConnect("127.0.0.1", redis.port);
    cr_assert(in != NULL && in->err == 0);
    redisReply *reply = redisCommand(in, "PING");
    cr_assert_not_null(reply);
    freeReplyObject(reply);
    cr_assert_eq(RUN("--redis-url", redis.url, "--http", "off"), 3, "%s", err_out);
    cr_assert_not_null(strstr(err_out, "max number of clients"), "%s", err_out);
    redisFree(in);
    test_server_stop(&redis);
}

Test(worker, an_authority_that_cannot_be_read_is_said_at_once)
{
    cr_assert_eq(RUN("--ca-file", "/no/such.pem"), 2, "%s", err_out);
    cr_assert_not_null(strstr(err_out, "/no/such.pem"), "%s", err_out);
}

#ifndef STILLHOUSE_LINK_CURL
/* Puts a libcurl of no bytes into `folder`: the loader finds it first, and gives up. */
static void hide_libcurl(const char *folder)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    char path[300];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *file = fopen(path, "we");
        cr_assert_not_null(file);
        fclose(file);
    }
    setenv("LD_LIBRARY_PATH", folder, 1);
}

Test(worker, without_libcurl_only_echo_is_served_and_the_rest_says_why_not)
{
    char folder[200];
    char url[64];

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", test_free_port());
    test_folder_make(folder, sizeof folder);
    hide_libcurl(folder);
    cr_assert_eq(RUN("--redis-url", url, "--http", "off"), 1, "%s", err_out);
    cr_assert_not_null(strstr(err_out, "need libcurl 7.88 or later"), "%s", err_out);
    cr_assert_eq(RUN("--redis-url", url, "--http", "off", "--queues", "echo,index.1"), 1);
    cr_assert_eq(RUN("--redis-url", url, "--http", "off", "--queues", "echo,echo.2"), 3,
                 "it came as far as Redis: %s", err_out);
    unsetenv("LD_LIBRARY_PATH");
    test_folder_remove(folder);
}
#endif

Test(worker, a_port_where_something_else_answers_is_said)
{
    static const struct fake_step script[] = {EXPECT("INFO"),
                                              SEND("HTTP/1.1 400 Bad Request\r\n\r\n"), CLOSE, END};
    struct fake_server *server = fake_server_start(script);
    char url[64];

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", fake_server_port(server));
    int code = RUN("--redis-url", url, "--http", "off");
    cr_assert(code > 0 && code < 4, "exit code %d: %s", code, err_out);
    cr_assert_gt(strlen(err_out), 10);
    cr_assert_null(fake_server_stop(server));
}

Test(worker, a_redis_that_evicts_jobs_is_refused_with_what_to_set)
{
    struct test_server redis;
    const char *extra[] = {"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", NULL};

    test_redis_start(&redis, extra);
    cr_assert_eq(RUN("--redis-url", redis.url, "--http", "off"), 2);
    cr_assert_not_null(strstr(err_out, "noeviction"), "%s", err_out);
    test_server_stop(&redis);
}

/* Starts the program in the background with its standard error in a file of `folder`. */
static pid_t start(const char *url, const char *http, const char *log)
{
    return test_spawn(
        (const char *const[]){program, "--redis-url", url, "--http", http, "--drain", "5s", NULL},
        log);
}

/* Waits until the log holds `text`. */
static void wait_for_log(const char *log, const char *text)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    for (;;) {
        FILE *file = fopen(log, "re");
        size_t bytes = file != NULL ? fread(out, 1, sizeof out - 1, file) : 0;
        out[bytes] = '\0';
        if (file != NULL) {
            fclose(file);
        }
        if (strstr(out, text) != NULL) {
            return;
        }
        cr_assert(clock_now_ms() < until_ms, "no \"%s\" in: %s", text, out);
        clock_sleep_ms(20);
    }
}

Test(worker, sigterm_drains_and_a_second_worker_is_told_of_a_taken_port)
{
    struct test_server redis;
    char http[64];
    char log[300];
    int state = 0;

    test_redis_start(&redis, NULL);
    snprintf(http, sizeof http, "127.0.0.1:%d", test_free_port());
    snprintf(log, sizeof log, "%s/worker.log", redis.folder);
    pid_t pid = start(redis.url, http, log);
    wait_for_log(log, "lanes on");
    cr_assert_eq(RUN("--redis-url", redis.url, "--http", http), 1, "%s", err_out);
    cr_assert_not_null(strstr(err_out, http), "%s", err_out);

    cr_assert_eq(kill(pid, SIGTERM), 0);
    cr_assert_eq(waitpid(pid, &state, 0), pid);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "state %d", state);
    wait_for_log(log, "drained");
    test_server_stop(&redis);
}

Test(worker, sighup_drains_too)
{
    struct test_server redis;
    char log[300];
    int state = 0;

    test_redis_start(&redis, NULL);
    snprintf(log, sizeof log, "%s/worker.log", redis.folder);
    pid_t pid = start(redis.url, "off", log);
    wait_for_log(log, "lanes on");
    cr_assert_eq(kill(pid, SIGHUP), 0);
    cr_assert_eq(waitpid(pid, &state, 0), pid);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "state %d", state);
    wait_for_log(log, "drained");
    test_server_stop(&redis);
}

/* A Redis that says LOADING to whatever needs data, as often as it is asked. */
static struct fake_server *start_loading_redis(void)
{
    static const struct fake_step script[] = {
        EXPECT("INFO"),       SEND("$0\r\n\r\n"),
        EXPECT("sh_version"), SEND("-LOADING Redis is loading the dataset in memory\r\n"),
        EXPECT_CLOSE,         LOOP,
    };
    return fake_server_start(script);
}

Test(worker, a_redis_that_loads_is_waited_for_until_a_signal_comes)
{
    struct fake_server *server = start_loading_redis();
    char url[64];
    char folder[200];
    char log[300];
    int state = 0;

    test_folder_make(folder, sizeof folder);
    snprintf(log, sizeof log, "%s/worker.log", folder);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", fake_server_port(server));
    pid_t pid = start(url, "off", log);
    const int64_t until_ms = clock_now_ms() + 7000; /* what is not there is waited for 5 s */
    wait_for_log(log, "waiting: ");
    while (clock_now_ms() < until_ms) {
        cr_assert_eq(waitpid(pid, &state, WNOHANG), 0, "it did not wait: state %d", state);
        clock_sleep_ms(50);
    }
    cr_assert_eq(kill(pid, SIGTERM), 0);
    cr_assert_eq(waitpid(pid, &state, 0), pid);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "state %d", state);
    (void)fake_server_stop(server);
    test_folder_remove(folder);
}
