/* Does a worker's resident memory stay flat? bench_memory [JOBS]: echo jobs with bodies of 16 B to
 * 16 KiB and, one in twenty, enrichments of 1,000 queries and malformed bodies, until JOBS
 * (1,000,000) are done. Prints the memory ten times; ends with 1 when the last half grew by more
 * than 1 MiB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "jobs/bodies.h"
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "support.h"

enum { CALL = 500, BACKLOG = 20000, STEPS = 10, GROWTH_KIB = 1024, BODY_MAX = 16 * 1024 };

static struct redis_conn *conn;
static char payload[BODY_MAX];

static void send_call(const struct queue *queue, const struct queue_item *items, size_t count)
{
    static struct queue_answer answers[CALL];
    struct error err = {0};

    if (queue_enqueue(conn, &(struct queue_items){queue, 0, items, count}, answers, &err) !=
        STATUS_OK) {
        bench_fail("enqueue: %s", err.text);
    }
}

/* Sizes go from small to large and round again, most of them small. */
static size_t body_bytes(long i)
{
    return (size_t)16 << (i % 100 == 0 ? 10 : i % 7);
}

static void enqueue_echo(const struct queue *queue, long from)
{
    static char ids[CALL][24];
    static struct queue_item items[CALL];

    for (long i = 0; i < CALL; i++) {
        snprintf(ids[i], sizeof ids[i], "e-%ld", from + i);
        items[i] = (struct queue_item){
            {ids[i], strlen(ids[i])}, {"bench", 5}, {"", 0}, {payload, body_bytes(from + i)}};
    }
    send_call(queue, items, CALL);
}

/* Every other one is no enrichment at all and ends as a dead letter. */
static void enqueue_enrich(const struct queue *queue, long from)
{
    for (long i = 0; i < CALL / 20; i++) {
        char id[24];
        char query[64];
        struct strbuf body = {0};
        snprintf(id, sizeof id, "q-%ld", from + i);
        snprintf(query, sizeof query, "question number %ld", (from + i) % 1000);
        const struct enrich_body enrich = {.query = {query, strlen(query)}, .k.value = 3};
        bodies_encode_enrich(&enrich, &body);
        const struct queue_item item = {{id, strlen(id)},
                                        {"bench", 5},
                                        {"", 0},
                                        {body.data, i % 2 == 0 ? body.bytes : body.bytes / 2}};
        send_call(queue, &item, 1);
        strbuf_free(&body);
    }
}

static int64_t ended(const struct queue *queue)
{
    const struct queue_stats stats = bench_stats(conn, queue);

    return stats.counters[QUEUE_DONE] + stats.counters[QUEUE_BURIED];
}

int main(int argc, char **argv)
{
    const long jobs = argc > 1 ? strtol(argv[1], NULL, 10) : 1000000;
    struct test_server redis;
    struct queue echo;
    struct queue enrich;
    struct error err = {0};
    long resident[STEPS];

    test_redis_start(&redis, NULL);
    conn = bench_connect(&redis);
    if (queue_init(&echo, "sh", "echo", &err) != STATUS_OK ||
        queue_init(&enrich, "sh", "enrich", &err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    memset(payload, 'x', sizeof payload);
    pid_t worker = bench_worker_start(&redis, "http://127.0.0.1:9",
                                      (const char *const[]){"--http", "off", "--max-dead", "1000",
                                                            "--breaker-failures", "1",
                                                            "--log-level", "error", NULL});

    printf("| jobs done | resident, KiB |\n| ---: | ---: |\n");
    long sent = 0;
    for (int step = 0; step < STEPS; step++) {
        const long until = jobs / STEPS * (step + 1);
        while (sent < until) {
            enqueue_echo(&echo, sent);
            enqueue_enrich(&enrich, sent);
            sent += CALL;
            while (sent - ended(&echo) > BACKLOG) {
                clock_sleep_ms(5);
            }
        }
        while (ended(&echo) < sent) {
            clock_sleep_ms(5);
        }
        resident[step] = bench_resident_kib(worker);
        printf("| %ld | %ld |\n", sent, resident[step]);
        fflush(stdout);
    }
    bench_worker_stop(worker);
    redis_conn_free(conn);
    test_server_stop(&redis);

    const long growth = resident[STEPS - 1] - resident[STEPS / 2 - 1];
    printf("growth over the last half: %ld KiB, allowed %d\n", growth, GROWTH_KIB);
    return growth > GROWTH_KIB ? 1 : 0;
}
