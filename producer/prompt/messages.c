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

static enum status put_together(const struct strbuf *texts, struct memory_made *made,
                                struct error *err)
{
    const size_t array_bytes = made->count * sizeof(stillhouse_message);

    made->bytes = array_bytes + texts->bytes;
    stillhouse_message *messages = malloc(made->bytes + 1); /* never none */
    if (messages == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for messages");
    }
    char *at = (char *)messages + array_bytes;
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
    struct halves halves[BODIES_K_MAX];
    struct strbuf texts = {0};
    size_t tasks = 0;

    *made = (struct memory_made){.k = k};
    for (size_t i = 0; i < nearest; i++) {
        tasks += result_halves(hit->piece, hit->made_at, i, &halves[tasks]);
    }
    size_t share = tasks == 0 ? 0 : MESSAGES_MAX_BYTES / tasks;
    share = share < MESSAGES_EXAMPLE_MAX_BYTES ? share : MESSAGES_EXAMPLE_MAX_BYTES;
    for (size_t i = tasks; i-- > 0 && strbuf_ok(&texts);) {
        made->count += append_example(&halves[i], share, &texts) ? 2 : 0;
    }
    const enum status status = strbuf_ok(&texts)
                                   ? put_together(&texts, made, err)
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
