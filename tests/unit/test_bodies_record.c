/* What may stand in each field of a record, and how what may not is refused: by field, value and
 * what was expected. As a worker reads it, from the table of kinds, so a new field is tried too. */
#include "bodies_support.h"

#include <inttypes.h>
#include <stdio.h>

static struct arena arena;

static void teardown(void)
{
    arena_free(&arena);
}

TestSuite(bodies_record, .fini = teardown);

static const struct kind_shape *shape(void)
{
    return job_kinds[KIND_record].shape;
}

/* The first word with which the field belongs to a body. */
static struct slice word_of(const struct kind_field *field)
{
    const char *words = field->when[0] == '\0' ? "execution" : field->when;

    return (struct slice){words, strcspn(words, " ")};
}

static void pack_text(msgpack_packer *packer, struct slice text)
{
    msgpack_pack_str_with_body(packer, text.data, text.bytes);
}

/* A body of the field's kind with `value`, which is msgpack, in the field. */
static enum status read_with(const struct kind_field *field, const struct strbuf *value,
                             struct record_body *out, struct error *err)
{
    struct strbuf body = {0};
    msgpack_packer packer;
    const bool is_id = field->type == FIELD_ID;
    const struct slice word = word_of(field);

    msgpack_packer_init(&packer, &body, support_write);
    msgpack_pack_map(&packer, is_id ? 2 : 3);
    pack_text(&packer, SLICE("kind"));
    pack_text(&packer, word);
    if (!is_id) {
        pack_text(&packer, SLICE("task_id"));
        pack_text(&packer, SLICE("t-1"));
    }
    pack_text(&packer, field->name);
    strbuf_append(&body, value->data, value->bytes);
    const enum status status = bodies_accept_record(arena_copy(&arena, body.data, body.bytes),
                                                    body.bytes, &arena, out, err);
    strbuf_free(&body);
    return status;
}

static void refuses(const struct kind_field *field, const struct strbuf *value, const char *words)
{
    struct record_body out;
    struct error err = {0};
    char named[80];

    snprintf(named, sizeof named, "field \"%s\"", field->name.data);
    cr_assert_eq(read_with(field, value, &out, &err), STATUS_INVALID, "%s, %s", named, words);
    cr_assert_not_null(strstr(err.text, named), "%s: %s", named, err.text);
    cr_assert_not_null(strstr(err.text, words), "%s: %s", words, err.text);
}

static struct strbuf value;
static msgpack_packer packer;

/* An empty value, to be packed. */
static msgpack_packer *fresh(void)
{
    strbuf_reset(&value);
    msgpack_packer_init(&packer, &value, support_write);
    return &packer;
}

static void refuses_text(const struct kind_field *field)
{
    const size_t most = field->type == FIELD_ID ? BODIES_ID_MAX : (size_t)field->most;
    char words[80];

    cr_assert_gt(most, 0, "%s has no bound", field->name.data);
    pack_text(fresh(), SLICE("a\0b"));
    refuses(field, &value, "NUL");
    pack_text(fresh(), SLICE("a\xff\xfe"));
    refuses(field, &value, "UTF-8");
    pack_text(fresh(), SLICE("\xed\xa0\x80")); /* half of a pair of UTF-16 */
    refuses(field, &value, "UTF-8");
    msgpack_pack_int64(fresh(), 5);
    refuses(field, &value, "5");
    msgpack_pack_array(fresh(), 0);
    refuses(field, &value, "expected a string, found an array");

    char *text = malloc(most + 1);
    cr_assert_not_null(text);
    memset(text, 'x', most + 1);
    pack_text(fresh(), (struct slice){text, most + 1});
    snprintf(words, sizeof words, "%zu bytes, found %zu", most, most + 1);
    refuses(field, &value, words);
    struct record_body out;
    struct error err = {0};
    pack_text(fresh(), (struct slice){text, most});
    cr_assert_eq(read_with(field, &value, &out, &err), STATUS_OK, "%s", err.text);
    free(text);
}

/* `expected`: what the message says of the bounds. */
static void refuses_number(const struct kind_field *field, const char *expected)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1e300, -1e300};

    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        msgpack_pack_double(fresh(), odd[i]);
        refuses(field, &value, expected);
    }
    msgpack_pack_int64(fresh(), field->most + 1);
    refuses(field, &value, expected);
    msgpack_pack_int64(fresh(), field->least - 1);
    refuses(field, &value, expected);
    pack_text(fresh(), SLICE("1"));
    refuses(field, &value, "found the string \"1\"");
    msgpack_pack_true(fresh());
    refuses(field, &value, expected);
}

