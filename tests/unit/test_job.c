#include <criterion/criterion.h>
#include <string.h>

#include "jobs/job.h"

static struct job_options parsed(const char *text)
{
    struct job_options options;
    struct error err = {0};

    cr_assert_eq(job_options_parse(text, strlen(text), false, &options, &err), STATUS_OK, "%s: %s",
                 text, err.text);
    return options;
}

static void refuse(const char *text, const char *why)
{
    struct job_options options;
    struct error err = {0};

    cr_assert_eq(job_options_parse(text, strlen(text), false, &options, &err), STATUS_INVALID,
                 "\"%s\" was taken", text);
    cr_assert_not_null(strstr(err.text, why), "\"%s\": \"%s\" without \"%s\"", text, err.text, why);
}

static bool is(struct slice slice, const char *text)
{
    return slice.bytes == strlen(text) && memcmp(slice.data, text, slice.bytes) == 0;
}

Test(job, no_options_are_the_defaults)
{
    struct job_options options;

    cr_assert_eq(job_options_parse(NULL, 0, false, &options, NULL), STATUS_OK);
    cr_assert_eq(options.priority, JOB_NORMAL);
    cr_assert_eq(options.delay_ms, 0);
    cr_assert_eq(options.deadline_unix_ms, 0);
    cr_assert_eq(options.since_unix_ms, 0);
    cr_assert_null(options.unique.data);
    cr_assert_null(options.traceparent.data);
    cr_assert_not(options.reply);
}

Test(job, every_option_is_taken)
{
    const struct job_options options =
        parsed("priority=high delay_ms=5000 deadline_ms=1700000000000 unique=a=b reply=1 "
               "traceparent=00-ab-cd-01 since=1600000000000");

    cr_assert_eq(options.priority, JOB_HIGH);
    cr_assert_eq(options.delay_ms, 5000);
    cr_assert_eq(options.deadline_unix_ms, 1700000000000);
    cr_assert_eq(options.since_unix_ms, 1600000000000);
    cr_assert(is(options.unique, "a=b"));
    cr_assert(is(options.traceparent, "00-ab-cd-01"));
    cr_assert(options.reply);
}

Test(job, options_that_are_no_pairs_are_refused)
{
    refuse("reply", "expected key=value pairs");
    refuse("=1", "expected key=value pairs");
    refuse(" reply=1", "expected key=value pairs");
    refuse("reply=1 ", "expected key=value pairs");
    refuse("reply=1  since=1", "expected key=value pairs");
}

Test(job, a_bad_value_is_refused_with_key_value_and_expectation)
{
    refuse("priority=urgent", "priority \"urgent\": expected high, normal or low");
    refuse("delay_ms=-1", "delay_ms \"-1\": expected a whole number");
    refuse("delay_ms=", "delay_ms \"\": expected a whole number");
    refuse("delay_ms=1234567890123456", "expected a whole number");
    refuse("delay_ms=2592000001", "delay_ms 2592000001: expected at most 30 days");
    refuse("deadline_ms=0", "deadline_ms \"0\"");
    refuse("since=now", "since \"now\"");
    refuse("reply=0", "reply \"0\": expected 1");
    refuse("unique=", "unique \"\"");
    refuse("unique=a\tb", "unique");
    refuse("traceparent=\xc3\xa4", "traceparent");
    refuse("reply=1 reply=1", "option \"reply\": expected it once");
    refuse("colour=red", "option \"colour\": expected one of");
}

Test(job, a_unique_key_may_have_256_bytes_and_no_more)
{
    char text[8 + 257];

    memcpy(text, "unique=", 7);
    memset(text + 7, 'x', 257);
    text[7 + 256] = '\0';
    cr_assert_eq(parsed(text).unique.bytes, 256);
    text[7 + 256] = 'x';
    text[7 + 257] = '\0';
    refuse(text, "unique");
}

Test(job, an_unknown_option_is_ignored_in_a_job_that_stands_already)
{
    struct job_options options;
    struct error err = {0};
    const char *text = "colour=red reply=1";

    cr_assert_eq(job_options_parse(text, strlen(text), true, &options, &err), STATUS_OK);
    cr_assert(options.reply);
    cr_assert_eq(job_options_parse("priority=x", 10, true, &options, &err), STATUS_INVALID);
}

