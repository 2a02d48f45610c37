/* http/address.h - what a URL or an address is, before anybody connects. Pure, any thread.
 *
 * By hand, since libcurl is loaded by the first request only (http/curl.h) and every program reads
 * settings.
 */
#ifndef STILLHOUSE_HTTP_ADDRESS_H
#define STILLHOUSE_HTTP_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { HTTP_URL_TEXT_BYTES = 200, HTTP_HOST_BYTES = 128 };

/* http(s)://host[:port][/path], no user info, no query: STATUS_INVALID names the URL and what is
 * wrong. */
enum status http_check_url(const char *url, struct error *err) MUSTCHECK;

/* `url` as it may stand in a log: without user info, query and fragment, control characters as '?',
 * cut to fit. Returns `out`. */
const char *http_public_url(const char *url, char out[HTTP_URL_TEXT_BYTES]);

/* True when the host of `url` is localhost, 127.x.y.z or [::1]. */
bool http_is_loopback(const char *url);

/* Splits "HOST:PORT" or "[::1]:PORT" (port 0..65535), as in STILLHOUSE_HTTP; `host` comes out
 * without brackets. False when it is neither. */
bool http_split_address(const char *text, char host[HTTP_HOST_BYTES], int *port) MUSTCHECK;

#endif
