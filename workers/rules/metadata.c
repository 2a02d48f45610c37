#include "rules/metadata.h"

const struct meta_value *metadata_find(const struct meta_pair *metadata, size_t count,
                                       const char *key)
{
    const struct slice name = slice_of(key);

    for (size_t i = 0; i < count; i++) {
        if (slice_equal(metadata[i].key, name)) {
            return &metadata[i].value;
        }
    }
    return NULL;
}

double metadata_number(const struct meta_pair *metadata, size_t count, const char *key,
                       double otherwise)
{
    const struct meta_value *value = metadata_find(metadata, count, key);

    if (value == NULL || (value->type != META_INT && value->type != META_FLOAT)) {
        return otherwise;
    }
    return value->type == META_INT ? (double)value->integer : value->number;
}

const struct example *metadata_document(const struct example *documents, size_t count,
                                        struct slice id)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(documents[i].id, id)) {
            return &documents[i];
        }
    }
    return NULL;
}

bool metadata_is_expired(const struct example *example, int64_t now_unix_ms)
{
    const struct meta_value *expires =
        metadata_find(example->metadata, example->metadata_count, "expires_ms");

    if (expires == NULL) {
        return false;
    }
    return expires->type == META_FLOAT
               ? expires->number <= (double)now_unix_ms
               : expires->type == META_INT && expires->integer <= now_unix_ms;
}
