/* What workers and programs count, as Prometheus reads it: every text is parsed. */
#include "prometheus_text.h"

#include <math.h>

enum { ENRICH = METRICS_OTHER + 1, DISTILL, INDEX, ECHO, QUEUES };

static const char *const tallies[] = {"enqueued", "done", "buried"};

static struct metrics *make(void)
{
    static const char *const queues[] = {"enrich", "distill", "index", "echo"};
    struct metrics *m = metrics_new();
    cr_assert_not_null(m);
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++) {
        metrics_add_queue(m, queues[i]);
    }
    metrics_name_tallies(m, tallies, sizeof tallies / sizeof tallies[0]);
    return m;
}

/* ---- families ---- */

Test(metrics, the_families_are_those_of_the_contract)
{
    static const char *const contract[][2] = {
        {"stillhouse_jobs_total", "counter"},
        {"stillhouse_job_seconds", "histogram"},
        {"stillhouse_job_wait_seconds", "histogram"},
        {"stillhouse_upstream_seconds", "histogram"},
        {"stillhouse_upstream_errors_total", "counter"},
        {"stillhouse_http_requests_total", "counter"},
        {"stillhouse_http_connections_total", "counter"},
        {"stillhouse_breaker_state", "gauge"},
        {"stillhouse_breaker_opened_total", "counter"},
        {"stillhouse_cache_lookups_total", "counter"},
        {"stillhouse_prompts_total", "counter"},
        {"stillhouse_looked_further_total", "counter"},
        {"stillhouse_swept_experiences_total", "counter"},
        {"stillhouse_long_texts_total", "counter"},
        {"stillhouse_embedded_texts_total", "counter"},
        {"stillhouse_fleet_jobs_total", "counter"},
        {"stillhouse_queue_jobs", "gauge"},
        {"stillhouse_queue_oldest_seconds", "gauge"},
        {"stillhouse_queue_limit_jobs", "gauge"},
        {"stillhouse_queue_paused", "gauge"},
        {"stillhouse_unaccounted_jobs", "gauge"},
        {"stillhouse_queue_faults", "gauge"},
        {"stillhouse_lanes", "gauge"},
        {"stillhouse_build_info", "gauge"},
        {"stillhouse_redis_up", "gauge"},
        {"process_cpu_seconds_total", "counter"},
        {"process_virtual_memory_bytes", "gauge"},
        {"process_resident_memory_bytes", "gauge"},
        {"process_open_fds", "gauge"},
        {"process_max_fds", "gauge"},
        {"process_start_time_seconds", "gauge"},
        {"stillhouse_queues_set_aside", "gauge"},
        {"stillhouse_learn_open", "gauge"},
        {"stillhouse_learn_parts_total", "counter"},
        {"stillhouse_learn_executions", "gauge"},
        {"stillhouse_learn_incomplete_executions", "gauge"},
        {"stillhouse_learn_dirty_groups", "gauge"},
        {"stillhouse_learn_refresh_lag_seconds", "gauge"},
        {"stillhouse_learn_bytes", "gauge"},
        {"stillhouse_learn_checked_groups_total", "counter"},
        {"stillhouse_learn_drifted_groups_total", "counter"},
        {"stillhouse_learn_expired_rows_total", "counter"},
        {"stillhouse_learn_hurt_domains", "gauge"},
    };
    struct metrics *m = make();
    parse(m);
    cr_assert_eq(family_count, sizeof contract / sizeof contract[0]);
    for (size_t i = 0; i < family_count; i++) {
        cr_assert_str_eq(families[i][0], contract[i][0]);
        cr_assert_str_eq(families[i][1], contract[i][1]);
    }
    metrics_free(m);
}

