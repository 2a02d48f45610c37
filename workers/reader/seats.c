#include "reader/seats.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "queue/take.h"

enum {
    SEAT_TTL_MS = 50000, /* longer than two reads block */
    SEAT_RENEW_MS = 22000,
    BENCH_MIN_MS = 6000,
    BENCH_MAX_MS = 24000, /* shorter than what /healthz bears */
    BENCH_WORKER_MS = 1000,
    INVITE_EVERY_MS = 5,
    SIT_EVERY = 3,
};

/* Workers that serve the same queues share their seats. */
void seats_init(struct seats *seats, const struct reader_config *config)
{
    const struct settings *settings = config->settings;
    char hash[TEXT_HASH_CHARS + 1];
    char name[TEXT_HASH_CHARS + 8];

    text_hash(settings->queues, strlen(settings->queues), hash);
    snprintf(name, sizeof name, "seats:%s", hash);
    seats->config = config;
    seats->random.state = (uint64_t)clock_now_ns();
    keys_name(seats->key, KEYS_PLAIN, settings->prefix, name);
    pthread_mutex_init(&seats->bench_lock, NULL);
    pthread_cond_init(&seats->invited, NULL);
}

void seats_end(struct seats *seats)
{
    pthread_mutex_destroy(&seats->bench_lock);
    pthread_cond_destroy(&seats->invited);
}

static bool is_large(const struct seats *seats)
{
    return seats->config->fleet_size != NULL &&
           atomic_load(seats->config->fleet_size) > READER_SEATS;
}

enum status seats_sit(struct seats *seats, struct redis_conn *conn, bool *may_block,
                      struct error *err)
{
    redisReply *reply = NULL;

    *may_block = true;
    if (!is_large(seats)) {
        return STATUS_OK;
    }
    if (seats->has_seat && clock_now_ms() - seats->seated_ms < SEAT_RENEW_MS) {
        return STATUS_OK;
    }
    if (!seats->has_seat && seats->stood++ % SIT_EVERY != 0) {
        *may_block = false; /* seats are seldom free */
        return STATUS_OK;
    }
    enum status status =
        redis_commandf(conn, &reply, err, "FCALL sh_seat 1 %s %s %d %d", seats->key,
                       seats->config->worker_id, (int)READER_SEATS, (int)SEAT_TTL_MS);
    if (status == STATUS_OK) {
        *may_block = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
        seats->has_seat = *may_block;
        seats->seated_ms = clock_now_ms();
    }
    redis_reply_free(reply);
    return status;
}

void seats_invite(struct seats *seats)
{
    pthread_mutex_lock(&seats->bench_lock);
    seats->is_invited = true;
    pthread_cond_signal(&seats->invited);
    pthread_mutex_unlock(&seats->bench_lock);
}

void seats_wait(struct seats *seats)
{
    int64_t wait_ms =
        ((int64_t)atomic_load(seats->config->fleet_size) - READER_SEATS) * BENCH_WORKER_MS;

    wait_ms = wait_ms < BENCH_MIN_MS ? BENCH_MIN_MS : wait_ms;
    wait_ms = wait_ms > BENCH_MAX_MS ? BENCH_MAX_MS : wait_ms;
    wait_ms =
        wait_ms * 3 / 4 + (int64_t)(retry_random_next(&seats->random) % (uint64_t)(wait_ms / 4));
    const struct timespec until = clock_in_ms(wait_ms);

    pthread_mutex_lock(&seats->bench_lock);
    while (!seats->is_invited && pthread_cond_clockwait(&seats->invited, &seats->bench_lock,
                                                        CLOCK_MONOTONIC, &until) == 0) {
    }
    if (seats->is_invited) {
        seats->stood = 0; /* perhaps to somebody's seat */
    }
    seats->is_invited = false;
    pthread_mutex_unlock(&seats->bench_lock);
}

static size_t count_jobs(const struct takes *takes)
{
    size_t jobs = 0;

    for (size_t i = 0; i < takes->count; i++) {
        jobs += takes->each[i].batch.count;
    }
    return jobs;
}

enum status seats_share(struct seats *seats, struct redis_conn *conn, const struct takes *takes,
                        bool is_left, struct error *err)
{
    const int64_t now_ms = clock_now_ms();
    const size_t few = ((size_t)seats->config->settings->batch + 3) / 4;
    const bool leaves = seats->has_seat && is_left;
    enum status status = STATUS_OK;

    if (!is_large(seats) || takes->count == 0 ||
        (!leaves &&
         (count_jobs(takes) < few || now_ms - seats->invited_others_ms < INVITE_EVERY_MS))) {
        return STATUS_OK;
    }
    if (leaves) {
        seats->has_seat = false;
        status =
            redis_commandf(conn, NULL, err, "ZREM %s %s", seats->key, seats->config->worker_id);
    }
    seats->invited_others_ms = now_ms;
    return status == STATUS_OK
               ? queue_push_token(conn, seats->config->queues[takes->each[0].queue].call, err)
               : status;
}
