/* client/link.h - a client's way to one Redis: connects where needed, bounded, and does not insist.
 *
 *     struct link *link = link_new("redis://127.0.0.1:6379/0", &bounds, &err);
 *     status = link_run(link, get_results, &request, &err);     // redis/conn.h inside get_results
 *
 * A failed attempt to connect makes the link quiet: for retry_ms every call fails at once. So does
 * a connection on which nothing was ever answered (a server that hangs still accepts), and a server
 * that says "not now". A connection that was lost since the last call is replaced, and the work
 * done anew, within the same call. One thread at a time.
 */
#ifndef STILLHOUSE_CLIENT_LINK_H
#define STILLHOUSE_CLIENT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "redis/conn.h"

struct link; /* opaque; heap */

struct link_bounds {
    int connect_ms; /* looking up the host's name included */
    int command_ms; /* to send, and again to be answered */
    int retry_ms;
};

/* NULL with the reason in *err: INVALID (the URL) or OOM. Does not connect. */
struct link *link_new(const char *url, const struct link_bounds *bounds,
                      struct error *err) MUSTCHECK;
void link_free(struct link *link); /* NULL is fine */

/* Talks over an open connection. Its command timeout is the link's and may be changed meanwhile. */
typedef enum status (*link_work)(struct redis_conn *conn, void *context, struct error *err);

/* Runs `work`, a second time where the connection turns out to have been lost since the last call:
 * it must bear that. Returns its status, or why there is no connection. `err` not NULL. */
enum status link_run(struct link *link, link_work work, void *context, struct error *err) MUSTCHECK;

/* The same for work that must not run twice: asks for a sign of life first. */
enum status link_run_once(struct link *link, link_work work, void *context,
                          struct error *err) MUSTCHECK;

/* link_run for one who waits: all of it, connecting among it, is over by `deadline_ms` (monotonic).
 */
enum status link_run_until(struct link *link, int64_t deadline_ms, link_work work, void *context,
                           struct error *err) MUSTCHECK;

/* The longest that connecting takes, the greeting included. */
int link_connect_bound_ms(const struct link *link);

/* For how many ms calls fail at once; 0: they do not. */
int64_t link_quiet_ms(const struct link *link);

/* Asks for a sign of life where nothing was answered on this connection yet. For works. */
enum status link_prove(struct link *link, struct error *err) MUSTCHECK;

/* In a child of fork(): lets go of the parent's connection without a word, so that the parent goes
 * on with it, and of its look-ups. `torn`: another thread was using the link just then. */
void link_adopt(struct link *link, bool torn);

/* Gives the connection up: what comes over it is not to be trusted. The next call connects anew. */
void link_distrust(struct link *link);

/* False while calls fail at once. */
bool link_is_willing(const struct link *link);

/* The bound on the next write or answer is what is left until `deadline_ms` (monotonic). */
void link_limit(struct redis_conn *conn, int64_t deadline_ms);

#endif
