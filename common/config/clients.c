#include "config/clients.h"

#include <string.h>

#include "base/must.h"
#include "redis/sentinel.h"

enum status clients_open_redis(const char *url, struct redis_timeouts timeouts,
                               struct redis_conn **out, struct error *err)
{
    struct redis_url parsed;

    TRY(redis_url_parse(url, &parsed, err));
    *out = redis_open(&parsed, timeouts);
    explicit_bzero(&parsed, sizeof parsed); /* a password may be in it */
    if (*out == NULL) {
        must_die();
    }
    return STATUS_OK;
}

enum status clients_open_embedder(const struct settings *settings, http_observer *observer,
                                  void *context, struct embedder **out, struct error *err)
{
    const struct embedder_config config = {
        .kind = settings->embedder,
        .url = settings->embed_url,
        .model = settings->embed_model,
        .key = settings->embed_key,
        .dimension = (size_t)settings->embed_dimension,
        .timeout_ms = (int)settings->embed_timeout_ms,
        .observer = observer,
        .observer_context = context,
    };

    return embedder_new(&config, out, err);
}

struct chroma *clients_open_chroma(const struct settings *settings, const struct embedder *embedder,
                                   http_observer *observer, void *context)
{
    const struct chroma_config config = {
        .url = settings->chroma_url,
        .tenant = settings->chroma_tenant,
        .database = settings->chroma_database,
        .token = settings->chroma_token,
        .timeout_ms = (int)settings->chroma_timeout_ms,
        .identity = {embedder_model(embedder), embedder_dimension(embedder)},
        .store_text_as_metadata = settings->store_text_as_metadata,
        .observer = observer,
        .observer_context = context,
    };

    return chroma_new(&config);
}
