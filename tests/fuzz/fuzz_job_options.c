/* fuzz_job_options.c - any options string: what parses strictly also parses leniently, and what is
 * written from it reads back the same. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int same(struct slice a, struct slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static void check_round_trip(const struct job_options *options)
{
    char out[640];
    struct job_options back;

    const size_t bytes = job_options_format(options, out, sizeof out);
    if (job_options_parse(out, bytes, false, &back, NULL) != STATUS_OK ||
        back.priority != options->priority || back.delay_ms != options->delay_ms ||
        back.deadline_unix_ms != options->deadline_unix_ms ||
        back.since_unix_ms != options->since_unix_ms || back.reply != options->reply ||
        !same(back.unique, options->unique) || !same(back.traceparent, options->traceparent)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct job_options strict;
    struct job_options lenient;
    struct error err = {0};

    const enum status status = job_options_parse(text, size, false, &strict, &err);
    const enum status again = job_options_parse(text, size, true, &lenient, NULL);
    if (status == STATUS_OK) {
        if (again != STATUS_OK) {
            abort();
        }
        check_round_trip(&strict);
    } else if (err.status != status || err.text[0] == '\0') {
        abort();
    }
    return 0;
}
