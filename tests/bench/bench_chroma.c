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
#include "clock.h"
#include "drain.h"
#include "experiences.h"
#include "flags.h"
#include "support.h"
#include "text.h"

enum {
    QUERY_BATCH = 64,
    CONNECTIONS_MAX = 8,
    DOCUMENTS_A_JOB = 100,
    URL_BYTES = 256,
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
static struct bare_jobs jobs; /* ids only */

/* ---- requests, made before
 * ----------------------------------------------------------------------- */

struct request {
    struct strbuf body;
    char url[URL_BYTES];
    long domain;
    size_t count;
};

struct requests {
    struct request *list;
    size_t count;
};

static struct requests queries;
static struct requests upserts;

/* Numbers 0..count-1, domain by domain, in batches. */
static void make_requests(struct requests *out, long count, size_t batch, bool writes)
{
    char domain[EXPERIENCES_DOMAIN];
    long serials[EXPERIENCES_BATCH];

    out->list = calloc((size_t)(count / (long)batch + domains + 1), sizeof *out->list);
    for (long d = 0; d < domains && out->list != NULL; d++) {
        size_t filled = 0;
        experience_domain(domain, writes ? written : stored, d, domains);
        for (long i = d; i < count; i += domains) {
            serials[filled++] = writes ? RECORDS_FROM + i : i;
            if (filled < batch && i + domains < count) {
                continue;
            }
            struct request *request = &out->list[out->count++];
            request->domain = d;
            request->count = filled;
            if (writes) {
                experiences_upsert_body(&request->body, domain, serials, filled);
            } else {
                experiences_query_body(&request->body, serials, filled, experiences);
            }
            if (!strbuf_ok(&request->body)) {
                bench_fail("out of memory");
            }
            filled = 0;
        }
    }
    if (out->list == NULL) {
        bench_fail("out of memory");
    }
}

static void free_requests(struct requests *requests)
{
    for (size_t i = 0; i < requests->count; i++) {
        strbuf_free(&requests->list[i].body);
    }
    free(requests->list);
}

static void collection_url(char url[URL_BYTES], const char *what)
{
    snprintf(url, URL_BYTES, "%s/api/v2/tenants/default_tenant/databases/default_database/%s%s",
             chroma_server.url, "collections/", what);
}

/* Collections go by their UUID, which the server makes. */
static void address(struct requests *requests, const char *prefix, const char *action)
{
    struct bare_http *http = bare_http_new();
    char domain[EXPERIENCES_DOMAIN];
    char name[EXPERIENCES_DOMAIN + 4];
    char path[96];
    char url[URL_BYTES];

    for (size_t i = 0; i < requests->count; i++) {
        struct request *request = &requests->list[i];
        if (i > 0 && request->domain == requests->list[i - 1].domain) {
            memcpy(request->url, requests->list[i - 1].url, URL_BYTES);
            continue;
        }
        snprintf(name, sizeof name, "sh-%s",
                 experience_domain(domain, prefix, request->domain, domains));
        collection_url(url, name);
        cJSON *root = cJSON_Parse(bare_http_call(http, "GET", url, NULL)->data);
        const cJSON *id = cJSON_GetObjectItem(root, "id");
        if (!cJSON_IsString(id)) {
            bench_fail("no id of \"%s\"", name);
        }
        snprintf(path, sizeof path, "%s/%s", id->valuestring, action);
        collection_url(request->url, path);
        cJSON_Delete(root);
    }
    bare_http_free(http);
}

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
    char url[URL_BYTES];
    struct error err = {0};
    long total = 0;

