/* resolve.h - the addresses of one host, found within a bound.
 *
 * Numeric addresses and "localhost" are known at once. Other names go to getaddrinfo(), which no
 * timeout can stop, in a detached thread: the caller waits for it as long as it wants to and may
 * come back for the answer later. There is at most one such thread a host at a time, and it owns
 * all it needs, so the rest may be freed under it. getaddrinfo_a() would do the same inside glibc,
 * but cannot take back a request that has begun either, and other C libraries do not have it.
 *
 * One thread at a time.
 */
#ifndef STILLHOUSE_PRODUCER_RESOLVE_H
#define STILLHOUSE_PRODUCER_RESOLVE_H

#include <stddef.h>

#include "status.h"

enum { RESOLVE_ADDRESSES = 4, RESOLVE_ADDRESS_BYTES = 64 };

struct resolve_lookup; /* shared with the thread */

struct resolve {
    char host[256];
    char addresses[RESOLVE_ADDRESSES][RESOLVE_ADDRESS_BYTES]; /* numeric */
    size_t count;
    size_t next; /* the one to try; count = none left */
    struct resolve_lookup *lookup;
};

void resolve_init(struct resolve *resolve, const char *host);

/* Does not wait for a thread that still runs. */
void resolve_free(struct resolve *resolve);

/* The address to try now, numeric, looked up where none is left. TIMEOUT (the look-up goes on),
 * UNREACHABLE (there is no such host), OOM. */
enum status resolve_address(struct resolve *resolve, int timeout_ms,
                            char out[RESOLVE_ADDRESS_BYTES], struct error *err) MUSTCHECK;

/* In a child of fork() there is no such thread: forgets the look-up under way. */
void resolve_orphan(struct resolve *resolve);

/* The address given last did not answer: the next call gives another one. */
void resolve_skip(struct resolve *resolve);

/* The connection was lost: the host may have moved, so the next call looks it up anew. */
void resolve_forget(struct resolve *resolve);

#endif
