#include "metrics/table.h"

/* ---- label values: closed sets --------------------------------------------------------------- */

/* clang-format off */
const struct metrics_call metrics_calls[] = {
    {METRICS_REDIS, "read"}, {METRICS_REDIS, "finish"}, {METRICS_REDIS, "cache"},
    {METRICS_REDIS, "function"}, {METRICS_REDIS, "other"},
    {METRICS_CHROMA, "query"}, {METRICS_CHROMA, "upsert"}, {METRICS_CHROMA, "get"},
    {METRICS_CHROMA, "delete"}, {METRICS_CHROMA, "collection"}, {METRICS_CHROMA, "heartbeat"},
    {METRICS_CHROMA, "other"},
    {METRICS_EMBEDDER, "embed"}, {METRICS_EMBEDDER, "other"},
    {METRICS_LEARN, "write"}, {METRICS_LEARN, "other"},
};

#define VALUES(...)                                                                                \
    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)
#define SET(label, ...) {VALUES(__VA_ARGS__), label, (const char *const[]){__VA_ARGS__}}

#define COUNT_STATUS(name, text) +1

const struct metrics_values metrics_sets[METRICS_SETS] = {
    [METRICS_NO_LABEL] = {1, NULL, NULL},
    [METRICS_SET_QUEUE] = {METRICS_QUEUES_MAX, NULL, NULL},
    [METRICS_SET_TALLY] = {METRICS_TALLIES_MAX, NULL, NULL},
    [METRICS_SET_OUTCOME] =
        SET("outcome", "done", "retried", "buried", "expired", "reclaimed", "parked"),
    [METRICS_SET_CALL] = {sizeof metrics_calls / sizeof metrics_calls[0], NULL, NULL},
    [METRICS_SET_UPSTREAM] = SET("upstream", "redis", "chroma", "embedder", "learn"),
    [METRICS_SET_REASON] = {0 STATUS_MAP(COUNT_STATUS), NULL, NULL},
    [METRICS_SET_CODE] =
        SET("code", "error", "200", "201", "204", "400", "401", "403", "404", "405", "408", "409",
            "413", "415", "422", "429", "500", "502", "503", "504", "other"),
    [METRICS_SET_BREAKER] = {OPERATIONS, NULL, NULL},
    [METRICS_SET_LAYER] = SET("layer", "memory", "redis"),
    [METRICS_SET_LOOKUP] = SET("result", "hit", "miss", "stale"),
    [METRICS_SET_PROMPT] = SET("result", "enriched", "fallback", "holdout"),
    [METRICS_SET_FURTHER] = SET("result", "found", "gave_up"),
    [METRICS_SET_SWEPT] = SET("reason", "expired"),
    [METRICS_SET_LONG_TEXT] = SET("action", "cut", "rejected"),
    [METRICS_SET_SOURCE] = SET("source", "model", "cache"),
    [METRICS_SET_JOB_STATE] = SET("state", "waiting", "running", "delayed", "dead"),
    [METRICS_SET_LANE] = SET("state", "busy", "idle", "paused"),
    [METRICS_SET_BUILD] = {1, NULL, NULL},
    [METRICS_SET_PART] = SET("kind", "routing", "outcome", "pool_start", "pool_end", "execution",
                             "feedback", "solution", "policy"),
    [METRICS_SET_DELETED] = SET("what", "execution", "feedback", "pool", "policy", "forgotten"),
};

static const struct metrics_buckets call_buckets = { /* 0.5 ms .. 30 s */
    .count = 15,
    .text = {"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
             "1", "2.5", "5", "10", "30"},
    .bound = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
              1, 2.5, 5, 10, 30},
};

static const struct metrics_buckets wait_buckets = { /* 1 ms .. 1 h: jobs may wait long */
    .count = 17,
    .text = {"0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5",
             "5", "10", "30", "60", "300", "3600"},
    .bound = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
              5, 10, 30, 60, 300, 3600},
};
/* clang-format on */

/* ---- which series stand at 0 ----------------------------------------------------------------- */

/* What is only shown once it is known. */
static bool none(size_t row, size_t column)
{
    (void)row;
    (void)column;
    return false;
}

static bool served_queues(size_t row, size_t column)
{
    (void)column;
    return row != METRICS_OTHER;
}

/* The reasons that alerts ask for. */
static bool usual_reasons(size_t row, size_t column)
{
    (void)row;
    return status_may_pass((enum status)column) || column == STATUS_FAILED ||
           column == STATUS_GARBLED;
}

/* Redis and the learning store speak no HTTP. */
static bool spoken_to_by_http(size_t row, size_t column)
{
    (void)column;
    return row == METRICS_CHROMA || row == METRICS_EMBEDDER;
}

/* No answer, and 200. */
static bool usual_codes(size_t row, size_t column)
{
    return spoken_to_by_http(row, column) && column <= 1;
}

