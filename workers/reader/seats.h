/* reader/seats.h - in a fleet of more than READER_SEATS workers, who blocks on the streams: see
 * reader.h.
 *
 * A sorted set of Redis, sh:seats:<hash of the queues>, holds the workers that have a seat. In a
 * smaller fleet all of this costs nothing. Guarded by the reader's turn, but for seats_invite.
 */
#ifndef STILLHOUSE_READER_SEATS_H
#define STILLHOUSE_READER_SEATS_H

#include <pthread.h>

#include "queue/keys.h"
#include "reader/reader.h"
#include "rules/retry.h"

struct seats {
    const struct reader_config *config;
    struct retry_random random;
    char key[KEYS_BYTES]; /* of those who sit, for this set of queues */
    bool has_seat;
    int64_t seated_ms;         /* when it was confirmed last */
    int stood;                 /* turns without a seat since the last invitation */
    int64_t invited_others_ms; /* when this reader did so last */
    pthread_mutex_t bench_lock;
    pthread_cond_t invited; /* or called, or the worker stops */
    bool is_invited;        /* guarded by bench_lock */
};

/* `config` is borrowed. */
void seats_init(struct seats *seats, const struct reader_config *config);
void seats_end(struct seats *seats);

/* Whether this reader may block on the streams. */
enum status seats_sit(struct seats *seats, struct redis_conn *conn, bool *may_block,
                      struct error *err) MUSTCHECK;

/* Waits to be invited; nothing of Redis'. */
void seats_wait(struct seats *seats);

/* Ends such a wait. Any thread. */
void seats_invite(struct seats *seats);

/* After a read: invites another reader where there is more, and gives the seat up when nobody is
 * left to read here. */
enum status seats_share(struct seats *seats, struct redis_conn *conn, const struct takes *takes,
                        bool is_left, struct error *err) MUSTCHECK;

#endif
