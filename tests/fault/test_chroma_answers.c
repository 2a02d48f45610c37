/* Chroma: answers of every shape, and requests byte by byte. By script. */
#include "chroma_calls.h"
#include "chroma_script.h"

/* ---- answers of the wrong shape ---- */

Test(chroma_answers, wrong_shapes_of_a_query_answer_are_garbled_and_named)
{
    static const struct {
        const char *body;
        const char *text;
    } rows[] = {
        {"", "empty"},
        {"{\"ids\":[[\"a\"]", "not JSON"},
        {"{\"ids\":[[\"a\"]]} trailing", "not JSON"},
        {"\"\xff\xfe\"", "not JSON"},
        {"null", "\"ids\""},
        {"[]", "\"ids\""},
        {"{\"ids\":null}", "\"ids\""},
        {"{\"ids\":{}}", "\"ids\""},
        {"{\"ids\":[]}", "\"ids\""},
        {"{\"ids\":[[],[]]}", "\"ids\""},
        {"{\"ids\":[\"a\"]}", "\"ids\""},
        {"{\"ids\":[[\"a\"]],\"documents\":[[]]}", "\"documents\""},
        {"{\"ids\":[[\"a\"]],\"documents\":[]}", "\"documents\""},
        {"{\"ids\":[[\"a\"]],\"metadatas\":[[{},{}]]}", "\"metadatas\""},
        {"{\"ids\":[[\"a\"]],\"metadatas\":{}}", "\"metadatas\""},
        {"{\"ids\":[[\"a\"]],\"distances\":[0.5]}", "\"distances\""},
        {"{\"ids\":[[7]],\"metadatas\":[[{}]],\"distances\":[[0.5]]}", "id"},
        {"{\"ids\":[[\"a\"]],\"documents\":[[7]],\"metadatas\":[[{}]],\"distances\":[[1]]}",
         "document"},
        {"{\"ids\":[[\"a\"]],\"metadatas\":[[[]]],\"distances\":[[0.5]]}", "metadata"},
        {"{\"ids\":[[\"a\"]],\"metadatas\":[[{}]],\"distances\":[[\"0.5\"]]}", "distance"},
        {"{\"ids\":[[\"a\",\"b\",\"c\",\"d\"]],\"metadatas\":[[{},{},{},{}]],"
         "\"distances\":[[1,1,1,1]]}",
         "4 hits where 3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_query_ends("200 OK", rows[i].body, STATUS_GARBLED, rows[i].text);
    }
}

static bool has_letter_b(const void *context, const struct example *hit)
{
    return hit->id.bytes == 1 && hit->id.data[0] == *(const char *)context;
}

Test(chroma_answers, hits_that_are_not_wanted_are_left_out_and_counted)
{
    static const char body[] =
        "{\"ids\":[[\"a\",\"b\",\"c\"],[]],\"documents\":null,\"metadatas\":[[{\"x\":1},{\"x\":2},"
        "{\"x\":3}],[]],\"distances\":[[0.1,0.2,0.3],[]]}";
    struct chroma_hits taken[2] = {0};
    struct chroma_walk walk = {
        .asked = {.count = 2, .n_results = 3, .wanted = has_letter_b, .wanted_context = "b"}};

    cr_assert_eq(chroma_walk_open(&walk, body, sizeof body - 1, &err), STATUS_OK, "%s", err.text);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(chroma_walk_next(&walk, &arena, &taken[i], &err), STATUS_OK, "%s", err.text);
    }
    cr_assert_eq(taken[0].answered, 3);
    cr_assert_eq(taken[0].count, 1);
    cr_assert_eq(taken[0].examples[0].metadata[0].value.integer, 2);
    cr_assert_eq(taken[1].answered, 0);
    arena_free(&arena);
}

Test(chroma_answers, an_answer_nested_without_end_is_garbled)
{
    static char body[100001];
    memset(body, '[', sizeof body - 1);
    assert_query_ends("200 OK", body, STATUS_GARBLED, "not JSON");
}

Test(chroma_answers, what_stands_behind_a_nul_byte_is_not_overlooked)
{
    static const char body[] = "{\"ids\":[[]]}\0{";
    cJSON *root = NULL;
    cr_assert_eq(chroma_parse(body, 12, &root, &err), STATUS_OK, "%s", err.text);
    cJSON_Delete(root);
    cr_assert_eq(chroma_parse(body, sizeof body - 1, &root, &err), STATUS_GARBLED);
    cr_assert_null(root);
}

