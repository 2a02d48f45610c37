/* operate/books.h - do the books of a queue balance? The two conservation laws with all their
 * terms, and putting them right.
 *
 *     struct books books;
 *     status = books_look(conn, &queue, &books, &err);
 *     if (!books_balance(&books)) ...
 *
 * One thread, a caller's connection.
 */
#ifndef STILLHOUSE_OPERATE_BOOKS_H
#define STILLHOUSE_OPERATE_BOOKS_H

#include "queue/operate.h"

struct books {
    struct queue_stats stats;
    struct queue_balance off;     /* by how much the sums do not hold */
    size_t orphans;               /* they count as waiting, and nobody will ever run them */
    struct error orphans_refused; /* why they are not looked for, where this user may not */
};

enum status books_look(struct redis_conn *conn, const struct queue *queue, struct books *books,
                       struct error *err) MUSTCHECK;

/* Both sums hold, no key is what it should not be, no job is nobody's. */
bool books_balance(const struct books *books);
bool books_sums_hold(const struct books *books);

/* Puts the sums right; *was says by how much they were off. Nothing where they hold, and where a
 * key is not what it should be. What nobody runs is the workers' to put back. */
enum status books_repair(struct redis_conn *conn, const struct queue *queue,
                         const struct books *books, struct queue_balance *was,
                         struct error *err) MUSTCHECK;

#endif
