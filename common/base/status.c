#include "base/status.h"

#include <stdio.h>
#include <string.h>

const char *status_text(enum status status)
{
    static const char *const texts[] = {
#define STATUS_STRING(name, text) [STATUS_##name] = text,
        STATUS_MAP(STATUS_STRING)
#undef STATUS_STRING
    };

    if ((unsigned)status >= sizeof texts / sizeof texts[0]) {
        return "unknown status";
    }
    return texts[status];
}

bool status_may_pass(enum status status)
{
    return status == STATUS_TIMEOUT || status == STATUS_UNREACHABLE || status == STATUS_UNAVAILABLE;
}

enum status error_set(struct error *err, enum status status, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
        err->status = status;
        err->retry_after_ms = 0;
        err->http_code = 0;
    }
    return status;
}

enum status error_wrap(struct error *err, const char *fmt, ...)
{
    char context[ERROR_TEXT_BYTES];
    char inner[ERROR_TEXT_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(context, sizeof context, fmt, args);
    va_end(args);
    memcpy(inner, err->text, sizeof inner);
    snprintf(err->text, sizeof err->text, "%.*s: %s", (int)sizeof err->text / 2, context, inner);
    return err->status;
}
