/* stillhouse.h - the producer library: ask for examples, hand in finished tasks, never wait for it.
 *
 *     stillhouse_client *client = NULL;
 *     if (stillhouse_open(NULL, &client) != STILLHOUSE_OK) {
 *         fprintf(stderr, "%s\n", stillhouse_open_error());
 *     }
 *     stillhouse_prompt_result prompt;
 *     stillhouse_prompt(client, "legal", "notice period for tenants", base, 0, &prompt);
 *     run_the_task(prompt.text);              // enriched, or `base` itself, unchanged
 *     stillhouse_prompt_free(&prompt);
 *
 *     stillhouse_experience done = {
 *         .domain = "legal", .task_id = "t-17", .prompt = "...", .result = "...",
 *         .success = true, .quality = 0.9};
 *     stillhouse_enqueue_distill(client, &done, NULL, NULL);
 *     stillhouse_close(client);
 *
 * Time. No call blocks longer than its bounds. Connecting (the look-up of a host's name included)
 * has connect_timeout_ms, 100 by default; with a password or a database in the URL, each of the two
 * greeting commands has command_timeout_ms more. A round trip has command_timeout_ms, 50 by
 * default, to be answered, and, where the server does not even take the bytes, as much before that
 * to be sent. stillhouse_prompt makes one round trip, and a second one where it enqueues; all
 * others make one. What the caller gives as wait_ms or room_ms comes on top. After a failed attempt
 * to connect, or a server that accepts connections and does not answer, calls fail at once for
 * retry_ms instead of trying again. A connection that was lost since the last call is replaced
 * within the next one. With an outbox that holds something, a call that may keep a job sends from
 * it first, which is one round trip more; writing to it takes as long as the disk does, for which
 * there is no bound.
 *
 * No call aborts, exits, prints, or raises SIGPIPE.
 *
 * Threads. A client belongs to one thread at a time; it may move between threads when the caller
 * orders the calls. Different clients are independent; those opened beside one another share their
 * memory of results alone. Results may be freed in any thread. No call is safe in a signal handler.
 * After fork() parent and child each have a client of their own, as a server needs it that opens
 * one and then forks its workers: the child's connects anew with the next call, has the parent's
 * memory of results, counts from nothing, and is to be closed too; the parent's goes on
 * undisturbed. (Forked past the C library, by a bare clone(), it is not noticed.) A host given by
 * name is looked up in a thread of the library's own, with all signals blocked, that may outlive
 * the call and the client where the name server is silent; so do not dlclose() the library.
 * Addresses, "localhost" and unix sockets need no such thread.
 *
 * Strings are UTF-8 and NUL-terminated unless a length stands beside them; arguments are borrowed
 * for the call. What a call returns through a pointer belongs to the caller, who frees it with the
 * function named there; on failure nothing is returned. Arguments are checked before anything is
 * sent. The text of an error names the field, its value and what was expected: stillhouse_error().
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

/* ---- clients --------------------------------------------------------------------------------- */

#define STILLHOUSE_VERSION "0.1.0"

/* The version of the library that is linked. */
STILLHOUSE_API const char *stillhouse_version(void);

typedef enum stillhouse_status {
    STILLHOUSE_OK = 0,
    STILLHOUSE_FAILED = 1,      /* the server refused it, or memory is short */
    STILLHOUSE_INVALID = 2,     /* an argument or a setting is wrong; the text names it */
    STILLHOUSE_UNREACHABLE = 3, /* no Redis there, or no answer in time: it may have happened */
    STILLHOUSE_NOT_FOUND = 4,   /* nothing cached, or no reply in the time given */
    STILLHOUSE_FULL = 5,        /* the queue's bound is reached; nothing was added */
    STILLHOUSE_KEPT = 6,        /* Redis did not take it, the outbox did: it is sent later */
} stillhouse_status;            /* up to 5 the same numbers as the programs' exit codes */

typedef struct stillhouse_client stillhouse_client;

