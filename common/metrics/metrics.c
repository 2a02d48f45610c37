#include "metrics/metrics.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/table.h"

enum { NS_PER_S = 1000000000, THOUSAND = 1000, LABELS_BYTES = 256, QUEUE_NAME_BYTES = 64 };

struct cell {
    atomic_uint_fast64_t value;
    atomic_bool shown; /* by what was counted or set */
};

/* counts[i] = observations in (bound[i-1], bound[i]]; the one behind the last bound is +Inf's. */
struct histogram {
    atomic_uint_fast64_t counts[METRICS_BUCKETS_MAX + 1];
    atomic_uint_fast64_t sum_ns;
};

struct metrics {
    size_t first[METRICS_FAMILIES]; /* of each family's cells, or of its histograms */
    struct cell *cells;
    struct histogram *histograms;
    char queues[METRICS_QUEUES_MAX][QUEUE_NAME_BYTES];
    size_t queue_count;
    const char *const *tally_names;
    size_t tally_count;
    const char *version;
    long long functions;
};

/* ---- life ------------------------------------------------------------------------------------ */

struct metrics *metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof *m);
    size_t cells = 0;
    size_t histograms = 0;

    if (m == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < METRICS_FAMILIES; i++) {
        const struct metrics_row *family = &metrics_table[i];
        size_t *count = family->buckets != NULL ? &histograms : &cells;
        m->first[i] = *count;
        *count += metrics_sets[family->rows].count * metrics_sets[family->columns].count;
    }
    m->cells = calloc(cells, sizeof *m->cells);
    m->histograms = calloc(histograms, sizeof *m->histograms);
    if (m->cells == NULL || m->histograms == NULL) {
        metrics_free(m);
        return NULL;
    }
    snprintf(m->queues[METRICS_OTHER], QUEUE_NAME_BYTES, "other");
    m->queue_count = 1;
    return m;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics != NULL) {
        free(metrics->cells);
        free(metrics->histograms);
        free(metrics);
    }
}

void metrics_add_queue(struct metrics *m, const char *name)
{
    if (m->queue_count < METRICS_QUEUES_MAX && metrics_queue_of(m, name) == METRICS_OTHER) {
        snprintf(m->queues[m->queue_count++], QUEUE_NAME_BYTES, "%s", name);
    }
}

void metrics_name_tallies(struct metrics *m, const char *const *names, size_t count)
{
    m->tally_names = names;
    m->tally_count = count < METRICS_TALLIES_MAX ? count : METRICS_TALLIES_MAX;
}

void metrics_name_build(struct metrics *m, const char *version, long long functions)
{
    m->version = version;
    m->functions = functions;
    metrics_set(m, METRICS_BUILD_INFO, 0, 0, 1);
}

/* ---- rows and columns ------------------------------------------------------------------------ */

size_t metrics_queue_of(const struct metrics *m, const char *name)
{
    for (size_t i = METRICS_OTHER + 1; i < m->queue_count; i++) {
        if (strcmp(m->queues[i], name) == 0) {
            return i;
        }
    }
    return METRICS_OTHER;
}

size_t metrics_call_of(enum metrics_upstream upstream, const char *operation)
{
    size_t last = 0;

    if (operation != NULL && (strcmp(operation, "open") == 0 || strcmp(operation, "create") == 0)) {
        operation = "collection"; /* clients name these more finely */
    }
    for (size_t i = 0; i < metrics_sets[METRICS_SET_CALL].count; i++) {
        if (metrics_calls[i].upstream != upstream) {
            continue;
        }
        if (operation != NULL && strcmp(metrics_calls[i].operation, operation) == 0) {
            return i;
        }
        last = i; /* "other" */
    }
    return last;
}

size_t metrics_code_of(int code)
{
    const struct metrics_values *codes = &metrics_sets[METRICS_SET_CODE];
    size_t i = 0;

    if (code != 0) {
        do {
            i++;
        } while (i < codes->count - 1 && strtol(codes->values[i], NULL, 10) != code);
    }
    return i;
}

/* ---- counting -------------------------------------------------------------------------------- */

static size_t place_of(const struct metrics *m, enum metrics_family family, size_t row,
                       size_t column)
{
    return m->first[family] + row * metrics_sets[metrics_table[family].columns].count + column;
}

