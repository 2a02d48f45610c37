#include "outbox_fixture.h"

#include <dirent.h>

#include "folder.h"

char folder[512];
static struct error err;

stillhouse_options boxed(void)
{
    stillhouse_options options = patient(redis.url);

    options.outbox = folder;
    options.retry_ms = 20;
    return options;
}

void outbox_setup(void)
{
    queue_setup();
    queue = queue_named("distill");
    snprintf(folder, sizeof folder, "%s/outbox", redis.folder);
    const stillhouse_options options = boxed();
    client = open_client(&options);
}

void outbox_teardown(void)
{
    stillhouse_close(client);
    test_folder_remove(folder);
    queue_teardown();
}

/* ---- words --------------------------------------------------------------------------------- */

void away(void)
{
    test_server_kill(&redis);
}

void back(void)
{
    test_server_restart(&redis);
    redis_conn_free(conn);
    redis_connect();
}

stillhouse_status hand_in_to(stillhouse_client *to, const char *task)
{
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = task, .prompt = "p", .result = "r", .quality = -1};

    return stillhouse_enqueue_distill(to, &experience, NULL, NULL);
}

stillhouse_status hand_in(const char *task)
{
    return hand_in_to(client, task);
}

size_t flushed(stillhouse_status expected)
{
    size_t left = 99;

    IS(stillhouse_flush(client, 2000, &left), expected);
    return left;
}

void comes_to(stillhouse_status expected)
{
    const int64_t until = clock_now_ms() + 10000;
    stillhouse_status now = STILLHOUSE_OK;

    do {
        now = stillhouse_flush(client, 1000, NULL);
    } while (now != expected && clock_now_ms() < until);
    cr_assert_eq(now, expected, "%d: %s", (int)now, stillhouse_error(client));
}

size_t left_now(void)
{
    size_t left = 0;

    (void)stillhouse_flush(client, 0, &left);
    return left;
}

uint64_t sent_count(void)
{
    uint64_t sent = 0;

    stillhouse_outbox_counts(client, NULL, &sent, NULL);
    return sent;
}

const char *tasks(void)
{
    static char out[1 << 16];

    out[0] = '\0';
    redisReply *entries = ask_reply("XRANGE", queue.stream[JOB_NORMAL], "-", "+", (char *)NULL);
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

size_t files_like(const char *under, const char *end)
{
    char path[600];

    snprintf(path, sizeof path, "%s/%s", folder, under);
    return test_folder_count(path, end);
}

size_t kept_files(void)
{
    return files_like("", ".jobs");
}

size_t bad_files(void)
{
    return files_like("bad", ".jobs");
}

const char *oldest_file(void)
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