/* Zero or NULL = the environment's STILLHOUSE_REDIS_URL, _CACHE_URL, _PREFIX, _MAX_BACKLOG,
 * _MAX_BODY, _OUTBOX, _OUTBOX_MAX and _HOLDOUT (or the first line of the file that such a name with
 * _FILE behind it gives), else the default. STILLHOUSE_CACHE_FRESH is read too. Set `size` to
 * sizeof(stillhouse_options). */
typedef struct stillhouse_options {
    size_t size;
    const char *redis_url;
    const char *cache_url;  /* "" = the same Redis, whatever the environment says */
    const char *prefix;     /* "sh" */
    int connect_timeout_ms; /* 100; at most an hour, as the next three */
    int command_timeout_ms; /* 50 */
    int retry_ms;           /* 1000: how long a failed connection is not tried again */
    int memory_ttl_ms;      /* 300000 */
    size_t memory_entries;  /* 1000 results kept in memory, of 64 MiB together at most */
    int64_t max_backlog;    /* 100000 */
    int64_t max_body_bytes; /* 262144 */
    /* the outbox, below */
    const char *outbox;       /* a folder; none by default, and "" = none */
    int64_t outbox_max_bytes; /* 67108864: of all files in it */
    const char *holdout;      /* "5%": below, at stillhouse_prompt_for; none by default, and "0%" */
} stillhouse_options;

/* Makes a client; does not connect (that happens in the first call that needs it). The outbox's
 * folder is made where it is missing, its parent is not. INVALID (a folder that cannot be written
 * to among it) or FAILED leave *client NULL: stillhouse_open_error() has the text. */
STILLHOUSE_API stillhouse_status stillhouse_open(const stillhouse_options *options,
                                                 stillhouse_client **client);

/* Another client with the configuration of `other`, for another thread: both have one memory of
 * results, which they may use at the same time; connections, counts and the rest are each one's
 * own. `other` may be in a call meanwhile, but not be closed. They may be closed in any order.
 * Errors as stillhouse_open. */
STILLHOUSE_API stillhouse_status stillhouse_open_beside(const stillhouse_client *other,
                                                        stillhouse_client **client);

/* Why the last stillhouse_open or _beside of this thread failed; "" when it did not. Valid until
 * the next. */
STILLHOUSE_API const char *stillhouse_open_error(void);

/* Sends what is left of the prompts' counts (one bounded round trip, none when Redis was last seen
 * away) and frees everything but results and prompts. NULL is fine. */
STILLHOUSE_API void stillhouse_close(stillhouse_client *client);

/* The text of the last call on this client that did not return OK; "" before any, and for NULL.
 * Valid until the next call. */
STILLHOUSE_API const char *stillhouse_error(const stillhouse_client *client);

/* ---- enqueueing ------------------------------------------------------------------------------ */

typedef enum stillhouse_priority {
    STILLHOUSE_NORMAL = 0,
    STILLHOUSE_HIGH = 1,
    STILLHOUSE_LOW = 2
} stillhouse_priority;

/* NULL = all zero. A deadline is added to this machine's clock and judged by the worker's. */
typedef struct stillhouse_job_options {
    stillhouse_priority priority;
    int64_t delay_ms;        /* not before so long from now */
    int64_t deadline_ms;     /* not after so long from now (counts as expired); 0 = none */
    bool reply;              /* the worker pushes the result for stillhouse_await */
    const char *traceparent; /* W3C, 1 to 128 printable characters without spaces; NULL = none */
} stillhouse_job_options;

#define STILLHOUSE_ID_BYTES 65

typedef enum stillhouse_meta_type {
    STILLHOUSE_META_STRING,
    STILLHOUSE_META_INT,
    STILLHOUSE_META_FLOAT, /* finite */
    STILLHOUSE_META_BOOL
} stillhouse_meta_type;

/* One metadata value. Keys are 1 to 128 bytes, at most 64 a map, and not one of our own
 * (task_id domain success quality model created_ms expires_ms, content_hash in documents). A task's
 * own `source` is kept as `caller_source`: `source` is the queue that it came through. */
