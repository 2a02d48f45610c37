/* recorder/answers.h - the learning store's questions over HTTP.
 *
 *     answers_ask(answers, "/learn/tiers", http_server_defer(request));
 *
 * GET /learn/tiers?domain=acme.shop&days=7 gets what `stillhouse learn tiers --json` prints; names,
 * parameters and rows are those of learn/questions.h. A thread with a reading connection of its own
 * asks, so that neither the endpoint's other pages nor the recorder wait for a question; a second
 * one asks `similar`, which needs the embedder and Chroma:
 *
 *     endpoint --requests--> line --one by one--> reading connection --> http_server_send
 *
 * Answers: 200 and a JSON list. 404: no such question, with those that there are, or `similar`
 * where STILLHOUSE_LEARN_SIMILAR is off. 400: a parameter that there is none of, that is wrong,
 * missing or given twice, or an answer of more than ANSWERS_BYTES_MAX; the sentence names it. 503:
 * the store, the embedder or Chroma is away, or took longer than ANSWERS_LIMIT_MS, or the question
 * waited as long behind others, of which ANSWERS_LINE may wait for either thread.
 *
 * Whoever reaches the endpoint may ask: there is no login.
 */
#ifndef STILLHOUSE_RECORDER_ANSWERS_H
#define STILLHOUSE_RECORDER_ANSWERS_H

#include "base/status.h"
#include "config/settings.h"
#include "http/server.h"

enum { ANSWERS_LIMIT_MS = 2000, ANSWERS_LINE = 32, ANSWERS_BYTES_MAX = 4 << 20 };

#define ANSWERS_PATH "/learn/"

struct answers; /* opaque */

/* Of the learning store that the settings name, which is opened with the first question, as are the
 * embedder and Chroma. OOM: no thread. */
enum status answers_start(const struct settings *settings, struct answers **out,
                          struct error *err) MUSTCHECK;

/* Whoever waits is told 503, and so is at once who asks from now on. From another thread than the
 * endpoint's, which may still be running. */
void answers_stop(struct answers *answers);

/* When the endpoint has ended; NULL is fine. */
void answers_free(struct answers *answers);

/* The endpoint's thread: answers a deferred request, now or later. `path` begins with ANSWERS_PATH
 * and lives as long as the request. */
void answers_ask(struct answers *answers, const char *path, struct http_server_request *request);

#endif
