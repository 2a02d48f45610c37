#include "jobs/example.h"

#define BLANK_LINE "\n\n"

enum { BLANK_LINE_BYTES = sizeof BLANK_LINE - 1 };

static const struct meta_value *find(const struct example *example, const char *key)
{
    const struct slice name = slice_of(key);

    for (size_t i = 0; i < example->metadata_count; i++) {
        if (slice_equal(example->metadata[i].key, name)) {
            return &example->metadata[i].value;
        }
    }
    return NULL;
}

/* Where the first blank line is; the text's length where there is none. */
static size_t first_blank_line(struct slice text)
{
    const char *at =
        text.bytes == 0 ? NULL : memmem(text.data, text.bytes, BLANK_LINE, BLANK_LINE_BYTES);

    return at == NULL ? text.bytes : (size_t)(at - text.data);
}

bool example_is_ambiguous(struct slice text, size_t prompt_bytes)
{
    return first_blank_line(text) != prompt_bytes;
}

static bool is_blank_line(struct slice text, size_t at)
{
    return at <= text.bytes && text.bytes - at >= BLANK_LINE_BYTES &&
           memcmp(text.data + at, BLANK_LINE, BLANK_LINE_BYTES) == 0;
}

/* What the metadata says, which somebody else may have written: the text's length where it is no
 * number that a length could be. Chroma may give a whole number back as a float. */
static size_t known_split(const struct example *example)
{
    const struct meta_value *value = find(example, EXAMPLE_PROMPT_KEY);
    const double most = (double)example->text.bytes;

    if (value != NULL && value->type == META_INT && value->integer >= 0 &&
        (uint64_t)value->integer < example->text.bytes) {
        return (size_t)value->integer;
    }
    if (value != NULL && value->type == META_FLOAT && value->number >= 0 && value->number < most) {
        return (size_t)value->number;
    }
    return example->text.bytes;
}

bool example_split(const struct example *example, struct halves *out)
{
    const struct slice text = example->text;
    size_t at = known_split(example);

    if (find(example, "task_id") == NULL || find(example, "content_hash") != NULL) {
        return false;
    }
    if (!is_blank_line(text, at)) {
        at = first_blank_line(text);
    }
    if (!is_blank_line(text, at)) {
        return false;
    }
    const size_t behind = at + BLANK_LINE_BYTES;
    *out = (struct halves){{text.data, at}, {text.data + behind, text.bytes - behind}};
    return true;
}
