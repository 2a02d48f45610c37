/* What a server repeats of a request is not repeated by us. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/hide.h"
#include "json/write.h"

static const char model[] = "{\"model\":\"nomic-embed-text-v1\"";

static struct strbuf answer;

static void teardown(void)
{
    strbuf_free(&answer);
}

TestSuite(http_hide, .fini = teardown);

/* What is left of an answer to a request with this text and this header. */
static const char *left_of(const char *said, const char *text, const char *header)
{
    struct strbuf body = {0};
    char *headers[] = {NULL, NULL};
    struct http_sent sent = {.headers = headers, .foreign_from = sizeof model - 1};

    strbuf_append_str(&body, model);
    strbuf_append_str(&body, ",\"input\":[");
    json_str(&body, text);
    strbuf_append_str(&body, "]}");
    sent.body = body.data;
    sent.body_bytes = body.bytes;
    headers[0] = header == NULL ? NULL : strdup(header);
    strbuf_reset(&answer);
    strbuf_append_str(&answer, said);
    http_hide_sent(&answer, &sent);
    free(headers[0]);
    strbuf_free(&body);
    return answer.bytes == 0 ? "" : answer.data;
}

#define NOTICE "The tenant owes 5,000 euros\nsince \"March\" \303\274berall."

Test(http_hide, a_quoted_text_is_cut_out_however_it_is_escaped)
{
    static const char *const quoted[] = {
        NOTICE,
        "The tenant owes 5,000 euros\\nsince \\\"March\\\" \\u00fcberall.",
        "The tenant owes 5,000 euros since \"March\" \303\274berall.",
    };
    for (size_t i = 0; i < sizeof quoted / sizeof quoted[0]; i++) {
        char said[256];
        snprintf(said, sizeof said, "{\"detail\": \"not allowed: %s\"}", quoted[i]);
        cr_assert_str_eq(left_of(said, NOTICE, NULL), "{\"detail\": \"not allowed: ***\"}");
    }
    cr_assert_str_eq(left_of("bad: The tenant owes 5,00 ...", NOTICE, NULL), "bad: *** ...",
                     "its beginning too");
}

Test(http_hide, foreign_scripts_are_cut_out_too)
{
    static const char text[] = "\320\274\320\276\321\217 \321\202\320\260\320\271\320\275\320\260 "
                               "\320\275\320\265 \321\202\320\262\320\276\321\217";
    struct strbuf escaped = {0};
    strbuf_append_str(&escaped, "{\"error\":\"\\u043c\\u043e\\u044f \\u0442\\u0430\\u0439\\u043d"
                                "\\u0430 \\u043d\\u0435 \\u0442\\u0432\\u043e\\u044f\"}");
    cr_assert_str_eq(left_of(escaped.data, text, NULL), "{\"error\":\"***\"}");
    strbuf_free(&escaped);
}

Test(http_hide, what_is_no_text_of_the_request_stays)
{
    static const char *const said[] = {
        "model \"nomic-embed-text-v1\" not found, try pulling it first",
        "{\"error\":\"the input length exceeds the context length\"}",
        "field input: expected a list",
        "tenant", /* too short to be anybody's */
        "",
    };
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        cr_assert_str_eq(left_of(said[i], NOTICE, NULL), said[i]);
    }
    cr_assert_str_eq(left_of("cannot embed \"how to pay\"", "how to pay", NULL),
                     "cannot embed \"***\"", "a short text as a whole");
    cr_assert_str_eq(left_of("cannot embed \"hi\"", "hi", NULL), "cannot embed \"hi\"");
}

Test(http_hide, values_of_headers_are_cut_out_in_whole_and_in_part)
{
    static const char header[] = "Authorization: Bearer sk-secret-0123456789";
    cr_assert_str_eq(left_of("no such key: Bearer sk-secret-0123456789", "x", header),
                     "no such key: Bearer ***");
    cr_assert_str_eq(left_of("no such key: sk-secret-01...", "x", header), "no such key: ***...");
    cr_assert_str_eq(left_of("a \"sk-secret-0123456789\" b sk-secret-0123456789", "x", header),
                     "a \"***\" b ***");
    cr_assert_str_eq(left_of("token tok1 is old", "x", "x-chroma-token: tok1"), "token *** is old");
    cr_assert_str_eq(left_of("any a is any", "x", "x-chroma-token: a"), "any a is any");
}

Test(http_hide, an_answer_that_is_decoded_keeps_its_shape)
{
    char secret[] = "Authorization: Bearer sk-secret-0123456789";
    char *const headers[] = {secret, NULL};
    strbuf_append_str(&answer, "{\"a\":\"sk-secret-0123456789\",\"b\":\"sk-secret-012345678\"}");
    http_hide_headers(&answer, headers);
    cr_assert_str_eq(answer.data, "{\"a\":\"********************\",\"b\":\"sk-secret-012345678\"}");
}

Test(http_hide, long_answers_and_repetitions_cost_little, .timeout = 30)
{
    enum { LONG = 1 << 20 };
    char *text = malloc(LONG);
    memset(text, 'a', LONG - 1);
    text[LONG - 1] = '\0';
    (void)left_of(text, text, NULL);
    cr_assert_eq(answer.bytes, LONG - 1 - HTTP_QUOTED_MAX_BYTES + 3, "what may be quoted is out");
    cr_assert_eq(strncmp(answer.data, "***aaa", 6), 0);
    cr_assert_str_eq(left_of(text, "nothing of it", NULL), text);
    free(text);
}
