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

enum { ROWS_AT_ONCE = 500, JOBS_AT_ONCE = 100, FULL_MS = 30000, POLL_MS = 100 };

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

/* Those that the queue has no room for come to stand first in `tasks`: *left of them. */
static enum status enqueue_some(const struct vector_queue *to, struct slice *tasks, size_t count,
                                size_t *left, struct error *err)
{
    char ids[JOBS_AT_ONCE][37];
    struct strbuf bodies[JOBS_AT_ONCE] = {{0}};
    struct queue_item items[JOBS_AT_ONCE];
    struct queue_answer answers[JOBS_AT_ONCE];
    const struct queue_items given = {&to->queue, to->max_backlog, items, count};

    for (size_t i = 0; i < count; i++) {
        const struct vector_body body = {.task_id = tasks[2 * i + 1]};
        text_make_id(clock_unix_ms(), ids[i]);
        bodies_encode_vector(&body, &bodies[i]);
        strbuf_must(&bodies[i]);
        items[i] = (struct queue_item){.id = slice_of(ids[i]),
                                       .domain = tasks[2 * i],
                                       .options = slice_of("priority=low"),
                                       .body = {bodies[i].data, bodies[i].bytes}};
    }
    const enum status status = queue_enqueue(to->conn, &given, answers, err);
    *left = 0;
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK && answers[i].full) {
            tasks[2 * *left] = tasks[2 * i];
            tasks[2 * *left + 1] = tasks[2 * i + 1];
            ++*left;
        }
        strbuf_free(&bodies[i]);
    }
    return status;
}

/* Without a bound, so none is left. */
static enum status enqueue_all(const struct cli *cli, const struct tasks *tasks, struct error *err)
{
    struct vector_queue to = {0};
    const size_t count = tasks->count / 2;
    size_t left = 0;
    enum status status = open_queue(cli, 0, &to, err);

    for (size_t from = 0; from < count && status == STATUS_OK; from += JOBS_AT_ONCE) {
        const size_t more = count - from;
        status = enqueue_some(&to, tasks->each + 2 * from,
                              more < JOBS_AT_ONCE ? more : JOBS_AT_ONCE, &left, err);
    }
    redis_conn_free(to.conn);
    return status;
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

int cmd_learn_forget(struct cli *cli)
{
    struct forget what = read_arguments(cli);
    struct tasks tasks = {.arena = {.is_must = true}};
    struct error err = {0};
    size_t deleted = ROWS_AT_ONCE;
    size_t all = 0;

    struct store *store = cli_store(cli, STORE_CHANGE);
    enum status status = database_now(store_database(store), &what.now_unix_ms, &err);
    if (status == STATUS_OK && cli->settings.learn_similar) {
        status = find_tasks(store, &what, &tasks, &err);
    }
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

/* ---- learn embed ----------------------------------------------------------------------------- */

/* The next executions with a description behind a key; of one domain where `one` is set. */
static enum status read_page(struct store *store, bool one, const struct slice behind[2],
                             struct tasks *page, struct error *err)
{
    static const char of_domain[] =
        "SELECT domain, task_id FROM executions WHERE domain = $1 AND task_id > $2"
        " AND task_description IS NOT NULL ORDER BY domain, task_id LIMIT $3";
    static const char of_all[] =
        "SELECT domain, task_id FROM executions WHERE (domain, task_id) > ($1, $2)"
        " AND task_description IS NOT NULL ORDER BY domain, task_id LIMIT $3";
    const struct value with[] = {value_text(behind[0]), value_text(behind[1]),
                                 value_integer(JOBS_AT_ONCE)};
    struct rows rows;

    TRY(database_ask(store_database(store), one ? of_domain : of_all, with, 3, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        add_text(page, rows_value(&rows, 0).text);
        add_text(page, rows_value(&rows, 1).text);
    }
    return rows_end(&rows);
}

/* Waits as long as the queue moves. */
static enum status enqueue_page(const struct vector_queue *to, const struct tasks *page,
                                struct error *err)
{
    size_t left = page->count / 2;
    int64_t until_ms = clock_now_ms() + FULL_MS;

    while (left > 0) {
        const size_t before = left;
        TRY(enqueue_some(to, page->each, before, &left, err));
        if (left < before) {
            until_ms = clock_now_ms() + FULL_MS;
        } else if (clock_now_ms() > until_ms) {
            return error_set(err, STATUS_FULL,
                             "queue \"%s\" is full for %d s: does a worker serve it?",
                             to->queue.name, FULL_MS / 1000);
        }
        if (left > 0) {
            clock_sleep_ms(POLL_MS);
        }
    }
    return STATUS_OK;
}

int cmd_learn_embed(struct cli *cli)
{
    const char *domain = cli_domain(cli, false);
    struct tasks pages[2] = {{.arena = {.is_must = true}}, {.arena = {.is_must = true}}};
    struct slice behind[2] = {slice_of(domain == NULL ? "" : domain), {"", 0}};
    struct vector_queue to = {0};
    struct error err = {0};
    size_t all = 0;

    struct store *store = cli_store(cli, STORE_READ);
    enum status status = open_queue(cli, cli->settings.max_backlog, &to, &err);
    for (size_t turn = 0; status == STATUS_OK; turn = 1 - turn) {
        struct tasks *page = &pages[turn]; /* the other one holds the key that it begins behind */
        arena_reset(&page->arena, SIZE_MAX);
        page->each = NULL;
        page->count = page->room = 0;
        status = read_page(store, domain != NULL, behind, page, &err);
        if (status != STATUS_OK || page->count == 0) {
            break;
        }
        const size_t count = page->count / 2;
        behind[0] = page->each[page->count - 2];
        behind[1] = page->each[page->count - 1];
        status = enqueue_page(&to, page, &err);
        all += status == STATUS_OK ? count : 0;
    }
    redis_conn_free(to.conn);
    store_close(store);
    arena_free(&pages[0].arena);
    arena_free(&pages[1].arena);
    output_count(cli, "enqueued", all);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}
