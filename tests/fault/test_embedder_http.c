#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embedder/decode.h"
#include "embedder/embedder.h"
#include "fake_server.h"

/* little-endian float32: {3, 4}, {0, 2}, {NaN, 1} */
#define PACKED_3_4 "\"AABAQAAAgEA=\""
#define PACKED_0_2 "\"AAAAAAAAAEA=\""
#define PACKED_NAN "\"AADAfwAAgD8=\""

#define ITEM(index, embedding) "{\"index\":" index ",\"embedding\":" embedding "}"
#define OPENAI(items) ANSWER("200 OK", "{\"object\":\"list\",\"data\":[" items "]}")
#define OLLAMA(items) ANSWER("200 OK", "{\"model\":\"m\",\"embeddings\":[" items "]}")

#define ASK_OPENAI EXPECT("POST /v1/embeddings HTTP/1.1\r\n")
#define ASK_OLLAMA EXPECT("POST /api/embed HTTP/1.1\r\n")
#define ASK_SINGLY EXPECT("POST /api/embeddings HTTP/1.1\r\n")

static struct fake_server *server;
static struct embedder *embedder;
static struct error err;
static float vectors[8];

static struct {
    int calls;
    int code;
    char upstream[16];
    char operation[16];
} observed;

static void observe(void *context, const char *upstream, const char *operation, int code,
                    long new_connections, double seconds, enum status status)
{
    (void)context;
    (void)new_connections;
    (void)seconds;
    (void)status;
    observed.calls++;
    observed.code = code;
    snprintf(observed.upstream, sizeof observed.upstream, "%s", upstream);
    snprintf(observed.operation, sizeof observed.operation, "%s", operation);
}

static void start(enum embedder_kind kind, const struct fake_step *script)
{
    char url[128];

    server = fake_server_start(script);
    snprintf(url, sizeof url, "%s%s", fake_server_url(server, "http"),
             kind == EMBEDDER_OPENAI ? "/v1/" : "");
    const struct embedder_config config = {.kind = kind,
                                           .url = url,
                                           .model = "m\"1",
                                           .key = kind == EMBEDDER_OPENAI ? "k3y" : "",
                                           .dimension = 2,
                                           .timeout_ms = 3000,
                                           .observer = observe};
    cr_assert_eq(embedder_new(&config, &embedder, &err), STATUS_OK, "%s", err.text);
}

static void stop(void)
{
    embedder_free(embedder);
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

/* "a", "b", ... */
static enum status embed(size_t count)
{
    static const struct slice texts[] = {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}};
    return embedder_embed(embedder, texts, count, vectors, &err);
}

static void assert_vector(size_t index, float first, float second)
{
    cr_assert_float_eq(vectors[2 * index], first, 1e-6);
    cr_assert_float_eq(vectors[2 * index + 1], second, 1e-6);
}

static void assert_error(enum status status, enum status expected, const char *text)
{
    cr_assert_eq(status, expected, "%s: %s", status_text(status), err.text);
    cr_assert_eq(err.status, expected);
    cr_assert_not_null(strstr(err.text, text), "\"%s\" lacks \"%s\"", err.text, text);
}

/* Another length is another model, a number that is none is the fault of one text, all else is no
 * answer. */
static enum status expected_of(const char *text)
{
    static const char *const of_a_text[] = {"is no number", "not finite", "are zero", "all 2"};

    for (size_t i = 0; i < sizeof of_a_text / sizeof of_a_text[0]; i++) {
        if (strstr(text, of_a_text[i]) != NULL) {
            return STATUS_INVALID;
        }
    }
    return strstr(text, "numbers, expected") != NULL ? STATUS_MISMATCH : STATUS_GARBLED;
}

static void assert_openai_refuses(const char *body, size_t count, const char *text)
{
    err = (struct error){0};
    assert_error(embedder_decode_openai(body, strlen(body), count, 2, vectors, &err),
                 expected_of(text), text);
    cr_assert_eq(err.http_code, expected_of(text) == STATUS_INVALID ? 200 : 0);
}

