/* redis/tls.h - TLS on a connection to Redis, where hiredis has it (1.0 and newer); for
 * redis/conn.c alone.
 *
 * The server's certificate must be signed by an authority that this process trusts (tls_files.h)
 * and name the host or address of the URL; ours is shown where there is one. TLS 1.2 at least.
 * hiredis' own way checks the signature but not the name, so the session is made here.
 */
#ifndef STILLHOUSE_REDIS_TLS_H
#define STILLHOUSE_REDIS_TLS_H

#include "redis/conn_internal.h"

/* Shakes hands on the open socket of `conn`, within its connect timeout. On failure conn is closed.
 * INVALID: this program was built without TLS; UNREACHABLE: refused, or the certificate is not
 * good.
 */
enum status redis_tls_start(struct redis_conn *conn, struct error *err) MUSTCHECK;

/* Frees what redis_tls_start keeps between connections. */
void redis_tls_free(struct redis_conn *conn);

#endif