typedef struct stillhouse_meta {
    const char *key;
    stillhouse_meta_type type;
    const char *string;
    int64_t integer;
    double number;
    bool boolean;
} stillhouse_meta;

/* A finished task. One that did not succeed, or is under the fleet's STILLHOUSE_MIN_QUALITY, is
 * accepted here and rejected by the worker. */
typedef struct stillhouse_experience {
    const char *domain;
    const char *task_id; /* the same id again replaces the document */
    const char *prompt;
    const char *result;
    bool success;
    double quality;    /* 0..1; negative = not given. Zero is a quality: the lowest */
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

/* Each enqueues one job. `id` (may be NULL) receives the id that now stands for it, "" where the
 * call fails: its own, a UUIDv7, or that of the same enrichment already outstanding. k 0 = 3, at
 * most 20. Enrichments are unique per domain, query and k; the others are not: a call that ends
 * UNREACHABLE may have added the job, and adding it again is harmless (effects are idempotent).
 * INVALID FULL UNREACHABLE FAILED, and with an outbox KEPT for all but enrichments. */
STILLHOUSE_API stillhouse_status stillhouse_enqueue_enrich(stillhouse_client *client,
                                                           const char *domain, const char *query,
                                                           int k,
                                                           const stillhouse_job_options *options,
                                                           char id[STILLHOUSE_ID_BYTES]);
STILLHOUSE_API stillhouse_status stillhouse_enqueue_distill(stillhouse_client *client,
                                                            const stillhouse_experience *experience,
                                                            const stillhouse_job_options *options,
                                                            char id[STILLHOUSE_ID_BYTES]);
/* 1 to 1000 documents. */
STILLHOUSE_API stillhouse_status stillhouse_enqueue_index(
    stillhouse_client *client, const char *domain, const stillhouse_document *documents,
    size_t count, const stillhouse_job_options *options, char id[STILLHOUSE_ID_BYTES]);
/* A job of any queue (echo, or one of your own, or a partition) with a ready msgpack body. */
STILLHOUSE_API stillhouse_status stillhouse_enqueue_raw(stillhouse_client *client,
                                                        const char *queue, const char *domain,
                                                        const void *body, size_t body_bytes,
                                                        const stillhouse_job_options *options,
                                                        char id[STILLHOUSE_ID_BYTES]);

typedef struct stillhouse_enrichment {
    const char *domain;
    const char *query;
    int k; /* 0 = 3 */
} stillhouse_enrichment;

/* Many at once, pipelined: up to 500 jobs or about 512 KiB a call, several calls in flight.
 * outcome[i] and ids[i] (either array may be NULL) belong to element i. An invalid one is INVALID
 * and the rest goes on; an answer that does not come, or a refusal, ends the run: what was not sent
 * has the same outcome and was not added. Returns the worst outcome: UNREACHABLE before FAILED
 * before INVALID before FULL before KEPT; the text is that of the first. Bound: each call's answer
 * has command_timeout_ms and a millisecond more for every 16 KiB in flight. With an outbox,
 * experiences that are neither in nor INVALID are kept, under an id of their own. */
STILLHOUSE_API stillhouse_status
stillhouse_enqueue_distill_many(stillhouse_client *client, const stillhouse_experience *experiences,
                                size_t count, const stillhouse_job_options *options,
                                stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES]);
STILLHOUSE_API stillhouse_status
stillhouse_enqueue_enrich_many(stillhouse_client *client, const stillhouse_enrichment *enrichments,
                               size_t count, const stillhouse_job_options *options,
                               stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES]);

/* One job of any queue, with a ready msgpack body. */
typedef struct stillhouse_job {
    const char *domain;
    const void *body;
    size_t body_bytes;
    const stillhouse_job_options *options; /* NULL = all zero */
    const char *unique; /* 1 to 256 bytes without spaces: while a job of the queue with this key is
                           outstanding none is added, and that one's id is told; NULL = none */
} stillhouse_job;

