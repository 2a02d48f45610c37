#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "chroma_internal.h"
#include "clock.h"
#include "fake_server.h"

#define UUID_1 "11111111-1111-1111-1111-111111111111"
#define UUID_2 "22222222-2222-2222-2222-222222222222"

#define COLLECTION_OF(id, space, model, dimension)                                                 \
    "{\"id\":\"" id "\",\"configuration_json\":{\"hnsw\":{\"space\":\"" space                      \
    "\"}},\"metadata\":{\"embedder\":\"" model "\",\"dimension\":2},\"dimension\":" dimension "}"
#define COLLECTION(id) COLLECTION_OF(id, "cosine", "m", "null")

#define FIND EXPECT("GET /api/v2/tenants/t%20t/databases/d/collections/sh-legal ")
#define CREATE EXPECT("POST /api/v2/tenants/t%20t/databases/d/collections ")
#define QUERY(id) EXPECT("POST /api/v2/tenants/t%20t/databases/d/collections/" id "/query ")
#define UPSERT(id) EXPECT("POST /api/v2/tenants/t%20t/databases/d/collections/" id "/upsert ")
#define NOT_FOUND ANSWER("404 Not Found", "{\"error\":\"NotFoundError\",\"message\":\"gone\"}")

#define ONE_HIT                                                                                    \
    "{\"ids\":[[\"a\"]],\"documents\":[[\"A\"]],\"metadatas\":[[{\"n\":1}]],\"distances\":"        \
    "[[0.25]]}"

static const float vector[2] = {1, 0.5F};

static struct fake_server *server;
static struct chroma *chroma;
static struct arena arena;
static struct chroma_hits hits;
static struct error err;
static bool text_in_metadata;
static const char *token = "";

static void start(const struct fake_step *script)
{
    server = fake_server_start(script);
    struct chroma_config config = {.url = fake_server_url(server, "http"),
                                   .tenant = "t t",
                                   .database = "d",
                                   .token = token,
                                   .timeout_ms = 3000,
                                   .identity = {.model = "m", .dimension = 2},
                                   .store_text_as_metadata = text_in_metadata};
    chroma = chroma_new(&config);
    cr_assert_not_null(chroma);
}

