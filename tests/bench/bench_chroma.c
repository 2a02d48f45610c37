/* How near to a bare client of Chroma are enrichments and distillations? All on one database that
 * holds EXPERIENCES in DOMAINS; within a round all variants run once, in another order.
 *
 *   bare query    bodies of 64 queries made before; one connection, or two; answers are dropped.
 *   enrich        the same queries as jobs, none of them cached, through 1, 2 and 4 workers.
 *   bare upsert   bodies of up to 100 records made before, one writer, into empty collections.
 *   distill       the same records as jobs, through 1, 2 and 4 workers, into empty collections.
 *   index         documents, 100 a job, through one worker, into empty collections.
 *
 * What was written is counted in Chroma, and dropped before the next variant.
 */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare_http.h"
#include "base/clock.h"
#include "chroma_jobs.h"
#include "drain.h"
#include "experiences.h"
#include "flags.h"
#include "queue/queue.h"
#include "requests.h"
#include "support.h"

enum {
    QUERY_BATCH = 64,
    CONNECTIONS_MAX = 8,
    RECORDS_FROM = 100000000, /* serials of what is written, apart from what is stored */
};

static const char stored[] = "d"; /* prefixes of domains */
static const char written[] = "w";

static long rounds = 1;
static long first_round = 0;
static long experiences = 10000;
static long domains = 1;
static long query_count = 2560;
static long record_count = 2000;
static long document_count = 0;
static struct flag_list connections = {{1, 2}, 2};
static struct flag_list worker_counts = {{1, 2, 4}, 3};
static const char *group = "chroma";

static struct test_server redis;
static struct test_server chroma_server;
static struct redis_conn *conn;
static struct chroma *chroma;

static struct requests_plan query_plan;
static struct requests_plan upsert_plan;
static struct requests queries;
static struct requests upserts;

/* ---- what is written, and dropped again
 * ------------------------------------------------------------ */

static struct chroma *open_chroma(void)
{
    const struct chroma_config config = {
        .url = chroma_server.url,
        .tenant = "default_tenant",
        .database = "default_database",
        .token = "",
        .timeout_ms = 120000,
        .identity = {"builtin-384-v1", EXPERIENCES_DIMENSION},
    };
    struct chroma *made = chroma_new(&config);

    if (made == NULL) {
        bench_fail("out of memory");
    }
    return made;
}

static void make_written(void)
{
    char domain[EXPERIENCES_DOMAIN];
    struct error err = {0};

    for (long d = 0; d < domains; d++) {
        if (chroma_open_collection(chroma, experience_domain(domain, written, d, domains), true,
                                   &err) != STATUS_OK) {
            bench_fail("collection: %s", err.text);
        }
    }
}

/* How many records stand in the collections that were written; drops them. */
static long drop_written(void)
{
    struct bare_http *http = bare_http_new();
    char domain[EXPERIENCES_DOMAIN];
    char name[EXPERIENCES_DOMAIN + 4];
    char url[REQUESTS_URL_BYTES];
    struct error err = {0};
    long total = 0;

    for (long d = 0; d < domains; d++) {
        int64_t count = 0;
        experience_domain(domain, written, d, domains);
        const enum status status = chroma_count(chroma, domain, &count, &err);
        if (status == STATUS_NOT_FOUND) {
            continue; /* no record came to this domain */
        }
        if (status != STATUS_OK) {
            bench_fail("count: %s", err.text);
        }
        total += (long)count;
        snprintf(name, sizeof name, "sh-%s", domain);
        requests_url(url, &chroma_server, name);
        bare_http_call(http, "DELETE", url, NULL);
    }
    bare_http_free(http);
    chroma_free(chroma); /* it knows the collections by UUIDs that are gone */
    chroma = open_chroma();
    return total;
}

/* ---- the bare client
 * -------------------------------------------------------------------------------- */

struct caller {
    pthread_t thread;
    const struct requests *requests;
    size_t first;
    size_t step;
    bool whole; /* the last answer had what was asked for */
};

/* An answer to a query holds EXPERIENCES_RESULTS ids for each of its vectors. */
static bool is_whole(const struct strbuf *answer, size_t count)
{
    cJSON *root = cJSON_Parse(answer->data);
    const cJSON *ids = cJSON_GetObjectItem(root, "ids");
    bool whole = cJSON_GetArraySize(ids) == (int)count;

    for (int i = 0; whole && i < (int)count; i++) {
        whole = cJSON_GetArraySize(cJSON_GetArrayItem(ids, i)) == EXPERIENCES_RESULTS;
    }
    cJSON_Delete(root);
    return whole;
}