static void assert_ollama_refuses(const char *body, size_t count, const char *text)
{
    err = (struct error){0};
    assert_error(embedder_decode_ollama(body, strlen(body), count, 2, vectors, &err),
                 expected_of(text), text);
}

Test(embedder_http, openai_is_asked_for_packed_vectors_and_its_indices_order_them)
{
    static const struct fake_step script[] = {
        ASK_OPENAI,
        EXPECT("\r\n\r\n{\"model\":\"m\\\"1\",\"encoding_format\":\"base64\",\"dimensions\":2,"
               "\"input\":[\"a\",\"b\"]}"),
        OPENAI(ITEM("1", PACKED_0_2) "," ITEM("0", PACKED_3_4)),
        END,
    };
    start(EMBEDDER_OPENAI, script);
    cr_assert_eq(embed(2), STATUS_OK, "%s", err.text);
    assert_vector(0, 0.6F, 0.8F);
    assert_vector(1, 0, 1);
    cr_assert(fake_server_saw(server, "Authorization: Bearer k3y\r\n"));
    cr_assert_str_eq(embedder_model(embedder), "openai/m\"1");
    cr_assert_eq(embedder_dimension(embedder), 2);
    cr_assert_eq(observed.calls, 1);
    cr_assert_eq(observed.code, 200);
    cr_assert_str_eq(observed.upstream, "embedder");
    cr_assert_str_eq(observed.operation, "embed");
    stop();
}

Test(embedder_http, openai_may_answer_with_plain_numbers_and_without_indices)
{
    static const struct fake_step script[] = {
        ASK_OPENAI,
        EXPECT("\"input\":[\"a\",\"b\"]}"),
        ANSWER("201 Created", "{\"data\":[{\"embedding\":[3,4]},{\"embedding\":[-0.5e1,0]}]}"),
        END,
    };
    start(EMBEDDER_OPENAI, script);
    cr_assert_eq(embed(2), STATUS_OK, "%s", err.text);
    assert_vector(0, 0.6F, 0.8F);
    assert_vector(1, -1, 0);
    stop();
}

Test(embedder_http, a_dimension_that_nobody_chose_is_not_asked_for)
{
    static const struct fake_step script[] = {
        ASK_OPENAI,
        EXPECT("{\"model\":\"text-embedding-3-small\",\"encoding_format\":\"base64\",\"input\":["),
        OPENAI(ITEM("0", PACKED_3_4)),
        END,
    };
    char url[128];
    struct slice text = {"a", 1};
    float vector[1536];
    server = fake_server_start(script);
    snprintf(url, sizeof url, "%s/v1", fake_server_url(server, "http"));
    const struct embedder_config config = {.kind = EMBEDDER_OPENAI, .url = url};
    cr_assert_eq(embedder_new(&config, &embedder, &err), STATUS_OK, "%s", err.text);
    assert_error(embedder_embed(embedder, &text, 1, vector, &err), STATUS_MISMATCH,
                 "embedding 1 of 1: 2 numbers, expected 1536 (STILLHOUSE_EMBED_DIMENSION)");
    cr_assert_not(fake_server_saw(server, "dimensions"));
    cr_assert_not(fake_server_saw(server, "Authorization"));
    stop();
}

/* ---- servers that refuse what they do not know ---- */

#define PLAIN_3_4 ITEM("0", "[3,4]")