/* The library's functions would leave such a job where it is, until it is dead as crash_loop. */
Test(job, what_the_functions_do_not_take_is_refused_in_a_job_that_stands_already)
{
    struct job_options options;
    char text[2100];

    cr_assert_eq(job_options_parse("note=a\tb", 8, true, &options, NULL), STATUS_INVALID);
    cr_assert_eq(job_options_parse("note=a\x7f", 7, true, &options, NULL), STATUS_INVALID);
    memset(text, 'x', sizeof text);
    memcpy(text, "note=", 5);
    cr_assert_eq(job_options_parse(text, 2048, true, &options, NULL), STATUS_OK);
    cr_assert_eq(job_options_parse(text, 2049, true, &options, NULL), STATUS_INVALID);
    cr_assert_eq(job_options_parse("delay_ms=99999999999", 20, true, &options, NULL), STATUS_OK,
                 "one that an older library let in");
}

Test(job, options_are_written_canonically_and_read_back)
{
    char out[640];
    const char *text = "priority=low delay_ms=1 deadline_ms=2 unique=k reply=1 traceparent=t "
                       "since=3";
    const struct job_options options = parsed(text);

    cr_assert_eq(job_options_format(&options, out, sizeof out), strlen(text));
    cr_assert_str_eq(out, text);
}

Test(job, defaults_are_written_as_nothing)
{
    char out[8] = "before";
    const struct job_options options = {.priority = JOB_NORMAL};

    cr_assert_eq(job_options_format(&options, out, sizeof out), 0);
    cr_assert_str_empty(out);
    cr_assert_eq(job_options_format(&options, NULL, 0), 0);
}

Test(job, the_longest_options_fit_into_640_bytes)
{
    char unique[256];
    char trace[128];
    char out[640];

    memset(unique, 'u', sizeof unique);
    memset(trace, 't', sizeof trace);
    const struct job_options options = {.priority = JOB_HIGH,
                                        .delay_ms = 999999999999999,
                                        .deadline_unix_ms = 999999999999999,
                                        .since_unix_ms = 999999999999999,
                                        .unique = {unique, sizeof unique},
                                        .traceparent = {trace, sizeof trace},
                                        .reply = true};
    const size_t bytes = job_options_format(&options, out, sizeof out);
    struct job_options back;
    cr_assert_eq(job_options_parse(out, bytes, true, &back, NULL), STATUS_OK);
    cr_assert_eq(back.since_unix_ms, options.since_unix_ms);
}

Test(job, an_option_that_does_not_fit_is_left_out_whole)
{
    char out[16];
    const struct job_options options = {.priority = JOB_HIGH, .reply = true};

    cr_assert_eq(job_options_format(&options, out, sizeof out), 13);
    cr_assert_str_eq(out, "priority=high");
}

Test(job, priorities_have_names)
{
    enum job_priority priority = JOB_NORMAL;

    cr_assert_str_eq(job_priority_name(JOB_HIGH), "high");
    cr_assert_str_eq(job_priority_name(JOB_LOW), "low");
    cr_assert_str_eq(job_priority_name((enum job_priority)9), "normal");
    cr_assert(job_priority_parse("low", 3, &priority));
    cr_assert_eq(priority, JOB_LOW);
    cr_assert_not(job_priority_parse("lo", 2, &priority));
}

/* ---- what the fleet notes of a parked job ---- */

static struct job_options lenient(const char *text)
{
    struct job_options options;
    struct error err = {0};

    cr_assert_eq(job_options_parse(text, strlen(text), true, &options, &err), STATUS_OK, "%s: %s",
                 text, err.text);
    return options;
}

Test(job, what_a_parked_job_waits_for_is_read_and_never_costs_the_job)
{
    static const char *const junk[] = {"parked=",     "parked=1",        "parked=x.chroma.write.5",
                                       "parked=1.2",  "parked=..",       "parked=1.chroma.write.",
                                       "parked=.a.1", "parked=1.a.b.1x", "parked=1..2..3.x"};
    const struct job_options options = lenient("since=5 parked=3.chroma.write.1700000000000");

    cr_assert_eq(options.parked.tries, 3);
    cr_assert_eq(options.parked.tried_unix_ms, 1700000000000);
    cr_assert_eq(options.parked.waits_for.bytes, strlen("chroma.write"));
    cr_assert_eq(memcmp(options.parked.waits_for.data, "chroma.write", strlen("chroma.write")), 0);
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        cr_assert_eq(lenient(junk[i]).parked.tries, 0, "%s", junk[i]);
    }
}

Test(job, a_producer_may_not_say_that_a_job_is_parked)
{
    static const char text[] = "parked=3.chroma.write.1";
    struct job_options options;
    struct error err = {0};

    cr_assert_eq(job_options_parse(text, strlen(text), false, &options, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "expected one of priority"), "%s", err.text);
}
