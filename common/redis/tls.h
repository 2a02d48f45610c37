/* redis/tls.h - TLS on a connection to Redis, where hiredis has it (1.0 and newer). A leaf: it is
 * given a connected context and closes nothing.
 *
 *     struct redis_tls *tls = NULL;
 *     status = redis_tls_new(&tls, &err);                           // once for many connections
 *     status = redis_tls_start(tls, context, "queue.internal", &err);
 *     ...
 *     redis_tls_free(tls);
 *
 * The server's certificate must be signed by an authority that this process trusts (tls_files.h)
 * and name the host or address of the URL; ours is shown where there is one. TLS 1.2 at least.
 * hiredis' own way checks the signature but not the name, so the session is made here.
 */
#ifndef STILLHOUSE_REDIS_TLS_H
#define STILLHOUSE_REDIS_TLS_H

#include <hiredis/hiredis.h>

#include "base/status.h"

struct redis_tls; /* certificates and rules; heap */

/* INVALID: this program was built without TLS; FAILED: a file of certificates is no good. */
enum status redis_tls_new(struct redis_tls **out, struct error *err) MUSTCHECK;
void redis_tls_free(struct redis_tls *tls); /* NULL is fine */

/* Shakes hands on the open socket of `context`, whose timeouts bound each read and write. `host` is
 * the name that the certificate must have. On failure *err says what is wrong; where its text is
 * empty (UNREACHABLE), errno and the context's own error do. `err` starts out zero. */
enum status redis_tls_start(struct redis_tls *tls, redisContext *context, const char *host,
                            struct error *err) MUSTCHECK;

#endif
