/* chroma_jobs.h - the experiences of experiences.h as jobs: enrich, distill, index. */
#ifndef STILLHOUSE_TESTS_BENCH_CHROMA_JOBS_H
#define STILLHOUSE_TESTS_BENCH_CHROMA_JOBS_H

#include "queue/queue.h"

enum { CHROMA_JOBS_DOCUMENTS = 100 /* of an index job */ };

struct chroma_jobs {
    struct redis_conn *conn;
    struct queue queue;
    const char *prefix; /* of the domains */
    long domains;
    long first;       /* the first serial */
    long count;       /* queries, experiences or documents */
    long experiences; /* that queries are about */
};

/* For drain.h: each takes a struct chroma_jobs and enqueues all of it. */
void chroma_jobs_enrich(void *context);
void chroma_jobs_distill(void *context);
void chroma_jobs_index(void *context);

#endif
