/* chroma_writer/group_write.h - group commit: what several lanes have to write goes to Chroma in
 * one request.
 *
 * Chroma's cost of a request is that of some forty records, and one request is written at a time
 * (writer.h). So a lane puts its records in a line; the lane that gets the lease leads: it takes up
 * to 100 records of one domain from the front of the line, its own and others', and upserts them
 * through its own client, until its own records are through. Then it hands the lease to another
 * waiting lane, or lets it go.
 *
 *     lane 1: legal 64 ----+                       +--> upsert legal 100 (64 of lane 1, 36 of 3)
 *     lane 2: code 10 -----+--> line --> leader ---+--> upsert code 10
 *     lane 3: legal 64 ----+                       +--> upsert legal 28
 *
 * A lane waits here until each of its records has had its turn, so what they point to may stand in
 * its own arena. A request that fails is made again in halves: one lane's bad record stands alone
 * and harms nobody else's. Where nothing passes, all records of the lanes that had a part in the
 * request fail for that domain, and wait.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_GROUP_WRITE_H
#define STILLHOUSE_CHROMA_WRITER_GROUP_WRITE_H

#include "chroma_writer/writer.h"
#include "context/context.h"
#include "rules/task.h"

enum { GROUP_WRITE_MAX = 100 }; /* records a request; more would make Chroma's readers wait */

/* One document to write: `record` in; out how it ended. */
struct record_write {
    struct chroma_record record;
    struct task *task; /* whose it is; judged where it fails. Several records may share one */
    bool failed;
};

/* A lane's records for one domain. The caller fills the first three; the rest is the line's own. */
struct write_order {
    const char *domain;
    struct record_write **list; /* with ids that differ from each other */
    size_t count;               /* made smaller when the rest is given up */

    size_t taken; /* in a leader's hand, or done */
    size_t done;
    struct write_order *next; /* in the line */
};

struct group_write; /* opaque; one a process */

/* Up to `writers` lanes lead at once. `writer` is borrowed. NULL: out of memory. */
struct group_write *group_write_new(struct writer *writer, size_t writers) MUSTCHECK;
void group_write_free(struct group_write *group); /* NULL is fine; nobody may be waiting */

/* Writes all orders and returns when each record stands, or is marked `failed` with its task
 * judged: by Chroma's error, or PARK where the lease was not to be had within 20 s. The calling
 * lane's thread; another lane's thread may judge its tasks meanwhile. */
void group_write_orders(struct group_write *group, struct context *ctx, struct write_order *orders,
                        size_t count);

/* How many records stand in line now, in nobody's hand. */
size_t group_write_waiting(struct group_write *group);

/* Judges the task of a record that could not be written, once. */
void record_write_fail(struct record_write *write, const struct failure *failure);

#endif
