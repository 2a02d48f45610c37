/* outbox_fixture.h - a client with an outbox, on a Redis of its own. */
#ifndef STILLHOUSE_TESTS_OUTBOX_FIXTURE_H
#define STILLHOUSE_TESTS_OUTBOX_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_fixture.h"
#include "fake_server.h"
#include "queue/queue.h"

#define UNUSED __attribute__((unused))

enum { IN_TIME_MS = 2000 };

static char folder[512];

static stillhouse_options boxed(void)
{
    stillhouse_options options = patient(server.url);

    options.outbox = folder;
    options.retry_ms = 20;
    return options;
}

static void setup(void)
{
    queue_setup();
    OK(queue_init(&queue, "sh", "distill", &err));
    snprintf(folder, sizeof folder, "%s/outbox", server.folder);
    const stillhouse_options options = boxed();
    client = open_client(&options);
}

static void teardown(void)
{
    stillhouse_close(client);
    test_folder_remove(folder);
    queue_teardown();
}

/* ---- words --------------------------------------------------------------------------------- */

static void away(void)
{
    test_server_kill(&server);
}

/* It has forgotten everything, as after a crash without persistence, until a worker comes. */
static void back(void)
{
    test_server_restart(&server);
    redis_conn_free(conn);
    conn = new_conn();
    OK(queue_install(conn, NULL, &err));
}

static stillhouse_status hand_in_to(stillhouse_client *to, const char *task)
{
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = task, .prompt = "p", .result = "r", .quality = -1};

    return stillhouse_enqueue_distill(to, &experience, NULL, NULL);
}

static stillhouse_status hand_in(const char *task)
{
    return hand_in_to(client, task);
}

static size_t flushed(stillhouse_status expected)
{
    size_t left = 99;

    IS(stillhouse_flush(client, 2000, &left), expected);
    return left;
}

/* Flushes until the status is as expected: Redis may be taken for away for a moment. */
static void comes_to(stillhouse_status expected)
{
    const int64_t until = clock_now_ms() + 10000;
    stillhouse_status now = STILLHOUSE_OK;

    do {
        now = stillhouse_flush(client, 1000, NULL);
    } while (now != expected && clock_now_ms() < until);
    cr_assert_eq(now, expected, "%d: %s", (int)now, stillhouse_error(client));
}

static UNUSED size_t left_now(void)
{
    size_t left = 0;

    (void)stillhouse_flush(client, 0, &left);
    return left;
}

static UNUSED uint64_t sent_count(void)
{
    uint64_t sent = 0;

    stillhouse_outbox_counts(client, NULL, &sent, NULL);
    return sent;
}

/* The task ids in the stream, in order, each with a comma behind it. */
static const char *tasks(void)
{
    static char out[1 << 16];

    out[0] = '\0';
    redisReply *entries = ask_reply("XRANGE", queue.stream[JOB_NORMAL], "-", "+", NULL);
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *fields = entries->element[i]->element[1];
        const redisReply *body = fields->element[9];
        struct arena arena = {0};
        struct distill_body distill;
        OK(bodies_decode_distill(body->str, (size_t)body->len, &arena, &distill, &err));
        strncat(out, distill.task_id.data, distill.task_id.bytes);
        strcat(out, ",");
        arena_free(&arena);
    }
    redis_reply_free(entries);
    return out;
}

/* Files in a folder of the outbox ("" = itself) that end so. */
static size_t files_like(const char *under, const char *end)
{
    char path[600];
    size_t count = 0;

    snprintf(path, sizeof path, "%s/%s", folder, under);
    DIR *entries = opendir(path);
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        const size_t bytes = strlen(entry->d_name);
        count += bytes > strlen(end) && strcmp(entry->d_name + bytes - strlen(end), end) == 0;
    }
    if (entries != NULL) {
        closedir(entries);
    }
    return count;
}

static size_t kept_files(void)
{
    return files_like("", ".jobs");
}

static UNUSED size_t bad_files(void)
{
    return files_like("bad", ".jobs");
}

/* The path of the oldest file. */
static UNUSED const char *oldest_file(void)
{
    static char path[1100];
    char first[300] = "";
    DIR *entries = opendir(folder);

    cr_assert_not_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] != '.' && (first[0] == '\0' || strcmp(entry->d_name, first) < 0)) {
            snprintf(first, sizeof first, "%s", entry->d_name);
        }
    }
    closedir(entries);
    snprintf(path, sizeof path, "%s/%s", folder, first);
    return path;
}

#endif
