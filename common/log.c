#include "log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

static enum log_level threshold = LOG_INFO; /* set before threads start, read-only afterwards */

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_set_level(enum log_level level)
{
    threshold = level;
}

bool log_level_parse(const char *text, enum log_level *level)
{
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (level > threshold) {
        return;
    }

    char line[1024];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %s ", now.tv_nsec / 1000000,
                             level_names[level]);

    va_list args;
    va_start(args, fmt);
    int text_bytes = vsnprintf(line + used, sizeof line - used - 1, fmt, args);
    va_end(args);
    size_t end = used + (size_t)(text_bytes < 0 ? 0 : text_bytes);
    if (end > sizeof line - 2) {
        end = sizeof line - 2;
    }
    end = used + text_make_safe(line + used, end - used);
    line[end++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, end);
    (void)written; /* a full or closed standard error must not stop the work */
}

bool log_limit_allow(struct log_limit *limit, long long now_ms, long long interval_ms,
                     long long *suppressed)
{
    if (now_ms < limit->next_ms) {
        limit->suppressed++;
        return false;
    }
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    limit->next_ms = now_ms + interval_ms;
    return true;
}
