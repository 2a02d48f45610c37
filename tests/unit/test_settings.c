#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"

/* A good value of every row that is not its default, and how --print-config shows it. */
static const struct sample {
    const char *flag;
    const char *value;
    const char *shown;
} samples[] = {
    {"redis-url", "redis://me:pass:w@rd@db:7/3", "redis://me:***@db:7/3"},
    {"cache-url", "unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"},
    {"prefix", "other:", "other:"},
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
    {"embed-timeout", "2m", "2m"},
    {"embed-rate", "100/60s", "100/1m"},
    {"cache-ttl", "5400000ms", "90m"},
    {"cache-fresh", "0", "0"},
    {"experience-ttl", "36500d", "36500d"},
    {"min-quality", "1", "1.0"},
    {"max-body", "3MiB", "3MiB"},
    {"max-backlog", "0", "0"},
    {"max-attempts", "1000", "1000"},
    {"retry-base", "1ms", "1ms"},
    {"retry-max", "30d", "30d"},
    {"max-deliveries", "2", "2"},
    {"max-dead", "0", "0"},
    {"dead-ttl", "90d", "90d"},
    {"visibility", "1s", "1s"},
    {"breaker-failures", "1", "1"},
    {"breaker-pause", "10ms", "10ms"},
    {"drain", "0", "0"},
    {"queues", "echo,enrich.3,enrich.12", "echo,enrich.3,enrich.12"},
    {"lanes", "256", "256"},
    {"batch", "1", "1"},
    {"http", "[::1]:0", "[::1]:0"},
    {"worker-id", "host-1:a.b_c", "host-1:a.b_c"},
    {"log-level", "debug", "debug"},
    {"outbox", "/var/lib/agent/outbox", "/var/lib/agent/outbox"},
    {"outbox-max", "1GiB", "1GiB"},
};

enum { SAMPLES = sizeof samples / sizeof samples[0] };

static const struct sample *sample_of(const char *flag)
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

static const char *help(enum settings_scope scope)
{
    static char out[16384];
    FILE *file = fmemopen(out, sizeof out, "w");
    settings_print_help(file, scope);
    fclose(file);
    return out;
}

static bool has_line(const char *text, const char *name, const char *value)
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

/* ---- the table ----------------------------------------------------------------------------- */

Test(settings, defaults_are_those_of_the_contract)
{
    struct settings s = defaults();
    cr_assert_str_eq(s.redis_url, "redis://127.0.0.1:6379/0");
    cr_assert_str_eq(s.cache_url, "");
    cr_assert_str_eq(s.prefix, "sh");
    cr_assert_str_eq(s.chroma_url, "http://127.0.0.1:8000");
    cr_assert_str_eq(s.chroma_tenant, "default_tenant");
    cr_assert_str_eq(s.chroma_database, "default_database");
    cr_assert_str_eq(s.chroma_token, "");
    cr_assert_eq(s.chroma_timeout_ms, 30000);
    cr_assert_eq(s.chroma_writers, 1);
    cr_assert_not(s.store_text_as_metadata);
    cr_assert_eq(s.twins, 8);
    cr_assert_eq(s.merge_distance, 0);
    cr_assert_eq(s.embedder, EMBEDDER_BUILTIN);
    cr_assert_str_eq(s.embed_url, "");
    cr_assert_str_eq(s.embed_model, "");
    cr_assert_str_eq(s.embed_key, "");
    cr_assert_eq(s.embed_dimension, 0);
    cr_assert_eq(s.embed_timeout_ms, 30000);
    cr_assert_eq(s.embed_rate_count, 0);
    cr_assert_eq(s.embed_rate_window_ms, 0);
    cr_assert_eq(s.cache_ttl_ms, 3600000);
    cr_assert_eq(s.cache_fresh_ms, 60000);
    cr_assert_eq(s.experience_ttl_ms, 7 * 86400000LL);
    cr_assert_eq(s.min_quality, 0.5);
    cr_assert_eq(s.max_body_bytes, 256 * 1024);
    cr_assert_eq(s.max_backlog, 100000);
    cr_assert_eq(s.max_attempts, 5);
    cr_assert_eq(s.retry_base_ms, 2000);
    cr_assert_eq(s.retry_max_ms, 300000);
    cr_assert_eq(s.max_deliveries, 5);
    cr_assert_eq(s.visibility_ms, 60000);
    cr_assert_eq(s.breaker_failures, 5);
    cr_assert_eq(s.breaker_pause_ms, 60000);
    cr_assert_eq(s.drain_ms, 25000);
    cr_assert_str_eq(s.queues, "enrich,distill,index,echo");
    cr_assert_eq(s.lanes, 4);
    cr_assert_eq(s.batch, 64);
    cr_assert_str_eq(s.http, "127.0.0.1:9464");
    cr_assert_str_eq(s.worker_id, "");
    cr_assert_eq(s.log_level, LOG_INFO);
}

