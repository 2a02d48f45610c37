#include "operate/fleet.h"

#include <stdio.h>

#include <stdlib.h>
#include <string.h>

#include "queue/keys.h"

const char *const fleet_queue_names[FLEET_QUEUES] = {"enrich", "distill", "index", "echo"};

/* ---- queues -------------------------------------------------------------------------------- */

void queue_list_free(struct queue_list *list)
{
    free(list->queues);
    *list = (struct queue_list){0};
}

static enum status add_queue(struct queue_list *list, const char *prefix, const char *name,
                             struct error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->queues[i].name, name) == 0) {
            return STATUS_OK;
        }
    }
    struct queue *queues = realloc(list->queues, (list->count + 1) * sizeof *queues);
    if (queues == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    list->queues = queues;
    const enum status status = queue_init(&queues[list->count], prefix, name, err);
    list->count += status == STATUS_OK;
    return status;
}

/* "<prefix>:{<name>}:counters": adds the name; what is of another form is somebody else's. */
static enum status add_by_key(struct queue_list *list, const char *prefix, const redisReply *key,
                              struct error *err)
{
    const size_t head = strlen(prefix) + 2;
    char name[QUEUE_NAME_MAX + 1];

    if (key->type != REDIS_REPLY_STRING || (size_t)key->len <= head) {
        return STATUS_OK;
    }
    const size_t bytes = strcspn(key->str + head, "}");
    if (bytes == 0 || bytes >= sizeof name) {
        return STATUS_OK;
    }
    memcpy(name, key->str + head, bytes);
    name[bytes] = '\0';

    const enum status status = add_queue(list, prefix, name, err);
    return status == STATUS_INVALID ? STATUS_OK : status;
}

/* The SCAN pattern, with the prefix taken literally. */
static void append_pattern(struct strbuf *out, const char *prefix)
{
    for (; *prefix != '\0'; prefix++) {
        if (strchr("*?[]\\", *prefix) != NULL) {
            strbuf_append_char(out, '\\');
        }
        strbuf_append_char(out, *prefix);
    }
    strbuf_append_str(out, ":{*}:counters");
}

/* One SCAN; moves `cursor`. */
static enum status scan_once(struct redis_conn *conn, const char *pattern, char cursor[32],
                             redisReply **reply, struct error *err)
{
    const enum status status =
        redis_commandf(conn, reply, err, "SCAN %s MATCH %s COUNT 2000", cursor, pattern);
    if (status != STATUS_OK) {
        return status;
    }
    if (!redis_reply_is_row(*reply, "sa")) {
        redis_reply_free(*reply);
        return error_set(err, STATUS_GARBLED, "SCAN: an answer of another shape");
    }
    snprintf(cursor, 32, "%s", (*reply)->element[0]->str);
    return STATUS_OK;
}

static enum status find_queues(struct redis_conn *conn, const char *prefix, const char *pattern,
                               struct queue_list *list, struct error *err)
{
    char cursor[32] = "0";

    do {
        redisReply *reply = NULL;
        enum status status = scan_once(conn, pattern, cursor, &reply, err);
        if (status != STATUS_OK) {
            return status;
        }
        const redisReply *keys = reply->element[1];
        for (size_t i = 0; status == STATUS_OK && i < keys->elements; i++) {
            status = add_by_key(list, prefix, keys->element[i], err);
        }
        redis_reply_free(reply);
        if (status != STATUS_OK) {
            return status;
        }
    } while (strcmp(cursor, "0") != 0);
    return STATUS_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct queue *left = a;
    const struct queue *right = b;

    return strcmp(left->name, right->name);
}

enum status fleet_queues(struct redis_conn *conn, const char *prefix, struct queue_list *list,
                         struct error *err)
{
    struct strbuf pattern = {0};
    enum status status = STATUS_OK;

    *list = (struct queue_list){0};
    for (size_t i = 0; status == STATUS_OK && i < FLEET_QUEUES; i++) {
        status = add_queue(list, prefix, fleet_queue_names[i], err);
    }
    append_pattern(&pattern, prefix);
    if (status == STATUS_OK && !strbuf_ok(&pattern)) {
        status = error_set(err, STATUS_OOM, "out of memory");
    }
    if (status == STATUS_OK) {
        status = find_queues(conn, prefix, pattern.data, list, err);
    }
    strbuf_free(&pattern);
    if (status != STATUS_OK) {
        queue_list_free(list);
        return status;
    }
    qsort(list->queues + FLEET_QUEUES, list->count - FLEET_QUEUES, sizeof *list->queues, by_name);
    return STATUS_OK;
}

/* ---- workers ------------------------------------------------------------------------------- */

bool worker_is_alive(const struct worker *worker)
{
    return worker->fields != NULL && worker->fields->elements > 0;
}

const char *worker_field(const struct worker *worker, const char *name)
{
    for (size_t i = 0; worker->fields != NULL && i + 1 < worker->fields->elements; i += 2) {
        const redisReply *field = worker->fields->element[i];
        const redisReply *value = worker->fields->element[i + 1];
        if (field->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            strcmp(field->str, name) == 0) {
            return value->str;
        }
    }
    return "";
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

    enum status status = redis_commandf(conn, &worker->fields, err, "HGETALL %s",
                                        keys_worker(key, prefix, worker->id));
    if (status == STATUS_OK && worker->fields->type != REDIS_REPLY_ARRAY) {
        status = error_set(err, STATUS_GARBLED, "HGETALL: an answer of another shape");
    }
    /* A key of another type says nothing of this worker, and nothing about the others. */
    return status == STATUS_REFUSED ? STATUS_OK : status;
}

/* From ZRANGE ... WITHSCORES: id, score, id, score ... */
static enum status load_workers(struct redis_conn *conn, const char *prefix,
                                const redisReply *members, struct worker_list *list,
                                struct error *err)
{
    list->workers = calloc(members->elements / 2 + 1, sizeof *list->workers);
    if (list->workers == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (size_t i = 0; i + 1 < members->elements; i += 2) {
        const redisReply *id = members->element[i];
        const redisReply *beat = members->element[i + 1];
        if (id->type != REDIS_REPLY_STRING || beat->type != REDIS_REPLY_STRING) {
            return error_set(err, STATUS_GARBLED, "ZRANGE: an answer of another shape");
        }
        struct worker *worker = &list->workers[list->count++];
        worker->id = strdup(id->str);
        worker->beat_unix_ms = strtoll(beat->str, NULL, 10);
        if (worker->id == NULL) {
            return error_set(err, STATUS_OOM, "out of memory");
        }
        const enum status status = get_hash(conn, prefix, worker, err);
        if (status != STATUS_OK) {
            return status;
        }
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
    enum status status = redis_commandf(conn, &reply, err, "ZRANGE %s 0 -1 WITHSCORES",
                                        keys_plain(key, prefix, "workers"));
    if (status != STATUS_OK) {
        return status == STATUS_REFUSED ? error_wrap(err, "key \"%.64s\"", key) : status;
    }
    status = reply->type == REDIS_REPLY_ARRAY
                 ? load_workers(conn, prefix, reply, list, err)
                 : error_set(err, STATUS_GARBLED, "ZRANGE: an answer of another shape");
    redis_reply_free(reply);
    if (status != STATUS_OK) {
        worker_list_free(list);
    }
    return status;
}
