/* The producer library is opened: its options, its variables, who lets it in. */
#include "client_fixture.h"

#include <unistd.h>

TestSuite(client_open);
TestSuite(client_open_redis, .init = queue_setup, .fini = queue_teardown);

#define REFUSED_TO_OPEN(part, ...)                                                                 \
    do {                                                                                           \
        const stillhouse_options refused_ = {__VA_ARGS__};                                         \
        stillhouse_client *none_ = (void *)&refused_;                                              \
        cr_assert_eq(stillhouse_open(&refused_, &none_), STILLHOUSE_INVALID);                      \
        cr_assert_null(none_);                                                                     \
        cr_assert_not_null(strstr(stillhouse_open_error(), part), "\"%s\" has no \"%s\"",          \
                           stillhouse_open_error(), part);                                         \
    } while (0)

Test(client_open, an_option_that_is_wrong_is_named_with_what_was_expected)
{
    char url[700];

    snprintf(url, sizeof url, "redis://%0600d", 1);
    REFUSED_TO_OPEN("options.size 0", .retry_ms = 5);
    REFUSED_TO_OPEN("options.size 9999", .size = 9999);
    REFUSED_TO_OPEN("redis_url: redis URL \"http://x\"", SIZED, .redis_url = "http://x");
    REFUSED_TO_OPEN("cache_url: redis URL \"***\": unknown scheme", SIZED, .cache_url = "x");
    REFUSED_TO_OPEN("redis_url: 608 bytes, expected at most", SIZED, .redis_url = url);
    REFUSED_TO_OPEN("cache_url: 608 bytes", SIZED, .cache_url = url);
    REFUSED_TO_OPEN("prefix: 608 bytes", SIZED, .prefix = url);
    REFUSED_TO_OPEN("prefix \"a{b\"", SIZED, .prefix = "a{b");
    REFUSED_TO_OPEN("connect_timeout_ms -1: expected", SIZED, .connect_timeout_ms = -1);
    REFUSED_TO_OPEN("command_timeout_ms 4000000", SIZED, .command_timeout_ms = 4000000);
    REFUSED_TO_OPEN("retry_ms -5", SIZED, .retry_ms = -5);
    REFUSED_TO_OPEN("memory_ttl_ms -1", SIZED, .memory_ttl_ms = -1);
    REFUSED_TO_OPEN("memory_entries", SIZED, .memory_entries = SIZE_MAX);
    REFUSED_TO_OPEN("max_backlog -1", SIZED, .max_backlog = -1);
    REFUSED_TO_OPEN("max_body_bytes -1", SIZED, .max_body_bytes = -1);
}

Test(client_open, a_variable_that_is_wrong_is_named_unless_the_option_is_given)
{
    cr_assert_eq(setenv("STILLHOUSE_MAX_BACKLOG", "many", 1), 0);
    REFUSED_TO_OPEN("STILLHOUSE_MAX_BACKLOG", SIZED);

    const stillhouse_options options = {SIZED, .max_backlog = 5};
    client = open_client(&options);
    cr_assert_str_eq(stillhouse_open_error(), "");
    cr_assert_str_eq(stillhouse_error(client), "");
    stillhouse_close(client);
}

Test(client_open, an_empty_variable_is_not_set)
{
    static const char *const names[] = {"REDIS_URL", "CACHE_URL", "PREFIX",     "MAX_BACKLOG",
                                        "MAX_BODY",  "OUTBOX",    "OUTBOX_MAX", "CACHE_FRESH"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "STILLHOUSE_%s", names[i]);
        setenv(name, "", 1);
        snprintf(name, sizeof name, "STILLHOUSE_%s_FILE", names[i]);
        setenv(name, "", 1);
    }
    stillhouse_close(open_client(NULL));
}

Test(client_open, options_of_an_older_version_are_read_as_far_as_they_go)
{
    const stillhouse_options options = {.size = offsetof(stillhouse_options, max_backlog),
                                        .max_backlog = -1};
    client = open_client(&options);
    stillhouse_close(client);
}

Test(client_open_redis, the_environment_says_where_redis_is)
{
    char id[STILLHOUSE_ID_BYTES];
    stillhouse_client *other = NULL;

    cr_assert_eq(setenv("STILLHOUSE_REDIS_URL", redis.url, 1), 0);
    cr_assert_eq(setenv("STILLHOUSE_PREFIX", "other", 1), 0);
    cr_assert_eq(stillhouse_open(NULL, &other), STILLHOUSE_OK);
    cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "q", 0, NULL, id), STILLHOUSE_OK, "%s",
                 stillhouse_error(other));
    cr_assert_str_eq(ask("XLEN", "other:{enrich}:jobs", NULL), "1");
    stillhouse_close(other);
}

Test(client_open_redis, the_url_may_stand_in_a_file_but_not_in_two_places)
{
    char path[512];
    stillhouse_client *other = NULL;

    snprintf(path, sizeof path, "%s/url", redis.folder);
    cr_assert_eq(setenv("STILLHOUSE_REDIS_URL_FILE", path, 1), 0);
    REFUSED_TO_OPEN("STILLHOUSE_REDIS_URL_FILE: cannot read", SIZED);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert(fprintf(file, "%s\r\nrest\n", redis.url) > 0 && fclose(file) == 0);
    cr_assert_eq(stillhouse_open(NULL, &other), STILLHOUSE_OK, "%s", stillhouse_open_error());
    cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "q", 0, NULL, NULL), STILLHOUSE_OK, "%s",
                 stillhouse_error(other));
    stillhouse_close(other);
    cr_assert_eq(setenv("STILLHOUSE_REDIS_URL", redis.url, 1), 0);
    REFUSED_TO_OPEN("both set", SIZED);
}

Test(client_open_redis, a_host_may_be_given_by_the_name_localhost)
{
    char url[128];

    snprintf(url, sizeof url, "redis://localhost:%d/2", redis.port);
    const stillhouse_options options = patient(url);
    stillhouse_client *other = open_client(&options);
    cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "q", 0, NULL, NULL), STILLHOUSE_OK, "%s",
                 stillhouse_error(other));
    cr_assert_str_eq(ask("XLEN", queue.stream[JOB_NORMAL], NULL), "0"); /* it went to database 2 */
    stillhouse_close(other);
}

Test(client_open_redis, a_wrong_password_is_a_refusal_and_the_right_one_is_let_in)
{
    char url[128];

    cr_assert_str_eq(ask("CONFIG", "SET", "requirepass", "secret", NULL), "OK");
    snprintf(url, sizeof url, "redis://:wrong@127.0.0.1:%d", redis.port);
    stillhouse_options options = patient(url);
    stillhouse_client *other = open_client(&options);
    cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "q", 0, NULL, NULL), STILLHOUSE_FAILED);
    cr_assert_not_null(strstr(stillhouse_error(other), "WRONGPASS"), "%s", stillhouse_error(other));
    cr_assert_null(strstr(stillhouse_error(other), "wrong@"));
    stillhouse_close(other);

    snprintf(url, sizeof url, "redis://:secret@127.0.0.1:%d", redis.port);
    options = patient(url);
    other = open_client(&options);
    cr_assert_eq(stillhouse_enqueue_enrich(other, "legal", "q", 0, NULL, NULL), STILLHOUSE_OK);
    stillhouse_close(other);
}
