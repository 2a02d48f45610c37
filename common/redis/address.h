/* redis/address.h - the addresses of a server's name, and in which order they are tried.
 *
 *     struct redis_addresses found;
 *     status = redis_address_find("queue.internal", &found, &err);
 *     redis_address_order(&found, last, false);     // the one that worked last goes first
 */
#ifndef STILLHOUSE_REDIS_ADDRESS_H
#define STILLHOUSE_REDIS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { REDIS_ADDRESS_BYTES = 64, REDIS_ADDRESSES_MAX = 8 };

struct addrinfo;

/* Numeric, IPv4 and IPv6, the resolver's best first. */
struct redis_addresses {
    char text[REDIS_ADDRESSES_MAX][REDIS_ADDRESS_BYTES];
    size_t count;
};

/* What needs no name server: an address is its own, and "localhost" is the loopback (RFC 6761,
 * section 6.3). False for any other name. */
bool redis_address_known(const char *host, struct redis_addresses *out) MUSTCHECK;

/* Asks the system's resolver, which no timeout can stop. UNREACHABLE: there is no such host. Any
 * thread. */
enum status redis_address_find(const char *host, struct redis_addresses *out,
                               struct error *err) MUSTCHECK;

/* Puts `last` first where it is among them or, where it is doubted, last. */
void redis_address_order(struct redis_addresses *addresses, const char *last, bool doubted);

#endif
