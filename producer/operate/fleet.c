#include "operate/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/strbuf.h"
#include "queue/keys.h"
#include "queue/operate.h"

/* ---- queues -------------------------------------------------------------------------------- */

void fleet_view_free(struct fleet_view *view)
{
    free(view->queues);
    *view = (struct fleet_view){0};
}

/* INVALID where the name is none. */
static enum status add_queue(struct fleet_view *view, const char *prefix, const char *name,
                             struct error *err)
{
    for (size_t i = 0; i < view->count; i++) {
        if (strcmp(view->queues[i].queue.name, name) == 0) {
            return STATUS_OK;
        }
    }
    view->queues = must_grow(view->queues, (view->count + 1) * sizeof *view->queues);
    struct queue_view *added = &view->queues[view->count];
    memset(added, 0, sizeof *added);
    const enum status status = queue_init(&added->queue, prefix, name, err);
    view->count += status == STATUS_OK;
    return status;
}

/* "<prefix>:{<name>}:counters": adds the name; what is of another form is somebody else's. */
static void add_by_key(struct fleet_view *view, const char *prefix, const redisReply *key)
{
    const size_t head = strlen(prefix) + 2;
    char name[QUEUE_NAME_MAX + 1];

    if (key->type != REDIS_REPLY_STRING || (size_t)key->len <= head) {
        return;
    }
    const size_t bytes = strcspn(key->str + head, "}");
    if (bytes > 0 && bytes < sizeof name) {
        snprintf(name, sizeof name, "%.*s", (int)bytes, key->str + head);
        (void)add_queue(view, prefix, name, NULL);
    }
}

/* The SCAN pattern, with the prefix taken literally. */
static char *make_pattern(const char *prefix)
{
    struct strbuf out = {0};

    for (; *prefix != '\0'; prefix++) {
        strbuf_append_str(&out, strchr("*?[]\\", *prefix) != NULL ? "\\" : "");
        strbuf_append_char(&out, *prefix);
    }
    strbuf_append_str(&out, ":{*}:counters");
    if (!strbuf_ok(&out)) {
        must_die();
    }
    return out.data;
}

static enum status find_queues(struct redis_conn *conn, const char *prefix, const char *pattern,
                               struct fleet_view *view, struct error *err)
{
    char cursor[32] = "0";

    do {
        redisReply *reply = NULL;
        TRY(redis_fetchf(conn, "sa", &reply, err, "SCAN %s MATCH %s COUNT 2000", cursor, pattern));
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        for (size_t i = 0; i < reply->element[1]->elements; i++) {
            add_by_key(view, prefix, reply->element[1]->element[i]);
        }
        redis_reply_free(reply);
    } while (strcmp(cursor, "0") != 0);
    return STATUS_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct queue_view *left = a;
    const struct queue_view *right = b;

    return strcmp(left->queue.name, right->queue.name);
}

enum status fleet_queues(struct redis_conn *conn, const char *prefix, struct fleet_view *view,
                         struct error *err)
{
    enum status status = STATUS_OK;

    fleet_view_free(view);
    for (size_t i = 0; status == STATUS_OK && i < KINDS; i++) {
        status = add_queue(view, prefix, job_kinds[i].name, err);
    }
    if (status == STATUS_OK) {
        char *pattern = make_pattern(prefix);
        status = find_queues(conn, prefix, pattern, view, err);
        free(pattern);
    }
    if (status != STATUS_OK) {
        fleet_view_free(view);
        return status;
    }
    qsort(view->queues + KINDS, view->count - KINDS, sizeof *view->queues, by_name);
    return STATUS_OK;
}

bool fleet_is_unserved(const struct fleet_view *view, const struct queue_view *one)
{
    return one->queue.kind != KINDS && one->workers == 0 &&
           view->workers_refused.status == STATUS_OK && one->stats.waiting + one->stats.delayed > 0;
}

/* "enrich,distill" names "distill". */
static bool list_has(const char *list, const char *name)
{
    const size_t bytes = strlen(name);

    while (*list != '\0') {
        const size_t word = strcspn(list, ",");
        if (word == bytes && memcmp(list, name, bytes) == 0) {
            return true;
        }
        list += word + (list[word] == ',');
    }
    return false;
}

static void count_workers(struct fleet_view *view, const struct worker_list *workers)
{
    view->workers = workers->alive;
    for (size_t i = 0; i < view->count; i++) {
        struct queue_view *one = &view->queues[i];
        one->workers = 0;
        for (size_t j = 0; j < workers->count; j++) {
            one->workers += list_has(worker_field(&workers->workers[j], "queues"), one->queue.name);
        }
    }
}

enum status fleet_look(struct redis_conn *conn, const char *prefix, struct fleet_view *view,
                       struct error *err)
{
    struct worker_list workers;

