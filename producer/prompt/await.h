/* prompt/await.h - replies of jobs, waited for within a bound. */
#ifndef STILLHOUSE_PROMPT_AWAIT_H
#define STILLHOUSE_PROMPT_AWAIT_H

#include "client/client.h"

/* Appends what the worker pushed to `out`. NOT_FOUND when nothing came within wait_ms. */
enum status await_reply(stillhouse_client *client, const struct queue *queue, const char *id,
                        int wait_ms, struct strbuf *out, struct error *err) MUSTCHECK;

#endif
