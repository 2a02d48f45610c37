/* rules/metadata.h - documents and their metadata: what they say, and how they are put together.
 * Pure, any thread.
 *
 *     const struct meta_value *hash =
 *         metadata_find(example->metadata, example->metadata_count, "content_hash");
 *     if (metadata_is_expired(example, now_unix_ms)) ...
 */
#ifndef STILLHOUSE_RULES_METADATA_H
#define STILLHOUSE_RULES_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "jobs/bodies.h"

/* NULL when absent. */
const struct meta_value *metadata_find(const struct meta_pair *metadata, size_t count,
                                       const char *key);

/* A number of either type; `otherwise` when absent, or no number. */
double metadata_number(const struct meta_pair *metadata, size_t count, const char *key,
                       double otherwise);

/* The one with this id; NULL when absent. */
const struct example *metadata_document(const struct example *documents, size_t count,
                                        struct slice id);

/* Adds a pair to those there are; `to` has room for it. */
static inline void metadata_add(struct metadata *to, const char *key, struct meta_value value)
{
    to->pairs[to->count++] = (struct meta_pair){slice_of(key), value};
}

static inline void metadata_add_text(struct metadata *to, const char *key, struct slice value)
{
    metadata_add(to, key, (struct meta_value){.type = META_STRING, .string = value});
}

static inline void metadata_add_int(struct metadata *to, const char *key, int64_t value)
{
    metadata_add(to, key, (struct meta_value){.type = META_INT, .integer = value});
}

/* Is its time, metadata "expires_ms", over? What has none never expires. */
bool metadata_is_expired(const struct example *example, int64_t now_unix_ms);

#endif
