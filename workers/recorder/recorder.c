/* The recorder's thread: takes what is in the line, writes it in one transaction, does a slice of
 * each chore that is due, waits. */
#include "recorder/recorder.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "config/clients.h"
#include "learn/database.h"
#include "learn/owner.h"
#include "queue/operate.h"
#include "recorder/descriptions.h"
#include "recorder/telling.h"
#include "json/write.h"

enum {
    LOOK_MS = 200,     /* how often a lane that waits looks whether the thread moves */
    PARTS_MAX = 1024,  /* a transaction's; a lane's batch may be of as many */
    CLAIM_MS = 2000,   /* how often the claim is renewed, */
    CLOSED_MS = 1000,  /* and how often a store that is not open is tried */
    FIGURES_MS = 2000, /* how often the store's figures go to /metrics */
    CHECK_MS = 60000,
    CHECK_SLICE_MS = 40,
    EXPIRE_MS = 60000,
    EXPIRE_NEXT_MS = 50, /* behind a slice, where there is more */
    EXPIRE_ROWS = 200,
    SLICE_SHORT_MS = 10,    /* a slice that took less may be twice as large, */
    SLICE_LONG_MS = 40,     /* one that took longer is halved: lanes wait meanwhile */
    LAST_REFRESH_MS = 1000, /* what a worker that ends still gives the groups that were touched */
    CONNECT_MS = 2000,
    COMMAND_MS = 3000,
    CACHE_MS = 250,    /* lanes wait meanwhile, and what is told there can be told later */
    LIFTS_MS = 300000, /* between two rounds through the domains */
    LIFTS_NEXT_MS = 20,
    UNPARK_AFTER_MS = 300, /* until what lanes hold of a store that was closed is parked, too */
    UNPARK_NEXT_MS = 20,
    UNPARK_LOOK_MS = 500,   /* while it is not known whether the store takes anything */
    UNPARK_IDLE_MS = 60000, /* there is nothing to do until the store was closed again */
    CHORE_CLAIM = 0,        /* the first of the chores */
    CHORE_UNPARK,
    CHORES = 9,
};

/* What a lane hands in. */
struct order {
    const struct part *parts;
    size_t count;
    struct error *refused;
    size_t from; /* where its parts stand in the transaction */
    struct error error;
    bool done;
    struct order *next;
};

struct recorder {
    struct recorder_config config;
    pthread_t thread;

    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t ordered; /* for the thread: the line, or the end */
    pthread_cond_t changed; /* for the lanes: an order's `done` */
    struct order *first;
    struct order *last;
    bool ends;
    bool is_open;                   /* parts are written now */
    char trouble[ERROR_TEXT_BYTES]; /* why not; "" before the first try */
    char store_id[40];              /* of the store that was opened last */

    atomic_llong moved_ms; /* when the thread did something last */

    /* The thread's own. */
    struct store *store; /* NULL while it is not open */
    struct redis_conn *conn;
    int64_t claimed_ms; /* since when the claim holds; 0 = it does not */
    int64_t patient_until_ms;
    struct part *parts; /* of a transaction of several orders: room for PARTS_MAX */
    struct order *hand; /* the orders of this transaction */
    size_t groups;      /* that a slice refreshes */
    struct telling *telling;
    struct redis_conn *cache; /* the cache's; the same object where there is only one */
    struct retry_random random;
    int64_t due_ms[CHORES];
    int64_t wait_ms; /* of the chore that is run: until its next run */
    struct {
        size_t queue;   /* of the worker's, whose parked jobs are to come back */
        int64_t passed; /* see queue_unpark */
        bool is_tried;  /* some are on their way */
    } unpark;
    bool is_proven; /* something was written since the store was opened */
};

/* ---- is the store ours to write to? ---------------------------------------------------------- */

