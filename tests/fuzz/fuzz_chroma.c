/* fuzz_chroma.c - whatever a server answers: the first byte chooses the decoder, the rest is the
 * answer. What was decoded is read to its last byte, so that the sanitizers see a wrong length. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "chroma/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t touched;

static void touch(struct slice slice)
{
    for (size_t i = 0; i < slice.bytes; i++) {
        touched += (unsigned char)slice.data[i];
    }
}

static void touch_hits(const struct chroma_hits *hits)
{
    for (size_t i = 0; i < hits->count; i++) {
        const struct example *example = &hits->examples[i];
        touch(example->id);
        touch(example->text);
        if (!(example->distance >= 0)) {
            abort();
        }
        for (size_t m = 0; m < example->metadata_count; m++) {
            touch(example->metadata[m].key);
            touch(example->metadata[m].value.string);
        }
    }
}

static bool wants(const void *context, const struct example *hit)
{
    (void)context;
    return hit->id.bytes % 2 == 0;
}

static void decode_query(uint8_t choice, const char *text, size_t bytes)
{
    struct chroma_walk walk = {
        .asked = {.count = 1 + (choice >> 3 & 3U),
                  .n_results = 20,
                  .wanted = (choice & 32) != 0 ? wants : NULL},
        .text_in_metadata = (choice & 4) != 0,
    };
    struct arena arena = {.is_must = true};
    struct error err = {0};
    enum status status = chroma_walk_open(&walk, text, bytes, &err);

    for (size_t i = 0; i < walk.asked.count && status == STATUS_OK; i++) {
        struct chroma_hits hits = {0};
        status = chroma_walk_next(&walk, &arena, &hits, &err);
        if (status == STATUS_OK) {
            touch_hits(&hits);
        }
        arena_reset(&arena, 0);
    }
    touched += status != STATUS_OK;
    arena_free(&arena);
}

static void decode_get(uint8_t choice, const char *text, size_t bytes)
{
    struct chroma_walk walk = {.text_in_metadata = (choice & 4) != 0};
    struct arena arena = {.is_must = true};
    struct chroma_hits hits = {0};
    struct error err = {0};

    if (chroma_walk_open(&walk, text, bytes, &err) == STATUS_OK &&
        chroma_walk_all(&walk, &arena, &hits, &err) == STATUS_OK) {
        touch_hits(&hits);
    }
    arena_free(&arena);
}

static void decode(uint8_t choice, const cJSON *root)
{
    static const struct chroma_identity identity = {.model = "m", .dimension = 2};
    struct arena arena = {.is_must = true};
    struct chroma_domains domains = {0};
    struct error err = {0};
    char id[CHROMA_ID_BYTES];
    int64_t count = 0;

    switch (choice & 3) {
    case 2:
        if (chroma_decode_collection(root, "sh-x", &identity, id, &err) == STATUS_OK) {
            touched += strlen(id);
        }
        break;
    default:
        if ((choice & 4) != 0) {
            if (chroma_decode_domains(root, &arena, &domains, &err) == STATUS_OK) {
                touched += domains.count;
            }
        } else if (chroma_decode_count(root, &count, &err) == STATUS_OK && count < 0) {
            abort();
        }
        break;
    }
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    cJSON *root = NULL;

    if (size == 0) {
        return 0;
    }
    char *text = malloc(size); /* exactly as long as it may be read: text and its NUL */
    if (text == NULL) {
        abort();
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if ((data[0] & 3) == 0) {
        decode_query(data[0], text, size - 1);
    } else if ((data[0] & 3) == 1) {
        decode_get(data[0], text, size - 1);
    } else if (chroma_parse(text, size - 1, &root, &err) == STATUS_OK) {
        decode(data[0], root);
    }
    cJSON_Delete(root);
    free(text);
    return 0;
}
