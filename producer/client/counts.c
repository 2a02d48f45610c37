#include "client/counts.h"

#include <string.h>

#include "base/clock.h"

enum { COUNTS_EVERY_MS = 1000 };

static const char *const fields[COUNTS_KINDS] = {
    [COUNTS_ENRICHED] = "enriched",         [COUNTS_STALE] = "stale",
    [COUNTS_FALLBACK] = "fallback",         [COUNTS_HOLDOUT] = "holdout",
    [COUNTS_MEMORY_MISS] = "memory_miss",   [COUNTS_MEMORY_HIT] = "memory_hit",
    [COUNTS_MEMORY_STALE] = "memory_stale",
};

_Static_assert((int)COUNTS_ENRICHED == (int)STILLHOUSE_PROMPT_ENRICHED &&
                   (int)COUNTS_STALE == (int)STILLHOUSE_PROMPT_STALE &&
                   (int)COUNTS_FALLBACK == (int)STILLHOUSE_PROMPT_FALLBACK &&
                   (int)COUNTS_HOLDOUT == (int)STILLHOUSE_PROMPT_HOLDOUT,
               "kinds of prompts are counted under their own numbers");

void counts_init(struct counts *counts, const char *prefix)
{
    *counts = (struct counts){0};
    (void)keys_name(counts->key, KEYS_PLAIN, prefix, "prompts");
}

void counts_add(struct counts *counts, enum counts_kind kind)
{
    counts->waiting[kind]++;
}

static enum status append(struct redis_conn *conn, const char *key, const char *field, int64_t by)
{
    struct redis_args args = {0};

    redis_args_format(&args, "HINCRBY %s %s %jd", key, field, by);
    const enum status status = redis_conn_append(conn, &args, NULL);
    redis_args_free(&args);
    return status;
}

/* Whatever was on its way in an earlier pipeline that broke goes again. */
static void take_back(struct counts *counts)
{
    for (int i = 0; i < COUNTS_KINDS; i++) {
        if (counts->sent[i] > 0) {
            counts->waiting[i] += counts->sent[i];
            counts->sent[i] = 0;
            counts->due_ms = 0;
        }
    }
}

static void append_all(struct counts *counts, struct redis_conn *conn)
{
    for (int i = 0; i < COUNTS_KINDS; i++) {
        if (counts->waiting[i] > 0 && redis_conn_is_open(conn) &&
            append(conn, counts->key, fields[i], counts->waiting[i]) == STATUS_OK) {
            counts->sent[i] = counts->waiting[i];
            counts->waiting[i] = 0;
            counts->due_ms = clock_now_ms() + COUNTS_EVERY_MS;
        }
    }
}

/* What memory was good for goes along with the prompts. */
static bool has_prompts(const struct counts *counts)
{
    return counts->waiting[COUNTS_ENRICHED] > 0 || counts->waiting[COUNTS_STALE] > 0 ||
           counts->waiting[COUNTS_FALLBACK] > 0 || counts->waiting[COUNTS_HOLDOUT] > 0;
}

void counts_append(struct counts *counts, struct redis_conn *conn)
{
    take_back(counts);
    if (has_prompts(counts) && clock_now_ms() >= counts->due_ms) {
        append_all(counts, conn);
    }
}

void counts_collect(struct counts *counts, struct redis_conn *conn)
{
    for (int i = 0; i < COUNTS_KINDS; i++) {
        redisReply *reply = NULL;
        if (counts->sent[i] > 0 && redis_conn_collect(conn, &reply, NULL) == STATUS_OK) {
            counts->sent[i] = 0; /* also where it was refused: it would be again */
            redis_reply_free(reply);
        }
    }
}

static enum status flush(struct redis_conn *conn, void *context, struct error *err)
{
    struct counts *counts = context;

    take_back(counts);
    append_all(counts, conn);
    counts_collect(counts, conn);
    return redis_conn_is_open(conn) ? STATUS_OK : error_set(err, STATUS_UNREACHABLE, "lost");
}

void counts_flush(struct counts *counts, struct link *link)
{
    struct error err = {0};

    take_back(counts);
    for (int i = 0; i < COUNTS_KINDS; i++) {
        if (counts->waiting[i] > 0) {
            if (link_run(link, flush, counts, &err) != STATUS_OK) {
                take_back(counts);
            }
            return;
        }
    }
}
