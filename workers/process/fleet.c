#include "process/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "chroma_writer/writer.h"
#include "process/janitor.h"
#include "process/lane.h"
#include "queue/queue.h"
#include "recorder/descriptions.h"
#include "recorder/recorder.h"

struct fleet {
    struct worker worker;
    struct lane **lanes;
    size_t lane_count;
    struct janitor *janitor;
};

enum { DEAF_MS = 30000, WAIT_STEP_MS = 5 };

static const struct handler *const handlers[KINDS] = {
#define JOB_KIND(name, needs, traits) [KIND_##name] = &handler_##name,
#include "jobs/kinds.def"
};

static enum status init_queues(struct worker *worker, struct error *err)
{
    char list[sizeof worker->settings->queues];
    char *rest = NULL;

    snprintf(list, sizeof list, "%s", worker->settings->queues);
    for (char *name = strtok_r(list, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        const size_t i = worker->queue_count;
        if (i == READER_QUEUES_MAX) {
            return error_set(err, STATUS_INVALID, "STILLHOUSE_QUEUES: more than %d queues",
                             (int)READER_QUEUES_MAX);
        }
        TRY(queue_init(&worker->queues[i], worker->settings->prefix, name, err));
        if (worker->queues[i].kind == KINDS) {
            return error_set(err, STATUS_INVALID, "STILLHOUSE_QUEUES: no handler for \"%s\"", name);
        }
        worker->handlers[i] = handlers[worker->queues[i].kind];
        worker->queue_count++;
    }
    return STATUS_OK;
}

static void make_id(struct worker *worker)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    char host[33] = "host";
    unsigned random = 0;

    if (worker->settings->worker_id[0] != '\0') {
        snprintf(worker->id, sizeof worker->id, "%s", worker->settings->worker_id);
        return;
    }
    gethostname(host, sizeof host - 1);
    for (char *c = host; *c != '\0'; c++) {
        *c = strchr(letters, *c) != NULL ? *c : '-';
    }
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        random = (unsigned)clock_now_ns();
    }
    snprintf(worker->id, sizeof worker->id, "%s-%d-%06x", host, (int)getpid(), random & 0xffffffU);
}

static bool needs_recorder(const struct worker *worker)
{
    for (size_t i = 0; i < worker->queue_count; i++) {
        if ((job_kinds[worker->queues[i].kind].needs & 1u << OPERATION_LEARN) != 0) {
            return true;
        }
    }
    return false;
}

static bool reads_store(const struct worker *worker)
{
    for (size_t i = 0; i < worker->queue_count; i++) {
        if ((job_kinds[worker->queues[i].kind].traits & KIND_READS_STORE) != 0) {
            return true;
        }
    }
    return false;
}

static enum status init_shared(struct worker *worker, struct error *err)
{
    const struct settings *settings = worker->settings;

    worker->upstreams = upstreams_new(settings, worker->metrics);
    worker->writer = writer_new(&(struct writer_config){
        .settings = settings,
        .metrics = worker->metrics,
        .upstreams = worker->upstreams,
        .redis_clock_ms = &worker->redis_clock_ms,
        .token = worker->id,
    });
    const struct reader_config config = {
        .settings = settings,
        .metrics = worker->metrics,
        .upstreams = worker->upstreams,
        .queues = worker->queues,
        .queue_count = worker->queue_count,
        .worker_id = worker->id,
        .fleet_size = &worker->fleet_size,
    };
    TRY(reader_new(&config, &worker->reader, err));
    worker->descriptions = reads_store(worker) ? descriptions_new(settings->learn) : NULL;
    return !needs_recorder(worker) ? STATUS_OK
                                   : recorder_start(
                                         &(struct recorder_config){
                                             .settings = settings,
                                             .metrics = worker->metrics,
                                             .upstreams = worker->upstreams,
                                             .queues = worker->queues,
                                             .queue_count = worker->queue_count,
                                             .worker_id = worker->id,
                                         },
                                         &worker->recorder, err);
}

/* All lanes are made before the first is started, so that a bad setting stops no job. */
static enum status start_threads(struct fleet *fleet, struct error *err)
{
    fleet->lanes = must_alloc((size_t)fleet->worker.settings->lanes, sizeof(struct lane *));
    for (int64_t i = 0; i < fleet->worker.settings->lanes; i++) {
        TRY(lane_new(&fleet->worker, (size_t)i, &fleet->lanes[i], err));
        fleet->lane_count++;
    }
    for (size_t i = 0; i < fleet->lane_count; i++) {
        TRY(lane_start(fleet->lanes[i], err));
    }
    return janitor_start(&fleet->worker, fleet->lanes, fleet->lane_count, &fleet->janitor, err);
}

