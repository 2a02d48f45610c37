/* Chroma: no answer, a no, collections that come and go. By script. */
#include "chroma_script.h"

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