static void answer_query_with(const char *body)
{
    static struct fake_step script[] = {FIND, ANSWER("200 OK", COLLECTION(UUID_1)), QUERY(UUID_1),
                                        ANSWER("200 OK", NULL), END};
    script[3].body = body;
    start(script);
    cr_assert_eq(query(), STATUS_OK, "%s", err.text);
}

static void assert_slice(struct slice slice, const char *text)
{
    cr_assert_eq(slice.bytes, strlen(text), "\"%.*s\"", (int)slice.bytes, slice.data);
    cr_assert_eq(memcmp(slice.data, text, slice.bytes), 0, "\"%.*s\"", (int)slice.bytes,
                 slice.data);
}

Test(chroma_answers, hits_without_metadata_or_distance_are_left_out)
{
    answer_query_with("{\"ids\":[[\"a\",\"b\",\"c\"]],\"documents\":[[null,null,\"C\"]],"
                      "\"metadatas\":[[null,{\"x\":1},{\"x\":2}]],\"distances\":[[0.1,null,0.3]]}");
    cr_assert_eq(hits.count, 1);
    assert_slice(hits.examples[0].id, "c");
    assert_slice(hits.examples[0].text, "C");
    stop();
}

Test(chroma_answers, an_answer_without_distances_has_no_hits)
{
    answer_query_with("{\"ids\":[[\"a\"]],\"documents\":null,\"metadatas\":[[{}]],"
                      "\"distances\":null}");
    cr_assert_eq(hits.count, 0);
    stop();
}

Test(chroma_answers, a_negative_distance_is_zero_and_an_infinite_one_no_hit)
{
    answer_query_with("{\"ids\":[[\"a\",\"b\"]],\"documents\":[[\"A\",\"B\"]],"
                      "\"metadatas\":[[{},{}]],\"distances\":[[-1e-7,1e999]]}");
    cr_assert_eq(hits.count, 1);
    cr_assert_eq(hits.examples[0].distance, 0);
    cr_assert_eq(hits.examples[0].metadata_count, 0);
    stop();
}

Test(chroma_answers, metadata_keeps_its_types)
{
    answer_query_with(
        "{\"ids\":[[\"a\"]],\"documents\":[[\"A\"]],\"distances\":[[0.5]],\"metadatas\":[[{"
        "\"s\":\"t\",\"i\":-5,\"big\":9007199254740992,\"huge\":1e300,\"f\":0.5,\"yes\":true,"
        "\"no\":false,\"null\":null,\"list\":[1],\"map\":{},\"inf\":1e999,\"document\":\"own\"}]]"
        "}");
    const struct meta_pair *pairs = hits.examples[0].metadata;
    cr_assert_eq(hits.examples[0].metadata_count, 8);
    cr_assert_eq(pairs[0].value.type, META_STRING);
    assert_slice(pairs[0].value.string, "t");
    cr_assert_eq(pairs[1].value.type, META_INT);
    cr_assert_eq(pairs[1].value.integer, -5);
    cr_assert_eq(pairs[2].value.type, META_INT);
    cr_assert_eq(pairs[2].value.integer, INT64_C(9007199254740992));
    cr_assert_eq(pairs[3].value.type, META_FLOAT);
    cr_assert_eq(pairs[4].value.type, META_FLOAT);
    cr_assert_eq(pairs[4].value.number, 0.5);
    cr_assert(pairs[5].value.type == META_BOOL && pairs[5].value.boolean);
    cr_assert(pairs[6].value.type == META_BOOL && !pairs[6].value.boolean);
    assert_slice(pairs[7].key, "document");
    stop();
}

Test(chroma_answers, whole_numbers_in_metadata_stay_exact_and_fractions_fractions)
{
    static const int64_t whole[] = {INT64_C(9007199254740993), INT64_C(1546130668394913822),
                                    INT64_MAX, INT64_MIN};

    answer_query_with("{\"metadatas\" : [ [ { \"a\":9007199254740993, \"b\": 1546130668394913822 ,"
                      "\"c\":9223372036854775807,\"d\":-9223372036854775808,\"e\":5.0,\"f\":1e3,"
                      "\"g\":9223372036854775808}]],\"ids\":[[\"a\"]],\"documents\":[[\"A\"]],"
                      "\"distances\":[[0.5]]}");
    const struct meta_pair *pairs = hits.examples[0].metadata;
    cr_assert_eq(hits.examples[0].metadata_count, 7);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pairs[i].value.type, META_INT);
        cr_assert_eq(pairs[i].value.integer, whole[i]);
    }
    for (size_t i = 4; i < 7; i++) {
        cr_assert_eq(pairs[i].value.type, META_FLOAT);
    }
    cr_assert_eq(pairs[4].value.number, 5);
    cr_assert_eq(pairs[5].value.number, 1000);
    stop();
}