Test(embedder_http, an_optional_field_that_is_refused_is_left_out_from_then_on)
{
    static const struct fake_step script[] = {
        ASK_OPENAI,
        EXPECT("\"encoding_format\":\"base64\",\"dimensions\":2,"),
        EXPECT("]}"),
        ANSWER("400 Bad", "{\"message\":\"changing output dimensions is not supported\"}"),
        ASK_OPENAI,
        EXPECT("\"encoding_format\":\"base64\",\"input\""),
        EXPECT("]}"),
        ANSWER("422 Bad", "{\"loc\":[\"body\",\"encoding_format\"]}"),
        ASK_OPENAI,
        EXPECT("{\"model\":\"m\\\"1\",\"input\":["),
        EXPECT("]}"),
        OPENAI(PLAIN_3_4),
        ASK_OPENAI,
        EXPECT("{\"model\":\"m\\\"1\",\"input\":["),
        EXPECT("]}"),
        OPENAI(PLAIN_3_4),
        END,
    };
    start(EMBEDDER_OPENAI, script);
    cr_assert_eq(embed(1), STATUS_OK, "%s", err.text);
    assert_vector(0, 0.6F, 0.8F);
    cr_assert_eq(embed(1), STATUS_OK, "%s", err.text);
    stop();
}

Test(embedder_http, a_text_that_is_refused_costs_no_second_request)
{
    static const struct fake_step script[] = {
        ASK_OPENAI,
        EXPECT("]}"),
        ANSWER("400 Bad", "no"),
        ASK_OPENAI,
        EXPECT("\"dimensions\":2"),
        EXPECT("]}"),
        OPENAI(PLAIN_3_4),
        END,
    };
    start(EMBEDDER_OPENAI, script);
    assert_error(embed(1), STATUS_INVALID, "http 400");
    cr_assert_eq(embed(1), STATUS_OK, "%s", err.text);
    stop();
}

Test(embedder_http, where_our_own_text_is_refused_without_a_reason_it_is_asked_without_fields)
{
    static const struct fake_step script[] = {
        ASK_OPENAI,   EXPECT("\"dimensions\":2"),
        EXPECT("]}"), ANSWER("400 Bad", "no"),
        ASK_OPENAI,   EXPECT("{\"model\":\"m\\\"1\",\"input\":["),
        EXPECT("]}"), OPENAI(PLAIN_3_4),
        END,
    };
    start(EMBEDDER_OPENAI, script);
    cr_assert_eq(embedder_compare(embedder, &err), STATUS_OK, "%s", err.text);
    stop();
}

