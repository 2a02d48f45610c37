/* The pure parts of HTTP: addresses, header lines, waits, and what is hidden of an answer. The
 * input is a URL, a header line, a text and an answer with a byte 0xff between them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/address.h"
#include "http/client.h"
#include "http/headers.h"
#include "http/hide.h"
#include "json/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret[] = "Authorization: Bearer sk-0123456789";

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* The next part as a string of its own, cut at its first NUL; the caller frees it. */
static char *next_part(const uint8_t **data, size_t *size)
{
    const uint8_t *end = *size == 0 ? NULL : memchr(*data, 0xff, *size);
    const size_t bytes = end == NULL ? *size : (size_t)(end - *data);
    char *part = malloc(bytes + 1);

    must(part != NULL);
    if (bytes > 0) {
        memcpy(part, *data, bytes);
    }
    part[bytes] = '\0';
    *data += bytes + (end != NULL);
    *size -= bytes + (end != NULL);
    return part;
}

static void try_url(const char *url)
{
    char shown[HTTP_URL_TEXT_BYTES];
    struct error err = {0};

    must(strlen(http_public_url(url, shown)) < sizeof shown);
    must(strpbrk(shown, "\n\x1b") == NULL);
    if (http_check_url(url, &err) == STATUS_OK) {
        must(strchr(url, '?') == NULL && strstr(url, "://") != NULL);
    }
    (void)http_is_loopback(url);
}

static void try_header(const char *line)
{
    size_t bytes = 0;
    const char *value = http_header_value(line, strlen(line), "Retry-After", &bytes);

    if (value != NULL) {
        must(value + bytes <= line + strlen(line));
        const int wait_ms = http_retry_after_ms(value, bytes, 1700000000);
        must(wait_ms >= 0 && wait_ms <= HTTP_RETRY_AFTER_MAX_MS);
    }
}

/* The answer with the secret and the text behind it: neither may be left. */
static void try_answer(const char *text, const char *said)
{
    char *const headers[] = {(char *)secret, NULL};
    struct strbuf request = {0};
    struct strbuf answer = {0};

    strbuf_append_str(&request, "[");
    json_str(&request, text);
    strbuf_append_str(&request, "]");
    strbuf_append_str(&answer, said);
    strbuf_append_str(&answer, " sk-0123456789 ");
    const size_t before = answer.bytes;
    const struct http_sent sent = {headers, request.data, request.bytes, 0};
    http_hide_sent(&answer, &sent);
    must(answer.bytes <= before);
    must(before > HTTP_QUOTED_MAX_BYTES || strstr(answer.data, "sk-0123456789") == NULL);
    strbuf_free(&answer);
    strbuf_append_str(&answer, text);
    strbuf_append_str(&answer, "\n");
    http_hide_sent(&answer, &sent);
    bool plain = true; /* neither white space nor an escape, which are read as what they mean */
    for (const char *c = text; *c != '\0'; c++) {
        plain = plain && *c > ' ' && *c < 0x7f && *c != '\\';
    }
    must(!plain || strlen(text) < 16 || strlen(text) > 1000 || strstr(answer.data, text) == NULL);
    strbuf_free(&answer);
    strbuf_free(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *url = next_part(&data, &size);
    char *line = next_part(&data, &size);
    char *text = next_part(&data, &size);
    char *said = next_part(&data, &size);

    try_url(url);
    try_header(line);
    try_answer(text, said);
    free(url);
    free(line);
    free(text);
    free(said);
    return 0;
}