    for (size_t i = 0; i < view->count; i++) {
        struct queue_view *one = &view->queues[i];
        TRY(queue_get_stats(conn, &one->queue, &one->stats, err));
        if (one->stats.delayed == 0 ||
            queue_get_parked(conn, &one->queue, &one->parked, NULL) != STATUS_OK) {
            one->parked.count = 0;
        }
    }
    view->workers_refused = (struct error){0};
    view->workers = 0;
    const enum status status = fleet_workers(conn, prefix, &workers, err);
    if (status == STATUS_OK) {
        count_workers(view, &workers);
        worker_list_free(&workers);
    } else if (status == STATUS_REFUSED) {
        view->workers_refused = *err;
    }
    view->at_ms = clock_now_ms();
    return status == STATUS_REFUSED ? STATUS_OK : status;
}

enum status fleet_knows(struct redis_conn *conn, const struct queue *queue, bool *known,
                        struct error *err)
{
    char counters[sizeof queue->base + 16];
    redisReply *reply = NULL;

    *known = true;
    if (queue->kind != KINDS) {
        return STATUS_OK;
    }
    snprintf(counters, sizeof counters, "%s:counters", queue->base);
    const enum status status =
        redis_fetchf(conn, "#", &reply, err, "EXISTS %s %s %s %s %s %s %s", queue->stream[JOB_HIGH],
                     queue->stream[JOB_NORMAL], queue->stream[JOB_LOW], queue->delayed, queue->dead,
                     queue->paused, counters);
    if (status == STATUS_REFUSED) { /* the command itself will say it */
        return STATUS_OK;
    }
    if (status == STATUS_OK) {
        *known = reply->integer > 0;
        redis_reply_free(reply);
    }
    return status;
}

/* ---- what is done to one ------------------------------------------------------------------- */

enum status fleet_pause(struct redis_conn *conn, const struct queue *queue, bool paused,
                        struct error *err)
{
    const enum status status = queue_pause(conn, queue, paused, err);

    if (status == STATUS_REFUSED && queue_install(conn, NULL, NULL) == STATUS_OK) {
        return queue_pause(conn, queue, paused, err); /* the functions were lost */
    }
    return status;
}

enum status fleet_purge(struct redis_conn *conn, const struct queue *queue,
                        const struct queue_stats *stats, size_t *purged, struct error *err)
{
    size_t left = (size_t)(stats->waiting + stats->running + stats->delayed);
    size_t some = 1;
    enum status status = STATUS_OK;

    while (status == STATUS_OK && left > 0 && some > 0) {
        status = queue_purge(conn, queue, left, &some, err);
        *purged += some;
        left -= some < left ? some : left;
    }
    return status;
}

/* ---- workers ------------------------------------------------------------------------------- */

bool worker_is_alive(const struct worker *worker)
{
    return worker->fields != NULL && worker->fields->elements > 0;
}

const char *worker_field(const struct worker *worker, const char *name)
{
    const struct slice value = redis_reply_find(worker->fields, name);

    return value.data == NULL ? "" : value.data;
}

void worker_list_free(struct worker_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->workers[i].id);
        redis_reply_free(list->workers[i].fields);
    }
    free(list->workers);
    *list = (struct worker_list){0};
}

static enum status get_hash(struct redis_conn *conn, const char *prefix, struct worker *worker,
                            struct error *err)
{
    char key[KEYS_BYTES];

    const enum status status = redis_fetchf(conn, "[", &worker->fields, err, "HGETALL %s",
                                            keys_name(key, KEYS_WORKER, prefix, worker->id));
    /* A key of another type says nothing of this worker, and nothing about the others. */
    return status == STATUS_REFUSED ? STATUS_OK : status;
}

/* From ZRANGE ... WITHSCORES: id, score, id, score ... */
static enum status load_workers(struct redis_conn *conn, const char *prefix,
                                const redisReply *members, struct worker_list *list,
                                struct error *err)
{
    list->workers = must_alloc(members->elements / 2 + 1, sizeof *list->workers);
    for (size_t i = 0; i + 1 < members->elements; i += 2) {
        const redisReply *id = members->element[i];
        const redisReply *beat = members->element[i + 1];
        if (id->type != REDIS_REPLY_STRING || beat->type != REDIS_REPLY_STRING) {
            return error_set(err, STATUS_GARBLED, "ZRANGE: an answer of another shape");
        }
        struct worker *worker = &list->workers[list->count++];
        worker->id = must_copy(id->str, (size_t)id->len);
        worker->beat_unix_ms = strtoll(beat->str, NULL, 10);
        TRY(get_hash(conn, prefix, worker, err));
        list->alive += worker_is_alive(worker);
    }
    return STATUS_OK;
}

enum status fleet_workers(struct redis_conn *conn, const char *prefix, struct worker_list *list,
                          struct error *err)
{
    redisReply *reply = NULL;
    char key[KEYS_BYTES];

    *list = (struct worker_list){0};
    keys_name(key, KEYS_PLAIN, prefix, "workers");
    enum status status = redis_fetchf(conn, "[", &reply, err, "ZRANGE %s 0 -1 WITHSCORES", key);
    if (status != STATUS_OK) {
        return status == STATUS_REFUSED ? error_wrap(err, "key \"%.64s\"", key) : status;
    }
    status = load_workers(conn, prefix, reply, list, err);
    redis_reply_free(reply);
    if (status != STATUS_OK) {
        worker_list_free(list);
    }
    return status;
}
