#include "context/families.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "queue/keys.h"

enum {
    WAIT_MS = 300,
    FRESH_MS = 500,    /* figures so young are not asked for again */
    KEPT_MS = 15000,   /* figures so old are not shown */
    IN_VAIN_MS = 2000, /* so long nobody waits after a wait in vain */
    MS_PER_S = 1000,
    US_PER_S = 1000000,
};

void families_init(struct families *f, const struct settings *settings, struct metrics *metrics,
                   const struct queue *queues, size_t queue_count)
{
    pthread_condattr_t monotonic;

    *f = (struct families){.settings = settings,
                           .metrics = metrics,
                           .queues = queues,
                           .queue_count = queue_count,
                           .started_unix_ms = clock_unix_ms()};
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);

    metrics_name_tallies(metrics, queue_counter_names, QUEUE_COUNTERS);
    for (size_t i = 0; i < queue_count; i++) {
        metrics_add_queue(metrics, queues[i].name);
    }
}

void families_free(struct families *f)
{
    pthread_cond_destroy(&f->answered);
    pthread_mutex_destroy(&f->lock);
}

/* ---- what Redis knows ------------------------------------------------------------------------ */

static void unset_all(struct families *f)
{
    for (size_t i = 0; i < f->queue_count; i++) {
        metrics_queue_unset(f->metrics, metrics_queue_of(f->metrics, f->queues[i].name));
    }
    metrics_prompts_unset(f->metrics);
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
        may_wait = pthread_cond_timedwait(&f->answered, &f->lock, &until) == 0;
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
    struct queue_stats stats = {0};
    size_t which = metrics_queue_of(f->metrics, queue->name);
    enum status status = queue_get_stats(conn, queue, &stats, err);

    if (status != STATUS_OK) {
        metrics_queue_unset(f->metrics, which);
        return status;
    }
    const struct queue_balance balance = queue_check_balance(&stats);
    const struct metrics_queue_facts facts = {
        .jobs = {[METRICS_WAITING] = stats.waiting,
                 [METRICS_RUNNING] = stats.running,
                 [METRICS_DELAYED] = stats.delayed,
                 [METRICS_DEAD] = stats.dead},
        .oldest_ms = stats.oldest_ms,
        .unaccounted = llabs(balance.jobs) + llabs(balance.dead),
        .limit_jobs = f->settings->max_backlog,
        .paused = stats.paused,
        .faults = (int64_t)stats.faults,
        .tallies = stats.counters,
    };
    metrics_queue_set(f->metrics, which, &facts);
    return STATUS_OK;
}

static enum status fetch_prompts(struct families *f, struct redis_conn *conn, struct error *err)
{
    enum { PROMPTS = 3, FIELDS = PROMPTS + METRICS_LOOKUPS };
    static const char *const names[FIELDS] = {
        "enriched",
        "stale",
        "fallback",
        [PROMPTS + METRICS_HIT] = "memory_hit",
        [PROMPTS + METRICS_MISS] = "memory_miss",
        [PROMPTS + METRICS_STALE] = "memory_stale",
    };
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char key[KEYS_BYTES];
    uint64_t counts[FIELDS] = {0};

    redis_args_format(&args, "HMGET %s", keys_plain(key, f->settings->prefix, "prompts"));
    for (int i = 0; i < FIELDS; i++) {
        redis_args_str(&args, names[i]);
    }
    enum status status = redis_conn_command(conn, &args, &reply, err);
    for (size_t i = 0; status == STATUS_OK && reply->type == REDIS_REPLY_ARRAY && i < FIELDS &&
                       i < reply->elements;
         i++) {
        if (reply->element[i]->type == REDIS_REPLY_STRING) {
            counts[i] = strtoull(reply->element[i]->str, NULL, 10);
        }
    }
    if (status == STATUS_OK) {
        metrics_memory_lookups(f->metrics, counts + PROMPTS);
        metrics_prompts(f->metrics, counts[0], counts[1], counts[2]);
    } else {
        metrics_prompts_unset(f->metrics);
    }
    redis_reply_free(reply);
    redis_args_free(&args);
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

static void write_head(struct strbuf *out, const char *name, const char *type, const char *help)
{
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_seconds(struct strbuf *out, const char *name, const char *type, const char *help,
                          int64_t ms)
{
    write_head(out, name, type, help);
    strbuf_printf(out, "%s %" PRId64 ".%03d\n", name, ms / MS_PER_S, (int)(ms % MS_PER_S));
}

static void write_whole(struct strbuf *out, const char *name, const char *help, long long value)
{
    write_head(out, name, "gauge", help);
    strbuf_printf(out, "%s %lld\n", name, value);
}

static int64_t ms_of(const struct timeval *time)
{
    return (int64_t)time->tv_sec * MS_PER_S + time->tv_usec / (US_PER_S / MS_PER_S);
}

/* /proc/self/statm: all pages, resident ones, ... */
static void write_memory(struct strbuf *out)
{
    FILE *statm = fopen("/proc/self/statm", "re");
    char line[128] = "";
    char *rest = line;

    if (statm == NULL) {
        return;
    }
    if (fgets(line, sizeof line, statm) != NULL) {
        const long long page_bytes = sysconf(_SC_PAGESIZE);
        const long long all = strtoll(line, &rest, 10);
        write_whole(out, "process_virtual_memory_bytes", "Virtual memory.", all * page_bytes);
        write_whole(out, "process_resident_memory_bytes", "Resident memory.",
                    strtoll(rest, NULL, 10) * page_bytes);
    }
    fclose(statm);
}

static void write_descriptors(struct strbuf *out)
{
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;
    long long open_count = -3; /* ".", ".." and the folder itself */

    if (folder == NULL) {
        return;
    }
    while (readdir(folder) != NULL) {
        open_count++;
    }
    closedir(folder);
    write_whole(out, "process_open_fds", "Open file descriptors.", open_count);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        write_whole(out, "process_max_fds", "How many may be open.", (long long)limit.rlim_cur);
    }
}

void families_write(const struct families *f, bool redis_up, struct strbuf *out)
{
    struct rusage usage;

    write_head(out, "stillhouse_build_info", "gauge",
               "1; the version of the worker and of its function library.");
    strbuf_printf(out, "stillhouse_build_info{version=\"%s\",functions=\"%lld\"} 1\n",
                  STILLHOUSE_VERSION_TEXT, queue_library_version());
    write_whole(out, "stillhouse_redis_up", "1 while Redis answers this worker.", redis_up);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        write_seconds(out, "process_cpu_seconds_total", "counter",
                      "Processor time, user and system.",
                      ms_of(&usage.ru_utime) + ms_of(&usage.ru_stime));
    }
    write_memory(out);
    write_descriptors(out);
    write_seconds(out, "process_start_time_seconds", "gauge", "Unix time of the start.",
                  f->started_unix_ms);
}
