/* Results: what is encoded comes back, what others wrote is read with patience, and JSON of all. */
#include "bodies_support.h"

static struct strbuf body;
static struct strbuf json;
static struct arena arena;

static void clean_up(void)
{
    strbuf_free(&body);
    strbuf_free(&json);
    arena_free(&arena);
}

TestSuite(bodies_result, .fini = clean_up);

static struct meta_pair some_metadata[] = {
    {{"lang", 4}, {.type = META_STRING, .string = {"d\303\251", 3}}},
    {{"n", 1}, {.type = META_INT, .integer = INT64_MIN}},
    {{"f", 1}, {.type = META_FLOAT, .number = 0.1}},
    {{"b", 1}, {.type = META_BOOL, .boolean = true}},
    {{"c", 1}, {.type = META_BOOL, .boolean = false}},
    {{"z", 1}, {.type = META_NULL}},
};

enum { SOME_METADATA = sizeof some_metadata / sizeof some_metadata[0] };

static void expect_some_metadata(const struct meta_pair *pairs, size_t count)
{
    cr_assert_eq(count, SOME_METADATA);
    for (size_t i = 0; i < count; i++) {
        const struct meta_value *expected = &some_metadata[i].value;
        cr_assert_eq(pairs[i].key.bytes, some_metadata[i].key.bytes);
        cr_assert_eq(pairs[i].value.type, expected->type);
        cr_assert_eq(pairs[i].value.integer, expected->integer);
        cr_assert_eq(pairs[i].value.number, expected->number);
        cr_assert_eq(pairs[i].value.boolean, expected->boolean);
        cr_assert_eq(pairs[i].value.string.bytes, expected->string.bytes);
    }
}

static const char *json_of(const void *data, size_t bytes)
{
    struct error err = {0};
    strbuf_reset(&json);
    cr_assert_eq(values_to_json(data, bytes, &(struct json_writer){.out = &json}, NULL, &err),
                 STATUS_OK, "%s", err.text);
    return json.data;
}

Test(bodies_result, an_enrichment_comes_back_as_encoded)
{
    struct enrich_body in = {.query = SLICE("what \303\274 says"), .k.value = 7};
    struct enrich_body out;
    struct error err = {0};
    bodies_encode_enrich(&in, &body);
    cr_assert(strbuf_ok(&body));
    cr_assert_eq(bodies_decode_enrich(body.data, body.bytes, NULL, &out, &err), STATUS_OK);
    cr_assert(slice_is(out.query, "what \303\274 says"));
    cr_assert_eq(out.k.value, 7);
    cr_assert_str_eq(json_of(body.data, body.bytes), "{\"query\":\"what \303\274 says\",\"k\":7}");
}

