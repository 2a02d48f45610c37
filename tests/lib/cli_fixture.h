/* cli_fixture.h - the built program against a redis-server of the test's own.
 *
 *     TestSuite(cli, .init = start_redis, .fini = redis_teardown);
 *
 *     RUN(0, "ping", "--json");
 *     PRINTS("\"ok\"");
 */
#ifndef STILLHOUSE_TESTS_CLI_FIXTURE_H
#define STILLHOUSE_TESTS_CLI_FIXTURE_H

#include <cjson/cJSON.h>

#include "redis_fixture.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* What the program printed last. */
extern char out[1 << 18];
extern char err_out[1 << 16];

/* redis_setup, and $STILLHOUSE_REDIS_URL. */
void start_redis(void);

/* One command that must succeed: its reply, or nothing. */
#define COMMAND(...) good_reply(__VA_ARGS__, NULL)
#define DO(...) redis_reply_free(COMMAND(__VA_ARGS__))

/* ---- the program --------------------------------------------------------------------------- */

/* Runs `stillhouse words...` (up to NULL) with `input`; fills out and err_out; its exit code. */
int run_with(const char *input, const char *const *words);

/* The exit code must be `code`. */
#define RUN_WITH(code, input, ...)                                                                 \
    do {                                                                                           \
        const int ran = run_with(input, WORDS(__VA_ARGS__));                                       \
        cr_assert_eq(ran, code, "exit code %d, expected %d\n%s\n%s", ran, code, out, err_out);     \
    } while (0)
#define RUN(code, ...) RUN_WITH(code, NULL, __VA_ARGS__)

#define SAYS(text) cr_assert(strstr(err_out, text) != NULL, "\"%s\" lacks \"%s\"", err_out, text)
#define PRINTS(text) cr_assert(strstr(out, text) != NULL, "\"%s\" lacks \"%s\"", out, text)

/* Standard output must be exactly one JSON document. cJSON_Delete. */
cJSON *document(void);
/* A number at a path of names, "queues.enrich.waiting". */
double number_at(const cJSON *from, const char *path);
const char *text_at(const cJSON *from, const char *name);
/* The number at a path in `stats --json`. */
double stat_of(const char *path);

/* ---- a worker that knows one answer -------------------------------------------------------- */

/* Takes every job of a queue and answers with `reply`, or with its own body where that is NULL,
 * until it is stopped or the test ends. */
pid_t start_answering(const char *name, const char *reply, size_t reply_bytes);
void stop_answering(pid_t pid);

#endif
