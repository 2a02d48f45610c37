/* json/internal.h - shared by the JSON writers. */
#ifndef STILLHOUSE_JSON_INTERNAL_H
#define STILLHOUSE_JSON_INTERNAL_H

#include "json/write.h"

/* printf writes the host program's decimal point, which may be a comma or several bytes; JSON wants
 * a full stop. Changes `text` in place, returns its new length. */
size_t json_use_full_stop(char *text);

#endif
