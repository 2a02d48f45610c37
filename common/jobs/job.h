/* jobs/job.h - a job as it stands in a stream, and its options.
 *
 * Pure, any thread. Options are "key=value" pairs separated by one space (producer/CONTRACT.md,
 * section 2).
 */
#ifndef STILLHOUSE_JOBS_JOB_H
#define STILLHOUSE_JOBS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "base/text.h"
#include "jobs/library.h"

enum { JOB_DELAY_MAX_DAYS = LIBRARY_DELAY_MAX_DAYS };
#define JOB_DELAY_MAX_MS (JOB_DELAY_MAX_DAYS * INT64_C(24) * 60 * 60 * 1000)

enum job_priority { JOB_HIGH, JOB_NORMAL, JOB_LOW, JOB_PRIORITIES };

/* What a job remembers of being parked: "parked=<tries>.<upstream>.<operation>.<Unix ms>". The
 * fleet writes it, producers may not. */
struct job_parked {
    int64_t tries;          /* how often it was tried in vain; 0 = never */
    int64_t tried_unix_ms;  /* the last time */
    struct slice waits_for; /* "chroma.write" */
};

/* Unset fields: priority JOB_NORMAL, numbers 0, slices {NULL, 0}. Slices point into the parsed
 * text. */
struct job_options {
    enum job_priority priority;
    int64_t delay_ms;
    int64_t deadline_unix_ms; /* 0 = none */
    int64_t since_unix_ms;    /* first enqueue; 0 = the stream entry's own time */
    struct slice unique;
    struct slice traceparent;
    bool reply;
    struct job_parked parked;
};

/* Parses an options string of at most 2 KiB without control characters. Unknown keys are an error
 * for a producer, and ignored with `lenient` (a newer producer may have added one). Errors name the
 * key, its value, what was expected. */
enum status job_options_parse(const char *text, size_t bytes, bool lenient, struct job_options *out,
                              struct error *err) MUSTCHECK;

/* Writes the canonical options string, only what is set. Returns its length, or 0 with out[0] == 0
 * for none; `size` of 640 always suffices for a unique key of up to 256 and a traceparent of up to
 * 128 bytes. */
size_t job_options_format(const struct job_options *options, char *out, size_t size);

/* "high" / "normal" / "low". */
const char *job_priority_name(enum job_priority priority);
bool job_priority_parse(const char *text, size_t bytes, enum job_priority *out) MUSTCHECK;

/* A job that a lane holds. All slices live as long as the Redis reply they came from. */
struct job {
    enum job_priority stream; /* which of the queue's three streams it was read from */
    struct slice entry;       /* stream entry id, "1700000000000-0" */
    int64_t deliveries;       /* how often it was handed out, this time included: the fence */
    struct slice id;
    struct slice domain;
    int64_t attempt; /* failures so far */
    struct slice options_text;
    struct job_options options;
    struct slice body;
};

#endif