/* Said when it changes, not each second that it stays. */
static void say(struct recorder *recorder, bool is_open, const char *trouble)
{
    pthread_mutex_lock(&recorder->lock);
    const bool is_news = is_open != recorder->is_open || strcmp(trouble, recorder->trouble) != 0;
    recorder->is_open = is_open;
    snprintf(recorder->trouble, sizeof recorder->trouble, "%s", trouble);
    if (recorder->store != NULL) {
        snprintf(recorder->store_id, sizeof recorder->store_id, "%s", store_id(recorder->store));
    }
    pthread_mutex_unlock(&recorder->lock);

    metrics_set(recorder->config.metrics, METRICS_LEARN_OPEN, 0, 0, is_open);
    if (is_news && is_open) {
        log_info("learning store %s is open", recorder->store_id);
    } else if (is_news) {
        log_warning("records are parked: %s", trouble);
    }
}

static void close_store(struct recorder *recorder)
{
    store_close(recorder->store);
    recorder->store = NULL;
    recorder->claimed_ms = 0;
}

static struct owner owner_of(const struct recorder *recorder)
{
    const struct settings *settings = recorder->config.settings;

    return (struct owner){settings->prefix, store_id(recorder->store), recorder->config.worker_id,
                          database_is_shared(settings->learn)};
}

/* Half a lease, so that a transaction begun now ends within it. */
static bool is_claimed(const struct recorder *recorder)
{
    return recorder->store != NULL && recorder->claimed_ms != 0 &&
           clock_now_ms() - recorder->claimed_ms < OWNER_LEASE_MS / 2;
}

/* UNAVAILABLE while another worker writes or another store is registered. */
static enum status try_claim(struct recorder *recorder, struct error *err)
{
    if (recorder->store == NULL) {
        TRY(store_open(recorder->config.settings->learn, STORE_WRITE, &recorder->store, err));
    }
    const struct owner owner = owner_of(recorder);
    const int64_t asked_ms = clock_now_ms();
    TRY(owner_claim(recorder->conn, &owner, err));
    recorder->claimed_ms = asked_ms;
    return STATUS_OK;
}

static void begin_unpark(struct recorder *recorder)
{
    memset(&recorder->unpark, 0, sizeof recorder->unpark);
    recorder->is_proven = false;
    recorder->due_ms[CHORE_UNPARK] = clock_now_ms() + UNPARK_AFTER_MS;
}

/* A chore: opens the store where it is not, and claims it. While Redis is away an older claim
 * lasts. A failure is said, and is none to the chores. */
static enum status keep_claim(struct recorder *recorder, struct error *err)
{
    const enum status status = try_claim(recorder, err);
    const bool was_open = recorder->is_open; /* nobody else sets it */

    redis_conn_abandon(recorder->conn);
    if (status == STATUS_OK) {
        if (!was_open) {
            upstreams_recover(recorder->config.upstreams, OPERATION_LEARN);
            begin_unpark(recorder);
        }
        say(recorder, true, "");
    } else if (status == STATUS_MISMATCH || status == STATUS_UNAVAILABLE || !is_claimed(recorder)) {
        recorder->claimed_ms = 0;
        upstreams_report(recorder->config.upstreams, OPERATION_LEARN, status, err);
        say(recorder, false, err->text);
    }
    if (!is_claimed(recorder)) {
        recorder->wait_ms = CLOSED_MS;
    }
    return STATUS_OK;
}

/* A store that failed is opened anew, but not at once: its file may be another one by then. */
static void give_store_up(struct recorder *recorder, const struct error *err)
{
    close_store(recorder);
    say(recorder, false, err->text);
    recorder->due_ms[CHORE_CLAIM] = clock_now_ms() + CLOSED_MS;
}

/* ---- chores ---------------------------------------------------------------------------------- */

static const struct queue *unpark_next(struct recorder *recorder)
{
    const struct recorder_config *config = &recorder->config;

    for (; recorder->unpark.queue < config->queue_count; recorder->unpark.queue++) {
        const struct queue *queue = &config->queues[recorder->unpark.queue];
        if ((job_kinds[queue->kind].needs & 1u << OPERATION_LEARN) != 0) {
            return queue;
        }
    }
    return NULL;
}