/* Redis knows what producers' memory was good for. */
static bool own_layer(size_t row, size_t column)
{
    (void)column;
    return row != METRICS_MEMORY;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* clang-format off */
const struct metrics_row metrics_table[METRICS_FAMILIES] = {
    [METRICS_JOBS] = {"stillhouse_jobs_total", "counter",
        "Jobs of this worker by how they ended; sum over workers.",
        METRICS_SET_QUEUE, METRICS_SET_OUTCOME, .stands = served_queues},
    [METRICS_JOB_SECONDS] = {"stillhouse_job_seconds", "histogram",
        "Processing time of a job, which is that of its batch.",
        METRICS_SET_QUEUE, .stands = served_queues, .buckets = &call_buckets},
    [METRICS_JOB_WAIT_SECONDS] = {"stillhouse_job_wait_seconds", "histogram",
        "From a job's enqueueing to its start.",
        METRICS_SET_QUEUE, .stands = served_queues, .buckets = &wait_buckets},
    [METRICS_UPSTREAM_SECONDS] = {"stillhouse_upstream_seconds", "histogram",
        "Duration of calls to upstreams.",
        METRICS_SET_CALL, .stands = none, .buckets = &call_buckets},
    [METRICS_UPSTREAM_ERRORS] = {"stillhouse_upstream_errors_total", "counter",
        "Calls to upstreams that failed.",
        METRICS_SET_UPSTREAM, METRICS_SET_REASON, .stands = usual_reasons},
    [METRICS_HTTP_REQUESTS] = {"stillhouse_http_requests_total", "counter",
        "HTTP requests by answer; error is none, other codes than the usual ones are other.",
        METRICS_SET_UPSTREAM, METRICS_SET_CODE, .stands = usual_codes},
    [METRICS_HTTP_CONNECTIONS] = {"stillhouse_http_connections_total", "counter",
        "HTTP connections opened; reuse = 1 - connections / requests.",
        METRICS_SET_UPSTREAM, .stands = spoken_to_by_http},
    [METRICS_BREAKER_STATE] = {"stillhouse_breaker_state", "gauge",
        "Circuit breaker of the fleet as this worker knows it: 0 closed, 1 half-open, 2 open.",
        METRICS_SET_BREAKER, .is_signed = true},
    [METRICS_BREAKER_OPENED] = {"stillhouse_breaker_opened_total", "counter",
        "How often this worker saw the fleet's circuit breaker open; not to be added up.",
        .rows = METRICS_SET_BREAKER},
    [METRICS_CACHE_LOOKUPS] = {"stillhouse_cache_lookups_total", "counter",
        "Lookups of enrichment results by cache layer.",
        METRICS_SET_LAYER, METRICS_SET_LOOKUP, .stands = own_layer},
    [METRICS_PROMPTS] = {"stillhouse_prompts_total", "counter",
        "Prompts of all producers, with examples, the base prompt, or held out; the same from every worker.",
        METRICS_SET_PROMPT, .stands = none},
    [METRICS_LOOKED_FURTHER] = {"stillhouse_looked_further_total", "counter",
        "Enrichments whose first hits held too few live experiences, by how the search went on.",
        .rows = METRICS_SET_FURTHER},
    [METRICS_SWEPT] = {"stillhouse_swept_experiences_total", "counter",
        "Expired experiences that this worker deleted from Chroma.", .rows = METRICS_SET_SWEPT},
    [METRICS_LONG_TEXTS] = {"stillhouse_long_texts_total", "counter",
        "Texts longer than the model takes: embedded by their beginning, or rejected.",
        .rows = METRICS_SET_LONG_TEXT},
    [METRICS_EMBEDDED] = {"stillhouse_embedded_texts_total", "counter",
        "Texts whose embedding came from the model or from the cache.", .rows = METRICS_SET_SOURCE},
    [METRICS_FLEET_JOBS] = {"stillhouse_fleet_jobs_total", "counter",
        "Jobs of a queue by what became of them, as Redis counts; the same from every worker.",
        METRICS_SET_QUEUE, METRICS_SET_TALLY, .stands = none, .is_signed = true, .of_queue = true},
    [METRICS_QUEUE_JOBS] = {"stillhouse_queue_jobs", "gauge",
        "Jobs in a queue now; the same from every worker.",
        METRICS_SET_QUEUE, METRICS_SET_JOB_STATE,
        .stands = none, .is_signed = true, .of_queue = true},
    [METRICS_QUEUE_OLDEST_MS] = {"stillhouse_queue_oldest_seconds", "gauge",
        "Age of a queue's oldest waiting job; the same from every worker.",
        METRICS_SET_QUEUE, .stands = none, .thousandths = true, .of_queue = true},
    [METRICS_QUEUE_LIMIT] = {"stillhouse_queue_limit_jobs", "gauge",
        "Waiting jobs that a queue takes (STILLHOUSE_MAX_BACKLOG of this worker).",
        METRICS_SET_QUEUE, .stands = none, .is_signed = true, .of_queue = true},
    [METRICS_QUEUE_PAUSED] = {"stillhouse_queue_paused", "gauge",
        "1 while a queue is paused; the same from every worker.",
        METRICS_SET_QUEUE, .stands = none, .is_signed = true, .of_queue = true},
    [METRICS_UNACCOUNTED] = {"stillhouse_unaccounted_jobs", "gauge",
        "By how many jobs the books of a queue are off; anything but 0 is a bug or a foreign hand.",
        METRICS_SET_QUEUE, .stands = none, .is_signed = true, .of_queue = true},
    [METRICS_QUEUE_FAULTS] = {"stillhouse_queue_faults", "gauge",
        "Keys of a queue that hold what they should not; `stillhouse doctor` names them.",
        METRICS_SET_QUEUE, .stands = none, .is_signed = true, .of_queue = true},
    [METRICS_LANES] = {"stillhouse_lanes", "gauge",
        "Lanes of this worker by what they do; paused is idle while all its queues are paused.",
        METRICS_SET_LANE, .is_signed = true},
    [METRICS_BUILD_INFO] = {"stillhouse_build_info", "gauge",
        "1; the version of the worker and of its function library.",
        METRICS_SET_BUILD, .stands = none},
    [METRICS_REDIS_UP] = {"stillhouse_redis_up", "gauge",
        "1 while Redis answers this worker.", .stands = none},
    [METRICS_PROCESS_CPU_MS] = {"process_cpu_seconds_total", "counter",
        "Processor time, user and system.", .stands = none, .thousandths = true},
    [METRICS_PROCESS_VIRTUAL] = {"process_virtual_memory_bytes", "gauge",
        "Virtual memory.", .stands = none},
    [METRICS_PROCESS_RESIDENT] = {"process_resident_memory_bytes", "gauge",
        "Resident memory.", .stands = none},
    [METRICS_PROCESS_OPEN_FILES] = {"process_open_fds", "gauge",
        "Open file descriptors.", .stands = none},
    [METRICS_PROCESS_MOST_FILES] = {"process_max_fds", "gauge",
        "How many may be open.", .stands = none},
    [METRICS_PROCESS_START_MS] = {"process_start_time_seconds", "gauge",
        "Unix time of the start.", .stands = none, .thousandths = true},
    [METRICS_QUEUES_SET_ASIDE] = {"stillhouse_queues_set_aside", "gauge",
        "Queues that are not read for now, since a key of theirs holds what it should not.",
        .stands = none},
    [METRICS_LEARN_OPEN] = {"stillhouse_learn_open", "gauge",
        "1 while this recorder writes to its learning store.", .stands = none},
    [METRICS_LEARN_PARTS] = {"stillhouse_learn_parts_total", "counter",
        "Parts of executions that this recorder wrote, repeats among them.",
        METRICS_SET_PART, .stands = none},
    [METRICS_LEARN_EXECUTIONS] = {"stillhouse_learn_executions", "gauge",
        "Executions in the learning store.", .stands = none, .is_signed = true},
    [METRICS_LEARN_INCOMPLETE] = {"stillhouse_learn_incomplete_executions", "gauge",
        "Executions with an outcome whose routing never came.", .stands = none, .is_signed = true},
    [METRICS_LEARN_DIRTY] = {"stillhouse_learn_dirty_groups", "gauge",
        "Groups of the views that wait for their refresh.", .stands = none, .is_signed = true},
    [METRICS_LEARN_LAG_MS] = {"stillhouse_learn_refresh_lag_seconds", "gauge",
        "For how long the oldest of them waits.", .stands = none, .thousandths = true},
    [METRICS_LEARN_BYTES] = {"stillhouse_learn_bytes", "gauge",
        "Size of the learning store.", .stands = none, .is_signed = true},
    [METRICS_LEARN_CHECKED] = {"stillhouse_learn_checked_groups_total", "counter",
        "Groups of the views that were recomputed from the rows for comparison.", .stands = none},
    [METRICS_LEARN_DRIFTED] = {"stillhouse_learn_drifted_groups_total", "counter",
        "Of those the ones that said something else; anything but 0 is a bug.", .stands = none},
    [METRICS_LEARN_EXPIRED] = {"stillhouse_learn_expired_rows_total", "counter",
        "What this recorder deleted for its age or the store's size.",
        METRICS_SET_DELETED, .stands = none},
    [METRICS_LEARN_HURT] = {"stillhouse_learn_hurt_domains", "gauge",
        "Domains whose tasks surely do worse with examples than held out.", .stands = none},
};
/* clang-format on */