Test(metrics, counters_that_alerts_ask_for_start_at_zero)
{
    struct metrics *m = make();
    parse(m);
    cr_assert_eq(value("stillhouse_jobs_total", "queue=\"enrich\",outcome=\"done\""), 0);
    cr_assert_eq(value("stillhouse_jobs_total", "queue=\"echo\",outcome=\"reclaimed\""), 0);
    cr_assert_eq(
        value("stillhouse_upstream_errors_total", "upstream=\"chroma\",reason=\"unreachable\""), 0);
    cr_assert_eq(value("stillhouse_http_requests_total", "upstream=\"chroma\",code=\"200\""), 0);
    cr_assert_eq(value("stillhouse_http_connections_total", "upstream=\"embedder\""), 0);
    cr_assert_eq(value("stillhouse_breaker_state", "upstream=\"chroma\",operation=\"get\""), 0);
    cr_assert_eq(value("stillhouse_http_requests_total", "upstream=\"chroma\",code=\"error\""), 0);
    cr_assert_eq(value("stillhouse_job_seconds_count", "queue=\"index\""), 0);
    cr_assert_eq(value("stillhouse_lanes", "state=\"paused\""), 0);
    for (size_t i = 0; i < sample_count; i++) {
        cr_assert_null(strstr(samples[i].labels, "other"), "%s", samples[i].labels);
        cr_assert(strncmp(samples[i].name, "stillhouse_queue_", 17) != 0 &&
                      strncmp(samples[i].name, "stillhouse_fleet_", 17) != 0 &&
                      strcmp(samples[i].name, "stillhouse_unaccounted_jobs") != 0 &&
                      strcmp(samples[i].name, "stillhouse_prompts_total") != 0,
                  "%s: Redis has not been asked yet", samples[i].name);
    }
    metrics_free(m);
}

Test(metrics, every_counter_lands_in_its_own_series)
{
    static const char *const queues[] = {"other", "enrich", "distill", "index", "echo"};
    static const char *const outcomes[] = {"done",    "retried",   "buried",
                                           "expired", "reclaimed", "parked"};
    struct metrics *m = make();
    for (int queue = 0; queue < QUEUES; queue++) {
        for (int outcome = 0; outcome < METRICS_OUTCOMES; outcome++) {
            metrics_add(m, METRICS_JOBS, (size_t)queue, (enum metrics_outcome)outcome,
                        (uint64_t)queue * 10 + (uint64_t)outcome + 1);
        }
    }
    metrics_set(m, METRICS_CACHE_LOOKUPS, METRICS_MEMORY, METRICS_STALE, 3);
    metrics_add(m, METRICS_CACHE_LOOKUPS, METRICS_REDIS_LAYER, METRICS_HIT, 4);
    metrics_add(m, METRICS_CACHE_LOOKUPS, METRICS_REDIS_LAYER, METRICS_MISS, 5);
    metrics_add(m, METRICS_EMBEDDED, METRICS_FROM_MODEL, 0, 6);
    metrics_add(m, METRICS_EMBEDDED, METRICS_FROM_CACHE, 0, 7);
    parse(m);
    for (int queue = 0; queue < QUEUES; queue++) {
        for (int outcome = 0; outcome < METRICS_OUTCOMES; outcome++) {
            char labels[80];
            snprintf(labels, sizeof labels, "queue=\"%s\",outcome=\"%s\"", queues[queue],
                     outcomes[outcome]);
            cr_assert_eq(value("stillhouse_jobs_total", labels), queue * 10 + outcome + 1);
        }
    }
    cr_assert_eq(value("stillhouse_cache_lookups_total", "layer=\"memory\",result=\"stale\""), 3);
    cr_assert_eq(value("stillhouse_cache_lookups_total", "layer=\"redis\",result=\"hit\""), 4);
    cr_assert_eq(value("stillhouse_cache_lookups_total", "layer=\"redis\",result=\"miss\""), 5);
    cr_assert_eq(value("stillhouse_embedded_texts_total", "source=\"model\""), 6);
    cr_assert_eq(value("stillhouse_embedded_texts_total", "source=\"cache\""), 7);
    metrics_free(m);
}

Test(metrics, every_queue_goes_by_its_own_name_partitions_too)
{
    struct metrics *m = make();
    metrics_add_queue(m, "enrich.0");
    metrics_add_queue(m, "enrich.1");
    metrics_add_queue(m, "enrich.0");
    cr_assert_eq(metrics_queue_of(m, "enrich"), ENRICH);
    cr_assert_eq(metrics_queue_of(m, "echo"), ECHO);
    cr_assert_eq(metrics_queue_of(m, "enrich.0"), QUEUES);
    cr_assert_eq(metrics_queue_of(m, "enrich.1"), QUEUES + 1);
    static const char *const strangers[] = {"enrich.2", "enric", "", "other", ".enrich"};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        cr_assert_eq(metrics_queue_of(m, strangers[i]), METRICS_OTHER, "%s", strangers[i]);
    }
    metrics_add(m, METRICS_JOBS, metrics_queue_of(m, "enrich.0"), METRICS_DONE, 3);
    metrics_add(m, METRICS_JOBS, metrics_queue_of(m, "enrich.1"), METRICS_DONE, 4);
    parse(m);
    cr_assert_eq(value("stillhouse_jobs_total", "queue=\"enrich.0\",outcome=\"done\""), 3);
    cr_assert_eq(value("stillhouse_jobs_total", "queue=\"enrich.1\",outcome=\"done\""), 4);
    cr_assert_eq(value("stillhouse_jobs_total", "queue=\"enrich\",outcome=\"done\""), 0);
    metrics_free(m);
}

