/* What a table of fields can say and no kind of today does: a word that decides which fields belong
 * to a body, and fields that nobody named. */
#include "bodies_support.h"
#include "jobs/values.h"

struct event {
    struct slice kind;
    struct slice task_id;
    struct maybe_integer at_ms;
    struct slice tier;
    struct maybe_number confidence;
    struct maybe_truth success;
    struct metadata metadata;
};

#define ROW(name, ...)                                                                             \
    {                                                                                              \
        {#name, sizeof #name - 1}, __VA_ARGS__, offsetof(struct event, name)                       \
    }

static const struct kind_field fields[] = {
    ROW(kind, FIELD_WORD, FIELD_REQUIRED, 0, 0, "", "", "routing outcome", NULL),
    ROW(task_id, FIELD_ID, FIELD_REQUIRED, 0, 0, "", "", "", NULL),
    ROW(at_ms, FIELD_INTEGER, FIELD_REQUIRED, 0, INT64_MAX, "", "", "", NULL),
    ROW(tier, FIELD_TEXT, FIELD_REQUIRED, 0, 0, "", "routing", "", NULL),
    ROW(confidence, FIELD_NUMBER, FIELD_OPTIONAL, 0, 1, "", "routing", "", NULL),
    ROW(success, FIELD_TRUTH, FIELD_REQUIRED, 0, 0, "", "outcome", "", NULL),
    ROW(metadata, FIELD_METADATA, FIELD_REST, 0, 0, "", "", "domain", NULL),
};

static const struct kind_shape shape = {fields, sizeof fields / sizeof fields[0],
                                        sizeof(struct event)};

static struct strbuf body;
static struct arena arena;

static void clean_up(void)
{
    strbuf_free(&body);
    arena_free(&arena);
}

TestSuite(bodies_shapes, .fini = clean_up);

static enum status read_event(const char *json, bool lenient, struct event *out, struct error *err)
{
    const struct reading how = {&arena, lenient};
    struct mp_document document;

    support_body(&body, json);
    cr_assert_eq(mp_check(body.data, body.bytes, &document, err), STATUS_OK);
    return bodies_read(&shape, &document.root, &how, out, err);
}

static void refuses(const char *json, const char *text)
{
    struct event out;
    struct error err = {0};

    cr_assert_eq(read_event(json, false, &out, &err), STATUS_INVALID, "accepted: %s", json);
    cr_assert_str_eq(err.text, text);
}

Test(bodies_shapes, a_word_decides_which_fields_belong_to_a_body)
{
    struct event out;
    struct error err = {0};

    cr_assert_eq(read_event("{'tier':'large','kind':'routing','task_id':'t','at_ms':5,"
                            "'confidence':0.5}",
                            false, &out, &err),
                 STATUS_OK, "%s", err.text);
    cr_assert(slice_is(out.kind, "routing"));
    cr_assert(slice_is(out.tier, "large"));
    cr_assert(out.confidence.given && out.confidence.value == 0.5);
    cr_assert_not(out.success.given);
    cr_assert_eq(out.metadata.count, 0);

    refuses("{'kind':'routing','task_id':'t','at_ms':5}",
            "field \"tier\" is missing, expected a string");
    refuses("{'kind':'outcome','task_id':'t','at_ms':5}",
            "field \"success\" is missing, expected true or false");
    refuses("{'kind':'other','task_id':'t','at_ms':5}",
            "field \"kind\": expected one of routing outcome, found the string \"other\"");
    refuses("{'kind':'rout','task_id':'t','at_ms':5}",
            "field \"kind\": expected one of routing outcome, found the string \"rout\"");
    refuses("{'kind':'routing outcome','task_id':'t','at_ms':5}",
            "field \"kind\": expected one of routing outcome, found the string \"routing "
            "outcome\"");
    refuses("{'kind':'','task_id':'t','at_ms':5}",
            "field \"kind\": expected one of routing outcome, found the string \"\"");
    refuses("{'task_id':'t','at_ms':5}", "field \"kind\" is missing, expected a string");
    refuses("{'kind':'outcome','task_id':'t'}",
            "field \"at_ms\" is missing, expected an integer from 0 to 9223372036854775807");
}

Test(bodies_shapes, what_nobody_named_and_what_is_of_another_word_is_metadata)
{
    struct event out;
    struct error err = {0};

    cr_assert_eq(read_event("{'kind':'outcome','task_id':'t','at_ms':5,'success':true,"
                            "'tier':'large','colour':7,'metadata':{'colour':1,'shape':'round'}}",
                            false, &out, &err),
                 STATUS_OK, "%s", err.text);
    cr_assert_eq(out.metadata.count, 3);
    cr_assert(slice_is(out.metadata.pairs[0].key, "colour"));
    cr_assert_eq(out.metadata.pairs[0].value.integer, 7, "the last one wins");
    cr_assert(slice_is(out.metadata.pairs[1].key, "shape"));
    cr_assert(slice_is(out.metadata.pairs[2].key, "tier"));
    cr_assert_null(out.tier.data);

    refuses("{'kind':'outcome','task_id':'t','at_ms':5,'success':true,'domain':'x'}",
            "metadata key \"domain\" is reserved");
    cr_assert_eq(read_event("{'kind':'outcome','task_id':'t','at_ms':5,'success':true,"
                            "'domain':'x'}",
                            true, &out, &err),
                 STATUS_OK);
    cr_assert(slice_is(out.metadata.dropped, "domain"));
}

Test(bodies_shapes, what_was_read_is_written_again)
{
    struct event out;
    struct event again;
    struct error err = {0};
    struct strbuf first = {0};
    struct strbuf second = {0};
    struct mp_document document;
    const struct reading how = {&arena, false};

    cr_assert_eq(read_event("{'kind':'routing','task_id':'t','at_ms':5,'tier':'large','x':[1]}",
                            false, &out, &err),
                 STATUS_OK);
    bodies_write(&shape, &out, &first);
    cr_assert_eq(mp_check(first.data, first.bytes, &document, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(bodies_read(&shape, &document.root, &how, &again, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert(slice_is(again.metadata.pairs[0].value.string, "[1]"));
    bodies_write(&shape, &again, &second);
    cr_assert_eq(first.bytes, second.bytes);
    cr_assert_eq(memcmp(first.data, second.data, first.bytes), 0);
    strbuf_free(&first);
    strbuf_free(&second);
}

Test(bodies_shapes, sixty_five_unknown_fields_are_too_many_and_named_leniently)
{
    struct strbuf json = {0};
    struct event out;
    struct error err = {0};

    strbuf_append_str(&json, "{'kind':'outcome','task_id':'t','at_ms':5,'success':true");
    for (int i = 0; i < 65; i++) {
        strbuf_printf(&json, ",'x%d':%d", i, i);
    }
    strbuf_append_str(&json, "}");
    refuses(json.data, "field \"metadata\": expected at most 64 keys, found 65");
    cr_assert_eq(read_event(json.data, true, &out, &err), STATUS_OK);
    cr_assert_eq(out.metadata.count, 65);
    cr_assert(slice_is(out.metadata.dropped, "x64"));
    strbuf_free(&json);
}

Test(bodies_shapes, what_an_echo_carries_is_written_as_it_came)
{
    static const char carried[] = "\x93\x01\xa1x\xc0";
    const struct echo_body echo = {.text = {carried, sizeof carried - 1}};
    struct strbuf out = {0};
    struct echo_body again;
    struct error err = {0};

    bodies_encode_echo(&echo, &out);
    for (int lenient = 0; lenient < 2; lenient++) {
        cr_assert_eq((lenient ? bodies_accept_echo : bodies_decode_echo)(out.data, out.bytes,
                                                                         &arena, &again, &err),
                     STATUS_OK, "%s", err.text);
        cr_assert_eq(again.text.bytes, sizeof carried - 1);
        cr_assert_eq(memcmp(again.text.data, carried, sizeof carried - 1), 0);
    }
    cr_assert_str_eq(kind_words(job_kinds[KIND_echo].shape), "", "an echo has no word");
    strbuf_free(&out);
}

Test(bodies_shapes, only_a_maps_members_become_members)
{
    struct strbuf out = {0};
    struct json_writer json = {.out = &out};
    struct error err = {0};

    cr_assert_eq(values_members_to_json("\x91\x01", 2, &json, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "expected a map, found an array");
    cr_assert_eq(values_members_to_json("\xc1", 1, &json, &err), STATUS_INVALID);
    cr_assert_eq(out.bytes, 0);
    cr_assert_eq(values_members_to_json("\x81\xa1x\x01", 4, &json, &err), STATUS_OK);
    cr_assert_str_eq(out.data, "\"x\":1");
    strbuf_free(&out);
}