/* What was parked while the store was away would wait for up to a minute more. A slice of it shows
 * whether the store takes something, which one that is full does not though it opens; then comes
 * the rest. What Redis does not do now is done with the next try. */
static enum status unpark(struct recorder *recorder, struct error *err)
{
    const struct queue *queue = unpark_next(recorder);
    int64_t released = 0;

    (void)err;
    if (queue == NULL) {
        recorder->wait_ms = UNPARK_IDLE_MS;
        return STATUS_OK;
    }
    if ((recorder->unpark.is_tried && !recorder->is_proven) ||
        queue_unpark_some(recorder->conn, queue, &recorder->unpark.passed, &released, NULL) !=
            STATUS_OK) {
        return STATUS_OK;
    }
    recorder->unpark.is_tried = recorder->unpark.is_tried || released > 0;
    if (recorder->unpark.passed < 0) {
        recorder->unpark.passed = 0;
        recorder->unpark.queue++;
    }
    recorder->wait_ms = UNPARK_NEXT_MS;
    return STATUS_OK;
}

/* A slice; the next one comes as soon as the line was looked at. */
static enum status refresh(struct recorder *recorder, struct error *err)
{
    const int64_t started_ms = clock_now_ms();
    int64_t now_unix_ms = 0;
    size_t left = 0;

    TRY(database_now(store_database(recorder->store), &now_unix_ms, err));
    TRY(store_refresh(recorder->store, now_unix_ms, recorder->groups, &left, err));
    const int64_t took_ms = clock_now_ms() - started_ms;
    if (took_ms > SLICE_LONG_MS && recorder->groups > 1) {
        recorder->groups /= 2;
    } else if (took_ms < SLICE_SHORT_MS && recorder->groups < STORE_REFRESH_MAX) {
        recorder->groups *= 2;
    }
    if (left > 0) {
        recorder->wait_ms = 0;
    } else {
        telling_ready(recorder->telling);
    }
    return STATUS_OK;
}

static enum status tell_tiers(struct recorder *recorder, struct error *err)
{
    bool more = false;

    TRY(telling_tiers(recorder->telling, recorder->store, &more, err));
    if (more) {
        recorder->wait_ms = 0;
    }
    return STATUS_OK;
}

static enum status touch_all(struct recorder *recorder, struct error *err)
{
    return telling_touch_all(recorder->telling, recorder->store, err);
}

static enum status show_figures(struct recorder *recorder, struct error *err)
{
    struct metrics *metrics = recorder->config.metrics;
    struct store_state state = {0};

    TRY(store_look(recorder->store, &state, err));
    const int64_t lag_ms = state.oldest_dirty_ms == 0 ? 0 : clock_unix_ms() - state.oldest_dirty_ms;
    metrics_set(metrics, METRICS_LEARN_EXECUTIONS, 0, 0, state.executions);
    metrics_set(metrics, METRICS_LEARN_INCOMPLETE, 0, 0, state.incomplete);
    metrics_set(metrics, METRICS_LEARN_DIRTY, 0, 0, state.dirty_groups);
    metrics_set(metrics, METRICS_LEARN_LAG_MS, 0, 0, lag_ms > 0 ? lag_ms : 0);
    metrics_set(metrics, METRICS_LEARN_BYTES, 0, 0, state.bytes);
    return STATUS_OK;
}

static enum status check_day(struct recorder *recorder, struct error *err)
{
    struct store_checked checked;
    int64_t now_unix_ms = 0;

    TRY(database_now(store_database(recorder->store), &now_unix_ms, err));
    TRY(store_check_day(recorder->store, retry_random_next(&recorder->random), CHECK_SLICE_MS,
                        now_unix_ms, &checked, err));
    metrics_add(recorder->config.metrics, METRICS_LEARN_CHECKED, 0, 0, checked.groups);
    metrics_add(recorder->config.metrics, METRICS_LEARN_DRIFTED, 0, 0, checked.apart);
    if (checked.apart > 0) {
        log_error("learning store: %s", checked.first);
    }
    return STATUS_OK;
}

