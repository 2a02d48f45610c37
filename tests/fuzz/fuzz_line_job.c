/* Any line of JSON as a job of each queue: what is taken, a worker takes too. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/bodies.h"
#include "jobs/line_job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void must_be_taken(const char *queue, const struct strbuf *body, struct arena *arena)
{
    struct enrich_body enrich;
    struct distill_body distill;
    struct index_body index;
    struct record_body record;
    struct vector_body vector;
    struct error err = {0};
    enum status status = mp_check(body->data, body->bytes, NULL, &err);

    must(status == STATUS_OK);
    if (strcmp(queue, "enrich") == 0) {
        status = bodies_decode_enrich(body->data, body->bytes, NULL, &enrich, &err);
    } else if (strcmp(queue, "distill") == 0) {
        status = bodies_decode_distill(body->data, body->bytes, arena, &distill, &err);
    } else if (strcmp(queue, "index") == 0) {
        status = bodies_decode_index(body->data, body->bytes, arena, &index, &err);
    }
    if (strcmp(queue, "record") == 0) {
        status = bodies_decode_record(body->data, body->bytes, arena, &record, &err);
    }
    if (strcmp(queue, "vector") == 0) {
        status = bodies_decode_vector(body->data, body->bytes, arena, &vector, &err);
    }
    must(status == STATUS_OK);
}

static void try_queue(const char *queue, const char *domain, const char *text, size_t bytes)
{
    const struct line_defaults defaults = {
        .kind = kind_of(queue, strlen(queue)), .domain = domain, .max_body_bytes = 256 * 1024};
    struct arena arena = {0};
    struct line_job job = {0};
    struct error err = {0};

    const enum status status =
        line_job_decode(&defaults, (struct slice){text, bytes}, &arena, &job, &err);
    if (status == STATUS_OK) {
        must(text_is_domain(job.domain, strlen(job.domain)));
        must(job.delay_ms >= 0 && job.delay_ms <= JOB_DELAY_MAX_MS && job.deadline_ms >= 0);
        must((job.unique[0] != '\0') == (strcmp(queue, "enrich") == 0));
        must_be_taken(queue, &job.body, &arena);
    } else {
        must(status == STATUS_INVALID && err.text[0] != '\0');
    }
    line_job_free(&job);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const queues[] = {"enrich", "distill", "index", "echo", "record", "vector"};

    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++) {
        try_queue(queues[i], i % 2 == 0 ? "legal" : NULL, (const char *)data, size);
    }
    return 0;
}
