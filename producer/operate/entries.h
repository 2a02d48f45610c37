/* operate/entries.h - jobs as they stand in Redis, for people: waiting, running, delayed, dead.
 *
 * An entry borrows from the reply it was parsed from. Everything in it is foreign: fields may be
 * missing, of any bytes, a body need not be msgpack. One thread.
 */
#ifndef STILLHOUSE_OPERATE_ENTRIES_H
#define STILLHOUSE_OPERATE_ENTRIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "queue/queue.h"

enum { ENTRY_ID_BYTES = 48 };

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

/* False when the element is not of an entry's shape. */
bool entry_from_stream(const redisReply *element, enum entry_state state, struct entry *out);

/* "<id> <domain> <attempt> <options>\n<body>". */
bool entry_from_delayed(const redisReply *member, int64_t due_unix_ms, struct entry *out);

/* A field of a stream entry; {NULL, 0} when there is none. */
struct slice entry_field(const struct entry *entry, const char *name);
/* The same as text for a table cell, at most `most` bytes. */
struct slice entry_cell(const struct entry *entry, const char *name, size_t most);

/* The time of the stream entry, Unix ms; 0 when it has none. */
int64_t entry_time_ms(const struct entry *entry);

/* The whole entry as one JSON object, its body decoded. Check strbuf_ok. */
void entry_to_json(const struct entry *entry, struct strbuf *out);

/* Is `text` of a stream entry id's form? */
bool entry_is_stream_id(const char *text) MUSTCHECK;

/* XRANGE, or XREVRANGE where `newest_first` (then `from` is the upper end). *reply is an array of
 * entries; the caller frees it. */
enum status entries_range(struct redis_conn *conn, const char *key, const char *from,
                          const char *to, size_t count, bool newest_first, redisReply **reply,
                          struct error *err) MUSTCHECK;

/* The first entry of stream `key` whose id, or whose job's id, is `id`. *reply is what *out borrows
 * from; NOT_FOUND leaves it NULL. */
enum status entries_find(struct redis_conn *conn, const char *key, const char *id,
                         enum entry_state state, redisReply **reply, struct entry *out,
                         struct error *err) MUSTCHECK;

#endif
