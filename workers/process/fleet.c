#include "process/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "chroma_writer/group_write.h"

enum { DEAF_MS = 30000, WAIT_STEP_MS = 5 };

static const struct handler *const handlers[] = {&handler_enrich, &handler_distill, &handler_index,
                                                 &handler_echo};

/* "enrich.3" is served by the handler of "enrich". */
static const struct handler *handler_of(const char *name)
{
    size_t bytes = strcspn(name, ".");

    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        if (strlen(handlers[i]->name) == bytes && memcmp(handlers[i]->name, name, bytes) == 0) {
            return handlers[i];
        }
    }
    return NULL;
}

static enum status init_queues(struct fleet *fleet, struct error *err)
{
    char list[sizeof fleet->settings->queues];
    char *rest = NULL;

    snprintf(list, sizeof list, "%s", fleet->settings->queues);
    for (char *name = strtok_r(list, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        size_t i = fleet->queue_count;
        fleet->handlers[i] = handler_of(name);
        if (fleet->handlers[i] == NULL || i + 1 > READER_QUEUES_MAX) {
            return error_set(err, STATUS_INVALID, "STILLHOUSE_QUEUES: no handler for \"%s\"", name);
        }
        enum status status = queue_init(&fleet->queues[i], fleet->settings->prefix, name, err);
        if (status != STATUS_OK) {
            return status;
        }
        fleet->queue_count++;
    }
    return STATUS_OK;
}

static void make_id(struct fleet *fleet)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    char host[33] = "host";
    unsigned random = 0;

    if (fleet->settings->worker_id[0] != '\0') {
        snprintf(fleet->id, sizeof fleet->id, "%s", fleet->settings->worker_id);
        return;
    }
    gethostname(host, sizeof host - 1);
    for (char *c = host; *c != '\0'; c++) {
        *c = strchr(letters, *c) != NULL ? *c : '-';
    }
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        random = (unsigned)clock_now_ns();
    }
    snprintf(fleet->id, sizeof fleet->id, "%s-%d-%06x", host, (int)getpid(), random & 0xffffffU);
}

static enum status init_shared(struct fleet *fleet, struct error *err)
{
    fleet->upstreams = upstreams_new(fleet->settings, fleet->metrics);
    fleet->writer =
        writer_new(fleet->settings->prefix, (size_t)fleet->settings->chroma_writers, fleet->id);
    fleet->group_write = group_write_new(fleet->writer, (size_t)fleet->settings->chroma_writers);
    fleet->sweep = sweep_new(fleet);
    fleet->lanes = calloc((size_t)fleet->settings->lanes, sizeof *fleet->lanes);
    if (fleet->upstreams == NULL || fleet->writer == NULL || fleet->group_write == NULL ||
        fleet->sweep == NULL || fleet->lanes == NULL) {
        return error_set(err, STATUS_OOM, "no memory for the fleet");
    }
    const struct reader_config config = {
        .settings = fleet->settings,
        .metrics = fleet->metrics,
        .upstreams = fleet->upstreams,
        .queues = fleet->queues,
        .queue_count = fleet->queue_count,
        .worker_id = fleet->id,
        .fleet_size = &fleet->size,
    };
    return reader_new(&config, &fleet->reader, err);
}

/* To wake the next lane takes some 20 us, which a lone job need not wait for: the turn is passed
 * when the lane waits for the first time, for whatever it may be. */
static void pass_turn(void *argument)
{
    struct lane *lane = argument;

    reader_pass_turn(lane->fleet->reader, &lane->takes);
}

static enum status init_lane(struct fleet *fleet, struct lane *lane, size_t index,
                             struct error *err)
{
    lane->fleet = fleet;
    pthread_mutex_init(&lane->lock, NULL);
    snprintf(lane->consumer, sizeof lane->consumer, "%s.%zu", fleet->id, index);
    lane->ctx.settings = fleet->settings;
    lane->ctx.metrics = fleet->metrics;
    lane->ctx.upstreams = fleet->upstreams;
    lane->ctx.writer = fleet->writer;
    lane->ctx.group_write = fleet->group_write;
    lane->ctx.consumer = lane->consumer;
    lane->ctx.before_wait = pass_turn;
    lane->ctx.lane = lane;
    lane->ctx.redis_clock_ms = &fleet->redis_clock_ms;
    fleet->lane_count++;
    return context_open(&lane->ctx, err);
}

