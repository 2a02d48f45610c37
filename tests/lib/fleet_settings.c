#include "fleet_settings.h"

#include <stdio.h>

void test_fleet_settings(struct settings *out, const struct test_server *redis,
                         const struct test_server *chroma)
{
    settings_defaults(out);
    snprintf(out->redis_url, sizeof out->redis_url, "%s", redis->url);
    snprintf(out->chroma_url, sizeof out->chroma_url, "%s", chroma->url);
    out->retry_base_ms = 20;
    out->retry_max_ms = 100;
    out->breaker_pause_ms = 200;
}
