#include "queue/keys.h"

#include <stdio.h>

const char *keys_cache(char out[KEYS_BYTES], const char *prefix, const char *domain,
                       const char *query_hash)
{
    snprintf(out, KEYS_BYTES, "%s:cache:{%s}:%s", prefix, domain, query_hash);
    return out;
}

const char *keys_epoch(char out[KEYS_BYTES], const char *prefix, const char *domain)
{
    snprintf(out, KEYS_BYTES, "%s:epoch:{%s}", prefix, domain);
    return out;
}

const char *keys_twins(char out[KEYS_BYTES], const char *prefix, const char *domain,
                       const char *text_hash)
{
    snprintf(out, KEYS_BYTES, "%s:twins:{%s}:%s", prefix, domain, text_hash);
    return out;
}

const char *keys_seen(char out[KEYS_BYTES], const char *prefix, const char *domain, int64_t period,
                      const char *text_hash, int digits)
{
    snprintf(out, KEYS_BYTES, "%s:seen:{%s}:%lld:%.*s", prefix, domain, (long long)period, digits,
             text_hash);
    return out;
}

const char *keys_embed(char out[KEYS_BYTES], const char *prefix, const char *model,
                       const char *text_hash)
{
    snprintf(out, KEYS_BYTES, "%s:embed:%s:%s", prefix, model, text_hash);
    return out;
}

const char *keys_plain(char out[KEYS_BYTES], const char *prefix, const char *name)
{
    snprintf(out, KEYS_BYTES, "%s:%s", prefix, name);
    return out;
}

const char *keys_worker(char out[KEYS_BYTES], const char *prefix, const char *id)
{
    snprintf(out, KEYS_BYTES, "%s:worker:%s", prefix, id);
    return out;
}

const char *keys_lease(char out[KEYS_BYTES], const char *prefix, size_t slot)
{
    snprintf(out, KEYS_BYTES, "%s:lease:chroma:%zu", prefix, slot);
    return out;
}

const char *keys_alive(char out[KEYS_BYTES], const char *prefix, const char *id)
{
    snprintf(out, KEYS_BYTES, "%s:lease:worker:%s", prefix, id);
    return out;
}

const char *keys_rate(char out[KEYS_BYTES], const char *prefix, const char *name)
{
    snprintf(out, KEYS_BYTES, "%s:rate:%s", prefix, name);
    return out;
}

const char *keys_upstream(char out[KEYS_BYTES], const char *prefix, const char *upstream,
                          const char *operation)
{
    snprintf(out, KEYS_BYTES, "%s:upstream:%s:%s", prefix, upstream, operation);
    return out;
}