Test(embedder_http, the_dimension_of_a_model_that_we_do_not_know_is_learnt)
{
    static const struct fake_step script[] = {
        ASK_OPENAI, EXPECT("]}"), ANSWER("503 Busy", "later"),
        ASK_OPENAI, EXPECT("]}"), OPENAI("1"),
        ASK_OPENAI, EXPECT("]}"), OPENAI(ITEM("0", PACKED_3_4)),
        ASK_OPENAI, EXPECT("]}"), OPENAI(ITEM("0", PACKED_3_4)),
        END,
    };
    char url[128];
    server = fake_server_start(script);
    snprintf(url, sizeof url, "%s/v1", fake_server_url(server, "http"));
    const struct embedder_config config = {.kind = EMBEDDER_OPENAI, .url = url, .model = "own"};
    cr_assert_eq(embedder_new(&config, &embedder, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(embedder_dimension(embedder), 0);
    assert_error(embedder_learn(embedder, &err), STATUS_UNAVAILABLE, "503");
    assert_error(embedder_learn(embedder, &err), STATUS_GARBLED, "is missing");
    cr_assert_eq(embedder_learn(embedder, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(embedder_dimension(embedder), 2);
    cr_assert_eq(embed(1), STATUS_OK, "%s", err.text);
    assert_vector(0, 0.6F, 0.8F);
    cr_assert_not(fake_server_saw(server, "dimensions"));
    stop();
}

Test(embedder_http, every_kind_has_defaults)
{
    struct embedder_config config = {.kind = EMBEDDER_OPENAI, .url = "", .model = "", .key = ""};

    cr_assert_eq(embedder_new(&config, &embedder, &err), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(embedder_model(embedder), "openai/text-embedding-3-small");
    cr_assert_eq(embedder_dimension(embedder), 1536);
    embedder_free(embedder);
    config.kind = EMBEDDER_OLLAMA;
    cr_assert_eq(embedder_new(&config, &embedder, &err), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(embedder_model(embedder), "ollama/nomic-embed-text");
    cr_assert_eq(embedder_dimension(embedder), 768);
    embedder_free(embedder);
}

Test(embedder_http, a_wrong_setting_is_named)
{
    struct embedder_config config = {.kind = EMBEDDER_OLLAMA, .url = "ftp://host"};
    char key[EMBEDDER_TEXT_BYTES + 1];

    assert_error(embedder_new(&config, &embedder, &err), STATUS_INVALID, "STILLHOUSE_EMBED_URL");
    config.url = "/";
    assert_error(embedder_new(&config, &embedder, &err), STATUS_INVALID, "STILLHOUSE_EMBED_URL");
    config = (struct embedder_config){.kind = EMBEDDER_OPENAI, .key = "k\r\nX-Evil: 1"};
    assert_error(embedder_new(&config, &embedder, &err), STATUS_INVALID, "STILLHOUSE_EMBED_KEY");
    cr_assert_null(strstr(err.text, "Evil"));
    memset(key, 'k', sizeof key);
    key[EMBEDDER_TEXT_BYTES] = '\0';
    config.key = key;
    assert_error(embedder_new(&config, &embedder, &err), STATUS_INVALID, "STILLHOUSE_EMBED_KEY");
}

Test(embedder_http, ollama_embeds_many_texts_at_once)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA,
        EXPECT("\r\n\r\n{\"model\":\"m\\\"1\",\"input\":[\"a\",\"b\"]}"),
        OLLAMA("[3,4],[0,-2]"),
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    cr_assert_eq(embed(2), STATUS_OK, "%s", err.text);
    assert_vector(0, 0.6F, 0.8F);
    assert_vector(1, 0, -1);
    cr_assert_str_eq(embedder_model(embedder), "ollama/m\"1");
    stop();
}

Test(embedder_http, an_old_ollama_is_asked_text_by_text_and_remembered)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA,
        EXPECT("\"input\":[\"a\",\"b\"]}"),
        ANSWER("404 Not Found", "404 page not found"),
        ASK_SINGLY,
        EXPECT("\r\n\r\n{\"model\":\"m\\\"1\",\"prompt\":\"a\"}"),
        ANSWER("200 OK", "{\"embedding\":[3,4]}"),
        ASK_SINGLY,
        EXPECT("\"prompt\":\"b\"}"),
        ANSWER("200 OK", "{\"embedding\":[0,5]}"),
        ASK_SINGLY,
        EXPECT("\"prompt\":\"a\"}"),
        ANSWER("200 OK", "{\"embedding\":[-7,0]}"),
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    cr_assert_eq(embed(2), STATUS_OK, "%s", err.text);
    assert_vector(0, 0.6F, 0.8F);
    assert_vector(1, 0, 1);
    cr_assert_eq(embed(1), STATUS_OK, "%s", err.text);
    assert_vector(0, -1, 0);
    stop();
}

Test(embedder_http, a_method_that_is_not_allowed_means_an_old_ollama_too)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA, EXPECT("]}"),     ANSWER("405 Method Not Allowed", ""),
        ASK_SINGLY, EXPECT("\"a\"}"), ANSWER("200 OK", "{\"embedding\":[3,4]}"),
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    cr_assert_eq(embed(1), STATUS_OK, "%s", err.text);
    stop();
}

Test(embedder_http, a_model_that_ollama_does_not_have_is_not_found_and_not_remembered)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA,
        EXPECT("]}"),
        ANSWER("404 Not Found", "{\"error\":\"model not found\"}"),
        ASK_SINGLY,
        EXPECT("\"a\"}"),
        ANSWER("404 Not Found", "{\"error\":\"model not found, try pulling it\"}"),
        ASK_OLLAMA,
        EXPECT("]}"),
        OLLAMA("[3,4]"),
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    assert_error(embed(1), STATUS_NOT_FOUND, "try pulling it");
    cr_assert_eq(embed(1), STATUS_OK, "%s", err.text);
    stop();
}

Test(embedder_http, a_text_that_fails_alone_fails_them_all)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA, EXPECT("]}"),     ANSWER("404 Not Found", ""),
        ASK_SINGLY, EXPECT("\"a\"}"), ANSWER("200 OK", "{\"embedding\":[3,4]}"),
        ASK_SINGLY, EXPECT("\"b\"}"), ANSWER("200 OK", "{\"embedding\":[1,2,3]}"),
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    assert_error(embed(2), STATUS_MISMATCH, "3 numbers, expected 2");
    stop();
}

Test(embedder_http, no_request_holds_more_than_256_texts)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA,
        EXPECT("\"t255\"]}"),
        OLLAMA("ITEMS"),
        ASK_OLLAMA,
        EXPECT("{\"model\":\"m\\\"1\",\"input\":[\"t256\"]}"),
        OLLAMA("[3,4]"),
        END,
    };
    static char answer[4096] = "{\"embeddings\":[[1,0]";
    static char names[257][8];
    static struct slice texts[257];
    static float out[2 * 257];
    struct fake_step changed[sizeof script / sizeof script[0]];

    for (int i = 0; i < 257; i++) {
        texts[i] = (struct slice){names[i], (size_t)snprintf(names[i], 8, "t%d", i)};
    }
    for (int i = 1; i < 256; i++) {
        strcat(answer, ",[1,0]");
    }
    strcat(answer, "]}");
    memcpy(changed, script, sizeof script);
    changed[2].body = answer;
    start(EMBEDDER_OLLAMA, changed);
    cr_assert_eq(embedder_embed(embedder, texts, 257, out, &err), STATUS_OK, "%s", err.text);
    cr_assert_float_eq(out[2 * 255], 1, 1e-6);
    cr_assert_float_eq(out[2 * 256], 0.6F, 1e-6);
    cr_assert_eq(observed.calls, 2);
    stop();
}

