/* metrics/table.h - every family in one table, for metrics/metrics.c. To add one: a value of enum
 * metrics_family, a row of the table, and a call of metrics_add, metrics_set or metrics_observe. */
#ifndef STILLHOUSE_METRICS_TABLE_H
#define STILLHOUSE_METRICS_TABLE_H

#include "metrics/metrics.h"

enum { METRICS_BUCKETS_MAX = 17 };

/* Sets of values of a label. */
enum metrics_set {
    METRICS_NO_LABEL,
    METRICS_SET_QUEUE,
    METRICS_SET_TALLY,
    METRICS_SET_OUTCOME,
    METRICS_SET_CALL, /* upstream and operation */
    METRICS_SET_UPSTREAM,
    METRICS_SET_REASON,
    METRICS_SET_CODE,
    METRICS_SET_BREAKER, /* upstream and operation */
    METRICS_SET_LAYER,
    METRICS_SET_LOOKUP,
    METRICS_SET_PROMPT,
    METRICS_SET_FURTHER,
    METRICS_SET_SWEPT,
    METRICS_SET_LONG_TEXT,
    METRICS_SET_SOURCE,
    METRICS_SET_JOB_STATE,
    METRICS_SET_LANE,
    METRICS_SET_BUILD,
    METRICS_SET_PART,
    METRICS_SET_DELETED,
    METRICS_SETS
};

/* Where a set's values stand: `name="value"`, or of two labels both. */
struct metrics_values {
    size_t count;
    const char *name;          /* NULL: metrics.c knows how to write it */
    const char *const *values; /* NULL likewise */
};

/* Upper bounds in seconds, as they stand in `le`; +Inf is not among them. */
struct metrics_buckets {
    size_t count;
    const char *text[METRICS_BUCKETS_MAX];
    double bound[METRICS_BUCKETS_MAX];
};

struct metrics_row {
    const char *name;
    const char *type;
    const char *help;
    enum metrics_set rows;
    enum metrics_set columns;
    /* The series that stand there before anything was counted; NULL: all. Counters that alerts ask
     * for do, so that a first event is an increase. */
    bool (*stands)(size_t row, size_t column);
    const struct metrics_buckets *buckets; /* of a histogram */
    bool thousandths;                      /* the cells are, the text is not */
    bool is_signed;
    bool of_queue; /* what Redis says of it */
};

extern const struct metrics_row metrics_table[METRICS_FAMILIES];
extern const struct metrics_values metrics_sets[METRICS_SETS];

/* The values of METRICS_SET_CALL. */
struct metrics_call {
    enum metrics_upstream upstream;
    const char *operation;
};
extern const struct metrics_call metrics_calls[];

#endif
