/* Past tasks about the same, end to end: records become rows, rows become vectors by the real
 * workers on a Redis and a Chroma of the test's own, and `stillhouse learn similar` finds them. No
 * record waits for a vector, and what was forgotten has none. */
#include <signal.h>
#include <unistd.h>

#include "config/clients.h"
#include "pages.h"
#include "recorder_fixture.h"

enum { PATIENCE_MS = 30000, POLL_MS = 20 };

static int port; /* of the last worker's endpoint */
static struct test_server chroma;
static struct error err;

static void setup(void)
{
    recorder_setup();
    test_chroma_start(&chroma);
}

static void teardown(void)
{
    test_server_stop(&chroma);
    recorder_teardown();
}

TestSuite(similar, .init = setup, .fini = teardown, .timeout = 120);

/* ---- programs -------------------------------------------------------------------------------- */

/* A worker of these queues, with one more setting. */
static pid_t start_with(const char *queues, const char *name, const char *value)
{
    const char *const flags[] = {"--queues",
                                 queues,
                                 "--learn",
                                 store_path,
                                 "--learn-similar",
                                 "on",
                                 "--redis-url",
                                 redis.url,
                                 "--chroma-url",
                                 chroma.url,
                                 "--chroma-timeout",
                                 "1s",
                                 name,
                                 value,
                                 NULL};

    return spawn_recorder(strchr(queues, ',') == NULL ? queues : "both", flags, &port);
}

static pid_t start(const char *queues)
{
    return start_with(queues, "--log-level", "info");
}

/* What `stillhouse learn ...` prints; its exit code. */
static int learn(char *out, size_t size, const char *const *words)
{
    char program[512];
    const char *argv[24] = {test_program("stillhouse", program),
                            "learn",
                            words[0],
                            "--learn",
                            store_path,
                            "--redis-url",
                            redis.url,
                            "--chroma-url",
                            chroma.url,
                            "--learn-similar",
                            "on"};

    for (size_t i = 1; words[i] != NULL; i++) {
        argv[10 + i] = words[i];
    }
    return test_run(argv, NULL, out, size, NULL, 0);
}