Test(embedder_http, blank_and_broken_texts_are_refused_before_any_call)
{
    static const struct fake_step script[] = {END};
    static const struct slice wrong[] = {{"", 0}, {" \n", 2}, {"\xc3(", 2}};

    start(EMBEDDER_OPENAI, script);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct slice texts[] = {{"a", 1}, wrong[i]};
        assert_error(embedder_embed(embedder, texts, 2, vectors, &err), STATUS_INVALID,
                     "text 2 of 2");
    }
    cr_assert_eq(embedder_embed(embedder, NULL, 0, vectors, &err), STATUS_OK);
    cr_assert_eq(fake_server_connections(server), 0);
    cr_assert_eq(observed.calls, 0);
    stop();
}

Test(embedder_http, what_the_server_refuses_is_told_apart)
{
    static const struct fake_step script[] = {
        ASK_OPENAI, EXPECT("]}"), ANSWER("401 Unauthorized", "{\"error\":\"bad key\"}"),
        ASK_OPENAI, EXPECT("]}"), ANSWER("429 Slow\r\nRetry-After: 3", "later"),
        ASK_OPENAI, EXPECT("]}"), ANSWER("400 Bad Request", "too long"),
        ASK_OPENAI, EXPECT("]}"), ANSWER("404 Not Found", "no model"),
        ASK_OPENAI, EXPECT("]}"), ANSWER("500 Oops", ""),
        ASK_OPENAI, EXPECT("]}"), ANSWER("302 Found\r\nLocation: /x", ""),
        END,
    };
    start(EMBEDDER_OPENAI, script);
    assert_error(embed(1), STATUS_REFUSED, "bad key");
    assert_error(embed(1), STATUS_UNAVAILABLE, "429");
    cr_assert_eq(err.retry_after_ms, 3000);
    assert_error(embed(1), STATUS_INVALID, "too long");
    assert_error(embed(1), STATUS_NOT_FOUND, "no model");
    assert_error(embed(1), STATUS_FAILED, "500");
    cr_assert_neq(embed(1), STATUS_OK);
    cr_assert_not_null(strstr(err.text, "302"), "%s", err.text);
    cr_assert_null(strstr(err.text, "k3y"));
    stop();
}

