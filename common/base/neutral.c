#include "base/neutral.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

/* Anywhere in a text, in any case: a space is put behind the first character. */
static const char *const tokens[] = {
    "<|",
    "|>",
    "<\xef\xbd\x9c",
    "\xef\xbd\x9c>",
    "[INST]",
    "[/INST]",
    "<<SYS>",
    "<</SYS>",
    "<s>",
    "</s>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
    "<eos>",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "<tool_call>",
    "</tool_call>",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
    "<function_calls>",
    "</function_calls>",
    "<function_results>",
    "</function_results>",
    "<invoke ",
    "</invoke>",
    "<think>",
    "</think>",
    "<thinking>",
    "</thinking>",
    "<system>",
    "</system>",
    "<assistant>",
    "</assistant>",
    "<human>",
    "</human>",
    "<instructions>",
    "</instructions>",
    "<example>",
    "</example>",
    "<examples>",
    "</examples>",
};

/* At the start of a line, also of one that is quoted or set bold: a space is put before the colon.
 */
static const char *const roles[] = {
    "human", "assistant", "system", "user", "tool", "developer", "model", "ai", "bot", "function",
};

/* The same where the line is a heading ("### Instruction:"). */
static const char *const headings[] = {"instruction", "instructions", "input", "response"};

/* ---- what shows nothing: dropped, unless the text reads differently without it -----------------
 */

enum {
    JOINERS_BYTES = 3, /* U+200C and U+200D in UTF-8 */
    FLAG = 0x1f3f4,
    TAG_END = 0xe007f,
    FLAG_TAGS_MIN = 3, /* a country's two letters and one to four of its parts (UTS 51) */
    FLAG_TAGS_MAX = 6,
    DIRECTION_REACH = 16, /* characters between a mark of direction and the letters it parts */
};

struct range {
    uint32_t first, last;
};

/* Scripts whose letters take another shape, or make another word, beside a joiner. Their native
 * digits too: Persian writes "5-year-old" with one behind the digit. */
static const struct range joining[] = {
    {0x0600, 0x07ff},   /* Arabic, Syriac, Thaana, N'Ko */
    {0x0840, 0x0dff},   /* Mandaic, more Arabic, the scripts of India, Sinhala */
    {0x0f00, 0x109f},   /* Tibetan, Myanmar */
    {0x1700, 0x18af},   /* Philippine scripts, Khmer, Mongolian */
    {0x1900, 0x1cff},   /* Limbu to the Vedic extensions */
    {0xa840, 0xabff},   /* Phags-pa to Meetei Mayek */
    {0xfb50, 0xfdff},   /* Arabic as it was encoded once */
    {0xfe70, 0xfefc},   /* ditto */
    {0x10ac0, 0x10aff}, /* Manichaean */
    {0x11000, 0x11dff}, /* Brahmi and what came of it */
    {0x1e900, 0x1e95f}, /* Adlam */
};

/* Whole blocks: between two of these there is no control token that a joiner could split. */
static const struct range pictographs[] = {
    {0x2190, 0x23ff}, {0x25a0, 0x27bf}, {0x2900, 0x297f}, {0x2b00, 0x2bff}, {0x1f000, 0x1faff},
};

static const struct range right_to_left[] = {
    {0x0590, 0x08ff}, {0xfb1d, 0xfdff}, {0xfe70, 0xfefc}, {0x10800, 0x10fff}, {0x1e800, 0x1efff},
};