Test(settings, defaults_pass_the_cross_checks)
{
    struct settings s = defaults();
    struct error err = {0};
    cr_assert_eq(settings_finish(&s, &err), STATUS_OK, "%s", err.text);
}

Test(settings, a_flag_and_its_variable_have_one_name)
{
    cr_assert_eq(settings_count(), SAMPLES);
    for (size_t i = 0; i < settings_count(); i++) {
        struct settings_row_info row = settings_row(i);
        char env[80] = "STILLHOUSE_";
        for (const char *c = row.flag; *c != '\0'; c++) {
            size_t bytes = strlen(env);
            env[bytes] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
            env[bytes + 1] = '\0';
        }
        cr_assert_str_eq(row.env, env);
        cr_assert_not_null(row.help);
        cr_assert((row.scope & SETTINGS_ALL) != 0, "%s", row.flag);
        for (size_t other = 0; other < i; other++) {
            cr_assert_str_neq(row.flag, settings_row(other).flag);
        }
    }
    cr_assert_null(settings_row(settings_count()).flag);
}

Test(settings, every_row_can_be_set_by_its_flag)
{
    for (size_t i = 0; i < settings_count(); i++) {
        struct settings_row_info row = settings_row(i);
        const struct sample *sample = sample_of(row.flag);
        struct settings s = defaults();
        struct error err = {0};
        cr_assert_not(has_line(printed(&s, SETTINGS_ALL), row.env, sample->shown));
        cr_assert_eq(settings_set(&s, row.flag, sample->value, "here", &err), STATUS_OK, "%s",
                     err.text);
        cr_assert(has_line(printed(&s, SETTINGS_ALL), row.env, sample->shown), "%s: found %s",
                  row.flag, printed(&s, SETTINGS_ALL));
        cr_assert_eq(settings_finish(&s, &err), STATUS_OK, "%s: %s", row.flag, err.text);
    }
}

Test(settings, every_row_can_be_set_by_its_variable)
{
    for (size_t i = 0; i < settings_count(); i++) {
        struct settings_row_info row = settings_row(i);
        const struct sample *sample = sample_of(row.flag);
        struct settings s = defaults();
        struct error err = {0};
        setenv(row.env, sample->value, 1);
        cr_assert_eq(settings_load_env(&s, row.scope, &err), STATUS_OK, "%s", err.text);
        cr_assert(has_line(printed(&s, SETTINGS_ALL), row.env, sample->shown), "%s", row.flag);
        unsetenv(row.env);
    }
}

Test(settings, the_two_values_of_a_rate_are_read)
{
    struct settings s = defaults();
    struct error err = {0};
    cr_assert_eq(settings_set(&s, "embed-rate", "250/1500ms", "here", &err), STATUS_OK);
    cr_assert_eq(s.embed_rate_count, 250);
    cr_assert_eq(s.embed_rate_window_ms, 1500);
    cr_assert_eq(settings_set(&s, "embed-rate", "", "here", &err), STATUS_OK);
    cr_assert_eq(s.embed_rate_count, 0);
    cr_assert_eq(s.embed_rate_window_ms, 0);
}