static uint64_t read(const atomic_uint_fast64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

void metrics_add(struct metrics *m, enum metrics_family family, size_t row, size_t column,
                 uint64_t count)
{
    struct cell *cell = &m->cells[place_of(m, family, row, column)];

    if (count > 0) {
        atomic_fetch_add_explicit(&cell->value, count, memory_order_relaxed);
        atomic_store_explicit(&cell->shown, true, memory_order_release);
    }
}

void metrics_set(struct metrics *m, enum metrics_family family, size_t row, size_t column,
                 int64_t value)
{
    struct cell *cell = &m->cells[place_of(m, family, row, column)];

    atomic_store_explicit(&cell->value, (uint64_t)value, memory_order_relaxed);
    atomic_store_explicit(&cell->shown, true, memory_order_release);
}

void metrics_unset(struct metrics *m, enum metrics_family family, size_t row)
{
    for (size_t i = 0; i < metrics_sets[metrics_table[family].columns].count; i++) {
        atomic_store_explicit(&m->cells[place_of(m, family, row, i)].shown, false,
                              memory_order_relaxed);
    }
}

void metrics_unset_queue(struct metrics *m, size_t queue)
{
    for (int i = 0; i < METRICS_FAMILIES; i++) {
        if (metrics_table[i].of_queue) {
            metrics_unset(m, (enum metrics_family)i, queue);
        }
    }
}

void metrics_observe(struct metrics *m, enum metrics_family family, size_t row, double seconds,
                     uint64_t times)
{
    const struct metrics_buckets *buckets = metrics_table[family].buckets;
    struct histogram *histogram = &m->histograms[place_of(m, family, row, 0)];
    const double longest = 1e6;
    size_t bucket = 0;

    if (!(seconds > 0)) { /* not a number neither */
        seconds = 0;
    } else if (seconds > longest) {
        seconds = longest;
    }
    while (bucket < buckets->count && seconds > buckets->bound[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&histogram->counts[bucket], times, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_ns, (uint64_t)(seconds * 1e9) * times,
                              memory_order_relaxed);
}

/* ---- the text -------------------------------------------------------------------------------- */

/* How many values there are now. */
static size_t count_of(const struct metrics *m, enum metrics_set set)
{
    return set == METRICS_SET_QUEUE   ? m->queue_count
           : set == METRICS_SET_TALLY ? m->tally_count
                                      : metrics_sets[set].count;
}

/* `name="value"` of one value of a set into `out`; "" where there is no label. */
static void label(const struct metrics *m, enum metrics_set set, size_t i, char *out, size_t size)
{
    static const char *const reasons[] = {
#define REASON(name, text) #name,
        STATUS_MAP(REASON)
#undef REASON
    };
    static const char two[] = "upstream=\"%s\",operation=\"%s\"";
    const struct metrics_values *values = &metrics_sets[set];
    const enum operation operation = (enum operation)i;
    int bytes = 0;

    out[0] = '\0';
    switch (set) {
    case METRICS_NO_LABEL:
        break;
    case METRICS_SET_QUEUE:
        snprintf(out, size, "queue=\"%s\"", m->queues[i]);
        break;
    case METRICS_SET_TALLY:
        snprintf(out, size, "outcome=\"%s\"", m->tally_names[i]);
        break;
    case METRICS_SET_REASON:
        bytes = snprintf(out, size, "reason=\"%s\"", reasons[i]);
        for (int c = 0; c < bytes; c++) {
            out[c] = (char)tolower((unsigned char)out[c]);
        }
        break;
    case METRICS_SET_CALL:
        snprintf(out, size, two,
                 metrics_sets[METRICS_SET_UPSTREAM].values[metrics_calls[i].upstream],
                 metrics_calls[i].operation);
        break;
    case METRICS_SET_BREAKER:
        snprintf(out, size, two, operation_upstream(operation), operation_name(operation));
        break;
    case METRICS_SET_BUILD:
        snprintf(out, size, "version=\"%s\",functions=\"%lld\"", m->version, m->functions);
        break;
    default:
        snprintf(out, size, "%s=\"%s\"", values->name, values->values[i]);
    }
}

/* _count is what the buckets add up to, also while others are counting. */
static void write_histogram(const struct metrics_row *family, const char *labels,
                            const struct histogram *histogram, struct strbuf *out)
{
    const struct metrics_buckets *buckets = family->buckets;
    const uint64_t sum_ns = read(&histogram->sum_ns);
    uint64_t count = 0;

    for (size_t i = 0; i <= buckets->count; i++) {
        count += read(&histogram->counts[i]);
        strbuf_printf(out, "%s_bucket{%s,le=\"%s\"} %" PRIu64 "\n", family->name, labels,
                      i < buckets->count ? buckets->text[i] : "+Inf", count);
    }
    strbuf_printf(out, "%s_sum{%s} %" PRIu64 ".%09" PRIu64 "\n", family->name, labels,
                  sum_ns / NS_PER_S, sum_ns % NS_PER_S);
    strbuf_printf(out, "%s_count{%s} %" PRIu64 "\n", family->name, labels, count);
}

static bool is_observed(const struct histogram *histogram)
{
    for (size_t i = 0; i <= METRICS_BUCKETS_MAX; i++) {
        if (read(&histogram->counts[i]) > 0) {
            return true;
        }
    }
    return false;
}

static bool is_shown(const struct metrics *m, size_t place)
{
    return atomic_load_explicit(&m->cells[place].shown, memory_order_acquire);
}

static bool all_are_paused(const struct metrics *m)
{
    for (size_t i = METRICS_OTHER + 1; i < m->queue_count; i++) {
        const size_t place = place_of(m, METRICS_QUEUE_PAUSED, i, 0);
        if (!is_shown(m, place) || read(&m->cells[place].value) == 0) {
            return false;
        }
    }
    return m->queue_count > METRICS_OTHER + 1;
}

/* A lane that has nothing it may read is not idle for want of work: it is paused. */
static uint64_t lanes_in(const struct metrics *m, size_t state)
{
    const bool paused = all_are_paused(m);

    if ((state == METRICS_IDLE && paused) || (state == METRICS_PAUSED && !paused)) {
        return 0;
    }
    return read(&m->cells[place_of(m, METRICS_LANES,
                                   state == METRICS_BUSY ? METRICS_BUSY : METRICS_IDLE, 0)]
                     .value);
}

static void write_cell(const struct metrics_row *family, const char *labels, uint64_t value,
                       struct strbuf *out)
{
    const bool labelled = labels[0] != '\0';

    strbuf_printf(out, "%s%s%s%s ", family->name, labelled ? "{" : "", labels, labelled ? "}" : "");
    if (family->thousandths) {
        strbuf_printf(out, "%" PRIu64 ".%03d\n", value / THOUSAND, (int)(value % THOUSAND));
    } else if (family->is_signed) {
        strbuf_printf(out, "%" PRId64 "\n", (int64_t)value);
    } else {
        strbuf_printf(out, "%" PRIu64 "\n", value);
    }
}

static void write_series(const struct metrics *m, enum metrics_family which, size_t row,
                         size_t column, struct strbuf *out)
{
    const struct metrics_row *family = &metrics_table[which];
    const size_t place = place_of(m, which, row, column);
    const bool stands = family->stands == NULL || family->stands(row, column);
    const bool shown =
        family->buckets != NULL ? is_observed(&m->histograms[place]) : is_shown(m, place);
    char labels[LABELS_BYTES];

    if (!stands && !shown) {
        return;
    }
    label(m, family->rows, row, labels, LABELS_BYTES);
    if (family->columns != METRICS_NO_LABEL) {
        const size_t used = strlen(labels);
        labels[used] = ',';
        label(m, family->columns, column, labels + used + 1, LABELS_BYTES - used - 1);
    }
    if (family->buckets != NULL) {
        write_histogram(family, labels, &m->histograms[place], out);
    } else {
        write_cell(family, labels,
                   which == METRICS_LANES ? lanes_in(m, row) : read(&m->cells[place].value), out);
    }
}

void metrics_render(const struct metrics *m, struct strbuf *out)
{
    for (int i = 0; i < METRICS_FAMILIES; i++) {
        const struct metrics_row *family = &metrics_table[i];
        strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
                      family->type);
        for (size_t row = 0; row < count_of(m, family->rows); row++) {
            for (size_t column = 0; column < count_of(m, family->columns); column++) {
                write_series(m, (enum metrics_family)i, row, column, out);
            }
        }
    }
}
