/* operate/letters.h - the dead letters of a queue: find one, give them another life, let them go.
 *
 *     size_t moved = 0;
 *     status = letters_move_all(conn, &queue, queue_requeue, &moved, &err);
 *
 * They are read as entries of the stream queue->dead (operate/entries.h). One thread.
 */
#ifndef STILLHOUSE_OPERATE_LETTERS_H
#define STILLHOUSE_OPERATE_LETTERS_H

#include "operate/entries.h"
#include "queue/queue.h"

/* queue_requeue or queue_discard. */
typedef enum status letters_move(struct redis_conn *conn, const struct queue *queue,
                                 const struct slice *entries, size_t count, size_t *moved,
                                 struct error *err);

/* All letters that there are now: who dies meanwhile is not meant. *moved grows by what was moved,
 * also where it fails half-way. */
enum status letters_move_all(struct redis_conn *conn, const struct queue *queue, letters_move *move,
                             size_t *moved, struct error *err) MUSTCHECK;

/* The letter whose id, or whose job's id, is `id`. */
enum status letters_move_one(struct redis_conn *conn, const struct queue *queue, letters_move *move,
                             const char *id, size_t *moved, struct error *err) MUSTCHECK;

#endif
