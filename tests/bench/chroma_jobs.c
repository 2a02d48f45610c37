#include "chroma_jobs.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "experiences.h"
#include "jobs/bodies.h"
#include "queue/enqueue.h"
#include "support.h"

enum { CALL = 500, ID_BYTES = 40, OPTIONS_BYTES = 64 };

/* A call that is being filled; it owns what its items point to. */
struct call {
    struct queue_item items[CALL];
    struct queue_answer answers[CALL];
    struct strbuf bodies[CALL];
    char ids[CALL][ID_BYTES];
    char domains[CALL][EXPERIENCES_DOMAIN];
    char options[CALL][OPTIONS_BYTES];
    size_t count;
};

static struct call call;

static struct slice text(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static void send_call(struct chroma_jobs *jobs)
{
    struct error err = {0};

    if (call.count > 0 &&
        queue_enqueue(jobs->conn, &(struct queue_items){&jobs->queue, 0, call.items, call.count},
                      call.answers, &err) != STATUS_OK) {
        bench_fail("enqueue: %s", err.text);
    }
    call.count = 0;
}

/* The body of the next job of the call, empty. */
static struct strbuf *next_body(void)
{
    struct strbuf *body = &call.bodies[call.count];

    strbuf_reset(body);
    return body;
}

/* Job `index` with that body; its serial decides its domain. */
static void add(struct chroma_jobs *jobs, long index, const char *options)
{
    const size_t i = call.count;

    snprintf(call.ids[i], ID_BYTES, "00000001-cafe-7000-8000-%012lx", (unsigned long)index);
    snprintf(call.options[i], OPTIONS_BYTES, "%s", options);
    experience_domain(call.domains[i], jobs->prefix, index, jobs->domains);
    if (!strbuf_ok(&call.bodies[i])) {
        bench_fail("out of memory");
    }
    call.items[i] = (struct queue_item){.id = text(call.ids[i]),
                                        .domain = text(call.domains[i]),
                                        .options = text(call.options[i]),
                                        .body = {call.bodies[i].data, call.bodies[i].bytes}};
    call.count++;
    if (call.count == CALL) {
        send_call(jobs);
    }
}

/* Unique, as the library makes them. */
void chroma_jobs_enrich(void *context)
{
    struct chroma_jobs *jobs = context;
    char query[EXPERIENCES_TEXT];
    char hash[TEXT_HASH_CHARS + 1];
    char options[OPTIONS_BYTES];

    for (long i = 0; i < jobs->count; i++) {
        experience_query(query, jobs->first + i, jobs->experiences);
        text_hash(query, strlen(query), hash);
        snprintf(options, sizeof options, "unique=%s.%d", hash, BODIES_K_DEFAULT);
        bodies_encode_enrich(
            &(struct enrich_body){.query = text(query), .k.value = BODIES_K_DEFAULT}, next_body());
        add(jobs, i, options);
    }
    send_call(jobs);
}

void chroma_jobs_distill(void *context)
{
    struct chroma_jobs *jobs = context;
    struct experience made;

    for (long i = 0; i < jobs->count; i++) {
        experience_make(&made, jobs->first + i);
        const struct distill_body body = {.task_id = text(made.task_id),
                                          .prompt = text(made.prompt),
                                          .result = text(made.result),
                                          .success.value = true,
                                          .quality = {0.9, true}};
        bodies_encode_distill(&body, next_body());
        add(jobs, i, "");
    }
    send_call(jobs);
}

void chroma_jobs_index(void *context)
{
    static struct experience made[CHROMA_JOBS_DOCUMENTS];
    struct chroma_jobs *jobs = context;
    struct index_document documents[CHROMA_JOBS_DOCUMENTS];
    long done = 0;

    for (long job = 0; done < jobs->count; job++) {
        size_t count = 0;
        for (; count < CHROMA_JOBS_DOCUMENTS && done < jobs->count; count++, done++) {
            experience_make(&made[count], jobs->first + done);
            documents[count] = (struct index_document){.id = text(made[count].task_id),
                                                       .text = text(made[count].result)};
        }
        bodies_encode_index(&(struct index_body){.documents = {documents, count}}, next_body());
        add(jobs, job, "");
    }
    send_call(jobs);
}