/* The answer to `learn similar --json`. */
static const char *similar_to(const char *what)
{
    static char out[1 << 16];
    const char *const words[] = {"similar", "--domain", "acme.shop", "--task",
                                 what,      "--json",   NULL};

    cr_assert_eq(learn(out, sizeof out, words), 0, "%s", out);
    return out;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

/* A record of a task that is about this, by a job of its own; at_ms 0: of now. */
static void record_at(int64_t at_ms, const char *task_id, const char *about)
{
    static size_t number;
    char id[32];
    const struct record_body part = {.kind = text("routing"),
                                     .task_id = text(task_id),
                                     .at_ms = {at_ms, at_ms > 0},
                                     .user = text("anna"),
                                     .task_type = text("bugfix"),
                                     .model_tier = text("small"),
                                     .task_description = text(about)};

    snprintf(id, sizeof id, "j-%zu", ++number);
    push_record(id, &part);
}

static void record(const char *task_id, const char *about)
{
    record_at(0, task_id, about);
}

/* Books balance, and nothing died. */
static void check_queue(const char *queue)
{
    const struct queue_stats stats = stats_of(queue);

    check_balance(&stats);
    cr_assert_eq(counter_in(&stats, "buried"), 0, "%s", queue);
}

/* How many vectors of the domain's tasks stand in Chroma. */
static int64_t vectors(void)
{
    struct settings settings;
    struct embedder *embedder = NULL;
    int64_t count = 0;

    settings_defaults(&settings);
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", chroma.url);
    OK(clients_open_embedder(&settings, NULL, NULL, &embedder, &err));
    struct chroma *client = clients_open_chroma(&settings, embedder, NULL, NULL);
    const enum status status = chroma_count(client, CHROMA_TASKS "acme.shop", &count, &err);
    cr_assert(status == STATUS_OK || status == STATUS_NOT_FOUND, "%s", err.text);
    chroma_free(client);
    embedder_free(embedder);
    return status == STATUS_OK ? count : 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

Test(similar, a_record_becomes_a_row_and_a_vector_and_is_found_by_what_it_was_about)
{
    char out[8192];
    const pid_t pid = start("record,vector");

    record("t-none", "");
    wait_for("record", "done", 1);
    cr_assert_str_eq(similar_to("the cart is empty after login"), "[]\n", "nothing is there yet");
    record("t-cart", "The shopping cart is empty after a login");
    record("t-mail", "Send the invoice by mail in the customer's language");
    record("t-slow", "The search page is slow with many filters");
    wait_for("vector", "done", 3);
    const char *found = similar_to("cart is empty after login");
    const char *cart = strstr(found, "\"task_id\":\"t-cart\",");
    const char *mail = strstr(found, "\"task_id\":\"t-mail\",");
    cr_assert(cart != NULL && mail != NULL && cart < mail, "nearest first: %s", found);
    cr_assert_not_null(strstr(found, "\"task_type\":\"bugfix\",\"model_tier\":\"small\","));
    cr_assert_not_null(strstr(found, "\"task_description\":\"The shopping cart is empty after a "
                                     "login\"}"));
    cr_assert_null(strstr(found, "t-none"));
    char *of_the_beginning = strdup(found);
    setenv("STILLHOUSE_EMBED_MAX_CHARS", "25", 1);
    found = similar_to("cart is empty after login, and the invoice is in the customer's language");
    cr_assert_str_eq(found, of_the_beginning, "no more of it is embedded");
    unsetenv("STILLHOUSE_EMBED_MAX_CHARS");
    free(of_the_beginning);

    const char *const csv[] = {"similar", "--domain", "acme.shop", "--task", "slow search",
                               "--limit", "1",        "--csv",     NULL};
    cr_assert_eq(learn(out, sizeof out, csv), 0);
    cr_assert_not_null(strstr(out, "\"distance\",\"task_id\","), "%s", out);
    cr_assert_not_null(strstr(out, "\"t-slow\""), "%s", out);
    cr_assert_null(strstr(out, "t-cart"), "one was asked for: %s", out);
    const char *const wrong[] = {"similar", "--domain", "acme.shop", "--task",
                                 "x",       "--limit",  "21",        NULL};
    cr_assert_eq(learn(out, sizeof out, wrong), 2, "%s", out);

    const char *page =
        test_page(port, "/learn/similar?domain=acme.shop&task=cart+is+empty+after%20login&limit=2");
    cr_assert_not_null(strstr(page, "HTTP/1.1 200 "), "%s", page);
    cr_assert_not_null(strstr(page, "\r\n\r\n[{\"distance\":"), "%s", page);
    cr_assert_not_null(strstr(page, ",\"task_id\":\"t-cart\","), "%s", page);
    page = test_page(port, "/learn/similar?domain=acme.shop&task=%20&limit=2");
    cr_assert_not_null(strstr(page, "HTTP/1.1 400 "), "%s", page);
    cr_assert_not_null(strstr(page, "task is blank, expected what it is about"), "%s", page);
    page = test_page(port, "/learn/similar?domain=acme.shop&task=x&limit=0");
    cr_assert_not_null(strstr(page, "limit is 0, expected 1 to 20"), "%s", page);

    record("t-cart", "Rounding of prices with discounts"); /* it was about something else */
    wait_for("vector", "done", 4);
    found = similar_to("rounding of prices");
    cart = strstr(found, "\"task_id\":\"t-cart\",");
    cr_assert_eq(cart, strstr(found, "\"task_id\""), "it is the nearest now: %s", found);
    cr_assert_eq(vectors(), 3);
    check_queue("record");
    check_queue("vector");
    end_recorder(pid, SIGTERM);
}

Test(similar, while_chroma_is_away_records_go_on_and_vectors_follow)
{
    const pid_t pid = start("record,vector");

    record("t-1", "The first of them");
    wait_for("vector", "done", 1);
    test_server_kill(&chroma);
    for (int i = 2; i <= 12; i++) {
        char name[16];
        char about[64];
        snprintf(name, sizeof name, "t-%d", i);
        snprintf(about, sizeof about, "What number %d was about", i);
        record(name, about);
    }
    wait_for("record", "done", 12);
    cr_assert_eq(counter_of("vector", "done"), 1);
    const char *page = test_page(port, "/learn/similar?domain=acme.shop&task=first");
    cr_assert_not_null(strstr(page, "HTTP/1.1 503 "), "%s", page);
    cr_assert_not_null(strstr(test_page(port, "/learn/stats"), "\"executions\":12"));
    test_server_restart(&chroma);
    wait_for("vector", "done", 12);
    cr_assert_eq(vectors(), 12);
    check_queue("record");
    check_queue("vector");
    end_recorder(pid, SIGTERM);
}

Test(similar, what_is_forgotten_has_no_vector_and_a_job_that_comes_late_brings_none)
{
    char out[4096];
    const char *const one[] = {"forget", "--domain", "acme.shop", "--task-id", "t-1", NULL};
    const char *const user[] = {"forget", "--user", "anna", NULL};
    pid_t recorder = start("record");

    record("t-1", "The first secret");
    record("t-2", "Another secret");
    wait_for("record", "done", 2);
    cr_assert_eq(learn(out, sizeof out, one), 0, "%s", out);
    const pid_t vectors_pid = start("vector"); /* the job of t-1 is older than its end */
    wait_for("vector", "done", 3);
    cr_assert_eq(vectors(), 1);
    cr_assert_null(strstr(similar_to("secret"), "t-1"));
    cr_assert_eq(learn(out, sizeof out, user), 0, "%s", out);
    wait_for("vector", "done", 4);
    cr_assert_eq(vectors(), 0);
    cr_assert_str_eq(similar_to("secret"), "[]\n");
    cr_assert_null(strstr(ask("XRANGE", "sh:{vector}:jobs", "-", "+", NULL), "secret"));
    check_queue("vector");
    end_recorder(recorder, SIGTERM);
    end_recorder(vectors_pid, SIGTERM);
}

Test(similar, a_queue_that_nobody_serves_stays_within_its_bound_and_holds_up_no_record)
{
    const pid_t pid = start_with("record", "--max-backlog", "5");

    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "t-%d", i);
        record(name, "What nobody embeds");
    }
    wait_for("record", "done", 20);
    cr_assert_eq(counter_of("vector", "enqueued"), 5);
    check_queue("record");
    check_queue("vector");
    end_recorder(pid, SIGTERM);
}