Test(metrics, queues_over_the_bound_count_as_other)
{
    struct metrics *m = make();
    char name[16];
    for (int i = 0; i < METRICS_QUEUES_MAX; i++) {
        snprintf(name, sizeof name, "enrich.%d", i);
        metrics_add_queue(m, name);
    }
    cr_assert_eq(metrics_queue_of(m, "enrich.27"), METRICS_QUEUES_MAX - 1);
    cr_assert_eq(metrics_queue_of(m, "enrich.28"), METRICS_OTHER);
    metrics_free(m);
}

/* ---- histograms ---- */

Test(metrics, an_observation_counts_in_its_bucket_and_all_above)
{
    struct metrics *m = make();
    const char *name = "stillhouse_job_seconds_bucket";
    const char *labels = "queue=\"enrich\"";
    metrics_observe(m, METRICS_JOB_SECONDS, ENRICH, 0.0005, 1);
    metrics_observe(m, METRICS_JOB_SECONDS, ENRICH, 0.0006, 1);
    metrics_observe(m, METRICS_JOB_SECONDS, ENRICH, 30, 1);
    metrics_observe(m, METRICS_JOB_SECONDS, ENRICH, 31, 1);
    parse(m);
    cr_assert_eq(bucket(name, labels, "0.0005"), 1, "a bound belongs to its bucket");
    cr_assert_eq(bucket(name, labels, "0.001"), 2);
    cr_assert_eq(bucket(name, labels, "10"), 2);
    cr_assert_eq(bucket(name, labels, "30"), 3);
    cr_assert_eq(bucket(name, labels, "+Inf"), 4);
    cr_assert_float_eq(value("stillhouse_job_seconds_sum", labels), 61.0011, 1e-6);
    cr_assert_eq(value("stillhouse_job_seconds_count", "queue=\"distill\""), 0);
    metrics_free(m);
}

Test(metrics, every_job_of_a_batch_took_as_long_as_the_batch)
{
    struct metrics *m = make();
    metrics_observe(m, METRICS_JOB_SECONDS, DISTILL, 0.25, 64);
    metrics_observe(m, METRICS_JOB_SECONDS, DISTILL, 0.25, 0);
    parse(m);
    cr_assert_eq(bucket("stillhouse_job_seconds_bucket", "queue=\"distill\"", "0.1"), 0);
    cr_assert_eq(bucket("stillhouse_job_seconds_bucket", "queue=\"distill\"", "0.25"), 64);
    cr_assert_eq(value("stillhouse_job_seconds_sum", "queue=\"distill\""), 16);
    cr_assert_eq(value("stillhouse_job_seconds_count", "queue=\"distill\""), 64);
    metrics_free(m);
}

Test(metrics, jobs_may_wait_for_longer_than_calls_take)
{
    struct metrics *m = make();
    const char *name = "stillhouse_job_wait_seconds_bucket";
    metrics_observe(m, METRICS_JOB_WAIT_SECONDS, ECHO, 90, 1);
    metrics_observe(m, METRICS_JOB_WAIT_SECONDS, ECHO, 7200, 1);
    metrics_observe(m, METRICS_JOB_WAIT_SECONDS, METRICS_OTHER, 0.5, 1);
    parse(m);
    cr_assert_eq(bucket(name, "queue=\"echo\"", "60"), 0);
    cr_assert_eq(bucket(name, "queue=\"echo\"", "300"), 1);
    cr_assert_eq(bucket(name, "queue=\"echo\"", "3600"), 1);
    cr_assert_eq(bucket(name, "queue=\"echo\"", "+Inf"), 2);
    cr_assert_eq(value("stillhouse_job_wait_seconds_count", "queue=\"other\""), 1);
    metrics_free(m);
}