static enum status start_threads(struct fleet *fleet, struct error *err)
{
    for (size_t i = 0; i < fleet->lane_count; i++) {
        struct lane *lane = &fleet->lanes[i];
        atomic_fetch_add(&fleet->lanes_running, 1);
        lane->started = pthread_create(&lane->thread, NULL, lane_run, lane) == 0;
        if (!lane->started) {
            atomic_fetch_sub(&fleet->lanes_running, 1);
            return error_set(err, STATUS_OOM, "lane %zu: no thread to be had", i);
        }
    }
    fleet->janitor_started = pthread_create(&fleet->janitor, NULL, janitor_run, fleet) == 0;
    return fleet->janitor_started ? STATUS_OK
                                  : error_set(err, STATUS_OOM, "janitor: no thread to be had");
}

enum status fleet_start(struct fleet *fleet, const struct settings *settings,
                        struct metrics *metrics, struct error *err)
{
    fleet->settings = settings;
    fleet->metrics = metrics;
    fleet->started_unix_ms = clock_unix_ms();
    atomic_init(&fleet->redis_clock_ms, fleet->started_unix_ms - clock_now_ms());
    make_id(fleet);

    enum status status = init_queues(fleet, err);
    families_init(&fleet->families, settings, metrics, fleet->queues, fleet->queue_count);
    if (status == STATUS_OK) {
        status = init_shared(fleet, err);
    }
    for (size_t i = 0; i < (size_t)settings->lanes && status == STATUS_OK; i++) {
        status = init_lane(fleet, &fleet->lanes[i], i, err);
    }
    if (status == STATUS_OK) {
        status = start_threads(fleet, err);
    }
    if (status != STATUS_OK) {
        fleet_stop(fleet, FLEET_STOP);
        fleet_join(fleet);
    }
    return status;
}

enum fleet_mode fleet_get_mode(const struct fleet *fleet)
{
    return (enum fleet_mode)atomic_load_explicit(&fleet->mode, memory_order_relaxed);
}

void fleet_stop(struct fleet *fleet, enum fleet_mode mode)
{
    atomic_store(&fleet->mode, (int)mode);
}

bool fleet_wait(struct fleet *fleet, int64_t wait_ms)
{
    int64_t until_ms = clock_now_ms() + wait_ms;

    while (atomic_load(&fleet->lanes_running) > 0) {
        if (clock_now_ms() >= until_ms) {
            return false;
        }
        clock_sleep_ms(WAIT_STEP_MS);
    }
    return true;
}

void fleet_join(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->lane_count; i++) {
        if (fleet->lanes[i].started) {
            pthread_join(fleet->lanes[i].thread, NULL);
        }
    }
    if (fleet->janitor_started) {
        pthread_join(fleet->janitor, NULL);
    }
    sweep_free(fleet->sweep); /* it looks at the lanes */
    for (size_t i = 0; i < fleet->lane_count; i++) {
        takes_free(&fleet->lanes[i].takes);
        context_close(&fleet->lanes[i].ctx);
        pthread_mutex_destroy(&fleet->lanes[i].lock);
    }
    free(fleet->lanes);
    reader_free(fleet->reader);
    group_write_free(fleet->group_write);
    writer_free(fleet->writer);
    upstreams_free(fleet->upstreams);
    families_free(&fleet->families);
    fleet->lanes = NULL;
    fleet->lane_count = 0;
}

bool fleet_is_alive(void *context)
{
    const struct fleet *fleet = context;
    int64_t now_ms = clock_now_ms();
    bool turning = now_ms - reader_last_turn_ms(fleet->reader) < DEAF_MS;

    for (size_t i = 0; i < fleet->lane_count; i++) {
        int64_t moved_ms =
            atomic_load_explicit(&fleet->lanes[i].ctx.progress_ms, memory_order_relaxed);
        if (!turning && now_ms - moved_ms < DEAF_MS) {
            turning = true; /* all lanes busy: nobody reads, but they move */
        }
    }
    return turning;
}

bool fleet_redis_ready(void *context)
{
    const struct fleet *fleet = context;
    return reader_is_connected(fleet->reader) && !atomic_load(&fleet->is_cut_off) &&
           !atomic_load(&fleet->evicts);
}

bool fleet_describe(void *context, struct strbuf *out)
{
    const struct fleet *fleet = context;
    const bool evicts = atomic_load(&fleet->evicts);

    if (evicts) {
        strbuf_append_str(out, ",\"evicts\":true");
    }
    return reader_describe_aside(fleet->reader, out) > 0 || evicts;
}

void fleet_write_metrics(void *context, struct strbuf *out)
{
    const struct fleet *fleet = context;
    struct strbuf unused = {0};

    strbuf_printf(
        out,
        "# HELP stillhouse_queues_set_aside Queues that are not read for now, since a key "
        "of theirs holds what it should not.\n"
        "# TYPE stillhouse_queues_set_aside gauge\n"
        "stillhouse_queues_set_aside %zu\n",
        reader_describe_aside(fleet->reader, &unused));
    strbuf_free(&unused);
}