static void stop(void)
{
    chroma_free(chroma);
    arena_free(&arena);
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

static enum status query(void)
{
    return chroma_query(chroma, "legal", vector, 1, 3, &arena, &hits, &err);
}

static enum status upsert(void)
{
    struct chroma_record record = {.id = {"a", 1}, .vector = vector, .document = {"A", 1}};
    return chroma_upsert(chroma, "legal", &record, 1, &err);
}

static void assert_error(enum status status, enum status expected, const char *text)
{
    cr_assert_eq(status, expected, "%s: %s", status_text(status), err.text);
    cr_assert_eq(err.status, expected);
    cr_assert_not_null(strstr(err.text, text), "\"%s\" lacks \"%s\"", err.text, text);
}

/* A query, its collection known, is answered with `status` and `body`. */
static void assert_query_ends(const char *http_status, const char *body, enum status expected,
                              const char *text)
{
    const struct fake_step script[] = {
        FIND, ANSWER("200 OK", COLLECTION(UUID_1)), QUERY(UUID_1), ANSWER(http_status, body), END,
    };
    err = (struct error){0};
    start(script);
    assert_error(query(), expected, text);
    stop();
}

/* ---- no answer, or not Chroma's ---- */

Test(chroma_faults, nothing_listens)
{
    static const struct fake_step script[] = {END};
    start(script);
    cr_assert_null(fake_server_stop(server));
    assert_error(query(), STATUS_UNREACHABLE, "http://127.0.0.1:");
    assert_error(chroma_heartbeat(chroma, 500, &err), STATUS_UNREACHABLE, "/api/v2/heartbeat");
    chroma_free(chroma);
    arena_free(&arena);
}

/* On a connection that was used before, curl cannot tell a reset from an idle close, and sends once
 * more by itself. */
Test(chroma_faults, a_reset_in_the_middle_of_a_write)
{
    static const struct fake_step script[] = {
        CREATE, ANSWER("200 OK", COLLECTION(UUID_1)), UPSERT(UUID_1), RST, UPSERT(UUID_1), RST,
        END};
    start(script);
    assert_error(upsert(), STATUS_UNREACHABLE, "/upsert");
    stop();
}

Test(chroma_faults, a_server_that_hangs_is_noticed_by_the_heartbeats_timeout)
{
    static const struct fake_step script[] = {EXPECT("GET /api/v2/heartbeat "), HANG, END};
    start(script);
    int64_t started_ms = clock_now_ms();
    assert_error(chroma_heartbeat(chroma, 150, &err), STATUS_TIMEOUT, "heartbeat");
    cr_assert_lt(clock_now_ms() - started_ms, 2000);
    stop();
}

Test(chroma_faults, a_web_page_is_not_a_chroma)
{
    static const char page[] = "<!DOCTYPE html><html><body>It works!</body></html>";
    static const struct fake_step script[] = {EXPECT("GET "),
                                              ANSWER("200 OK", page),
                                              EXPECT("GET "),
                                              ANSWER("404 Not Found", page),
                                              EXPECT("GET "),
                                              ANSWER("200 OK", page),
                                              EXPECT("GET "),
                                              ANSWER("404 Not Found", ""),
                                              END};
    start(script);
    assert_error(query(), STATUS_GARBLED, "not JSON");
    assert_error(query(), STATUS_GARBLED, "does not look like a Chroma");
    assert_error(chroma_heartbeat(chroma, 1000, &err), STATUS_GARBLED, "not JSON");
    assert_error(chroma_heartbeat(chroma, 1000, &err), STATUS_GARBLED, "API v2");
    stop();
}

Test(chroma_faults, a_redis_is_not_a_chroma)
{
    static const struct fake_step script[] = {
        EXPECT("GET "), SEND("-ERR wrong number of arguments for 'get' command\r\n"), CLOSE, END};
    start(script);
    assert_error(chroma_heartbeat(chroma, 1000, &err), STATUS_GARBLED, "http://127.0.0.1:");
    stop();
}

Test(chroma_faults, another_json_service_is_not_a_chroma)
{
    static const struct fake_step script[] = {EXPECT("GET "),
                                              ANSWER("200 OK", "{\"status\":\"ok\"}"),
                                              EXPECT("GET "),
                                              ANSWER("200 OK", "{\"version\":1}"),
                                              EXPECT("GET "),
                                              ANSWER("200 OK", "{}"),
                                              EXPECT("GET "),
                                              ANSWER("200 OK", "[]"),
                                              END};
    char version[64];
    int64_t count = 0;
    start(script);
    assert_error(chroma_heartbeat(chroma, 1000, &err), STATUS_GARBLED, "heartbeat");
    assert_error(chroma_version(chroma, version, &err), STATUS_GARBLED, "version");
    assert_error(chroma_collection_count(chroma, &count, &err), STATUS_GARBLED, "count");
    assert_error(query(), STATUS_GARBLED, "not a collection");
    stop();
}

Test(chroma_faults, a_page_is_no_acknowledgement_of_a_write)
{
    static const struct fake_step script[] = {CREATE, ANSWER("200 OK", COLLECTION(UUID_1)),
                                              UPSERT(UUID_1),
                                              ANSWER("200 OK", "<html>please log in</html>"), END};
    start(script);
    assert_error(upsert(), STATUS_GARBLED, "upsert");
    stop();
}

/* ---- answers that say no ---- */

Test(chroma_faults, too_many_requests_with_the_wait_it_asks_for)
{
    assert_query_ends("429 Too Many Requests\r\nRetry-After: 12", "rate limited",
                      STATUS_UNAVAILABLE, "http 429: rate limited");
    cr_assert_eq(err.retry_after_ms, 12000);
}

Test(chroma_faults, codes_are_classified_and_say_which_call)
{
    assert_query_ends("503 Busy", "", STATUS_UNAVAILABLE, "query \"sh-legal\": http 503");
    assert_query_ends("504 Slow", "", STATUS_UNAVAILABLE, "http 504");
    assert_query_ends("401 Who", "", STATUS_REFUSED, "http 401");
    assert_query_ends("403 No", "", STATUS_REFUSED, "http 403");
    assert_query_ends("400 Bad", "{\"message\":\"dimension of 3, got 2\"}", STATUS_INVALID,
                      "dimension of 3, got 2");
    assert_query_ends("422 Bad", "x", STATUS_INVALID, "http 422");
    assert_query_ends("500 Oops", "panic", STATUS_FAILED, "http 500: panic");
}

Test(chroma_faults, error_finding_id_is_tried_once_more)
{
    static const struct fake_step script[] = {
        FIND,
        ANSWER("200 OK", COLLECTION(UUID_1)),
        QUERY(UUID_1),
        ANSWER("500 Oops", "{\"message\":\"Error finding id\"}"),
        QUERY(UUID_1),
        ANSWER("200 OK", ONE_HIT),
        QUERY(UUID_1),
        ANSWER("500 Oops", "{\"message\":\"Error finding id\"}"),
        QUERY(UUID_1),
        ANSWER("500 Oops", "{\"message\":\"Error finding id\"}"),
        END};
    start(script);
    cr_assert_eq(query(), STATUS_OK, "%s", err.text);
    cr_assert_eq(hits.count, 1);
    assert_error(query(), STATUS_FAILED, "Error finding id");
    stop();
}

/* ---- the collection goes away ---- */

Test(chroma_faults, a_domain_without_collection)
{
    static const struct fake_step script[] = {FIND, NOT_FOUND, FIND, NOT_FOUND, END};
    start(script);
    assert_error(query(), STATUS_NOT_FOUND, "sh-legal");
    assert_error(chroma_open_collection(chroma, "legal", false, &err), STATUS_NOT_FOUND,
                 "sh-legal");
    stop();
}

Test(chroma_faults, a_collection_is_looked_up_and_checked_once)
{
    static const struct fake_step script[] = {FIND,
                                              ANSWER("200 OK", COLLECTION(UUID_1)),
                                              QUERY(UUID_1),
                                              ANSWER("200 OK", ONE_HIT),
                                              QUERY(UUID_1),
                                              ANSWER("200 OK", ONE_HIT),
                                              UPSERT(UUID_1),
                                              ANSWER("200 OK", "{}"),
                                              END};
    start(script);
    cr_assert_eq(query(), STATUS_OK, "%s", err.text);
    cr_assert_eq(query(), STATUS_OK, "%s", err.text);
    cr_assert_eq(upsert(), STATUS_OK, "%s", err.text);
    stop();
}

Test(chroma_faults, a_collection_made_again_under_another_uuid_is_found)
{
    static const struct fake_step script[] = {FIND,
                                              ANSWER("200 OK", COLLECTION(UUID_1)),
                                              QUERY(UUID_1),
                                              ANSWER("200 OK", ONE_HIT),
                                              QUERY(UUID_1),
                                              NOT_FOUND,
                                              FIND,
                                              ANSWER("200 OK", COLLECTION(UUID_2)),
                                              QUERY(UUID_2),
                                              ANSWER("200 OK", ONE_HIT),
                                              END};
    start(script);
    cr_assert_eq(query(), STATUS_OK, "%s", err.text);
    cr_assert_eq(query(), STATUS_OK, "%s", err.text);
    cr_assert_eq(hits.count, 1);
    stop();
}

Test(chroma_faults, a_deleted_collection_is_created_again_by_a_write)
{
    static const struct fake_step script[] = {CREATE,
                                              ANSWER("200 OK", COLLECTION(UUID_1)),
                                              UPSERT(UUID_1),
                                              ANSWER("200 OK", "{}"),
                                              UPSERT(UUID_1),
                                              NOT_FOUND,
                                              CREATE,
                                              ANSWER("201 Created", COLLECTION(UUID_2)),
                                              UPSERT(UUID_2),
                                              EXPECT("\"ids\":[\"a\"]"),
                                              ANSWER("201 Created", "{}"),
                                              END};
    start(script);
    cr_assert_eq(upsert(), STATUS_OK, "%s", err.text);
    cr_assert_eq(upsert(), STATUS_OK, "%s", err.text);
    stop();
}

Test(chroma_faults, a_collection_that_stays_away_is_looked_up_only_once_more)
{
    static const struct fake_step script[] = {FIND,
                                              ANSWER("200 OK", COLLECTION(UUID_1)),
                                              QUERY(UUID_1),
                                              NOT_FOUND,
                                              FIND,
                                              ANSWER("200 OK", COLLECTION(UUID_1)),
                                              QUERY(UUID_1),
                                              NOT_FOUND,
                                              FIND,
                                              NOT_FOUND,
                                              END};
    start(script);
    assert_error(query(), STATUS_NOT_FOUND, "http 404");
    assert_error(query(), STATUS_NOT_FOUND, "http 404");
    stop();
}

Test(chroma_faults, a_lost_race_to_create_is_no_error)
{
    static const struct fake_step script[] = {
        CREATE,
        ANSWER("409 Conflict", "{\"error\":\"UniqueConstraintError\"}"),
        FIND,
        ANSWER("200 OK", COLLECTION(UUID_1)),
        UPSERT(UUID_1),
        ANSWER("200 OK", "{}"),
        END};
    start(script);
    cr_assert_eq(upsert(), STATUS_OK, "%s", err.text);
    stop();
}

/* ---- somebody else's collection ---- */

static void assert_mismatch(const char *collection, const char *text)
{
    const struct fake_step script[] = {FIND, ANSWER("200 OK", collection), END};
    err = (struct error){0};
    start(script);
    assert_error(query(), STATUS_MISMATCH, text);
    cr_assert_not_null(strstr(err.text, "sh-legal"), "%s", err.text);
    stop();
}

Test(chroma_faults, another_embedders_collection_is_refused_with_both_named)
{
    assert_mismatch(COLLECTION_OF(UUID_1, "cosine", "other", "null"),
                    "embedder \"other\" of 2 dimensions, ours is \"m\" of 2");
    assert_mismatch(COLLECTION_OF(UUID_1, "cosine", "m", "768"),
                    "embedder \"m\" of 768 dimensions, ours is \"m\" of 2");
    assert_mismatch(COLLECTION_OF(UUID_1, "l2", "m", "null"),
                    "distance space \"l2\", ours is \"cosine\"");
    assert_mismatch("{\"id\":\"" UUID_1 "\",\"metadata\":null,\"dimension\":2,"
                    "\"configuration_json\":{\"spann\":{\"space\":\"cosine\"},\"hnsw\":null}}",
                    "embedder \"none\" of 2");
    assert_mismatch("{\"id\":\"" UUID_1 "\"}", "distance space \"none\"");
}

Test(chroma_faults, a_hostile_embedder_name_is_shown_harmless)
{
    assert_mismatch(COLLECTION_OF(UUID_1, "cosine", "%s%n\\u001b[31m\\n", "null"),
                    "\"%s%n?[31m?\"");
}

Test(chroma_faults, a_collection_id_that_would_change_the_path_is_refused)
{
    static const struct fake_step script[] = {
        FIND, ANSWER("200 OK", COLLECTION("../../x?")),    FIND, ANSWER("200 OK", COLLECTION("")),
        FIND, ANSWER("200 OK", COLLECTION(UUID_1 UUID_1)), FIND, ANSWER("200 OK", "{\"id\":7}"),
        END};
    start(script);
    assert_error(query(), STATUS_GARBLED, "not a UUID");
    assert_error(query(), STATUS_GARBLED, "not a UUID");
    assert_error(query(), STATUS_GARBLED, "not a UUID");
    assert_error(query(), STATUS_GARBLED, "not a collection");
    stop();
}

/* ---- answers of the wrong shape ---- */

Test(chroma_faults, wrong_shapes_of_a_query_answer_are_garbled_and_named)
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

Test(chroma_faults, an_answer_nested_without_end_is_garbled)
{
    static char body[100001];
    memset(body, '[', sizeof body - 1);
    assert_query_ends("200 OK", body, STATUS_GARBLED, "not JSON");
}

Test(chroma_faults, what_stands_behind_a_nul_byte_is_not_overlooked)
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

Test(chroma_faults, hits_without_metadata_or_distance_are_left_out)
{
    answer_query_with("{\"ids\":[[\"a\",\"b\",\"c\"]],\"documents\":[[null,null,\"C\"]],"
                      "\"metadatas\":[[null,{\"x\":1},{\"x\":2}]],\"distances\":[[0.1,null,0.3]]}");
    cr_assert_eq(hits.count, 1);
    assert_slice(hits.examples[0].id, "c");
    assert_slice(hits.examples[0].text, "C");
    stop();
}

Test(chroma_faults, an_answer_without_distances_has_no_hits)
{
    answer_query_with("{\"ids\":[[\"a\"]],\"documents\":null,\"metadatas\":[[{}]],"
                      "\"distances\":null}");
    cr_assert_eq(hits.count, 0);
    stop();
}

Test(chroma_faults, a_negative_distance_is_zero_and_an_infinite_one_no_hit)
{
    answer_query_with("{\"ids\":[[\"a\",\"b\"]],\"documents\":[[\"A\",\"B\"]],"
                      "\"metadatas\":[[{},{}]],\"distances\":[[-1e-7,1e999]]}");
    cr_assert_eq(hits.count, 1);
    cr_assert_eq(hits.examples[0].distance, 0);
    cr_assert_eq(hits.examples[0].metadata_count, 0);
    stop();
}

Test(chroma_faults, metadata_keeps_its_types)
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

Test(chroma_faults, a_text_in_metadata_is_the_text_where_there_is_no_document)
{
    answer_query_with("{\"ids\":[[\"a\"]],\"documents\":[[null]],\"distances\":[[0.5]],"
                      "\"metadatas\":[[{\"document\":\"the text\",\"n\":1}]]}");
    assert_slice(hits.examples[0].text, "the text");
    cr_assert_eq(hits.examples[0].metadata_count, 1);
    assert_slice(hits.examples[0].metadata[0].key, "n");
    stop();
}

Test(chroma_faults, a_text_in_metadata_is_newer_than_a_document_where_texts_are_metadata)
{
    text_in_metadata = true;
    answer_query_with("{\"ids\":[[\"a\"]],\"documents\":[[\"old\"]],\"distances\":[[0.5]],"
                      "\"metadatas\":[[{\"document\":\"new\",\"n\":1}]]}");
    assert_slice(hits.examples[0].text, "new");
    cr_assert_eq(hits.examples[0].metadata_count, 1);
    stop();
}

/* ---- what goes out ---- */

Test(chroma_faults, the_token_goes_out_in_both_headers)
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

Test(chroma_faults, without_a_token_there_is_no_such_header)
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

Test(chroma_faults, an_upsert_as_it_is_written)
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

Test(chroma_faults, an_upsert_with_texts_as_metadata)
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

Test(chroma_faults, what_would_be_refused_or_do_harm_is_never_sent)
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
    assert_error(chroma_query(chroma, "legal", vector, 1, 0, &arena, &hits, &err), STATUS_INVALID,
                 "0 results");
    assert_error(chroma_query(chroma, "legal", bad, 1, 3, &arena, &hits, &err), STATUS_INVALID,
                 "finite");
    assert_error(chroma_query(chroma, "../x", vector, 1, 3, &arena, &hits, &err), STATUS_INVALID,
                 "\"../x\"");
    cr_assert_eq(fake_server_connections(server), 0);
    stop();
}

Test(chroma_faults, empty_calls_do_nothing)
{
    static const struct fake_step script[] = {END};
    start(script);
    cr_assert_eq(chroma_upsert(chroma, "legal", NULL, 0, &err), STATUS_OK);
    cr_assert_eq(chroma_delete(chroma, "legal", NULL, 0, &err), STATUS_OK);
    cr_assert_eq(chroma_query(chroma, "legal", NULL, 0, 3, &arena, NULL, &err), STATUS_OK);
    cr_assert_eq(chroma_get(chroma, "legal", NULL, 0, true, &arena, &hits, &err), STATUS_OK);
    cr_assert_eq(chroma_page(chroma, "legal", 0, 0, &arena, &hits, &err), STATUS_OK);
    cr_assert_eq(hits.count, 0);
    cr_assert_eq(fake_server_connections(server), 0);
    stop();
}

Test(chroma_faults, slashes_at_the_end_of_the_url_do_not_count)
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
