/* rules/by_domain.h - the items of a batch, domain by domain. Pure.
 *
 *     by_domain_sort(each, count); // each[i] = {item's domain, item's index}
 *     for (size_t from = 0, size; from < count; from += size) {
 *         size = by_domain_size(each + from, count - from);
 *         write_domain(each[from].domain, each + from, size);
 *     }
 */
#ifndef STILLHOUSE_RULES_BY_DOMAIN_H
#define STILLHOUSE_RULES_BY_DOMAIN_H

#include <stddef.h>

#include "base/status.h"

struct by_domain {
    const char *domain;
    size_t index; /* of the item in its batch; no two have the same */
    size_t first; /* the least index of its domain: by_domain_sort's own */
};

/* Those of one domain come to stand together, by index; the domain of the least index comes first:
 * who came first is served first, whatever the domains are called. n log n. */
void by_domain_sort(struct by_domain *each, size_t count);

/* How many of a sorted array are of the first one's domain. */
size_t by_domain_size(const struct by_domain *each, size_t count) MUSTCHECK;

#endif
