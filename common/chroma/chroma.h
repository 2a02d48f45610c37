/* chroma/chroma.h - the part of Chroma's HTTP API v2 that we use, one blocking call each.
 *
 *     struct chroma *chroma = chroma_new(&config);
 *     status = chroma_upsert(chroma, "legal", records, 2, &err);
 *     status = chroma_get(chroma, &(struct chroma_select){.domain = "legal", .limit = 10}, &arena,
 *                         &hits, &err);
 *
 * Collections are named by domain: "sh-" + domain. Where a call takes a domain it also takes
 * CHROMA_TASKS and a domain: the collection of the vectors of its tasks, "sh_tasks-" + domain,
 * which no domain's own can be named. The name -> UUID map is cached in the handle; on a 404 it is
 * forgotten and the call is made once more. Created with space cosine and the HNSW settings of our
 * design, carrying the embedder's identity in their metadata; one made by another embedder, of
 * another dimension or another space is refused: STATUS_MISMATCH with both named. Statuses:
 * UNREACHABLE, TIMEOUT, UNAVAILABLE (429/503/504, retry_after_ms), REFUSED (401/403 and other 4xx),
 * INVALID (the server refused the data: 400/413/422), NOT_FOUND (no such collection), MISMATCH,
 * GARBLED. One thread per handle.
 */
#ifndef STILLHOUSE_CHROMA_CHROMA_H
#define STILLHOUSE_CHROMA_CHROMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"
#include "http/client.h"
#include "jobs/bodies.h"

#define CHROMA_TASKS "tasks:" /* CHROMA_TASKS "legal" */
enum { CHROMA_DOMAIN_BYTES = sizeof CHROMA_TASKS + TEXT_DOMAIN_MAX };

struct chroma; /* opaque */

/* What made the vectors: stands in a collection's metadata as embedder, dimension, normalised. */
struct chroma_identity {
    const char *model; /* "builtin-384-v1" */
    size_t dimension;  /* 0 = not known yet: any will do, and nothing may be created */
};

struct chroma_config {
    const char *url; /* "http://127.0.0.1:8000" */
    const char *tenant;
    const char *database;
    const char *token; /* "" = none; sent as x-chroma-token and Authorization: Bearer */
    int timeout_ms;
    struct chroma_identity identity; /* model is borrowed for the life of the handle */
    bool store_text_as_metadata;     /* text under metadata key "document" instead of documents */
    http_observer *observer;
    void *observer_context;
};

struct chroma *chroma_new(const struct chroma_config *config) MUSTCHECK;
void chroma_free(struct chroma *chroma);

/* The dimension, once it is known. */
void chroma_set_dimension(struct chroma *chroma, size_t dimension);

/* See http_on_wait. */
void chroma_on_wait(struct chroma *chroma, http_waiter *waiter, void *context);

/* What became of looking the collection up, or making it, in the calls since this was asked last.
 */
enum chroma_look { CHROMA_LOOK_NONE, CHROMA_LOOK_PASSED, CHROMA_LOOK_FAILED };
enum chroma_look chroma_take_look(struct chroma *chroma);

/* GET /api/v2/heartbeat within `timeout_ms`. */
enum status chroma_heartbeat(struct chroma *chroma, int timeout_ms, struct error *err) MUSTCHECK;

/* The server's version text, as it says it (do not decide by it). */
enum status chroma_version(struct chroma *chroma, char out[64], struct error *err) MUSTCHECK;

/* Makes sure the collection of `domain` exists (created where `create`) and is ours. */
enum status chroma_open_collection(struct chroma *chroma, const char *domain, bool create,
                                   struct error *err) MUSTCHECK;

struct chroma_record {
    struct slice id;
    const float *vector; /* `dimension` of the identity */
    struct slice document;
    const struct meta_pair *metadata; /* META_NULL drops an old key */
    size_t metadata_count;
};

/* Writes up to 100 records in one request into the domain's collection (created on first use). Ids
 * must be distinct within a call. All or nothing; the same ids again are harmless. INVALID, and
 * nothing sent: more records, an empty id, a number that is not finite. No NUL bytes in texts: they
 * are stored, but a text is read back only up to its first. */