static bool is_in(const struct range *ranges, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

#define IS_IN(ranges, c) is_in(ranges, sizeof(ranges) / sizeof(ranges)[0], c)

/* C0/C1 controls, zero-width, direction marks, fillers, variations, annotations, tags. The signs
 * that Arabic and Kaithi put before a number are format characters too, but shown. */
static const struct range invisible[] = {
    {0x00, 0x08},     {0x0b, 0x1f},     {0x7f, 0x9f},       {0xad, 0xad},       {0x34f, 0x34f},
    {0x61c, 0x61c},   {0x115f, 0x1160}, {0x17b4, 0x17b5},   {0x180e, 0x180e},   {0x200b, 0x200f},
    {0x2028, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},
    {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

/* What variations are defined for beside emoji: letters of Asia, signs of mathematics. */
static const struct range varied[] = {
    {0x1000, 0x109f}, {0x1820, 0x18aa},   {0x2200, 0x22ff},   {0x2a00, 0x2aff},
    {0x3001, 0x30ff}, {0x3400, 0x9fff},   {0xa840, 0xa87f},   {0xf900, 0xfaff},
    {0xff01, 0xff0f}, {0x10ac0, 0x10aff}, {0x20000, 0x3ffff},
};

static const struct range mongolian[] = {{0x1820, 0x18aa}};
static const struct range jamo[] = {{0x1100, 0x11ff}, {0xa960, 0xa97f}, {0xd7b0, 0xd7ff}};

static bool is_invisible(uint32_t c)
{
    return (c < 0x20 || c >= 0x7f) && IS_IN(invisible, c);
}

/* A new line to whoever splits a text by Unicode's rules. */
static bool ends_line(uint32_t c)
{
    return (c >= 0x0b && c <= 0x0d) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

/* Decodes one character of well-formed UTF-8; returns its length. */
static size_t decode(const unsigned char *text, size_t bytes, uint32_t *c)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    if (length > bytes) {
        length = bytes; /* not well-formed: shown as it is */
    }
    *c = length == 1 ? text[0] : text[0] & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        *c = *c << 6 | (text[i] & 0x3fU);
    }
    return length;
}

/* The character at `at`, or 0 at the text's end. */
static uint32_t character_at(const char *text, size_t bytes, size_t at)
{
    uint32_t c = 0;

    if (at < bytes) {
        (void)decode((const unsigned char *)text + at, bytes - at, &c);
    }
    return c;
}

/* Moves `at` to the character before it and returns that; 0 at the text's start. */
static uint32_t step_back(const char *text, size_t *at)
{
    const size_t end = *at;

    while (*at > 0) {
        (*at)--;
        if (((unsigned char)text[*at] & 0xc0) != 0x80) {
            return character_at(text, end, *at);
        }
    }
    return 0;
}

static bool is_digit(uint32_t c)
{
    return (c >= 0x660 && c <= 0x669) || (c >= 0x6f0 && c <= 0x6f9);
}

/* Makes a consonant of India's scripts lose its vowel. A joiner behind it says how the two are
 * written, also at a word's end (RFC 5892, appendix A). */
static bool is_virama(uint32_t c)
{
    return (c >= 0x900 && c < 0xd80 && (c & 0x7f) == 0x4d) || c == 0xdca;
}

/* An emoji before `at`, or one with its colour of skin or its variation. */
static bool is_emoji_before(const char *text, size_t at)
{
    uint32_t c = step_back(text, &at);

    if (c == 0xfe0f || (c >= 0x1f3fb && c <= 0x1f3ff)) {
        c = step_back(text, &at);
    }
    return IS_IN(pictographs, c);
}

/* The joiner at `at` is a letter of its word, or holds an emoji together. Not beside another
 * invisible character: only one at a time is. */
static bool joins(const char *text, size_t bytes, size_t at)
{
    size_t start = at;
    const uint32_t before = step_back(text, &start);
    const uint32_t after = character_at(text, bytes, at + JOINERS_BYTES);

    if (after != 0 && after != '\r' && is_invisible(after)) {
        return false;
    }
    if (is_virama(before)) {
        return true;
    }
    if (IS_IN(joining, before) && IS_IN(joining, after)) {
        return !is_digit(before) || !is_digit(after);
    }
    return character_at(text, bytes, at) == 0x200d && is_emoji_before(text, at) &&
           IS_IN(pictographs, after);
}

static bool is_letter(uint32_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c >= 0xc0 && !(c >= 0x2000 && c <= 0x2bff) && !(c >= 0x3000 && c <= 0x303f) &&
            !(c >= 0xff00 && c <= 0xff20) && c != 0xff5c && !is_invisible(c));
}

/* What control tokens are made of beside letters: a mark within one would hide it. */
static bool is_of_a_token(uint32_t c)
{
    return c == 0xff5c || (c < 0x80 && c != 0 && strchr("<>[]|/:_", (int)c) != NULL);
}

/* The mark of direction at `at` stands between a letter that is read from the right and one that is
 * read from the left: without it what lies between them is shown in another order. */
static bool parts_directions(const char *text, size_t bytes, size_t at, size_t mark_bytes)
{
    size_t left = at;
    size_t right = at + mark_bytes;
    uint32_t before = step_back(text, &left);
    uint32_t after = character_at(text, bytes, right);

    if (is_invisible(before) || is_invisible(after) || is_of_a_token(before) ||
        is_of_a_token(after)) {
        return false;
    }
    for (int i = 0; i < DIRECTION_REACH && !is_letter(before); i++) {
        if (before == 0 || before == '\n') {
            return false;
        }
        before = step_back(text, &left);
    }
    for (int i = 0; i < DIRECTION_REACH && !is_letter(after); i++) {
        if (after == 0 || after == '\n') {
            return false;
        }
        uint32_t passed;
        right += decode((const unsigned char *)text + right, bytes - right, &passed);
        after = character_at(text, bytes, right);
    }
    return is_letter(before) && is_letter(after) &&
           IS_IN(right_to_left, before) != IS_IN(right_to_left, after);
}

/* How many bytes of tags at `at` name the country of the flag before them; 0: they are no such
 * name. */
static size_t flag_tags(const char *text, size_t bytes, size_t at)
{
    const size_t start = at;

    for (size_t tags = 0; tags <= FLAG_TAGS_MAX && at < bytes; tags++) {
        uint32_t c;
        at += decode((const unsigned char *)text + at, bytes - at, &c);
        if (c == TAG_END) {
            return tags >= FLAG_TAGS_MIN ? at - start : 0;
        }
        if (!(c >= 0xe0061 && c <= 0xe007a) && !(c >= 0xe0030 && c <= 0xe0039)) {
            return 0;
        }
    }
    return 0;
}

/* The selector at `at` says how the character before it is drawn: an emoji, a key cap, a letter
 * that has variations. */
static bool varies(const char *text, size_t bytes, size_t at, size_t selector_bytes)
{
    size_t start = at;
    const uint32_t before = step_back(text, &start);

    if (before < 0x80) {
        return before != 0 && strchr("0123456789#*", (int)before) != NULL &&
               character_at(text, bytes, at + selector_bytes) == 0x20e3;
    }
    return IS_IN(pictographs, before) || IS_IN(varied, before) || before == 0x203c ||
           before == 0x2049 || before == 0x2122 || before == 0x2139 || before == 0xa9 ||
           before == 0xae;
}

static bool is_kept(const char *text, size_t bytes, size_t at, size_t length)
{
    const uint32_t c = character_at(text, bytes, at);
    size_t start = at;

    if (!is_invisible(c)) {
        return true;
    }
    switch (c) {
    case 0x200c:
    case 0x200d:
        return joins(text, bytes, at);
    case 0x61c:
    case 0x200e:
    case 0x200f:
        return parts_directions(text, bytes, at, length);
    case 0x180e: /* parts a last vowel from its word */
        return IS_IN(mongolian, step_back(text, &start)) &&
               IS_IN(mongolian, character_at(text, bytes, at + length));
    case 0x115f: /* stand for a part of a syllable that is not there */
    case 0x1160:
        return IS_IN(jamo, step_back(text, &start)) ||
               IS_IN(jamo, character_at(text, bytes, at + length));
    default:
        return ((c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xe0100 && c <= 0xe01ef)) &&
               varies(text, bytes, at, length);
    }
}

static void append_visible(const char *text, size_t bytes, struct strbuf *out)
{
    for (size_t i = 0; i < bytes;) {
        uint32_t c;
        size_t length = decode((const unsigned char *)text + i, bytes - i, &c);
        if (ends_line(c)) {
            if (c != '\r' || character_at(text, bytes, i + 1) != '\n') {
                strbuf_append_char(out, '\n');
            }
        } else if (is_kept(text, bytes, i, length)) {
            length += c == FLAG ? flag_tags(text, bytes, i + length) : 0;
            strbuf_append(out, text + i, length);
        }
        i += length;
    }
}

/* ---- what would be taken for a control token: broken -------------------------------------------
 */

static bool starts_with(const char *text, size_t bytes, const char *prefix)
{
    size_t length = strlen(prefix);
    return bytes >= length && strncasecmp(text, prefix, length) == 0;
}

/* White space of any kind; its length, or 0. */
static size_t space_at(const char *text, size_t bytes)
{
    uint32_t c = 0;
    const size_t length = bytes == 0 ? 0 : decode((const unsigned char *)text, bytes, &c);

    return c == ' ' || c == '\t' || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
                   c == 0x202f || c == 0x205f || c == 0x2800 || c == 0x3000
               ? length
               : 0;
}

static size_t spaces_at(const char *text, size_t bytes)
{
    size_t all = 0;
    size_t one;

    while ((one = space_at(text + all, bytes - all)) > 0) {
        all += one;
    }
    return all;
}

/* The length of a name up to its colon, which may stand behind the end of bold type; 0: none. */
static size_t name_at(const char *text, size_t bytes, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t end = strlen(names[i]);
        if (!starts_with(text, bytes, names[i])) {
            continue;
        }
        while (end < bytes && text[end] == '*') {
            end++;
        }
        if (starts_with(text + end, bytes - end, ":") ||
            starts_with(text + end, bytes - end, "\xef\xbc\x9a")) {
            return end;
        }
    }
    return 0;
}

