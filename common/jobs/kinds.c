#include "jobs/kinds.h"

#include <stdio.h>
#include <string.h>

#include "jobs/bodies.h"

/* ---- the table ------------------------------------------------------------------------------- */

enum {
    OPTIONAL = FIELD_OPTIONAL,
    REQUIRED = FIELD_REQUIRED,
    KEY = FIELD_KEY,
    REST = FIELD_REST,
    EITHER = FIELD_EITHER,
};
enum {
    ASKS_HTTP = KIND_ASKS_HTTP,
    IS_KEPT = KIND_IS_KEPT,
    GIVES_WAY = KIND_GIVES_WAY,
    READS_STORE = KIND_READS_STORE,
};
enum { NEEDS_NOTHING = 0 };
#define NEEDS(operation) (1u << OPERATION_##operation)

#define ROW(of, field, type, rules, least, most, fallback, when, words, element)                   \
    {                                                                                              \
        {#field, sizeof #field - 1}, FIELD_##type, rules, least, most, fallback, when, words,      \
            element, offsetof(struct of, field)                                                    \
    }

/* First the fields of each, an array and its shape; then what is of each kind, a line. */
/* clang-format off */
#define JOB_KIND(name, needs, traits) static const struct kind_field name##_body_fields[] = {
#define JOB_SHAPE(of) static const struct kind_field of##_fields[] = {
#define JOB_FIELD(of, field, type, rules, least, most, fallback, when)                                 \
    ROW(of, field, type, rules, least, most, fallback, when, "", NULL),
#define JOB_WORD(of, field, rules, words) ROW(of, field, WORD, rules, 0, 0, "", "", words, NULL),
#define JOB_METADATA(of, rules, reserved)                                                              \
    ROW(of, metadata, METADATA, rules, 0, 0, "", "", reserved, NULL),
#define JOB_LIST(of, field, shape, least, most)                                                        \
    ROW(of, field, LIST, REQUIRED, least, most, "", "", "", &shape##_shape),
#define JOB_END(of) };                                                                                 \
    static const struct kind_shape of##_shape = {of##_fields, sizeof of##_fields / sizeof of##_fields[0], \
                                            sizeof(struct of)};                              \
    _Static_assert(sizeof of##_fields / sizeof of##_fields[0] <= SHAPE_FIELDS_MAX, "too many");
#include "jobs/kinds.def"
/* clang-format on */

const struct kind job_kinds[KINDS] = {
#define JOB_KIND(name, needs, traits) [KIND_##name] = {#name, &name##_body_shape, needs, traits},
#include "jobs/kinds.def"
};

/* ---- questions ------------------------------------------------------------------------------- */

enum kind_id kind_of(const char *queue, size_t bytes)
{
    static const char digits[] = "0123456789";
    const char *point = bytes == 0 ? NULL : memchr(queue, '.', bytes);
    const size_t name_bytes = point == NULL ? bytes : (size_t)(point - queue);

    if (point != NULL) {
        const size_t behind = bytes - name_bytes - 1;
        if (behind < 1 || behind > KIND_PARTITION_DIGITS) {
            return KINDS;
        }
        for (size_t i = 0; i < behind; i++) {
            if (strchr(digits, point[1 + i]) == NULL || point[1 + i] == '\0') {
                return KINDS;
            }
        }
    }
    int id = 0;
    while (id < KINDS && (strlen(job_kinds[id].name) != name_bytes ||
                          memcmp(job_kinds[id].name, queue, name_bytes) != 0)) {
        id++;
    }
    return (enum kind_id)id;
}

bool kind_wants_store(enum kind_id kind)
{
    return (job_kinds[kind].needs & 1u << OPERATION_LEARN) != 0 ||
           (job_kinds[kind].traits & KIND_READS_STORE) != 0;
}

int kind_word_at(const char *words, struct slice text)
{
    for (int place = 0; *words != '\0'; place++) {
        const size_t bytes = strcspn(words, " ");
        if (bytes == text.bytes && memcmp(words, text.data, bytes) == 0) {
            return place;
        }
        words += bytes + (words[bytes] == ' ');
    }
    return -1;
}

const char *kind_words(const struct kind_shape *shape)
{
    for (size_t i = 0; i < shape->count; i++) {
        if (shape->fields[i].type == FIELD_WORD) {
            return shape->fields[i].words;
        }
    }
    return "";
}

bool kind_has(const struct kind_field *field, struct slice word)
{
    return field->when[0] == '\0' || (word.bytes > 0 && kind_is_word(field->when, word));
}

const char *kind_list(char out[KIND_LIST_BYTES])
{
    size_t used = 0;

    for (int i = 0; i < KINDS && used < KIND_LIST_BYTES; i++) {
        const char *between = i == 0 ? "" : i + 1 == KINDS ? " or " : ", ";
        used += (size_t)snprintf(out + used, KIND_LIST_BYTES - used, "%s%s", between,
                                 job_kinds[i].name);
    }
    return out;
}
