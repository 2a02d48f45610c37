#include "redis/address.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

static void add(struct redis_addresses *out, const char *address)
{
    snprintf(out->text[out->count++], REDIS_ADDRESS_BYTES, "%s", address);
}

bool redis_address_known(const char *host, struct redis_addresses *out)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;

    out->count = 0;
    if (strcasecmp(host, "localhost") == 0) {
        add(out, "127.0.0.1");
        add(out, "::1");
        return true;
    }
    if (strlen(host) >= REDIS_ADDRESS_BYTES || getaddrinfo(host, NULL, &hints, &found) != 0) {
        return false;
    }
    freeaddrinfo(found);
    add(out, host);
    return true;
}

enum status redis_address_find(const char *host, struct redis_addresses *out, struct error *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;

    if (redis_address_known(host, out)) {
        return STATUS_OK;
    }
    const int fault = getaddrinfo(host, NULL, &hints, &found);
    for (const struct addrinfo *at = fault == 0 ? found : NULL;
         at != NULL && out->count < REDIS_ADDRESSES_MAX; at = at->ai_next) {
        if (getnameinfo(at->ai_addr, at->ai_addrlen, out->text[out->count], REDIS_ADDRESS_BYTES,
                        NULL, 0, NI_NUMERICHOST) == 0) {
            out->count++;
        }
    }
    if (fault == 0) {
        freeaddrinfo(found);
    }
    if (out->count == 0) {
        return error_set(err, STATUS_UNREACHABLE, "host \"%.128s\": %s", host,
                         fault == 0 ? "no address" : gai_strerror(fault));
    }
    return STATUS_OK;
}

void redis_address_order(struct redis_addresses *addresses, const char *last, bool doubted)
{
    char moved[REDIS_ADDRESS_BYTES];
    size_t at = 0;

    while (at < addresses->count && strcmp(addresses->text[at], last) != 0) {
        at++;
    }
    if (at == addresses->count) {
        return;
    }
    memcpy(moved, addresses->text[at], sizeof moved);
    if (doubted) {
        memmove(addresses->text[at], addresses->text[at + 1],
                (addresses->count - at - 1) * sizeof moved);
        at = addresses->count - 1;
    } else {
        memmove(addresses->text[1], addresses->text[0], at * sizeof moved);
        at = 0;
    }
    memcpy(addresses->text[at], moved, sizeof moved);
}