enum status fleet_start(const struct settings *settings, struct metrics *metrics,
                        struct fleet **out, struct error *err)
{
    struct fleet *fleet = must_alloc(1, sizeof *fleet);
    struct worker *worker = &fleet->worker;

    worker->settings = settings;
    worker->metrics = metrics;
    worker->started_unix_ms = clock_unix_ms();
    atomic_init(&worker->redis_clock_ms, worker->started_unix_ms - clock_now_ms());
    make_id(worker);

    enum status status = init_queues(worker, err);
    families_init(&worker->families, settings, metrics, worker->queues, worker->queue_count);
    if (status == STATUS_OK) {
        status = init_shared(worker, err);
    }
    if (status == STATUS_OK) {
        status = start_threads(fleet, err);
    }
    if (status != STATUS_OK) {
        fleet_stop(fleet, FLEET_STOP);
        fleet_free(fleet);
        return status;
    }
    *out = fleet;
    return STATUS_OK;
}

void fleet_stop(struct fleet *fleet, enum fleet_mode mode)
{
    atomic_store(&fleet->worker.mode, (int)mode);
}

bool fleet_wait(struct fleet *fleet, int64_t wait_ms)
{
    int64_t until_ms = clock_now_ms() + wait_ms;

    while (atomic_load(&fleet->worker.lanes_running) > 0) {
        if (clock_now_ms() >= until_ms) {
            return false;
        }
        clock_sleep_ms(WAIT_STEP_MS);
    }
    return true;
}

void fleet_free(struct fleet *fleet)
{
    struct worker *worker = &fleet->worker;

    janitor_free(fleet->janitor); /* it looks at the lanes, until none runs */
    for (size_t i = 0; i < fleet->lane_count; i++) {
        lane_free(fleet->lanes[i]);
    }
    free(fleet->lanes);
    reader_free(worker->reader);
    writer_free(worker->writer);
    recorder_stop(worker->recorder);
    descriptions_free(worker->descriptions);
    upstreams_free(worker->upstreams);
    families_free(&worker->families);
    free(fleet);
}

struct worker *fleet_worker(struct fleet *fleet)
{
    return &fleet->worker;
}

bool fleet_is_alive(void *argument)
{
    const struct fleet *fleet = argument;
    const int64_t now_ms = clock_now_ms();
    bool turning = now_ms - reader_last_turn_ms(fleet->worker.reader) < DEAF_MS;

    for (size_t i = 0; i < fleet->lane_count && !turning; i++) {
        turning = now_ms - lane_moved_ms(fleet->lanes[i]) < DEAF_MS; /* all lanes may be busy */
    }
    return turning;
}

bool fleet_redis_ready(void *argument)
{
    const struct worker *worker = fleet_worker(argument);

    return reader_is_connected(worker->reader) && !atomic_load(&worker->is_cut_off) &&
           !atomic_load(&worker->evicts);
}

bool fleet_describe(void *argument, struct strbuf *out)
{
    const struct worker *worker = fleet_worker(argument);
    const bool evicts = atomic_load(&worker->evicts);

    if (evicts) {
        strbuf_append_str(out, ",\"evicts\":true");
    }
    const bool parks = worker->recorder != NULL && recorder_describe(worker->recorder, out);
    return reader_describe_aside(worker->reader, out) > 0 || evicts || parks;
}

void fleet_measure(void *argument)
{
    const struct worker *worker = fleet_worker(argument);
    const int busy = atomic_load(&worker->lanes_busy);
    const int idle = atomic_load(&worker->lanes_running) - busy;
    struct strbuf unused = {0};

    metrics_set(worker->metrics, METRICS_LANES, METRICS_BUSY, 0, busy);
    metrics_set(worker->metrics, METRICS_LANES, METRICS_IDLE, 0, idle > 0 ? idle : 0);
    metrics_set(worker->metrics, METRICS_QUEUES_SET_ASIDE, 0, 0,
                (int64_t)reader_describe_aside(worker->reader, &unused));
    strbuf_free(&unused);
}
