#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "chroma/chroma.h"
#include "chroma_calls.h"
#include "servers.h"

enum { DIMENSION = 8 };

static struct test_server server;
static struct chroma *chroma;
static struct arena arena;
static struct chroma_hits hits;
static struct error err;
static long connections;
static long requests;

static void observe(void *context, const char *upstream, const char *operation, int code,
                    long new_connections, double seconds, enum status status)
{
    (void)context;
    (void)upstream;
    (void)operation;
    (void)code;
    (void)seconds;
    (void)status;
    connections += new_connections;
    requests++;
}

static struct chroma *client(const char *model, size_t dimension, bool text_in_metadata)
{
    struct chroma *made = chroma_new(&(struct chroma_config){
        .url = server.url,
        .tenant = "default_tenant",
        .database = "default_database",
        .token = "",
        .timeout_ms = 20000,
        .identity = {.model = model, .dimension = dimension},
        .store_text_as_metadata = text_in_metadata,
        .observer = observe,
    });
    cr_assert_not_null(made);
    return made;
}

static void setup(void)
{
    test_chroma_start(&server);
    chroma = client("m1", DIMENSION, false);
}

static void teardown(void)
{
    chroma_free(chroma);
    arena_free(&arena);
    test_server_stop(&server);
}

TestSuite(chroma, .init = setup, .fini = teardown, .timeout = 120);

static void ok(enum status status)
{
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_text(status), err.text);
}

/* A unit vector in the plane of the first two axes; records at nearer angles are nearer. */
static void at_angle(double degrees, float out[DIMENSION])
{
    memset(out, 0, DIMENSION * sizeof *out);
    out[0] = (float)cos(degrees * M_PI / 180);
    out[1] = (float)sin(degrees * M_PI / 180);
}

static void assert_slice(struct slice slice, const char *text)
{
    cr_assert(slice.bytes == strlen(text) && memcmp(slice.data, text, slice.bytes) == 0,
              "\"%.*s\" is not \"%s\"", (int)slice.bytes, slice.data, text);
}

static void put(const char *id, double degrees, const char *text, const struct meta_pair *metadata,
                size_t metadata_count)
{
    float vector[DIMENSION];
    at_angle(degrees, vector);
    struct chroma_record record = {slice_of(id), vector, slice_of(text), metadata, metadata_count};
    ok(chroma_upsert(chroma, "legal", &record, 1, &err));
}

static const struct meta_pair one_pair = {{"n", 1}, {.type = META_INT, .integer = 1}};

static void put_simple(const char *id, double degrees)
{
    put(id, degrees, id, &one_pair, 1);
}

static int64_t count_records(void)
{
    int64_t count = -1;
    ok(chroma_count(chroma, "legal", &count, &err));
    return count;
}

static const struct meta_value *value_of(const struct example *example, const char *key)
{
    for (size_t i = 0; i < example->metadata_count; i++) {
        const struct slice *name = &example->metadata[i].key;
        if (name->bytes == strlen(key) && memcmp(name->data, key, name->bytes) == 0) {
            return &example->metadata[i].value;
        }
    }
    return NULL;
}

static const struct example *get_one(const char *id)
{
    struct slice slice = slice_of(id);
    ok(get_ids(chroma, "legal", &slice, 1, &arena, &hits, &err));
    cr_assert_eq(hits.count, 1);
    return &hits.examples[0];
}

Test(chroma, the_server_answers_and_says_its_version)
{
    char version[64];
    int64_t count = -1;
    ok(chroma_heartbeat(chroma, 2000, &err));
    ok(chroma_version(chroma, version, &err));
    cr_assert_gt(strlen(version), 0);
    ok(chroma_collection_count(chroma, &count, &err));
    cr_assert_eq(count, 0);
}

Test(chroma, a_collection_is_created_on_first_write_and_found_by_others)
{
    int64_t count = -1;
    cr_assert_eq(chroma_open_collection(chroma, "legal", false, &err), STATUS_NOT_FOUND);
    put_simple("a", 0);
    ok(chroma_collection_count(chroma, &count, &err));
    cr_assert_eq(count, 1);

    struct chroma *other = client("m1", DIMENSION, false);
    ok(chroma_open_collection(other, "legal", false, &err));
    ok(chroma_open_collection(other, "legal", true, &err));
    chroma_free(other);
}

Test(chroma, calls_on_a_domain_without_collection_find_nothing)
{
    float vector[DIMENSION];
    struct slice id = slice_of("a");
    int64_t count = 0;
    at_angle(0, vector);
    cr_assert_eq(
        query_all(chroma, "none", (struct vectors){vector, 1, DIMENSION}, 3, &arena, &hits, &err),
        STATUS_NOT_FOUND);
    cr_assert_eq(get_ids(chroma, "none", &id, 1, &arena, &hits, &err), STATUS_NOT_FOUND);
    cr_assert_eq(get_page(chroma, "none", 0, 9, &arena, &hits, &err), STATUS_NOT_FOUND);
    cr_assert_eq(chroma_delete(chroma, "none", &id, 1, &err), STATUS_NOT_FOUND);
    cr_assert_eq(chroma_count(chroma, "none", &count, &err), STATUS_NOT_FOUND);
}

