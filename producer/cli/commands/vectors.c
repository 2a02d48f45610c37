/* cli/commands/vectors.c - what also concerns the vectors of `learn similar`, which are made and
 * deleted by jobs of the queue `vector`: `learn forget` and `learn embed`.
 *
 * Forgetting: the rows are deleted first. Then, with STILLHOUSE_LEARN_SIMILAR=on, a job is enqueued
 * for each: it finds no row and deletes what stands in Chroma, where there is no text. One that
 * gets no job is found by nobody, and expires.
 *
 * Embedding: a job for each row with a description, page by page in the order of their keys, for
 * the rows that were there before the setting was on. Where the queue is full it waits for room;
 * begun anew it does no harm, since what stands is not written again.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "jobs/bodies.h"
#include "learn/similar.h"
#include "queue/enqueue.h"

enum { ROWS_AT_ONCE = 500, JOBS_AT_ONCE = 100, FULL_MS = 30000, POLL_MS = 100 };

/* ---- whose vectors --------------------------------------------------------------------------- */

struct tasks {
    struct arena arena; /* of the texts */
    struct store_task *each;
    size_t count, room;
};

static void add_task(void *context, const struct store_task *task)
{
    struct tasks *tasks = context;
    struct arena *arena = &tasks->arena;

    if (tasks->count == tasks->room) {
        tasks->room = tasks->room == 0 ? JOBS_AT_ONCE : 2 * tasks->room;
        tasks->each = must_grow(tasks->each, tasks->room * sizeof *tasks->each);
    }
    tasks->each[tasks->count++] = (struct store_task){
        {arena_copy(arena, task->domain.data, task->domain.bytes), task->domain.bytes},
        {arena_copy(arena, task->task_id.data, task->task_id.bytes), task->task_id.bytes}};
}

static void free_tasks(struct tasks *tasks)
{
    arena_free(&tasks->arena);
    free(tasks->each);
}

/* ---- their jobs ------------------------------------------------------------------------------ */

struct vector_queue {
    struct redis_conn *conn;
    struct queue queue;
    int64_t max_backlog; /* 0 = no bound */
};

static enum status open_queue(const struct cli *cli, int64_t max_backlog, struct vector_queue *to,
                              struct error *err)
{
    to->max_backlog = max_backlog;
    TRY(queue_init(&to->queue, cli->settings.prefix, job_kinds[KIND_vector].name, err));
    return open_redis(cli->settings.redis_url, &to->conn, err);
}

/* The last of them, a call's worth; those that the queue has no room for stay in the list. */
static enum status enqueue_some(const struct vector_queue *to, struct tasks *tasks,
                                struct error *err)
{
    const size_t count = tasks->count < JOBS_AT_ONCE ? tasks->count : JOBS_AT_ONCE;
    struct store_task *last = tasks->each + tasks->count - count;
    char ids[JOBS_AT_ONCE][37];
    struct strbuf bodies[JOBS_AT_ONCE] = {{0}};
    struct queue_item items[JOBS_AT_ONCE];
    struct queue_answer answers[JOBS_AT_ONCE];
    const struct queue_items given = {&to->queue, to->max_backlog, items, count};

    for (size_t i = 0; i < count; i++) {
        const struct vector_body body = {.task_id = last[i].task_id};
        text_make_id(clock_unix_ms(), ids[i]);
        bodies_encode_vector(&body, &bodies[i]);
        strbuf_must(&bodies[i]);
        items[i] = (struct queue_item){.id = slice_of(ids[i]),
                                       .domain = last[i].domain,
                                       .options = slice_of("priority=low"),
                                       .body = {bodies[i].data, bodies[i].bytes}};
    }
    const enum status status = queue_enqueue(to->conn, &given, answers, err);
    tasks->count -= count;
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK && answers[i].full) {
            tasks->each[tasks->count++] = last[i];
        }
        strbuf_free(&bodies[i]);
    }
    return status;
}

/* All of them; waits as long as the queue moves. */
static enum status enqueue_all(const struct vector_queue *to, struct tasks *tasks,
                               struct error *err)
{
    int64_t until_ms = clock_now_ms() + FULL_MS;

