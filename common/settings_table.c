#include "settings_table.h"

#include <stddef.h>

#define AT(field) offsetof(struct settings, field)
#define ROOM(field) sizeof(((struct settings *)0)->field)
#define MINUTE 60000.0
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (366 * DAY)

#define TEXT(flag, env, field, least, preset, help, scope)                                         \
    {                                                                                              \
        flag, "STILLHOUSE_" env, SETTING_TEXT, AT(field), ROOM(field), least, ROOM(field) - 1,     \
            preset, "", help, scope, false                                                         \
    }
#define SECRET(flag, env, field, help, scope)                                                      \
    {                                                                                              \
        flag, "STILLHOUSE_" env, SETTING_TEXT, AT(field), ROOM(field), 0, ROOM(field) - 1, "", "", \
            help, scope, true                                                                      \
    }
#define INTEGER(flag, env, field, low, high, preset, help, scope)                                  \
    {                                                                                              \
        flag, "STILLHOUSE_" env, SETTING_INTEGER, AT(field), 0, low, high, preset,                 \
            #low ".." #high, help, scope, false                                                    \
    }
#define DURATION(flag, env, field, low, high, preset, range, help, scope)                          \
    {                                                                                              \
        flag, "STILLHOUSE_" env, SETTING_DURATION, AT(field), 0, low, high, preset, range, help,   \
            scope, false                                                                           \
    }
#define NUMBER(flag, env, field, low, high, preset, help, scope)                                   \
    {                                                                                              \
        flag, "STILLHOUSE_" env, SETTING_NUMBER, AT(field), 0, low, high, preset, #low ".." #high, \
            help, scope, false                                                                     \
    }

