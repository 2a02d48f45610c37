/* operate/letters.h - the dead letters of a queue: find one, give them another life, let them go.
 *
 *     struct queue queue;
 *     status = queue_init(&queue, "sh", "enrich", &err);
 *     struct letters letters = {conn, &queue, .move = queue_requeue};
 *     status = letters_move_all(&letters, &err);
 *
 * They are read as entries of the stream queue->dead (operate/entries.h). One thread.
 */
#ifndef STILLHOUSE_OPERATE_LETTERS_H
#define STILLHOUSE_OPERATE_LETTERS_H

#include "operate/entries.h"
#include "queue/operate.h"

/* What is done to which letters. */
struct letters {
    struct redis_conn *conn;
    const struct queue *queue;
    enum status (*move)(struct redis_conn *conn, const struct queue *queue, /* queue_requeue or */
                        struct queue_letters letters, size_t *moved,        /* queue_discard */
                        struct error *err);
    size_t moved; /* grows by what was moved, also where it fails half-way */
};

/* All letters that there are now: who dies meanwhile is not meant. */
enum status letters_move_all(struct letters *letters, struct error *err) MUSTCHECK;

/* The letter whose id, or whose job's id, is `id`. */
enum status letters_move_one(struct letters *letters, const char *id, struct error *err) MUSTCHECK;

#endif
