#include "enqueue/flush.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "enqueue/make.h"
#include "queue/enqueue.h"

enum {
    CALL_BYTES = 256 * 1024,
    BYTES_PER_MS = 16 * 1024, /* what the slowest network worth waiting for carries */
    SHRINK = 8,
    GROW = 4,
    DESCRIPTORS_SHARE = 8, /* of the process' descriptors a run takes one part in so many */
    FLUSH_MAX_MS = 24 * 60 * 60 * 1000,
};

struct bounds {
    int64_t deadline_ms; /* monotonic; 0 = a command's time from when there is a connection */
    size_t jobs_max;
};

/* Why a run may have left something, besides what Redis says. */
struct left {
    bool cut;          /* the bounds ended it */
    struct error disk; /* of the first file that could not be read or written */
};

struct claimed {
    struct spool_file file;
    bool over; /* no more of it in this run */
};

struct flushing {
    stillhouse_client *client;
    struct spool *spool;
    struct bounds bounds;
    bool looked;        /* the list of files is of this run */
    uint64_t looked_at; /* jobs done when it was made */
    struct left left;
    bool called;
    size_t singly; /* so many jobs go one by one: one of them was refused */

    int folder;
    struct claimed files[SPOOL_BATCH_MAX]; /* in order */
    size_t file_count;
    size_t files_max;

    struct queue queue; /* the call in hand; only its name and base are filled */
    struct queue_item items[SPOOL_BATCH_MAX];
    size_t of[SPOOL_BATCH_MAX];   /* the item's file */
    size_t ends[SPOOL_BATCH_MAX]; /* where its record ends there */
    size_t count;
    size_t bytes;
    struct queue_answer answers[SPOOL_BATCH_MAX];
    struct arena arena; /* options that had to be written anew */
};

/* ---- files ----------------------------------------------------------------------------------- */

static void note_disk(struct flushing *flushing, const struct error *err)
{
    if (flushing->left.disk.status == STATUS_OK) {
        flushing->left.disk = *err;
    }
}

static void look(struct flushing *flushing)
{
    struct error err = {0};

    flushing->looked = true;
    flushing->looked_at = flushing->spool->sent + flushing->spool->aside;
    if (spool_look(flushing->spool, NULL, &err) != STATUS_OK) {
        note_disk(flushing, &err);
    }
}

/* Claims one file more. Looks where none is known any more, and again where there were more than a
 * look can list, as long as that gets anywhere. */
static bool claim_next(struct flushing *flushing)
{
    struct spool *spool = flushing->spool;

    while (flushing->file_count < flushing->files_max) {
        struct claimed *next = &flushing->files[flushing->file_count];
        struct error err = {0};
        const enum status status = spool_claim(spool, flushing->folder, &next->file, &err);
        if (status == STATUS_OK) {
            next->over = false;
            flushing->file_count++;
            return true;
        }
        if (status != STATUS_NOT_FOUND) {
            note_disk(flushing, &err);
        } else if (!flushing->looked ||
                   (spool->more && flushing->looked_at < spool->sent + spool->aside)) {
            look(flushing);
        } else {
            return false;
        }
    }
    return false;
}

/* Lets go of the files that are done with, or of all. */
static void release_files(struct flushing *flushing, bool all)
{
    size_t kept = 0;

    for (size_t i = 0; i < flushing->file_count; i++) {
        struct claimed *claimed = &flushing->files[i];
        struct spool_record record;
        struct error err = {0};
        size_t end = 0;
        const bool used_up =
            spool_next(&claimed->file, claimed->file.at, &record, &end) == RECORD_END;
        if (used_up) { /* what may be torn behind it nobody was told of */
            claimed->file.at = end;
        }
        if (!all && !used_up && !claimed->over) {
            flushing->files[kept++] = *claimed;
        } else if (spool_release(&claimed->file, !claimed->over, &err) != STATUS_OK) {
            note_disk(flushing, &err);
        }
    }
    flushing->file_count = kept;
}

/* Passes what stands up to `to` over; a file where the disk does not allow it is left. */
static void set_aside(struct flushing *flushing, struct claimed *claimed, size_t to,
                      const char *why)
{
    struct error err = {0};

    if (spool_set_aside(&claimed->file, to, why, &err) != STATUS_OK) {
        note_disk(flushing, &err);
        claimed->over = true;
    }
}