    while (tasks->count > 0) {
        const size_t before = tasks->count;
        TRY(enqueue_some(to, tasks, err));
        if (tasks->count < before) {
            until_ms = clock_now_ms() + FULL_MS;
        } else if (clock_now_ms() > until_ms) {
            return error_set(err, STATUS_FULL,
                             "queue \"%s\" is full for %d s: does a worker serve it?",
                             to->queue.name, FULL_MS / 1000);
        } else {
            clock_sleep_ms(POLL_MS);
        }
    }
    return STATUS_OK;
}

/* ---- learn forget ---------------------------------------------------------------------------- */

static struct forget read_arguments(struct cli *cli)
{
    struct forget what = {.rows = ROWS_AT_ONCE};

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

/* Without a bound, so that none has to wait. */
static enum status enqueue_forgotten(const struct cli *cli, struct tasks *tasks, struct error *err)
{
    struct vector_queue to = {0};

    enum status status = open_queue(cli, 0, &to, err);
    if (status == STATUS_OK) {
        status = enqueue_all(&to, tasks, err);
    }
    redis_conn_free(to.conn);
    return status == STATUS_OK
               ? STATUS_OK
               : error_wrap(err, "their vectors stay until they expire, without text");
}

int cmd_learn_forget(struct cli *cli)
{
    struct forget what = read_arguments(cli);
    struct tasks tasks = {.arena = {.is_must = true}};
    struct error err = {0};
    size_t deleted = ROWS_AT_ONCE;
    size_t all = 0;

    struct store *store = cli_store(cli, STORE_CHANGE);
    enum status status = database_now(store_database(store), &what.now_unix_ms, &err);
    if (cli->settings.learn_similar) {
        what.take = add_task;
        what.context = &tasks;
    }
    while (status == STATUS_OK && deleted == ROWS_AT_ONCE) {
        status = store_forget(store, &what, &deleted, &err);
        all += status == STATUS_OK ? deleted : 0;
    }
    store_close(store);
    if (all > 0 || status == STATUS_OK) {
        output_count(cli, "forgotten", all);
    }
    struct error later = {0};
    if (tasks.count > 0 && enqueue_forgotten(cli, &tasks, &later) != STATUS_OK) {
        status = later.status;
        err = later;
    }
    free_tasks(&tasks);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

/* ---- learn embed ----------------------------------------------------------------------------- */

static enum status read_page(struct store *store, const struct described *behind,
                             struct tasks *page, struct error *err)
{
    struct rows rows;

    TRY(similar_list(store_database(store), behind, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        add_task(page, &(struct store_task){rows_value(&rows, 0).text, rows_value(&rows, 1).text});
    }
    return rows_end(&rows);
}

int cmd_learn_embed(struct cli *cli)
{
    const char *domain = cli_domain(cli, false);
    struct described behind = {.domain = slice_of(domain == NULL ? "" : domain),
                               .task_id = slice_of(""),
                               .is_one_domain = domain != NULL,
                               .most = JOBS_AT_ONCE};
    struct tasks pages[2] = {{.arena = {.is_must = true}}, {.arena = {.is_must = true}}};
    struct vector_queue to = {0};
    struct error err = {0};
    size_t all = 0;
    size_t count = JOBS_AT_ONCE;

    struct store *store = cli_store(cli, STORE_READ);
    enum status status = open_queue(cli, cli->settings.max_backlog, &to, &err);
    for (size_t turn = 0; status == STATUS_OK && count == JOBS_AT_ONCE; turn = 1 - turn) {
        struct tasks *page = &pages[turn]; /* the other one holds the key that it begins behind */
        arena_reset(&page->arena, SIZE_MAX);
        status = read_page(store, &behind, page, &err);
        count = page->count;
        if (status == STATUS_OK && count > 0) {
            behind.domain = page->each[count - 1].domain;
            behind.task_id = page->each[count - 1].task_id;
            status = enqueue_all(&to, page, &err);
            all += status == STATUS_OK ? count : 0;
        }
    }
    redis_conn_free(to.conn);
    store_close(store);
    free_tasks(&pages[0]);
    free_tasks(&pages[1]);
    output_count(cli, "enqueued", all);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}
