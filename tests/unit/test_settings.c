/* The table of settings as a whole: its rows, where values come from, how it is printed. */
#include "settings_samples.h"

#include <sys/stat.h>

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

Test(settings, a_mistyped_variable_is_found_and_others_programs_ones_are_not)
{
    static const char *const fine[] = {
        "STILLHOUSE_LANES",          "STILLHOUSE_OUTBOX_MAX", "STILLHOUSE_REDIS_URL_FILE",
        "STILLHOUSE_EMBED_KEY_FILE", "STILLHOUSE_TEST_BIN",   "STILLHOUSE_CHROMA_VERSION",
        "STILLHOUSE_DEPS",           "STILLHOUSE_PORT",       "STILLHOUSE_WORKER_SERVICE_HOST"};
    const char *first = NULL;

    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        setenv(fine[i], "1", 1);
    }
    setenv("STILLHOUSE_EMPTY", "", 1);
    const size_t before = settings_unknown_env(&first);
    cr_assert_eq(before, 0, "%s", first);
    cr_assert_null(first);
    setenv("STILLHOUSE_LANE", "8", 1);
    cr_assert_eq(settings_unknown_env(&first), 1);
    cr_assert_str_eq(first, "STILLHOUSE_LANE=8");
    setenv("STILLHOUSE_LANES_FILE", "/run/lanes", 1);
    cr_assert_eq(settings_unknown_env(&first), 2, "only secrets and URLs are read from files");
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
        if (strcmp(row.flag, "client-key") == 0) { /* the other half of */
            cr_assert_eq(settings_set(&s, "client-cert", "/dev/null", "here", &err), STATUS_OK);
        }
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