Test(chroma_answers, a_text_in_metadata_is_the_text_where_there_is_no_document)
{
    answer_query_with("{\"ids\":[[\"a\"]],\"documents\":[[null]],\"distances\":[[0.5]],"
                      "\"metadatas\":[[{\"document\":\"the text\",\"n\":1}]]}");
    assert_slice(hits.examples[0].text, "the text");
    cr_assert_eq(hits.examples[0].metadata_count, 1);
    assert_slice(hits.examples[0].metadata[0].key, "n");
    stop();
}

Test(chroma_answers, a_text_in_metadata_is_newer_than_a_document_where_texts_are_metadata)
{
    text_in_metadata = true;
    answer_query_with("{\"ids\":[[\"a\"]],\"documents\":[[\"old\"]],\"distances\":[[0.5]],"
                      "\"metadatas\":[[{\"document\":\"new\",\"n\":1}]]}");
    assert_slice(hits.examples[0].text, "new");
    cr_assert_eq(hits.examples[0].metadata_count, 1);
    stop();
}

/* ---- what goes out ---- */

Test(chroma_answers, the_token_goes_out_in_both_headers)
{
    static const struct fake_step script[] = {
        EXPECT("GET /api/v2/heartbeat "), EXPECT("x-chroma-token: tok\r\n"),
        EXPECT("Authorization: Bearer tok\r\n"), ANSWER("200 OK", "{\"nanosecond heartbeat\":1}"),
        END};
    token = "tok\r\nX-Evil: 1";
    start(script);
    cr_assert_eq(chroma_heartbeat(chroma, 1000, &err), STATUS_OK, "%s", err.text);
    cr_assert_not(fake_server_saw(server, "Evil"));
    stop();
}

Test(chroma_answers, without_a_token_there_is_no_such_header)
{
    static const struct fake_step script[] = {
        EXPECT("GET "), ANSWER("200 OK", "{\"nanosecond heartbeat\":1}"), END};
    token = NULL;
    start(script);
    cr_assert_eq(chroma_heartbeat(chroma, 1000, &err), STATUS_OK, "%s", err.text);
    cr_assert_not(fake_server_saw(server, "x-chroma-token"));
    cr_assert_not(fake_server_saw(server, "Authorization"));
    stop();
}

Test(chroma_answers, an_upsert_as_it_is_written)
{
    static const struct fake_step script[] = {
        CREATE,
        EXPECT("{\"name\":\"sh-legal\",\"get_or_create\":true,\"metadata\":{\"embedder\":\"m\","
               "\"dimension\":2,\"normalised\":true},\"configuration\":{\"hnsw\":{\"space\":"
               "\"cosine\",\"max_neighbors\":16,\"ef_construction\":100,\"ef_search\":200,"
               "\"sync_threshold\":100}}}"),
        ANSWER("200 OK", COLLECTION(UUID_1)),
        UPSERT(UUID_1),
        EXPECT("{\"ids\":[\"a\\\"\",\"b\"],\"embeddings\":[[1,0.5],[1,0.5]],\"metadatas\":["
               "{\"document\":null,\"s\":\"t\",\"i\":-5,\"f\":0.5,\"yes\":true,\"gone\":null},"
               "{\"document\":\"own\"}],\"documents\":[\"A\",\"\"]}"),
        ANSWER("200 OK", "{}"),
        END,
    };
    const struct meta_pair pairs[] = {
        {{"s", 1}, {.type = META_STRING, .string = {"t", 1}}},
        {{"i", 1}, {.type = META_INT, .integer = -5}},
        {{"f", 1}, {.type = META_FLOAT, .number = 0.5}},
        {{"yes", 3}, {.type = META_BOOL, .boolean = true}},
        {{"gone", 4}, {.type = META_NULL}},
    };
    const struct meta_pair own = {{"document", 8}, {.type = META_STRING, .string = {"own", 3}}};
    const struct chroma_record records[] = {
        {{"a\"", 2}, vector, {"A", 1}, pairs, 5},
        {{"b", 1}, vector, {NULL, 0}, &own, 1},
    };
    start(script);
    cr_assert_eq(chroma_upsert(chroma, "legal", records, 2, &err), STATUS_OK, "%s", err.text);
    stop();
}