Test(chroma, the_same_id_twice_is_one_document)
{
    put("a", 0, "first", &one_pair, 1);
    put("a", 90, "second", &one_pair, 1);
    cr_assert_eq(count_records(), 1);
    assert_slice(get_one("a")->text, "second");
}

Test(chroma, text_and_metadata_come_back_as_they_were)
{
    static const char text[] = "Zeile 1\n\"quoted\" \\ \x01 \xc3\xa9 \xf0\x9f\x99\x82";
    const struct meta_pair pairs[] = {
        {{"s", 1}, {.type = META_STRING, .string = {"x\ty", 3}}},
        {{"i", 1}, {.type = META_INT, .integer = 1700000000123}},
        {{"f", 1}, {.type = META_FLOAT, .number = 0.1}},
        {{"b", 1}, {.type = META_BOOL, .boolean = true}},
    };
    put("id with \"spaces\"", 0, text, pairs, 4);

    const struct example *example = get_one("id with \"spaces\"");
    assert_slice(example->id, "id with \"spaces\"");
    assert_slice(example->text, text);
    cr_assert_eq(example->metadata_count, 4);
    assert_slice(value_of(example, "s")->string, "x\ty");
    cr_assert_eq(value_of(example, "i")->type, META_INT);
    cr_assert_eq(value_of(example, "i")->integer, 1700000000123);
    cr_assert_eq(value_of(example, "f")->type, META_FLOAT);
    cr_assert_eq(value_of(example, "f")->number, 0.1);
    cr_assert(value_of(example, "b")->type == META_BOOL && value_of(example, "b")->boolean);
}

Test(chroma, metadata_is_merged_and_null_drops_a_key)
{
    const struct meta_pair before[] = {
        {{"kept", 4}, {.type = META_INT, .integer = 1}},
        {{"gone", 4}, {.type = META_INT, .integer = 2}},
    };
    const struct meta_pair after = {{"gone", 4}, {.type = META_NULL}};
    put("a", 0, "A", before, 2);
    put("a", 0, "A", &after, 1);
    const struct example *example = get_one("a");
    cr_assert_eq(example->metadata_count, 1);
    cr_assert_eq(value_of(example, "kept")->integer, 1);
}

Test(chroma, a_query_brings_the_nearest_first)
{
    float vector[DIMENSION];
    put_simple("far", 80);
    put_simple("near", 5);
    put_simple("middle", 40);
    put_simple("opposite", 180);

    at_angle(0, vector);
    ok(query_all(chroma, "legal", (struct vectors){vector, 1, DIMENSION}, 3, &arena, &hits, &err));
    cr_assert_eq(hits.count, 3);
    assert_slice(hits.examples[0].id, "near");
    assert_slice(hits.examples[1].id, "middle");
    assert_slice(hits.examples[2].id, "far");
    assert_slice(hits.examples[0].text, "near");
    cr_assert_float_eq(hits.examples[1].distance, 1 - cos(40 * M_PI / 180), 1e-5);

    ok(query_all(chroma, "legal", (struct vectors){vector, 1, DIMENSION}, 20, &arena, &hits, &err));
    cr_assert_eq(hits.count, 4, "more were asked for than there are");
}

Test(chroma, the_distance_to_itself_is_not_negative)
{
    float vector[DIMENSION];
    for (int i = 0; i < 10; i++) {
        char id[16];
        snprintf(id, sizeof id, "r%d", i);
        put_simple(id, 17.3 * i);
    }
    for (int i = 0; i < 10; i++) {
        at_angle(17.3 * i, vector);
        ok(query_all(chroma, "legal", (struct vectors){vector, 1, DIMENSION}, 1, &arena, &hits,
                     &err));
        cr_assert(hits.examples[0].distance >= 0 && hits.examples[0].distance < 1e-5);
    }
}

Test(chroma, a_batch_of_queries_is_answered_in_order_over_one_connection)
{
    enum { QUERIES = 64 };
    static float vectors[QUERIES][DIMENSION];
    static char ids[QUERIES][8];
    struct chroma_record records[QUERIES];
    struct chroma_hits batch[QUERIES];

    for (int i = 0; i < QUERIES; i++) {
        at_angle(2.5 * i, vectors[i]);
        snprintf(ids[i], sizeof ids[i], "r%d", i);
        records[i] =
            (struct chroma_record){slice_of(ids[i]), vectors[i], slice_of(ids[i]), &one_pair, 1};
    }
    ok(chroma_upsert(chroma, "legal", records, QUERIES, &err));
    ok(query_all(chroma, "legal", (struct vectors){vectors[0], QUERIES, DIMENSION}, 2, &arena,
                 batch, &err));
    for (int i = 0; i < QUERIES; i++) {
        cr_assert_eq(batch[i].count, 2);
        assert_slice(batch[i].examples[0].id, ids[i]);
    }
    cr_assert_eq(requests, 3);
    cr_assert_eq(connections, 1);
}