Test(settings, a_share_is_a_whole_number_of_millionths)
{
    static const struct {
        const char *value;
        int64_t share;
    } good[] = {{"0", 0},          {"0%", 0},         {"5%", 50000},         {"0.0001%", 1},
                {"99.9%", 999000}, {"100%", 1000000}, {"100.0000%", 1000000}};
    static const char *const bad[] = {
        "5",   "0.05",     "",    "%",   "-1%", "101%", "1e1%", "100.1%",
        "5 %", "0.00001%", "5.%", ".5%", "5%%", "nan%", "5% ",  "99999999999999999999%"};
    struct settings s = defaults();
    struct error err = {0};

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert_eq(settings_set(&s, "holdout", good[i].value, "here", &err), STATUS_OK, "%s",
                     err.text);
        cr_assert_eq(s.holdout, good[i].share, "%s", good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(settings_set(&s, "holdout", bad[i], "here", &err), STATUS_INVALID, "%s",
                     bad[i]);
        cr_assert_not_null(strstr(err.text, "is not a share (such as 5%, 0.25%) from 0% to 100%"));
        cr_assert_eq(s.holdout, SETTINGS_WHOLE, "%s", bad[i]);
    }
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
    static char path[256];
    snprintf(path, sizeof path, "%s/stillhouse-settings-XXXXXX", test_temporary());
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

/* Compose files write NAME: ${NAME:-}; what nobody sets arrives as an empty variable. */
Test(settings, an_empty_variable_is_not_set_whatever_the_row)
{
    struct settings s = defaults();
    const struct settings usual = defaults();
    struct error err = {0};

    for (size_t i = 0; i < settings_count(); i++) {
        char file[80];
        setenv(settings_row(i).env, "", 1);
        snprintf(file, sizeof file, "%s_FILE", settings_row(i).env);
        setenv(file, "", 1);
    }
    cr_assert_eq(settings_load_env(&s, SETTINGS_ALL, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(memcmp(&s, &usual, sizeof s), 0);
}

Test(settings, a_pipe_is_not_waited_for)
{
    struct settings s = defaults();
    struct error err = {0};
    char folder[256];
    char path[300];

    test_folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/pipe", folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    setenv("STILLHOUSE_EMBED_KEY_FILE", path, 1);
    cr_assert_eq(settings_load_env(&s, SETTINGS_ALL, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "it is no regular file"), "%s", err.text);
    test_folder_remove(folder);
}

Test(settings, a_file_that_everybody_may_read_or_write_is_said_to_be_exposed)
{
    static const struct {
        mode_t mode;
        bool exposed;
    } cases[] = {{0600, false}, {0640, false}, {0604, true}, {0602, true}};
    struct settings_line line;
    struct error err = {0};
    const char *path = file_of("hush\n", 5);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(chmod(path, cases[i].mode), 0);
        cr_assert_eq(settings_read_line(path, "here", &line, &err), STATUS_OK, "%s", err.text);
        cr_assert_str_eq(line.text, "hush");
        cr_assert_eq(line.exposed, cases[i].exposed, "%o", cases[i].mode);
    }
    unlink(path);
}

Test(settings, a_secret_among_the_flags_is_blanked_and_nothing_else_is)
{
    static const struct {
        const char *flag;
        const char *value;
        const char *left;
    } cases[] = {{"embed-key", "hush", "****"},
                 {"redis-url", "redis://:hush@h", "redis://*******"},
                 {"cache-url", "hush", "****"},
                 {"lanes", "12", "12"},
                 {"no-such-flag", "hush", "hush"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char word[32];
        snprintf(word, sizeof word, "%s", cases[i].value);
        settings_blank(cases[i].flag, word);
        cr_assert_str_eq(word, cases[i].left);
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

Test(settings, files_of_tls_must_be_readable_and_whole)
{
    cr_assert_str_eq(finish_with("ca-file", "/no/such.pem"),
                     "ca-file: cannot read \"/no/such.pem\": No such file or directory");
    cr_assert_not_null(strstr(finish_with("client-cert", "/no/such.pem"), "client-cert: "));
    cr_assert_str_eq(finish_with("client-key", "/dev/null"),
                     "client-key is set, expected client-cert too");
}

/* The secrets in clear, with this token and key for these servers. */
static size_t bare(const char *chroma_url, const char *embed_url,
                   const char *names[SETTINGS_BARE_MAX])
{
    struct settings s = defaults();
    cr_assert_eq(settings_set(&s, "chroma-token", "hush", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_set(&s, "embed-key", "hush", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_set(&s, "chroma-url", chroma_url, "here", NULL), STATUS_OK);
    cr_assert_eq(settings_set(&s, "embed-url", embed_url, "here", NULL), STATUS_OK);
    return settings_bare_secrets(&s, names);
}

Test(settings, a_secret_over_plain_http_to_another_host_is_known)
{
    const char *names[SETTINGS_BARE_MAX];
    struct settings s = defaults();

    cr_assert_eq(bare("http://chroma:8000", "HTTP://10.0.0.7/v1", names), 2);
    cr_assert_str_eq(names[0], "chroma-token");
    cr_assert_str_eq(names[1], "embed-key");
    cr_assert_eq(bare("https://chroma", "http://embedder/v1", names), 1);
    cr_assert_str_eq(names[0], "embed-key");
    cr_assert_eq(bare("http://127.0.0.1:8000", "http://[::1]:9/v1", names), 0);
    cr_assert_eq(bare("http://localhost", "", names), 0);
    cr_assert_eq(settings_set(&s, "chroma-url", "http://chroma", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_bare_secrets(&s, names), 0, "no secret");
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
    } rows[] = {
        {"merge-distance", "0.1", "STILLHOUSE_MERGE_DISTANCE=0.1\n"},
        {"merge-distance", "0.30000000000000004",
         "STILLHOUSE_MERGE_DISTANCE=0.30000000000000004\n"},
        {"merge-distance", ".00000000169177379", "STILLHOUSE_MERGE_DISTANCE=0.00000000169177379\n"},
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
                 "redis+sentinel://u:***@a/m?sentinel_password=***&x=***"},
                {"redis+sentinel://a:1,b.c/m?sentinel_password=hush",
                 "redis+sentinel://a:1,b.c/m?sentinel_password=***"},
                {"redis+sentinel://a/m?sentinel_password=hush@hush", "redis+sentinel://***"},
                {"redis+sentinel://a:1/m?SENTINEL_PASSWORD=hush",
                 "redis+sentinel://a:1/m?SENTINEL_PASSWORD=***"},
                {"redis://:hush@h:1/0#hush", "redis://:***@***"},
                {"redis://:hush@h?hush", "redis://:***@h?***=***"},
                {"redis://hush", "redis://***"},
                {"redis://hush/0", "redis://***"},
                {"redis://:hush", "redis://***"},
                {"redis://user:hush", "redis://***"},
                {"redis://a.b:hush", "redis://***"},
                {"redis://h:1/0", "redis://h:1/0"},
                {"redis://10.0.0.1", "redis://10.0.0.1"},
                {"redis://[::1]/2", "redis://[::1]/2"},
                {"redis://[::1]:7", "redis://[::1]:7"},
                {"redis://localhost", "redis://localhost"},
                {"unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"},
                {"hush@url", "***"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct settings s = defaults();
        cr_assert_eq(settings_set(&s, "cache-url", rows[i].url, "here", NULL), STATUS_OK);
        cr_assert(has_line(printed(&s, SETTINGS_ALL), "STILLHOUSE_CACHE_URL", rows[i].shown), "%s",
                  rows[i].shown);
    }
}
