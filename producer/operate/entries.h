/* operate/entries.h - jobs as they stand in Redis, for people: waiting, running, delayed, dead.
 *
 *     struct entries dead;
 *     struct entry letter;
 *     entries_open(&dead, conn, "sh:{enrich}:dead", ENTRY_DEAD);
 *     while (entries_next(&dead, &letter)) {
 *         entry_to_json(&letter, &json, NULL);
 *     }
 *     status = entries_close(&dead, &err);
 *
 * An entry borrows from the page it stands in, until the next call with its entries. Everything in
 * it is foreign: fields may be missing, of any bytes, a body need not be msgpack. One thread.
 */
#ifndef STILLHOUSE_OPERATE_ENTRIES_H
#define STILLHOUSE_OPERATE_ENTRIES_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/queue.h"
#include "json/writer.h"

enum { ENTRY_ID_BYTES = 48, ENTRIES_PAGE = 500 };

enum entry_state { ENTRY_WAITING, ENTRY_RUNNING, ENTRY_DELAYED, ENTRY_DEAD };

struct entry {
    enum entry_state state;
    enum job_priority priority; /* of a waiting or running one */
    struct slice stream_id;     /* "1700000000000-0"; {NULL, 0} when delayed */
    int64_t due_unix_ms;        /* delayed: when */
    struct slice consumer;      /* running: who has it */
    int64_t deliveries;
    const redisReply *fields; /* names and values of a stream entry; NULL when delayed */
    struct slice id;          /* fields that every job has; {NULL, 0} = missing */
    struct slice domain;
    struct slice attempt;
    struct slice options;
    struct job_parked parked; /* of a delayed one that waits for an upstream */
    struct slice body;
};

/* "waiting", "running", "delayed", "dead". */
const char *entry_state_name(enum entry_state state);

/* False when the element is not of an entry's shape. */
bool entry_from_stream(const redisReply *element, enum entry_state state, struct entry *out);

/* "<id> <domain> <attempt> <options>\n<body>". */
bool entry_from_delayed(const redisReply *member, int64_t due_unix_ms, struct entry *out);

/* A field of a stream entry for a table cell, at most `most` bytes. */
struct slice entry_cell(const struct entry *entry, const char *name, size_t most);

/* The time of the stream entry, Unix ms; 0 when it has none. */
int64_t entry_time_ms(const struct entry *entry);

/* The whole entry as one JSON object, its body decoded; `name` as in json/writer.h. */
void entry_to_json(const struct entry *entry, struct json_writer *json, const char *name);
/* The body alone: its value, or null where it is none. */
void entry_body_to_json(const struct entry *entry, struct json_writer *json);

/* Is `text` of a stream entry id's form? */
bool entry_is_stream_id(const char *text) MUSTCHECK;

/* ---- from Redis ---------------------------------------------------------------------------- */

/* The entries of a stream, read page by page. entries_open sets it up for all of them, oldest
 * first; the first three may be changed before the first entries_next. */
struct entries {
    char from[ENTRY_ID_BYTES];  /* where the next page begins: "-", "(1700000000000-0" */
    char until[ENTRY_ID_BYTES]; /* "+" */
    size_t most;                /* entries at most; SIZE_MAX = all */

    bool newest_first;
    struct redis_conn *conn;
    const char *stream;
    enum entry_state state;
    redisReply *page;
    size_t at; /* the next of the page */
    bool last; /* there is no page behind this one */
    struct error err;
};

void entries_open(struct entries *entries, struct redis_conn *conn, const char *stream,
                  enum entry_state state);

/* Newest first: before the first entries_next. */
void entries_turn(struct entries *entries);

/* False at the end, and after a failure. */
bool entries_next(struct entries *entries, struct entry *out) MUSTCHECK;

/* Frees the page, with what was borrowed from it. What went wrong, else STATUS_OK; `err` may be
 * NULL. */
enum status entries_close(struct entries *entries, struct error *err);

/* The first entry of the stream whose id, or whose job's id, is `id`; it borrows from `entries`,
 * which is open before and after. False where there is none: then close says why. */
bool entries_find(struct entries *entries, const char *id, struct entry *out) MUSTCHECK;

#endif
