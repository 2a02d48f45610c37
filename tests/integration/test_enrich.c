/* Enrichments among expired experiences, on a real Chroma: k live examples while there are k. */
#include <math.h>

#include "base/text.h"
#include "embedder/builtin.h"
#include "embedder/vector.h"
#include "fleet_fixture.h"
#include "queue/operate.h"
#include "rule_server.h"
#include "json/write.h"

TestSuite(enrich, .init = fleet_setup, .fini = fleet_teardown, .timeout = 120);

enum { DIMENSION = 384, SLICE = 100, DIRECTIONS = 4 };

static const char question[] = "what is the notice period for tenants";

/* Away from the question by its place, in a direction of few dimensions: of points that lie around
 * one in hundreds of directions Chroma's graph reaches only some. */
static void place_vector(size_t place, float vector[DIMENSION])
{
    struct retry_random dice = {.state = place + 1};
    struct error err = {0};

    embedder_builtin(question, sizeof question - 1, vector, DIMENSION);
    for (int i = 0; i < DIRECTIONS; i++) {
        const float away = (float)(retry_random_next(&dice) % 2001) / 1000 - 1;
        vector[i] += away * 0.0005F * (float)(place + 1);
    }
    cr_assert_eq(embedder_normalise(vector, DIMENSION, &err), STATUS_OK);
}

/* `count` experiences at growing distances from the question, the first of them at place `from`.
 * Ids and texts are their places. */
static void store(size_t from, size_t count, int64_t expires_unix_ms)
{
    static float vectors[SLICE][DIMENSION];
    static char ids[SLICE][24];
    struct chroma_record records[SLICE];
    const struct meta_pair expires = {{"expires_ms", 10},
                                      {.type = META_INT, .integer = expires_unix_ms}};
    struct error err = {0};

    for (size_t done = 0; done < count; done += SLICE) {
        const size_t part = count - done < SLICE ? count - done : SLICE;
        for (size_t i = 0; i < part; i++) {
            const size_t place = from + done + i;
            place_vector(place, vectors[i]);
            snprintf(ids[i], sizeof ids[i], "%04zu", place);
            records[i] = (struct chroma_record){
                {ids[i], strlen(ids[i])}, vectors[i], {ids[i], strlen(ids[i])}, &expires, 1};
        }
        cr_assert_eq(chroma_upsert(chroma, "legal", records, part, &err), STATUS_OK, "%s",
                     err.text);
    }
}

static void store_expired(size_t from, size_t count)
{
    store(from, count, clock_unix_ms() - 1000);
}

static void store_live(size_t from, size_t count)
{
    store(from, count, clock_unix_ms() + 3600000);
}

/* Enriches, and checks that `count` live examples came, nearest first, with their texts. */
static void assert_examples(const char *query, int k, size_t first_live, size_t count)
{
    struct arena arena = {0};
    struct enrich_result result = {0};
    static int64_t done;
    char id[16];

    snprintf(id, sizeof id, "e%d", (int)done);
    push_enrich("legal", id, query, k, "");
    wait_for("enrich", "done", ++done);
    cr_assert(cached("legal", query, &arena, &result));
    cr_assert_eq(result.count, count, "%zu examples for k %d", result.count, k);
    for (size_t i = 0; i < result.count; i++) {
        const struct example *example = &result.examples[i];
        cr_assert_eq(example->text.bytes, 4, "example %zu has no text", i);
        cr_assert_geq(strtoul(example->text.data, NULL, 10), first_live);
        cr_assert(i == 0 || example->distance >= result.examples[i - 1].distance);
    }
    arena_free(&arena);
}

static size_t sample_of(const char *line)
{
    struct strbuf text = {0};

    metrics_render(metrics, &text);
    strbuf_append_char(&text, '\0');
    const char *at = strstr(text.data, line);
    cr_assert_not_null(at, "no \"%s\"", line);
    const size_t value = strtoul(at + strlen(line), NULL, 10);
    strbuf_free(&text);
    return value;
}

#define FOUND "\nstillhouse_looked_further_total{result=\"found\"} "
#define GAVE_UP "\nstillhouse_looked_further_total{result=\"gave_up\"} "