/* Where jobs come from that stand in no array. Set `size` to sizeof(stillhouse_source). */
typedef struct stillhouse_source {
    size_t size;
    const char *queue;
    /* Fills *job, which is all zero, with the next one; false: there are no more. What it points to
     * stays until the next call. */
    bool (*next)(void *context, stillhouse_job *job);
    /* Says what became of a job, by its number from 0; once of each, in no order. `id` is the one
     * that stands for it, `twin` where that is another job's; of one that is UNREACHABLE its own
     * where it was sent and may be in; else "". Valid for the call. May be NULL. */
    void (*told)(void *context, size_t index, stillhouse_status outcome, const char *id, bool twin);
    void *context;
    int64_t room_ms; /* a queue, or a Redis, that is full is waited for, so long after it last took
                      * one; 0 = not */
} stillhouse_source;

/* As many jobs as a source has, as they come: pipelined as above, in memory some 4 MiB at a time.
 *
 *     static bool next(void *context, stillhouse_job *job)
 *     {
 *         static char body[1024]; // visits of this size, one a job
 *
 *         job->domain = "legal";
 *         job->body = body;
 *         job->body_bytes = fread(body, 1, sizeof body, context);
 *         return job->body_bytes == sizeof body;
 *     }
 *
 * is a source's function; with it
 *
 *     const stillhouse_source source = {
 *         .size = sizeof source, .queue = "visits", .next = next, .context = stdin};
 *     if (stillhouse_enqueue_all(client, &source) != STILLHOUSE_OK) {
 *         fprintf(stderr, "%s\n", stillhouse_error(client));
 *     }
 *
 * `next` and `told` are called in this thread and must leave the client alone. A call that fails
 * ends it: nothing more is asked of `next` then, unless an outbox takes the jobs, which it does for
 * all but enrichments. A queue that is full does not: `next` may. Returns the worst outcome as
 * above. */
STILLHOUSE_API stillhouse_status stillhouse_enqueue_all(stillhouse_client *client,
                                                        const stillhouse_source *source);

/* ---- records --------------------------------------------------------------------------------- */

/* What an execution taught, for the learning store: who routed it where, how it ended, what it
 * cost, what its user said of it. A part says some of it, when it is known; the parts of one
 * task_id make one row, in whatever order they come and however often.
 *
 *     const stillhouse_meta known[] = {
 *         stillhouse_truth("success", true),
 *         stillhouse_number("duration_seconds", 3.2),
 *         stillhouse_text("model_tier", "small")};
 *     const stillhouse_part outcome = {
 *         .domain = "legal", .kind = "outcome", .task_id = "t-17",
 *         .fields = known, .field_count = 3};
 *     stillhouse_record(client, &outcome, NULL);
 *
 * What is not among the fields is not said, and leaves what other parts said. CONTRACT.md, section
 * 4, has the fields of each kind, with their bounds. Another name is refused, so that a mistyped
 * one is not lost; what has no field goes into metadata. */
typedef struct stillhouse_part {
    const char *domain;
    const char *kind; /* routing, outcome, pool_start, pool_end, execution (all at once), feedback,
                         solution or policy */
    const char *task_id; /* which execution; NULL for a policy, and beside a field "pool_id" */
    int64_t at_ms;       /* when it was so, Unix ms: of two values the later stands. 0 = when it is
                            enqueued */
    const stillhouse_meta *fields;
    size_t field_count;
    const stillhouse_meta *metadata; /* as of an experience; only "domain" is reserved */
    size_t metadata_count;
} stillhouse_part;

