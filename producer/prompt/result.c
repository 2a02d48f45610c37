#include "prompt/result.h"

#include <stdlib.h>
#include <string.h>

/* ---- making one --------------------------------------------------------------------------------
 *
 * [stillhouse_result][examples][their halves][metadata of all examples][texts, each with its NUL]
 *
 * The halves stand behind the examples, not in them: callers' programs know how large these are. */

/* Of a past task; else both NULL. The result is the end of the example's text. */
struct owned_halves {
    const char *prompt;
    const char *result;
};

static bool has_meaning(const struct meta_pair *pair)
{
    return pair->value.type != META_NULL;
}

struct sizes {
    size_t metas;
    size_t text_bytes;
};

static struct sizes measure(const struct enrich_result *from)
{
    struct sizes sizes = {0};

    sizes.text_bytes = from->domain.bytes + 1 + from->query_hash.bytes + 1 + from->few_shot.bytes +
                       1 + from->error.bytes + 1;
    for (size_t i = 0; i < from->count; i++) {
        const struct example *example = &from->examples[i];
        struct halves halves;
        sizes.text_bytes += example->id.bytes + 1 + example->text.bytes + 1;
        if (example_split(example, &halves)) {
            sizes.text_bytes += halves.prompt.bytes + 1;
        }
        for (size_t j = 0; j < example->metadata_count; j++) {
            const struct meta_pair *pair = &example->metadata[j];
            sizes.metas += has_meaning(pair);
            sizes.text_bytes += pair->key.bytes + 1 + pair->value.string.bytes + 1;
        }
    }
    return sizes;
}

/* What is still free of the piece. */
struct room {
    stillhouse_meta *metas;
    char *text;
};

static const char *put_text(struct room *room, struct slice text)
{
    char *at = room->text;

    if (text.bytes > 0) {
        memcpy(at, text.data, text.bytes);
    }
    at[text.bytes] = '\0';
    room->text += text.bytes + 1;
    return at;
}

static void put_meta(struct room *room, const struct meta_pair *pair)
{
    static const stillhouse_meta_type types[] = {
        [META_STRING] = STILLHOUSE_META_STRING,
        [META_INT] = STILLHOUSE_META_INT,
        [META_FLOAT] = STILLHOUSE_META_FLOAT,
        [META_BOOL] = STILLHOUSE_META_BOOL,
    };

    *room->metas++ = (stillhouse_meta){
        .key = put_text(room, pair->key),
        .type = types[pair->value.type],
        .string = pair->value.type == META_STRING ? put_text(room, pair->value.string) : NULL,
        .integer = pair->value.integer,
        .number = pair->value.number,
        .boolean = pair->value.boolean,
    };
}

static void put_example(struct room *room, const struct example *from, stillhouse_example *out,
                        struct owned_halves *owned)
{
    struct halves halves;

    out->id = put_text(room, from->id);
    out->text = put_text(room, from->text);
    if (example_split(from, &halves)) {
        owned->prompt = put_text(room, halves.prompt);
        owned->result = out->text + (halves.result.data - from->text.data);
    }
    out->distance = from->distance;
    out->metadata = room->metas;
    for (size_t i = 0; i < from->metadata_count; i++) {
        if (has_meaning(&from->metadata[i])) {
            put_meta(room, &from->metadata[i]);
        }
    }
    out->metadata_count = (size_t)(room->metas - out->metadata);
}

stillhouse_result *result_make(const struct enrich_result *from, bool stale, size_t *bytes)
{
    const struct sizes sizes = measure(from);
    const size_t examples_bytes =
        from->count * (sizeof(stillhouse_example) + sizeof(struct owned_halves));
    const size_t metas_bytes = sizes.metas * sizeof(stillhouse_meta);

    *bytes = sizeof(stillhouse_result) + examples_bytes + metas_bytes + sizes.text_bytes;
    stillhouse_result *out = calloc(1, *bytes);
    if (out == NULL) {
        return NULL;
    }
    stillhouse_example *examples = (void *)(out + 1);
    struct owned_halves *halves = (void *)(examples + from->count);
    struct room room = {.metas = (void *)(halves + from->count)};
    room.text = (char *)(room.metas + sizes.metas);

    out->domain = put_text(&room, from->domain);
    out->query_hash = put_text(&room, from->query_hash);
    out->created_unix_ms = from->created_unix_ms;
    out->epoch = from->epoch;
    out->stale = stale;
    out->few_shot = put_text(&room, from->few_shot);
    out->error = from->error.data == NULL ? NULL : put_text(&room, from->error);
    out->examples = examples;
    out->count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        put_example(&room, &from->examples[i], &examples[i], &halves[i]);
    }
    return out;
}

/* ---- copying one --------------------------------------------------------------------------- */

/* Where a pointer of the piece made at `made_at` points in its copy. */
static void *moved(void *copy, uintptr_t made_at, const void *pointer)
{
    return pointer == NULL ? NULL : (char *)copy + ((uintptr_t)pointer - made_at);
}

stillhouse_result *result_copy(const void *piece, size_t bytes, uintptr_t made_at)
{
    stillhouse_result *out = malloc(bytes);
    if (out == NULL) {
        return NULL;
    }
    memcpy(out, piece, bytes);
    out->domain = moved(out, made_at, out->domain);
    out->query_hash = moved(out, made_at, out->query_hash);
    out->few_shot = moved(out, made_at, out->few_shot);
    out->error = moved(out, made_at, out->error);

    stillhouse_example *examples = moved(out, made_at, out->examples);
    struct owned_halves *halves = (void *)(examples + out->count);
    out->examples = examples;
    for (size_t i = 0; i < out->count; i++) {
        stillhouse_meta *metas = moved(out, made_at, examples[i].metadata);
        examples[i].id = moved(out, made_at, examples[i].id);
        examples[i].text = moved(out, made_at, examples[i].text);
        examples[i].metadata = metas;
        halves[i].prompt = moved(out, made_at, halves[i].prompt);
        halves[i].result = moved(out, made_at, halves[i].result);
        for (size_t j = 0; j < examples[i].metadata_count; j++) {
            metas[j].key = moved(out, made_at, metas[j].key);
            metas[j].string = moved(out, made_at, metas[j].string);
        }
    }
    return out;
}

/* ---- halves -------------------------------------------------------------------------------- */

static const struct owned_halves *halves_of(const stillhouse_result *result, size_t i)
{
    static const struct owned_halves none;

    return result != NULL && i < result->count
               ? (const struct owned_halves *)(const void *)(result->examples + result->count) + i
               : &none;
}

const char *stillhouse_example_prompt(const stillhouse_result *result, size_t i)
{
    return halves_of(result, i)->prompt;
}

const char *stillhouse_example_result(const stillhouse_result *result, size_t i)
{
    return halves_of(result, i)->result;
}

bool result_task(const void *piece, uintptr_t made_at, size_t i, struct result_task *out)
{
    const stillhouse_result *result = piece;
    const char *start = piece;
    const stillhouse_example *examples =
        (const void *)(start + ((uintptr_t)result->examples - made_at));
    const struct owned_halves *halves = (const void *)(examples + result->count);

    if (halves[i].prompt == NULL) {
        return false;
    }
    *out = (struct result_task){
        .halves = {slice_of(start + ((uintptr_t)halves[i].prompt - made_at)),
                   slice_of(start + ((uintptr_t)halves[i].result - made_at))},
        .distance = examples[i].distance,
    };
    return true;
}

void stillhouse_result_free(stillhouse_result *result)
{
    free(result);
}
