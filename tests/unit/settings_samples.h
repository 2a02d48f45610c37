/* settings_samples.h - a good value of every row, and what is asked of the table. */
#ifndef STILLHOUSE_TESTS_SETTINGS_SAMPLES_H
#define STILLHOUSE_TESTS_SETTINGS_SAMPLES_H

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/settings.h"
#include "folder.h"

#define UNUSED __attribute__((unused))

/* A good value of every row that is not its default, and how --print-config shows it. */
static const struct sample {
    const char *flag;
    const char *value;
    const char *shown;
} samples[] = {
    {"redis-url", "redis://me:pass:w@rd@db:7/3", "redis://me:***@db:7/3"},
    {"cache-url", "unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"},
    {"prefix", "other:", "other:"},
    {"record", "distill", "distill"},
    {"chroma-url", "https://chroma.example/api", "https://chroma.example/api"},
    {"chroma-tenant", "t 1", "t 1"},
    {"chroma-database", "d", "d"},
    {"chroma-token", "hush", "***"},
    {"chroma-timeout", "1500ms", "1500ms"},
    {"chroma-writers", "64", "64"},
    {"store-text", "metadata", "metadata"},
    {"twins", "01", "1"},
    {"merge-distance", "0.125", "0.125"},
    {"embedder", "ollama", "ollama"},
    {"embed-url", "http://[::1]:11434", "http://[::1]:11434"},
    {"embed-model", "text-embedding-3-small", "text-embedding-3-small"},
    {"embed-key", "hush", "***"},
    {"embed-dimension", "768", "768"},
    {"embed-max-chars", "8000", "8000"},
    {"long-text", "reject", "reject"},
    {"embed-timeout", "2m", "2m"},
    {"embed-rate", "100/60s", "100/1m"},
    {"ca-file", "/dev/null", "/dev/null"},
    {"client-cert", "/dev/null", "/dev/null"},
    {"client-key", "/dev/zero", "/dev/zero"},
    {"cache-ttl", "5400000ms", "90m"},
    {"cache-fresh", "0", "0"},
    {"experience-ttl", "36500d", "36500d"},
    {"sweep", "0", "0"},
    {"min-quality", "1", "1.0"},
    {"max-body", "3MiB", "3MiB"},
    {"max-backlog", "0", "0"},
    {"max-backlog-bytes", "2GiB", "2GiB"},
    {"max-attempts", "1000", "1000"},
    {"retry-base", "1ms", "1ms"},
    {"retry-max", "30d", "30d"},
    {"max-deliveries", "2", "2"},
    {"max-dead", "0", "0"},
    {"max-dead-bytes", "64MiB", "64MiB"},
    {"dead-ttl", "90d", "90d"},
    {"visibility", "1s", "1s"},
    {"breaker-failures", "1", "1"},
    {"breaker-pause", "10ms", "10ms"},
    {"drain", "0", "0"},
    {"queues", "echo,enrich.3,enrich.12", "echo,enrich.3,enrich.12"},
    {"learn", "/srv/learn.db", "/srv/learn.db"},
    {"learn-similar", "on", "on"},
    {"learn-refresh", "100ms", "100ms"},
    {"learn-ttl", "365d", "365d"},
    {"learn-max", "0", "0"},
    {"lanes", "256", "256"},
    {"batch", "1", "1"},
    {"http", "[::1]:0", "[::1]:0"},
    {"worker-id", "host-1:a.b_c", "host-1:a.b_c"},
    {"log-level", "debug", "debug"},
    {"examples", "messages", "messages"},
    {"holdout", "2.50%", "2.5%"},
    {"outbox", "/var/lib/agent/outbox", "/var/lib/agent/outbox"},
    {"outbox-max", "1GiB", "1GiB"},
};

enum { SAMPLES = sizeof samples / sizeof samples[0] };

static UNUSED const struct sample *sample_of(const char *flag)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        if (strcmp(samples[i].flag, flag) == 0) {
            return &samples[i];
        }
    }
    cr_assert_fail("no sample of --%s in this test", flag);
    return NULL;
}

static struct settings defaults(void)
{
    struct settings settings;
    settings_defaults(&settings);
    return settings;
}

static const char *printed(const struct settings *settings, enum settings_scope scope)
{
    static char out[16384];
    FILE *file = fmemopen(out, sizeof out, "w");
    settings_print(file, settings, scope);
    fclose(file);
    return out;
}

static UNUSED const char *help(enum settings_scope scope)
{
    static char out[16384];
    FILE *file = fmemopen(out, sizeof out, "w");
    settings_print_help(file, scope);
    fclose(file);
    return out;
}

static UNUSED bool has_line(const char *text, const char *name, const char *value)
{
    char line[1200];
    snprintf(line, sizeof line, "%s=%s\n", name, value);
    const char *at = strstr(text, line);
    return at != NULL && (at == text || at[-1] == '\n');
}

#define ACCEPTS(flag, value)                                                                       \
    do {                                                                                           \
        struct settings s_ = defaults();                                                           \
        struct error err_ = {0};                                                                   \
        cr_assert_eq(settings_set(&s_, flag, value, "--" flag, &err_), STATUS_OK, "%s %s: %s",     \
                     flag, value, err_.text);                                                      \
    } while (0)

/* And leaves everything as it was. */
#define REFUSES(flag, value, ...)                                                                  \
    do {                                                                                           \
        struct settings s_ = defaults();                                                           \
        struct settings before_ = s_;                                                              \
        struct error err_ = {0};                                                                   \
        static const char *const texts_[] = {"--" flag ": ", __VA_ARGS__};                         \
        cr_assert_eq(settings_set(&s_, flag, value, "--" flag, &err_), STATUS_INVALID, "%s %s",    \
                     flag, value);                                                                 \
        cr_assert_eq(memcmp(&s_, &before_, sizeof s_), 0);                                         \
        for (size_t i_ = 0; i_ < sizeof texts_ / sizeof texts_[0]; i_++) {                         \
            cr_assert_not_null(strstr(err_.text, texts_[i_]), "found %s, expected %s", err_.text,  \
                               texts_[i_]);                                                        \
        }                                                                                          \
    } while (0)

#endif