/* ---- the next call --------------------------------------------------------------------------- */

/* A delay counts from when the job was kept. */
static struct slice take_options(struct flushing *flushing, struct slice written)
{
    struct job_options options;
    char *text = NULL;

    if (job_options_parse(written.data, written.bytes, true, &options, NULL) != STATUS_OK ||
        options.delay_ms == 0 || options.since_unix_ms == 0 ||
        (text = arena_array(&flushing->arena, JOBS_OPTIONS_BYTES, 1)) == NULL) {
        return written;
    }
    const int64_t left_ms = options.since_unix_ms + options.delay_ms - clock_unix_ms();
    options.delay_ms = left_ms < 0 ? 0 : left_ms < options.delay_ms ? left_ms : options.delay_ms;
    const size_t bytes = job_options_format(&options, text, JOBS_OPTIONS_BYTES);
    return (struct slice){text, bytes};
}

static void take_queue(struct flushing *flushing, struct slice base)
{
    struct queue *queue = &flushing->queue;
    const char *open = memchr(base.data, '{', base.bytes);

    *queue = (struct queue){0};
    snprintf(queue->base, sizeof queue->base, "%.*s", (int)base.bytes, base.data);
    snprintf(queue->name, sizeof queue->name, "%.*s", (int)(base.data + base.bytes - open - 2),
             open + 1);
}

static bool fits(const struct flushing *flushing, struct slice base)
{
    const size_t most = flushing->singly > 0 ? 1 : flushing->spool->batch;
    const char *known = flushing->queue.base;

    return flushing->count == 0 ||
           (flushing->count < most && flushing->bytes < CALL_BYTES && strlen(known) == base.bytes &&
            memcmp(known, base.data, base.bytes) == 0);
}

/* Adds the jobs of a file to the call. False when the call ends here. */
static bool add_jobs(struct flushing *flushing, size_t index)
{
    struct claimed *claimed = &flushing->files[index];
    size_t at = claimed->file.at;

    while (!claimed->over) {
        struct spool_record record;
        size_t end = 0;
        const enum record_piece piece = spool_next(&claimed->file, at, &record, &end);
        if (piece == RECORD_END) {
            break;
        }
        const bool good = piece == RECORD_JOB && spool_is_ours(flushing->spool, record.base);
        if (flushing->count > 0 && (!good || !fits(flushing, record.base))) {
            return false;
        }
        if (piece == RECORD_DAMAGED) {
            set_aside(flushing, claimed, end, "damaged: the checksum or a field is wrong");
            at = end;
            continue;
        }
        if (!good) { /* of another prefix */
            claimed->over = true;
            break;
        }
        if (flushing->count == 0) {
            take_queue(flushing, record.base);
        }
        flushing->items[flushing->count] = (struct queue_item){
            record.id, record.domain, take_options(flushing, record.options), record.body};
        flushing->of[flushing->count] = index;
        flushing->ends[flushing->count++] = end;
        flushing->bytes += record.body.bytes;
        at = end;
        if (flushing->count == SPOOL_BATCH_MAX) {
            return false;
        }
    }
    return true;
}

