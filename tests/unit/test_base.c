/* The small ones: log, clock, keys. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "queue/keys.h"

/* What `write_lines` writes to standard error. */
static const char *logged(void (*write_lines)(void), char *out, size_t size)
{
    int ends[2];
    int saved = dup(STDERR_FILENO);
    cr_assert_eq(pipe(ends), 0);
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    write_lines();
    cr_assert_geq(dup2(saved, STDERR_FILENO), 0);
    close(saved);
    close(ends[1]);
    ssize_t bytes = 0;
    for (ssize_t got = 1; got > 0; bytes += got) {
        got = read(ends[0], out + bytes, size - 1 - (size_t)bytes);
        cr_assert_geq(got, 0);
    }
    close(ends[0]);
    out[bytes] = '\0';
    return out;
}

static void log_one_of_each(void)
{
    log_error("number %d", 1);
    log_warning("two");
    log_info("three");
    log_debug("four");
}

Test(log, a_line_has_time_level_and_text)
{
    char out[1024];
    int year, month, day, hour, minute, second, ms, end = 0;
    logged(log_one_of_each, out, sizeof out);
    cr_assert_eq(sscanf(out, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ error number 1\n%n", &year, &month, &day,
                        &hour, &minute, &second, &ms, &end),
                 7);
    cr_assert_gt(end, 0, "found %s", out);
    cr_assert_not_null(strstr(out, "Z warning two\n"));
    cr_assert_not_null(strstr(out, "Z info three\n"));
    cr_assert_null(strstr(out, "four"));
}

Test(log, the_level_decides_what_is_written)
{
    char out[1024];
    log_set_level(LOG_ERROR);
    logged(log_one_of_each, out, sizeof out);
    cr_assert_not_null(strstr(out, "number 1"));
    cr_assert_null(strstr(out, "two"));
    log_set_level(LOG_DEBUG);
    logged(log_one_of_each, out, sizeof out);
    cr_assert_not_null(strstr(out, "Z debug four\n"));
}

static void log_foreign_text(void)
{
    log_info("%s", "a\nb\x1b[31mc\x7f%n\302\2330m\342\200\213");
}

Test(log, control_characters_cannot_forge_a_line)
{
    char out[1024];
    logged(log_foreign_text, out, sizeof out);
    cr_assert_not_null(strstr(out, "a?b?[31mc?%n?0m?\n"));
    cr_assert_eq(strchr(out, '\n') - out, (ptrdiff_t)strlen(out) - 1);
}

static void log_a_long_text(void)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_info("%s", text);
}

Test(log, a_long_line_is_cut_at_a_kibibyte)
{
    char out[6000];
    logged(log_a_long_text, out, sizeof out);
    cr_assert_leq(strlen(out), 1024);
    cr_assert_gt(strlen(out), 1000);
    cr_assert_eq(out[strlen(out) - 1], '\n');
}

Test(log, a_limit_lets_one_line_through_an_interval_and_counts_the_rest)
{
    struct log_limit limit = {0};
    long long suppressed = -1;
    cr_assert(log_limit_allow(&limit, 1000, 100, &suppressed));
    cr_assert_eq(suppressed, 0);
    cr_assert_not(log_limit_allow(&limit, 1000, 100, &suppressed));
    cr_assert_not(log_limit_allow(&limit, 1099, 100, &suppressed));
    cr_assert(log_limit_allow(&limit, 1100, 100, &suppressed));
    cr_assert_eq(suppressed, 2);
}

Test(log, lines_of_one_kind_come_once_a_second)
{
    long long suppressed = -1;
    cr_assert(log_kind_allow("distill rejected", &suppressed));
    cr_assert_eq(suppressed, 0);
    for (int i = 0; i < 1000; i++) {
        cr_assert_not(log_kind_allow("distill rejected", &suppressed));
    }
    cr_assert(log_kind_allow("distill malformed", &suppressed), "another kind");
    clock_sleep_ms(1001);
    cr_assert(log_kind_allow("distill rejected", &suppressed));
    cr_assert_eq(suppressed, 1000);
}

/* A full pipe in the place of standard error. Returns its reading end, which nobody reads yet. */
static int stand_still(int *saved)
{
    int ends[2];
    static const char filler[512] = {0};

    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], filler, sizeof filler) > 0) {
    }
    cr_assert_eq(fcntl(ends[0], F_SETFL, 0), 0);
    cr_assert_eq(fcntl(ends[1], F_SETFL, 0), 0);
    *saved = dup(STDERR_FILENO);
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    return ends[0];
}

/* What comes after the filler, until `end` has come; the number of lines. */
static size_t read_lines_until(int fd, const char *end, char *out, size_t size)
{
    size_t bytes = 0;
    size_t lines = 0;

    while (bytes == 0 || out[bytes - 1] != '\n' || strstr(out, end) == NULL) {
        const ssize_t got = read(fd, out + bytes, size - 1 - bytes);
        cr_assert_gt(got, 0);
        for (size_t i = bytes + (size_t)got; i > bytes; i--) {
            lines += out[i - 1] == '\n';
        }
        bytes = bytes == 0 && out[0] == '\0' ? 0 : bytes + (size_t)got;
        out[bytes] = '\0';
    }
    return lines;
}