Test(chroma, a_page_after_the_other_brings_every_record_once)
{
    bool seen[25] = {false};
    for (int i = 0; i < 25; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        put_simple(id, i);
    }
    for (size_t offset = 0; offset < 30; offset += 10) {
        ok(get_page(chroma, "legal", offset, 10, &arena, &hits, &err));
        cr_assert_eq(hits.count, offset < 20 ? 10 : 5);
        for (size_t i = 0; i < hits.count; i++) {
            int number = -1;
            cr_assert_eq(sscanf(hits.examples[i].text.data, "%d", &number), 1);
            cr_assert(number >= 0 && number < 25 && !seen[number]);
            seen[number] = true;
        }
    }
    ok(get_page(chroma, "legal", 1000, 10, &arena, &hits, &err));
    cr_assert_eq(hits.count, 0);
}

Test(chroma, get_brings_those_that_exist)
{
    struct slice ids[] = {slice_of("b"), slice_of("absent"), slice_of("a")};
    put_simple("a", 0);
    put_simple("b", 10);
    put_simple("c", 20);
    const struct chroma_select select = {
        .domain = "legal", .ids = ids, .count = 3, .fields = CHROMA_METADATA};
    ok(chroma_get(chroma, &select, &arena, &hits, &err));
    cr_assert_eq(hits.count, 2);
    for (size_t i = 0; i < hits.count; i++) {
        cr_assert(memchr("ab", hits.examples[i].id.data[0], 2) != NULL);
        cr_assert_eq(hits.examples[i].text.bytes, 0, "no text was asked for");
        cr_assert_eq(hits.examples[i].distance, 0);
        cr_assert_eq(value_of(&hits.examples[i], "n")->integer, 1);
    }
}

Test(chroma, delete_takes_only_what_was_named)
{
    enum { RECORDS = 100, DELETED = 250 };
    static char names[DELETED][8];
    static float vectors[RECORDS][DIMENSION];
    struct chroma_record records[RECORDS];
    struct slice ids[DELETED];

    for (int i = 0; i < DELETED; i++) {
        snprintf(names[i], sizeof names[i], "r%d", i);
        ids[i] = slice_of(names[i]);
    }
    for (int i = 0; i < RECORDS; i++) {
        at_angle(i, vectors[i]);
        records[i] = (struct chroma_record){ids[i], vectors[i], ids[i], &one_pair, 1};
    }
    ok(chroma_upsert(chroma, "legal", records, RECORDS, &err));
    put_simple("stays", 50);
    ok(chroma_delete(chroma, "legal", ids, 0, &err));
    cr_assert_eq(count_records(), RECORDS + 1);
    ok(chroma_delete(chroma, "legal", ids, DELETED, &err)); /* three requests, many absent */
    cr_assert_eq(count_records(), 1);
    get_one("stays");
}

static void assert_refused(struct chroma *other, const char *text)
{
    float vector[64] = {1};
    struct chroma_record record = {slice_of("x"), vector, slice_of("X"), &one_pair, 1};

    cr_assert_eq(chroma_upsert(other, "legal", &record, 1, &err), STATUS_MISMATCH, "%s", err.text);
    cr_assert_not_null(strstr(err.text, text), "\"%s\" lacks \"%s\"", err.text, text);
    cr_assert_eq(
        query_all(other, "legal", (struct vectors){vector, 1, DIMENSION}, 1, &arena, &hits, &err),
        STATUS_MISMATCH);
    cr_assert_eq(chroma_open_collection(other, "legal", true, &err), STATUS_MISMATCH);
    chroma_free(other);
}

Test(chroma, another_embedder_is_refused_with_both_named_and_nothing_is_written)
{
    ok(chroma_open_collection(chroma, "legal", true, &err)); /* empty: its dimension is null */
    assert_refused(client("m2", DIMENSION, false),
                   "embedder \"m1\" of 8 dimensions, ours is \"m2\" of 8");
    assert_refused(client("m1", 16, false),
                   "embedder \"m1\" of 8 dimensions, ours is \"m1\" of 16");
    put_simple("a", 0);
    assert_refused(client("m1", 16, false),
                   "embedder \"m1\" of 8 dimensions, ours is \"m1\" of 16");
    cr_assert_eq(count_records(), 1);
}

