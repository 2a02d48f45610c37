/* Questions to the learning store over HTTP: the same rows as from the shell, whatever is asked,
 * and nobody waits for one but who asked it. */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "folder.h"
#include "learn/questions.h"
#include "learn/store.h"
#include "ok.h"
#include "postgres.h"
#include "process/health.h"
#include "programs.h"
#include "recorder/answers.h"

enum { ANSWER_BYTES = 8 << 20, PATIENCE_MS = 20000 };

static char folder[200];
static char path[240]; /* of the store */
static char answer[ANSWER_BYTES];
static struct error err;
static struct settings settings;
static struct metrics *metrics;
static struct upstreams *upstreams;
static struct health *health;

/* ---- the store, and the endpoint over it ------------------------------------------------------
 */

static bool yes(void *context)
{
    (void)context;
    return true;
}

static void start_health(const char *learn)
{
    snprintf(settings.learn, sizeof settings.learn, "%s", learn == NULL ? "" : learn);
    const struct health_config config = {.bind = "127.0.0.1:0",
                                         .metrics = metrics,
                                         .upstreams = upstreams,
                                         .alive = yes,
                                         .redis_ready = yes,
                                         .learn = learn == NULL ? NULL : &settings};
    OK(health_start(&config, &health, &err));
}

/* Executions t-0, t-1 ... as of now, half of them a success, each with so long a description. */
static void fill(int count, size_t description_bytes)
{
    struct store *store = NULL;
    size_t left = 1;
    char *text = malloc(description_bytes + 1);

    memset(text, 'x', description_bytes);
    OK(store_open(path, STORE_WRITE, &store, &err));
    for (int i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "t-%d", i);
        struct part part = {
            .domain = slice_of("acme.shop"), .job_id = slice_of(name), .at_ms = clock_unix_ms()};
        part.body.kind = slice_of("execution");
        part.body.task_id = slice_of(name);
        part.body.task_type = slice_of(i % 3 == 0 ? "50% + off/\xc3\xbc" : "bugfix");
        part.body.model_tier = slice_of(i % 2 == 0 ? "small" : "large");
        part.body.pool_type = slice_of("warm");
        part.body.arm = slice_of("enriched");
        part.body.task_description = (struct slice){text, description_bytes};
        part.body.success = (struct maybe_truth){i % 4 < 2, true};
        part.body.actual_cost = (struct maybe_number){0.25, true};
        OK(store_put(store, &part, 1, &err));
    }
    while (left > 0) {
        OK(store_refresh(store, clock_unix_ms(), 100, &left, &err));
    }
    store_close(store);
    free(text);
}

static void setup(void)
{
    test_folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/learn.db", folder);
    settings_defaults(&settings);
    metrics = metrics_new();
    upstreams = upstreams_new(&settings, metrics);
    signal(SIGPIPE, SIG_IGN);
}

static void teardown(void)
{
    health_stop(health);
    upstreams_free(upstreams);
    metrics_free(metrics);
    test_folder_remove(folder);
}

TestSuite(answers, .init = setup, .fini = teardown, .timeout = 60);

/* ---- who asks ---------------------------------------------------------------------------------
 */

static int ask(const char *target)
{
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)health_port(health)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target);
    return fd;
}

/* The code; the whole answer is in `answer`. */
static int read_answer(int fd)
{
    size_t bytes = 0;
    int code = 0;

    for (ssize_t got = 1; got > 0; bytes += (size_t)got) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        cr_assert_eq(poll(&waiting, 1, PATIENCE_MS), 1, "no answer in time");
        got = read(fd, answer + bytes, sizeof answer - 1 - bytes);
        cr_assert_geq(got, 0);
    }
    answer[bytes] = '\0';
    close(fd);
    cr_assert_eq(sscanf(answer, "HTTP/1.1 %d", &code), 1, "%.300s", answer);
    return code;
}

static int get(const char *target)
{
    return read_answer(ask(target));
}

static const char *body(void)
{
    return strstr(answer, "\r\n\r\n") + 4;
}

