/* config/clients.h - Redis, the embedder and Chroma that the settings name: for a worker's threads
 * and the CLI alike.
 *
 * No connection is made. What is opened belongs to the caller and one thread; `settings` and
 * `context` are borrowed as long as it lives. `observer` may be NULL.
 */
#ifndef STILLHOUSE_CONFIG_CLIENTS_H
#define STILLHOUSE_CONFIG_CLIENTS_H

#include "chroma/chroma.h"
#include "config/settings.h"
#include "embedder/embedder.h"
#include "redis/conn.h"

/* redis_conn_free; `url` is STILLHOUSE_REDIS_URL or _CACHE_URL. INVALID says what is wrong. */
enum status clients_open_redis(const char *url, struct redis_timeouts timeouts,
                               struct redis_conn **out, struct error *err) MUSTCHECK;

/* embedder_free. INVALID names the setting that is wrong. */
enum status clients_open_embedder(const struct settings *settings, http_observer *observer,
                                  void *context, struct embedder **out,
                                  struct error *err) MUSTCHECK;

/* chroma_free. `embedder` gives the collections' identity and must outlive the handle. */
struct chroma *clients_open_chroma(const struct settings *settings, const struct embedder *embedder,
                                   http_observer *observer, void *context) MUSTCHECK;

#endif
