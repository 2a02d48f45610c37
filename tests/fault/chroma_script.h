/* chroma_script.h - a Chroma client and a server that plays its part by a script. */
#ifndef STILLHOUSE_TESTS_CHROMA_SCRIPT_H
#define STILLHOUSE_TESTS_CHROMA_SCRIPT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "chroma/internal.h"
#include "chroma_calls.h"
#include "fake_server.h"

#define UNUSED __attribute__((unused))

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
    return query_all(chroma, "legal", (struct vectors){vector, 1, 2}, 3, &arena, &hits, &err);
}

static UNUSED enum status upsert(void)
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

#endif