Test(metrics, odd_durations_do_no_harm)
{
    struct metrics *m = make();
    metrics_observe(m, METRICS_JOB_WAIT_SECONDS, ECHO, -5, 1);
    metrics_observe(m, METRICS_JOB_WAIT_SECONDS, ECHO, NAN, 1);
    metrics_observe(m, METRICS_JOB_WAIT_SECONDS, INDEX, INFINITY, 1);
    metrics_observe(m, METRICS_JOB_WAIT_SECONDS, INDEX, 1e300, 1);
    parse(m);
    cr_assert_eq(bucket("stillhouse_job_wait_seconds_bucket", "queue=\"echo\"", "0.001"), 2);
    cr_assert_eq(value("stillhouse_job_wait_seconds_sum", "queue=\"echo\""), 0);
    cr_assert_eq(value("stillhouse_job_wait_seconds_count", "queue=\"index\""), 2);
    cr_assert_eq(value("stillhouse_job_wait_seconds_sum", "queue=\"index\""), 2e6);
    metrics_free(m);
}

/* ---- upstreams ---- */

static double calls(const char *upstream, const char *operation)
{
    char labels[80];
    snprintf(labels, sizeof labels, "upstream=\"%s\",operation=\"%s\"", upstream, operation);
    return value("stillhouse_upstream_seconds_count", labels);
}

Test(metrics, calls_count_by_upstream_and_known_operation)
{
    static const char *const of_redis[] = {"read", "finish", "cache", "function"};
    static const char *const of_chroma[] = {"query",      "upsert",    "get",  "delete",
                                            "collection", "heartbeat", "other"};
    struct metrics *m = make();
    for (size_t i = 0; i < 4; i++) {
        metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_REDIS, of_redis[i]),
                        0.01, 1);
    }
    for (size_t i = 0; i < 7; i++) {
        metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_CHROMA, of_chroma[i]),
                        0.01, 1);
    }
    metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_CHROMA, "open"), 0.01, 1);
    metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_CHROMA, "create"), 0.01,
                    1);
    metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_CHROMA, "count"), 0.01, 1);
    metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_CHROMA, "embed"), 0.01, 1);
    metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_CHROMA, NULL), 0.01, 1);
    metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_EMBEDDER, "embed"), 0.01,
                    1);
    metrics_observe(m, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_EMBEDDER, "heartbeat"),
                    0.01, 1);
    parse(m);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(calls("redis", of_redis[i]), 1, "%s", of_redis[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(calls("chroma", of_chroma[i]), 1, "%s", of_chroma[i]);
    }
    cr_assert_eq(calls("chroma", "collection"), 3);
    cr_assert_eq(calls("chroma", "heartbeat"), 1);
    cr_assert_eq(calls("chroma", "other"), 4);
    cr_assert_eq(calls("embedder", "embed"), 1);
    cr_assert_eq(calls("embedder", "other"), 1);
    cr_assert_eq(calls("redis", "other"), -4711, "what was never called is not shown");
    metrics_free(m);
}

Test(metrics, errors_count_by_reason_in_one_word)
{
    struct metrics *m = make();
    metrics_add(m, METRICS_UPSTREAM_ERRORS, METRICS_CHROMA, STATUS_TIMEOUT, 1);
    metrics_add(m, METRICS_UPSTREAM_ERRORS, METRICS_CHROMA, STATUS_TIMEOUT, 1);
    metrics_add(m, METRICS_UPSTREAM_ERRORS, METRICS_EMBEDDER, STATUS_NOT_FOUND, 1);
    metrics_add(m, METRICS_UPSTREAM_ERRORS, METRICS_REDIS, STATUS_FAILED, 1);
    parse(m);
    const char *name = "stillhouse_upstream_errors_total";
    cr_assert_eq(value(name, "upstream=\"chroma\",reason=\"timeout\""), 2);
    cr_assert_eq(value(name, "upstream=\"embedder\",reason=\"not_found\""), 1);
    cr_assert_eq(value(name, "upstream=\"redis\",reason=\"failed\""), 1);
    cr_assert_eq(value(name, "upstream=\"chroma\",reason=\"not_found\""), -4711);
    metrics_free(m);
}