    for (long d = 0; d < domains; d++) {
        int64_t count = 0;
        experience_domain(domain, written, d, domains);
        if (chroma_count(chroma, domain, &count, &err) != STATUS_OK) {
            bench_fail("count: %s", err.text);
        }
        total += (long)count;
        snprintf(name, sizeof name, "sh-%s", domain);
        collection_url(url, name);
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

/* ---- the same as jobs
 * ------------------------------------------------------------------------------- */

static void enqueue(const struct queue *queue, long index, const char *domain, const char *options,
                    const struct strbuf *body, bool last)
{
    static size_t filled;
    static struct queue_item items[QUEUE_BATCH_MAX];
    static struct queue_answer answers[QUEUE_BATCH_MAX];
    static char domain_texts[QUEUE_BATCH_MAX][EXPERIENCES_DOMAIN];
    static char option_texts[QUEUE_BATCH_MAX][64];
    static struct strbuf bodies[QUEUE_BATCH_MAX];
    struct error err = {0};

    snprintf(domain_texts[filled], EXPERIENCES_DOMAIN, "%s", domain);
    snprintf(option_texts[filled], sizeof option_texts[filled], "%s", options);
    strbuf_reset(&bodies[filled]);
    strbuf_append(&bodies[filled], body->data, body->bytes);
    items[filled] = (struct queue_item){
        .id = {jobs.ids[index], BARE_ID_BYTES},
        .domain = {domain_texts[filled], strlen(domain)},
        .options = {option_texts[filled], strlen(options)},
        .body = {bodies[filled].data, bodies[filled].bytes},
    };
    filled++;
    if (filled == QUEUE_BATCH_MAX || last) {
        if (queue_enqueue(conn, queue, 0, items, filled, answers, &err) != STATUS_OK) {
            bench_fail("enqueue: %s", err.text);
        }
        filled = 0;
    }
}

static void fill_enrich(void *context)
{
    struct strbuf body = {0};
    char domain[EXPERIENCES_DOMAIN];
    char query[EXPERIENCES_TEXT];
    char hash[TEXT_HASH_CHARS + 1];
    char options[64];

    for (long i = 0; i < query_count; i++) {
        experience_query(query, i, experiences);
        text_hash(query, strlen(query), hash);
        snprintf(options, sizeof options, "unique=%s.%d", hash, BODIES_K_DEFAULT);
        const struct enrich_body enrich = {{query, strlen(query)}, BODIES_K_DEFAULT};
        strbuf_reset(&body);
        bodies_encode_enrich(&enrich, &body);
        enqueue(context, i, experience_domain(domain, stored, i, domains), options, &body,
                i + 1 == query_count);
    }
    strbuf_free(&body);
}

static void fill_distill(void *context)
{
    struct strbuf body = {0};
    char domain[EXPERIENCES_DOMAIN];
    struct experience made;

    for (long i = 0; i < record_count; i++) {
        experience_make(&made, RECORDS_FROM + i);
        const struct distill_body distill = {.task_id = {made.task_id, strlen(made.task_id)},
                                             .prompt = {made.prompt, strlen(made.prompt)},
                                             .result = {made.result, strlen(made.result)},
                                             .success = true,
                                             .has_quality = true,
                                             .quality = 0.9};
        strbuf_reset(&body);
        bodies_encode_distill(&distill, &body);
        enqueue(context, i, experience_domain(domain, written, i, domains), "", &body,
                i + 1 == record_count);
    }
    strbuf_free(&body);
}

static long index_jobs(void)
{
    return (document_count + DOCUMENTS_A_JOB - 1) / DOCUMENTS_A_JOB;
}

static void fill_index(void *context)
{
    static struct experience made[DOCUMENTS_A_JOB];
    struct index_document documents[DOCUMENTS_A_JOB];
    struct strbuf body = {0};
    char domain[EXPERIENCES_DOMAIN];
    long done = 0;

    for (long job = 0; job < index_jobs(); job++) {
        size_t count = 0;
        for (; count < DOCUMENTS_A_JOB && done < document_count; count++, done++) {
            experience_make(&made[count], RECORDS_FROM + done);
            documents[count] =
                (struct index_document){.id = {made[count].task_id, strlen(made[count].task_id)},
                                        .text = {made[count].result, strlen(made[count].result)}};
        }
        strbuf_reset(&body);
        bodies_encode_index(&(struct index_body){documents, count}, &body);
        enqueue(context, job, experience_domain(domain, written, job, domains), "", &body,
                job + 1 == index_jobs());
    }
    strbuf_free(&body);
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

static void run_workers(enum method method, long workers, long job_count, struct outcome *out)
{
    struct queue queue;
    struct error err = {0};
    struct drain drain = {.redis = &redis,
                          .chroma_url = chroma_server.url,
                          .queue = &queue,
                          .workers = workers,
                          .jobs = job_count,
                          .context = &queue};

    drain.fill = method == ENRICH ? fill_enrich : method == DISTILL ? fill_distill : fill_index;
    if (queue_init(&queue, "sh",
                   method == ENRICH    ? "enrich"
                   : method == DISTILL ? "distill"
                                       : "index",
                   &err) != STATUS_OK) {
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
        address(&upserts, written, "upsert");
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

static void measure(const struct variant *variant, long round)
{
    static const char *const series[] = {"bare query", "enrich", "bare upsert", "distill", "index"};
    static const char *const units[] = {"queries/s", "queries/s", "records/s", "records/s",
                                        "records/s"};
    const enum method method = variant->method;
    const bool bare = method == QUERY || method == UPSERT;
    const bool writes = method >= UPSERT;
    const long things =
        method < UPSERT ? query_count : (method == INDEX ? document_count : record_count);
    struct outcome out = {0};
    char name[96];

    if (bare) {
        run_bare(method, variant->count, &out);
    } else {
        run_workers(method, variant->count, method == INDEX ? index_jobs() : things, &out);
    }
    if (writes && drop_written() != things) {
        out.checked = false;
    }
    snprintf(name, sizeof name, "%s, %ld %s%s", series[method], variant->count,
             !bare             ? "worker"
             : method == QUERY ? "connection"
                               : "writer",
             variant->count > 1 ? "s" : "");
    const struct bench_figure figure = {
        group,         series[method], name,       round, (double)things / out.seconds,
        units[method], things,         out.checked};
    bench_print(
        &figure,
        "\"experiences\": %ld, \"domains\": %ld, \"at_once\": %ld, \"worker_peak_kib\": %ld, "
        "\"worker_cpu_us\": %.3f",
        experiences, domains, variant->count, out.peak_kib,
        out.worker_cpu_s / (double)things * 1e6);
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
    const long most = query_count > record_count ? query_count : record_count;
    struct error err = {0};

    if (http_global_init(&err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    test_redis_start(&redis, NULL);
    test_chroma_start(&chroma_server);
    conn = bench_connect(&redis);
    chroma = open_chroma();
    bare_jobs_make(&jobs, 1, most + index_jobs() + 1, (struct slice){0});
    experiences_store(chroma, stored, experiences, domains);
    make_requests(&queries, query_count, QUERY_BATCH, false);
    make_requests(&upserts, record_count, EXPERIENCES_BATCH, true);
    address(&queries, stored, "query");
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
    free_requests(&queries);
    free_requests(&upserts);
    bare_jobs_free(&jobs);
    chroma_free(chroma);
    redis_conn_free(conn);
    test_server_stop(&chroma_server);
    test_server_stop(&redis);
    return 0;
}
