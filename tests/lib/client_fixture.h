/* client_fixture.h - what the tests of the producer library share: queue_fixture.h's Redis, a
 * client on it, and a worker's results to find there.
 *
 *     TestSuite(client, .init = client_setup, .fini = client_teardown);
 */
#ifndef STILLHOUSE_TESTS_CLIENT_FIXTURE_H
#define STILLHOUSE_TESTS_CLIENT_FIXTURE_H

#include "jobs/bodies.h"
#include "queue/keys.h"
#include "queue_fixture.h"
#include "stillhouse.h"

#define BASE "the base prompt"
#define SIZED .size = sizeof(stillhouse_options)

extern stillhouse_client *client;

/* queue_setup, and `client` opened. */
void client_setup(void);
void client_teardown(void);

/* Bounds that a busy machine keeps, where the test is not about them. */
stillhouse_options patient(const char *url);
/* A client that must open; stillhouse_close. */
stillhouse_client *open_client(const stillhouse_options *options);

/* The call on `client` ends with this status. */
#define IS(call, expected)                                                                         \
    do {                                                                                           \
        const stillhouse_status is_ = (call);                                                      \
        cr_assert_eq(is_, (expected), "%s: %d: %s", #call, (int)is_, stillhouse_error(client));    \
    } while (0)

/* The client's last error has `part` in it. */
void says(const char *part);

/* ---- what a worker writes ------------------------------------------------------------------ */

struct written {
    const char *query;
    int k;           /* 0 = 3 */
    size_t examples; /* at most 2 */
    bool tasks;      /* they are past tasks: "q1", "a1"; "q2", "a2" */
    int64_t epoch;
    int64_t age_ms;
    const char *error;
};

/* Its bytes, in place of what is in `out`. */
void encode_written(const struct written *written, struct strbuf *out);
/* The key of a query's result in "legal"; until the next call. */
const char *cache_key(const char *query);
/* SET on the Redis of `to`. */
void set_bytes(struct redis_conn *to, const char *key, const void *data, size_t bytes);
/* Puts a result where the contract says, on the Redis of `to`. */
void write_result_to(struct redis_conn *to, const struct written *written);
/* The same on `conn`: WRITE_RESULT(.query = "q", .examples = 2). */
#define WRITE_RESULT(...) write_result_to(conn, &(const struct written){__VA_ARGS__})

#endif
