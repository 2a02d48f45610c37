/* cli/commands/forget.c - `learn forget`: the rows of a task or a user go, and then their vectors.
 *
 * The rows are deleted first. Then, with STILLHOUSE_LEARN_SIMILAR=on, a job of the queue `vector`
 * is enqueued for each: it finds no row and deletes what stands in Chroma, where there is no text.
 * One that gets no job is found by nobody, and expires.
 */
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "jobs/bodies.h"
#include "learn/database.h"
#include "learn/store.h"
#include "queue/enqueue.h"

enum { ROWS_AT_ONCE = 500, JOBS_AT_ONCE = 100 };

/* ---- whose rows ------------------------------------------------------------------------------ */

/* Domain and task id of each, by turns. */
struct tasks {
    struct arena arena;
    struct slice *each;
    size_t count, room;
};

static void add_text(struct tasks *tasks, struct slice text)
{
    if (tasks->count == tasks->room) {
        const size_t room = tasks->room == 0 ? 2 * JOBS_AT_ONCE : 2 * tasks->room;
        struct slice *each = arena_array(&tasks->arena, room, sizeof *each);
        if (tasks->count > 0) {
            memcpy(each, tasks->each, tasks->count * sizeof *each);
        }
        tasks->each = each;
        tasks->room = room;
    }
    tasks->each[tasks->count++] =
        (struct slice){arena_copy(&tasks->arena, text.data, text.bytes), text.bytes};
}

static enum status find_tasks(struct store *store, const struct forget *what, struct tasks *tasks,
                              struct error *err)
{
    static const char of_task[] =
        "SELECT domain, task_id FROM executions WHERE domain = $1 AND task_id = $2";
    static const char of_user[] = "SELECT domain, task_id FROM executions WHERE user = $1";
    static const char of_both[] =
        "SELECT domain, task_id FROM executions WHERE user = $1 AND domain = $2";
    const bool is_task = what->task_id.data != NULL;
    const struct value with[] = {value_text(is_task ? what->domain : what->user),
                                 value_text(is_task ? what->task_id : what->domain)};
    const bool has_both = what->domain.data != NULL;
    struct rows rows;

    TRY(database_ask(store_database(store),
                     is_task    ? of_task
                     : has_both ? of_both
                                : of_user,
                     with, has_both ? 2 : 1, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        add_text(tasks, rows_value(&rows, 0).text);
        add_text(tasks, rows_value(&rows, 1).text);
    }
    return rows_end(&rows);
}

/* ---- their vectors --------------------------------------------------------------------------- */

static enum status enqueue_some(struct redis_conn *conn, const struct queue *queue,
                                const struct slice *tasks, size_t count, struct error *err)
{
    char ids[JOBS_AT_ONCE][37];
    struct strbuf bodies[JOBS_AT_ONCE] = {{0}};
    struct queue_item items[JOBS_AT_ONCE];
    struct queue_answer answers[JOBS_AT_ONCE];

    for (size_t i = 0; i < count; i++) {
        const struct vector_body body = {.task_id = tasks[2 * i + 1]};
        text_make_id(clock_unix_ms(), ids[i]);
        bodies_encode_vector(&body, &bodies[i]);
        strbuf_must(&bodies[i]);
        items[i] = (struct queue_item){.id = slice_of(ids[i]),
                                       .domain = tasks[2 * i],
                                       .options = {"", 0},
                                       .body = {bodies[i].data, bodies[i].bytes}};
    }
    const enum status status =
        queue_enqueue(conn, &(struct queue_items){queue, 0, items, count}, answers, err);
    for (size_t i = 0; i < count; i++) {
        strbuf_free(&bodies[i]);
    }
    return status;
}

static enum status enqueue_all(const struct cli *cli, const struct tasks *tasks, struct error *err)
{
    struct redis_conn *conn = NULL;
    struct queue queue;
    const size_t count = tasks->count / 2;
    enum status status = STATUS_OK;

    TRY(queue_init(&queue, cli->settings.prefix, job_kinds[KIND_vector].name, err));
    TRY(open_redis(cli->settings.redis_url, &conn, err));
    for (size_t from = 0; from < count && status == STATUS_OK; from += JOBS_AT_ONCE) {
        const size_t left = count - from;
        status = enqueue_some(conn, &queue, tasks->each + 2 * from,
                              left < JOBS_AT_ONCE ? left : JOBS_AT_ONCE, err);
    }
    redis_conn_free(conn);
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

static struct forget read_arguments(struct cli *cli)
{
    struct forget what = {.now_unix_ms = clock_unix_ms(), .rows = ROWS_AT_ONCE};

    if (cli_has(cli, "task-id") == cli_has(cli, "user")) {
        cli_usage(cli->command, "expected one of --task-id and --user");
    }
    if (cli_has(cli, "task-id")) {
        what.task_id = slice_of(cli_text(cli, "task-id"));
    } else {
        what.user = slice_of(cli_text(cli, "user"));
    }
    const char *domain = cli_domain(cli, cli_has(cli, "task-id"));
    what.domain = domain == NULL ? (struct slice){NULL, 0} : slice_of(domain);
    return what;
}

int cmd_learn_forget(struct cli *cli)
{
    const struct forget what = read_arguments(cli);
    struct tasks tasks = {.arena = {.is_must = true}};
    struct error err = {0};
    size_t deleted = ROWS_AT_ONCE;
    size_t all = 0;

    struct store *store = cli_store(cli, STORE_CHANGE);
    enum status status =
        cli->settings.learn_similar ? find_tasks(store, &what, &tasks, &err) : STATUS_OK;
    while (status == STATUS_OK && deleted == ROWS_AT_ONCE) {
        status = store_forget(store, &what, &deleted, &err);
        all += status == STATUS_OK ? deleted : 0;
    }
    store_close(store);
    if (all > 0 || status == STATUS_OK) {
        output_count(cli, "forgotten", all);
    }
    if (all > 0 && tasks.count > 0) {
        const struct error first = err;
        if (enqueue_all(cli, &tasks, &err) != STATUS_OK) {
            status = err.status;
            (void)error_wrap(&err, "their vectors stay until they expire, without text");
        } else {
            err = first;
        }
    }
    arena_free(&tasks.arena);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}
