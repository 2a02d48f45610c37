#include "http/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where the authority of `url` starts: behind "://", or at its beginning where there is none. */
static const char *authority_start(const char *url)
{
    const char *scheme_end = strstr(url, "://");
    return scheme_end == NULL ? url : scheme_end + 3;
}

/* True where a password whose "@host" was forgotten stands for the port. */
static bool has_odd_port(const char *host)
{
    const char *colon = strchr(host, ':');

    return colon != NULL && host[0] != '[' && colon < host + strcspn(host, "/?#") &&
           strchr("/?#", colon[1 + strspn(colon + 1, "0123456789")]) == NULL;
}

const char *http_public_url(const char *url, char out[HTTP_URL_TEXT_BYTES])
{
    const char *authority = authority_start(url);
    size_t scheme_bytes = (size_t)(authority - url);
    size_t authority_bytes = strcspn(authority, "/?#");
    const char *at = memrchr(authority, '@', authority_bytes);
    const char *host = at == NULL ? authority : at + 1;
    size_t shown_bytes = strcspn(host, "?#");

    snprintf(out, HTTP_URL_TEXT_BYTES, "%.*s%.*s", (int)(scheme_bytes < 32 ? scheme_bytes : 32),
             url, (int)(shown_bytes < HTTP_URL_TEXT_BYTES ? shown_bytes : HTTP_URL_TEXT_BYTES),
             has_odd_port(host) ? "***" : host);
    for (char *c = out; *c != '\0'; c++) {
        if (iscntrl((unsigned char)*c)) {
            *c = '?';
        }
    }
    return out;
}

bool http_is_loopback(const char *url)
{
    const char *host = authority_start(url);
    size_t bytes = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', bytes);
    if (at != NULL) {
        bytes -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    if (bytes >= 5 && memcmp(host, "[::1]", 5) == 0) {
        return true;
    }

    size_t name_bytes = strcspn(host, ":/?#");
    if (name_bytes == strlen("localhost") && strncasecmp(host, "localhost", name_bytes) == 0) {
        return true;
    }
    return strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == name_bytes;
}

/* "[IPv6 address]", with a zone or not. */
static bool is_literal(const char *host, size_t bytes)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const size_t address_bytes = strcspn(host + 1, "%]");

    if (host[bytes - 1] != ']' || address_bytes >= sizeof text) {
        return false;
    }
    memcpy(text, host + 1, address_bytes);
    text[address_bytes] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* A name, an IPv4 address or an IPv6 literal, as far as its characters tell. */
static bool is_host(const char *host, size_t bytes)
{
    if (bytes > 0 && host[0] == '[') {
        return is_literal(host, bytes);
    }
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)host[i];
        if (c <= ' ' || c == 0x7f || strchr("\"<>[\\]^`{|}:", c) != NULL) {
            return false;
        }
    }
    return bytes > 0;
}

/* Nothing, or a colon with a port behind it. */
static bool is_port(const char *text, size_t bytes)
{
    if (bytes < 2) {
        return bytes == 0 || text[0] == ':';
    }
    const size_t digits = strspn(text + 1, "0123456789");
    const long port = strtol(text + 1, NULL, 10);
    return text[0] == ':' && digits == bytes - 1 && port >= 1 && port <= 65535;
}

static bool is_path(const char *path)
{
    for (; *path != '\0'; path++) {
        if ((unsigned char)*path <= ' ' || *path == 0x7f) {
            return false;
        }
    }
    return true;
}

/* What is wrong with what stands behind "http://"; NULL when nothing is. */
static const char *find_flaw(const char *authority)
{
    const size_t bytes = strcspn(authority, "/?#");
    const char *bracket = authority[0] == '[' ? memchr(authority, ']', bytes) : NULL;
    const char *host_end = bracket != NULL ? bracket + 1 : authority + strcspn(authority, ":/?#");

    if (memchr(authority, '@', bytes) != NULL) {
        return "must not hold a user or password: a token goes into STILLHOUSE_CHROMA_TOKEN, a key "
               "into STILLHOUSE_EMBED_KEY";
    }
    if (strpbrk(authority, "?#") != NULL) {
        return "must not hold a query or fragment";
    }
    if (!is_host(authority, (size_t)(host_end - authority))) {
        return "must name a host";
    }
    if (!is_port(host_end, (size_t)(authority + bytes - host_end))) {
        return "must have a port of 1 to 65535, or none";
    }
    return is_path(authority + bytes) ? NULL : "must not hold spaces or control characters";
}

enum status http_check_url(const char *url, struct error *err)
{
    char shown[HTTP_URL_TEXT_BYTES];
    const char *flaw = "must start with http:// or https://";

    if (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0) {
        flaw = find_flaw(authority_start(url));
    }
    return flaw == NULL
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "url \"%s\" %s", http_public_url(url, shown), flaw);
}

/* Up to five digits, to the end. */
static bool parse_port(const char *text, int *port)
{
    const size_t digits = strspn(text, "0123456789");
    const long number = strtol(text, NULL, 10);

    *port = (int)number;
    return digits > 0 && text[digits] == '\0' && number <= 65535;
}

bool http_split_address(const char *text, char host[HTTP_HOST_BYTES], int *port)
{
    static const char name_characters[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_";
    static const char ipv6_characters[] = "0123456789abcdefABCDEF:.";
    bool bracketed = text[0] == '[';
    const char *start = bracketed ? text + 1 : text;
    size_t bytes = strspn(start, bracketed ? ipv6_characters : name_characters);
    const char *behind = start + bytes;

    if (bytes == 0 || bytes >= HTTP_HOST_BYTES || (bracketed && *behind++ != ']') ||
        *behind != ':' || !parse_port(behind + 1, port)) {
        return false;
    }
    memcpy(host, start, bytes);
    host[bytes] = '\0';
    return true;
}
