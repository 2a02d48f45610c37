/* rule_server.h - an HTTP server that answers by a rule, for upstreams that misbehave for long.
 *
 *     static int rule(void *context, const struct rule_request *request, struct strbuf *answer)
 *     {
 *         strbuf_append_str(answer, "disk full");
 *         return strstr(request->path, "/upsert") != NULL ? 500 : RULE_FORWARD;
 *     }
 *     struct rule_server *server = rule_server_start(rule, &context, chroma_server.url);
 *     ... talk to rule_server_url(server) ...
 *     rule_server_stop(server);
 *
 * One thread a connection; the rule is called from them, one at a time. Knows nothing of Criterion.
 */
#ifndef STILLHOUSE_TESTS_RULE_SERVER_H
#define STILLHOUSE_TESTS_RULE_SERVER_H

#include <stddef.h>

#include "base/strbuf.h"

enum { RULE_FORWARD = 0 }; /* the answer is the server's behind it */

struct rule_request {
    const char *method;
    const char *path;
    const char *body; /* ends with NUL */
};

typedef int rule_function(void *context, const struct rule_request *request, struct strbuf *answer);

struct rule_server; /* opaque */

/* `behind` may be NULL where the rule never forwards. Aborts where it cannot. */
struct rule_server *rule_server_start(rule_function *rule, void *context, const char *behind);
const char *rule_server_url(const struct rule_server *server);

/* How many requests it got. */
size_t rule_server_requests(struct rule_server *server);
void rule_server_stop(struct rule_server *server);

/* The rule of an embedder that works, OpenAI-compatible, two numbers a vector: appends its answer
 * to `request` and returns 200. */
int rule_embed(const struct rule_request *request, struct strbuf *answer);

#endif
