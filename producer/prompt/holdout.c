#include "prompt/holdout.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/row.h"
#include "jobs/bodies.h"

enum { NUMBER_CHARS = 8 };

bool holdout_has(int64_t share, const char *domain, const char *id)
{
    const size_t domain_bytes = strnlen(domain, TEXT_DOMAIN_MAX);
    const size_t id_bytes = strnlen(id, BODIES_ID_MAX);
    char text[TEXT_DOMAIN_MAX + 1 + BODIES_ID_MAX];
    char digits[TEXT_HASH_CHARS + 1];

    memcpy(text, domain, domain_bytes);
    text[domain_bytes] = '\0';
    memcpy(text + domain_bytes + 1, id, id_bytes);
    text_hash_raw(text, domain_bytes + 1 + id_bytes, digits);
    digits[NUMBER_CHARS] = '\0';
    return strtoull(digits, NULL, 16) * SETTINGS_WHOLE < (uint64_t)share << 32;
}
