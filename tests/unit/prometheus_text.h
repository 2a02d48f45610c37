/* prometheus_text.h - a parser of Prometheus' text format 0.0.4, for one text at a time.
 *
 * It holds the text to the rules of the format and of `promtool check metrics`: whatever breaks one
 * fails the test.
 */
#ifndef STILLHOUSE_TESTS_PROMETHEUS_TEXT_H
#define STILLHOUSE_TESTS_PROMETHEUS_TEXT_H

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

enum { SAMPLES_MAX = 4096, FAMILIES_MAX = 64 };

struct sample {
    char name[96];
    char labels[192]; /* as written, le left out */
    char le[32];      /* "" = none */
    double value;
};

static struct sample samples[SAMPLES_MAX];
static size_t sample_count;
static char families[FAMILIES_MAX][2][64]; /* name, type */
static size_t family_count;

static bool is_name(const char *text, size_t bytes)
{
    if (bytes == 0 || isdigit((unsigned char)text[0])) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '_') {
            return false;
        }
    }
    return true;
}

/* name="value",...; puts le apart. */
static void parse_labels(const char *text, size_t bytes, struct sample *sample)
{
    const char *end = text + bytes;

    while (text < end) {
        const char *equals = memchr(text, '=', (size_t)(end - text));
        cr_assert_not_null(equals);
        cr_assert(is_name(text, (size_t)(equals - text)));
        cr_assert_eq(equals[1], '"');
        const char *close = memchr(equals + 2, '"', (size_t)(end - equals - 2));
        cr_assert_not_null(close);
        cr_assert_null(memchr(equals, '\\', (size_t)(close - equals)), "nothing needs escapes");
        if (equals - text == 2 && memcmp(text, "le", 2) == 0) {
            snprintf(sample->le, sizeof sample->le, "%.*s", (int)(close - equals - 2), equals + 2);
        } else {
            size_t used = strlen(sample->labels);
            snprintf(sample->labels + used, sizeof sample->labels - used, "%s%.*s",
                     used > 0 ? "," : "", (int)(close + 1 - text), text);
        }
        text = close + 1;
        cr_assert(text == end || *text == ',');
        text += *text == ',' ? 1 : 0;
    }
}

static void parse_sample(const char *line)
{
    const struct sample fresh = {0};
    const char *open = strchr(line, '{');
    const char *close = strrchr(line, '}');
    struct sample *sample = &samples[sample_count++];
    char *end = NULL;

    cr_assert_lt(sample_count, SAMPLES_MAX);
    *sample = fresh;
    cr_assert(open != NULL && close != NULL && open < close, "%s", line);
    cr_assert(is_name(line, (size_t)(open - line)), "%s", line);
    snprintf(sample->name, sizeof sample->name, "%.*s", (int)(open - line), line);
    parse_labels(open + 1, (size_t)(close - open - 1), sample);
    cr_assert_eq(close[1], ' ', "%s", line);
    sample->value = strtod(close + 2, &end);
    cr_assert(end != close + 2 && *end == '\0', "%s", line);

    const char *family = families[family_count - 1][0];
    size_t bytes = strlen(family);
    const char *suffix = sample->name + bytes;
    cr_assert_eq(strncmp(sample->name, family, bytes), 0, "%s stands under %s", line, family);
    if (strcmp(families[family_count - 1][1], "histogram") == 0) {
        cr_assert(strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 ||
                      strcmp(suffix, "_count") == 0,
                  "%s", line);
        cr_assert_eq(sample->le[0] != '\0', strcmp(suffix, "_bucket") == 0, "%s", line);
    } else {
        cr_assert_str_eq(suffix, "", "%s", line);
        cr_assert_str_eq(sample->le, "");
    }
    for (size_t i = 0; i + 1 < sample_count; i++) {
        cr_assert(strcmp(samples[i].name, sample->name) != 0 ||
                      strcmp(samples[i].labels, sample->labels) != 0 ||
                      strcmp(samples[i].le, sample->le) != 0,
                  "%s stands there twice", line);
    }
}

/* # HELP name text, then # TYPE name type. */
static void parse_head(const char *help, const char *type)
{
    char name[64] = "";
    char kind[64] = "";
    char text[2] = "";
    char name2[64] = "";

    cr_assert_eq(sscanf(help, "# HELP %63s %1s", name, text), 2, "%s", help);
    cr_assert_eq(sscanf(type, "# TYPE %63s %63s", name2, kind), 2, "%s", type);
    cr_assert_str_eq(name, name2);
    cr_assert_lt(family_count, FAMILIES_MAX);
    for (size_t i = 0; i < family_count; i++) {
        cr_assert_str_neq(families[i][0], name, "one block a family");
    }
    const char *total = strstr(name, "_total");
    cr_assert_eq(total != NULL && total[6] == '\0', strcmp(kind, "counter") == 0,
                 "counters end in _total, and only they: %s", name);
    strcpy(families[family_count][0], name);
    strcpy(families[family_count][1], kind);
    family_count++;
}

static const struct sample *find(const char *name, const char *labels, const char *le)
{
    for (size_t i = 0; i < sample_count; i++) {
        if (strcmp(samples[i].name, name) == 0 && strcmp(samples[i].labels, labels) == 0 &&
            strcmp(samples[i].le, le) == 0) {
            return &samples[i];
        }
    }
    return NULL;
}

/* Bounds rise, counts do not fall, +Inf is the last and equals _count. */
static void check_histograms(void)
{
    for (size_t i = 0; i < sample_count; i++) {
        const struct sample *sample = &samples[i];
        bool first = sample->le[0] != '\0' && (i == 0 || sample[-1].le[0] == '\0' ||
                                               strcmp(sample[-1].labels, sample->labels) != 0);
        if (!first) {
            continue;
        }
        char name[96];
        double bound = -1;
        double count = 0;
        while (strcmp(sample->le, "+Inf") != 0) {
            cr_assert_gt(strtod(sample->le, NULL), bound);
            cr_assert_geq(sample->value, count);
            bound = strtod(sample->le, NULL);
            count = sample->value;
            sample++;
        }
        cr_assert_geq(sample->value, count);
        snprintf(name, sizeof name, "%.*s_count", (int)(strlen(sample->name) - 7), sample->name);
        const struct sample *total = find(name, sample->labels, "");
        cr_assert_not_null(total);
        cr_assert_eq(total->value, sample->value);
        strcpy(strrchr(name, '_'), "_sum");
        cr_assert_not_null(find(name, sample->labels, ""));
    }
}

static void parse(const struct metrics *m)
{
    struct strbuf text = {0};
    char *rest = NULL;

    sample_count = 0;
    family_count = 0;
    metrics_render(m, &text);
    cr_assert(strbuf_ok(&text));
    cr_assert_eq(text.data[text.bytes - 1], '\n', "the last line ends");
    cr_assert_null(strstr(text.data, "\n\n"));
    for (char *line = strtok_r(text.data, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (line[0] == '#') {
            char *type = strtok_r(NULL, "\n", &rest);
            cr_assert_not_null(type);
            parse_head(line, type);
        } else {
            cr_assert_gt(family_count, 0);
            parse_sample(line);
        }
    }
    strbuf_free(&text);
    check_histograms();
}

static double value(const char *name, const char *labels)
{
    const struct sample *sample = find(name, labels, "");
    return sample == NULL ? -4711 : sample->value;
}

static double bucket(const char *name, const char *labels, const char *le)
{
    const struct sample *sample = find(name, labels, le);
    return sample == NULL ? -4711 : sample->value;
}

#endif