static void answer(struct metrics *m, enum metrics_upstream upstream, int code,
                   uint64_t new_connections)
{
    metrics_add(m, METRICS_HTTP_REQUESTS, upstream, metrics_code_of(code), 1);
    metrics_add(m, METRICS_HTTP_CONNECTIONS, upstream, 0, new_connections);
}

Test(metrics, http_codes_are_a_closed_set)
{
    static const int known[] = {0,   200, 201, 204, 400, 401, 403, 404, 405, 408,
                                409, 413, 415, 422, 429, 500, 502, 503, 504};
    struct metrics *m = make();
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        answer(m, METRICS_CHROMA, known[i], i == 0 ? 2 : 0);
    }
    answer(m, METRICS_CHROMA, 418, 1);
    answer(m, METRICS_CHROMA, -1, 0);
    answer(m, METRICS_EMBEDDER, 200, 1);
    parse(m);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char labels[80];
        snprintf(labels, sizeof labels, "upstream=\"chroma\",code=\"%d\"", known[i]);
        if (known[i] == 0) {
            snprintf(labels, sizeof labels, "upstream=\"chroma\",code=\"error\"");
        }
        cr_assert_eq(value("stillhouse_http_requests_total", labels), 1, "%s", labels);
    }
    cr_assert_eq(value("stillhouse_http_requests_total", "upstream=\"chroma\",code=\"other\""), 2);
    cr_assert_eq(value("stillhouse_http_connections_total", "upstream=\"chroma\""), 3);
    cr_assert_eq(value("stillhouse_http_connections_total", "upstream=\"embedder\""), 1);
    cr_assert_eq(value("stillhouse_http_connections_total", "upstream=\"redis\""), -4711);
    metrics_free(m);
}

/* ---- gauges ---- */

Test(metrics, gauges_show_what_was_set_last)
{
    struct metrics *m = make();
    metrics_set(m, METRICS_BREAKER_STATE, OPERATION_EMBED, 0, 2);
    metrics_set(m, METRICS_BREAKER_OPENED, OPERATION_EMBED, 0, 7);
    metrics_set(m, METRICS_BREAKER_STATE, OPERATION_WRITE, 0, 2);
    metrics_set(m, METRICS_BREAKER_OPENED, OPERATION_WRITE, 0, 1);
    metrics_set(m, METRICS_BREAKER_STATE, OPERATION_WRITE, 0, 1);
    metrics_set(m, METRICS_BREAKER_OPENED, OPERATION_WRITE, 0, 3);
    metrics_set(m, METRICS_LANES, METRICS_IDLE, 0, 4);
    metrics_set(m, METRICS_LANES, METRICS_IDLE, 0, 3);
    metrics_set(m, METRICS_LANES, METRICS_BUSY, 0, 1);
    metrics_set(m, METRICS_PROMPTS, METRICS_ENRICHED, 0, 15);
    metrics_set(m, METRICS_PROMPTS, METRICS_ENRICHED, 0, 17);
    metrics_set(m, METRICS_PROMPTS, METRICS_FALLBACK, 0, 3);
    parse(m);
    cr_assert_eq(value("stillhouse_breaker_state", "upstream=\"embedder\",operation=\"embed\""), 2);
    cr_assert_eq(
        value("stillhouse_breaker_opened_total", "upstream=\"embedder\",operation=\"embed\""), 7);
    cr_assert_eq(value("stillhouse_breaker_state", "upstream=\"chroma\",operation=\"write\""), 1);
    cr_assert_eq(
        value("stillhouse_breaker_opened_total", "upstream=\"chroma\",operation=\"write\""), 3);
    cr_assert_eq(value("stillhouse_lanes", "state=\"idle\""), 3);
    cr_assert_eq(value("stillhouse_lanes", "state=\"busy\""), 1);
    cr_assert_eq(value("stillhouse_prompts_total", "result=\"enriched\""), 17);
    cr_assert_eq(value("stillhouse_prompts_total", "result=\"fallback\""), 3);
    metrics_free(m);
}

static void set_queue(struct metrics *m, size_t queue, int64_t waiting, int64_t paused)
{
    static const int64_t counts[] = {40, 30, 2};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        metrics_set(m, METRICS_FLEET_JOBS, queue, i, counts[i]);
    }
    metrics_set(m, METRICS_QUEUE_JOBS, queue, METRICS_WAITING, waiting);
    metrics_set(m, METRICS_QUEUE_JOBS, queue, METRICS_DEAD, 1);
    metrics_set(m, METRICS_QUEUE_OLDEST_MS, queue, 0, 61005);
    metrics_set(m, METRICS_UNACCOUNTED, queue, 0, 7);
    metrics_set(m, METRICS_QUEUE_LIMIT, queue, 0, 20000);
    metrics_set(m, METRICS_QUEUE_PAUSED, queue, 0, paused);
    metrics_set(m, METRICS_QUEUE_FAULTS, queue, 0, 2);
}

