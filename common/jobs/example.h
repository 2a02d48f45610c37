/* jobs/example.h - a text of a domain with its metadata, as Chroma holds it and results carry it.
 *
 *     struct halves halves;
 *     if (example_split(&example, &halves)) {
 *         strbuf_append(&out, halves.prompt.data, halves.prompt.bytes);
 *     }
 *
 * Pure, any thread.
 */
#ifndef STILLHOUSE_JOBS_EXAMPLE_H
#define STILLHOUSE_JOBS_EXAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* A metadata value as Chroma can hold it; lists and maps are JSON text. */
enum meta_type { META_STRING, META_INT, META_FLOAT, META_BOOL, META_NULL };

struct meta_value {
    enum meta_type type;
    struct slice string;
    int64_t integer;
    double number;
    bool boolean;
};

struct meta_pair {
    struct slice key;
    struct meta_value value;
};

struct example {
    struct slice id;
    struct slice text;
    double distance;
    struct meta_pair *metadata;
    size_t metadata_count;
};

/* What a past task was asked, and what came out: its text is the two with a blank line between.
 * Both point into the text. */
struct halves {
    struct slice prompt;
    struct slice result;
};

/* The key of the metadata that says how many bytes the prompt has, where the text's first blank
 * line is not the one behind it. */
#define EXAMPLE_PROMPT_KEY "prompt_bytes"

/* Whether a text, made of a prompt of so many bytes, needs that key to be split. */
bool example_is_ambiguous(struct slice text, size_t prompt_bytes);

/* False for what is no past task: an indexed document, a text without a blank line. */
bool example_split(const struct example *example, struct halves *out);

#endif
