#include "http/hide.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/text.h"

enum {
    RUN = 16,       /* of a text: shorter ones stand in any error by chance */
    WHOLE_MIN = 8,  /* of a text that is shorter than a run */
    SECRET_RUN = 8, /* of a header's value */
    SECRET_MIN = 4, /* a value shorter than this is no secret */
    SECRET_MAX = 512,
    SLOTS = 2 * HTTP_QUOTED_MAX_BYTES,
};

/* ---- characters ------------------------------------------------------------------------------ */

static bool read_hex(const char *text, size_t bytes, uint32_t *out)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";

    *out = 0;
    for (size_t i = 0; i < 4; i++) {
        const char *digit = i < bytes && text[i] != '\0' ? strchr(digits, text[i]) : NULL;
        if (digit == NULL) {
            return false;
        }
        *out = *out << 4 | (uint32_t)((digit - digits) & 15);
    }
    return true;
}

/* "\u" and four digits, or two of these that are one character. 0 = none. */
static size_t read_escaped(const char *text, size_t bytes, uint32_t *out)
{
    uint32_t low = 0;

    if (bytes < 6 || text[1] != 'u' || !read_hex(text + 2, bytes - 2, out)) {
        return 0;
    }
    if (*out >= 0xd800 && *out < 0xdc00 && bytes >= 12 && text[6] == '\\' && text[7] == 'u' &&
        read_hex(text + 8, bytes - 8, &low) && low >= 0xdc00 && low < 0xe000) {
        *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
        return 12;
    }
    return 6;
}

/* The character at `text`, escaped as in JSON or not, all white space and controls as ' '. Returns
 * its length. */
static size_t next_character(const char *text, size_t bytes, uint32_t *c)
{
    static const char escapes[] = "nrtbf\"\\/";
    static const char meant[] = "     \"\\/";
    size_t length = 1;

    *c = (unsigned char)text[0];
    if (text[0] == '\\' && bytes > 1) {
        const char *escape = text[1] != '\0' ? strchr(escapes, text[1]) : NULL;
        const size_t long_escape = read_escaped(text, bytes, c);
        if (escape != NULL) {
            *c = (unsigned char)meant[escape - escapes];
            length = 2;
        } else {
            length = long_escape > 0 ? long_escape : 1;
        }
    } else if (*c >= 0x80) {
        const size_t whole = text_decode(text, bytes, c);
        length = whole > 0 ? whole : 1;
    }
    if (*c <= ' ' || *c == 0x7f || *c == 0xa0) {
        *c = ' ';
    }
    return length;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* The answer's characters, white space as one each, and which of them stand in the request. */
struct answer {
    size_t count;
    uint32_t points[HTTP_QUOTED_MAX_BYTES];
    uint16_t from[HTTP_QUOTED_MAX_BYTES + 1]; /* where each begins */
    bool hidden[HTTP_QUOTED_MAX_BYTES];
    uint16_t first[HTTP_QUOTED_MAX_BYTES]; /* the first run of RUN characters that is the same */
    bool met[HTTP_QUOTED_MAX_BYTES];       /* of first ones: it stands in the request */
    uint16_t slots[SLOTS];                 /* first ones by their hash, plus 1 */
};

_Static_assert(HTTP_QUOTED_MAX_BYTES < UINT16_MAX, "places are 16 bits");

static void read_answer(struct answer *answer, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        uint32_t c = 0;
        const size_t length = next_character(text + i, bytes - i, &c);
        if (c != ' ' || answer->count == 0 || answer->points[answer->count - 1] != ' ') {
            answer->from[answer->count] = (uint16_t)i;
            answer->points[answer->count++] = c;
        }
        i += length;
    }
    answer->from[answer->count] = (uint16_t)bytes;
}

static size_t slot_of(const uint32_t *run)
{
    uint32_t hash = 2166136261U;

    for (size_t i = 0; i < RUN; i++) {
        hash = (hash ^ run[i]) * 16777619U;
    }
    return (hash ^ hash >> 15) % SLOTS;
}

/* The slot that holds this run, or the free one where it would be. */
static size_t find_slot(const struct answer *answer, const uint32_t *run)
{
    size_t slot = slot_of(run);

    while (answer->slots[slot] != 0 &&
           memcmp(answer->points + answer->slots[slot] - 1, run, RUN * sizeof *run) != 0) {
        slot = (slot + 1) % SLOTS;
    }
    return slot;
}

static void index_runs(struct answer *answer)
{
    for (size_t i = 0; i + RUN <= answer->count; i++) {
        const size_t slot = find_slot(answer, answer->points + i);
        if (answer->slots[slot] == 0) {
            answer->slots[slot] = (uint16_t)(i + 1);
        }
        answer->first[i] = (uint16_t)(answer->slots[slot] - 1);
    }
}

static void hide(struct answer *answer, size_t at, size_t count)
{
    memset(answer->hidden + at, true, count);
}

static void hide_all_like(struct answer *answer, const uint32_t *run, size_t count)
{
    for (size_t i = 0; i + count <= answer->count; i++) {
        if (memcmp(answer->points + i, run, count * sizeof *run) == 0) {
            hide(answer, i, count);
        }
    }
}

