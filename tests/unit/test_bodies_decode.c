/* Bodies of jobs that producers in other languages, or humans, have written. */
#include "bodies_support.h"

static struct strbuf body;
static struct arena arena;

static void clean_up(void)
{
    strbuf_free(&body);
    arena_free(&arena);
}

TestSuite(bodies_decode, .fini = clean_up);

static struct enrich_body enrich_of(const char *json)
{
    struct enrich_body out;
    struct error err = {0};
    support_body(&body, json);
    cr_assert_eq(bodies_decode_enrich(body.data, body.bytes, NULL, &out, &err), STATUS_OK, "%s",
                 err.text);
    return out;
}

static void enrich_refuses_bytes(const void *data, size_t bytes, const char *text)
{
    struct enrich_body out;
    struct error err = {0};
    cr_assert_eq(bodies_decode_enrich(data, bytes, NULL, &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, text);
}

static void enrich_refuses(const char *json, const char *text)
{
    support_body(&body, json);
    enrich_refuses_bytes(body.data, body.bytes, text);
}

Test(bodies_decode, an_enrichment_has_a_query_and_three_examples_by_default)
{
    struct enrich_body out = enrich_of("{'query':'notice period'}");
    cr_assert(slice_is(out.query, "notice period"));
    cr_assert_eq(out.k.value, 3);
}

Test(bodies_decode, unknown_fields_of_an_enrichment_are_ignored)
{
    struct enrich_body out = enrich_of("{'x':{'y':[1]},'k':20,'query':'q','z':null}");
    cr_assert(slice_is(out.query, "q"));
    cr_assert_eq(out.k.value, 20);
}

Test(bodies_decode, k_is_an_integer_from_1_to_20)
{
    enrich_refuses("{'query':'q','k':0}", "field \"k\": expected an integer from 1 to 20, found 0");
    enrich_refuses("{'query':'q','k':1000}",
                   "field \"k\": expected an integer from 1 to 20, found 1000");
    enrich_refuses("{'query':'q','k':-1}",
                   "field \"k\": expected an integer from 1 to 20, found -1");
    enrich_refuses("{'query':'q','k':2.5}",
                   "field \"k\": expected an integer from 1 to 20, found 2.5");
    enrich_refuses("{'query':'q','k':'3'}",
                   "field \"k\": expected an integer from 1 to 20, found the string \"3\"");
    enrich_refuses("{'query':'q','k':true}",
                   "field \"k\": expected an integer from 1 to 20, found true");
    enrich_refuses("{'query':'q','k':[]}",
                   "field \"k\": expected an integer from 1 to 20, found an array");
    cr_assert_eq(enrich_of("{'query':'q','k':null}").k.value, 3);
}

Test(bodies_decode, huge_and_strange_numbers_are_no_k)
{
    enrich_refuses_bytes(BYTES("\x82\xa5query\xa1q\xa1k\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
                         "field \"k\": expected an integer from 1 to 20, found "
                         "18446744073709551615");
    enrich_refuses_bytes(BYTES("\x82\xa5query\xa1q\xa1k\xcb\x7f\xf8\0\0\0\0\0\0"),
                         "field \"k\": expected an integer from 1 to 20, found nan");
    enrich_refuses_bytes(BYTES("\x82\xa5query\xa1q\xa1k\xcb\x7f\xe0\0\0\0\0\0\0"),
                         "field \"k\": expected an integer from 1 to 20, found "
                         "8.98846567e+307");
    enrich_refuses_bytes(BYTES("\x82\xa5query\xa1q\xa1k\xc7\x01\x05z"),
                         "field \"k\": expected an integer from 1 to 20, found an extension type");
}

Test(bodies_decode, k_may_be_a_float_with_a_whole_value)
{
    struct enrich_body out;
    struct error err = {0};
    cr_assert_eq(bodies_decode_enrich(BYTES("\x82\xa5query\xa1q\xa1k\xca\x40\xa0\x00\x00"), NULL,
                                      &out, &err),
                 STATUS_OK);
    cr_assert_eq(out.k.value, 5);
}

Test(bodies_decode, of_two_equal_keys_the_last_one_counts)
{
    struct enrich_body out;
    struct error err = {0};
    cr_assert_eq(bodies_decode_enrich(BYTES("\x82\xa5query\xa1q\xa5query\xa1r"), NULL, &out, &err),
                 STATUS_OK);
    cr_assert(slice_is(out.query, "r"));
}

Test(bodies_decode, keys_that_are_not_text_are_ignored)
{
    struct enrich_body out;
    struct error err = {0};
    cr_assert_eq(
        bodies_decode_enrich(BYTES("\x83\x01\x02\x90\x80\xa5query\xa1q"), NULL, &out, &err),
        STATUS_OK);
    cr_assert(slice_is(out.query, "q"));
}

Test(bodies_decode, a_query_may_be_binary_if_it_is_utf8)
{
    struct enrich_body out;
    struct error err = {0};
    cr_assert_eq(bodies_decode_enrich(BYTES("\x81\xa5query\xc4\x02\xc3\xbc"), NULL, &out, &err),
                 STATUS_OK);
    cr_assert(slice_is(out.query, "\303\274"));
    enrich_refuses_bytes(BYTES("\x81\xa5query\xc4\x02\xc3x"), "field \"query\" is not valid UTF-8");
    enrich_refuses_bytes(BYTES("\x81\xc4\x05query\xa1x"),
                         "field \"query\" is missing, expected a string");
}

Test(bodies_decode, a_query_is_needed_and_is_text)
{
    enrich_refuses("{}", "field \"query\" is missing, expected a string");
    enrich_refuses("{'k':3}", "field \"query\" is missing, expected a string");
    enrich_refuses("{'query':null}", "field \"query\" is missing, expected a string");
    enrich_refuses("{'query':''}", "field \"query\" is empty");
    enrich_refuses("{'query':' \\t\\n'}", "field \"query\" holds nothing but white space");
    enrich_refuses("{'query':7}", "field \"query\": expected a string, found 7");
    enrich_refuses("{'query':false}", "field \"query\": expected a string, found false");
    enrich_refuses("{'query':['a']}", "field \"query\": expected a string, found an array");
    enrich_refuses("{'query':{}}", "field \"query\": expected a string, found a map");
    enrich_refuses_bytes(BYTES("\x81\xa5query\xa5"
                               "abc\0d"),
                         "field \"query\" holds a NUL byte at offset 3");
}

Test(bodies_decode, a_body_is_a_map)
{
    enrich_refuses("[1]", "expected a map, found an array");
    enrich_refuses("'query'", "expected a map, found the string \"query\"");
    enrich_refuses("null", "expected a map, found nil");
    enrich_refuses("12", "expected a map, found 12");
    enrich_refuses("-12", "expected a map, found -12");
    enrich_refuses_bytes(BYTES("\xc4\x01x"), "expected a map, found binary data");
    enrich_refuses_bytes(BYTES(""), "empty, expected a msgpack value");
}

Test(bodies_decode, a_megabyte_of_query_is_text_like_any_other)
{
    enum { BIG = 1 << 20 };
    struct enrich_body out;
    struct error err = {0};
    strbuf_reset(&body);
    strbuf_append(&body, BYTES("\x81\xa5query\xdb\x00\x10\x00\x00"));
    char *room = strbuf_reserve(&body, BIG);
    cr_assert_not_null(room);
    memset(room, 'x', BIG);
    strbuf_commit(&body, BIG);
    cr_assert_eq(bodies_decode_enrich(body.data, body.bytes, NULL, &out, &err), STATUS_OK);
    cr_assert_eq(out.query.bytes, BIG);
    cr_assert_eq(out.query.data, body.data + body.bytes - BIG, "slices point into the body");
}

static const char full_distill[] =
    "{'task_id':'t-1','prompt':'a prompt','result':'a result','success':true,'quality':0.75,"
    "'model':'m1','metadata':{'lang':'d\303\251','n':-5,'f':0.25,'b':true,'z':null}}";

static enum status decode_distill(const char *json, struct distill_body *out, struct error *err)
{
    support_body(&body, json);
    return bodies_decode_distill(body.data, body.bytes, &arena, out, err);
}

static struct distill_body distill_of(const char *json)
{
    struct distill_body out;
    struct error err = {0};
    cr_assert_eq(decode_distill(json, &out, &err), STATUS_OK, "%s", err.text);
    return out;
}

static void distill_refuses(const char *json, const char *text)
{
    struct distill_body out;
    struct error err = {0};
    cr_assert_eq(decode_distill(json, &out, &err), STATUS_INVALID, "accepted: %s", json);
    cr_assert_str_eq(err.text, text);
}

Test(bodies_decode, a_distillation_with_everything_in_it)
{
    struct distill_body out = distill_of(full_distill);
    cr_assert(slice_is(out.task_id, "t-1"));
    cr_assert(slice_is(out.prompt, "a prompt"));
    cr_assert(slice_is(out.result, "a result"));
    cr_assert(out.success.value);
    cr_assert(out.quality.given);
    cr_assert_eq(out.quality.value, 0.75);
    cr_assert(slice_is(out.model, "m1"));
    cr_assert_eq(out.metadata.count, 5);
    cr_assert(slice_is(out.metadata.pairs[0].key, "lang"));
    cr_assert_eq(out.metadata.pairs[0].value.type, META_STRING);
    cr_assert(slice_is(out.metadata.pairs[0].value.string, "d\303\251"));
    cr_assert_eq(out.metadata.pairs[1].value.type, META_INT);
    cr_assert_eq(out.metadata.pairs[1].value.integer, -5);
    cr_assert_eq(out.metadata.pairs[2].value.type, META_FLOAT);
    cr_assert_eq(out.metadata.pairs[2].value.number, 0.25);
    cr_assert_eq(out.metadata.pairs[3].value.type, META_BOOL);
    cr_assert(out.metadata.pairs[3].value.boolean);
    cr_assert_eq(out.metadata.pairs[4].value.type, META_NULL);
}

Test(bodies_decode, a_distillation_with_only_what_is_needed)
{
    struct distill_body out =
        distill_of("{'task_id':'t','prompt':'p','result':'r','success':false,'model':''}");
    cr_assert_not(out.success.value, "an unsuccessful one is the handler's to judge");
    cr_assert_not(out.quality.given);
    cr_assert_null(out.model.data);
    cr_assert_eq(out.metadata.count, 0);
}

Test(bodies_decode, a_distillation_cut_anywhere_is_refused)
{
    struct distill_body out;
    struct error err = {0};
    support_body(&body, full_distill);
    for (size_t bytes = 0; bytes < body.bytes; bytes++) {
        char *exact = malloc(bytes > 0 ? bytes : 1);
        cr_assert_not_null(exact);
        memcpy(exact, body.data, bytes);
        cr_assert_eq(bodies_decode_distill(exact, bytes, &arena, &out, &err), STATUS_INVALID);
        free(exact);
    }
}

Test(bodies_decode, each_needed_field_of_a_distillation_is_named_when_missing)
{
    distill_refuses("{'prompt':'p','result':'r','success':true}",
                    "field \"task_id\" is missing, expected a string");
    distill_refuses("{'task_id':'t','result':'r','success':true}",
                    "field \"prompt\" is missing, expected a string");
    distill_refuses("{'task_id':'t','prompt':'p','success':true}",
                    "field \"result\" is missing, expected a string");
    distill_refuses("{'task_id':'t','prompt':'p','result':'r'}",
                    "field \"success\" is missing, expected true or false");
}

Test(bodies_decode, fields_of_a_distillation_have_their_types)
{
    distill_refuses("{'task_id':1,'prompt':'p','result':'r','success':true}",
                    "field \"task_id\": expected a string, found 1");
    distill_refuses("{'task_id':'t','prompt':[],'result':'r','success':true}",
                    "field \"prompt\": expected a string, found an array");
    distill_refuses("{'task_id':'t','prompt':'p','result':' ','success':true}",
                    "field \"result\" holds nothing but white space");
    distill_refuses("{'task_id':'t','prompt':'p','result':'r','success':1}",
                    "field \"success\": expected true or false, found 1");
    distill_refuses("{'task_id':'t','prompt':'p','result':'r','success':true,'model':5}",
                    "field \"model\": expected a string, found 5");
    distill_refuses("{'task_id':'t','prompt':'p','result':'r','success':true,'metadata':[]}",
                    "field \"metadata\": expected a map, found an array");
}

Test(bodies_decode, quality_is_a_number_from_0_to_1)
{
    const char *form = "{'task_id':'t','prompt':'p','result':'r','success':true,'quality':%s}";
    static const struct {
        const char *value;
        const char *found;
    } bad[] = {{"1.5", "1.5"}, {"-0.25", "-0.25"}, {"2", "2"}, {"'high'", "the string \"high\""}};
    char json[200];
    char text[200];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(json, sizeof json, form, bad[i].value);
        snprintf(text, sizeof text, "field \"quality\": expected a number from 0 to 1, found %s",
                 bad[i].found);
        distill_refuses(json, text);
    }
    snprintf(json, sizeof json, form, "1");
    cr_assert_eq(distill_of(json).quality.value, 1);
    snprintf(json, sizeof json, form, "0");
    cr_assert(distill_of(json).quality.given);
}

Test(bodies_decode, quality_is_neither_nan_nor_infinite)
{
    struct distill_body out;
    static const struct distill_body good = {
        .task_id = {"t", 1}, .prompt = {"p", 1}, .result = {"r", 1}, .quality.given = true};
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        struct distill_body wrong = good;
        struct error err = {0};
        wrong.quality.value = bad[i];
        strbuf_reset(&body);
        bodies_encode_distill(&wrong, &body);
        cr_assert_eq(bodies_decode_distill(body.data, body.bytes, &arena, &out, &err),
                     STATUS_INVALID);
        cr_assert_not_null(strstr(err.text, "expected a number from 0 to 1, found"));
    }
}