Test(bodies_result, a_distillation_comes_back_as_encoded)
{
    struct distill_body in = {.task_id = SLICE("t"),
                              .prompt = SLICE("p"),
                              .result = SLICE("r"),
                              .success.value = true,
                              .quality = {0.875, true},
                              .model = SLICE("m"),
                              .metadata = {some_metadata, SOME_METADATA, {NULL, 0}}};
    struct distill_body out;
    struct error err = {0};
    bodies_encode_distill(&in, &body);
    cr_assert_eq(bodies_decode_distill(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert(slice_is(out.task_id, "t"));
    cr_assert(slice_is(out.prompt, "p"));
    cr_assert(slice_is(out.result, "r"));
    cr_assert(out.success.value && out.quality.given);
    cr_assert_eq(out.quality.value, 0.875);
    cr_assert(slice_is(out.model, "m"));
    expect_some_metadata(out.metadata.pairs, out.metadata.count);
}

Test(bodies_result, absent_fields_of_a_distillation_are_left_out)
{
    struct distill_body in = {
        .task_id = SLICE("t"), .prompt = SLICE("p"), .result = SLICE("r"), .success.value = false};
    bodies_encode_distill(&in, &body);
    cr_assert_str_eq(json_of(body.data, body.bytes),
                     "{\"task_id\":\"t\",\"prompt\":\"p\",\"result\":\"r\",\"success\":false}");
}

Test(bodies_result, an_index_body_comes_back_as_encoded)
{
    struct index_document documents[] = {
        {SLICE("a"), SLICE("one"), {some_metadata, SOME_METADATA, {NULL, 0}}},
        {.id = SLICE("b"), .text = SLICE("two")},
    };
    struct index_body in = {.documents = {documents, 2}};
    struct index_body out;
    struct error err = {0};
    bodies_encode_index(&in, &body);
    cr_assert_eq(bodies_decode_index(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(out.documents.count, 2);
    cr_assert(slice_is(out.documents.each[0].text, "one"));
    expect_some_metadata(out.documents.each[0].metadata.pairs,
                         out.documents.each[0].metadata.count);
    cr_assert(slice_is(out.documents.each[1].id, "b"));
}

static struct example some_examples[] = {
    {SLICE("t1"), SLICE("prompt\n\nresult"), 0.125, some_metadata, SOME_METADATA},
    {SLICE("t2"), SLICE(""), 0, NULL, 0},
};

static struct enrich_result some_result(void)
{
    return (struct enrich_result){
        .domain = SLICE("legal"),
        .query_hash = SLICE("0123456789abcdef0123456789abcdef"),
        .created_unix_ms = INT64_C(1700000000000),
        .epoch = 9,
        .k = 5,
        .examples = some_examples,
        .count = 2,
        .few_shot = SLICE("a few"),
    };
}

Test(bodies_result, a_result_comes_back_as_encoded)
{
    struct enrich_result in = some_result();
    struct enrich_result out;
    struct error err = {0};
    bodies_encode_result(&in, &body);
    cr_assert_eq(bodies_decode_result(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert(slice_is(out.domain, "legal"));
    cr_assert(slice_is(out.query_hash, "0123456789abcdef0123456789abcdef"));
    cr_assert_eq(out.created_unix_ms, INT64_C(1700000000000));
    cr_assert_eq(out.epoch, 9);
    cr_assert_eq(out.k, 5);
    cr_assert_eq(out.count, 2);
    cr_assert(slice_is(out.examples[0].id, "t1"));
    cr_assert(slice_is(out.examples[0].text, "prompt\n\nresult"));
    cr_assert_eq(out.examples[0].distance, 0.125);
    expect_some_metadata(out.examples[0].metadata, out.examples[0].metadata_count);
    cr_assert(slice_is(out.examples[1].text, ""));
    cr_assert(slice_is(out.few_shot, "a few"));
    cr_assert_null(out.error.data);
}

Test(bodies_result, a_result_has_the_fields_of_the_contract)
{
    struct enrich_result in = some_result();
    in.examples = (struct example[]){{SLICE("t"), SLICE("x"), 0.5, some_metadata, 1}};
    in.count = 1;
    bodies_encode_result(&in, &body);
    cr_assert_str_eq(json_of(body.data, body.bytes),
                     "{\"v\":1,\"domain\":\"legal\",\"query_hash\":"
                     "\"0123456789abcdef0123456789abcdef\",\"created_ms\":1700000000000,"
                     "\"epoch\":9,\"k\":5,\"examples\":[{\"id\":\"t\",\"text\":\"x\","
                     "\"distance\":0.5,\"metadata\":{\"lang\":\"d\303\251\"}}],"
                     "\"few_shot\":\"a few\"}");
}

Test(bodies_result, an_error_stands_in_place_of_examples)
{
    struct enrich_result in = some_result();
    struct enrich_result out;
    struct error err = {0};
    in.error = SLICE("query is blank");
    bodies_encode_result(&in, &body);
    cr_assert_eq(bodies_decode_result(body.data, body.bytes, &arena, &out, &err), STATUS_OK);
    cr_assert(slice_is(out.error, "query is blank"));
    cr_assert_eq(out.count, 0);
    cr_assert_null(strstr(json_of(body.data, body.bytes), "examples"));
}

Test(bodies_result, a_block_longer_than_any_of_ours_is_refused)
{
    struct enrich_result in = some_result();
    struct enrich_result out;
    struct error err = {0};
    static char block[BODIES_FEW_SHOT_MAX + 1];

    memset(block, 'x', sizeof block);
    in.few_shot = (struct slice){block, BODIES_FEW_SHOT_MAX};
    bodies_encode_result(&in, &body);
    cr_assert_eq(bodies_decode_result(body.data, body.bytes, &arena, &out, &err), STATUS_OK);
    in.few_shot.bytes++;
    strbuf_reset(&body);
    bodies_encode_result(&in, &body);
    cr_assert_eq(bodies_decode_result(body.data, body.bytes, &arena, &out, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "\"few_shot\" has 16385 bytes, expected at most 16384");
}

Test(bodies_result, a_result_is_of_its_own_domain_and_query_only)
{
    const char *hash = "0123456789abcdef0123456789abcdef";
    const struct enrich_result result = some_result();
    const struct enrich_result nobodys = {.domain = {"", 0}, .query_hash = {"", 0}};

    cr_assert(bodies_result_is_of(&result, "legal", hash));
    cr_assert_not(bodies_result_is_of(&result, "legal2", hash));
    cr_assert_not(bodies_result_is_of(&result, "lega", hash));
    cr_assert_not(bodies_result_is_of(&result, "legal", "1123456789abcdef0123456789abcdef"));
    cr_assert_not(bodies_result_is_of(&nobodys, "legal", hash));
}

static struct enrich_result result_of(const char *text)
{
    struct enrich_result out;
    struct error err = {0};
    support_body(&body, text);
    cr_assert_eq(bodies_decode_result(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    return out;
}

Test(bodies_result, what_a_foreign_result_leaves_out_has_a_default)
{
    struct enrich_result out = result_of("{}");
    cr_assert(slice_is(out.few_shot, ""));
    cr_assert(slice_is(out.domain, ""));
    cr_assert(slice_is(out.query_hash, ""));
    cr_assert_eq(out.count, 0);
    cr_assert_eq(out.k, 3);
    cr_assert_eq(out.epoch, 0);
    cr_assert_null(out.error.data);
}

Test(bodies_result, odd_parts_of_foreign_examples_are_left_out)
{
    struct enrich_result out =
        result_of("{'v':1,'new':[1,2],'examples':[{'id':'a','text':'t','distance':null,'metadata':"
                  "{'x':[1],'domain':'d','':3}},{'id':'b','text':'t','distance':'far','metadata':"
                  "7}]}");
    cr_assert_eq(out.count, 2);
    cr_assert_eq(out.examples[0].distance, 0);
    cr_assert_eq(out.examples[0].metadata_count, 1);
    cr_assert(slice_is(out.examples[0].metadata[0].key, "domain"));
    cr_assert_eq(out.examples[1].distance, 0);
    cr_assert_eq(out.examples[1].metadata_count, 0);
}

Test(bodies_result, a_foreign_example_keeps_96_metadata_keys_at_most)
{
    struct enrich_result out;
    struct error err = {0};
    strbuf_append(&body, BYTES("\x81\xa8"
                               "examples\x91\x83\xa2id\xa1i\xa4text\xa1t\xa8metadata\xde\x00\x6e"));
    for (int i = 0; i < 110; i++) {
        char pair[] = {'\xa2', (char)('a' + i / 10), (char)('0' + i % 10), 1};
        strbuf_append(&body, pair, sizeof pair);
    }
    cr_assert_eq(bodies_decode_result(body.data, body.bytes, &arena, &out, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(out.examples[0].metadata_count, 96, "a caller's 64 and ours");
}

Test(bodies_result, a_foreign_result_that_is_wrong_in_kind_is_refused)
{
    static const struct {
        const char *json;
        const char *text;
    } bad[] = {
        {"[]", "expected a map, found an array"},
        {"{'v':2}", "field \"v\": expected an integer from 1 to 1, found 2"},
        {"{'k':1000}", "field \"k\": expected an integer from 1 to 20, found 1000"},
        {"{'epoch':-1}",
         "field \"epoch\": expected an integer from 0 to 9223372036854775807, found -1"},
        {"{'created_ms':'now'}", "field \"created_ms\": expected an integer from 0 to "
                                 "9223372036854775807, found the string \"now\""},
        {"{'few_shot':1}", "field \"few_shot\": expected a string, found 1"},
        {"{'error':[]}", "field \"error\": expected a string, found an array"},
        {"{'examples':'x'}", "field \"examples\": expected an array, found the string \"x\""},
        {"{'examples':[null]}", "examples[0]: expected a map, found nil"},
        {"{'examples':[{'id':'a'}]}", "examples[0]: field \"text\" is missing, expected a string"},
        {"{'examples':[{'text':'a'}]}", "examples[0]: field \"id\" is missing, expected a string"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct enrich_result out;
        struct error err = {0};
        support_body(&body, bad[i].json);
        cr_assert_eq(bodies_decode_result(body.data, body.bytes, &arena, &out, &err),
                     STATUS_INVALID, "accepted: %s", bad[i].json);
        cr_assert_str_eq(err.text, bad[i].text);
    }
}

Test(bodies_result, a_result_cut_or_flipped_anywhere_never_crashes)
{
    struct enrich_result in = some_result();
    struct enrich_result out;
    struct error err = {0};
    bodies_encode_result(&in, &body);
    for (size_t bytes = 0; bytes < body.bytes; bytes++) {
        cr_assert_eq(bodies_decode_result(body.data, bytes, &arena, &out, &err), STATUS_INVALID);
    }
    for (size_t i = 0; i < body.bytes * 8; i++) {
        body.data[i / 8] ^= (char)(1 << i % 8);
        enum status status = bodies_decode_result(body.data, body.bytes, &arena, &out, &err);
        cr_assert(status == STATUS_OK || status == STATUS_INVALID);
        body.data[i / 8] ^= (char)(1 << i % 8);
        arena_reset(&arena, 1 << 20);
    }
}

Test(bodies_result, every_kind_of_value_has_a_json_form)
{
    cr_assert_str_eq(json_of(BYTES("\xc0")), "null");
    cr_assert_str_eq(json_of(BYTES("\x92\xc2\xc3")), "[false,true]");
    cr_assert_str_eq(json_of(BYTES("\x93\x05\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff")),
                     "[5,-1,18446744073709551615]");
    cr_assert_str_eq(json_of(BYTES("\x92\xca\x3f\x00\x00\x00\xca\x7f\xc0\x00\x00")), "[0.5,null]");
    cr_assert_str_eq(json_of(BYTES("\xa3"
                                   "a\"\0")),
                     "\"a\\\"\\u0000\"");
    cr_assert_str_eq(json_of(BYTES("\xc4\x02hi")), "\"aGk=\"");
    cr_assert_str_eq(json_of(BYTES("\xc4\x00")), "\"\"");
    cr_assert_str_eq(json_of(BYTES("\xd5\x01hi")), "\"aGk=\"");
    cr_assert_str_eq(json_of(BYTES("\x92\x90\x80")), "[[],{}]");
}

Test(bodies_result, long_binary_data_is_one_base64_text)
{
    char data[2 + 100] = "\xc4\x64";
    memset(data + 2, 'a', 100);
    cr_assert_str_eq(json_of(data, sizeof data),
                     "\"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"
                     "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYQ==\"");
}

Test(bodies_result, keys_of_every_kind_become_text)
{
    cr_assert_str_eq(json_of(BYTES("\x87\xa1x\x01\x05\x02\xc0\x03\xc3\x04\x90\x05\x80\x06"
                                   "\xc4\x01z\x07")),
                     "{\"x\":1,\"5\":2,\"null\":3,\"true\":4,\"[array]\":5,\"{map}\":6,"
                     "\"eg==\":7}");
}

Test(bodies_result, json_of_broken_bytes_is_an_error_and_nothing_is_written)
{
    struct error err = {0};
    strbuf_append_str(&json, "before");
    cr_assert_eq(values_to_json(BYTES("\x92\x01"), &(struct json_writer){.out = &json}, NULL, &err),
                 STATUS_INVALID);
    cr_assert_str_eq(json.data, "before");
    cr_assert_str_eq(err.text, "an array at byte 0 claims 2 elements, 1 bytes are left");
}

Test(bodies_result, json_without_memory_is_an_error)
{
    struct strbuf full = {.failed = true};
    struct error err = {0};
    cr_assert_eq(
        values_to_json(BYTES("\x92\x01\x02"), &(struct json_writer){.out = &full}, NULL, &err),
        STATUS_OOM);
    cr_assert_str_eq(err.text, "out of memory");
    cr_assert_eq(full.bytes, 0);
}
