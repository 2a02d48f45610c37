/* enqueue/make.h - jobs made of the caller's arguments: checked by the rules that the worker will
 * apply, encoded, named. No I/O.
 *
 *     struct job_draft draft;
 *     status = make_enrich(client, &enrichment, options, &draft, &err);
 *     const struct queue_item item = draft_item(client, &draft);
 */
#ifndef STILLHOUSE_ENQUEUE_MAKE_H
#define STILLHOUSE_ENQUEUE_MAKE_H

#include "client/client.h"
#include "queue/enqueue.h"

enum { JOBS_OPTIONS_BYTES = 640 };

/* One job whose body is in client->body. Borrows the domain. */
struct job_draft {
    char id[37];
    char options[JOBS_OPTIONS_BYTES];
    size_t options_bytes;
    const char *domain;
};

struct documents {
    const char *domain;
    const stillhouse_document *each;
    size_t count;
};

/* Each fills *draft and client->body. INVALID names the field, its value and what was expected;
 * OOM. `options` may be NULL; the other pointers are the caller's arguments and are looked at. */
enum status make_enrich(stillhouse_client *client, const stillhouse_enrichment *enrichment,
                        const stillhouse_job_options *options, struct job_draft *draft,
                        struct error *err) MUSTCHECK;
enum status make_distill(stillhouse_client *client, const stillhouse_experience *experience,
                         const stillhouse_job_options *options, struct job_draft *draft,
                         struct error *err) MUSTCHECK;
enum status make_index(stillhouse_client *client, const struct documents *documents,
                       const stillhouse_job_options *options, struct job_draft *draft,
                       struct error *err) MUSTCHECK;
enum status make_record(stillhouse_client *client, const stillhouse_part *part,
                        struct job_draft *draft, struct error *err) MUSTCHECK;
enum status make_raw(stillhouse_client *client, const stillhouse_job *job, struct job_draft *draft,
                     struct error *err) MUSTCHECK;

/* INVALID where it is none; NULL is none. */
enum status make_check_domain(const char *domain, struct error *err) MUSTCHECK;

/* The draft as queue.h takes it; valid as long as the draft and client->body are left alone. */
struct queue_item draft_item(const stillhouse_client *client, const struct job_draft *draft);

#endif