Test(chroma_answers, what_is_no_acknowledgement_of_a_write_is_garbled)
{
    static const struct fake_step script[] = {
        CREATE,
        ANSWER("200 OK", COLLECTION(UUID_1)),
        UPSERT(UUID_1),
        ANSWER("200 OK", "null"),
        UPSERT(UUID_1),
        ANSWER("200 OK", "[]"),
        UPSERT(UUID_1),
        ANSWER("200 OK", "{\"error\":\"overloaded\"}"),
        UPSERT(UUID_1),
        ANSWER("200 OK", "true"), /* as older servers have it */
        END,
    };
    const struct chroma_record record = {{"a", 1}, vector, {"A", 1}, NULL, 0};

    start(script);
    for (int i = 0; i < 3; i++) {
        assert_error(chroma_upsert(chroma, "legal", &record, 1, &err), STATUS_GARBLED,
                     "not an acknowledgement");
    }
    cr_assert_eq(chroma_upsert(chroma, "legal", &record, 1, &err), STATUS_OK, "%s", err.text);
    stop();
}

Test(chroma_answers, an_upsert_with_texts_as_metadata)
{
    static const struct fake_step script[] = {CREATE,
                                              ANSWER("200 OK", COLLECTION(UUID_1)),
                                              UPSERT(UUID_1),
                                              EXPECT("\"metadatas\":[{\"document\":\"A\"}]}"),
                                              ANSWER("200 OK", "{}"),
                                              END};
    const struct meta_pair own = {{"document", 8}, {.type = META_STRING, .string = {"own", 3}}};
    const struct chroma_record record = {{"a", 1}, vector, {"A", 1}, &own, 1};
    text_in_metadata = true;
    start(script);
    cr_assert_eq(chroma_upsert(chroma, "legal", &record, 1, &err), STATUS_OK, "%s", err.text);
    cr_assert_not(fake_server_saw(server, "own"));
    cr_assert_not(fake_server_saw(server, "\"documents\""));
    stop();
}

Test(chroma_answers, what_would_be_refused_or_do_harm_is_never_sent)
{
    static const struct fake_step script[] = {END};
    static const float bad[2] = {1, __builtin_nanf("")};
    static struct chroma_record records[101];
    const struct chroma_record broken = {{"a", 1}, bad, {"A", 1}, NULL, 0};
    const struct chroma_record nameless = {{"", 0}, vector, {"A", 1}, NULL, 0};

    start(script);
    assert_error(chroma_upsert(chroma, "legal", records, 101, &err), STATUS_INVALID, "101");
    assert_error(chroma_upsert(chroma, "legal", &broken, 1, &err), STATUS_INVALID, "finite");
    assert_error(chroma_upsert(chroma, "legal", &nameless, 1, &err), STATUS_INVALID, "no id");
    assert_error(query_all(chroma, "legal", (struct vectors){vector, 1, 2}, 0, &arena, &hits, &err),
                 STATUS_INVALID, "0 results");
    assert_error(query_all(chroma, "legal", (struct vectors){bad, 1, 2}, 3, &arena, &hits, &err),
                 STATUS_INVALID, "finite");
    assert_error(query_all(chroma, "../x", (struct vectors){vector, 1, 2}, 3, &arena, &hits, &err),
                 STATUS_INVALID, "\"../x\"");
    cr_assert_eq(fake_server_connections(server), 0);
    stop();
}

Test(chroma_answers, empty_calls_do_nothing)
{
    static const struct fake_step script[] = {END};
    start(script);
    cr_assert_eq(chroma_upsert(chroma, "legal", NULL, 0, &err), STATUS_OK);
    cr_assert_eq(chroma_delete(chroma, "legal", NULL, 0, &err), STATUS_OK);
    cr_assert_eq(query_all(chroma, "legal", (struct vectors){NULL, 0, 2}, 3, &arena, NULL, &err),
                 STATUS_OK);
    cr_assert_eq(get_ids(chroma, "legal", NULL, 0, &arena, &hits, &err), STATUS_OK);
    cr_assert_eq(get_page(chroma, "legal", 0, 0, &arena, &hits, &err), STATUS_OK);
    cr_assert_eq(hits.count, 0);
    cr_assert_eq(fake_server_connections(server), 0);
    stop();
}

Test(chroma_answers, slashes_at_the_end_of_the_url_do_not_count)
{
    static const struct fake_step script[] = {EXPECT("GET /base/api/v2/heartbeat "),
                                              ANSWER("200 OK", "{\"nanosecond heartbeat\":1}"),
                                              END};
    char url[128];
    server = fake_server_start(script);
    snprintf(url, sizeof url, "%s/base//", fake_server_url(server, "http"));
    chroma = chroma_new(&(struct chroma_config){
        .url = url, .tenant = "t", .database = "d", .identity = {.model = "m", .dimension = 2}});
    cr_assert_not_null(chroma);
    cr_assert_eq(chroma_heartbeat(chroma, 1000, &err), STATUS_OK, "%s", err.text);
    stop();
    chroma_free(NULL);
}
