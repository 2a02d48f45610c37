/* What /metrics tells of the whole fleet, from workers in this process on a Redis of their own. */
#include "fleet_settings.h"
#include "http/client.h"
#include "process/fleet.h"
#include "queue/enqueue.h"
#include "redis_fixture.h"

enum { PATIENCE_MS = 20000, POLL_MS = 20, WORKERS = 2, NONE = -4711 };

struct process {
    struct settings settings;
    struct metrics *metrics;
    struct fleet *fleet;
};

static struct process workers[WORKERS];
static char page[131072];
static struct error err;

static void setup(void)
{
    log_set_level(LOG_ERROR);
    OK(http_global_init(&err));
    redis_setup();
}

TestSuite(families, .init = setup, .fini = redis_teardown, .timeout = 60);

static struct process *start(size_t index, const char *queues)
{
    const struct test_server no_chroma = {.url = "http://127.0.0.1:1"};
    struct process *worker = &workers[index];

    test_fleet_settings(&worker->settings, &redis, &no_chroma);
    worker->settings.lanes = 1;
    worker->settings.max_backlog = 20000;
    snprintf(worker->settings.queues, sizeof worker->settings.queues, "%s", queues);
    worker->metrics = metrics_new();
    cr_assert_not_null(worker->metrics);
    OK(fleet_start(&worker->settings, worker->metrics, &worker->fleet, &err));
    return worker;
}

static void stop(struct process *worker)
{
    fleet_stop(worker->fleet, FLEET_DRAIN);
    cr_assert(fleet_wait(worker->fleet, PATIENCE_MS), "the lanes did not end");
    fleet_free(worker->fleet);
    metrics_free(worker->metrics);
}

static void push(const char *name, int count)
{
    const struct queue queue = queue_named(name);
    struct queue_answer answer;
    char id[16];

    for (int i = 0; i < count; i++) {
        snprintf(id, sizeof id, "j%d", i);
        const struct queue_item item = {{id, strlen(id)}, {"d", 1}, {"", 0}, {"x", 1}};
        OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    }
}

static void pause_queue(const char *name)
{
    const struct queue queue = queue_named(name);

    OK(queue_pause(conn, &queue, true, &err));
}

/* One scrape: the value of a series, NONE when it is not there. */
static double scrape(struct process *worker, const char *series)
{
    struct strbuf out = {0};
    char line[160];

    families_refresh(&fleet_worker(worker->fleet)->families);
    families_measure(&fleet_worker(worker->fleet)->families, true);
    fleet_measure(worker->fleet);
    metrics_render(worker->metrics, &out);
    cr_assert(strbuf_ok(&out));
    cr_assert_lt(out.bytes, sizeof page);
    memcpy(page, out.data, out.bytes);
    page[out.bytes] = '\0';
    strbuf_free(&out);

    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(page, line);
    return at == NULL ? NONE : strtod(at + strlen(line), NULL);
}

static void wait_until(struct process *worker, const char *series, double value)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (scrape(worker, series) != value) {
        cr_assert(clock_now_ms() < until_ms, "%s does not become %g:\n%s", series, value, page);
        clock_sleep_ms(POLL_MS);
    }
}

Test(families, two_partitions_on_two_workers_are_two_series_and_whole)
{
    pause_queue("echo.0");
    pause_queue("echo.1");
    push("echo.0", 7);
    push("echo.1", 6);
    start(0, "echo.0");
    start(1, "echo.1");
    wait_until(&workers[0], "stillhouse_queue_jobs{queue=\"echo.0\",state=\"waiting\"}", 7);
    cr_assert_null(strstr(page, "queue=\"echo.1\""), "it does not serve that one");
    cr_assert_null(strstr(page, "queue=\"echo\""), "a name that no queue has");
    cr_assert_null(strstr(page, "queue=\"other\""));
    wait_until(&workers[1], "stillhouse_queue_jobs{queue=\"echo.1\",state=\"waiting\"}", 6);
    cr_assert_eq(scrape(&workers[1], "stillhouse_queue_paused{queue=\"echo.1\"}"), 1);
    cr_assert_eq(scrape(&workers[1], "stillhouse_queue_limit_jobs{queue=\"echo.1\"}"), 20000);
    cr_assert_eq(scrape(&workers[1], "stillhouse_unaccounted_jobs{queue=\"echo.1\"}"), 0);
    wait_until(&workers[1], "stillhouse_lanes{state=\"paused\"}", 1);
    cr_assert_gt(scrape(&workers[1], "stillhouse_queue_oldest_seconds{queue=\"echo.1\"}"), 0);
    stop(&workers[0]);
    stop(&workers[1]);
}

