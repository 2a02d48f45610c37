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
            metrics_jobs(m, (size_t)queue, (enum metrics_outcome)outcome,
                         (uint64_t)queue * 10 + (uint64_t)outcome + 1);
        }
    }
    metrics_memory_lookups(m, (const uint64_t[METRICS_LOOKUPS]){[METRICS_STALE] = 3});
    metrics_prompts(m, 0, 0, 0);
    metrics_cache_lookup(m, METRICS_REDIS_LAYER, METRICS_HIT, 4);
    metrics_cache_lookup(m, METRICS_REDIS_LAYER, METRICS_MISS, 5);
    metrics_embedded(m, METRICS_FROM_MODEL, 6);
    metrics_embedded(m, METRICS_FROM_CACHE, 7);
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
    metrics_jobs(m, metrics_queue_of(m, "enrich.0"), METRICS_DONE, 3);
    metrics_jobs(m, metrics_queue_of(m, "enrich.1"), METRICS_DONE, 4);
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
    metrics_job_seconds(m, ENRICH, 0.0005, 1);
    metrics_job_seconds(m, ENRICH, 0.0006, 1);
    metrics_job_seconds(m, ENRICH, 30, 1);
    metrics_job_seconds(m, ENRICH, 31, 1);
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
    metrics_job_seconds(m, DISTILL, 0.25, 64);
    metrics_job_seconds(m, DISTILL, 0.25, 0);
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
    metrics_job_wait_seconds(m, ECHO, 90);
    metrics_job_wait_seconds(m, ECHO, 7200);
    metrics_job_wait_seconds(m, METRICS_OTHER, 0.5);
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
    metrics_job_wait_seconds(m, ECHO, -5);
    metrics_job_wait_seconds(m, ECHO, NAN);
    metrics_job_wait_seconds(m, INDEX, INFINITY);
    metrics_job_wait_seconds(m, INDEX, 1e300);
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
        metrics_upstream_seconds(m, METRICS_REDIS, of_redis[i], 0.01);
    }
    for (size_t i = 0; i < 7; i++) {
        metrics_upstream_seconds(m, METRICS_CHROMA, of_chroma[i], 0.01);
    }
    metrics_upstream_seconds(m, METRICS_CHROMA, "open", 0.01);
    metrics_upstream_seconds(m, METRICS_CHROMA, "create", 0.01);
    metrics_upstream_seconds(m, METRICS_CHROMA, "count", 0.01);
    metrics_upstream_seconds(m, METRICS_CHROMA, "embed", 0.01);
    metrics_upstream_seconds(m, METRICS_CHROMA, NULL, 0.01);
    metrics_upstream_seconds(m, METRICS_EMBEDDER, "embed", 0.01);
    metrics_upstream_seconds(m, METRICS_EMBEDDER, "heartbeat", 0.01);
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
    metrics_upstream_error(m, METRICS_CHROMA, STATUS_TIMEOUT);
    metrics_upstream_error(m, METRICS_CHROMA, STATUS_TIMEOUT);
    metrics_upstream_error(m, METRICS_EMBEDDER, STATUS_NOT_FOUND);
    metrics_upstream_error(m, METRICS_REDIS, (enum status)4711);
    parse(m);
    const char *name = "stillhouse_upstream_errors_total";
    cr_assert_eq(value(name, "upstream=\"chroma\",reason=\"timeout\""), 2);
    cr_assert_eq(value(name, "upstream=\"embedder\",reason=\"not_found\""), 1);
    cr_assert_eq(value(name, "upstream=\"redis\",reason=\"failed\""), 1);
    cr_assert_eq(value(name, "upstream=\"chroma\",reason=\"not_found\""), -4711);
    metrics_free(m);
}

Test(metrics, http_codes_are_a_closed_set)
{
    static const int known[] = {0,   200, 201, 204, 400, 401, 403, 404, 405, 408,
                                409, 413, 415, 422, 429, 500, 502, 503, 504};
    struct metrics *m = make();
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        metrics_http_request(m, METRICS_CHROMA, known[i], i == 0 ? 2 : 0);
    }
    metrics_http_request(m, METRICS_CHROMA, 418, 1);
    metrics_http_request(m, METRICS_CHROMA, -1, -1);
    metrics_http_request(m, METRICS_EMBEDDER, 200, 1);
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
    metrics_breaker(m, OPERATION_EMBED, 2, 7);
    metrics_breaker(m, OPERATION_WRITE, 2, 1);
    metrics_breaker(m, OPERATION_WRITE, 1, 3);
    metrics_lanes(m, METRICS_IDLE, 4);
    metrics_lanes(m, METRICS_IDLE, -1);
    metrics_lanes(m, METRICS_BUSY, 1);
    metrics_prompts(m, 10, 5, 2);
    metrics_prompts(m, 11, 6, 3);
    parse(m);
    cr_assert_eq(value("stillhouse_breaker_state", "upstream=\"embedder\",operation=\"embed\""), 2);
    cr_assert_eq(
        value("stillhouse_breaker_opened_total", "upstream=\"embedder\",operation=\"embed\""), 7);
    cr_assert_eq(value("stillhouse_breaker_state", "upstream=\"chroma\",operation=\"write\""), 1);
    cr_assert_eq(
        value("stillhouse_breaker_opened_total", "upstream=\"chroma\",operation=\"write\""), 3);
    cr_assert_eq(value("stillhouse_lanes", "state=\"idle\""), 3);
    cr_assert_eq(value("stillhouse_lanes", "state=\"busy\""), 1);
    cr_assert_eq(value("stillhouse_prompts_total", "result=\"enriched\""), 17, "stale ones too");
    cr_assert_eq(value("stillhouse_prompts_total", "result=\"fallback\""), 3);
    metrics_free(m);
}

static void set_queue(struct metrics *m, size_t queue, int64_t waiting, int64_t paused)
{
    static const int64_t counts[] = {40, 30, 2};
    const struct metrics_queue_facts facts = {
        .jobs = {[METRICS_WAITING] = waiting, [METRICS_DEAD] = 1},
        .oldest_ms = 61005,
        .unaccounted = 7,
        .limit_jobs = 20000,
        .paused = paused,
        .faults = 2,
        .tallies = counts,
    };
    metrics_queue_set(m, queue, &facts);
}

Test(metrics, what_redis_says_of_a_queue_is_shown_until_it_is_unset)
{
    struct metrics *m = make();
    set_queue(m, DISTILL, 17, 0);
    set_queue(m, DISTILL, 3, 0);
    metrics_prompts(m, 1, 0, 0);
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

    metrics_queue_unset(m, DISTILL);
    metrics_prompts_unset(m);
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
    metrics_lanes(m, METRICS_IDLE, 3);
    metrics_lanes(m, METRICS_BUSY, 1);
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
    metrics_embedded(m, METRICS_FROM_MODEL, UINT64_C(12345678901234567890));
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
