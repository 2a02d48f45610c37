/* stillhouse.h - the producer library: ask for examples, hand in finished tasks, never wait for it.
 *
 *     stillhouse_client *client = NULL;
 *     if (stillhouse_open(NULL, &client) != STILLHOUSE_OK) { ... }          // NULL: environment
 * and defaults
 *
 *     stillhouse_prompt_result prompt;
 *     stillhouse_prompt(client, "legal", "notice period for tenants", base_prompt, 0, &prompt);
 *     run_the_task(prompt.text);                                          // enriched, or
 * base_prompt unchanged stillhouse_prompt_free(&prompt);
 *
 *     stillhouse_experience done = {.domain = "legal", .task_id = "t-17", .prompt = "...", .result
 * = "...", .success = true, .quality = 0.9}; stillhouse_enqueue_distill(client, &done, NULL, NULL);
 *     stillhouse_close(client);
 *
 * What it promises: no call blocks longer than its bounds (100 ms to connect and 50 ms a command by
 * default, plus what the caller gives as wait_ms), no call aborts or exits, nothing is printed.
 * After a failed connection further calls fail at once for a second instead of trying again
 * (stillhouse_options.retry_ms).
 *
 * Threads: a client belongs to one thread at a time; it may move between threads when the caller
 * orders the calls. Different clients are independent. No call is safe in a signal handler. After
 * fork() the child opens its own.
 *
 * Strings are UTF-8 and NUL-terminated unless a length stands beside them. What a call returns
 * through a pointer belongs to the caller, who frees it with the function named there. Errors:
 * stillhouse_error() has the text.
 */
#ifndef STILLHOUSE_H
#define STILLHOUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(STILLHOUSE_BUILDING) && defined(__GNUC__)
#define STILLHOUSE_API __attribute__((visibility("default")))
#else
#define STILLHOUSE_API
#endif

/* "0.1.0" */
#define STILLHOUSE_VERSION "0.1.0"
STILLHOUSE_API const char *stillhouse_version(void);

typedef enum stillhouse_status {
    STILLHOUSE_OK = 0,
    STILLHOUSE_FAILED = 1,      /* the server refused it, or memory is short */
    STILLHOUSE_INVALID = 2,     /* an argument or a setting is wrong; the text names it */
    STILLHOUSE_UNREACHABLE = 3, /* Redis could not be reached, or did not answer in time */
    STILLHOUSE_NOT_FOUND = 4,   /* nothing cached, or no reply in the time given */
    STILLHOUSE_FULL = 5,        /* the queue's bound is reached */
} stillhouse_status;            /* the same numbers as the programs' exit codes */

typedef struct stillhouse_client stillhouse_client;

/* Zero or NULL = the environment's STILLHOUSE_* value, else the default. Set `size` to
 * sizeof(stillhouse_options). */
typedef struct stillhouse_options {
    size_t size;
    const char *redis_url;
    const char *cache_url;
    const char *prefix;
    int connect_timeout_ms; /* 100 */
    int command_timeout_ms; /* 50 */
    int retry_ms;           /* 1000: how long a failed connection is not tried again */
    size_t memory_entries;  /* 1000 results kept in memory */
    int memory_ttl_ms;      /* 300000 */
    int64_t max_backlog;    /* 100000 */
    int64_t max_body_bytes; /* 262144 */
} stillhouse_options;

/* Makes a client; does not connect (that happens in the first call that needs it). INVALID with
 * *client NULL names nothing: use stillhouse_open_error() for the text (thread-local, valid until
 * the next open in this thread). */
STILLHOUSE_API stillhouse_status stillhouse_open(const stillhouse_options *options,
                                                 stillhouse_client **client);
STILLHOUSE_API const char *stillhouse_open_error(void);
STILLHOUSE_API void stillhouse_close(stillhouse_client *client); /* NULL is fine */

/* The text of the last call on this client that did not return OK; "" before any. Valid until the
 * next call. */
STILLHOUSE_API const char *stillhouse_error(const stillhouse_client *client);

typedef enum stillhouse_priority {
    STILLHOUSE_NORMAL = 0,
    STILLHOUSE_HIGH = 1,
    STILLHOUSE_LOW = 2
} stillhouse_priority;

/* NULL = all zero. */
typedef struct stillhouse_job_options {
    stillhouse_priority priority;
    int64_t delay_ms;        /* not before so long from now */
    int64_t deadline_ms;     /* not after so long from now (counts as expired); 0 = none */
    bool reply;              /* the worker pushes the result for stillhouse_await */
    const char *traceparent; /* W3C; NULL = none */
} stillhouse_job_options;

#define STILLHOUSE_ID_BYTES 65

/* One metadata value. */
typedef enum stillhouse_meta_type {
    STILLHOUSE_META_STRING,
    STILLHOUSE_META_INT,
    STILLHOUSE_META_FLOAT,
    STILLHOUSE_META_BOOL
} stillhouse_meta_type;
typedef struct stillhouse_meta {
    const char *key;
    stillhouse_meta_type type;
    const char *string;
    int64_t integer;
    double number;
    bool boolean;
} stillhouse_meta;

/* A finished task. */
typedef struct stillhouse_experience {
    const char *domain;
    const char *task_id;
    const char *prompt;
    const char *result;
    bool success;
    double quality;    /* 0..1; negative = not given */
    const char *model; /* NULL = not given */
    const stillhouse_meta *metadata;
    size_t metadata_count;
} stillhouse_experience;

typedef struct stillhouse_document {
    const char *id;
    const char *text;
    const stillhouse_meta *metadata;
    size_t metadata_count;
} stillhouse_document;

