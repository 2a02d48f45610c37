/* chroma_writer/writer.h - one line of orders for what is to be written to Chroma, and the threads
 * that write it: one for each slot of the fleet's lease (chroma_writer/slots.h), made with the
 * first order.
 *
 * Chroma's cost of a request is that of some forty records, and one request is written at a time.
 * So lanes put their orders in a line; the thread that has a slot takes up to 100 records of the
 * domain that waited longest, whoever ordered them, upserts them, deletes what is too many then,
 * and goes on until the line is empty or others' turn has come.
 *
 *     lane 1: legal 64 ----+                        +--> upsert legal 100 (64 of lane 1, 36 of 3)
 *     lane 2: code 10 -----+--> line --> thread ----+--> upsert code 10
 *     lane 3: legal 64 ----+                        +--> upsert legal 28
 *
 * A lane waits in writer_put until each of its records has had its turn, so what they point to may
 * lie in its own arena. What became of a record stands in it, and its own lane judges by that. A
 * request that is refused is made again in halves: one lane's bad record stands alone and harms
 * nobody else's. Where nothing passes, all records of the orders that had a part in the request
 * fail. No slot to be had within 20 s, or Redis' trouble: what nobody has taken is held back.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_WRITER_H
#define STILLHOUSE_CHROMA_WRITER_WRITER_H

#include "context/context.h"
#include "rules/task.h"

enum {
    WRITER_REQUEST_MAX = 100, /* records a request; more would make Chroma's readers wait */
    WRITER_REPLACES_MAX = 2,
    WRITER_RETRY_MS = 1000, /* the wait of a job whose record was held back */
};

struct same_prompt; /* chroma_writer/same_prompt.h */

enum write_state {
    WRITE_WAITS,
    WRITE_PASSED,    /* it stands, and what it replaces is deleted */
    WRITE_FAILED,    /* see `operation`, `error` and the rest */
    WRITE_HELD_BACK, /* what `operation` names was not tried; `error` says why */
};

/* One document to write. */
struct record_write {
    struct chroma_record record;
    struct slice replaces[WRITER_REPLACES_MAX]; /* deleted once this one stands; {NULL, 0} = none */
    int64_t tried_unix_ms;                      /* when its job was tried before; 0 = never */

    /* Of whoever ordered it; the writer does not look at them. */
    struct task *task;          /* several records may share one */
    struct same_prompt *prompt; /* NULL: any number of it may stay */
    bool failed;                /* it does not stand, and its task is judged */

    /* How it ended: the writer's. */
    enum write_state state;
    enum operation operation;
    bool alone;          /* nothing else was in the request that failed */
    bool others_passed;  /* ... but others of the same hand did */
    struct error *error; /* the lane's to free; NULL where it passed */
};

/* What is to be done in one domain: one of three. */
struct write_order {
    const char *domain;

    /* Records to write, with ids that differ from each other. */
    struct record_write **writes;
    size_t count;

    /* Prompts that were seen before: what is too many of them is deleted. */
    struct same_prompt **seen;
    size_t seen_count;

    /* Up to 100 documents to delete where they are expired still. */
    const struct slice *expired;
    size_t expired_count;
    size_t deleted; /* out */

    /* How an order without records ended. */
    enum write_state state;
    enum operation operation; /* what failed or was held back */
    struct error error;       /* why */

    /* The writer's own. */
    size_t dimension;
    size_t size;  /* records, or 1; made smaller when the rest is given up */
    size_t taken; /* in a thread's hand, or done */
    size_t done;
    struct write_order *next; /* in the line */
};

struct writer; /* opaque; one a process */

struct writer_config {
    const struct settings *settings;
    struct metrics *metrics;
    struct upstreams *upstreams;
    atomic_llong *redis_clock_ms; /* see struct context */
    const char *token;            /* names this process in the leases */
};

/* All is borrowed. No thread yet. */
struct writer *writer_new(const struct writer_config *config);
void writer_free(struct writer *writer); /* NULL is fine; nobody may be waiting */

/* Returns when each record of all orders has its state, and each other order its end. Any thread;
 * `ctx` is the caller's, and is said to move while the writer does. */
void writer_put(struct writer *writer, struct context *ctx, struct write_order *orders,
                size_t count);

/* How much stands in line now, in nobody's hand. */
size_t writer_waiting(struct writer *writer);

/* Renews the leases in use. Called by the janitor every second, on its own connection. */
void writer_renew(struct writer *writer, struct redis_conn *conn);

#endif