/* A field, or a pair of metadata. A text is borrowed. */
static inline stillhouse_meta stillhouse_text(const char *name, const char *text)
{
    const stillhouse_meta field = {name, STILLHOUSE_META_STRING, text, 0, 0, false};
    return field;
}
static inline stillhouse_meta stillhouse_whole(const char *name, int64_t number)
{
    const stillhouse_meta field = {name, STILLHOUSE_META_INT, NULL, number, 0, false};
    return field;
}
static inline stillhouse_meta stillhouse_number(const char *name, double number)
{
    const stillhouse_meta field = {name, STILLHOUSE_META_FLOAT, NULL, 0, number, false};
    return field;
}
static inline stillhouse_meta stillhouse_truth(const char *name, bool truth)
{
    const stillhouse_meta field = {name, STILLHOUSE_META_BOOL, NULL, 0, 0, truth};
    return field;
}

/* Enqueues a part, with priority low, and as many: bounds, ids and outcomes as of distillations. It
 * waits in the queue `record` until a recorder takes it (a worker that serves it). An outbox keeps
 * it, but fills only half of its bound with such, so that none takes the room of an experience.
 * Nobody's task should fail for it: on INVALID, log and go on. INVALID FULL UNREACHABLE FAILED,
 * KEPT. */
STILLHOUSE_API stillhouse_status stillhouse_record(stillhouse_client *client,
                                                   const stillhouse_part *part,
                                                   char id[STILLHOUSE_ID_BYTES]);
STILLHOUSE_API stillhouse_status stillhouse_record_many(stillhouse_client *client,
                                                        const stillhouse_part *parts, size_t count,
                                                        stillhouse_status *outcome,
                                                        char (*ids)[STILLHOUSE_ID_BYTES]);

/* ---- the outbox ------------------------------------------------------------------------------ */

/* So that an outage of Redis loses no experience: with options.outbox, or STILLHOUSE_OUTBOX, naming
 * a folder, jobs that Redis does not take are written there and sent when it is back.
 *
 *     options.outbox = "/var/lib/agent/outbox";
 *     ...
 *     switch (stillhouse_enqueue_distill(client, &done, NULL, id)) {
 *     case STILLHOUSE_OK:   break;             // it waits in the queue
 *     case STILLHOUSE_KEPT: break;             // it waits on the disk; stillhouse_error says why
 *     default: complain(stillhouse_error(client));  // neither took it: it is lost
 *     }
 *
 * What is kept: distillations, records, index and raw jobs. Enrichments are not, nor are they held
 * up, whichever call they come by: a task that has run has no use for one. When: whatever fails but
 * INVALID - no Redis there, no answer in time, loading, read-only, out of memory, another error,
 * the queue's bound. `id` is filled. Where the outbox cannot take it either - it is full, or the
 * disk is, or does not let us - the call fails as it would have without one, and the text has both
 * reasons. Durability: KEPT is returned after fdatasync; kill -9 or a power cut after that loses
 * nothing. fdatasync has no timeout: on a disk that hangs, such a call hangs too. Where Redis takes
 * the job, the disk is not written to, and looked at once a second at most. Sending: a call that
 * may keep a job first sends up to 256 of those that wait, oldest first, in one command_timeout_ms;
 * when some are left, its own job goes behind them (KEPT). stillhouse_prompt and the other calls
 * never do. A program that enqueues seldom calls stillhouse_flush. Never lost, maybe repeated: a
 * job leaves the disk after Redis accepted it. One that was sent without that being noticed - an
 * answer that did not come, a crash - is sent again with the same id, which is harmless, as effects
 * are idempotent. Age: a kept job carries when it was first enqueued, its delay counts from there,
 * and one whose deadline has passed is sent and counts as expired.
 *
 * The folder: on a local file system, our own (it is refused where it is another user's or others
 * may write to it), for one Redis (the queue is kept with each job; one of another prefix is left
 * for a client that has that), for any number of threads and processes at once: they are in one
 * another's way nowhere, and what a dead one left is sent by the next. One file a call (*.jobs, in
 * the order of their names; some 256 KiB of a call of many), so each job kept alone takes a block
 * of the file system. Order is kept between the calls of one process where nobody else is sending
 * just then. outbox_max_bytes bounds the sum of the files' sizes; what other processes add is seen
 * within a second. The files hold prompts and results: mode 0600. A job whose checksum is wrong, or
 * that the server refuses for good, is put into the folder's bad/, a file each with the reason
 * beside it (*.txt), and passed over; nobody deletes that, and a refused one that is moved back is
 * tried again. Processes with an older version of the library may use the folder at the same time:
 * what they keep (*.outbox) is sent too. */