Test(embedder_http, an_ollama_that_is_busy_is_unavailable)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA,
        EXPECT("]}"),
        ANSWER("503 Busy\r\nRetry-After: 2", "server busy"),
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    assert_error(embed(1), STATUS_UNAVAILABLE, "server busy");
    cr_assert_eq(err.retry_after_ms, 2000);
    stop();
}

Test(embedder_http, a_server_that_resets_is_unreachable)
{
    static const struct fake_step script[] = {ASK_OPENAI, RST, END};
    start(EMBEDDER_OPENAI, script);
    assert_error(embed(1), STATUS_UNREACHABLE, "POST");
    stop();
}

Test(embedder_http, half_an_answer_is_unreachable)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA,
        EXPECT("]}"),
        SEND("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"embeddings\":[["),
        CLOSE,
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    assert_error(embed(1), STATUS_UNREACHABLE, "POST");
    stop();
}

Test(embedder_http, a_server_that_hangs_times_out)
{
    static const struct fake_step script[] = {ASK_OLLAMA, HANG, END};
    struct slice text = {"a", 1};
    server = fake_server_start(script);
    const struct embedder_config config = {.kind = EMBEDDER_OLLAMA,
                                           .url = fake_server_url(server, "http"),
                                           .dimension = 2,
                                           .timeout_ms = 200};
    cr_assert_eq(embedder_new(&config, &embedder, &err), STATUS_OK, "%s", err.text);
    assert_error(embedder_embed(embedder, &text, 1, vectors, &err), STATUS_TIMEOUT, "POST");
    stop();
}

Test(embedder_http, an_empty_answer_is_garbled)
{
    static const struct fake_step script[] = {
        ASK_OLLAMA, EXPECT("]}"), ANSWER("200 OK", ""),
        ASK_OLLAMA, EXPECT("]}"), ANSWER("200 OK", "<html>"),
        END,
    };
    start(EMBEDDER_OLLAMA, script);
    assert_error(embed(1), STATUS_GARBLED, "not JSON");
    assert_error(embed(1), STATUS_GARBLED, "not JSON");
    stop();
}

Test(embedder_http, openai_answers_of_another_shape_are_garbled)
{
    assert_openai_refuses("", 1, "not JSON");
    assert_openai_refuses("[1,2", 1, "not JSON");
    assert_openai_refuses("7", 1, "no list \"data\"");
    assert_openai_refuses("{\"data\":{}}", 1, "no list \"data\"");
    assert_openai_refuses("{\"data\":[]}", 1, "0 embeddings, expected 1");
    assert_openai_refuses("{\"data\":[1]}", 1, "embedding 1 of 1 is missing");
    assert_openai_refuses("{\"data\":[[[1,2]]]}", 1, "embedding 1 of 1 is missing");
    assert_openai_refuses("{\"data\":[" ITEM("0", "{}") "]}", 1, "embedding 1 of 1 is missing");
    cr_assert_eq(embedder_decode_openai(NULL, 0, 1, 2, vectors, &err), STATUS_GARBLED);
}

