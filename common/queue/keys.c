#include "queue/keys.h"

#include <stdarg.h>
#include <stdio.h>

const char *keys_name(char out[KEYS_BYTES], const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(out, KEYS_BYTES, format, values);
    va_end(values);
    return out;
}