Test(metrics, what_redis_says_of_a_queue_is_shown_until_it_is_unset)
{
    struct metrics *m = make();
    set_queue(m, DISTILL, 17, 0);
    set_queue(m, DISTILL, 3, 0);
    metrics_set(m, METRICS_PROMPTS, METRICS_ENRICHED, 0, 1);
    parse(m);
    cr_assert_eq(value("stillhouse_queue_jobs", "queue=\"distill\",state=\"waiting\""), 3);
    cr_assert_eq(value("stillhouse_queue_jobs", "queue=\"distill\",state=\"dead\""), 1);
    cr_assert_eq(value("stillhouse_queue_jobs", "queue=\"enrich\",state=\"waiting\""), -4711);
    cr_assert_eq(value("stillhouse_fleet_jobs_total", "queue=\"distill\",outcome=\"enqueued\""),
                 40);
    cr_assert_eq(value("stillhouse_fleet_jobs_total", "queue=\"distill\",outcome=\"buried\""), 2);
    cr_assert_eq(value("stillhouse_queue_oldest_seconds", "queue=\"distill\""), 61.005);
    cr_assert_eq(value("stillhouse_queue_limit_jobs", "queue=\"distill\""), 20000);
    cr_assert_eq(value("stillhouse_queue_paused", "queue=\"distill\""), 0);
    cr_assert_eq(value("stillhouse_unaccounted_jobs", "queue=\"distill\""), 7);
    cr_assert_eq(value("stillhouse_queue_faults", "queue=\"distill\""), 2);

    metrics_unset_queue(m, DISTILL);
    metrics_unset(m, METRICS_PROMPTS, METRICS_ENRICHED);
    parse(m);
    for (size_t i = 0; i < sample_count; i++) {
        cr_assert(strncmp(samples[i].name, "stillhouse_queue_", 17) != 0 &&
                      strncmp(samples[i].name, "stillhouse_fleet_", 17) != 0 &&
                      strcmp(samples[i].name, "stillhouse_unaccounted_jobs") != 0 &&
                      strcmp(samples[i].name, "stillhouse_prompts_total") != 0,
                  "%s", samples[i].name);
    }
    metrics_free(m);
}

Test(metrics, lanes_without_a_queue_that_may_be_read_are_paused_not_idle)
{
    struct metrics *m = make();
    metrics_set(m, METRICS_LANES, METRICS_IDLE, 0, 3);
    metrics_set(m, METRICS_LANES, METRICS_BUSY, 0, 1);
    for (size_t queue = ENRICH; queue < QUEUES; queue++) {
        parse(m);
        cr_assert_eq(value("stillhouse_lanes", "state=\"idle\""), 3);
        cr_assert_eq(value("stillhouse_lanes", "state=\"paused\""), 0);
        set_queue(m, queue, 0, 1);
    }
    parse(m);
    cr_assert_eq(value("stillhouse_lanes", "state=\"idle\""), 0);
    cr_assert_eq(value("stillhouse_lanes", "state=\"paused\""), 3);
    cr_assert_eq(value("stillhouse_lanes", "state=\"busy\""), 1);
    metrics_free(m);
}

Test(metrics, numbers_are_written_whole)
{
    struct metrics *m = make();
    struct strbuf text = {0};
    metrics_add(m, METRICS_EMBEDDED, METRICS_FROM_MODEL, 0, UINT64_C(12345678901234567890));
    set_queue(m, ECHO, INT64_C(9007199254740993), 0);
    metrics_render(m, &text);
    cr_assert_not_null(strstr(
        text.data, "stillhouse_embedded_texts_total{source=\"model\"} 12345678901234567890\n"));
    cr_assert_not_null(strstr(text.data, "{queue=\"echo\",state=\"waiting\"} 9007199254740993\n"));
    strbuf_free(&text);
    metrics_free(m);
}

Test(metrics, freeing_none_is_fine)
{
    metrics_free(NULL);
}