/* clang-format off */
const struct settings_entry settings_table[] = {
    TEXT("redis-url", "REDIS_URL", redis_url, 1, "redis://127.0.0.1:6379/0", "the queue's Redis", SETTINGS_ALL),
    TEXT("cache-url", "CACHE_URL", cache_url, 0, "", "a second Redis for cached results and vectors; empty: the same", SETTINGS_ALL),
    TEXT("prefix", "PREFIX", prefix, 1, "sh", "first part of every Redis key", SETTINGS_ALL),
    TEXT("chroma-url", "CHROMA_URL", chroma_url, 1, "http://127.0.0.1:8000", "Chroma's HTTP API", SETTINGS_ALL),
    TEXT("chroma-tenant", "CHROMA_TENANT", chroma_tenant, 1, "default_tenant", "Chroma's tenant", SETTINGS_ALL),
    TEXT("chroma-database", "CHROMA_DATABASE", chroma_database, 1, "default_database", "Chroma's database", SETTINGS_ALL),
    SECRET("chroma-token", "CHROMA_TOKEN", chroma_token, "token for Chroma or the proxy in front of it", SETTINGS_ALL),
    DURATION("chroma-timeout", "CHROMA_TIMEOUT", chroma_timeout_ms, 100, 10 * MINUTE, "30s", "100ms..10m", "bound on one request to Chroma", SETTINGS_ALL),
    INTEGER("chroma-writers", "CHROMA_WRITERS", chroma_writers, 1, 64, "1", "writers to Chroma at once in the whole fleet", SETTINGS_WORKER),
    {"store-text", "STILLHOUSE_STORE_TEXT", SETTING_STORE, AT(store_text_as_metadata), 0, 0, 0, "document", "document|metadata", "where Chroma keeps the text", SETTINGS_ALL, false},
    INTEGER("twins", "TWINS", twins, 1, 64, "8", "experiences kept with the very same prompt in a domain", SETTINGS_WORKER),
    NUMBER("merge-distance", "MERGE_DISTANCE", merge_distance, 0, 2, "0", "experiences nearer than this are merged; 0: off", SETTINGS_WORKER),
    {"embedder", "STILLHOUSE_EMBEDDER", SETTING_EMBEDDER, AT(embedder), 0, 0, 0, "builtin", "builtin|openai|ollama", "what makes vectors", SETTINGS_ALL, false},
    TEXT("embed-url", "EMBED_URL", embed_url, 0, "", "the embedder's URL; empty: its own default", SETTINGS_ALL),
    TEXT("embed-model", "EMBED_MODEL", embed_model, 0, "", "the embedder's model; empty: its own default", SETTINGS_ALL),
    SECRET("embed-key", "EMBED_KEY", embed_key, "the embedder's API key", SETTINGS_ALL),
    INTEGER("embed-dimension", "EMBED_DIMENSION", embed_dimension, 0, 8192, "0", "length of a vector; 0: the embedder's default", SETTINGS_ALL),
    DURATION("embed-timeout", "EMBED_TIMEOUT", embed_timeout_ms, 100, 10 * MINUTE, "30s", "100ms..10m", "bound on one request to the embedder", SETTINGS_ALL),
    {"embed-rate", "STILLHOUSE_EMBED_RATE", SETTING_RATE, AT(embed_rate_count), 0, 0, 0, "", "N/DURATION", "embedder requests of the whole fleet, as 100/60s; empty: no bound", SETTINGS_WORKER, false},
    DURATION("cache-ttl", "CACHE_TTL", cache_ttl_ms, 1000, YEAR, "1h", "1s..366d", "how long results and vectors are cached", SETTINGS_ALL),
    DURATION("cache-fresh", "CACHE_FRESH", cache_fresh_ms, 0, YEAR, "1m", "0..366d", "a stale result younger than this is not refreshed", SETTINGS_ALL),
    DURATION("experience-ttl", "EXPERIENCE_TTL", experience_ttl_ms, 1000, 100 * YEAR, "7d", "1s..36600d", "how long an experience is used", SETTINGS_WORKER),
    NUMBER("min-quality", "MIN_QUALITY", min_quality, 0, 1, "0.5", "experiences under this quality are rejected", SETTINGS_WORKER),
    {"max-body", "STILLHOUSE_MAX_BODY", SETTING_SIZE, AT(max_body_bytes), 0, 64, 16 * 1048576.0, "256KiB", "64..16MiB", "the largest body of a job", SETTINGS_ALL, false},
    INTEGER("max-backlog", "MAX_BACKLOG", max_backlog, 1, 1000000000, "100000", "jobs a queue may hold before it refuses more", SETTINGS_ALL),
    INTEGER("max-attempts", "MAX_ATTEMPTS", max_attempts, 1, 1000, "5", "failures after which a job is dead", SETTINGS_WORKER),
    DURATION("retry-base", "RETRY_BASE", retry_base_ms, 1, DAY, "2s", "1ms..1d", "the first wait before a retry (doubled, full jitter)", SETTINGS_WORKER),
    DURATION("retry-max", "RETRY_MAX", retry_max_ms, 1, 7 * DAY, "5m", "1ms..7d", "the longest wait before a retry", SETTINGS_WORKER),
    INTEGER("max-deliveries", "MAX_DELIVERIES", max_deliveries, 1, 1000, "5", "times a job is handed out without an end before it is dead", SETTINGS_WORKER),
    DURATION("visibility", "VISIBILITY", visibility_ms, 1000, DAY, "1m", "1s..1d", "a running job without a sign of life for so long is taken over", SETTINGS_WORKER),
    INTEGER("breaker-failures", "BREAKER_FAILURES", breaker_failures, 1, 1000, "5", "failures in a row that open a circuit breaker", SETTINGS_WORKER),
    DURATION("breaker-pause", "BREAKER_PAUSE", breaker_pause_ms, 10, DAY, "1m", "10ms..1d", "how long an open breaker waits before it probes", SETTINGS_WORKER),
    DURATION("drain", "DRAIN", drain_ms, 0, DAY, "25s", "0..1d", "what SIGTERM leaves running jobs to finish", SETTINGS_WORKER),
    TEXT("queues", "QUEUES", queues, 1, "enrich,distill,index,echo", "queues to serve", SETTINGS_WORKER),
    INTEGER("lanes", "LANES", lanes, 1, 256, "4", "threads that work side by side", SETTINGS_WORKER),
    INTEGER("batch", "BATCH", batch, 1, 1000, "64", "jobs that a lane takes at once", SETTINGS_WORKER),
    TEXT("http", "HTTP", http, 1, "127.0.0.1:9464", "address of /healthz, /readyz and /metrics, or off", SETTINGS_WORKER),
    TEXT("worker-id", "WORKER_ID", worker_id, 0, "", "this worker's name; empty: host, pid and a random part", SETTINGS_WORKER),
    {"log-level", "STILLHOUSE_LOG_LEVEL", SETTING_LEVEL, AT(log_level), 0, 0, 0, "info", "error|warning|info|debug", "least important lines that are written", SETTINGS_ALL, false},
};
/* clang-format on */

const size_t settings_table_count = sizeof settings_table / sizeof settings_table[0];
