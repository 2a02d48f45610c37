#include "prompt/messages.h"

#include <stdlib.h>

#include "base/neutral.h"
#include "base/text.h"
#include "jobs/bodies.h"
#include "prompt/result.h"

/* What a half may take of its example's share: half of it, and what the other one leaves. */
static size_t bound_of(size_t share, size_t other_bytes)
{
    return other_bytes < share / 2 ? share - other_bytes : share / 2;
}

/* Appends one message's text and its NUL. False: nothing visible is left of it. */
static bool append_text(struct slice from, size_t max_bytes, struct strbuf *out)
{
    const size_t start = out->bytes;

    neutral_append(from.data, text_utf8_cut(from.data, from.bytes, max_bytes), max_bytes, out);
    if (!strbuf_ok(out)) {
        return false;
    }
    /* What is broken has grown. */
    out->bytes = start + text_utf8_cut(out->data + start, out->bytes - start, max_bytes);
    const bool is_blank = text_is_blank(out->data + start, out->bytes - start);
    strbuf_append_char(out, '\0');
    return !is_blank && strbuf_ok(out);
}

/* False, and nothing appended, for an example of which there is nothing to show. */
static bool append_example(const struct halves *halves, size_t share, struct strbuf *out)
{
    const size_t start = out->bytes;

    if (append_text(halves->prompt, bound_of(share, halves->result.bytes), out) &&
        append_text(halves->result, bound_of(share, halves->prompt.bytes), out)) {
        return true;
    }
    out->bytes = start;
    return false;
}

/* [messages][a distance for each two of them][texts, each with its NUL]
 *
 * The distances stand behind the messages, not in them: callers' programs know how large these are.
 */
static enum status put_together(const double *distances, const struct strbuf *texts,
                                struct memory_made *made, struct error *err)
{
    const size_t array_bytes = made->count * sizeof(stillhouse_message);
    const size_t distances_bytes = made->count / 2 * sizeof *distances;

    made->bytes = array_bytes + distances_bytes + texts->bytes;
    stillhouse_message *messages = malloc(made->bytes + 1); /* never none */
    if (messages == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for messages");
    }
    memcpy(messages + made->count, distances, distances_bytes);
    char *at = (char *)messages + array_bytes + distances_bytes;
    if (texts->bytes > 0) {
        memcpy(at, texts->data, texts->bytes);
    }
    for (size_t i = 0; i < made->count; i++) {
        messages[i] = (stillhouse_message){i % 2 == 0 ? "user" : "assistant", at};
        at += strlen(at) + 1;
    }
    made->piece = messages;
    return STATUS_OK;
}

enum status messages_make(const struct memory_hit *hit, int k, struct memory_made *made,
                          struct error *err)
{
    const size_t nearest = hit->count < (size_t)k ? hit->count : (size_t)k;
    struct result_task tasks[BODIES_K_MAX];
    double distances[BODIES_K_MAX];
    struct strbuf texts = {0};
    size_t count = 0;

    *made = (struct memory_made){.k = k};
    for (size_t i = 0; i < nearest; i++) {
        count += result_task(hit->piece, hit->made_at, i, &tasks[count]);
    }
    size_t share = count == 0 ? 0 : MESSAGES_MAX_BYTES / count;
    share = share < MESSAGES_EXAMPLE_MAX_BYTES ? share : MESSAGES_EXAMPLE_MAX_BYTES;
    for (size_t i = count; i-- > 0 && strbuf_ok(&texts);) {
        if (append_example(&tasks[i].halves, share, &texts)) {
            distances[made->count / 2] = tasks[i].distance;
            made->count += 2;
        }
    }
    const enum status status = strbuf_ok(&texts)
                                   ? put_together(distances, &texts, made, err)
                                   : error_set(err, STATUS_OOM, "out of memory for messages");
    strbuf_free(&texts);
    return status;
}

void *messages_copy(const struct memory_made *made)
{
    stillhouse_message *out = malloc(made->bytes + 1);

    if (out == NULL) {
        return NULL;
    }
    memcpy(out, made->piece, made->bytes);
    for (size_t i = 0; i < made->count; i++) {
        out[i].content = (char *)out + (out[i].content - (const char *)made->piece);
    }
    return out;
}

double stillhouse_message_distance(const stillhouse_messages_result *messages, size_t i)
{
    if (messages == NULL || i >= messages->count) {
        return -1;
    }
    return ((const double *)(const void *)(messages->messages + messages->count))[i / 2];
}