/* Makes collection sh-legal the way another program would. */
static void create_by_hand(const char *body)
{
    char url[256];
    struct http *http = http_new(&(struct http_config){.upstream = "by hand"});
    struct http_response response = {0};
    cr_assert_not_null(http);
    snprintf(url, sizeof url,
             "%s/api/v2/tenants/default_tenant/databases/default_database/collections", server.url);
    ok(http_perform(http,
                    &(struct http_request){
                        .method = "POST", .url = url, .body = body, .body_bytes = strlen(body)},
                    &response, &err));
    cr_assert_eq(response.code / 100, 2, "%s", response.body.data);
    http_response_free(&response);
    http_free(http);
}

Test(chroma, a_collection_of_another_space_is_refused)
{
    create_by_hand("{\"name\":\"sh-legal\",\"metadata\":{\"embedder\":\"m1\",\"dimension\":8}}");
    assert_refused(client("m1", DIMENSION, false), "distance space \"l2\", ours is \"cosine\"");
}

Test(chroma, a_collection_that_names_no_embedder_is_refused)
{
    create_by_hand("{\"name\":\"sh-legal\",\"configuration\":{\"hnsw\":{\"space\":\"cosine\"}}}");
    assert_refused(client("m1", DIMENSION, false), "embedder \"none\"");
}

static void drop_collection(void)
{
    char url[256];
    struct http *http = http_new(&(struct http_config){.upstream = "by hand"});
    struct http_response response = {0};
    cr_assert_not_null(http);
    snprintf(url, sizeof url,
             "%s/api/v2/tenants/default_tenant/databases/default_database/collections/sh-legal",
             server.url);
    ok(http_perform(http, &(struct http_request){.method = "DELETE", .url = url}, &response, &err));
    cr_assert_eq(response.code, 200);
    http_response_free(&response);
    http_free(http);
}

Test(chroma, a_collection_that_was_dropped_is_created_again_by_a_write)
{
    put_simple("a", 0);
    drop_collection();
    put_simple("b", 0);
    cr_assert_eq(count_records(), 1);
}

Test(chroma, a_dropped_collection_is_not_found_by_a_query)
{
    float vector[DIMENSION];
    at_angle(0, vector);
    put_simple("a", 0);
    drop_collection();
    cr_assert_eq(
        query_all(chroma, "legal", (struct vectors){vector, 1, DIMENSION}, 1, &arena, &hits, &err),
        STATUS_NOT_FOUND);
}

Test(chroma, texts_can_be_stored_as_metadata)
{
    float vector[DIMENSION];
    struct chroma *plain = chroma;
    at_angle(0, vector);
    chroma = client("m1", DIMENSION, true);
    put("a", 0, "the text", &one_pair, 1);

    ok(query_all(chroma, "legal", (struct vectors){vector, 1, DIMENSION}, 1, &arena, &hits, &err));
    assert_slice(hits.examples[0].text, "the text");
    cr_assert_eq(hits.examples[0].metadata_count, 1);
    assert_slice(get_one("a")->text, "the text");
    chroma_free(chroma);

    chroma = plain; /* a reader of the other mode understands it */
    assert_slice(get_one("a")->text, "the text");
    cr_assert_eq(hits.examples[0].metadata_count, 1);
}

Test(chroma, changing_where_texts_are_stored_leaves_no_old_text)
{
    struct chroma *plain = chroma;
    chroma = client("m1", DIMENSION, true);
    put("a", 0, "in metadata", &one_pair, 1);
    struct chroma *metadata = chroma;
    chroma = plain;
    put("a", 0, "in the document", &one_pair, 1);
    assert_slice(get_one("a")->text, "in the document");
    cr_assert_eq(hits.examples[0].metadata_count, 1);

    chroma = metadata;
    assert_slice(get_one("a")->text, "in the document");
    put("a", 0, "in metadata again", &one_pair, 1);
    assert_slice(get_one("a")->text, "in metadata again");
    chroma_free(chroma);
    chroma = plain;
}

Test(chroma, a_server_that_was_killed_is_unreachable_and_what_it_acknowledged_is_there_again)
{
    put_simple("a", 0);
    test_server_kill(&server);
    struct slice id = slice_of("a");
    cr_assert_eq(get_ids(chroma, "legal", &id, 1, &arena, &hits, &err), STATUS_UNREACHABLE, "%s",
                 err.text);
    test_server_restart(&server);
    get_one("a");
}

Test(chroma, a_frozen_server_is_noticed_by_the_timeout)
{
    put_simple("a", 0);
    test_server_freeze(&server, true);
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t)server.pid, &info, WSTOPPED | WNOWAIT), 0); /* not before */
    cr_assert_eq(chroma_heartbeat(chroma, 300, &err), STATUS_TIMEOUT, "%s", err.text);
    test_server_freeze(&server, false);
    ok(chroma_heartbeat(chroma, 5000, &err));
}