/* What is deleted is gone: two clocks are asked, the store's and Redis', and of two that differ the
 * one that is ahead is not believed. */
static enum status expire(struct recorder *recorder, struct error *err)
{
    const struct settings *settings = recorder->config.settings;
    int64_t now_unix_ms = 0;
    int64_t redis_unix_ms = 0;
    struct store_expired expired;

    if (redis_conn_time(recorder->conn, &redis_unix_ms, NULL) != STATUS_OK) {
        return STATUS_OK;
    }
    TRY(database_now(store_database(recorder->store), &now_unix_ms, err));
    now_unix_ms = redis_unix_ms < now_unix_ms ? redis_unix_ms : now_unix_ms;
    TRY(store_expire(recorder->store, now_unix_ms - settings->learn_ttl_ms,
                     settings->learn_max_bytes, EXPIRE_ROWS, &expired, err));
    descriptions_drop(recorder->conn, settings, expired.described, expired.described_count);
    const size_t rows[METRICS_DELETED_KINDS] = {
        [METRICS_DELETED_EXECUTION] = expired.executions,
        [METRICS_DELETED_FEEDBACK] = expired.feedback,
        [METRICS_DELETED_POOL] = expired.pools,
        [METRICS_DELETED_POLICY] = expired.policies,
        [METRICS_DELETED_FORGOTTEN] = expired.forgotten,
    };
    for (size_t i = 0; i < METRICS_DELETED_KINDS; i++) {
        metrics_add(recorder->config.metrics, METRICS_LEARN_EXPIRED, i, 0, rows[i]);
    }
    if (store_expired_rows(&expired) > 0) {
        recorder->wait_ms = EXPIRE_NEXT_MS;
    }
    return STATUS_OK;
}

/* A domain; the next one comes soon. */
static enum status tell_lifts(struct recorder *recorder, struct error *err)
{
    struct telling_round round = {false, 0};

    TRY(telling_lifts(recorder->telling, recorder->store, &round, err));
    if (round.is_done) {
        metrics_set(recorder->config.metrics, METRICS_LEARN_HURT, 0, 0, (int64_t)round.hurt);
    } else {
        recorder->wait_ms = LIFTS_NEXT_MS;
    }
    return STATUS_OK;
}

static const struct chore {
    int64_t every_ms; /* 0: STILLHOUSE_LEARN_REFRESH */
    enum status (*run)(struct recorder *recorder, struct error *err);
} chores[CHORES] = {
    [CHORE_CLAIM] = {CLAIM_MS, keep_claim},
    [CHORE_UNPARK] = {UNPARK_LOOK_MS, unpark},
    {0, refresh},
    {0, tell_tiers},
    {TELLING_AGAIN_MS, touch_all},
    {FIGURES_MS, show_figures},
    {CHECK_MS, check_day},
    {EXPIRE_MS, expire},
    {LIFTS_MS, tell_lifts},
};

static void run_chore(struct recorder *recorder, size_t which)
{
    const int64_t every_ms = chores[which].every_ms;
    struct error err = {0};

    recorder->wait_ms = every_ms > 0 ? every_ms : recorder->config.settings->learn_refresh_ms;
    const enum status status = chores[which].run(recorder, &err);
    recorder->due_ms[which] = clock_now_ms() + recorder->wait_ms;
    if (status != STATUS_OK) {
        give_store_up(recorder, &err);
    }
}

/* Without the claim there is nothing else to do. */
static bool may_run(const struct recorder *recorder, size_t which)
{
    return which == CHORE_CLAIM || is_claimed(recorder);
}

/* A slice of each that is due; returns when the next one is. */
static int64_t run_chores(struct recorder *recorder)
{
    int64_t next_ms = INT64_MAX;

    for (size_t i = 0; i < CHORES; i++) {
        if (clock_now_ms() >= recorder->due_ms[i] && may_run(recorder, i)) {
            run_chore(recorder, i);
        }
        if (may_run(recorder, i) && recorder->due_ms[i] < next_ms) {
            next_ms = recorder->due_ms[i];
        }
    }
    return next_ms;
}

