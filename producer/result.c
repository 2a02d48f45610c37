/* Results as callers see them: decoded once, every text NUL-terminated, all in one arena. */
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "client.h"

struct owned_result {
    stillhouse_result result; /* first: what the caller holds */
    struct arena arena;
};

static const char *copy(struct owned_result *owned, struct slice slice)
{
    return arena_copy(&owned->arena, slice.data, slice.bytes);
}

static bool copy_meta(struct owned_result *owned, const struct example *from,
                      stillhouse_example *to)
{
    stillhouse_meta *meta = arena_array(&owned->arena, from->metadata_count + 1, sizeof *meta);

    for (size_t i = 0; i < from->metadata_count && meta != NULL; i++) {
        const struct meta_value *value = &from->metadata[i].value;
        stillhouse_meta *own = &meta[to->metadata_count];
        if (value->type == META_NULL) {
            continue;
        }
        own->key = copy(owned, from->metadata[i].key);
        own->type = (stillhouse_meta_type)value->type;
        own->string = value->type == META_STRING ? copy(owned, value->string) : NULL;
        own->integer = value->integer;
        own->number = value->number;
        own->boolean = value->boolean;
        if (own->key == NULL || (own->type == STILLHOUSE_META_STRING && own->string == NULL)) {
            return false;
        }
        to->metadata_count++;
    }
    to->metadata = meta;
    return meta != NULL;
}

_Static_assert((int)META_STRING == STILLHOUSE_META_STRING && (int)META_INT == STILLHOUSE_META_INT &&
                   (int)META_FLOAT == STILLHOUSE_META_FLOAT &&
                   (int)META_BOOL == STILLHOUSE_META_BOOL,
               "the public types are the inner ones");

static bool fill(struct owned_result *owned, const struct enrich_result *from)
{
    stillhouse_result *to = &owned->result;
    stillhouse_example *examples = arena_array(&owned->arena, from->count + 1, sizeof *examples);

    to->domain = copy(owned, from->domain);
    to->query_hash = copy(owned, from->query_hash);
    to->few_shot = copy(owned, from->few_shot);
    to->created_unix_ms = from->created_unix_ms;
    to->epoch = from->epoch;
    if (from->error.data != NULL) {
        to->error = copy(owned, from->error);
    }
    if (examples == NULL || to->domain == NULL || to->query_hash == NULL || to->few_shot == NULL) {
        return false;
    }
    for (size_t i = 0; i < from->count; i++) {
        examples[i].id = copy(owned, from->examples[i].id);
        examples[i].text = copy(owned, from->examples[i].text);
        examples[i].distance = from->examples[i].distance;
        if (examples[i].id == NULL || examples[i].text == NULL ||
            !copy_meta(owned, &from->examples[i], &examples[i])) {
            return false;
        }
    }
    to->examples = examples;
    to->count = from->count;
    return true;
}

stillhouse_result *client_make_result(stillhouse_client *client, const void *bytes, size_t count,
                                      bool stale)
{
    struct owned_result *owned = calloc(1, sizeof *owned);
    struct enrich_result decoded;

    if (owned == NULL) {
        error_set(&client->error, STATUS_OOM, "out of memory");
        return NULL;
    }
    enum status status =
        bodies_decode_result(bytes, count, &owned->arena, &decoded, &client->error);
    if (status == STATUS_OK && !fill(owned, &decoded)) {
        status = error_set(&client->error, STATUS_OOM, "out of memory");
    }
    if (status != STATUS_OK) {
        stillhouse_result_free(&owned->result);
        return NULL;
    }
    owned->result.stale = stale;
    return &owned->result;
}

void stillhouse_result_free(stillhouse_result *result)
{
    struct owned_result *owned = (struct owned_result *)result;
    if (owned != NULL) {
        arena_free(&owned->arena);
        free(owned);
    }
}