Test(bodies_record, each_field_refuses_what_it_cannot_hold_by_name_value_and_expectation)
{
    size_t tried = 0;

    for (size_t i = 0; i < shape()->count; i++) {
        const struct kind_field *field = &shape()->fields[i];
        char expected[120];
        snprintf(expected, sizeof expected, "expected %s from %" PRId64 " to %" PRId64 ", found ",
                 field->type == FIELD_INTEGER ? "an integer" : "a number", field->least,
                 field->most);
        tried++;
        switch (field->type) {
        case FIELD_TEXT:
        case FIELD_ID:
            refuses_text(field);
            break;
        case FIELD_INTEGER:
            msgpack_pack_double(fresh(), 1.5);
            refuses(field, &value, "found 1.5");
            refuses_number(field, expected);
            break;
        case FIELD_NUMBER:
            refuses_number(field, expected);
            break;
        case FIELD_TRUTH:
            msgpack_pack_int64(fresh(), 1);
            refuses(field, &value, "expected true or false, found 1");
            pack_text(fresh(), SLICE("true"));
            refuses(field, &value, "expected true or false, found the string \"true\"");
            break;
        default:
            tried--;
            break;
        }
    }
    cr_assert_gt(tried, 40);
}

Test(bodies_record, what_would_hurt_a_shell_or_a_database_is_text_like_any_other)
{
    static const char text[] =
        "'; DROP TABLE executions; -- $(reboot) `x` \"\\ % _ {\"a\":1} \xc3\xa9 \xf0\x9f\x8d\xb6";
    struct record_body out;
    struct error err = {0};

    for (size_t i = 0; i < shape()->count; i++) {
        const struct kind_field *field = &shape()->fields[i];
        if (field->type != FIELD_TEXT && field->type != FIELD_ID) {
            continue;
        }
        pack_text(fresh(), slice_of(text));
        cr_assert_eq(read_with(field, &value, &out, &err), STATUS_OK, "%s", err.text);
        const struct slice *found = (const struct slice *)((const char *)&out + field->at);
        cr_assert(slice_is(*found, text), "%s", field->name.data);
    }
}

static void body_refuses(const char *json, const char *words)
{
    struct strbuf body = {0};
    struct record_body out;
    struct error err = {0};

    support_body(&body, json);
    cr_assert_eq(bodies_accept_record(body.data, body.bytes, &arena, &out, &err), STATUS_INVALID,
                 "%s", json);
    cr_assert_str_eq(err.text, words);
    strbuf_free(&body);
}

Test(bodies_record, a_part_says_what_it_is_of_and_of_which_task)
{
    body_refuses("{'task_id':'t'}", "field \"kind\" is missing, expected a string");
    body_refuses("{'kind':'refund','task_id':'t'}",
                 "field \"kind\": expected one of routing outcome pool_start pool_end execution "
                 "feedback solution policy, found the string \"refund\"");
    body_refuses("{'kind':'outcome'}", "field \"task_id\" is missing, expected text");
    body_refuses("{'kind':'pool_end'}",
                 "field \"task_id\" or \"pool_id\" is missing, expected text");
    body_refuses("{'kind':'feedback','task_id':'t','user_rating':6}",
                 "field \"user_rating\": expected an integer from 1 to 5, found 6");
    body_refuses("{'kind':'outcome','task_id':'t','quality_score':-1}",
                 "field \"quality_score\": expected a number from 0 to 100, found -1");
    body_refuses("{'kind':'outcome','task_id':' '}",
                 "field \"task_id\" holds nothing but white space");
    body_refuses("[1]", "expected a map, found an array");
}

/* What is another kind's field is metadata, also where it would be wrong as that field. */
Test(bodies_record, a_field_of_another_kind_and_an_unknown_one_are_metadata)
{
    struct strbuf body = {0};
    struct record_body out;
    struct error err = {0};

    support_body(&body, "{'kind':'feedback','task_id':'t','success':'perhaps','colour':'red',"
                        "'metadata':{'n':1}}");
    cr_assert_eq(bodies_accept_record(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(out.metadata.count, 3);
    cr_assert_not(out.success.given);
    strbuf_free(&body);
}
