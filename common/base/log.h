/* base/log.h - one line per event on standard error: "2026-11-21T04:05:06.789Z info lane=2 text".
 *
 * Lines are written with one write(2), so lines of several threads never mix. Any thread.
 *
 * Whoever reads standard error may stand still (a log driver, a stopped terminal), and then
 * write(2) does not return. After log_start a thread does the writing: nobody else waits, what does
 * not fit into 32 KiB is lost, and their number is told when the reader goes on. Before it, and in
 * programs without it, the caller writes.
 */
#ifndef STILLHOUSE_BASE_LOG_H
#define STILLHOUSE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* The least important level that is still written (default LOG_INFO). Call before threads start. */
void log_set_level(enum log_level level);

/* One line; control characters in the text are replaced by '?'. Long lines are cut at 1 KiB. */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "text" and a line end, without time and level; otherwise as log_line. */
void log_plain(const char *text);

/* Once, from the main thread, when signals are blocked as the thread shall have them. */
enum status log_start(struct error *err) MUSTCHECK;

/* Waits until all is written, at most `wait_ms`. Before the process ends. */
void log_flush(int64_t wait_ms);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* Lets one line through per `interval_ms`; counts the rest. Zero-initialise; one thread each. */
struct log_limit {
    long long next_ms;
    long long suppressed;
};

/* True when a line may be written now (`now_ms` monotonic); *suppressed says how many were not. */
bool log_limit_allow(struct log_limit *limit, long long now_ms, long long interval_ms,
                     long long *suppressed) MUSTCHECK;

/* The same for lines of one kind, whoever writes them: one a second. Any thread. `kind` is a few
 * words ("distill rejected"). */
bool log_kind_allow(const char *kind, long long *suppressed) MUSTCHECK;

#endif