/* Makes the next call; false when there is nothing left to send. */
static bool next_call(struct flushing *flushing)
{
    release_files(flushing, false);
    flushing->count = 0;
    flushing->bytes = 0;
    arena_reset(&flushing->arena, CALL_BYTES);
    for (size_t i = 0;; i++) {
        if (i == flushing->files_max && flushing->count == 0) {
            release_files(flushing, false);
            i = 0;
        }
        if ((i == flushing->file_count && !claim_next(flushing)) || !add_jobs(flushing, i)) {
            return flushing->count > 0;
        }
        const size_t most = flushing->singly > 0 ? 1 : flushing->spool->batch;
        if (flushing->count >= most) {
            return true;
        }
    }
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* False when the time left is too short for another call. Sets the bound of one. */
static bool may_call(struct flushing *flushing, struct redis_conn *conn)
{
    const int64_t command_ms = flushing->client->config.bounds.command_ms;
    const int64_t most_ms = command_ms + (int64_t)flushing->bytes / BYTES_PER_MS;
    const int64_t now_ms = clock_now_ms();

    if (flushing->bounds.deadline_ms == 0) {
        flushing->bounds.deadline_ms = now_ms + command_ms;
    }
    const int64_t left_ms = flushing->bounds.deadline_ms - now_ms;
    if ((flushing->called && left_ms < (command_ms + 1) / 2) || flushing->bounds.jobs_max == 0) {
        return false;
    }
    link_limit(conn, now_ms + (!flushing->called && left_ms < command_ms ? command_ms
                               : left_ms < most_ms                       ? left_ms
                                                                         : most_ms));
    flushing->called = true;
    return true;
}

/* The first `count` jobs of the call are in. */
static void accept_jobs(struct flushing *flushing, size_t count)
{
    size_t *const jobs_max = &flushing->bounds.jobs_max;

    flushing->spool->sent += count;
    *jobs_max -= count < *jobs_max ? count : *jobs_max;
    for (size_t i = 0; i < count; i++) {
        struct error err = {0};
        if ((i + 1 == count || flushing->of[i + 1] != flushing->of[i]) &&
            spool_take(&flushing->files[flushing->of[i]].file, flushing->ends[i], &err) !=
                STATUS_OK) {
            note_disk(flushing, &err);
        }
    }
}

/* A call went through: the next one may be larger. */
static void grow_calls(struct flushing *flushing)
{
    struct spool *spool = flushing->spool;
    const size_t batch = spool->batch * GROW;

    if (flushing->singly > 0) {
        flushing->singly--;
    } else {
        spool->batch = batch < SPOOL_BATCH_MAX ? batch : SPOOL_BATCH_MAX;
    }
}

static enum status take_answers(struct flushing *flushing, struct error *err)
{
    size_t accepted = 0;

    while (accepted < flushing->count && !flushing->answers[accepted].full) {
        accepted++;
    }
    accept_jobs(flushing, accepted);
    if (accepted < flushing->count) {
        flushing->spool->batch = 1; /* enough to see whether there is room again */
        return error_set(err, STATUS_FULL, "queue \"%s\" is full: %lld jobs wait already",
                         flushing->queue.name, (long long)flushing->client->config.max_backlog);
    }
    grow_calls(flushing);
    return STATUS_OK;
}

/* A job that never will be taken must not stand in the others' way. */
static void refuse_jobs(struct flushing *flushing, const struct error *why)
{
    if (flushing->count > 1) {
        flushing->singly = flushing->count;
        return;
    }
    flushing->singly -= flushing->singly > 0;
    set_aside(flushing, &flushing->files[flushing->of[0]], flushing->ends[0], why->text);
}

static enum status send_call(struct flushing *flushing, struct redis_conn *conn, struct error *err)
{
    struct spool *spool = flushing->spool;

    const enum status status =
        queue_enqueue(conn,
                      &(struct queue_items){&flushing->queue, flushing->client->config.max_backlog,
                                            flushing->items, flushing->count},
                      flushing->answers, err);
    if (status == STATUS_INVALID) {
        refuse_jobs(flushing, err);
        return STATUS_OK;
    }
    if (status == STATUS_TIMEOUT || status == STATUS_UNREACHABLE) {
        spool->batch = spool->batch > SHRINK ? spool->batch / SHRINK : 1;
    }
    return status == STATUS_OK ? take_answers(flushing, err) : status;
}

/* May run twice: it goes on where the files say. */
static enum status send_all(struct redis_conn *conn, void *context, struct error *err)
{
    struct flushing *flushing = context;
    enum status status = STATUS_OK;

    while (status == STATUS_OK && next_call(flushing)) {
        if (!may_call(flushing, conn)) {
            flushing->left.cut = true;
            break;
        }
        status = send_call(flushing, conn, err);
    }
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* The list of the last run is gone on with, but for `fresh`; none is made for a Redis that is not
 * tried just now. */
static enum status run(struct flushing *flushing, bool fresh, struct error *err)
{
    struct spool *spool = flushing->spool;
    struct link *link = flushing->client->link;
    struct rlimit descriptors = {0};
    enum status status = STATUS_OK;

    if (fresh || (spool->next == spool->count && (!spool->waiting || link_is_willing(link)))) {
        look(flushing);
    }
    if (flushing->looked && spool->next == spool->count) {
        return STATUS_OK;
    }
    (void)getrlimit(RLIMIT_NOFILE, &descriptors);
    const rlim_t share = descriptors.rlim_cur / DESCRIPTORS_SHARE;
    flushing->files_max = share < 1 ? 1 : share < SPOOL_BATCH_MAX ? (size_t)share : SPOOL_BATCH_MAX;
    struct error fault = {0};
    flushing->folder = spool_folder(spool, &fault);
    if (flushing->folder < 0) {
        note_disk(flushing, &fault);
        return STATUS_OK;
    }
    status = link_run(link, send_all, flushing, err);
    release_files(flushing, true);
    close(flushing->folder);
    arena_free(&flushing->arena);
    return status;
}

/* OK: all that is not held by other processes was looked at, or *left says why not. FULL, or why
 * Redis would not have it: something is left. One call is always made; another one only while half
 * a command's time is left. */
static enum status flush(stillhouse_client *client, struct bounds bounds, bool fresh,
                         struct left *left, struct error *err)
{
    struct spool *spool = &client->spool;

    struct flushing *flushing = calloc(1, sizeof *flushing);
    if (flushing == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    flushing->client = client;
    flushing->spool = spool;
    flushing->bounds = bounds;
    const enum status status = run(flushing, fresh, err);
    spool->waiting = status != STATUS_OK || flushing->left.cut;
    *left = flushing->left;
    free(flushing);
    return status;
}

/* What the disk has against it is no reason not to send the new job. */
enum status flush_make_way(stillhouse_client *client, struct error *err)
{
    const struct bounds bounds = {.jobs_max = SPOOL_BATCH_MAX};
    const struct spool *spool = &client->spool;
    struct left left = {.cut = false};

    if (!spool->waiting && clock_now_ms() < spool->look_again_ms) {
        return STATUS_OK;
    }
    TRY(flush(client, bounds, false, &left, err));
    if (left.cut) {
        return error_set(err, STATUS_UNAVAILABLE, "jobs that were kept before it go first");
    }
    return STATUS_OK;
}

/* ---- the public calls ------------------------------------------------------------------------ */

static enum status flush_now(stillhouse_client *client, int timeout_ms, size_t *jobs,
                             struct error *err)
{
    const struct bounds bounds = {clock_now_ms() + timeout_ms, SIZE_MAX};
    struct left left = {.cut = false};
    struct error counting = {0};

    const enum status status = flush(client, bounds, true, &left, err);
    const enum status counted = spool_look(&client->spool, jobs, &counting);
    TRY(status);
    if (left.disk.status != STATUS_OK || counted != STATUS_OK) {
        *err = left.disk.status != STATUS_OK ? left.disk : counting;
        return err->status;
    }
    if (left.cut) {
        return error_set(err, STATUS_NOT_FOUND, "not all sent in time: %zu jobs left", *jobs);
    }
    return *jobs == 0
               ? STATUS_OK
               : error_set(err, STATUS_NOT_FOUND,
                           "%zu jobs left in files that other processes hold, or of another prefix",
                           *jobs);
}

stillhouse_status stillhouse_flush(stillhouse_client *client, int timeout_ms, size_t *left)
{
    struct error err = {0};
    enum status status = STATUS_OK;
    size_t waiting = 0;

    if (left != NULL) {
        *left = 0;
    }
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    if (timeout_ms < 0 || timeout_ms > FLUSH_MAX_MS) {
        status = error_set(&err, STATUS_INVALID, "timeout_ms %d: expected 0 to %d", timeout_ms,
                           FLUSH_MAX_MS);
    } else if (client->spool.folder != NULL) {
        status = flush_now(client, timeout_ms, &waiting, &err);
    }
    if (left != NULL) {
        *left = waiting;
    }
    return client_finish(client, status, &err);
}

void stillhouse_outbox_counts(const stillhouse_client *client, uint64_t *kept, uint64_t *sent,
                              uint64_t *aside)
{
    /* What a parent did is not this process' doing. */
    const bool ours = client != NULL && client->forks == forks_count();
    const uint64_t counts[] = {ours ? client->spool.kept : 0, ours ? client->spool.sent : 0,
                               ours ? client->spool.aside : 0};
    uint64_t *const out[] = {kept, sent, aside};

    for (size_t i = 0; i < 3; i++) {
        if (out[i] != NULL) {
            *out[i] = counts[i];
        }
    }
}