/* ---- the request ----------------------------------------------------------------------------- */

/* The last characters of a string of the request, the newest last. */
struct tail {
    uint32_t points[RUN];
    size_t count; /* of the string's characters so far */
};

static void push(struct tail *tail, uint32_t c)
{
    if (c == ' ' && tail->count > 0 &&
        tail->points[(tail->count < RUN ? tail->count : RUN) - 1] == ' ') {
        return;
    }
    if (tail->count < RUN) {
        tail->points[tail->count] = c;
    } else {
        memmove(tail->points, tail->points + 1, (RUN - 1) * sizeof tail->points[0]);
        tail->points[RUN - 1] = c;
    }
    tail->count++;
}

/* The strings of our own JSON; what stands before a colon is a name. */
static void meet_strings(struct answer *answer, const char *json, size_t bytes)
{
    struct tail tail = {0};
    bool quoted = false;

    for (size_t i = 0; i < bytes;) {
        uint32_t c = 0;
        if (json[i] == '"') {
            i++;
            const bool is_name = i < bytes && json[i] == ':';
            if (quoted && !is_name && tail.count >= WHOLE_MIN && tail.count < RUN) {
                hide_all_like(answer, tail.points, tail.count);
            }
            tail.count = 0;
            quoted = !quoted;
            continue;
        }
        if (!quoted) {
            i++;
            continue;
        }
        i += next_character(json + i, bytes - i, &c);
        push(&tail, c);
        if (tail.count >= RUN) {
            const size_t slot = find_slot(answer, tail.points);
            if (answer->slots[slot] != 0) {
                answer->met[answer->slots[slot] - 1] = true;
            }
        }
    }
    for (size_t i = 0; i + RUN <= answer->count; i++) {
        if (answer->met[answer->first[i]]) {
            hide(answer, i, RUN);
        }
    }
}

/* A header's value without the word that names its kind ("Bearer"). */
static const char *secret_of(const char *header)
{
    const char *colon = strchr(header, ':');
    const char *value = colon == NULL ? header : colon + 1;
    const char *space = strrchr(value, ' ');

    return space == NULL ? value : space + 1;
}

static void meet_secret(struct answer *answer, const char *secret)
{
    uint32_t points[SECRET_MAX];
    size_t count = 0;
    const size_t bytes = strlen(secret);

    for (size_t i = 0; i < bytes && count < SECRET_MAX; count++) {
        i += next_character(secret + i, bytes - i, &points[count]);
    }
    const size_t run = count < SECRET_RUN ? count : SECRET_RUN;
    for (size_t i = 0; run >= SECRET_MIN && i + run <= count; i++) {
        hide_all_like(answer, points + i, run);
    }
}

/* ---- the two --------------------------------------------------------------------------------- */

/* What is hidden is four characters at least, so what is kept only moves to the front. */
static void cut_out(struct strbuf *body, const struct answer *answer)
{
    const size_t read = answer->from[answer->count];
    static const char gap[] = "***";
    size_t kept = 0;

    for (size_t i = 0; i < answer->count; i++) {
        const size_t bytes = (size_t)answer->from[i + 1] - answer->from[i];
        if (!answer->hidden[i]) {
            memmove(body->data + kept, body->data + answer->from[i], bytes);
            kept += bytes;
        } else if (i == 0 || !answer->hidden[i - 1]) {
            memcpy(body->data + kept, gap, sizeof gap - 1);
            kept += sizeof gap - 1;
        }
    }
    memmove(body->data + kept, body->data + read, body->bytes - read + 1); /* and the NUL */
    body->bytes -= read - kept;
}

void http_hide_sent(struct strbuf *body, const struct http_sent *sent)
{
    if (body->bytes == 0) {
        return;
    }
    struct answer *answer = must_alloc(1, sizeof *answer);
    read_answer(answer, body->data,
                text_utf8_cut(body->data, body->bytes, (size_t)HTTP_QUOTED_MAX_BYTES));
    index_runs(answer);
    if (sent->body != NULL && sent->foreign_from < sent->body_bytes) {
        meet_strings(answer, sent->body + sent->foreign_from,
                     sent->body_bytes - sent->foreign_from);
    }
    for (char *const *header = sent->headers; header != NULL && *header != NULL; header++) {
        meet_secret(answer, secret_of(*header));
    }
    cut_out(body, answer);
    free(answer);
}

void http_hide_headers(struct strbuf *body, char *const *headers)
{
    const size_t looked_at =
        body->bytes < HTTP_QUOTED_MAX_BYTES ? body->bytes : HTTP_QUOTED_MAX_BYTES;

    for (; looked_at > 0 && headers != NULL && *headers != NULL; headers++) {
        const char *secret = secret_of(*headers);
        const size_t bytes = strlen(secret);
        char *at = body->data;
        while (bytes >= SECRET_MIN &&
               (at = memmem(at, looked_at - (size_t)(at - body->data), secret, bytes)) != NULL) {
            memset(at, '*', bytes);
            at += bytes;
        }
    }
}
