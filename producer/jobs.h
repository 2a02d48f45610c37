/* jobs.h - making jobs from what callers hand in: checks, bodies, options. the library alone. */
#ifndef STILLHOUSE_PRODUCER_JOBS_H
#define STILLHOUSE_PRODUCER_JOBS_H

#include "arena.h"
#include "client.h"

/* A job ready to be sent; texts inside, the body in the caller's arena or buffer. */
struct ready_job {
    char id[37];
    char options[640];
    struct queue_item item; /* points into this struct: do not copy it after jobs_finish */
};

/* Check the arguments and append the body to `body`. INVALID names what is wrong. */
enum status jobs_enrich_body(stillhouse_client *client, const char *domain, const char *query,
                             int *k, struct strbuf *body) MUSTCHECK;
enum status jobs_distill_body(stillhouse_client *client, const stillhouse_experience *experience,
                              struct strbuf *body) MUSTCHECK;
enum status jobs_index_body(stillhouse_client *client, const char *domain,
                            const stillhouse_document *documents, size_t count,
                            struct strbuf *body) MUSTCHECK;

/* Fills id, options and item. `unique` may be "". Checks the body's size. */
enum status jobs_finish(stillhouse_client *client, struct ready_job *job, const char *domain,
                        const stillhouse_job_options *options, const char *unique,
                        struct slice body) MUSTCHECK;

/* "<query_hash>.<k>" */
void jobs_unique(const char *query, int k, char out[48]);

#endif
