/* chroma/internal.h - what the files of the Chroma client share.
 *
 * chroma.c          the handle, one call, the collection of a domain
 * chroma/server.c   heartbeat, version, how many collections
 * chroma/records.c  the calls on a collection's records: upsert, query, get, page, delete, count
 * chroma/decode.c   pure: the server's JSON to our structures; everything in it is foreign
 */
#ifndef STILLHOUSE_CHROMA_INTERNAL_H
#define STILLHOUSE_CHROMA_INTERNAL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "chroma/chroma.h"
#include "http/client.h"
#include "json/walk.h"

#define CHROMA_NAME "sh-"             /* and a domain: the name of its collection */
#define CHROMA_TASKS_NAME "sh_tasks-" /* and a domain: of that of its tasks */

enum {
    CHROMA_BATCH_MAX = 100, /* records a write: more make other clients' queries stall */
    CHROMA_ID_BYTES = 64,   /* of a collection's UUID, with room to spare */
    CHROMA_NAME_BYTES = sizeof CHROMA_TASKS_NAME + TEXT_DOMAIN_MAX,
};

struct chroma_collection; /* chroma.c */

/* The lists of an answer to query, which are walked together; `text` NULL = not in the answer, or
 * null. */
enum chroma_field {
    CHROMA_FIELD_IDS,
    CHROMA_FIELD_TEXTS,
    CHROMA_FIELD_METADATA,
    CHROMA_FIELD_DISTANCES,
    CHROMA_FIELDS
};
struct chroma_lists {
    struct json_list lists[CHROMA_FIELDS];
    const char *text[CHROMA_FIELDS];
};

/* Where an answer to query or get is read. */
struct chroma_walk {
    struct chroma_search asked; /* zeroed for get */
    bool text_in_metadata;      /* as in chroma_config */
    struct chroma_lists outer;
    size_t next; /* vector */
};

struct chroma {
    struct chroma_config config; /* its strings are owned, but for identity.model */
    char *api_url;               /* ".../api/v2" */
    char *database_url;          /* ".../api/v2/tenants/T/databases/D" */
    struct http *http;
    struct http_response response;         /* of the last call */
    struct strbuf url;                     /* of the call under way */
    struct strbuf request;                 /* body of a call on records */
    size_t foreign_from;                   /* where texts of others begin in it */
    struct chroma_collection *collections; /* by domain; only checked ones are in it */
    enum chroma_look look;
    struct chroma_walk walk; /* of the last query, until all of it is pulled */
};

/* Empties and returns chroma->request. */
struct strbuf *chroma_request(struct chroma *chroma);

/* chroma->url = `base` and `path`. */
void chroma_set_url(struct chroma *chroma, const char *base, const char *path);

/* One request: `what` names it in errors, `operation` in metrics. */
struct chroma_call {
    const char *method;
    const char *operation;
    const char *what;
    const struct strbuf *body; /* NULL = none */
    size_t foreign_from;       /* as in http_request */
    int timeout_ms;            /* 0 = the handle's */
};

/* Performs `call` on chroma->url. STATUS_OK: chroma->response is a 2xx. */
enum status chroma_perform(struct chroma *chroma, const struct chroma_call *call,
                           struct error *err) MUSTCHECK;

/* One call on a domain's collection. */
struct chroma_action {
    const char *domain;
    bool create; /* the collection, where there is none */
    const char *method;
    const char *name; /* the path behind its UUID, and the operation in the metrics */
};

/* Looks the collection up; on a 404 forgets it and does all of it once more. chroma->request is the
 * body of a POST. STATUS_OK: chroma->response is a 2xx. The request is empty afterwards where it
 * was big. */
enum status chroma_on_collection(struct chroma *chroma, const struct chroma_action *action,
                                 struct error *err) MUSTCHECK;

/* The last response was read: where it was big, its memory is given back. */
void chroma_end_answer(struct chroma *chroma);

/* The last response as JSON; the caller frees it with cJSON_Delete. GARBLED names `what`. Ends
 * the answer. */
enum status chroma_answer(struct chroma *chroma, const char *what, cJSON **out,
                          struct error *err) MUSTCHECK;

/* Exactly one JSON document of well-formed UTF-8. `data[bytes]` must be NUL. GARBLED otherwise. */
enum status chroma_parse(const char *data, size_t bytes, cJSON **out, struct error *err) MUSTCHECK;

/* Opens an answer to query or get: `data[bytes]` is NUL, `asked` and `text_in_metadata` are set.
 * GARBLED: it is none. */
enum status chroma_walk_open(struct chroma_walk *walk, const char *data, size_t bytes,
                             struct error *err) MUSTCHECK;

/* The hits of the next vector. GARBLED: they are not as asked, or after the last one there is more.
 */
enum status chroma_walk_next(struct chroma_walk *walk, struct arena *arena,
                             struct chroma_hits *hits, struct error *err) MUSTCHECK;

/* Of an answer to get (asked.count is 0): every record, distance 0, also those without metadata or
 * text. */
enum status chroma_walk_all(struct chroma_walk *walk, struct arena *arena, struct chroma_hits *hits,
                            struct error *err) MUSTCHECK;

/* A list of collections; of names like "sh-legal" the domain is kept. */
enum status chroma_decode_domains(const cJSON *root, struct arena *arena,
                                  struct chroma_domains *out, struct error *err) MUSTCHECK;

/* A whole number that is not negative. */
enum status chroma_decode_count(const cJSON *root, int64_t *count, struct error *err) MUSTCHECK;

/* A collection: its UUID into `id`, after its space, embedder and dimension were found to be ours;
 * else MISMATCH with both named. */
enum status chroma_decode_collection(const cJSON *root, const char *name,
                                     const struct chroma_identity *identity,
                                     char id[CHROMA_ID_BYTES], struct error *err) MUSTCHECK;

#endif
