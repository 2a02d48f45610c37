/* experiences.h - made-up experiences for the benchmarks of Chroma: the same ones for everybody, by
 * number, and the same requests that Stillhouse sends for them, made before the clock starts.
 */
#ifndef STILLHOUSE_TESTS_BENCH_EXPERIENCES_H
#define STILLHOUSE_TESTS_BENCH_EXPERIENCES_H

#include "base/strbuf.h"
#include "chroma/chroma.h"

enum {
    EXPERIENCES_DIMENSION = 384,
    EXPERIENCES_RESULTS = 7, /* what an enrichment with k = 3 asks Chroma for */
    EXPERIENCES_BATCH = 100, /* records an upsert */
    EXPERIENCES_TEXT = 1024,
    EXPERIENCES_DOMAIN = 64,
};

struct experience {
    char task_id[32];
    char prompt[EXPERIENCES_TEXT]; /* ten words */
    char result[EXPERIENCES_TEXT]; /* forty words */
};

void experience_make(struct experience *experience, long serial);

/* Six words, four of them out of the prompt of one of the first `count` experiences; no two alike.
 */
void experience_query(char query[EXPERIENCES_TEXT], long serial, long count);

/* "<prefix><serial % domains>" */
const char *experience_domain(char out[EXPERIENCES_DOMAIN], const char *prefix, long serial,
                              long domains);

/* Writes experiences 0..count-1 into their domains, 100 a request. */
void experiences_store(struct chroma *chroma, const char *prefix, long count, long domains);

/* The body of an upsert of `count` experiences, as Stillhouse sends it. */
void experiences_upsert_body(struct strbuf *out, const char *domain, const long *serials,
                             size_t count);

/* The body of a query with the vectors of `count` queries. */
void experiences_query_body(struct strbuf *out, const long *serials, size_t count,
                            long experiences);

#endif