/* A character that rules off a line of its own. */
static size_t rule_at(const char *text, size_t bytes)
{
    static const struct range rules[] = {
        {'#', '#'},       {'*', '*'},       {'-', '-'},       {'=', '='},       {'_', '_'},
        {'~', '~'},       {0xad, 0xad},     {0x2010, 0x2015}, {0x2043, 0x2043}, {0x2212, 0x2212},
        {0x2500, 0x2501}, {0x2e3a, 0x2e3b}, {0x30fc, 0x30fc}, {0xfe58, 0xfe58}, {0xfe63, 0xfe63},
        {0xff0d, 0xff0d}, {0xff1d, 0xff1d},
    };
    uint32_t c = 0;
    const size_t length = bytes == 0 ? 0 : decode((const unsigned char *)text, bytes, &c);

    return length > 0 && IS_IN(rules, c) ? length : 0;
}

/* "example", "end of", "end example": what our lines begin with behind their dashes. */
static bool is_wording(const char *text, size_t bytes)
{
    if (starts_with(text, bytes, "end")) {
        const size_t space = spaces_at(text + 3, bytes - 3);
        return space > 0 && (starts_with(text + 3 + space, bytes - 3 - space, "of") ||
                             starts_with(text + 3 + space, bytes - 3 - space, "example"));
    }
    return starts_with(text, bytes, "example");
}

