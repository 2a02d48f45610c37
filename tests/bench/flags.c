#include "flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

static void print_default(const struct flag *flag)
{
    const struct flag_list *list = flag->value;

    switch (flag->kind) {
    case FLAG_NUMBER:
        printf("%ld", *(const long *)flag->value);
        break;
    case FLAG_LIST:
        for (size_t i = 0; i < list->count; i++) {
            printf("%s%ld", i > 0 ? "," : "", list->values[i]);
        }
        break;
    case FLAG_TEXT:
        printf("\"%s\"", *(const char *const *)flag->value);
        break;
    }
}

static void print_help(const char *what, const struct flag *flags, size_t count)
{
    printf("%s\n\n", what);
    for (size_t i = 0; i < count; i++) {
        printf("  %-14s %s (", flags[i].name, flags[i].help);
        print_default(&flags[i]);
        printf(")\n");
    }
}

static void refuse(const char *name, const char *value, const char *expected)
{
    fprintf(stderr, "%s \"%s\": expected %s, see --help\n", name, value, expected);
    exit(EXIT_USAGE);
}

/* A number at *text; moves *text behind it. */
static long parse_number(const char *name, const char **text)
{
    char *end = NULL;

    errno = 0;
    const long number = strtol(*text, &end, 10);
    if (end == *text || errno != 0 || number < 0) {
        refuse(name, *text, "a whole number");
    }
    *text = end;
    return number;
}

static void parse_value(const struct flag *flag, const char *text)
{
    struct flag_list *list = flag->value;

    if (flag->kind == FLAG_TEXT) {
        *(const char **)flag->value = text;
        return;
    }
    if (flag->kind == FLAG_NUMBER) {
        *(long *)flag->value = parse_number(flag->name, &text);
    } else {
        list->count = 0;
        while (*text != '\0') {
            if (list->count == FLAG_LIST_MAX) {
                refuse(flag->name, text, "no more numbers");
            }
            list->values[list->count++] = parse_number(flag->name, &text);
            if (*text == ',') {
                text++;
            } else if (*text != '\0') {
                break;
            }
        }
    }
    if (*text != '\0') {
        refuse(flag->name, text, "nothing more");
    }
}

void flags_parse(int argc, char **argv, const char *what, const struct flag *flags, size_t count)
{
    for (int i = 1; i < argc; i += 2) {
        size_t at = 0;
        if (strcmp(argv[i], "--help") == 0) {
            print_help(what, flags, count);
            exit(0);
        }
        while (at < count && strcmp(flags[at].name, argv[i]) != 0) {
            at++;
        }
        if (at == count) {
            refuse("flag", argv[i], "one of the table");
        }
        if (i + 1 == argc) {
            refuse(argv[i], "", "a value");
        }
        parse_value(&flags[at], argv[i + 1]);
    }
}
