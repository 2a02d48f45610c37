#include "queue/keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Texts are put in by hand, since a worker names two keys a cached enrichment and printf takes a
 * thousand instructions for each; from the first number on it is printf's. */
const char *keys_name(char out[KEYS_BYTES], const char *format, ...)
{
    const char *at = format;
    size_t used = 0;
    va_list values;

    va_start(values, format);
    while (*at != '\0' && used < KEYS_BYTES - 1 && (at[0] != '%' || at[1] == 's')) {
        if (*at != '%') {
            out[used++] = *at++;
            continue;
        }
        const char *text = va_arg(values, const char *);
        const size_t bytes = strnlen(text, KEYS_BYTES - 1 - used);
        memcpy(out + used, text, bytes);
        used += bytes;
        at += 2;
    }
    out[used] = '\0';
    if (*at == '%' && used < KEYS_BYTES - 1) {
        vsnprintf(out + used, KEYS_BYTES - used, at, values);
    }
    va_end(values);
    return out;
}
