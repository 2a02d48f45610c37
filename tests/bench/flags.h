/* flags.h - the command line of a benchmark: "--name VALUE", a table, no short forms.
 *
 *     static long jobs = 100000;
 *     static struct flag_list depths = {{1000}, 1};
 *     const struct flag flags[] = {
 *         {"--jobs", FLAG_NUMBER, &jobs, "jobs a measurement"},
 *         {"--depths", FLAG_LIST, &depths, "in flight at once"},
 *     };
 *     flags_parse(argc, argv, "what it measures", flags, sizeof flags / sizeof flags[0]);
 *
 * --help prints the table with the defaults and ends the program; anything wrong ends it with 2.
 */
#ifndef STILLHOUSE_TESTS_BENCH_FLAGS_H
#define STILLHOUSE_TESTS_BENCH_FLAGS_H

#include <stddef.h>

enum { FLAG_LIST_MAX = 16 };

/* "1,16,64" */
struct flag_list {
    long values[FLAG_LIST_MAX];
    size_t count;
};

enum flag_kind {
    FLAG_NUMBER, /* long, not negative */
    FLAG_LIST,   /* struct flag_list */
    FLAG_TEXT,   /* const char *, borrowed from argv */
};

struct flag {
    const char *name;
    enum flag_kind kind;
    void *value; /* holds the default */
    const char *help;
};

void flags_parse(int argc, char **argv, const char *what, const struct flag *flags, size_t count);

#endif