/* Sends what is kept, by this client or by others, for up to timeout_ms (0 = one call); connecting,
 * one last call and counting come on top. *left (may be NULL) is how many are left after it. OK:
 * none, and also without an outbox. UNREACHABLE and FULL as in enqueueing; NOT_FOUND: the time was
 * over, or other processes are about to send the rest; FAILED also where a file cannot be read or
 * written; INVALID. */
STILLHOUSE_API stillhouse_status stillhouse_flush(stillhouse_client *client, int timeout_ms,
                                                  size_t *left);

/* What this client did since it was opened: jobs kept, jobs sent from the outbox, and damaged or
 * refused ones put aside. Each may be NULL. */
STILLHOUSE_API void stillhouse_outbox_counts(const stillhouse_client *client, uint64_t *kept,
                                             uint64_t *sent, uint64_t *aside);

/* ---- results --------------------------------------------------------------------------------- */

/* One past task or document. Metadata without a value of the four types is left out. */
typedef struct stillhouse_example {
    const char *id;
    const char *text;
    double distance; /* cosine distance to the query: 0 (same direction) to 2 (opposite); 1 less it
                        is the cosine similarity */
    const stillhouse_meta *metadata;
    size_t metadata_count;
} stillhouse_example;

/* The result of an enrichment. Everything in it belongs to it: stillhouse_result_free. */
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

/* The two halves of a past task, example i < count of a result of this library: what was asked and
 * what came out, as they were handed in. They belong to the result. NULL for an indexed document,
 * which has none, for a NULL result, and for i >= count. */
STILLHOUSE_API const char *stillhouse_example_prompt(const stillhouse_result *result, size_t i);
STILLHOUSE_API const char *stillhouse_example_result(const stillhouse_result *result, size_t i);

/* The cached result: this client's memory first, then Redis. Enqueues nothing. k 0 = 3; a result
 * that was made for fewer examples counts as none, one made for more is returned whole. What
 * memory holds was current when it was read, at most memory_ttl_ms ago (a result without examples:
 * 5 s); changes of the domain since then are seen with the next look-up of that domain that goes to
 * Redis. Stale results are not kept in memory.
 * NOT_FOUND INVALID UNREACHABLE FAILED. */
STILLHOUSE_API stillhouse_status stillhouse_lookup(stillhouse_client *client, const char *domain,
                                                   const char *query, int k,
                                                   stillhouse_result **result);

/* Waits up to wait_ms (0 = looks once) for the result of a job that was enqueued with `reply`.
 * Several clients may wait for one job. A connection that is lost meanwhile is made anew, and a
 * Redis that is full is looked at; one that says nothing is given command_timeout_ms on top, but
 * not more than 250 ms. NOT_FOUND when it did not come in time; INVALID; UNREACHABLE: Redis was not
 * there at the start, or is not at the end; FAILED also where the reply is no enrichment's result.
 */
STILLHOUSE_API stillhouse_status stillhouse_await(stillhouse_client *client, const char *queue,
                                                  const char *id, int wait_ms,
                                                  stillhouse_result **result);
/* The same as the bytes the worker pushed; free() them. */
STILLHOUSE_API stillhouse_status stillhouse_await_raw(stillhouse_client *client, const char *queue,
                                                      const char *id, int wait_ms, void **body,
                                                      size_t *body_bytes);

/* ---- prompts --------------------------------------------------------------------------------- */

