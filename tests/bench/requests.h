/* requests.h - requests to Chroma with bodies that were made before the clock starts. */
#ifndef STILLHOUSE_TESTS_BENCH_REQUESTS_H
#define STILLHOUSE_TESTS_BENCH_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "servers.h"

enum { REQUESTS_URL_BYTES = 256 };

struct request {
    struct strbuf body;
    char url[REQUESTS_URL_BYTES];
    long domain;
    size_t count; /* queries or records in it */
};

struct requests {
    struct request *list;
    size_t count;
};

/* What the requests are about: experiences.h. */
struct requests_plan {
    const char *prefix; /* of the domains */
    long domains;
    long first;       /* the first serial */
    long count;       /* serials first..first+count-1, serial by serial to the next domain */
    long experiences; /* that queries are about */
    size_t batch;     /* at most so many in a request; a request concerns one domain */
    bool writes;      /* upserts; else queries */
};

void requests_make(struct requests *requests, const struct requests_plan *plan);
void requests_free(struct requests *requests);

/* Fills the URLs: collections go by a UUID that the server makes. They must be there. */
void requests_address(struct requests *requests, const struct requests_plan *plan,
                      const struct test_server *chroma);

/* The URL of a collection by name, or of what is behind it: "sh-d0", "<uuid>/query". */
void requests_url(char url[REQUESTS_URL_BYTES], const struct test_server *chroma, const char *path);

#endif
