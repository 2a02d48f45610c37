/* pages.h - a page of a worker's endpoint.
 *
 *     cr_assert_not_null(strstr(test_page(port, "/readyz"), "\"status\":\"ok\""));
 */
#ifndef STILLHOUSE_TESTS_PAGES_H
#define STILLHOUSE_TESTS_PAGES_H

/* The whole answer to GET `target` from 127.0.0.1, head and body, of up to 64 KiB; "" while nobody
 * listens there. Good until the next call. */
const char *test_page(int port, const char *target);

#endif