Test(log, a_reader_that_stands_still_stops_nobody_and_is_told_what_it_missed, .timeout = 60)
{
    enum { LINES = 1000, ROOM_BYTES = 1 << 20 };
    char text[500];
    char *out = calloc(1, ROOM_BYTES);
    struct error err = {0};
    unsigned long long lost = 0;
    int saved;

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    const int fd = stand_still(&saved);
    cr_assert_eq(log_start(&err), STATUS_OK, "%s", err.text);
    for (int i = 0; i < LINES; i++) {
        log_warning("%s", text);
    }
    const int64_t since_ms = clock_now_ms();
    log_flush(50);
    cr_assert_geq(clock_now_ms() - since_ms, 50, "nothing can be written");

    const size_t lines = read_lines_until(fd, "lines lost", out, ROOM_BYTES) - 1;
    const char *told = strstr(out, " lines lost");
    while (told[-1] != ' ') {
        told--;
    }
    cr_assert_eq(sscanf(told, "%llu", &lost), 1);
    cr_assert_eq(lines + lost, LINES, "%zu lines, %llu lost", lines, lost);
    cr_assert_gt(lines, 0);
    log_plain("the last line");
    log_flush(10000);
    cr_assert_eq(read_lines_until(fd, "the last line", out, ROOM_BYTES), 1);
    dup2(saved, STDERR_FILENO);
    close(fd);
    free(out);
}

/* In a process of its own: closes some of 0, 1, 2 and looks at what stands there afterwards. */
static int reserve_without(unsigned closed)
{
    char byte = 0;

    for (int fd = 0; fd <= 2; fd++) {
        if ((closed >> fd & 1) != 0) {
            close(fd);
        }
    }
    if (!descriptors_reserve()) {
        return 1;
    }
    const int next = open("/dev/null", O_RDONLY);
    if (next <= 2) {
        return 2;
    }
    if ((closed & 1) != 0 && (read(0, &byte, 1) != -1 || errno != EBADF)) {
        return 3;
    }
    if ((closed & 2) != 0 && (write(1, "x", 1) != -1 || errno != EBADF)) {
        return 4;
    }
    return (closed & 4) != 0 && write(2, "x", 1) != 1 ? 5 : 0;
}

Test(descriptors, each_that_is_closed_is_taken_and_fails_as_before)
{
    for (unsigned closed = 0; closed < 8; closed++) {
        int state = 0;
        const pid_t pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
            _exit(reserve_without(closed));
        }
        cr_assert_eq(waitpid(pid, &state, 0), pid);
        cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "closed %u: state %d", closed,
                  state);
    }
}

Test(clock, time_goes_on_and_units_agree)
{
    int64_t ns = clock_now_ns();
    int64_t ms = clock_now_ms();
    cr_assert_leq(ns / 1000000, ms);
    cr_assert_leq(ms - ns / 1000000, 1000);
    cr_assert_gt(clock_unix_ms(), INT64_C(1577836800000), "later than 2020");
}

Test(clock, a_sleep_lasts_as_long_as_asked)
{
    int64_t start = clock_now_ms();
    clock_sleep_ms(0);
    clock_sleep_ms(-5);
    cr_assert_leq(clock_now_ms() - start, 1000);
    start = clock_now_ns();
    clock_sleep_ms(20);
    cr_assert_geq(clock_now_ns() - start, INT64_C(20000000));
}

static void ignore_signal(int number)
{
    (void)number;
}

static void *disturb(void *arg)
{
    pthread_t sleeper = *(pthread_t *)arg;
    for (int i = 0; i < 5; i++) {
        clock_sleep_ms(5);
        pthread_kill(sleeper, SIGUSR1);
    }
    return NULL;
}

Test(clock, a_signal_does_not_cut_a_sleep_short)
{
    struct sigaction action = {.sa_handler = ignore_signal};
    pthread_t self = pthread_self();
    pthread_t thread;
    cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
    cr_assert_eq(pthread_create(&thread, NULL, disturb, &self), 0);
    int64_t start = clock_now_ns();
    clock_sleep_ms(60);
    cr_assert_geq(clock_now_ns() - start, INT64_C(60000000));
    pthread_join(thread, NULL);
}

Test(keys, names_are_those_of_the_contract)
{
    char out[KEYS_BYTES];
    cr_assert_str_eq(keys_name(out, KEYS_CACHE, "sh", "legal", "abc"), "sh:cache:{legal}:abc");
    cr_assert_str_eq(keys_name(out, KEYS_EPOCH, "sh", "legal"), "sh:epoch:{legal}");
    cr_assert_str_eq(keys_name(out, KEYS_TWINS, "sh", "legal", "abc"), "sh:twins:{legal}:abc");
    cr_assert_str_eq(keys_name(out, KEYS_SEEN, "sh", "legal", (int64_t)12, 0, "abcdef"),
                     "sh:seen:{legal}:12:");
    cr_assert_str_eq(keys_name(out, KEYS_SEEN, "sh", "legal", (int64_t)12, 3, "abcdef"),
                     "sh:seen:{legal}:12:abc");
    cr_assert_str_eq(keys_name(out, KEYS_EMBED, "sh", "builtin-384-v1", "abc"),
                     "sh:embed:builtin-384-v1:abc");
    cr_assert_str_eq(keys_name(out, KEYS_PLAIN, "sh", "prompts"), "sh:prompts");
    cr_assert_str_eq(keys_name(out, KEYS_WORKER, "sh", "w1"), "sh:worker:w1");
    cr_assert_str_eq(keys_name(out, KEYS_LEASE, "sh", (size_t)2), "sh:lease:chroma:2");
    cr_assert_str_eq(keys_name(out, KEYS_RATE, "x", "embed"), "x:rate:embed");
}

Test(keys, a_name_that_is_too_long_is_cut)
{
    char out[KEYS_BYTES];
    char prefix[2 * KEYS_BYTES];
    memset(prefix, 'p', sizeof prefix - 1);
    prefix[sizeof prefix - 1] = '\0';
    cr_assert_eq(strlen(keys_name(out, KEYS_CACHE, prefix, "legal", "abc")), KEYS_BYTES - 1);
}