typedef enum stillhouse_prompt_kind {
    STILLHOUSE_PROMPT_ENRICHED, /* the examples, a blank line, the base prompt */
    STILLHOUSE_PROMPT_STALE,    /* the same, from a result older than the domain's last change */
    STILLHOUSE_PROMPT_FALLBACK, /* the base prompt, byte for byte */
    STILLHOUSE_PROMPT_HOLDOUT,  /* the same, though examples were there: by options.holdout */
} stillhouse_prompt_kind;

typedef struct stillhouse_prompt_result {
    const char *text; /* never NULL: base itself, or memory that stillhouse_prompt_free frees */
    stillhouse_prompt_kind kind;
    size_t examples;          /* in it: of a fallback and a holdout none */
    stillhouse_status status; /* of a fallback: OK (an answer without examples: there are none, or
                                 Chroma or the embedder was away), NOT_FOUND (not cached yet; the
                                 enrichment was enqueued), or what went wrong */
    char *owned;              /* private */
} stillhouse_prompt_result;

/* The prompt for a task, with 3 examples: enriched when they are at hand, else `base` unchanged. On
 * a miss the enrichment is enqueued, and with wait_ms > 0 waited for that long; on a stale hit that
 * is older than STILLHOUSE_CACHE_FRESH it is enqueued for the next time. Always fills *out with a
 * usable text and returns its kind; `base` must outlive *out. The kinds are counted in sh:prompts,
 * along with later calls' commands and in stillhouse_close. */
STILLHOUSE_API stillhouse_prompt_kind stillhouse_prompt(stillhouse_client *client,
                                                        const char *domain, const char *query,
                                                        const char *base, int wait_ms,
                                                        stillhouse_prompt_result *out);
/* The longest that stillhouse_prompt and stillhouse_messages take where wait_ms is 0, in ms: the
 * bounds at the top of this page, with the times and URLs of this client. For who runs them in
 * another thread, and goes on without it when that is over. 0 for NULL. Any thread. */
STILLHOUSE_API int stillhouse_prompt_bound_ms(const stillhouse_client *client);
/* Frees and empties it. NULL is fine. */
STILLHOUSE_API void stillhouse_prompt_free(stillhouse_prompt_result *prompt);

/* The same examples as chat messages, to stand between a system message and the question: models
 * learn more from them than from the block, in less time.
 *
 *     stillhouse_messages_result past;
 *     stillhouse_messages(client, "legal", question, 0, 0, &past);
 *     for (size_t i = 0; i < past.count; i++) {
 *         say(past.messages[i].role, past.messages[i].content);
 *     }
 *     say("user", question);
 *     stillhouse_messages_free(&past);
 *
 * What protects you: a block is fenced, and says that it is data; messages are not, they read like
 * the chat's own past, which is why they teach more. For them hold: the roles are ours and go by
 * turns; control tokens of chat templates are broken by a space, so that no text ends its message;
 * invisible and control characters are dropped; all contents together have 16 KiB at most, those of
 * one example 4 KiB, and what is longer is cut between characters. What a past answer says it still
 * says. */
typedef struct stillhouse_message {
    const char *role;    /* "user" or "assistant", by turns */
    const char *content; /* UTF-8, never blank */
} stillhouse_message;

typedef struct stillhouse_messages_result {
    const stillhouse_message
        *messages;               /* two an example, the nearest example last; NULL for none */
    size_t count;                /* of messages */
    stillhouse_prompt_kind kind; /* FALLBACK, HOLDOUT: none */
    size_t examples;
    stillhouse_status status; /* as in stillhouse_prompt_result */
    char *owned;              /* private */
} stillhouse_messages_result;

/* The nearest k past tasks (0 = 3, at most 20). Indexed documents are no tasks and are left out.
 * Bounds, counting, and what happens on a miss or a stale hit are those of stillhouse_prompt; all
 * of *out is the caller's until stillhouse_messages_free. */
STILLHOUSE_API stillhouse_prompt_kind stillhouse_messages(stillhouse_client *client,
                                                          const char *domain, const char *query,
                                                          int k, int wait_ms,
                                                          stillhouse_messages_result *out);