#define ANSWERS(code, target, text)                                                                \
    do {                                                                                           \
        const int said = get(target);                                                              \
        cr_assert_eq(said, code, "%s: %.500s", target, answer);                                    \
        cr_assert(strstr(body(), text) != NULL, "%s: %.500s lacks %s", target, body(), text);      \
    } while (0)

/* Takes the file for itself until the answers to all that wait are in: a reader gets none of it. */
static struct database *lock_file(void)
{
    struct database *writer = NULL;

    OK(database_open(path, DATABASE_WRITE, &writer, &err));
    OK(database_run(writer,
                    "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE;"
                    "UPDATE counts SET executions = executions; COMMIT; BEGIN EXCLUSIVE",
                    &err));
    return writer;
}

/* ---- what is answered -------------------------------------------------------------------------
 */

Test(answers, each_question_is_answered_as_the_shell_answers_it)
{
    static const struct {
        const char *name, *query, *flags[7];
    } asked[] = {
        {"tiers", "domain=acme.shop&days=7", {"--domain", "acme.shop", "--days", "7"}},
        {"types", "domain=acme.shop", {"--domain", "acme.shop"}},
        {"pools", "hours=24&domain=acme.shop", {"--domain", "acme.shop", "--hours", "24"}},
        {"solutions", "domain=acme.shop&uses=1", {"--domain", "acme.shop", "--uses", "1"}},
        {"trend",
         "domain=acme.shop&task-type=bugfix",
         {"--domain", "acme.shop", "--task-type", "bugfix"}},
        {"route",
         "domain=acme%2eshop&task-type=50%25+%2B%20off%2F%C3%BC",
         {"--domain", "acme.shop", "--task-type", "50% + off/\xc3\xbc"}},
        {"lift", "domain=acme.shop", {"--domain", "acme.shop"}},
        {"latest", "domain=acme.shop&limit=3", {"--domain", "acme.shop", "--limit", "3"}},
        {"errors", "domain=acme.shop&last=30", {"--domain", "acme.shop", "--last", "30"}},
        {"task", "domain=acme.shop&task-id=t-3", {"--domain", "acme.shop", "--task-id", "t-3"}},
        {"feedback", "domain=acme.shop&task-id=t-3", {"--domain", "acme.shop", "--task-id", "t-3"}},
        {"policy", "domain=acme.shop", {"--domain", "acme.shop"}},
        {"stats", "", {NULL}},
        {"domains", "limit=5", {"--limit", "5"}},
    };
    static char printed[1 << 18];
    char program[512];
    char target[300];

    fill(30, 40);
    start_health(path);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        const char *argv[16] = {
            test_program("stillhouse", program), "learn", asked[i].name, "--json", "--learn", path};
        for (size_t k = 0; asked[i].flags[k] != NULL; k++) {
            argv[6 + k] = asked[i].flags[k];
        }
        cr_assert_eq(test_run(argv, NULL, printed, sizeof printed, NULL, 0), 0, "%s",
                     asked[i].name);
        snprintf(target, sizeof target, "/learn/%s?%s", asked[i].name, asked[i].query);
        cr_assert_eq(get(target), 200, "%s: %.500s", target, answer);
        cr_assert_str_eq(body(), printed, "%s", target);
        cr_assert_not_null(strstr(answer, "Content-Type: application/json\r\n"));
        cr_assert_not_null(strstr(answer, "Cache-Control: no-store\r\n"));
    }
    ANSWERS(200, "/learn/export?since-ms=1", "\"task_id\":\"t-29\"");
    ANSWERS(200, "/learn/tiers?domain=nobody", "[]");
}

