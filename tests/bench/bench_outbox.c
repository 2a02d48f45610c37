/* What an outage costs a producer, and its end: jobs that go to the disk, and from there to Redis.
 * One thread, one client, the folder on the disk that $TMPDIR names.
 *
 *   kept one by one      stillhouse_enqueue_distill while Redis is away: a file each, durable.
 *   flushed one by one   stillhouse_flush of these files.
 *   kept as many         stillhouse_enqueue_distill_many of as many jobs.
 *   flushed as many      stillhouse_flush of what that left.
 *   bare append          the same bytes appended to an open file, with fdatasync after each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bare.h"
#include "base/clock.h"
#include "flags.h"
#include "folder.h"
#include "queue/queue.h"
#include "stillhouse.h"
#include "support.h"

static long rounds = 1;
static long first_round = 0;
static long singles = 2000;
static long many = 100000;
static long body_bytes = 500;
static const char *group = "outbox";

static struct test_server redis;
static redisContext *bare;
static char folder[256];
static char *text;

static stillhouse_client *open_client(bool away)
{
    stillhouse_client *client = NULL;
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = away ? "redis://127.0.0.1:1" : redis.url,
                                        .cache_url = "",
                                        .command_timeout_ms = 10000,
                                        .retry_ms = 3600000,
                                        .max_backlog = 100000000,
                                        .outbox = folder,
                                        .outbox_max_bytes = (int64_t)1 << 32};

    if (stillhouse_open(&options, &client) != STILLHOUSE_OK) {
        bench_fail("%s", stillhouse_open_error());
    }
    return client;
}

static stillhouse_experience experience(void)
{
    return (stillhouse_experience){
        .domain = "bench", .task_id = "t", .prompt = "p", .result = text, .quality = -1};
}

static bool keep_singly(stillhouse_client *client)
{
    const stillhouse_experience done = experience();
    long kept = 0;

    for (long i = 0; i < singles; i++) {
        kept += stillhouse_enqueue_distill(client, &done, NULL, NULL) == STILLHOUSE_KEPT;
    }
    return kept == singles;
}

static bool keep_many(stillhouse_client *client)
{
    stillhouse_experience *all = calloc((size_t)many, sizeof *all);

    if (all == NULL) {
        bench_fail("out of memory");
    }
    for (long i = 0; i < many; i++) {
        all[i] = experience();
    }
    const stillhouse_status status =
        stillhouse_enqueue_distill_many(client, all, (size_t)many, NULL, NULL, NULL);
    free(all);
    return status == STILLHOUSE_KEPT;
}

static bool flush(stillhouse_client *client)
{
    size_t left = 1;

    return stillhouse_flush(client, 600000, &left) == STILLHOUSE_OK && left == 0;
}

static bool append_bare(void)
{
    char path[300];
    bool good = true;

    snprintf(path, sizeof path, "%s/bare", folder);
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (long i = 0; good && i < singles; i++) {
        good = write(file, text, (size_t)body_bytes) == body_bytes && fdatasync(file) == 0;
    }
    close(file);
    unlink(path);
    return good;
}

enum method { KEPT_SINGLY, FLUSHED_SINGLY, KEPT_MANY, FLUSHED_MANY, BARE, METHODS };

static const char *const names[METHODS] = {"kept one by one", "flushed one by one", "kept as many",
                                           "flushed as many", "bare append"};

static void measure(enum method method, long round)
{
    const bool is_many = method == KEPT_MANY || method == FLUSHED_MANY;
    const long count = is_many ? many : singles;
    stillhouse_client *client =
        method == BARE ? NULL : open_client(method == KEPT_SINGLY || method == KEPT_MANY);
    bool good = false;

    const int64_t start_ns = clock_now_ns();
    switch (method) {
    case KEPT_SINGLY:
        good = keep_singly(client);
        break;
    case KEPT_MANY:
        good = keep_many(client);
        break;
    case FLUSHED_SINGLY:
    case FLUSHED_MANY:
        good = flush(client);
        break;
    case BARE:
    case METHODS:
        good = append_bare();
        break;
    }
    const double seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    const struct bench_figure figure = {
        group, names[method], names[method], round, (double)count / seconds, "jobs/s", count, good};
    bench_print(&figure, "\"body_bytes\": %ld", body_bytes);
    stillhouse_close(client);
}

static void install(void)
{
    struct redis_url url;
    struct error err = {0};

    if (redis_url_parse(redis.url, &url, &err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    if (conn == NULL || queue_install(conn, NULL, &err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    redis_conn_free(conn);
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--single", FLAG_NUMBER, &singles, "jobs that are kept one by one"},
        {"--many", FLAG_NUMBER, &many, "jobs that are kept in one call"},
        {"--body", FLAG_NUMBER, &body_bytes, "bytes of a job"},
    };

    flags_parse(argc, argv, "Jobs kept on the disk and sent from there.", flags,
                sizeof flags / sizeof flags[0]);
    if (singles < 1 || many < 1 || body_bytes < 1) {
        bench_fail("expected numbers over 0, see --help");
    }
    text = malloc((size_t)body_bytes + 1);
    if (text == NULL) {
        bench_fail("out of memory");
    }
    memset(text, 'x', (size_t)body_bytes);
    text[body_bytes] = '\0';
    test_folder_make(folder, sizeof folder);
    test_redis_start(&redis, NULL);
    bare = bare_connect(&redis);
    for (long round = first_round; round < first_round + rounds; round++) {
        bare_run(bare, "FLUSHALL SYNC");
        install();
        for (size_t i = 0; i < METHODS; i++) {
            measure((enum method)i, round);
        }
    }
    free(text);
    redisFree(bare);
    test_server_stop(&redis);
    test_folder_remove(folder);
    return 0;
}