/* How far from the query the example is that message i < count is a half of: the distance of that
 * stillhouse_example, both halves the same. -1 for NULL and for i >= count. Any thread. */
STILLHOUSE_API double stillhouse_message_distance(const stillhouse_messages_result *messages,
                                                  size_t i);
/* Frees and empties it. NULL is fine. */
STILLHOUSE_API void stillhouse_messages_free(stillhouse_messages_result *messages);

/* Memory only: no socket, disk or queue is touched, so an event loop may call them. true: *out is
 * as the full call would have filled it, and it was counted (the counts go along with a later full
 * call); a current result without examples is a FALLBACK with OK. false: nothing current is in
 * memory, or the arguments are wrong; *out is the base prompt, or no messages, with NOT_FOUND or
 * INVALID; nothing was counted, and the full call is to be made, in another thread. */
STILLHOUSE_API bool stillhouse_prompt_from_memory(stillhouse_client *client, const char *domain,
                                                  const char *query, const char *base,
                                                  stillhouse_prompt_result *out);
STILLHOUSE_API bool stillhouse_messages_from_memory(stillhouse_client *client, const char *domain,
                                                    const char *query, int k,
                                                    stillhouse_messages_result *out);

/* The same for a task whose id is known, so that its prompts are all held out or none is.
 *
 *     const stillhouse_question question = {.size = sizeof question, .domain = "legal",
 *                                           .query = text, .base = base, .task_id = "t-17"};
 *     stillhouse_prompt_for(client, &question, &prompt);
 *
 * Holding out. Whether examples help is seen by letting a share of the tasks go without:
 * options.holdout, or STILLHOUSE_HOLDOUT, "5%". Such a task's kind is HOLDOUT, its text the base
 * prompt, its messages none, in all calls that give a prompt or messages. Drawn for it is only who
 * has examples in time, so that HOLDOUT is to be compared with ENRICHED and STALE together; what
 * has none is a FALLBACK as ever. A task is in the same arm whoever asks and however often, and
 * stays held out when the share grows; without a task's id each prompt is drawn by its own. Tell
 * the outcome with it: in a record job the fields `arm` (stillhouse_kind_name) and `prompt_id`, in
 * a distillation metadata of these two names. "95%" is the way to begin
 * with few: a gradual roll-out. Up to four digits may stand behind the point. */
typedef struct stillhouse_question {
    size_t size; /* sizeof(stillhouse_question) */
    const char *domain;
    const char *query;
    const char *base; /* of a prompt; messages have none */
    int k;            /* of messages: 0 = 3, at most 20; of a prompt 0 */
    int wait_ms;
    const char *task_id; /* 1 to 256 bytes, as in a distillation; NULL = none */
    bool memory_only;    /* as the two calls above: NOT_FOUND or INVALID is their false */
} stillhouse_question;

STILLHOUSE_API stillhouse_prompt_kind stillhouse_prompt_for(stillhouse_client *client,
                                                            const stillhouse_question *question,
                                                            stillhouse_prompt_result *out);
STILLHOUSE_API stillhouse_prompt_kind stillhouse_messages_for(stillhouse_client *client,
                                                              const stillhouse_question *question,
                                                              stillhouse_messages_result *out);

/* "enriched", "stale", "fallback" or "holdout": what `arm` of an outcome is. "" for no kind. */
STILLHOUSE_API const char *stillhouse_kind_name(stillhouse_prompt_kind kind);

/* A UUIDv7 for the last of these calls that came to a prompt or messages (the memory's with
 * false did not), to be told with its task's outcome; "" before any. Made here, without a round
 * trip. Valid until the next call on this client. */
STILLHOUSE_API const char *stillhouse_prompt_id(stillhouse_client *client);

/* query_hash of the contract: 32 hex digits and NUL. No client needed. */
STILLHOUSE_API void stillhouse_query_hash(const char *query, char out[33]);

#ifdef __cplusplus
}
#endif

#endif