/* Does the line hold something like our mark, "[0123456789abcdef]"? */
static bool has_mark(const char *text, size_t bytes)
{
    enum { MARK_MIN = 8 };
    const char *end = memchr(text, '\n', bytes);
    size_t digits = 0;
    bool open = false;

    for (size_t left = end == NULL ? bytes : (size_t)(end - text); left > 0; left--, text++) {
        if (*text == ']' && open && digits >= MARK_MIN) {
            return true;
        }
        open = *text == '[' || (open && isxdigit((unsigned char)*text));
        digits = *text == '[' ? 0 : digits + 1;
    }
    return false;
}

/* A line that looks like one of ours, at its first character that is no space: dashes and our words
 * behind them, either of the two with a mark, or the words that the block begins with. A line of
 * dashes alone, a diff's "--- a/file" and a heading "### Example" are none. How many bytes go out
 * before the space that breaks it. */
static size_t boundary_at(const char *text, size_t bytes)
{
    const size_t first = rule_at(text, bytes);
    const bool dashes = first > 0 && strchr("#*_~", text[0]) == NULL;
    size_t rule = first;
    size_t one;

    if (starts_with(text, bytes, "examples from past tasks")) {
        return 1;
    }
    while (first > 0 && (one = rule_at(text + rule, bytes - rule)) > 0) {
        rule += one;
    }
    const bool ruled = rule > first;
    const size_t space = spaces_at(text + rule, bytes - rule);
    const bool worded = is_wording(text + rule + space, bytes - rule - space);
    if ((ruled && dashes && worded) || ((ruled || worded) && has_mark(text, bytes))) {
        return ruled ? first : rule + space + 1;
    }
    return 0;
}

