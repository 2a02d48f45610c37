#include "context/families.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "queue/keys.h"
#include "queue/operate.h"

enum {
    WAIT_MS = 300,
    FRESH_MS = 500,    /* figures so young are not asked for again */
    KEPT_MS = 15000,   /* figures so old are not shown */
    IN_VAIN_MS = 2000, /* so long nobody waits after a wait in vain */
    MS_PER_S = 1000,
    US_PER_S = 1000000,
};

void families_init(struct families *f, const struct settings *settings, struct metrics *metrics,
                   struct queue *queues, size_t queue_count)
{
    *f = (struct families){.settings = settings,
                           .metrics = metrics,
                           .queues = queues,
                           .queue_count = queue_count,
                           .started_unix_ms = clock_unix_ms()};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->answered, NULL);

    metrics_name_build(metrics, STILLHOUSE_VERSION_TEXT, queue_library_version());
    metrics_name_tallies(metrics, queue_counter_names, QUEUE_COUNTERS);
    for (size_t i = 0; i < queue_count; i++) {
        metrics_add_queue(metrics, queues[i].name);
        queues[i].series = metrics_queue_of(metrics, queues[i].name);
    }
}

void families_free(struct families *f)
{
    pthread_cond_destroy(&f->answered);
    pthread_mutex_destroy(&f->lock);
}

/* ---- what Redis knows ------------------------------------------------------------------------ */

static void unset_prompts(struct metrics *m)
{
    metrics_unset(m, METRICS_PROMPTS, METRICS_ENRICHED);
    metrics_unset(m, METRICS_PROMPTS, METRICS_FALLBACK);
    metrics_unset(m, METRICS_PROMPTS, METRICS_HOLDOUT);
    metrics_unset(m, METRICS_CACHE_LOOKUPS, METRICS_MEMORY);
}

static void unset_all(struct families *f)
{
    for (size_t i = 0; i < f->queue_count; i++) {
        metrics_unset_queue(f->metrics, f->queues[i].series);
    }
    unset_prompts(f->metrics);
}

void families_refresh(struct families *f)
{
    const struct timespec until = clock_in_ms(WAIT_MS);
    int64_t now_ms = clock_now_ms();

    pthread_mutex_lock(&f->lock);
    if (f->ended_ms == 0 || now_ms - f->ended_ms >= FRESH_MS) {
        f->asked = true;
    }
    bool may_wait = f->in_vain_ms == 0 || now_ms - f->in_vain_ms >= IN_VAIN_MS;
    while (f->asked && may_wait) {
        may_wait = pthread_cond_clockwait(&f->answered, &f->lock, CLOCK_MONOTONIC, &until) == 0;
        f->in_vain_ms = may_wait ? 0 : clock_now_ms();
    }
    if (f->asked && clock_now_ms() - f->ended_ms >= KEPT_MS) {
        unset_all(f);
    }
    pthread_mutex_unlock(&f->lock);
}

bool families_are_asked(struct families *f)
{
    pthread_mutex_lock(&f->lock);
    bool asked = f->asked;
    pthread_mutex_unlock(&f->lock);
    return asked;
}

static enum status fetch_queue(struct families *f, struct redis_conn *conn,
                               const struct queue *queue, struct error *err)
{
    struct metrics *m = f->metrics;
    const size_t row = queue->series;
    struct queue_stats stats = {0};
    const enum status status = queue_get_stats(conn, queue, &stats, err);

    if (status != STATUS_OK) {
        metrics_unset_queue(m, row);
        return status;
    }
    const struct queue_balance balance = queue_check_balance(&stats);
    metrics_set(m, METRICS_QUEUE_JOBS, row, METRICS_WAITING, stats.waiting);
    metrics_set(m, METRICS_QUEUE_JOBS, row, METRICS_RUNNING, stats.running);
    metrics_set(m, METRICS_QUEUE_JOBS, row, METRICS_DELAYED, stats.delayed);
    metrics_set(m, METRICS_QUEUE_JOBS, row, METRICS_DEAD, stats.dead);
    metrics_set(m, METRICS_QUEUE_OLDEST_MS, row, 0, stats.oldest_ms);
    metrics_set(m, METRICS_UNACCOUNTED, row, 0, llabs(balance.jobs) + llabs(balance.dead));
    metrics_set(m, METRICS_QUEUE_PAUSED, row, 0, stats.paused);
    metrics_set(m, METRICS_QUEUE_FAULTS, row, 0, (int64_t)stats.faults);
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        metrics_set(m, METRICS_FLEET_JOBS, row, i, stats.counters[i]);
    }
    if (f->settings->max_backlog > 0) { /* 0 = no bound */
        metrics_set(m, METRICS_QUEUE_LIMIT, row, 0, f->settings->max_backlog);
    }
    return STATUS_OK;
}