Test(families, the_fleets_count_is_the_same_from_every_worker_and_the_own_ones_add_up_to_it)
{
    static const char fleet_done[] = "stillhouse_fleet_jobs_total{queue=\"echo\",outcome=\"done\"}";
    static const char own_done[] = "stillhouse_jobs_total{queue=\"echo\",outcome=\"done\"}";

    cr_assert_str_eq(ask("HSET", "sh:prompts", "memory_hit", "7", "holdout", "3", NULL), "2");
    start(0, "echo");
    start(1, "echo");
    push("echo", 40);
    wait_until(&workers[0], fleet_done, 40);
    wait_until(&workers[1], fleet_done, 40);
    cr_assert_eq(
        scrape(&workers[1], "stillhouse_fleet_jobs_total{queue=\"echo\",outcome=\"enqueued\"}"),
        40);
    cr_assert_eq(
        scrape(&workers[1], "stillhouse_fleet_jobs_total{queue=\"echo\",outcome=\"buried\"}"), 0);
    cr_assert_eq(scrape(&workers[0], own_done) + scrape(&workers[1], own_done), 40);
    cr_assert_eq(scrape(&workers[0], "stillhouse_prompts_total{result=\"fallback\"}"), 0);
    cr_assert_eq(scrape(&workers[0], "stillhouse_prompts_total{result=\"holdout\"}"), 3);
    cr_assert_eq(
        scrape(&workers[0], "stillhouse_cache_lookups_total{layer=\"memory\",result=\"hit\"}"), 7);
    stop(&workers[0]);
    stop(&workers[1]);
}

static long long calls_of(const char *command)
{
    redisReply *reply = good_reply("INFO", "commandstats", NULL);
    char label[64];

    snprintf(label, sizeof label, "cmdstat_%s:calls=", command);
    const char *at = strstr(reply->str, label);
    long long calls = at == NULL ? 0 : strtoll(at + strlen(label), NULL, 10);
    redis_reply_free(reply);
    return calls;
}

Test(families, a_worker_that_nobody_scrapes_asks_redis_nothing)
{
    start(0, "echo");
    push("echo", 1);
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (calls_of("xreadgroup") == 0 && clock_now_ms() < until_ms) {
        clock_sleep_ms(POLL_MS);
    }
    long long before = calls_of("fcall_ro"); /* sh_version, at the start */
    clock_sleep_ms(500);
    cr_assert_eq(calls_of("fcall_ro"), before);
    for (int i = 0; i < 50; i++) {
        scrape(&workers[0], "stillhouse_redis_up");
    }
    cr_assert_gt(calls_of("fcall_ro"), before);
    cr_assert_leq(calls_of("fcall_ro"), before + 2, "not once a scrape: %s", page);
    stop(&workers[0]);
}

Test(families, what_was_true_before_redis_died_is_not_told_afterwards)
{
    start(0, "echo");
    push("echo", 3);
    wait_until(&workers[0], "stillhouse_fleet_jobs_total{queue=\"echo\",outcome=\"done\"}", 3);
    test_server_kill(&redis);
    wait_until(&workers[0], "stillhouse_queue_jobs{queue=\"echo\",state=\"waiting\"}", NONE);
    cr_assert_null(strstr(page, "\nstillhouse_fleet_jobs_total{"), "%s", page);
    cr_assert_null(strstr(page, "\nstillhouse_unaccounted_jobs{"));
    cr_assert_null(strstr(page, "\nstillhouse_prompts_total{"));
    cr_assert_eq(scrape(&workers[0], "stillhouse_jobs_total{queue=\"echo\",outcome=\"done\"}"), 3,
                 "what it did itself it knows");
    test_server_restart(&redis);
    wait_until(&workers[0], "stillhouse_queue_jobs{queue=\"echo\",state=\"waiting\"}", 0);
    stop(&workers[0]);
}

Test(families, a_redis_that_hangs_delays_one_scrape_a_little_and_the_next_not_at_all)
{
    start(0, "echo");
    wait_until(&workers[0], "stillhouse_queue_jobs{queue=\"echo\",state=\"waiting\"}", 0);
    test_server_freeze(&redis, true);
    clock_sleep_ms(600); /* so long what was fetched counts as new */
    const int64_t began_ms = clock_now_ms();
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(scrape(&workers[0], "stillhouse_queue_jobs{queue=\"echo\",state=\"waiting\"}"),
                     0, "seconds old, still shown");
    }
    cr_assert_lt(clock_now_ms() - began_ms, 1500);
    test_server_freeze(&redis, false);
    stop(&workers[0]);
}

Test(families, a_key_of_another_type_hides_at_most_its_own_queue)
{
    cr_assert_str_eq(ask("SET", "sh:{echo.0}:dead", "x", NULL), "OK");
    start(0, "echo.0,echo.1");
    wait_until(&workers[0], "stillhouse_queue_jobs{queue=\"echo.1\",state=\"waiting\"}", 0);
    stop(&workers[0]);
}

Test(families, the_process_tells_of_itself)
{
    static const char *const samples[] = {"process_cpu_seconds_total",
                                          "process_start_time_seconds",
                                          "process_open_fds",
                                          "process_max_fds",
                                          "process_resident_memory_bytes",
                                          "process_virtual_memory_bytes"};
    start(0, "echo");
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        cr_assert_gt(scrape(&workers[0], samples[i]), 0, "%s", samples[i]);
    }
    cr_assert_eq(scrape(&workers[0], "stillhouse_redis_up"), 1);
    cr_assert_not_null(strstr(page, "\nstillhouse_build_info{version=\"" STILLHOUSE_VERSION_TEXT
                                    "\",functions=\""));
    cr_assert_lt(scrape(&workers[0], "process_start_time_seconds"),
                 (double)clock_unix_ms() / 1e3 + 1);
    stop(&workers[0]);
}