enum status chroma_upsert(struct chroma *chroma, const char *domain,
                          const struct chroma_record *records, size_t count,
                          struct error *err) MUSTCHECK;

/* Records that a call found. Everything lives in the arena, which is a
 * program's (is_must). */
struct chroma_hits {
    struct example *examples; /* text from the document, or metadata "document"; distance >= 0 */
    size_t count;
    size_t answered; /* count and those left out: fewer than asked for, then there are no more */
};

/* False: the hit is left out, as it is decoded; it costs no memory then. */
typedef bool chroma_wanted(const void *context, const struct example *hit);

struct chroma_search {
    const char *domain;
    const float *const *vectors; /* `count` pointers */
    size_t count;
    size_t n_results;
    bool without_text;     /* texts are empty, where they are documents */
    chroma_wanted *wanted; /* NULL: all */
    const void *wanted_context;
};

/* Nearest `n_results` of each vector in one request. The hits are pulled then, one vector's after
 * the other, so that memory is needed for one at a time:
 *
 *     status = chroma_query(chroma, &search, &err);
 *     for (size_t i = 0; i < search.count && status == STATUS_OK; i++) {
 *         status = chroma_next_hits(chroma, &arena, &hits, &err);
 *         ...                                           // nearest first; the arena may be reset
 *     }
 *
 * Only when the last one was pulled is the whole answer known to be good. Any other call on the
 * handle ends the pulling. Hits without metadata or distance (being deleted) are left out.
 * NOT_FOUND: no collection. INVALID, and nothing sent: n_results 0 (the server's handler dies of
 * it), a number that is not finite. `search` is copied, what it points to is borrowed. */
enum status chroma_query(struct chroma *chroma, const struct chroma_search *search,
                         struct error *err) MUSTCHECK;
enum status chroma_next_hits(struct chroma *chroma, struct arena *arena, struct chroma_hits *hits,
                             struct error *err) MUSTCHECK;

/* Which records of a domain, by the first of these that is set, and what of them. */
struct chroma_select {
    const char *domain;

    const struct slice *ids; /* `count` of them; those that exist */

    const char *key; /* whose metadata `key` is one of `count` integers */
    const int64_t *values;

    int64_t expired_unix_ms; /* whose metadata "expires_ms" is this or less; in no order */

    /* Else a page of all, in the server's order. */

    size_t count;
    size_t offset;
    size_t limit;                                              /* of all but ids */
    enum { CHROMA_IDS, CHROMA_METADATA, CHROMA_TEXTS } fields; /* each with those before it */
};

/* Distances are 0. Integers have an index there: where few match, the filters are quick. Nothing is
 * asked, and nothing found, for an empty list and for a limit of 0. */
enum status chroma_get(struct chroma *chroma, const struct chroma_select *select,
                       struct arena *arena, struct chroma_hits *out, struct error *err) MUSTCHECK;

/* Deletes by ids, at most 100 a request inside; absent ids are fine; an empty list does nothing. */
enum status chroma_delete(struct chroma *chroma, const char *domain, const struct slice *ids,
                          size_t count, struct error *err) MUSTCHECK;

enum status chroma_count(struct chroma *chroma, const char *domain, int64_t *count,
                         struct error *err) MUSTCHECK;

/* A page of collections: the domains of those that are named like ours, of tasks' with
 * CHROMA_TASKS.
 */
struct chroma_domains {
    size_t offset;        /* in: collections of all names */
    size_t limit;         /* in */
    const char **domains; /* in the arena, as are the names */
    size_t count;
    size_t answered; /* collections of all names: fewer than asked for, then it was the last page */
};
enum status chroma_list_domains(struct chroma *chroma, struct arena *arena,
                                struct chroma_domains *out, struct error *err) MUSTCHECK;

/* How many collections the database has (doctor warns above 200). */
enum status chroma_collection_count(struct chroma *chroma, int64_t *count,
                                    struct error *err) MUSTCHECK;

#endif
