/* Values of settings: what each kind of row takes, and what it says of the rest. */
#include "settings_samples.h"

/* ---- ranges and texts ---------------------------------------------------------------------- */

Test(settings_values, both_ends_of_every_range_are_in_it)
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
    cr_assert_eq(ranges, 33);
}

Test(settings_values, beyond_a_range_is_refused_with_its_ends)
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
    REFUSES("max-body", "63", "\"63\" is not a size", "from 64 to 16MiB");
    REFUSES("max-body", "17MiB", "from 64 to 16MiB");
    REFUSES("max-backlog", "1000000001", "from 0 to 1000000000");
    REFUSES("embed-dimension", "16385", "from 0 to 16384");
}

Test(settings_values, what_is_no_integer_is_refused)
{
    static const char *const bad[] = {"",    " ",   "-1",  "+1",   "1 ",    " 1",
                                      "1.0", "1e1", "0x1", "four", "1,000", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("lanes", bad[i], "is not an integer from 1 to 256");
    }
}

Test(settings_values, what_is_no_number_is_refused)
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

Test(settings_values, what_is_no_duration_is_refused)
{
    static const char *const bad[] = {"",   "60",   "s",    "-1s", "1 s",
                                      "1S", "1.5s", "1s1s", "1y",  "9223372036854775807d"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSES("visibility", bad[i], "is not a duration", "250ms");
    }
}

Test(settings_values, sizes_are_bytes_kib_or_mib)
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

Test(settings_values, what_is_no_rate_is_refused)
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

Test(settings_values, a_word_that_is_no_choice_is_refused)
{
    REFUSES("embedder", "Builtin", "\"Builtin\" is not one of builtin|openai|ollama");
    REFUSES("embedder", "", "is not one of");
    REFUSES("embedder", "builtin|openai", "is not one of");
    REFUSES("embedder", "builti", "is not one of");
    REFUSES("store-text", "both", "document|metadata");
    REFUSES("log-level", "warn", "error|warning|info|debug");
}

Test(settings_values, queues_are_known_and_named_once)
{
    ACCEPTS("queues", "echo");
    ACCEPTS("queues", "index,enrich.0,enrich.9999");
    REFUSES("queues", "", "must not be empty");
    REFUSES("queues", "enrich,recorder,echo", "\"recorder\" is not a queue", "enrich, distill",
            "record");
    ACCEPTS("queues", "record,record.1");
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

Test(settings_values, an_address_is_host_and_port_or_off)
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

Test(settings_values, an_address_is_split)
{
    char host[HTTP_HOST_BYTES] = "untouched";
    int port = -1;
    cr_assert(http_split_address("worker-1.example:080", host, &port));
    cr_assert_str_eq(host, "worker-1.example");
    cr_assert_eq(port, 80);
    cr_assert(http_split_address("[fe80::1]:9464", host, &port));
    cr_assert_str_eq(host, "fe80::1");
    cr_assert_eq(port, 9464);

    char text[HTTP_HOST_BYTES + 10];
    memset(text, 'h', HTTP_HOST_BYTES - 1);
    strcpy(text + HTTP_HOST_BYTES - 1, ":1");
    cr_assert(http_split_address(text, host, &port));
    memset(text, 'h', HTTP_HOST_BYTES);
    strcpy(text + HTTP_HOST_BYTES, ":1");
    cr_assert_not(http_split_address(text, host, &port));
}

Test(settings_values, names_that_stand_in_keys_are_checked)
{
    REFUSES("prefix", "", "must not be empty");
    REFUSES("prefix", "a b", "\"a b\" is not a prefix");
    REFUSES("prefix", "{sh}", "is not a prefix");
    REFUSES("prefix", "s\xc3\xbc", "is not a prefix");
    REFUSES("worker-id", "a b", "is not an id");
    REFUSES("worker-id", "a/b", "is not an id");
    ACCEPTS("worker-id", "");
}

Test(settings_values, a_text_must_fit_and_be_plain)
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

Test(settings_values, a_shorter_text_leaves_nothing_of_the_longer_one)
{
    struct settings s = defaults();
    cr_assert_eq(settings_set(&s, "embed-key", "long-secret", "here", NULL), STATUS_OK);
    cr_assert_eq(settings_set(&s, "embed-key", "x", "here", NULL), STATUS_OK);
    for (size_t i = 1; i < sizeof s.embed_key; i++) {
        cr_assert_eq(s.embed_key[i], '\0');
    }
}

Test(settings_values, foreign_bytes_in_errors_are_made_harmless)
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

Test(settings_values, whatever_is_given_to_whatever_row_is_taken_or_refused)
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
