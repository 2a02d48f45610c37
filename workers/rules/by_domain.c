#include "rules/by_domain.h"

#include <stdlib.h>
#include <string.h>

static int compare(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

static int compare_names(const void *left, const void *right)
{
    const struct by_domain *a = left;
    const struct by_domain *b = right;
    const int order = strcmp(a->domain, b->domain);

    return order != 0 ? order : compare(a->index, b->index);
}

static int compare_firsts(const void *left, const void *right)
{
    const struct by_domain *a = left;
    const struct by_domain *b = right;

    return a->first != b->first ? compare(a->first, b->first) : compare(a->index, b->index);
}

size_t by_domain_size(const struct by_domain *each, size_t count)
{
    size_t size = 0;

    while (size < count && strcmp(each[size].domain, each[0].domain) == 0) {
        size++;
    }
    return size;
}

void by_domain_sort(struct by_domain *each, size_t count)
{
    if (count < 2) {
        return;
    }
    qsort(each, count, sizeof *each, compare_names);
    for (size_t from = 0, size; from < count; from += size) {
        size = by_domain_size(each + from, count - from);
        for (size_t i = from; i < from + size; i++) {
            each[i].first = each[from].index;
        }
    }
    qsort(each, count, sizeof *each, compare_firsts);
}
