/* client/dns.h - the addresses of one host, found within a bound.
 *
 * Numeric addresses and "localhost" are known at once. Other names go to getaddrinfo(), which no
 * timeout can stop, in a detached thread: the caller waits for it as long as it wants to and may
 * come back for the answer later. There is at most one such thread a host at a time, and it owns
 * all it needs, so the rest may be freed under it.
 *
 * Why not getaddrinfo_a(), which does the same inside glibc: in a child that is forked within a
 * second of a look-up it waits for a thread that the child has not, and never ends (tried); a
 * request that has begun cannot be taken back there either, and its memory must outlive it; other C
 * libraries do not have it.
 *
 *     struct dns_name name;
 *     dns_init(&name, "redis.example");
 *     status = dns_find(&name, 100, &addresses, &err);
 *
 * One thread at a time.
 */
#ifndef STILLHOUSE_CLIENT_DNS_H
#define STILLHOUSE_CLIENT_DNS_H

#include "redis/address.h"

struct dns_lookup; /* shared with the thread */

struct dns_name {
    char host[256];
    struct dns_lookup *lookup; /* NULL: none is under way */
};

void dns_init(struct dns_name *name, const char *host);

/* Does not wait for a thread that still runs. */
void dns_free(struct dns_name *name);

/* The host's addresses, of now or of the look-up that was not waited for last time. TIMEOUT (it
 * goes on), UNREACHABLE (there is no such host), OOM. */
enum status dns_find(struct dns_name *name, int timeout_ms, struct redis_addresses *out,
                     struct error *err) MUSTCHECK;

/* In a child of fork() there is no such thread: forgets the look-up under way. */
void dns_orphan(struct dns_name *name);

#endif
