#include "executions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPES = 8, USERS = 50, SOLUTIONS = 500, DAY_MS = 86400000 };

static const char *const tiers[] = {"small", "medium", "large", "local"};

/* Bytes of a task's description, each as likely: a title here, a page there; 352 on average. */
static const int lengths[] = {40, 60, 80, 110, 150, 200, 280, 400, 700, 1500};

static long draw(unsigned *seed, long below)
{
    return rand_r(seed) % below;
}

static void write_text(char *out, size_t bytes, unsigned *seed)
{
    static const char *const words[] = {
        "add", "the",  "session", "cache", "test",  "remove", "parser", "timeout", "for",
        "of",  "page", "query",   "index", "retry", "config", "upload", "a",       "failing"};
    size_t used = 0;

    while (used < bytes) {
        used += (size_t)snprintf(out + used, bytes + 1 - used, "%s ",
                                 words[draw(seed, sizeof words / sizeof words[0])]);
    }
    out[bytes] = '\0';
}

static int64_t time_of(const struct executions *of, long i)
{
    const int64_t span_ms = of->days * INT64_C(86400000);

    return i >= of->count ? of->now_ms : of->now_ms - span_ms + span_ms / of->count * i;
}

void execution_make(struct execution *out, const struct executions *of, long i)
{
    unsigned seed = (unsigned)i * 2654435761U + 1;
    const bool success = draw(&seed, 4) != 0;
    const int64_t at_ms = time_of(of, i);

    snprintf(out->domain, sizeof out->domain, "acme.repo%ld", draw(&seed, of->domains));
    snprintf(out->job, sizeof out->job, "01930000-0000-7000-8000-%012ld", i);
    snprintf(out->task, sizeof out->task, "task-%08lx-%08ld", draw(&seed, RAND_MAX), i);
    snprintf(out->prompt, sizeof out->prompt, "01930000-0000-7000-9000-%012ld", i);
    snprintf(out->type, sizeof out->type, "type%ld", draw(&seed, TYPES));
    snprintf(out->user, sizeof out->user, "user%ld", draw(&seed, USERS));
    snprintf(out->solution, sizeof out->solution,
             "looked for the first failing test, then mended way %03ld", draw(&seed, SOLUTIONS));
    write_text(out->description, (size_t)lengths[draw(&seed, sizeof lengths / sizeof lengths[0])],
               &seed);
    write_text(out->error, (size_t)draw(&seed, 120) + 20, &seed);
    out->pair = (struct meta_pair){{"branch", 6}, {.type = META_INT, .integer = i % 7}};
    out->part = (struct part){
        .domain = slice_of(out->domain), .job_id = slice_of(out->job), .at_ms = at_ms};
    out->part.body = (struct record_body){
        .kind = slice_of("execution"),
        .task_id = slice_of(out->task),
        .at_ms = {at_ms, true},
        .repo = slice_of("acme/repository"),
        .user = slice_of(out->user),
        .task_type = slice_of(out->type),
        .task_description = slice_of(out->description),
        .file_count = {draw(&seed, 40), true},
        .estimated_tokens = {draw(&seed, 9000), true},
        .tokens_in = {draw(&seed, 9000), true},
        .tokens_out = {draw(&seed, 9000), true},
        .model_tier = slice_of(tiers[draw(&seed, 4)]),
        .model = slice_of("a-model-of-some-name"),
        .pool_type = slice_of(draw(&seed, 2) == 0 ? "warm" : "cold"),
        .swarm_topology = slice_of("hierarchical"),
        .routing_confidence = {(double)draw(&seed, 100) / 100, true},
        .complexity_score = {(double)draw(&seed, 10), true},
        .cost_estimate = {(double)draw(&seed, 1000) / 977, true},
        .parallelism = {draw(&seed, 8) + 1, true},
        .queue_wait_seconds = {(double)draw(&seed, 1000) / 97, true},
        .success = {success, true},
        .duration_seconds = {(double)draw(&seed, 100000) / 97, true},
        .retries = {draw(&seed, 3), true},
        .quality_score = {(double)draw(&seed, 100), true},
        .actual_cost = {(double)draw(&seed, 1000) / 977, true},
        .error_type = success ? (struct slice){NULL, 0} : slice_of("test_failed"),
        .error_message = success ? (struct slice){NULL, 0} : slice_of(out->error),
        .peak_memory_mb = {(double)draw(&seed, 4000), true},
        .cpu_time_seconds = {(double)draw(&seed, 1000) / 97, true},
        .solution_summary = slice_of(out->solution),
        .started_ms = {at_ms - 5000, true},
        .completed_ms = {at_ms, true},
        .arm = slice_of(draw(&seed, 10) == 0 ? "holdout" : "enriched"),
        .prompt_id = slice_of(out->prompt),
        .metadata = {&out->pair, 1, {NULL, 0}},
    };
}

static void become(struct execution *out, const char *kind, char job_kind)
{
    out->job[0] = job_kind; /* an id of its own */
    out->part.at_ms += 60000;
    out->part.body = (struct record_body){
        .kind = slice_of(kind), .at_ms = {out->part.at_ms, true}, .repo = out->part.body.repo};
}

void execution_rate(struct execution *out, const struct executions *of, long i)
{
    execution_make(out, of, i);
    become(out, "feedback", 'f');
    out->part.body.task_id = slice_of(out->task);
    out->part.body.user = slice_of(out->user);
    out->part.body.feedback_type = slice_of("review");
    out->part.body.user_rating = (struct maybe_integer){1 + i % 5, true};
    out->part.body.user_accepted = (struct maybe_truth){i % 5 > 1, true};
    out->part.body.comment = slice_of(out->error);
}

void execution_demand(struct execution *out, const struct executions *of, long i)
{
    execution_make(out, of, i);
    become(out, "policy", 'e');
    out->part.body.maturity = slice_of("stable");
    out->part.body.coverage_threshold = (struct maybe_number){80, true};
    out->part.body.strictness = slice_of("high");
    out->part.body.reason = slice_of("it is what others build on");
}

bool execution_give(const struct store_question *question, const struct execution *of,
                    struct slice given[QUESTION_PARAMETERS_MAX])
{
    for (size_t i = 0; i < QUESTION_PARAMETERS_MAX && question->parameters[i].name != NULL; i++) {
        const char *name = question->parameters[i].name;
        given[i] = strcmp(name, "domain") == 0      ? slice_of(of->domain)
                   : strcmp(name, "task-id") == 0   ? slice_of(of->task)
                   : strcmp(name, "task-type") == 0 ? slice_of(of->type)
                                                    : (struct slice){NULL, 0};
        if (given[i].data == NULL && question->parameters[i].fallback == NULL) {
            return false;
        }
    }
    return question->sql != NULL && strcmp(question->name, "export") != 0;
}