Test(answers, what_is_asked_wrongly_is_named_with_what_was_expected)
{
    static char long_query[20000] = "/learn/tiers?domain=a&task-type=";

    fill(1, 40);
    start_health(path);
    ANSWERS(404, "/learn/tierz?domain=a", "no question \"tierz\", expected one of tiers, types,");
    ANSWERS(404, "/learn/similar?domain=a&task=x", "a recorder with STILLHOUSE_LEARN_SIMILAR=on");
    ANSWERS(404, "/learn/", "no question \"\", expected one of tiers,");
    ANSWERS(404, "/learn/tiers/", "no question \"tiers/\"");
    ANSWERS(404, "/learn/..%2f..%2fetc%2fpasswd", "no question \"../../etc/passwd\"");
    ANSWERS(404, "/learning", "there are /healthz, /readyz and /metrics, and /learn/QUESTION");
    ANSWERS(400, "/learn/tiers", "tiers: domain is missing");
    ANSWERS(400, "/learn/tiers?domain=", "domain is empty, expected text");
    ANSWERS(400, "/learn/tiers?domain", "domain is empty, expected text");
    ANSWERS(400, "/learn/tiers?domain=a&domain=b", "domain is given twice, expected one value");
    ANSWERS(400, "/learn/tiers?domain=a&dayz=3",
            "parameter \"dayz\" of tiers, expected one of domain, task-type, days");
    ANSWERS(400, "/learn/stats?domain=a", "parameter \"domain\" of stats, expected none");
    ANSWERS(400, "/learn/tiers?domain=a&days=-1",
            "days is \"-1\", expected a whole number of at most 15 digits");
    ANSWERS(400, "/learn/tiers?domain=a&days=", "days is empty, expected a whole number");
    ANSWERS(400, "/learn/tiers?domain=a&days=1e3", "days is \"1e3\", expected a whole number");
    ANSWERS(400, "/learn/tiers?domain=a&days=9999999999999999", "expected a whole number");
    ANSWERS(400, "/learn/tiers?domain=acme%00.shop", "domain is \"acme?.shop\", expected UTF-8");
    ANSWERS(400, "/learn/tiers?domain=%ff%fe", "domain is \"??\", expected UTF-8 without NUL");
    ANSWERS(400, "/learn/tiers?&=&a%00=1&&%", "expected one of domain");
    ANSWERS(400, "/learn/tiers?domain=%zz%", "domain is \"%zz%\", expected 1 to 63 of a-z0-9._-");
    ANSWERS(200, "/learn/tiers?domain=a&task-type=%zz%", "[]");
    ANSWERS(200, "/learn/tiers?domain=a&task-type=a'%20OR%201=1;--", "[]");
    ANSWERS(200, "/learn/tiers?domain=a&days=999999999999999", "[]");
    for (size_t i = strlen(long_query); i < 7000; i++) {
        long_query[i] = 'd';
    }
    ANSWERS(200, long_query, "[]");
    memset(long_query + 7000, 'd', sizeof long_query - 7001);
    close(ask(long_query)); /* the server need not read it all before it closes */
    cr_assert_eq(get("/healthz"), 200);
}

Test(answers, there_is_none_where_there_is_no_store)
{
    start_health(NULL);
    ANSWERS(404, "/learn/tiers?domain=a", "expected one that serves the queue record");
    ANSWERS(200, "/", "/metrics");
    cr_assert_null(strstr(body(), "/learn"));
}

Test(answers, a_store_that_is_away_is_said_and_one_that_comes_back_is_read)
{
    char away[300];

    start_health(path);
    ANSWERS(503, "/learn/stats", "does not exist");
    fill(2, 40);
    ANSWERS(200, "/learn/stats", "\"executions\":2");
    ANSWERS(200, "/", "/learn/tiers\n");
    snprintf(away, sizeof away, "%s.away", path);
    cr_assert_eq(rename(path, away), 0);
    ANSWERS(503, "/learn/stats", "does not exist");
    fill(3, 40);
    ANSWERS(200, "/learn/stats", "\"executions\":3");
    cr_assert_eq(truncate(path, 0), 0);
    cr_assert_eq(get("/learn/stats"), 503, "%.500s", answer);
}