/* ---- the line -------------------------------------------------------------------------------- */

/* Under the lock: the orders of one transaction, the first of them however large it is. */
static size_t take_orders(struct recorder *recorder)
{
    struct order **end = &recorder->hand;
    size_t count = 0;

    while (recorder->first != NULL && (count == 0 || count + recorder->first->count <= PARTS_MAX)) {
        struct order *order = recorder->first;
        recorder->first = order->next;
        order->next = NULL;
        order->from = count;
        count += order->count;
        *end = order;
        end = &order->next;
    }
    return count;
}

static void refuse(const struct recorder *recorder, size_t which, const struct error *err)
{
    struct order *order = recorder->hand;

    while (which >= order->from + order->count) {
        order = order->next;
    }
    order->refused[which - order->from] = *err;
}

/* What the store refuses for its data is found by halves. */
static enum status put(struct recorder *recorder, const struct part *parts, size_t from,
                       size_t count, struct error *err)
{
    const int64_t started_ns = clock_now_ns();
    const enum status status = store_put(recorder->store, parts + from, count, err);

    metrics_observe(recorder->config.metrics, METRICS_UPSTREAM_SECONDS,
                    metrics_call_of(METRICS_LEARN, "write"),
                    (double)(clock_now_ns() - started_ns) / 1e9, 1);
    if (status != STATUS_INVALID) {
        return status;
    }
    if (count == 1) {
        refuse(recorder, from, err);
        *err = (struct error){0};
        return STATUS_OK;
    }
    TRY(put(recorder, parts, from, count / 2, err));
    return put(recorder, parts, from + count / 2, count - count / 2, err);
}

static const struct part *gather(struct recorder *recorder)
{
    if (recorder->hand->next == NULL) {
        return recorder->hand->parts;
    }
    if (recorder->parts == NULL) {
        recorder->parts = must_alloc(PARTS_MAX, sizeof *recorder->parts);
    }
    for (const struct order *order = recorder->hand; order != NULL; order = order->next) {
        memcpy(recorder->parts + order->from, order->parts, order->count * sizeof *order->parts);
    }
    return recorder->parts;
}

/* What stands now is counted, and its domains are to be told. */
static void note_parts(struct recorder *recorder)
{
    const char *words = kind_words(job_kinds[KIND_record].shape);

    for (const struct order *order = recorder->hand; order != NULL; order = order->next) {
        for (size_t i = 0; i < order->count; i++) {
            if (order->refused[i].status == STATUS_OK) {
                metrics_add(recorder->config.metrics, METRICS_LEARN_PARTS,
                            (size_t)kind_word_at(words, order->parts[i].body.kind), 0, 1);
                telling_touch(recorder->telling, order->parts[i].domain);
            }
        }
    }
}

/* A claim that ran out, since the last one took Redis long, is renewed at once. Where the store is
 * not ours to write to, nobody asks for it more often than the chore does. */
static enum status try_write(struct recorder *recorder, size_t count, struct error *err)
{
    if (!is_claimed(recorder) &&
        (recorder->is_open || clock_now_ms() >= recorder->due_ms[CHORE_CLAIM])) {
        run_chore(recorder, CHORE_CLAIM);
    }
    if (!is_claimed(recorder)) {
        return error_set(err, STATUS_UNAVAILABLE, "%s", recorder->trouble);
    }
    const enum status status = put(recorder, gather(recorder), 0, count, err);
    if (status != STATUS_OK) {
        metrics_add(recorder->config.metrics, METRICS_UPSTREAM_ERRORS, METRICS_LEARN, status, 1);
        give_store_up(recorder, err);
    }
    return status;
}

static void write_hand(struct recorder *recorder, size_t count)
{
    struct error err = {0};

    if (try_write(recorder, count, &err) == STATUS_OK) {
        recorder->is_proven = true;
        note_parts(recorder);
        return;
    }
    for (struct order *order = recorder->hand; order != NULL; order = order->next) {
        order->error = err;
        order->error.status = STATUS_UNAVAILABLE;
    }
}