Test(enrich, a_few_expired_experiences_hide_no_live_ones)
{
    store_expired(0, 12);
    store_live(12, 10);
    start_fleet();
    assert_examples(question, 3, 12, 3);
    assert_examples("the notice period for tenants", 10, 12, 10);
    assert_examples("notice period for a tenant", 20, 12, 10); /* there are no more */
    cr_assert_eq(sample_of(FOUND), 2);
    cr_assert_eq(sample_of(GAVE_UP), 0);
    stop_fleet();
}

Test(enrich, hundreds_of_expired_experiences_hide_no_live_ones)
{
    store_expired(0, 900);
    store_live(900, 10);
    start_fleet();
    assert_examples(question, 10, 900, 10);
    cr_assert_eq(sample_of(FOUND), 1);
    stop_fleet();
}

Test(enrich, where_all_are_live_chroma_is_asked_once)
{
    store_live(0, 30);
    start_fleet();
    assert_examples(question, 3, 0, 3);
    cr_assert_eq(sample_of(FOUND) + sample_of(GAVE_UP), 0);
    cr_assert_eq(sample_of("\nstillhouse_upstream_seconds_count{upstream=\"chroma\","
                           "operation=\"query\"} "),
                 1);
    stop_fleet();
}

Test(enrich, those_of_a_batch_that_lack_none_keep_their_answer)
{
    struct queue queue = queue_named("enrich");
    struct arena arena = {0};
    struct enrich_result result = {0};
    struct error err = {0};

    store_live(0, 2); /* enough for k = 1, not for k = 5 */
    store_expired(2, 100);
    store_live(102, 10);
    cr_assert_eq(queue_pause(conn, &queue, true, &err), STATUS_OK, "%s", err.text);
    push_enrich("legal", "e1", question, 1, "");
    push_enrich("legal", "e2", "the notice period for tenants", 5, "");
    settings.lanes = 1;
    start_fleet();
    cr_assert_eq(queue_pause(conn, &queue, false, &err), STATUS_OK, "%s", err.text);
    wait_for("enrich", "done", 2);
    cr_assert(cached("legal", question, &arena, &result));
    cr_assert_eq(result.count, 1);
    cr_assert(cached("legal", "the notice period for tenants", &arena, &result));
    cr_assert_eq(result.count, 5, "%zu examples", result.count);
    cr_assert_eq(sample_of(FOUND), 1);
    arena_free(&arena);
    stop_fleet();
}

/* Refuses each query that holds the vector of the bad text. */
static int refuse_bad(void *context, const struct rule_request *request, struct strbuf *answer)
{
    const struct strbuf *bad = context;

    if (strstr(request->path, "/query") == NULL || strstr(request->body, bad->data) == NULL) {
        return RULE_FORWARD;
    }
    strbuf_append_str(answer, "{\"error\":\"InvalidArgumentError\",\"message\":\"no\"}");
    return 400;
}

Test(enrich, a_query_that_is_refused_fails_none_beside_it)
{
    static const char bad_text[] = "the text whose vector is refused";
    float vector[DIMENSION];
    struct strbuf bad = {0};
    struct arena arena = {0};
    struct enrich_result result = {0};
    char text[64];
    char id[16];

    embedder_builtin(bad_text, sizeof bad_text - 1, vector, DIMENSION);
    json_floats(&bad, vector, DIMENSION);
    struct rule_server *server = rule_server_start(refuse_bad, &bad, chroma_server.url);
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", rule_server_url(server));
    store_live(0, 5);
    for (int i = 0; i < 12; i++) {
        snprintf(text, sizeof text, "%s %d", question, i);
        snprintf(id, sizeof id, "e%d", i);
        push_enrich("legal", id, i == 5 ? bad_text : text, 1, "");
    }
    settings.lanes = 1;
    start_fleet();
    wait_for("enrich", "done", 11);
    wait_for("enrich", "buried", 1);
    dead_letter("enrich", text, sizeof text);
    cr_assert_not_null(strstr(text, "rejected"), "%s", text);
    snprintf(text, sizeof text, "%s %d", question, 11);
    cr_assert(cached("legal", text, &arena, &result));
    cr_assert_eq(result.count, 1);
    stop_fleet();
    rule_server_stop(server);
    strbuf_free(&bad);
    arena_free(&arena);
}
