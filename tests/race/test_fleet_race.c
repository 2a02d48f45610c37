/* A whole worker under ThreadSanitizer: lanes, reader, janitor, writer lease, breakers and
 * endpoint, on a real Redis and a real Chroma that is frozen for a while, with jobs of every queue,
 * pauses and a drain in the middle; and again with the fleet's next life. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fleet_settings.h"
#include "http/client.h"
#include "jobs/bodies.h"
#include "process/fleet.h"
#include "process/health.h"
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "servers.h"

enum { LIVES = 2, JOBS = 400, PATIENCE_MS = 60000 };

static struct test_server redis;
static struct test_server chroma;
static struct settings settings;
static atomic_bool watching;
static struct fleet *fleet;
static struct metrics *metrics;

static void expect(bool condition, const char *what, const struct error *err)
{
    if (!condition) {
        fprintf(stderr, "test_fleet_race: %s: %s\n", what, err != NULL ? err->text : "");
        exit(1);
    }
}

static struct redis_conn *connect_redis(void)
{
    struct redis_url url;
    struct error err = {0};

    expect(redis_url_parse(redis.url, &url, &err) == STATUS_OK, "url", &err);
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    expect(conn != NULL, "out of memory", NULL);
    return conn;
}

static void enqueue(struct redis_conn *conn, const char *name, const char *id, const char *options,
                    const struct strbuf *body)
{
    static const char *const domains[] = {"legal", "tax", "food"};
    struct queue queue;
    struct queue_answer answer;
    struct error err = {0};
    const char *domain = domains[strlen(id) % 3];
    const struct queue_item item = {{id, strlen(id)},
                                    {domain, strlen(domain)},
                                    {options, strlen(options)},
                                    {body->data, body->bytes}};

    expect(queue_init(&queue, "sh", name, &err) == STATUS_OK, name, &err);
    expect(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err) ==
               STATUS_OK,
           name, &err);
}

/* Jobs of three queues in turn, so that every batch has several. */
static void produce(struct redis_conn *conn, int life)
{
    static const char *const options[] = {"", "priority=high", "priority=low reply=1",
                                          "delay_ms=5"};
    struct strbuf body = {0};

    for (int i = 0; i < JOBS; i++) {
        char id[32];
        char text[64];
        snprintf(id, sizeof id, "%d-%d", life, i);
        snprintf(text, sizeof text, "a question about matter %d", i % 50);
        strbuf_reset(&body);
        const char *name = "echo";
        if (i % 3 == 0) {
            const struct enrich_body enrich = {.query = {text, strlen(text)}, .k.value = 3};
            bodies_encode_enrich(&enrich, &body);
            name = "enrich";
        } else if (i % 3 == 1) {
            const struct distill_body distill = {.task_id = {id, strlen(id)},
                                                 .prompt = {text, strlen(text)},
                                                 .result = {text, strlen(text)},
                                                 .success.value = true};
            bodies_encode_distill(&distill, &body);
            name = "distill";
        } else {
            strbuf_append_str(&body, "anything");
        }
        enqueue(conn, name, id, options[i % 4], &body);
    }
    strbuf_free(&body);
}

/* Looks at everything that other threads write, as scrapers and probes do. */
static void *watch(void *unused)
{
    struct strbuf text = {0};
    (void)unused;

    while (atomic_load(&watching)) {
        strbuf_reset(&text);
        metrics_render(metrics, &text);
        upstreams_describe(fleet_worker(fleet)->upstreams, METRICS_CHROMA, &text);
        expect(fleet_is_alive(fleet), "the fleet does not move", NULL);
        (void)fleet_redis_ready(fleet);
        clock_sleep_ms(1);
    }
    strbuf_free(&text);
    return NULL;
}

static void toggle_pause(struct redis_conn *conn, const char *name, bool paused)
{
    struct queue queue;
    struct error err = {0};

    expect(queue_init(&queue, "sh", name, &err) == STATUS_OK, name, &err);
    expect(queue_pause(conn, &queue, paused, &err) == STATUS_OK, "pause", &err);
}

/* Jobs that have not ended yet; the books must balance at every look. */
static int64_t left_in(struct redis_conn *conn, const char *name)
{
    struct queue queue;
    struct queue_stats stats;
    struct error err = {0};

    expect(queue_init(&queue, "sh", name, &err) == STATUS_OK, name, &err);
    expect(queue_get_stats(conn, &queue, &stats, &err) == STATUS_OK, "stats", &err);
    struct queue_balance balance = queue_check_balance(&stats);
    expect(balance.jobs == 0 && balance.dead == 0 && stats.dead == 0, "the books of", NULL);
    return stats.waiting + stats.running + stats.delayed;
}

static void drain_queues(struct redis_conn *conn)
{
    static const char *const names[] = {"enrich", "distill", "echo"};
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    for (size_t i = 0; i < 3; i++) {
        while (left_in(conn, names[i]) > 0) {
            expect(clock_now_ms() < until_ms, "jobs are left in", NULL);
            clock_sleep_ms(10);
        }
    }
}

static void live(struct redis_conn *conn, int life)
{
    pthread_t watcher;
    struct error err = {0};

    metrics = metrics_new();
    expect(metrics != NULL, "out of memory", NULL);
    expect(fleet_start(&settings, metrics, &fleet, &err) == STATUS_OK, "start", &err);
    atomic_store(&watching, true);
    expect(pthread_create(&watcher, NULL, watch, NULL) == 0, "no thread", NULL);

    test_server_freeze(&chroma, true);
    produce(conn, life);
    toggle_pause(conn, "echo", true);
    clock_sleep_ms(1500); /* long enough for calls to time out and for the breaker to open */
    test_server_freeze(&chroma, false);
    toggle_pause(conn, "echo", false);
    if (life == LIVES) {
        drain_queues(conn);
    }

    atomic_store(&watching, false);
    pthread_join(watcher, NULL);
    fleet_stop(fleet, FLEET_DRAIN);
    expect(fleet_wait(fleet, PATIENCE_MS), "the lanes did not end", NULL);
    fleet_free(fleet);
    metrics_free(metrics);
}

int main(void)
{
    struct error err = {0};

    log_set_level(LOG_ERROR);
    expect(http_global_init(&err) == STATUS_OK, "http", &err);
    test_redis_start(&redis, NULL);
    test_chroma_start(&chroma);
    test_fleet_settings(&settings, &redis, &chroma);
    settings.lanes = 4;
    settings.batch = 16;
    settings.max_attempts = 1000;
    settings.breaker_failures = 2;
    settings.chroma_timeout_ms = 300;

    struct redis_conn *conn = connect_redis();
    expect(queue_install(conn, NULL, &err) == STATUS_OK, "functions", &err);
    for (int life = 1; life <= LIVES; life++) {
        live(conn, life);
    }
    redis_conn_free(conn);
    test_server_stop(&chroma);
    test_server_stop(&redis);
    puts("ok");
    return 0;
}
