/* A C program that uses the library as tests/python/fault_calls.py uses the package: fault_calls
 * URL OUTBOX MAX_BACKLOG. The same commands, the same answers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stillhouse.h"

enum { STATUSES = STILLHOUSE_KEPT + 1, PAUSE_MS = 5 };

static stillhouse_client *client;
static long serial;

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

struct call {
    double longest_ms;
    long counts[STATUSES]; /* of prompts: STILLHOUSE_OK = enriched */
};

static void note(struct call *call, double begin_ms, stillhouse_status status)
{
    const double took_ms = now_ms() - begin_ms;

    call->longest_ms = took_ms > call->longest_ms ? took_ms : call->longest_ms;
    call->counts[status]++;
}

static void task(struct call *prompts, struct call *jobs)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    char name[64];
    stillhouse_prompt_result prompt;

    snprintf(name, sizeof name, "%ld", serial++);
    const stillhouse_experience done = {.domain = "other",
                                        .task_id = name,
                                        .prompt = "p",
                                        .result = "r",
                                        .success = true,
                                        .quality = -1};
    double begin_ms = now_ms();
    stillhouse_prompt(client, "legal", serial % 2 == 0 ? "notice periods" : name, "base", 0,
                      &prompt);
    note(prompts, begin_ms, prompt.status);
    stillhouse_prompt_free(&prompt);
    begin_ms = now_ms();
    note(jobs, begin_ms, stillhouse_enqueue_distill(client, &done, NULL, NULL));
    nanosleep(&pause, NULL);
}

static void print_call(const char *name, const struct call *call, const char *end)
{
    printf("\"%s\": {\"longest_ms\": %.1f, \"counts\": {", name, call->longest_ms);
    const char *between = "";
    for (int i = 0; i < STATUSES; i++) {
        if (call->counts[i] > 0) {
            printf("%s\"%d\": %ld", between, i, call->counts[i]);
            between = ", ";
        }
    }
    printf("}}%s", end);
}

static void run(int for_ms)
{
    struct call prompts = {0};
    struct call jobs = {0};
    uint64_t kept = 0;

    for (const double end_ms = now_ms() + for_ms; now_ms() < end_ms;) {
        task(&prompts, &jobs);
    }
    stillhouse_outbox_counts(client, &kept, NULL, NULL);
    printf("{");
    print_call("prompts", &prompts, ", ");
    print_call("jobs", &jobs, ", ");
    printf("\"kept\": %" PRIu64 "}\n", kept);
}

int main(int argc, char **argv)
{
    char line[64];
    int number = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: fault_calls URL OUTBOX MAX_BACKLOG\n");
        return 2;
    }
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = argv[1],
                                        .outbox = argv[2],
                                        .max_backlog = strtol(argv[3], NULL, 10),
                                        .retry_ms = 200};
    if (stillhouse_open(&options, &client) != STILLHOUSE_OK) {
        fprintf(stderr, "%s\n", stillhouse_open_error());
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "run %d", &number) == 1) {
            run(number);
        } else if (sscanf(line, "flush %d", &number) == 1) {
            printf("%d\n", stillhouse_flush(client, number, NULL) == STILLHOUSE_OK);
        }
        fflush(stdout);
    }
    stillhouse_close(client);
    return 0;
}