Test(settings, choices_become_their_enums)
{
    struct settings s = defaults();
    struct error err = {0};
    cr_assert_eq(settings_set(&s, "embedder", "openai", "here", &err), STATUS_OK);
    cr_assert_eq(s.embedder, EMBEDDER_OPENAI);
    cr_assert_eq(settings_set(&s, "embedder", "ollama", "here", &err), STATUS_OK);
    cr_assert_eq(s.embedder, EMBEDDER_OLLAMA);
    cr_assert_eq(settings_set(&s, "store-text", "metadata", "here", &err), STATUS_OK);
    cr_assert(s.store_text_as_metadata);
    cr_assert_eq(settings_set(&s, "store-text", "document", "here", &err), STATUS_OK);
    cr_assert_not(s.store_text_as_metadata);
    static const enum log_level levels[] = {LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    static const char *const names[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(settings_set(&s, "log-level", names[i], "here", &err), STATUS_OK);
        cr_assert_eq(s.log_level, levels[i]);
    }
}

Test(settings, an_unknown_name_is_not_found)
{
    struct settings s = defaults();
    struct error err = {0};
    cr_assert_eq(settings_set(&s, "lane", "4", "--lane", &err), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(err.text, "--lane"));
    cr_assert_eq(settings_set(&s, "", "4", "--", NULL), STATUS_NOT_FOUND);
}

/* ---- ranges and texts ---------------------------------------------------------------------- */

Test(settings, both_ends_of_every_range_are_in_it)
{
    int ranges = 0;
    for (size_t i = 0; i < settings_count(); i++) {
        struct settings_row_info row = settings_row(i);
        const char *dots = strstr(row.range, "..");
        char low[32] = "";
        struct settings s = defaults();
        struct error err = {0};
        if (dots == NULL) {
            continue;
        }
        memcpy(low, row.range, (size_t)(dots - row.range));
        cr_assert_eq(settings_set(&s, row.flag, low, "low", &err), STATUS_OK, "%s", err.text);
        cr_assert_eq(settings_set(&s, row.flag, dots + 2, "high", &err), STATUS_OK, "%s", err.text);
        ranges++;
    }
    cr_assert_eq(ranges, 25);
}

Test(settings, beyond_a_range_is_refused_with_its_ends)
{
    REFUSES("lanes", "0", "--lanes: \"0\" is not an integer from 1 to 256");
    REFUSES("lanes", "257", "from 1 to 256");
    REFUSES("batch", "1001", "from 1 to 1000");
    REFUSES("twins", "65", "from 1 to 64");
    REFUSES("chroma-writers", "0", "from 1 to 64");
    REFUSES("chroma-timeout", "9ms", "\"9ms\" is not a duration", "from 10ms to 1h");
    REFUSES("chroma-timeout", "3600001ms", "from 10ms to 1h");
    REFUSES("visibility", "999ms", "from 1s to 1d");
    REFUSES("merge-distance", "2.01", "\"2.01\" is not a number from 0 to 2");
    REFUSES("min-quality", "1.0000001", "from 0 to 1");
    REFUSES("max-body", "63", "\"63\" is not a size", "from 64 to 64MiB");
    REFUSES("max-body", "65MiB", "from 64 to 64MiB");
    REFUSES("max-backlog", "1000000001", "from 0 to 1000000000");
    REFUSES("embed-dimension", "16385", "from 0 to 16384");
}

Test(settings, what_is_no_integer_is_refused)
{
    static const char *const bad[] = {"",    " ",   "-1",  "+1",   "1 ",    " 1",
                                      "1.0", "1e1", "0x1", "four", "1,000", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("lanes", bad[i], "is not an integer from 1 to 256");
    }
}

Test(settings, what_is_no_number_is_refused)
{
    static const char *const bad[] = {"",    ".",   "-0",  "+1",    "nan",
                                      "inf", "0x1", "1e0", "0.5.5", "0,5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("min-quality", bad[i], "is not a number from 0 to 1");
    }
    ACCEPTS("min-quality", ".5");
    ACCEPTS("min-quality", "1.");
    ACCEPTS("min-quality", "0.333333333333333333333333333");
}

Test(settings, what_is_no_duration_is_refused)
{
    static const char *const bad[] = {"",   "60",   "s",    "-1s", "1 s",
                                      "1S", "1.5s", "1s1s", "1y",  "9223372036854775807d"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("visibility", bad[i], "is not a duration", "250ms");
    }
}

Test(settings, sizes_are_bytes_kib_or_mib)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {
        {"1000", 1000}, {"1000B", 1000}, {"1KiB", 1024}, {"256KiB", 262144}, {"1MiB", 1048576}};
    static const char *const bad[] = {"",
                                      "KiB",
                                      "1kb",
                                      "1KB",
                                      "1 KiB",
                                      "1KiBs",
                                      "-1KiB",
                                      "0.5MiB",
                                      "1GiB",
                                      "9007199254740993KiB",
                                      "9223372036854775807MiB"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct settings s = defaults();
        cr_assert_eq(settings_set(&s, "max-body", good[i].text, "here", NULL), STATUS_OK);
        cr_assert_eq(s.max_body_bytes, good[i].bytes, "%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("max-body", bad[i], "is not a size");
    }
}

Test(settings, what_is_no_rate_is_refused)
{
    static const char *const bad[] = {"100",
                                      "/",
                                      "/1s",
                                      "100/",
                                      "0/1s",
                                      "1/0",
                                      "-1/1s",
                                      "1/1",
                                      "1/1s/",
                                      "1000001/1s",
                                      "99999999999999999999/1s",
                                      "a/1s"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("embed-rate", bad[i], "is not a rate such as 100/60s");
    }
    ACCEPTS("embed-rate", "1000000/1ms");
}

Test(settings, a_word_that_is_no_choice_is_refused)
{
    REFUSES("embedder", "Builtin", "\"Builtin\" is not one of builtin|openai|ollama");
    REFUSES("embedder", "", "is not one of");
    REFUSES("embedder", "builtin|openai", "is not one of");
    REFUSES("embedder", "builti", "is not one of");
    REFUSES("store-text", "both", "document|metadata");
    REFUSES("log-level", "warn", "error|warning|info|debug");
}

Test(settings, queues_are_known_and_named_once)
{
    ACCEPTS("queues", "echo");
    ACCEPTS("queues", "index,enrich.0,enrich.9999");
    REFUSES("queues", "", "must not be empty");
    REFUSES("queues", "enrich,record,echo", "\"record\" is not a queue", "enrich, distill");
    REFUSES("queues", "enrich,", "\"\" is not a queue");
    REFUSES("queues", ",enrich", "\"\" is not a queue");
    REFUSES("queues", "enrich, echo", "\" echo\" is not a queue");
    REFUSES("queues", "enrich.", "\"enrich.\" is not a queue");
    REFUSES("queues", "enrich.x", "\"enrich.x\" is not a queue");
    REFUSES("queues", "enrich.1x", "\"enrich.1x\" is not a queue");
    REFUSES("queues", "enrich.12345", "\"enrich.12345\" is not a queue");
    REFUSES("queues", "enriched", "\"enriched\" is not a queue");
    REFUSES("queues", "enrich.1,", "\"\" is not a queue");
    REFUSES("queues", "Echo", "\"Echo\" is not a queue");
    REFUSES("queues", "echo,enrich.3,enrich,enrich.3", "\"enrich.3\" is named twice");
    REFUSES("queues", "echo,echo", "\"echo\" is named twice");
}

Test(settings, an_address_is_host_and_port_or_off)
{
    static const char *const bad[] = {
        "on",      "9464",          ":9464",    "127.0.0.1", "127.0.0.1:",  "127.0.0.1:x",
        "h:65536", "h:-1",          "::1:9464", "[::1]",     "[::1]9464",   "[::1:9464",
        "[]:9464", "http://h:9464", "h :9464",  "h:9464/",   "[host]:9464", "h:1:2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("http", bad[i], "is not an address such as 127.0.0.1:9464");
    }
    REFUSES("http", "", "must not be empty");
    ACCEPTS("http", "off");
    ACCEPTS("http", "0.0.0.0:0");
    ACCEPTS("http", "localhost:65535");
    ACCEPTS("http", "[::ffff:127.0.0.1]:80");
}

Test(settings, an_address_is_split)
{
    char host[SETTINGS_HOST_BYTES] = "untouched";
    int port = -1;
    cr_assert(settings_split_address("worker-1.example:080", host, &port));
    cr_assert_str_eq(host, "worker-1.example");
    cr_assert_eq(port, 80);
    cr_assert(settings_split_address("[fe80::1]:9464", host, &port));
    cr_assert_str_eq(host, "fe80::1");
    cr_assert_eq(port, 9464);

    char text[SETTINGS_HOST_BYTES + 10];
    memset(text, 'h', SETTINGS_HOST_BYTES - 1);
    strcpy(text + SETTINGS_HOST_BYTES - 1, ":1");
    cr_assert(settings_split_address(text, host, &port));
    memset(text, 'h', SETTINGS_HOST_BYTES);
    strcpy(text + SETTINGS_HOST_BYTES, ":1");
    cr_assert_not(settings_split_address(text, host, &port));
}

Test(settings, names_that_stand_in_keys_are_checked)
{
    REFUSES("prefix", "", "must not be empty");
    REFUSES("prefix", "a b", "\"a b\" is not a prefix");
    REFUSES("prefix", "{sh}", "is not a prefix");
    REFUSES("prefix", "s\xc3\xbc", "is not a prefix");
    REFUSES("worker-id", "a b", "is not an id");
    REFUSES("worker-id", "a/b", "is not an id");
    ACCEPTS("worker-id", "");
}

Test(settings, a_text_must_fit_and_be_plain)
{
    char text[SETTINGS_TEXT_BYTES + 1];
    struct settings s = defaults();
    struct error err = {0};
    memset(text, 'x', sizeof text);
    text[SETTINGS_TEXT_BYTES - 1] = '\0';
    cr_assert_eq(settings_set(&s, "chroma-token", text, "here", &err), STATUS_OK);
    cr_assert_str_eq(s.chroma_token, text);
    text[SETTINGS_TEXT_BYTES - 1] = 'x';
    text[SETTINGS_TEXT_BYTES] = '\0';
    cr_assert_eq(settings_set(&s, "chroma-token", text, "here", &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "here: the value has 512 bytes, expected at most 511");
    REFUSES("chroma-tenant", "a\nb", "holds a control character");
    REFUSES("chroma-token", "a\r\nX-Other: b", "holds a control character");
    REFUSES("embed-model", "\x7f", "holds a control character");
    REFUSES("chroma-tenant", "", "must not be empty");
    REFUSES("redis-url", "", "must not be empty");
    ACCEPTS("cache-url", "");
    ACCEPTS("embed-key", "");
    ACCEPTS("chroma-tenant", "M\xc3\xbcller");
}

Test(settings, a_shorter_text_leaves_nothing_of_the_longer_one)
{
    struct settings s = defaults();
    cr_assert_eq(settings_set(&s, "embed-key", "long-secret", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_set(&s, "embed-key", "x", "here", NULL), STATUS_OK);
    for (size_t i = 1; i < sizeof s.embed_key; i++) {
        cr_assert_eq(s.embed_key[i], '\0');
    }
}

Test(settings, foreign_bytes_in_errors_are_made_harmless)
{
    REFUSES("lanes", "\x1b[2J%s%n\"\xff", "\"?[2J%s%n??\" is not an integer");
    char text[400];
    struct settings s = defaults();
    struct error err = {0};
    memset(text, '9', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    cr_assert_eq(settings_set(&s, "batch", text, "--batch", &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "...\" is not an integer from 1 to 1000"));
}

Test(settings, whatever_is_given_to_whatever_row_is_taken_or_refused)
{
    static const char *const strange[] = {
        "",     "0",  "-",    ".",        ",", "|",  "/",  "[",   "]",       ":",       "[]:", "..",
        "1..2", "{}", "%n%s", "\x80\xff", "=", "||", "1/", "[:]", "enrich.", "1KiBKiB", "off:"};
    for (size_t i = 0; i < settings_count(); i++) {
        for (size_t k = 0; k < sizeof strange / sizeof strange[0]; k++) {
            struct settings s = defaults();
            struct error err = {0};
            enum status status = settings_set(&s, settings_row(i).flag, strange[k], "x", &err);
            cr_assert(status == STATUS_OK || (status == STATUS_INVALID && err.text[0] == 'x'));
            cr_assert_not_null(printed(&s, SETTINGS_ALL));
        }
    }
}

/* ---- environment --------------------------------------------------------------------------- */

Test(settings, a_bad_variable_is_named)
{
    struct settings s = defaults();
    struct error err = {0};
    setenv("STILLHOUSE_LANES", "0", 1);
    cr_assert_eq(settings_load_env(&s, SETTINGS_WORKER, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "STILLHOUSE_LANES: \"0\" is not an integer from 1 to 256");
}

Test(settings, variables_of_another_program_are_not_read)
{
    struct settings s = defaults();
    struct error err = {0};
    setenv("STILLHOUSE_LANES", "many", 1);
    setenv("STILLHOUSE_PREFIX", "mine", 1);
    cr_assert_eq(settings_load_env(&s, SETTINGS_CLI, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(s.lanes, 4);
    cr_assert_str_eq(s.prefix, "mine");
}

/* A file of these bytes; its name is in a buffer that the next call overwrites. */
static const char *file_of(const char *text, size_t bytes)
{
    static char path[64];
    strcpy(path, "/tmp/stillhouse-settings-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, bytes), (ssize_t)bytes);
    close(fd);
    return path;
}

static enum status load_with_file(const char *variable, const char *text, size_t bytes,
                                  struct settings *s, struct error *err)
{
    const char *path = file_of(text, bytes);
    *s = defaults();
    setenv(variable, path, 1);
    enum status status = settings_load_env(s, SETTINGS_ALL, err);
    unsetenv(variable);
    unlink(path);
    return status;
}

Test(settings, a_secret_may_stand_in_a_file)
{
    static const char *const texts[] = {"top secret", "top secret\n", "top secret\r\n",
                                        "top secret\nsecond line\n"};
    struct settings s;
    struct error err = {0};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(
            load_with_file("STILLHOUSE_EMBED_KEY_FILE", texts[i], strlen(texts[i]), &s, &err),
            STATUS_OK, "%s", err.text);
        cr_assert_str_eq(s.embed_key, "top secret");
    }
    cr_assert_eq(load_with_file("STILLHOUSE_CHROMA_TOKEN_FILE", "t", 1, &s, &err), STATUS_OK);
    cr_assert_str_eq(s.chroma_token, "t");
    cr_assert_eq(load_with_file("STILLHOUSE_REDIS_URL_FILE", "redis://u:p@h/", 14, &s, &err),
                 STATUS_OK);
    cr_assert_str_eq(s.redis_url, "redis://u:p@h/");
}

Test(settings, what_is_no_secret_is_not_looked_for_in_files)
{
    struct settings s;
    struct error err = {0};
    cr_assert_eq(load_with_file("STILLHOUSE_LANES_FILE", "7", 1, &s, &err), STATUS_OK);
    cr_assert_eq(s.lanes, 4);
}

Test(settings, a_file_without_a_usable_line_is_named)
{
    char text[2 * SETTINGS_TEXT_BYTES];
    struct settings s;
    struct error err = {0};
    memset(text, 'x', sizeof text);
    static const struct {
        const char *text;
        size_t bytes;
        const char *wrong;
    } bad[] = {{"", 0, "is empty"},
               {"\n", 1, "is empty"},
               {"\r\nx", 3, "is empty"},
               {"a\0b\n", 4, "holds a NUL byte"},
               {"a\tb\n", 4, "holds a control character"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(
            load_with_file("STILLHOUSE_EMBED_KEY_FILE", bad[i].text, bad[i].bytes, &s, &err),
            STATUS_INVALID);
        cr_assert_eq(strncmp(err.text, "STILLHOUSE_EMBED_KEY_FILE: ", 27), 0, "%s", err.text);
        cr_assert_not_null(strstr(err.text, bad[i].wrong), "%s", err.text);
    }
    cr_assert_eq(load_with_file("STILLHOUSE_EMBED_KEY_FILE", text, sizeof text, &s, &err),
                 STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "is too long"), "%s", err.text);
    cr_assert_eq(load_with_file("STILLHOUSE_EMBED_KEY_FILE", text, SETTINGS_TEXT_BYTES, &s, &err),
                 STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "has 512 bytes"), "%s", err.text);
    cr_assert_eq(
        load_with_file("STILLHOUSE_EMBED_KEY_FILE", text, SETTINGS_TEXT_BYTES - 1, &s, &err),
        STATUS_OK);
    cr_assert_eq(strlen(s.embed_key), SETTINGS_TEXT_BYTES - 1);
}

Test(settings, a_file_that_cannot_be_read_is_named)
{
    static const char *const paths[] = {"/nonexistent/key", "/"};
    struct settings s = defaults();
    struct error err = {0};
    for (size_t i = 0; i < 2; i++) {
        setenv("STILLHOUSE_EMBED_KEY_FILE", paths[i], 1);
        cr_assert_eq(settings_load_env(&s, SETTINGS_CLI, &err), STATUS_INVALID);
        char expected[80];
        snprintf(expected, sizeof expected,
                 "STILLHOUSE_EMBED_KEY_FILE: cannot read \"%s\": ", paths[i]);
        cr_assert_eq(strncmp(err.text, expected, strlen(expected)), 0, "%s", err.text);
    }
}

Test(settings, a_variable_and_its_file_exclude_each_other)
{
    struct settings s;
    struct error err = {0};
    setenv("STILLHOUSE_EMBED_KEY", "hush", 1);
    cr_assert_eq(load_with_file("STILLHOUSE_EMBED_KEY_FILE", "two", 3, &s, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "STILLHOUSE_EMBED_KEY and STILLHOUSE_EMBED_KEY_FILE"));
    cr_assert_null(strstr(err.text, "hush"));

    setenv("STILLHOUSE_EMBED_KEY", "", 1);
    cr_assert_eq(load_with_file("STILLHOUSE_EMBED_KEY_FILE", "two", 3, &s, &err), STATUS_OK,
                 "an empty variable is as good as none");
    cr_assert_str_eq(s.embed_key, "two");

    setenv("STILLHOUSE_EMBED_KEY", "hush", 1);
    setenv("STILLHOUSE_EMBED_KEY_FILE", "", 1);
    s = defaults();
    cr_assert_eq(settings_load_env(&s, SETTINGS_ALL, &err), STATUS_OK,
                 "and so is an empty file name");
    cr_assert_str_eq(s.embed_key, "hush");
}

/* ---- cross-checks -------------------------------------------------------------------------- */

static const char *finish_with(const char *flag, const char *value)
{
    static struct error err;
    struct settings s = defaults();
    cr_assert_eq(settings_set(&s, flag, value, "here", &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(settings_finish(&s, &err), STATUS_INVALID, "--%s %s", flag, value);
    cr_assert_eq(settings_finish(&s, NULL), STATUS_INVALID);
    return err.text;
}

Test(settings, urls_are_checked_at_the_end)
{
    cr_assert_not_null(strstr(finish_with("redis-url", "http://127.0.0.1"), "redis-url: "));
    cr_assert_not_null(strstr(finish_with("redis-url", "redis://u:hush@h:x/0"), "redis-url: "));
    cr_assert_null(strstr(finish_with("redis-url", "redis://u:hush@h:x/0"), "hush"));
    cr_assert_not_null(strstr(finish_with("cache-url", "nonsense"), "cache-url: "));
    cr_assert_not_null(strstr(finish_with("chroma-url", "127.0.0.1:8000"), "chroma-url: "));
    cr_assert_not_null(strstr(finish_with("chroma-url", "http://"), "chroma-url: "));
    cr_assert_not_null(strstr(finish_with("embed-url", "ftp://h/"), "embed-url: "));
    cr_assert_null(strstr(finish_with("embed-url", "http://u:hush@h/"), "hush"));
}

Test(settings, the_longest_wait_is_not_shorter_than_the_first)
{
    const char *text = finish_with("retry-base", "6m");
    cr_assert_str_eq(text, "retry-max is 300000 ms, expected at least retry-base, 360000 ms");
    struct settings s = defaults();
    cr_assert_eq(settings_set(&s, "retry-base", "5m", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_finish(&s, NULL), STATUS_OK);
}

Test(settings, the_builtin_embedder_has_its_own_range_of_dimensions)
{
    cr_assert_not_null(strstr(finish_with("embed-dimension", "63"), "64 to 4096"));
    cr_assert_not_null(strstr(finish_with("embed-dimension", "4097"), "64 to 4096"));
    struct settings s = defaults();
    cr_assert_eq(settings_set(&s, "embed-dimension", "4097", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_set(&s, "embedder", "openai", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_finish(&s, NULL), STATUS_OK);
}

/* ---- what people read ---------------------------------------------------------------------- */

Test(settings, help_shows_every_row_with_its_default)
{
    for (size_t i = 0; i < settings_count(); i++) {
        struct settings_row_info row = settings_row(i);
        char flag[64];
        char preset[80];
        snprintf(flag, sizeof flag, "\n  --%s ", row.flag);
        snprintf(preset, sizeof preset, "(default %s)\n",
                 row.default_text[0] == '\0' ? "empty" : row.default_text);
        char text[16400] = "\n";
        strcat(text, help(SETTINGS_ALL));
        const char *line = strstr(text, flag);
        cr_assert_not_null(line, "%s", row.flag);
        const char *end = strchr(line + 1, '\n');
        const char *found = strstr(line, preset);
        cr_assert(found != NULL && found + strlen(preset) == end + 1, "%s", row.flag);
        const char *help_text = strstr(line, row.help);
        cr_assert(help_text != NULL && help_text < found, "%s", row.flag);
        const char *range = strstr(line, row.range);
        cr_assert(range != NULL && range < found, "%s", row.flag);
        cr_assert_eq(strstr(help(SETTINGS_CLI), flag + 1) != NULL, (row.scope & SETTINGS_CLI) != 0,
                     "%s", row.flag);
    }
}

Test(settings, defaults_are_printed_as_the_table_has_them)
{
    struct settings s = defaults();
    for (size_t i = 0; i < settings_count(); i++) {
        struct settings_row_info row = settings_row(i);
        cr_assert(has_line(printed(&s, SETTINGS_ALL), row.env, row.default_text), "%s", row.env);
        cr_assert_eq(strstr(printed(&s, SETTINGS_CLI), row.env) != NULL,
                     (row.scope & SETTINGS_CLI) != 0, "%s", row.env);
    }
}

Test(settings, what_is_printed_reads_back_as_the_same_settings)
{
    struct settings s = defaults();
    struct settings again = defaults();
    struct error err = {0};
    for (size_t i = 0; i < SAMPLES; i++) {
        if (strcmp(samples[i].shown, samples[i].value) == 0 ||
            strchr(samples[i].shown, '*') == NULL) {
            cr_assert_eq(settings_set(&s, samples[i].flag, samples[i].value, "here", &err),
                         STATUS_OK);
        }
    }
    char text[16384];
    strcpy(text, printed(&s, SETTINGS_ALL));
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *equals = strchr(line, '=');
        *equals = '\0';
        setenv(line, equals + 1, 1);
    }
    cr_assert_eq(settings_load_env(&again, SETTINGS_ALL, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(memcmp(&s, &again, sizeof s), 0);
}

Test(settings, numbers_are_printed_with_the_digits_they_need)
{
    static const struct {
        const char *flag;
        const char *value;
        const char *line;
    } rows[] = {{"merge-distance", "0.1", "STILLHOUSE_MERGE_DISTANCE=0.1\n"},
                {"merge-distance", "0.30000000000000004",
                 "STILLHOUSE_MERGE_DISTANCE=0.30000000000000004\n"},
                {"merge-distance", "2", "STILLHOUSE_MERGE_DISTANCE=2.0\n"},
                {"max-body", "1536", "STILLHOUSE_MAX_BODY=1536\n"},
                {"max-body", "1537", "STILLHOUSE_MAX_BODY=1537\n"},
                {"max-body", "2048", "STILLHOUSE_MAX_BODY=2KiB\n"},
                {"max-body", "262144", "STILLHOUSE_MAX_BODY=256KiB\n"},
                {"cache-fresh", "60000ms", "STILLHOUSE_CACHE_FRESH=60s\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct settings s = defaults();
        cr_assert_eq(settings_set(&s, rows[i].flag, rows[i].value, "here", NULL), STATUS_OK);
        cr_assert_not_null(strstr(printed(&s, SETTINGS_ALL), rows[i].line), "%s", rows[i].line);
    }
}

Test(settings, passwords_in_urls_are_hidden)
{
    static const struct {
        const char *url;
        const char *shown;
    } rows[] = {{"redis://user:hush@h:1/0", "redis://user:***@h:1/0"},
                {"redis://:hush@h", "redis://:***@h"},
                {"redis://:hu@sh@h", "redis://:***@h"},
                {"redis://:hu:sh@h", "redis://:***@h"},
                {"rediss://user:@h", "rediss://user:***@h"},
                {"redis://hush@h", "redis://***@h"},
                {"redis+sentinel://u:hush@a,b/m", "redis+sentinel://u:***@a,b/m"},
                {"redis+sentinel://u:hush@a/m?sentinel_password=hush&x=hush",
                 "redis+sentinel://u:***@a/m?sentinel_password=***"},
                {"redis+sentinel://a/m?sentinel_password=hush",
                 "redis+sentinel://a/m?sentinel_password=***"},
                {"redis://h/0", "redis://h/0"},
                {"no@url", "no@url"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct settings s = defaults();
        cr_assert_eq(settings_set(&s, "cache-url", rows[i].url, "here", NULL), STATUS_OK);
        cr_assert(has_line(printed(&s, SETTINGS_ALL), "STILLHOUSE_CACHE_URL", rows[i].shown), "%s",
                  rows[i].shown);
    }
}