Test(embedder_http, openai_indices_that_are_wrong_are_garbled)
{
    assert_openai_refuses("{\"data\":[" ITEM("1", "[1,2]") "]}", 1, "wrong index");
    assert_openai_refuses("{\"data\":[" ITEM("-1", "[1,2]") "]}", 1, "wrong index");
    assert_openai_refuses("{\"data\":[" ITEM("0.5", "[1,2]") "]}", 1, "wrong index");
    assert_openai_refuses("{\"data\":[" ITEM("1e300", "[1,2]") "]}", 1, "wrong index");
    /* 1, 1, 1 has the sum of 0, 1, 2 */
    assert_openai_refuses(
        "{\"data\":[" ITEM("1", "[1,2]") "," ITEM("1", "[1,2]") "," ITEM("1", "[1,2]") "]}", 3,
        "embedding 2 of 3 comes twice");
}

Test(embedder_http, vectors_that_are_wrong_are_garbled)
{
    assert_openai_refuses("{\"data\":[" ITEM("0", "[1,2]") "," ITEM("1", "[1,2,3]") "]}", 2,
                          "embedding 2 of 2: 3 numbers, expected 2 (STILLHOUSE_EMBED_DIMENSION)");
    assert_openai_refuses("{\"data\":[" ITEM("0", "[]") "]}", 1, "0 numbers, expected 2");
    assert_openai_refuses("{\"data\":[" ITEM("0", "[1,\"2\"]") "]}", 1, "element 1 is no number");
    assert_openai_refuses("{\"data\":[" ITEM("0", "[1,null]") "]}", 1, "element 1 is no number");
    assert_openai_refuses("{\"data\":[" ITEM("0", "[0,-0.0]") "]}", 1,
                          "embedding 1 of 1: all 2 numbers are zero");
    assert_openai_refuses("{\"data\":[" ITEM("0", "[1e999,1]") "]}", 1, "not finite");
    assert_openai_refuses("{\"data\":[" ITEM("0", "[1,1e300]") "]}", 1, "not finite");
}

Test(embedder_http, packed_vectors_that_are_wrong_are_garbled)
{
    assert_openai_refuses("{\"data\":[" ITEM("0", PACKED_NAN) "]}", 1, "number 0 is not finite");
    assert_openai_refuses("{\"data\":[" ITEM("0", "\"AAAAAAAAAAA=\"") "]}", 1, "are zero");
    assert_openai_refuses("{\"data\":[" ITEM("0", "\"AABAQAAAg*A=\"") "]}", 1, "not base64");
    assert_openai_refuses("{\"data\":[" ITEM("0", "\"AABAQA==\"") "]}", 1, "1 numbers, expected 2");
    assert_openai_refuses("{\"data\":[" ITEM("0", "\"\"") "]}", 1, "0 numbers, expected 2");
    assert_openai_refuses("{\"data\":[" ITEM("0", "\"AABAQAAAgEAA\"") "]}", 1,
                          "9 bytes are no float32");
    assert_openai_refuses("{\"data\":[" ITEM("0", "\"AABAQAAAgEAAAABAAAAAQA==\"") "]}", 1,
                          "4 numbers, expected 2");
}

Test(embedder_http, ollama_answers_of_another_shape_are_garbled)
{
    assert_ollama_refuses("", 1, "not JSON");
    assert_ollama_refuses("[]", 1, "no list \"embeddings\"");
    assert_ollama_refuses("{\"embeddings\":[[1,2]]}", 2, "1 embeddings, expected 2");
    assert_ollama_refuses("{\"embeddings\":[[1,2],null]}", 2, "embedding 2 of 2 is missing");
    assert_ollama_refuses("{\"embeddings\":[[1,2],[0,0]]}", 2, "embedding 2 of 2: all 2 numbers");
    assert_ollama_refuses("{\"embedding\":[]}", 1, "0 numbers, expected 2");
    assert_ollama_refuses("{\"embedding\":[1,2]}", 2, "no list \"embeddings\"");
    cr_assert_eq(embedder_decode_ollama(NULL, 0, 1, 2, vectors, &err), STATUS_GARBLED);
}