static void *call_all(void *argument)
{
    struct caller *caller = argument;
    struct bare_http *http = bare_http_new();
    const struct strbuf *answer = NULL;
    size_t last = 0;

    for (size_t i = caller->first; i < caller->requests->count; i += caller->step) {
        const struct request *request = &caller->requests->list[i];
        answer = bare_http_call(http, "POST", request->url, &request->body);
        last = request->count;
    }
    caller->whole = answer == NULL || is_whole(answer, last);
    bare_http_free(http);
    return NULL;
}

static bool run_queries(size_t count)
{
    struct caller callers[CONNECTIONS_MAX];
    bool whole = true;

    if (count < 1 || count > CONNECTIONS_MAX) {
        bench_fail("%zu connections: expected 1 to %d", count, CONNECTIONS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        callers[i] = (struct caller){.requests = &queries, .first = i, .step = count};
        if (pthread_create(&callers[i].thread, NULL, call_all, &callers[i]) != 0) {
            bench_fail("no thread");
        }
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(callers[i].thread, NULL);
        whole = whole && callers[i].whole;
    }
    return whole;
}

static void run_upserts(void)
{
    struct bare_http *http = bare_http_new();

    for (size_t i = 0; i < upserts.count; i++) {
        bare_http_call(http, "POST", upserts.list[i].url, &upserts.list[i].body);
    }
    bare_http_free(http);
}

/* ---- the measurements
 * ----------------------------------------------------------------------------------- */

enum method { QUERY, ENRICH, UPSERT, DISTILL, INDEX };

struct variant {
    enum method method;
    long count; /* connections, or workers */
};

struct outcome {
    double seconds;
    bool checked;
    long peak_kib;
    double worker_cpu_s;
};

static void run_workers(enum method method, long workers, long things, struct outcome *out)
{
    struct chroma_jobs jobs = {.conn = conn,
                               .prefix = method == ENRICH ? stored : written,
                               .domains = domains,
                               .first = method == ENRICH ? 0 : RECORDS_FROM,
                               .count = things,
                               .experiences = experiences};
    struct drain drain = {.redis = &redis,
                          .chroma_url = chroma_server.url,
                          .queue = &jobs.queue,
                          .workers = workers,
                          .jobs = things,
                          .context = &jobs};
    const char *name = "enrich";
    struct error err = {0};

    drain.fill = chroma_jobs_enrich;
    if (method == DISTILL) {
        name = "distill";
        drain.fill = chroma_jobs_distill;
    } else if (method == INDEX) {
        name = "index";
        drain.fill = chroma_jobs_index;
        drain.jobs = (things + CHROMA_JOBS_DOCUMENTS - 1) / CHROMA_JOBS_DOCUMENTS;
    }
    if (queue_init(&jobs.queue, "sh", name, &err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    drain_run(&drain);
    *out =
        (struct outcome){drain.seconds, drain.checked, drain.worker_peak_kib, drain.worker_cpu_s};
}

static void run_bare(enum method method, long count, struct outcome *out)
{
    if (method == UPSERT) {
        make_written();
        requests_address(&upserts, &upsert_plan, &chroma_server);
    }
    const int64_t start_ns = clock_now_ns();
    out->checked = true;
    if (method == QUERY) {
        out->checked = run_queries((size_t)count);
    } else {
        run_upserts();
    }
    out->seconds = (double)(clock_now_ns() - start_ns) / 1e9;
}

/* What is counted, in what, and at once by whom; by enum method. */
static const struct {
    const char *series;
    const char *unit;
    const char *who;
} kinds[] = {
    {"bare query", "queries/s", "connection"}, {"enrich", "queries/s", "worker"},
    {"bare upsert", "records/s", "writer"},    {"distill", "records/s", "worker"},
    {"index", "records/s", "worker"},
};

static void report(const struct variant *variant, long round, long things,
                   const struct outcome *out)
{
    char name[96];
    char resident[128];
    struct bench_figure figure = {.group = group,
                                  .series = kinds[variant->method].series,
                                  .variant = name,
                                  .round = round,
                                  .value = (double)things / out->seconds,
                                  .unit = kinds[variant->method].unit,
                                  .jobs = things,
                                  .checked = out->checked};

    snprintf(name, sizeof name, "%s, %ld %s%s", figure.series, variant->count,
             kinds[variant->method].who, variant->count > 1 ? "s" : "");
    bench_print(&figure,
                "\"experiences\": %ld, \"domains\": %ld, \"at_once\": %ld, "
                "\"worker_cpu_us\": %.3f",
                experiences, domains, variant->count, out->worker_cpu_s / (double)things * 1e6);
    if (out->peak_kib > 0) {
        snprintf(resident, sizeof resident, "worker, resident, %s", name);
        figure.series = "worker, resident";
        figure.variant = resident;
        figure.value = (double)out->peak_kib / 1024;
        figure.unit = "MiB";
        bench_print(&figure, "\"experiences\": %ld, \"domains\": %ld, \"at_once\": %ld",
                    experiences, domains, variant->count);
    }
}

static void measure(const struct variant *variant, long round)
{
    const enum method method = variant->method;
    struct outcome out = {0};
    long things = method == INDEX ? document_count : record_count;

    if (method == QUERY || method == ENRICH) {
        things = query_count;
    }
    if (method == QUERY || method == UPSERT) {
        run_bare(method, variant->count, &out);
    } else {
        run_workers(method, variant->count, things, &out);
    }
    if (method >= UPSERT && drop_written() != things) {
        out.checked = false;
    }
    report(variant, round, things, &out);
}

static size_t make_variants(struct variant *variants)
{
    size_t count = 0;

    for (size_t i = 0; i < connections.count && query_count > 0; i++) {
        variants[count++] = (struct variant){QUERY, connections.values[i]};
    }
    for (size_t i = 0; i < worker_counts.count && query_count > 0; i++) {
        variants[count++] = (struct variant){ENRICH, worker_counts.values[i]};
    }
    if (record_count > 0) {
        variants[count++] = (struct variant){UPSERT, 1};
    }
    for (size_t i = 0; i < worker_counts.count && record_count > 0; i++) {
        variants[count++] = (struct variant){DISTILL, worker_counts.values[i]};
    }
    if (document_count > 0) {
        variants[count++] = (struct variant){INDEX, 1};
    }
    return count;
}

static void prepare(void)
{
    struct error err = {0};

    if (http_global_init(&err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    test_redis_start(&redis, NULL);
    test_chroma_start(&chroma_server);
    conn = bench_connect(&redis);
    chroma = open_chroma();
    experiences_store(chroma, stored, experiences, domains);

    query_plan = (struct requests_plan){.prefix = stored,
                                        .domains = domains,
                                        .count = query_count,
                                        .experiences = experiences,
                                        .batch = QUERY_BATCH};
    upsert_plan = (struct requests_plan){.prefix = written,
                                         .domains = domains,
                                         .first = RECORDS_FROM,
                                         .count = record_count,
                                         .batch = EXPERIENCES_BATCH,
                                         .writes = true};
    requests_make(&queries, &query_plan);
    requests_make(&upserts, &upsert_plan);
    requests_address(&queries, &query_plan, &chroma_server);
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--experiences", FLAG_NUMBER, &experiences, "in the database, all domains together"},
        {"--domains", FLAG_NUMBER, &domains, "collections that share them"},
        {"--queries", FLAG_NUMBER, &query_count, "a measurement; 0 = none"},
        {"--records", FLAG_NUMBER, &record_count, "written a measurement; 0 = none"},
        {"--documents", FLAG_NUMBER, &document_count, "indexed a measurement; 0 = none"},
        {"--connections", FLAG_LIST, &connections, "of the bare client"},
        {"--workers", FLAG_LIST, &worker_counts, "worker processes at once"},
    };
    struct variant variants[2 * FLAG_LIST_MAX + FLAG_LIST_MAX + 2];

    flags_parse(argc, argv, "Chroma: bare queries and upserts, enrich, distill, index.", flags,
                sizeof flags / sizeof flags[0]);
    if (domains < 1 || experiences < EXPERIENCES_RESULTS * domains) {
        bench_fail("expected at least %d experiences a domain", EXPERIENCES_RESULTS);
    }
    prepare();
    const size_t count = make_variants(variants);
    for (long round = first_round; round < first_round + rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            measure(&variants[bench_turn(round, i, count)], round);
        }
    }
    requests_free(&queries);
    requests_free(&upserts);
    chroma_free(chroma);
    redis_conn_free(conn);
    test_server_stop(&chroma_server);
    test_server_stop(&redis);
    return 0;
}