Test(bodies_decode, a_task_id_is_short_and_printable)
{
    char json[600];
    char id[258];
    memset(id, 'i', sizeof id);

    snprintf(json, sizeof json, "{'task_id':'%.256s','prompt':'p','result':'r','success':true}",
             id);
    cr_assert_eq(distill_of(json).task_id.bytes, 256);
    snprintf(json, sizeof json, "{'task_id':'%.257s','prompt':'p','result':'r','success':true}",
             id);
    distill_refuses(json, "field \"task_id\": expected 1 to 256 bytes, found 257");
    distill_refuses("{'task_id':'','prompt':'p','result':'r','success':true}",
                    "field \"task_id\" is empty");
    distill_refuses("{'task_id':'a\\nb','prompt':'p','result':'r','success':true}",
                    "field \"task_id\" holds the control character 0x0a at offset 1");
    distill_refuses("{'task_id':'\\u007f','prompt':'p','result':'r','success':true}",
                    "field \"task_id\" holds the control character 0x7f at offset 0");
}

static void metadata_refuses(const char *metadata, const char *text)
{
    char json[600];
    snprintf(json, sizeof json,
             "{'task_id':'t','prompt':'p','result':'r','success':true,'metadata':%s}", metadata);
    distill_refuses(json, text);
}