/* From about a hundred of one vector on Chroma finds others no more. */
Test(similar, of_the_same_description_only_the_newest_few_stay)
{
    enum { TASKS = 40, STAY = 8 };
    const pid_t pid = start("record,vector");

    record("t-other", "Something that is about cheese");
    for (int i = 0; i < TASKS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t-%d", i);
        record(name, "Fix the build");
    }
    wait_for("vector", "done", TASKS + 1);
    cr_assert_leq(vectors(), STAY + 1);
    cr_assert_geq(vectors(), 2);
    cr_assert_not_null(strstr(similar_to("cheese"), "\"task_id\":\"t-other\""));
    check_queue("vector");
    end_recorder(pid, SIGTERM);
}

Test(similar, where_the_store_cannot_be_read_vectors_wait_for_it)
{
    char away[320];
    const pid_t recorder = start("record");
    pid_t reader;

    record("t-1", "What waits for its store");
    wait_for("record", "done", 1);
    end_recorder(recorder, SIGTERM);
    snprintf(away, sizeof away, "%s.away", store_path);
    cr_assert_eq(rename(store_path, away), 0);
    reader = start("vector");
    wait_for("vector", "parked", 1);
    cr_assert_eq(rename(away, store_path), 0);
    wait_for("vector", "done", 1);
    cr_assert_eq(vectors(), 1);
    check_queue("vector");
    end_recorder(reader, SIGTERM);
}

/* Lanes run the jobs of one task in any order and at once: the last word is the row's. */
Test(similar, however_often_a_description_changes_its_vector_is_that_of_the_row)
{
    const pid_t pid = start("record,vector");

    for (int i = 0; i < 60; i++) {
        record("t-1", i % 2 == 0 ? "Potatoes are boiled for soup" : "Trains are late in winter");
    }
    wait_for("vector", "done", 60);
    const char *found = similar_to("Trains are late in winter");
    const bool is_trains = strstr(found, "\"task_description\":\"Trains are") != NULL;
    double distance = -1;
    cr_assert_eq(sscanf(found, "[{\"distance\":%lf", &distance), 1, "%s", found);
    cr_assert(is_trains ? distance < 0.01 : distance > 0.5, "the row says: %s", found);
    cr_assert_eq(vectors(), 1);
    check_queue("vector");
    end_recorder(pid, SIGTERM);
}

Test(similar, a_vector_expires_with_its_row)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    const int64_t long_ago_ms = clock_unix_ms() - INT64_C(200) * 24 * 60 * 60 * 1000;
    const pid_t pid = start_with("record,vector", "--sweep", "1s");

    record("t-new", "What stays for a while");
    record_at(long_ago_ms, "t-old", "What is older than ninety days");
    wait_for("vector", "done", 2);
    while (vectors() > 1) {
        cr_assert(clock_now_ms() < until_ms, "%lld stay", (long long)vectors());
        clock_sleep_ms(POLL_MS);
    }
    cr_assert_not_null(strstr(similar_to("what stays"), "t-new"));
    end_recorder(pid, SIGTERM);
}

