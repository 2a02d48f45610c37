#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "reader/reader_internal.h"

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
void reader_seats_init(struct reader *reader)
{
    const struct settings *settings = reader->config.settings;
    char hash[TEXT_HASH_CHARS + 1];
    char name[TEXT_HASH_CHARS + 8];
    pthread_condattr_t monotonic;

    text_hash(settings->queues, strlen(settings->queues), hash);
    snprintf(name, sizeof name, "seats:%s", hash);
    keys_plain(reader->seats, settings->prefix, name);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&reader->bench_lock, NULL);
    pthread_cond_init(&reader->invited, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static bool is_large(const struct reader *reader)
{
    return reader->config.fleet_size != NULL &&
           atomic_load(reader->config.fleet_size) > READER_SEATS;
}

enum status reader_sit(struct reader *reader, bool *may_block, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    *may_block = true;
    if (!is_large(reader)) {
        return STATUS_OK;
    }
    if (reader->has_seat && clock_now_ms() - reader->seated_ms < SEAT_RENEW_MS) {
        return STATUS_OK;
    }
    if (!reader->has_seat && reader->stood++ % SIT_EVERY != 0) {
        *may_block = false; /* seats are seldom free */
        return STATUS_OK;
    }
    redis_args_str(&args, "FCALL");
    redis_args_str(&args, "sh_seat");
    redis_args_str(&args, "1");
    redis_args_str(&args, reader->seats);
    redis_args_str(&args, reader->config.worker_id);
    redis_args_int(&args, READER_SEATS);
    redis_args_int(&args, SEAT_TTL_MS);
    enum status status = redis_conn_command(reader->conn, &args, &reply, err);
    redis_args_free(&args);
    if (status == STATUS_OK) {
        *may_block = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
        reader->has_seat = *may_block;
        reader->seated_ms = clock_now_ms();
    }
    redis_reply_free(reply);
    return status;
}

void reader_invite(struct reader *reader)
{
    pthread_mutex_lock(&reader->bench_lock);
    reader->is_invited = true;
    pthread_cond_signal(&reader->invited);
    pthread_mutex_unlock(&reader->bench_lock);
}

void reader_wait_on_bench(struct reader *reader)
{
    int64_t wait_ms =
        ((int64_t)atomic_load(reader->config.fleet_size) - READER_SEATS) * BENCH_WORKER_MS;

    wait_ms = wait_ms < BENCH_MIN_MS ? BENCH_MIN_MS : wait_ms;
    wait_ms = wait_ms > BENCH_MAX_MS ? BENCH_MAX_MS : wait_ms;
    wait_ms =
        wait_ms * 3 / 4 + (int64_t)(backoff_random_next(&reader->random) % (uint64_t)(wait_ms / 4));
    const struct timespec until = clock_in_ms(wait_ms);

    pthread_mutex_lock(&reader->bench_lock);
    while (!reader->is_invited &&
           pthread_cond_timedwait(&reader->invited, &reader->bench_lock, &until) == 0) {
    }
    if (reader->is_invited) {
        reader->stood = 0; /* perhaps to somebody's seat */
    }
    reader->is_invited = false;
    pthread_mutex_unlock(&reader->bench_lock);
}

static size_t count_jobs(const struct takes *takes)
{
    size_t jobs = 0;

    for (size_t i = 0; i < takes->count; i++) {
        jobs += takes->each[i].batch.count;
    }
    return jobs;
}

static enum status stand_up(struct reader *reader, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    reader->has_seat = false;
    redis_args_str(&args, "ZREM");
    redis_args_str(&args, reader->seats);
    redis_args_str(&args, reader->config.worker_id);
    enum status status = redis_conn_command(reader->conn, &args, &reply, err);
    redis_reply_free(reply);
    redis_args_free(&args);
    return status;
}

enum status reader_share(struct reader *reader, const struct takes *takes, struct error *err)
{
    const int64_t now_ms = clock_now_ms();
    const size_t few = ((size_t)reader->config.settings->batch + 3) / 4;
    const bool leaves = reader->has_seat && atomic_load(&reader->waiting) == 0;
    enum status status = STATUS_OK;

    if (!is_large(reader) || takes->count == 0 ||
        (!leaves &&
         (count_jobs(takes) < few || now_ms - reader->invited_others_ms < INVITE_EVERY_MS))) {
        return STATUS_OK;
    }
    if (leaves) {
        status = stand_up(reader, err);
    }
    reader->invited_others_ms = now_ms;
    return status == STATUS_OK
               ? queue_push_token(reader->conn, reader->config.queues[takes->each[0].queue].call,
                                  err)
               : status;
}