Test(answers, a_connection_that_the_server_ended_meanwhile_is_no_answer)
{
    struct test_postgres server;
    char where[TEST_POSTGRES_URL];
    struct store *store = NULL;

    if (!test_postgres_start(&server, false)) {
        cr_skip_test("no PostgreSQL is installed");
    }
    test_postgres_database(&server, "learn", where);
    OK(store_open(where, STORE_WRITE, &store, &err));
    store_close(store);
    start_health(where);
    ANSWERS(200, "/learn/stats", "\"executions\":0");
    test_postgres_ask(&server, "learn",
                      "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                      " WHERE application_name = 'stillhouse'",
                      NULL, 0);
    ANSWERS(200, "/learn/stats", "\"executions\":0");
    test_postgres_stop(&server);
}

Test(answers, one_that_would_be_too_long_is_refused_whole)
{
    fill(80, 60000);
    start_health(path);
    ANSWERS(400, "/learn/export", "export: the answer is longer than 4194304 bytes");
    cr_assert_null(strstr(body(), "t-0"));
    ANSWERS(200, "/learn/task?domain=acme.shop&task-id=t-7", "\"task_id\":\"t-7\"");
}

/* ---- nobody waits but who asked ---------------------------------------------------------------
 */

Test(answers, a_question_that_takes_long_keeps_no_other_page_waiting)
{
    enum { ASKED = ANSWERS_LINE + 8 };
    int waiting[ASKED];
    int at_once = 0;

    fill(3, 40);
    start_health(path);
    struct database *writer = lock_file();
    for (size_t i = 0; i < ASKED; i++) {
        waiting[i] = ask("/learn/stats");
    }
    const int64_t from_ms = clock_now_ms();
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(get("/healthz"), 200);
        cr_assert_eq(get("/readyz"), 200);
        cr_assert_eq(get("/metrics"), 200);
    }
    cr_assert_lt(clock_now_ms() - from_ms, ANSWERS_LIMIT_MS, "they waited for the questions");
    for (size_t i = 0; i < ASKED; i++) {
        cr_assert_eq(read_answer(waiting[i]), 503);
        at_once += strstr(body(), "too many questions wait") != NULL;
    }
    cr_assert_geq(at_once, 7, "%d: the line has an end", at_once);
    cr_assert_lt(clock_now_ms() - from_ms, 4 * ANSWERS_LIMIT_MS, "each waited for the others");
    database_close(writer);
    ANSWERS(200, "/learn/stats", "\"executions\":3");
}

Test(answers, an_endpoint_that_ends_owes_nobody_an_answer)
{
    int waiting[12];

    fill(3, 40);
    start_health(path);
    struct database *writer = lock_file();
    for (size_t i = 0; i < 12; i++) {
        waiting[i] = ask("/learn/stats");
    }
    while (get("/learn/stats") != 503) { /* the first are in line, this one is behind them */
    }
    for (size_t i = 0; i < 6; i++) {
        close(waiting[i]); /* some do not wait for it */
    }
    health_stop(health);
    health = NULL;
    for (size_t i = 6; i < 12; i++) {
        cr_assert_eq(read_answer(waiting[i]), 503);
    }
    database_close(writer);
}

Test(answers, a_statement_ends_when_its_time_is_over_and_the_next_has_its_own)
{
    static const char endless[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                                  " SELECT count(*) FROM n";
    struct database *database = NULL;
    struct value found;

    fill(1, 40);
    OK(database_open(path, DATABASE_READ, &database, &err));
    OK(database_limit(database, 50, &err));
    for (int i = 0; i < 2; i++) {
        const int64_t from_ms = clock_now_ms();
        cr_assert_eq(database_find(database, endless, NULL, 0, &found, &err), STATUS_TIMEOUT);
        cr_assert_geq(clock_now_ms() - from_ms, 50);
        clock_sleep_ms(60);
        OK(database_find(database, "SELECT executions FROM counts", NULL, 0, &found, &err));
        cr_assert_eq(found.integer, 1);
        OK(database_run(database, "PRAGMA optimize", &err));
    }
    database_close(database);
}