Test(similar, what_goes_for_the_stores_size_takes_its_vector_along)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    const struct record_body pool = {.kind = text("pool_start"), .pool_id = text("p-1")};
    pid_t pid = start("record,vector");

    record("t-1", "What the store has room for");
    record("t-2", "What it has room for, too");
    push_record("p-1", &pool);
    wait_for("vector", "done", 2);
    wait_for("record", "done", 3);
    cr_assert_eq(vectors(), 2);
    end_recorder(pid, SIGTERM);
    pid = start_with("record,vector", "--learn-max", "1");
    wait_for("vector", "done", 4);
    wait_for_page(port, "/metrics", "stillhouse_learn_expired_rows_total{what=\"pool\"} 1");
    wait_for_page(port, "/metrics", "stillhouse_learn_expired_rows_total{what=\"execution\"} 2");
    while (vectors() > 0) {
        cr_assert(clock_now_ms() < until_ms, "%lld stay", (long long)vectors());
        clock_sleep_ms(POLL_MS);
    }
    check_queue("vector");
    end_recorder(pid, SIGTERM);
}

Test(similar, what_was_recorded_before_is_embedded_when_it_is_asked_for)
{
    enum { TASKS = 250 };
    char out[4096];
    const char *const one[] = {"embed", "--domain", "acme.shop", "--max-backlog", "40", NULL};
    const char *const none[] = {"embed", "--domain", "nobody", NULL};
    const char *const all[] = {"embed", NULL};
    pid_t pid = start_with("record", "--learn-similar", "off");

    for (int i = 0; i < TASKS; i++) {
        char name[16];
        char about[64];
        snprintf(name, sizeof name, "t-%d", i);
        snprintf(about, sizeof about, "What number %d was about", i);
        record(name, about);
    }
    record("t-none", "");
    wait_for("record", "done", TASKS + 1);
    end_recorder(pid, SIGTERM);
    cr_assert_eq(counter_of("vector", "enqueued"), 0);
    pid = start("vector");
    cr_assert_eq(learn(out, sizeof out, none), 0, "%s", out);
    cr_assert_str_eq(out, "0 enqueued\n");
    cr_assert_eq(learn(out, sizeof out, one), 0, "%s", out);
    cr_assert_str_eq(out, "250 enqueued\n");
    wait_for("vector", "done", TASKS);
    cr_assert_eq(vectors(), TASKS);
    cr_assert_eq(learn(out, sizeof out, all), 0, "%s", out);
    cr_assert_str_eq(out, "250 enqueued\n");
    wait_for("vector", "done", 2 * TASKS);
    cr_assert_eq(vectors(), TASKS);
    check_queue("vector");
    end_recorder(pid, SIGTERM);
}

Test(similar, on_a_server_it_is_as_in_a_file)
{
    char out[4096];
    const char *const user[] = {"forget", "--user", "anna", NULL};
    const char *const embed[] = {"embed", NULL};
    struct test_postgres server;

    if (!test_postgres_start(&server, false)) {
        cr_skip_test("no PostgreSQL is installed");
    }
    test_postgres_database(&server, "tasks", store_path);
    const pid_t pid = start("record,vector");
    record("t-cart", "The shopping cart is empty after a login");
    record("t-mail", "Send the invoice by mail");
    wait_for("vector", "done", 2);
    const char *found = similar_to("cart is empty after login");
    cr_assert_eq(strstr(found, "\"task_id\":\"t-cart\","), strstr(found, "\"task_id\""), "%s",
                 found);
    cr_assert_not_null(strstr(found, "t-mail"), "%s", found);
    const char *page = test_page(port, "/learn/similar?domain=acme.shop&task=invoice&limit=1");
    cr_assert_not_null(strstr(page, ",\"task_id\":\"t-mail\","), "%s", page);
    cr_assert_eq(learn(out, sizeof out, embed), 0, "%s", out);
    cr_assert_str_eq(out, "2 enqueued\n");
    cr_assert_eq(learn(out, sizeof out, user), 0, "%s", out);
    wait_for("vector", "done", 6);
    cr_assert_eq(vectors(), 0);
    end_recorder(pid, SIGTERM);
    test_postgres_stop(&server);
}