/* A field that is not there, or holds no number, counts as 0. */
static uint64_t count_in(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? strtoull(reply->str, NULL, 10) : 0;
}

static enum status fetch_prompts(struct families *f, struct redis_conn *conn, struct error *err)
{
    struct metrics *m = f->metrics;
    redisReply *reply = NULL;
    char key[KEYS_BYTES];

    const enum status status = redis_commandf(
        conn, &reply, err,
        "HMGET %s enriched stale fallback memory_hit memory_miss memory_stale holdout",
        keys_name(key, KEYS_PLAIN, f->settings->prefix, "prompts"));
    if (status == STATUS_OK && redis_reply_is_row(reply, "*******")) {
        redisReply **fields = reply->element;
        metrics_set(m, METRICS_PROMPTS, METRICS_ENRICHED, 0,
                    (int64_t)(count_in(fields[0]) + count_in(fields[1])));
        metrics_set(m, METRICS_PROMPTS, METRICS_FALLBACK, 0, (int64_t)count_in(fields[2]));
        metrics_set(m, METRICS_CACHE_LOOKUPS, METRICS_MEMORY, METRICS_HIT,
                    (int64_t)count_in(fields[3]));
        metrics_set(m, METRICS_CACHE_LOOKUPS, METRICS_MEMORY, METRICS_MISS,
                    (int64_t)count_in(fields[4]));
        metrics_set(m, METRICS_CACHE_LOOKUPS, METRICS_MEMORY, METRICS_STALE,
                    (int64_t)count_in(fields[5]));
        metrics_set(m, METRICS_PROMPTS, METRICS_HOLDOUT, 0, (int64_t)count_in(fields[6]));
    } else {
        unset_prompts(m);
    }
    redis_reply_free(reply);
    return status;
}

/* What one key's content spoils costs that queue its figures, not the others theirs; a connection
 * that is gone is not tried once a queue. */
void families_fetch(struct families *f, struct redis_conn *conn)
{
    struct error err = {0};
    enum status status = fetch_prompts(f, conn, &err);

    for (size_t i = 0; i < f->queue_count; i++) {
        if (status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT) {
            unset_all(f);
            break;
        }
        status = fetch_queue(f, conn, &f->queues[i], &err);
    }

    pthread_mutex_lock(&f->lock);
    f->asked = false;
    f->ended_ms = clock_now_ms();
    pthread_cond_broadcast(&f->answered);
    pthread_mutex_unlock(&f->lock);
}

/* ---- the process ----------------------------------------------------------------------------- */

static int64_t ms_of(const struct timeval *time)
{
    return (int64_t)time->tv_sec * MS_PER_S + time->tv_usec / (US_PER_S / MS_PER_S);
}

/* /proc/self/statm: all pages, resident ones, ... */
static void measure_memory(struct metrics *m)
{
    FILE *statm = fopen("/proc/self/statm", "re");
    char line[128] = "";
    char *rest = line;

    if (statm == NULL) {
        return;
    }
    if (fgets(line, sizeof line, statm) != NULL) {
        const int64_t page_bytes = sysconf(_SC_PAGESIZE);
        const int64_t all = strtoll(line, &rest, 10);
        metrics_set(m, METRICS_PROCESS_VIRTUAL, 0, 0, all * page_bytes);
        metrics_set(m, METRICS_PROCESS_RESIDENT, 0, 0, strtoll(rest, NULL, 10) * page_bytes);
    }
    fclose(statm);
}

static void measure_descriptors(struct metrics *m)
{
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;
    int64_t open_count = -3; /* ".", ".." and the folder itself */

    if (folder == NULL) {
        return;
    }
    while (readdir(folder) != NULL) {
        open_count++;
    }
    closedir(folder);
    metrics_set(m, METRICS_PROCESS_OPEN_FILES, 0, 0, open_count);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        metrics_set(m, METRICS_PROCESS_MOST_FILES, 0, 0, (int64_t)limit.rlim_cur);
    }
}

void families_measure(const struct families *f, bool redis_up)
{
    struct rusage usage;

    metrics_set(f->metrics, METRICS_REDIS_UP, 0, 0, redis_up);
    metrics_set(f->metrics, METRICS_PROCESS_START_MS, 0, 0, f->started_unix_ms);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        metrics_set(f->metrics, METRICS_PROCESS_CPU_MS, 0, 0,
                    ms_of(&usage.ru_utime) + ms_of(&usage.ru_stime));
    }
    measure_memory(f->metrics);
    measure_descriptors(f->metrics);
}