Test(bodies_decode, our_own_metadata_keys_are_reserved)
{
    static const char *const reserved[] = {"task_id", "domain",     "success",   "quality",
                                           "model",   "created_ms", "expires_ms"};
    char metadata[80];
    char text[80];
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        snprintf(metadata, sizeof metadata, "{'a':1,'%s':1}", reserved[i]);
        snprintf(text, sizeof text, "metadata key \"%s\" is reserved", reserved[i]);
        metadata_refuses(metadata, text);
    }
}

Test(bodies_decode, chromas_own_metadata_keys_are_reserved)
{
    metadata_refuses("{'chroma:document':1}", "metadata key \"chroma:document\" is reserved");
    metadata_refuses("{'#document':1}", "metadata key \"#document\" is reserved");
    metadata_refuses("{'$and':1}", "metadata key \"$and\" is reserved");
    cr_assert_eq(distill_of("{'task_id':'t','prompt':'p','result':'r','success':true,"
                            "'metadata':{'chroma':1,'chroma_':2,'a#$':3}}")
                     .metadata.count,
                 3);
}

Test(bodies_decode, lists_and_maps_in_metadata_are_json_text)
{
    const struct distill_body out =
        distill_of("{'task_id':'t','prompt':'p','result':'r','success':true,"
                   "'metadata':{'tags':['a','b'],'none':[],'loc':{'lines':3,'in':[0.5,null]}}}");

    cr_assert_eq(out.metadata.count, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(out.metadata.pairs[i].value.type, META_STRING);
    }
    cr_assert(slice_is(out.metadata.pairs[0].value.string, "[\"a\",\"b\"]"));
    cr_assert(slice_is(out.metadata.pairs[1].value.string, "[]"));
    cr_assert(slice_is(out.metadata.pairs[2].value.string, "{\"lines\":3,\"in\":[0.5,null]}"));
}

