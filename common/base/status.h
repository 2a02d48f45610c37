/* base/status.h - how every call in Stillhouse reports failure.
 *
 * A function that can fail returns `enum status` and, where a person will read about it, fills a
 * `struct error` that the caller owns (usually on its stack). Nothing on the error path allocates.
 *
 *     struct error err = {0};
 *     if (redis_url_parse(text, &url, &err) != STATUS_OK) {
 *         return error_wrap(&err, "worker \"%s\"", id);   // worker "a1": what is wrong with it
 *     }
 *
 * Error texts are lower case, without a full stop, and quote their subject.
 */
#ifndef STILLHOUSE_BASE_STATUS_H
#define STILLHOUSE_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>

#define MUSTCHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* X(name, text): the one list of status codes. */
#define STATUS_MAP(X)                                                                              \
    X(OK, "ok")                                                                                    \
    X(FAILED, "failed")           /* none of the others; the text says what */                     \
    X(INVALID, "invalid")         /* the caller's data is wrong; never retry */                    \
    X(NOT_FOUND, "not found")     /* the thing named does not exist */                             \
    X(TIMEOUT, "timed out")       /* outcome unknown: it may have happened */                      \
    X(UNREACHABLE, "unreachable") /* no connection, or it broke: outcome unknown */                \
    X(UNAVAILABLE, "unavailable") /* the server answered "not now" (429, 503, LOADING) */          \
    X(REFUSED, "refused")         /* the server answered "no" (auth, 4xx, error) */                \
    X(FULL, "full")               /* a bound was reached */                                        \
    X(OOM, "out of memory")       /* Redis said -OOM, or malloc failed */                          \
    X(MISMATCH, "mismatch")       /* a collection belongs to another embedder */                   \
    X(GARBLED, "garbled")         /* a peer sent what its protocol does not allow */

enum status {
#define STATUS_ENUM(name, text) STATUS_##name,
    STATUS_MAP(STATUS_ENUM)
#undef STATUS_ENUM
};

enum { ERROR_TEXT_BYTES = 320 };

/* Returns from the function what `call` returned, where that is not STATUS_OK. For where nothing is
 * to be cleaned up, so that a function's way reads straight down. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        const enum status try_status = (call);                                                     \
        if (try_status != STATUS_OK) {                                                             \
            return try_status;                                                                     \
        }                                                                                          \
    } while (0)

/* Detail of a failure, owned by whoever declared it. Zero-initialise it. */
struct error {
    enum status status;
    int retry_after_ms; /* > 0 where the server named a wait (Retry-After), else 0 */
    int http_code;      /* > 0 where an HTTP answer said no, else 0 */
    char text[ERROR_TEXT_BYTES];
};

/* "not found" for STATUS_NOT_FOUND. A static string; any thread. */
const char *status_text(enum status status);

/* TIMEOUT, UNREACHABLE, UNAVAILABLE: what was asked is not at fault, the same may succeed later. */
bool status_may_pass(enum status status) MUSTCHECK;

/* Fills *err (which may be NULL) and returns `status`, so that failing is one line. Truncates. */
enum status error_set(struct error *err, enum status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Puts context in front of the text: "<context>: <old text>". Returns err->status. `err` not NULL.
 */
enum status error_wrap(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
