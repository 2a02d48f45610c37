#include "operate/books.h"
#include "queue/operate.h"

enum status books_look(struct redis_conn *conn, const struct queue *queue, struct books *books,
                       struct error *err)
{
    char cursor[QUEUE_CURSOR_BYTES] = "0";

    *books = (struct books){.orphans = 0};
    enum status status = queue_get_stats(conn, queue, &books->stats, err);
    if (status != STATUS_OK) {
        return status;
    }
    books->off = queue_check_balance(&books->stats);
    while (status == STATUS_OK && books->stats.faults == 0 && cursor[0] != '\0') {
        size_t some = 0;
        status = queue_count_orphans(conn, queue, cursor, &some, err);
        books->orphans += some;
    }
    if (status == STATUS_REFUSED) { /* the sums need no such right */
        books->orphans_refused = *err;
        status = STATUS_OK;
    }
    return status;
}

bool books_sums_hold(const struct books *books)
{
    return books->off.jobs == 0 && books->off.dead == 0;
}

bool books_balance(const struct books *books)
{
    return books_sums_hold(books) && books->stats.faults == 0 && books->orphans == 0;
}

enum status books_repair(struct redis_conn *conn, const struct queue *queue,
                         const struct books *books, struct queue_balance *was, struct error *err)
{
    *was = (struct queue_balance){0};
    if (books_sums_hold(books) || books->stats.faults > 0) {
        return STATUS_OK;
    }
    return queue_repair(conn, queue, was, err);
}