Test(bodies_decode, metadata_keys_are_text_of_1_to_128_bytes)
{
    char key[130];
    char metadata[200];
    memset(key, 'k', sizeof key);

    metadata_refuses("{'':1}", "field \"metadata\": expected keys of 1 to 128 bytes of text, found "
                               "the string \"\"");
    snprintf(metadata, sizeof metadata, "{'%.129s':1}", key);
    struct distill_body out;
    struct error err = {0};
    support_body(&body, "{}");
    char json[400];
    snprintf(json, sizeof json,
             "{'task_id':'t','prompt':'p','result':'r','success':true,'metadata':%s}", metadata);
    cr_assert_eq(decode_distill(json, &out, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "expected keys of 1 to 128 bytes of text"));
}

/* A distillation whose `metadata` is given as bytes. */
static enum status decode_metadata(const char *metadata, size_t bytes, struct distill_body *out,
                                   struct error *err)
{
    strbuf_reset(&body);
    strbuf_append(&body, BYTES("\x85\xa7task_id\xa1t\xa6prompt\xa1p\xa6result\xa1r\xa7success\xc3"
                               "\xa8metadata"));
    strbuf_append(&body, metadata, bytes);
    return bodies_decode_distill(body.data, body.bytes, &arena, out, err);
}

Test(bodies_decode, metadata_that_json_could_not_say_is_judged_too)
{
    struct distill_body out;
    struct error err = {0};

    cr_assert_eq(decode_metadata(BYTES("\x81\x01\x02"), &out, &err), STATUS_OK);
    cr_assert(slice_is(out.metadata.pairs[0].key, "1"));
    cr_assert_eq(decode_metadata(BYTES("\x81\x90\x02"), &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text,
                     "field \"metadata\": expected keys of 1 to 128 bytes of text, found an array");
    cr_assert_eq(decode_metadata(BYTES("\x81\xa2\0x\x02"), &out, &err), STATUS_INVALID);
    cr_assert_eq(decode_metadata(BYTES("\x81\xa1x\xa2\0y"), &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "metadata key \"x\" holds a NUL byte");
    cr_assert_eq(
        decode_metadata(BYTES("\x81\xa1x\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), &out, &err),
        STATUS_INVALID);
    cr_assert_str_eq(err.text,
                     "metadata key \"x\": expected a string, a finite number of at most 64 "
                     "bits, true, false, nil, a list or a map, found "
                     "18446744073709551615");
    cr_assert_eq(decode_metadata(BYTES("\x81\xa1x\xca\x7f\x80\0\0"), &out, &err), STATUS_INVALID);
    cr_assert_eq(decode_metadata(BYTES("\x81\xa1x\xc4\x01\xff"), &out, &err), STATUS_INVALID);
    cr_assert_eq(decode_metadata(BYTES("\x81\xa1x\xd4\x01z"), &out, &err), STATUS_INVALID);
}

/* The value of metadata key `key`; fails where there is none. */
static struct slice metadata_text(const struct distill_body *body_read, const char *key)
{
    for (size_t i = 0; i < body_read->metadata.count; i++) {
        const struct meta_pair *pair = &body_read->metadata.pairs[i];
        if (slice_is(pair->key, key)) {
            return pair->value.string;
        }
    }
    cr_assert(false, "no key %s", key);
    return (struct slice){0};
}

Test(bodies_decode, a_worker_keeps_the_lesson_and_names_the_metadata_that_it_cannot_keep)
{
    static const char odd[] = "\x8a\xa2ok\x01\xa1n\xcb\x7f\xf8\0\0\0\0\0\0" /* NaN */
                              "\xa4$ref\x01\xa0\x01\xa5model\x01\x90\x01"
                              "\xa1u\xcf\xff\xff\xff\xff\xff\xff\xff\xff" /* 2^64 - 1 */
                              "\xa1t\xd4\x01z\xa1"
                              "b\xc4\x01\xff\xa3nul\xa3"
                              "a\0b";
    struct distill_body out;
    struct error err = {0};

    (void)decode_metadata(odd, sizeof odd - 1, &out, &err);
    cr_assert_eq(bodies_accept_distill(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(out.metadata.count, 3);
    cr_assert(slice_is(out.metadata.pairs[0].key, "ok"));
    cr_assert(slice_is(metadata_text(&out, "nul"), "a\xef\xbf\xbd"
                                                   "b"));
    cr_assert(slice_is(metadata_text(&out, "dropped_keys"),
                       "n, $ref, (empty), model, an array, u, t, b"));
    cr_assert(slice_is(out.metadata.dropped, "n, $ref, (empty), model, an array, u, t, b"));
}

Test(bodies_decode, a_worker_keeps_the_first_64_keys_of_many)
{
    struct strbuf metadata = {0};
    struct distill_body out;
    struct error err = {0};

    strbuf_append(&metadata, "\xde\x00\x64", 3);
    for (int i = 0; i < 100; i++) {
        const char pair[] = {'\xa2', (char)('0' + i / 10), (char)('0' + i % 10), 1};
        strbuf_append(&metadata, pair, sizeof pair);
    }
    (void)decode_metadata(metadata.data, metadata.bytes, &out, &err);
    cr_assert_eq(bodies_accept_distill(body.data, body.bytes, &arena, &out, &err), STATUS_OK);
    cr_assert_eq(out.metadata.count, 65);
    cr_assert(slice_is(out.metadata.dropped, "64, 65, 66, 67, 68, 69, 70, 71, 72, 73 and 26 more"));
    strbuf_free(&metadata);
}

Test(bodies_decode, a_nul_byte_costs_a_worker_a_character_and_not_the_lesson)
{
    struct distill_body out;
    struct error err = {0};

    strbuf_append(&body, BYTES("\x84\xa7task_id\xa1t\xa6prompt\xa1p\xa6result\xa3"
                               "a\0b\xa7success\xc3"));
    cr_assert_eq(bodies_decode_distill(body.data, body.bytes, &arena, &out, &err), STATUS_INVALID);
    cr_assert_eq(bodies_accept_distill(body.data, body.bytes, &arena, &out, &err), STATUS_OK);
    cr_assert(slice_is(out.result, "a\xef\xbf\xbd"
                                   "b"));
}

Test(bodies_decode, metadata_may_be_binary_if_it_is_utf8)
{
    struct distill_body out;
    struct error err = {0};
    cr_assert_eq(decode_metadata(BYTES("\x81\xc4\x01x\xc4\x02\xc3\xbc"), &out, &err), STATUS_OK,
                 "%s", err.text);
    cr_assert(slice_is(out.metadata.pairs[0].key, "x"));
    cr_assert(slice_is(out.metadata.pairs[0].value.string, "\303\274"));
}

Test(bodies_decode, of_two_equal_metadata_keys_the_last_value_counts)
{
    struct distill_body out;
    struct error err = {0};
    cr_assert_eq(decode_metadata(BYTES("\x83\xa1x\x01\xa1y\x02\xa1x\x03"), &out, &err), STATUS_OK);
    cr_assert_eq(out.metadata.count, 2);
    cr_assert(slice_is(out.metadata.pairs[0].key, "x"));
    cr_assert_eq(out.metadata.pairs[0].value.integer, 3);
}

Test(bodies_decode, sixty_four_metadata_keys_are_allowed)
{
    char metadata[3 + 65 * 4];
    struct distill_body out;
    struct error err = {0};
    for (size_t i = 0; i < 65; i++) {
        memcpy(metadata + 3 + i * 4,
               (char[]){'\xa2', (char)('a' + i / 10), (char)('0' + i % 10), 1}, 4);
    }
    memcpy(metadata, "\xde\x00\x40", 3);
    cr_assert_eq(decode_metadata(metadata, 3 + 64 * 4, &out, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(out.metadata.count, 64);
    memcpy(metadata, "\xde\x00\x41", 3);
    cr_assert_eq(decode_metadata(metadata, 3 + 65 * 4, &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "field \"metadata\": expected at most 64 keys, found 65");
}

static struct index_body index_of(const char *json)
{
    struct index_body out;
    struct error err = {0};
    support_body(&body, json);
    cr_assert_eq(bodies_decode_index(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    return out;
}

static void index_refuses(const char *json, const char *text)
{
    struct index_body out;
    struct error err = {0};
    support_body(&body, json);
    cr_assert_eq(bodies_decode_index(body.data, body.bytes, &arena, &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, text);
}

Test(bodies_decode, an_index_body_holds_documents)
{
    struct index_body out = index_of(
        "{'documents':[{'id':'a','text':'one','metadata':{'x':1,'model':'m'}},{'id':'b','text':"
        "'two'}]}");
    cr_assert_eq(out.documents.count, 2);
    cr_assert(slice_is(out.documents.each[0].id, "a"));
    cr_assert(slice_is(out.documents.each[0].text, "one"));
    cr_assert_eq(out.documents.each[0].metadata.count, 2);
    cr_assert(slice_is(out.documents.each[1].id, "b"));
    cr_assert_eq(out.documents.each[1].metadata.count, 0);
}

Test(bodies_decode, a_wrong_document_is_named_by_its_number)
{
    index_refuses("{}", "field \"documents\" is missing, expected an array");
    index_refuses("{'documents':{}}", "field \"documents\": expected an array, found a map");
    index_refuses("{'documents':[]}",
                  "field \"documents\": expected an array of 1 to 1000 elements, found 0");
    index_refuses("{'documents':[{'id':'a','text':'t'},7]}",
                  "documents[1]: expected a map, found 7");
    index_refuses("{'documents':[{'id':'a'}]}",
                  "documents[0]: field \"text\" is missing, expected a string");
    index_refuses("{'documents':[{'text':'t'}]}",
                  "documents[0]: field \"id\" is missing, expected a string");
    index_refuses("{'documents':[{'id':'a','text':''}]}", "documents[0]: field \"text\" is empty");
    index_refuses("{'documents':[{'id':'a','text':'t','metadata':{'content_hash':'x'}}]}",
                  "documents[0]: metadata key \"content_hash\" is reserved");
}

Test(bodies_decode, more_than_a_thousand_documents_are_refused)
{
    struct index_body out;
    struct error err = {0};
    strbuf_reset(&body);
    strbuf_append(&body, BYTES("\x81\xa9"
                               "documents\xdc\x03\xe9"));
    for (int i = 0; i < 1001; i++) {
        strbuf_append(&body, BYTES("\x82\xa2id\xa1x\xa4text\xa1x"));
    }
    cr_assert_eq(bodies_decode_index(body.data, body.bytes, &arena, &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text,
                     "field \"documents\": expected an array of 1 to 1000 elements, found 1001");
}

Test(bodies_decode, an_index_body_that_is_not_msgpack_is_refused)
{
    struct index_body out;
    struct error err = {0};
    cr_assert_eq(bodies_decode_index(BYTES("\xc1"), &arena, &out, &err), STATUS_INVALID);
    cr_assert_eq(bodies_decode_index(BYTES("\x90"), &arena, &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "expected a map, found an array");
}