/* Enqueue one job. k 0 = 3. `id` (may be NULL) receives the id that now stands for it: its own, or
 * that of the same enrichment already outstanding. Enrichments are unique per domain, query and k.
 * INVALID FULL UNREACHABLE FAILED. */
STILLHOUSE_API stillhouse_status stillhouse_enqueue_enrich(stillhouse_client *client,
                                                           const char *domain, const char *query,
                                                           int k,
                                                           const stillhouse_job_options *options,
                                                           char id[STILLHOUSE_ID_BYTES]);
STILLHOUSE_API stillhouse_status stillhouse_enqueue_distill(stillhouse_client *client,
                                                            const stillhouse_experience *experience,
                                                            const stillhouse_job_options *options,
                                                            char id[STILLHOUSE_ID_BYTES]);
STILLHOUSE_API stillhouse_status stillhouse_enqueue_index(
    stillhouse_client *client, const char *domain, const stillhouse_document *documents,
    size_t count, const stillhouse_job_options *options, char id[STILLHOUSE_ID_BYTES]);
/* A job of any queue with a ready msgpack body (echo, or a queue of your own). */
STILLHOUSE_API stillhouse_status stillhouse_enqueue_raw(stillhouse_client *client,
                                                        const char *queue, const char *domain,
                                                        const void *body, size_t body_bytes,
                                                        const stillhouse_job_options *options,
                                                        char id[STILLHOUSE_ID_BYTES]);

/* Many at once, pipelined: 1,000 a call, several calls in flight. outcome[i] and ids[i] (either may
 * be NULL) belong to experiences[i]; an invalid one is INVALID and the rest goes on. Returns the
 * worst outcome. */
STILLHOUSE_API stillhouse_status
stillhouse_enqueue_distill_many(stillhouse_client *client, const stillhouse_experience *experiences,
                                size_t count, const stillhouse_job_options *options,
                                stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES]);

typedef struct stillhouse_enrichment {
    const char *domain;
    const char *query;
    int k;
} stillhouse_enrichment;
STILLHOUSE_API stillhouse_status
stillhouse_enqueue_enrich_many(stillhouse_client *client, const stillhouse_enrichment *enrichments,
                               size_t count, const stillhouse_job_options *options,
                               stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES]);

/* One past task. */
typedef struct stillhouse_example {
    const char *id;
    const char *text;
    double distance;
    const stillhouse_meta *metadata;
    size_t metadata_count;
} stillhouse_example;

/* The result of an enrichment. Everything belongs to it: stillhouse_result_free. */
typedef struct stillhouse_result {
    const char *domain;
    const char *query_hash;
    int64_t created_unix_ms;
    int64_t epoch;
    bool stale; /* the domain has changed since */
    const stillhouse_example *examples;
    size_t count;
    const char *few_shot; /* the examples as one block; "" when there are none */
    const char *error;    /* why the job ended without a result; NULL = it did not */
} stillhouse_result;
STILLHOUSE_API void stillhouse_result_free(stillhouse_result *result); /* NULL is fine */

/* The cached result: memory first, then Redis. NOT_FOUND when there is none. Enqueues nothing. k 0
 * = 3. */
STILLHOUSE_API stillhouse_status stillhouse_lookup(stillhouse_client *client, const char *domain,
                                                   const char *query, int k,
                                                   stillhouse_result **result);

/* Waits up to wait_ms for the result of a job enqueued with `reply`. NOT_FOUND when it did not come
 * in time. */
STILLHOUSE_API stillhouse_status stillhouse_await(stillhouse_client *client, const char *queue,
                                                  const char *id, int wait_ms,
                                                  stillhouse_result **result);
/* The same as the bytes the worker pushed; free() them. */
STILLHOUSE_API stillhouse_status stillhouse_await_raw(stillhouse_client *client, const char *queue,
                                                      const char *id, int wait_ms, void **body,
                                                      size_t *body_bytes);

typedef enum stillhouse_prompt_kind {
    STILLHOUSE_PROMPT_ENRICHED, /* examples in front of the base prompt */
    STILLHOUSE_PROMPT_STALE,    /* the same, from a result older than the domain's last change */
    STILLHOUSE_PROMPT_FALLBACK, /* the base prompt, byte for byte */
} stillhouse_prompt_kind;

typedef struct stillhouse_prompt_result {
    const char *text; /* never NULL: base itself, or memory that stillhouse_prompt_free frees */
    stillhouse_prompt_kind kind;
    size_t examples;
    stillhouse_status status; /* why it is a fallback: NOT_FOUND (a miss), UNREACHABLE, ... */
    char *owned;              /* private */
} stillhouse_prompt_result;

/* The prompt for a task: enriched when examples are at hand, else `base` unchanged. On a miss or a
 * stale hit the enrichment is enqueued for the next time; with wait_ms > 0 a miss waits that long
 * for it. Always fills *out with a usable text and returns its kind; `base` must outlive *out. */
STILLHOUSE_API stillhouse_prompt_kind stillhouse_prompt(stillhouse_client *client,
                                                        const char *domain, const char *query,
                                                        const char *base, int wait_ms,
                                                        stillhouse_prompt_result *out);
STILLHOUSE_API void stillhouse_prompt_free(stillhouse_prompt_result *prompt);

/* query_hash of the contract: 32 hex digits and NUL. Pure. */
STILLHOUSE_API void stillhouse_query_hash(const char *query, char out[33]);

#ifdef __cplusplus
}
#endif

#endif