/* What is known of the line so far. */
struct line {
    bool blank;   /* nothing but white space and marks of quotation */
    bool start;   /* nor anything but headings' and bold type's */
    bool heading; /* '#' among them */
};

/* How many bytes at `text` go out before the space that breaks what stands there; 0 = nothing does.
 */
static size_t break_after(const char *text, size_t bytes, const struct line *line)
{
    size_t kept = 0;

    if (strchr("<[|\xef", text[0]) != NULL && text[0] != '\0') {
        for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
            if (starts_with(text, bytes, tokens[i])) {
                return (unsigned char)tokens[i][0] == 0xef ? 3 : 1;
            }
        }
    }
    if (line->blank) {
        kept = boundary_at(text, bytes);
    }
    if (line->start && kept == 0) {
        kept = name_at(text, bytes, roles, sizeof roles / sizeof roles[0]);
    }
    if (line->heading && kept == 0) {
        kept = name_at(text, bytes, headings, sizeof headings / sizeof headings[0]);
    }
    return kept;
}

static void append_unforgeable(const char *text, size_t bytes, struct strbuf *out)
{
    const struct line fresh = {.blank = true, .start = true};
    struct line line = fresh;

    for (size_t i = 0; i < bytes;) {
        const size_t space = line.start ? space_at(text + i, bytes - i) : 0;
        const size_t kept = space > 0 ? 0 : break_after(text + i, bytes - i, &line);
        if (space > 0) {
            strbuf_append(out, text + i, space);
            i += space;
            continue;
        }
        if (kept > 0) {
            strbuf_append(out, text + i, kept);
            strbuf_append_char(out, ' ');
            i += kept;
            line = (struct line){0};
            continue;
        }
        const char c = text[i++];
        strbuf_append_char(out, c);
        if (c == '\n') {
            line = fresh;
        } else if (line.start) {
            line.blank = line.blank && c == '>';
            line.start = c != '\0' && strchr(">#*", c) != NULL;
            line.heading = line.start && (line.heading || c == '#');
        }
    }
}

void neutral_append(const char *text, size_t bytes, size_t max_bytes, struct strbuf *out)
{
    /* Dropping comes first: a token split by an invisible character would come together again. */
    struct strbuf visible = {0};
    size_t cut = text_utf8_cut(text, bytes, max_bytes);

    append_visible(text, cut, &visible);
    if (!strbuf_ok(&visible)) {
        out->failed = true;
    } else {
        append_unforgeable(visible.data != NULL ? visible.data : "", visible.bytes, out);
        if (cut < bytes) {
            strbuf_append_str(out, " [cut]");
        }
    }
    strbuf_free(&visible);
}
