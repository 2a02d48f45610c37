#include "operate/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "queue/queue.h"

/* ---- waiting ------------------------------------------------------------------------------- */

/* "(<last delivered>" of group fleet; "-" where there is no group, or no stream yet. */
static enum status first_waiting(struct redis_conn *conn, const char *stream,
                                 char out[ENTRY_ID_BYTES], struct error *err)
{
    redisReply *groups = NULL;

    snprintf(out, ENTRY_ID_BYTES, "-");
    TRY(redis_askf(conn, &groups, err, "XINFO GROUPS %s", stream));
    for (size_t i = 0; groups->type == REDIS_REPLY_ARRAY && i < groups->elements; i++) {
        const struct slice name = redis_reply_find(groups->element[i], "name");
        const struct slice last = redis_reply_find(groups->element[i], "last-delivered-id");
        if (name.data != NULL && strcmp(name.data, "fleet") == 0 && last.data != NULL) {
            snprintf(out, ENTRY_ID_BYTES, "(%s", last.data);
        }
    }
    redis_reply_free(groups);
    return STATUS_OK;
}

static void show_job(struct jobs_view *view, const struct entry *job)
{
    view->show(view->context, job);
    view->shown++;
}

static enum status show_waiting(struct jobs_view *view, enum job_priority priority, size_t most,
                                struct error *err)
{
    const char *stream = view->queue->stream[priority];
    struct entries waiting;
    struct entry job;

    entries_open(&waiting, view->conn, stream, ENTRY_WAITING);
    waiting.most = most;
    TRY(first_waiting(view->conn, stream, waiting.from, err));
    while (entries_next(&waiting, &job)) {
        job.priority = priority;
        show_job(view, &job);
    }
    return entries_close(&waiting, err);
}

/* ---- delayed ------------------------------------------------------------------------------- */

/* From member, score, member, score ...; with an id only that job. */
static void show_members(struct jobs_view *view, const redisReply *members, const char *id)
{
    struct entry job;

    for (size_t i = 0; members->type == REDIS_REPLY_ARRAY && i + 1 < members->elements; i += 2) {
        const redisReply *score = members->element[i + 1];
        const int64_t due = score->type == REDIS_REPLY_STRING ? strtoll(score->str, NULL, 10) : 0;
        if (entry_from_delayed(members->element[i], due, &job) &&
            (id == NULL ||
             (job.id.bytes == strlen(id) && memcmp(job.id.data, id, job.id.bytes) == 0))) {
            show_job(view, &job);
        }
    }
}

static enum status show_delayed(struct jobs_view *view, size_t most, struct error *err)
{
    redisReply *reply = NULL;

    TRY(redis_fetchf(view->conn, "[", &reply, err, "ZRANGE %s 0 %jd WITHSCORES",
                     view->queue->delayed, (int64_t)most - 1));
    show_members(view, reply, NULL);
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status jobs_next(struct jobs_view *view, size_t most, struct error *err)
{
    for (int i = 0; i < JOB_PRIORITIES && view->shown < most; i++) {
        TRY(show_waiting(view, (enum job_priority)i, most - view->shown, err));
    }
    return view->shown < most ? show_delayed(view, most - view->shown, err) : STATUS_OK;
}

/* ---- one job ------------------------------------------------------------------------------- */

/* Looks through all delayed jobs for one id; Redis does the comparing. `id` has no glob characters
 * (text_is_id). */
static enum status find_delayed(struct jobs_view *view, const char *id, struct error *err)
{
    char cursor[32] = "0";

    do {
        redisReply *reply = NULL;
        char pattern[TEXT_ID_MAX + 4];
        snprintf(pattern, sizeof pattern, "%s *", id);
        TRY(redis_fetchf(view->conn, "sa", &reply, err, "ZSCAN %s %s MATCH %s COUNT 1000",
                         view->queue->delayed, cursor, pattern));
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        show_members(view, reply->element[1], id);
        redis_reply_free(reply);
    } while (strcmp(cursor, "0") != 0 && view->shown == 0);
    return STATUS_OK;
}

/* An entry that somebody has is running: says so in `job`, which borrows from *reply then. */
static enum status mark_running(struct redis_conn *conn, const char *stream, struct entry *job,
                                redisReply **reply, struct error *err)
{
    const int bytes = (int)job->stream_id.bytes;
    const char *id = job->stream_id.data;

    const enum status status = redis_commandf(conn, reply, err, "XPENDING %s fleet %.*s %.*s 1",
                                              stream, bytes, id, bytes, id);
    if (status != STATUS_OK) { /* no group yet: it waits */
        return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    }
    const redisReply *row = (*reply)->type == REDIS_REPLY_ARRAY && (*reply)->elements == 1
                                ? (*reply)->element[0]
                                : *reply;
    if (redis_reply_is_row(row, "*s*i")) {
        job->state = ENTRY_RUNNING;
        job->consumer = (struct slice){row->element[1]->str, (size_t)row->element[1]->len};
        job->deliveries = row->element[3]->integer;
    }
    return STATUS_OK;
}

static enum status find_in_stream(struct jobs_view *view, enum job_priority priority,
                                  const char *id, struct error *err)
{
    const char *stream = view->queue->stream[priority];
    struct entries entries;
    struct entry job;
    redisReply *pending = NULL;

    entries_open(&entries, view->conn, stream, ENTRY_WAITING);
    if (!entries_find(&entries, id, &job)) {
        return entries_close(&entries, err);
    }
    job.priority = priority;
    const enum status status = mark_running(view->conn, stream, &job, &pending, err);
    if (status == STATUS_OK) {
        show_job(view, &job);
    }
    redis_reply_free(pending);
    entries_close(&entries, NULL);
    return status;
}

enum status jobs_find(struct jobs_view *view, const char *id, struct error *err)
{
    enum status status = STATUS_NOT_FOUND;

    for (int i = 0; status == STATUS_NOT_FOUND && i < JOB_PRIORITIES; i++) {
        status = find_in_stream(view, (enum job_priority)i, id, err);
    }
    if (status == STATUS_NOT_FOUND && text_is_id(id, strlen(id))) {
        status = find_delayed(view, id, err);
    }
    return status == STATUS_OK && view->shown == 0
               ? error_set(err, STATUS_NOT_FOUND, "no job \"%s\" in queue \"%s\"", id,
                           view->queue->name)
               : status;
}
