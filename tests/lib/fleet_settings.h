/* fleet_settings.h - settings for a fleet on a test's own servers. */
#ifndef STILLHOUSE_TESTS_FLEET_SETTINGS_H
#define STILLHOUSE_TESTS_FLEET_SETTINGS_H

#include "config/settings.h"
#include "servers.h"

/* The defaults, but on these two servers and with waits of 20 to 200 ms after a failure, so that a
 * test sees the next try. Tests change what they are about. */
void test_fleet_settings(struct settings *out, const struct test_server *redis,
                         const struct test_server *chroma);

#endif
