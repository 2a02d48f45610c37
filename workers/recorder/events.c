#include "recorder/events.h"

#include <stdio.h>

#include "base/text.h"
#include "redis/pipeline.h"

enum { KEPT = 10000, TEXT_MAX_BYTES = 256, NUMBER_BYTES = 32, NUMBERS_MAX = 8 };

/* An entry as it is put together. */
struct entry {
    struct redis_args args;
    char numbers[NUMBERS_MAX][NUMBER_BYTES];
    size_t number_count;
};

/* Long texts are cut: what stands there is to be followed, the store has all of it. */
static void add_text(struct entry *entry, const char *name, struct slice text)
{
    if (text.bytes > 0) {
        redis_args_str(&entry->args, name);
        redis_args_add(&entry->args, text.data,
                       text_utf8_cut(text.data, text.bytes, TEXT_MAX_BYTES));
    }
}

static void add_number(struct entry *entry, const char *name, struct maybe_number number)
{
    if (number.given) {
        char *text = entry->numbers[entry->number_count++];
        snprintf(text, NUMBER_BYTES, "%.10g", number.value);
        redis_args_str(&entry->args, name);
        redis_args_str(&entry->args, text);
    }
}

static void add_truth(struct entry *entry, const char *name, struct maybe_truth truth)
{
    if (truth.given) {
        redis_args_str(&entry->args, name);
        redis_args_str(&entry->args, truth.value ? "1" : "0");
    }
}

static void begin(struct entry *entry, const char *key, const char *event, const struct part *part)
{
    redis_args_format(&entry->args, "XADD %s MAXLEN ~ %d * event %s", key, (int)KEPT, event);
    add_text(entry, "job_id", part->job_id);
    add_text(entry, "domain", part->domain);
    add_text(entry, "task_id", part->body.task_id);
    redis_args_str(&entry->args, "at_ms");
    redis_args_int(&entry->args, part->at_ms);
    add_text(entry, "task_type", part->body.task_type);
    add_text(entry, "model_tier", part->body.model_tier);
    add_text(entry, "model", part->body.model);
    add_text(entry, "pool_type", part->body.pool_type);
}

static void put_decision(struct entry *entry, const struct record_body *body)
{
    add_text(entry, "swarm_topology", body->swarm_topology);
    add_number(entry, "routing_confidence", body->routing_confidence);
    add_number(entry, "complexity_score", body->complexity_score);
    add_number(entry, "cost_estimate", body->cost_estimate);
}

static void put_outcome(struct entry *entry, const struct record_body *body)
{
    add_truth(entry, "success", body->success);
    add_number(entry, "duration_seconds", body->duration_seconds);
    add_number(entry, "quality_score", body->quality_score);
    add_number(entry, "actual_cost", body->actual_cost);
    add_text(entry, "error_type", body->error_type);
    add_text(entry, "arm", body->arm);
}

static void send_one(struct redis_pipeline *pipeline, const char *key, const struct part *part)
{
    struct entry entry = {0};

    if (kind_is_word("routing", part->body.kind)) {
        begin(&entry, key, "routing_decision", part);
        put_decision(&entry, &part->body);
    } else if (kind_is_word("outcome execution", part->body.kind)) {
        begin(&entry, key, "execution_recorded", part);
        put_outcome(&entry, &part->body);
    } else {
        return;
    }
    redis_pipeline_add(pipeline, &entry.args);
    redis_args_free(&entry.args);
}

enum status events_send(struct redis_conn *conn, const struct queue *queue,
                        const struct part *parts, const struct error *refused, size_t count,
                        struct error *err)
{
    struct redis_pipeline pipeline = {.conn = conn};
    char key[QUEUE_BASE_BYTES + 16];

    snprintf(key, sizeof key, "%s:events", queue->base);
    for (size_t i = 0; i < count; i++) {
        if (refused[i].status == STATUS_OK) {
            send_one(&pipeline, key, &parts[i]);
        }
    }
    return redis_pipeline_end(&pipeline, err);
}