/* Under the lock. An order is its lane's again once it is done. */
static void put_down(struct recorder *recorder)
{
    for (struct order *order = recorder->hand; order != NULL;) {
        struct order *next = order->next;
        order->done = true;
        order = next;
    }
    recorder->hand = NULL;
    pthread_cond_broadcast(&recorder->changed);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* What was touched is refreshed, if that is a matter of a moment; the next recorder does the rest.
 */
static void leave(struct recorder *recorder)
{
    const int64_t until_ms = clock_now_ms() + LAST_REFRESH_MS;
    enum status status = STATUS_OK;
    struct error err = {0};

    if (recorder->store == NULL) {
        return;
    }
    if (is_claimed(recorder)) {
        do {
            recorder->wait_ms = LAST_REFRESH_MS;
            status = refresh(recorder, &err);
        } while (status == STATUS_OK && recorder->wait_ms == 0 && clock_now_ms() < until_ms);
        if (status == STATUS_OK && recorder->wait_ms > 0) {
            (void)!tell_tiers(recorder, &err);
        }
    }
    if (recorder->claimed_ms != 0) {
        const struct owner owner = owner_of(recorder);
        owner_release(recorder->conn, &owner);
    }
    close_store(recorder);
}

/* One that has just begun waits for the lease of one that died before it lets parts be parked: that
 * is over in a moment, and a park is longer. */
static bool holds(const struct recorder *recorder)
{
    return !is_claimed(recorder) && clock_now_ms() < recorder->patient_until_ms && !recorder->ends;
}

static void *run(void *argument)
{
    struct recorder *recorder = argument;

    pthread_mutex_lock(&recorder->lock);
    while (!recorder->ends || recorder->first != NULL) {
        const size_t count = holds(recorder) ? 0 : take_orders(recorder);
        pthread_mutex_unlock(&recorder->lock);
        atomic_store(&recorder->moved_ms, clock_now_ms());
        if (count > 0) {
            write_hand(recorder, count);
        }
        pthread_mutex_lock(&recorder->lock);
        put_down(recorder); /* before the chores: the lanes go on meanwhile */
        pthread_mutex_unlock(&recorder->lock);
        const int64_t next_ms = run_chores(recorder);
        const struct timespec until = clock_in_ms(next_ms - clock_now_ms());
        pthread_mutex_lock(&recorder->lock);
        if ((recorder->first == NULL || holds(recorder)) && !recorder->ends &&
            next_ms > clock_now_ms()) {
            (void)pthread_cond_clockwait(&recorder->ordered, &recorder->lock, CLOCK_MONOTONIC,
                                         &until);
        }
    }
    pthread_mutex_unlock(&recorder->lock);
    leave(recorder);
    return NULL;
}

static void free_all(struct recorder *recorder)
{
    store_close(recorder->store);
    telling_free(recorder->telling);
    if (recorder->cache != recorder->conn) {
        redis_conn_free(recorder->cache);
    }
    redis_conn_free(recorder->conn);
    pthread_cond_destroy(&recorder->ordered);
    pthread_cond_destroy(&recorder->changed);
    pthread_mutex_destroy(&recorder->lock);
    free(recorder->parts);
    free(recorder);
}

static enum status open_all(struct recorder *recorder, struct error *err)
{
    static const struct redis_timeouts timeouts = {CONNECT_MS, COMMAND_MS};
    static const struct redis_timeouts short_timeouts = {CACHE_MS, CACHE_MS};
    const struct settings *settings = recorder->config.settings;

    TRY(clients_open_redis(settings->redis_url, timeouts, &recorder->conn, err));
    recorder->cache = recorder->conn;
    if (settings->cache_url[0] != '\0') {
        recorder->cache = NULL;
        TRY(clients_open_redis(settings->cache_url, short_timeouts, &recorder->cache, err));
    }
    recorder->telling = telling_new(settings->prefix, recorder->cache);
    const enum status status = store_open(settings->learn, STORE_WRITE, &recorder->store, err);
    if (status == STATUS_INVALID) {
        return error_wrap(err, "learn");
    }
    if (status != STATUS_OK) {
        say(recorder, false, err->text);
    }
    if (pthread_create(&recorder->thread, NULL, run, recorder) != 0) {
        return error_set(err, STATUS_OOM, "recorder: no thread to be had");
    }
    return STATUS_OK;
}

enum status recorder_start(const struct recorder_config *config, struct recorder **out,
                           struct error *err)
{
    struct recorder *recorder = must_alloc(1, sizeof *recorder);

    recorder->config = *config;
    recorder->groups = 1;
    recorder->random.state = (uint64_t)clock_now_ns();
    recorder->patient_until_ms = clock_now_ms() + OWNER_LEASE_MS + CLOSED_MS;
    pthread_cond_init(&recorder->changed, NULL);
    pthread_cond_init(&recorder->ordered, NULL);
    pthread_mutex_init(&recorder->lock, NULL);
    atomic_store(&recorder->moved_ms, clock_now_ms());
    metrics_set(config->metrics, METRICS_LEARN_DRIFTED, 0, 0, 0); /* to be seen to be 0 */
    for (size_t i = 0; i < METRICS_DELETED_KINDS; i++) {
        metrics_set(config->metrics, METRICS_LEARN_EXPIRED, i, 0, 0);
    }
    const enum status status = open_all(recorder, err);
    if (status != STATUS_OK) {
        free_all(recorder);
        return status;
    }
    *out = recorder;
    return STATUS_OK;
}

void recorder_stop(struct recorder *recorder)
{
    if (recorder == NULL) {
        return;
    }
    pthread_mutex_lock(&recorder->lock);
    recorder->ends = true;
    pthread_cond_broadcast(&recorder->ordered);
    pthread_mutex_unlock(&recorder->lock);
    pthread_join(recorder->thread, NULL);
    free_all(recorder);
}

/* ---- a lane, and /readyz --------------------------------------------------------------------- */

enum status recorder_put(struct context *ctx, const struct part *parts, size_t count,
                         struct error *refused, struct error *err)
{
    struct recorder *recorder = ctx->recorder;
    struct order order = {.parts = parts, .count = count, .refused = refused};

    context_wait(ctx);
    context_phase(ctx, PHASE_UPSERT);
    pthread_mutex_lock(&recorder->lock);
    if (recorder->first == NULL) {
        recorder->first = &order;
    } else {
        recorder->last->next = &order;
    }
    recorder->last = &order;
    pthread_cond_signal(&recorder->ordered);
    while (!order.done) {
        const struct timespec until = clock_in_ms(LOOK_MS);
        (void)pthread_cond_clockwait(&recorder->changed, &recorder->lock, CLOCK_MONOTONIC, &until);
        if (clock_now_ms() - atomic_load(&recorder->moved_ms) < 2 * LOOK_MS) {
            context_progress(ctx); /* a lane moves as long as the thread does */
        }
    }
    pthread_mutex_unlock(&recorder->lock);
    *err = order.error;
    return err->status;
}

bool recorder_describe(struct recorder *recorder, struct strbuf *out)
{
    pthread_mutex_lock(&recorder->lock);
    const bool is_open = recorder->is_open;
    strbuf_append_str(out, is_open ? ",\"learn\":{\"state\":\"open\",\"store\":"
                                   : ",\"learn\":{\"state\":\"parked\",\"store\":");
    json_str(out, recorder->store_id);
    if (!is_open) {
        strbuf_append_str(out, ",\"reason\":");
        json_str(out, recorder->trouble[0] != '\0' ? recorder->trouble : "it is being opened");
    }
    pthread_mutex_unlock(&recorder->lock);
    strbuf_append_char(out, ',');
    upstreams_describe(recorder->config.upstreams, METRICS_LEARN, out);
    strbuf_append_char(out, '}');
    return !is_open;
}
