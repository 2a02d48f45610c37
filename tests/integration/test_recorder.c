/* A recorder, the real program on a Redis and a file of the test's own: what it keeps through
 * deaths, second recorders, files that are not its own, and what it tells. */
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "learn/owner.h"
#include "pages.h"
#include "queue/enqueue.h"
#include "recorder_fixture.h"

enum { PATIENCE_MS = RECORDER_PATIENCE_MS, POLL_MS = RECORDER_POLL_MS };

static struct error err;

static int exit_code_of(const char *const *extra, char *said, size_t size)
{
    char program[512];
    const char *argv[16] = {test_program("stillhouse-worker", program),
                            "--redis-url",
                            redis.url,
                            "--http",
                            "off",
                            "--queues",
                            "record"};

    for (size_t i = 0; extra[i] != NULL; i++) {
        argv[7 + i] = extra[i];
    }
    return test_run(argv, NULL, NULL, 0, said, size);
}

TestSuite(recorder, .init = recorder_setup, .fini = recorder_teardown, .timeout = 120);

/* ---- what is kept ---------------------------------------------------------------------------- */

Test(recorder, parts_in_any_order_and_twice_make_one_row_a_task_through_deaths)
{
    enum { TASKS = 150, PARTS = 3 * TASKS * 2 };
    size_t order[PARTS];
    uint64_t random = 42;
    int port = 0;

    for (size_t i = 0; i < PARTS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const size_t j = (size_t)(random >> 33) % (i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    pid_t pid = start_recorder("one", store_path, &port);
    for (size_t i = 0; i < PARTS; i++) {
        push_part(order[i] / 6, order[i] % 3, order[i] % 6 / 3);
        if (i % 200 == 150) {
            end_recorder(pid, SIGKILL);
            pid = start_recorder("one", store_path, &port);
        }
    }
    wait_for("record", "done", PARTS);
    wait_for_page(port, "/metrics", "stillhouse_learn_dirty_groups 0");
    end_recorder(pid, SIGTERM);
    const struct store_state state = state_of(store_path);
    cr_assert_eq(state.executions, TASKS);
    cr_assert_eq(state.incomplete, 0);
    cr_assert_eq(state.dirty_groups, 0);
    cr_assert_eq(counter_of("record", "buried"), 0);
}

/* ---- what is refused ------------------------------------------------------------------------- */

Test(recorder, a_clock_a_year_off_is_a_dead_letter_that_names_field_value_and_expectation)
{
    const int64_t year_ms = INT64_C(365) * 24 * 60 * 60 * 1000;
    char expected[64];
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);
    const struct record_body part = {.kind = text("routing"),
                                     .task_id = text("t-1"),
                                     .at_ms = {clock_unix_ms() + year_ms, true}};

    push_record("late", &part);
    push_part(2, 0, 0);
    wait_for("record", "done", 1);
    wait_for("record", "buried", 1);
    redisReply *dead = good_reply("XRANGE", "sh:{record}:dead", "-", "+", NULL);
    char letter[2048] = "";
    flatten(dead, letter, sizeof letter);
    redis_reply_free(dead);
    snprintf(expected, sizeof expected, "field \"at_ms\" is %lld", (long long)part.at_ms.value);
    cr_assert_not_null(strstr(letter, expected), "%s", letter);
    cr_assert_not_null(strstr(letter, "expected at most a day after now"), "%s", letter);
    end_recorder(pid, SIGTERM);
}

static struct record_body outcome_of(const char *task_id)
{
    return (struct record_body){.kind = text("outcome"), .task_id = text(task_id)};
}

Test(recorder, what_no_field_can_hold_is_a_dead_letter_and_never_half_a_row)
{
    enum { BAD = 8 };
    static char description[65537];
    static const char *const said[BAD] = {
        "field \"user_rating\": expected an integer from 1 to 5, found 6",
        "field \"quality_score\": expected a number from 0 to 100, found -1",
        "field \"actual_cost\": expected a number from 0 to 1000000000, found ",
        "field \"cost_estimate\": expected a number from 0 to 1000000000, found ",
        "field \"model\"",
        "field \"error_message\"",
        "field \"task_description\": expected at most 65536 bytes, found 65537",
        "field \"kind\": expected one of routing",
    };
    struct record_body parts[BAD];
    struct record_body good = outcome_of("'; DROP TABLE executions; -- $(reboot)");
    char letters[16384] = "";
    int port = 0;

    for (size_t i = 0; i < BAD; i++) {
        parts[i] = outcome_of("t-1");
    }
    memset(description, 'x', sizeof description);
    parts[0].kind = text("feedback");
    parts[0].user_rating = (struct maybe_integer){6, true};
    parts[1].quality_score = (struct maybe_number){-1, true};
    parts[2].actual_cost = (struct maybe_number){NAN, true};
    parts[3].kind = parts[6].kind = text("routing");
    parts[3].cost_estimate = (struct maybe_number){INFINITY, true};
    parts[4].model = (struct slice){"a\0b", 3};
    parts[5].error_message = text("\xff\xfe");
    parts[6].task_description = (struct slice){description, sizeof description};
    parts[7].kind = text("refund");
    good.error_message = text("\"quoted\", `ticked` and \\ slashed; rm -rf / %s");
    const pid_t pid = start_recorder("one", store_path, &port);
    for (size_t i = 0; i < BAD; i++) {
        char id[16];
        snprintf(id, sizeof id, "bad-%zu", i);
        push_record(id, &parts[i]);
    }
    push_record("good", &good);
    push_record("good", &good);
    wait_for("record", "done", 1);
    wait_for("record", "buried", BAD);
    redisReply *dead = good_reply("XRANGE", "sh:{record}:dead", "-", "+", NULL);
    for (size_t i = 0; i < dead->elements; i++) { /* their bodies are long */
        redisReply *fields = dead->element[i]->element[1];
        for (size_t k = 0; k + 1 < fields->elements; k += 2) {
            if (strcmp(fields->element[k]->str, "error") == 0) {
                flatten(fields->element[k + 1], letters, sizeof letters);
            }
        }
    }
    redis_reply_free(dead);
    for (size_t i = 0; i < BAD; i++) {
        cr_assert_not_null(strstr(letters, said[i]), "%s is not in %s", said[i], letters);
    }
    end_recorder(pid, SIGTERM);
    cr_assert_eq(state_of(store_path).executions, 1);
}

Test(recorder, a_worker_without_a_store_or_with_a_file_that_is_none_does_not_start)
{
    const char *const none[] = {NULL};
    const char *const other[] = {"--learn", store_path, NULL};
    char said[1024] = "";

    cr_assert_eq(exit_code_of(none, said, sizeof said), 2);
    cr_assert_not_null(strstr(said, "needs a learning store: set learn"), "%s", said);
    FILE *file = fopen(store_path, "w");
    for (int i = 0; i < 100; i++) {
        fputs("this is somebody's diary and no database\n", file);
    }
    fclose(file);
    cr_assert_eq(exit_code_of(other, said, sizeof said), 2, "%s", said);
    cr_assert_not_null(strstr(said, store_path), "%s", said);
}

/* The recorder deletes in its first round, behind what it counts. And the days that a question
 * looks back count from the store's own time, whoever asks. */
Test(recorder, a_redis_whose_clock_is_a_year_ahead_deletes_nothing_and_changes_no_answer)
{
    const int64_t clock[2] = {INT64_C(365) * 24 * 60 * 60 * 1000, 0};
    const struct record_body part = {
        .kind = text("execution"), .task_id = text("t-1"), .at_ms = {clock_unix_ms(), true}};
    char program[512];
    const char *argv[] = {test_program("stillhouse", program),
                          "learn",
                          "tiers",
                          "--domain",
                          "acme.shop",
                          "--learn",
                          store_path,
                          "--json",
                          NULL};
    char said[1024];
    char folder[300];
    char name[400];
    char shim[512];
    int port = 0;

    test_folder_make(folder, sizeof folder);
    snprintf(name, sizeof name, "%s/clock", folder);
    FILE *file = fopen(name, "wb");
    cr_assert_eq(fwrite(clock, sizeof clock, 1, file), 1);
    fclose(file);
    recorder_teardown();
    setenv("CLOCK_FILE", name, 1);
    setenv("LD_PRELOAD", test_program("../tests/clock_shim.so", shim), 1);
    recorder_setup();
    unsetenv("LD_PRELOAD");
    int64_t now_unix_ms = 0;
    OK(redis_conn_time(conn, &now_unix_ms, &err));
    cr_assert_gt(now_unix_ms, clock_unix_ms() + clock[0] / 2);

    pid_t pid = start_recorder("one", store_path, &port);
    push_record("of-now", &part);
    wait_for("record", "done", 1);
    end_recorder(pid, SIGTERM);
    pid = start_recorder("two", store_path, &port);
    wait_for_page(port, "/metrics", "stillhouse_learn_executions 1");
    wait_for_page(port, "/learn/tiers?domain=acme.shop", "\"executions\":1");
    cr_assert_eq(test_run(argv, NULL, said, sizeof said, NULL, 0), 0, "%s", said);
    cr_assert_not_null(strstr(test_page(port, "/learn/tiers?domain=acme.shop"), said), "%s", said);
    cr_assert_not_null(strstr(ask("GET", "sh:learn:{acme.shop}", NULL), "\"executions\":1"));
    end_recorder(pid, SIGTERM);
    cr_assert_eq(state_of(store_path).executions, 1);
    test_folder_remove(folder);
}

/* ---- whose store it is ----------------------------------------------------------------------- */

Test(recorder, a_second_one_on_the_same_file_waits_until_the_first_is_gone)
{
    int first_port = 0;
    int second_port = 0;
    const pid_t first = start_recorder("first", store_path, &first_port);

    wait_for_page(first_port, "/readyz", "\"state\":\"open\"");
    const pid_t second = start_recorder("second", store_path, &second_port);
    wait_for_page(second_port, "/readyz", "is being written by process");
    wait_for_page(second_port, "/readyz", "\"status\":\"degraded\"");
    end_recorder(first, SIGKILL);
    wait_for_page(second_port, "/readyz", "\"state\":\"open\"");
    push_part(1, 0, 0);
    wait_for("record", "done", 1);
    end_recorder(second, SIGTERM);
}

Test(recorder, another_history_is_not_begun_unless_it_is_adopted)
{
    char other[320];
    int port = 0;
    pid_t pid = start_recorder("first", store_path, &port);

    push_part(1, 0, 0);
    wait_for("record", "done", 1);
    end_recorder(pid, SIGTERM);
    snprintf(other, sizeof other, "%s/other.db", redis.folder);
    pid = start_recorder("second", other, &port);
    wait_for_page(port, "/readyz", "another history");
    push_part(2, 0, 0);
    wait_for_page(port, "/readyz", "\"state\":\"parked\"");
    cr_assert_eq(counter_of("record", "done"), 1);
    struct store *store = NULL;
    OK(store_open(other, STORE_READ, &store, &err));
    OK(owner_adopt(conn, "sh", store_id(store), &err));
    store_close(store);
    wait_for_page(port, "/readyz", "\"state\":\"open\"");
    wait_for("record", "done", 2);
    end_recorder(pid, SIGTERM);
    cr_assert_eq(state_of(other).executions, 1);
    cr_assert_eq(state_of(store_path).executions, 1);
}

Test(recorder, a_file_that_is_deleted_under_the_process_takes_nothing_with_it)
{
    char away[320];
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    push_part(1, 0, 0);
    wait_for("record", "done", 1);
    snprintf(away, sizeof away, "%s.away", store_path);
    cr_assert_eq(rename(store_path, away), 0);
    push_part(2, 0, 0);
    wait_for_page(port, "/readyz", "\"state\":\"parked\"");
    wait_for_page(port, "/readyz", "another history");
    cr_assert_eq(counter_of("record", "done"), 1);
    cr_assert_eq(counter_of("record", "buried"), 0);
    end_recorder(pid, SIGTERM);
}

/* As where Redis is away when its worker ends. */
Test(recorder, a_lease_that_cannot_be_given_back_ends_by_itself)
{
    const struct owner one = {"sh", "history", "one", false};
    const struct owner two = {"sh", "history", "two", false};
    struct redis_url nowhere;
    char url[60];

    OK(owner_claim(conn, &one, &err));
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_free_port());
    OK(redis_url_parse(url, &nowhere, &err));
    struct redis_conn *away = redis_conn_new(&nowhere, (struct redis_timeouts){500, 500});
    owner_release(away, &one);
    redis_conn_free(away);
    cr_assert_eq(owner_claim(conn, &two, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, "\"one\" writes"), "%s", err.text);
    const int64_t left_ms = atoll(ask("PTTL", "sh:lease:learn", NULL));
    cr_assert(left_ms > 0 && left_ms <= OWNER_LEASE_MS, "%lld ms", (long long)left_ms);
    owner_release(conn, &one);
    OK(owner_claim(conn, &two, &err));
}

/* As on another machine with a copy of the file. */
Test(recorder, while_another_worker_has_the_lease_nothing_is_written)
{
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    push_part(1, 0, 0);
    wait_for("record", "done", 1);
    cr_assert_str_eq(ask("SET", "sh:lease:learn", "somebody", "PX", "4000", NULL), "OK");
    wait_for_page(port, "/readyz", "\\\"somebody\\\" writes to the learning store");
    push_part(2, 0, 0);
    wait_for_page(port, "/readyz", "\"state\":\"open\"");
    wait_for("record", "done", 2);
    end_recorder(pid, SIGTERM);
}

Test(recorder, a_full_disk_parks_and_room_brings_all_back)
{
    char disk[300];
    char file[320];
    char filler[320];
    static char block[4096];
    int port = 0;

    snprintf(disk, sizeof disk, "%s/disk", redis.folder);
    cr_assert_eq(mkdir(disk, 0700), 0);
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) != 0 ||
        mount("none", disk, "tmpfs", 0, "size=16m") != 0) {
        cr_skip_test("a small file system cannot be mounted here: needs root");
    }
    snprintf(file, sizeof file, "%s/learn.db", disk);
    snprintf(filler, sizeof filler, "%s/filler", disk);
    const pid_t pid = start_recorder("one", file, &port);
    push_part(1, 0, 0);
    wait_for("record", "done", 1);
    FILE *full = fopen(filler, "w");
    setvbuf(full, NULL, _IONBF, 0);
    for (size_t size = sizeof block; size > 0; size /= 2) {
        while (fwrite(block, 1, size, full) == size) {
        }
    }
    fclose(full);
    for (size_t i = 2; i < 400; i++) {
        push_part(i, 0, 0);
    }
    wait_for_page(port, "/readyz", "full");
    cr_assert_eq(unlink(filler), 0);
    wait_for("record", "done", 399);
    end_recorder(pid, SIGTERM);
    const struct store_state state = state_of(file);
    cr_assert_eq(umount2(disk, MNT_DETACH), 0);
    cr_assert_eq(state.executions, 399);
    cr_assert_eq(counter_of("record", "buried"), 0);
}

/* ---- what is told ---------------------------------------------------------------------------- */

Test(recorder, who_follows_is_told_of_decisions_and_of_what_came_of_them)
{
    char told[2048] = "";
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    push_part(1, 0, 0);
    wait_for("record", "done", 1);
    push_part(1, 1, 0);
    push_part(1, 2, 0);
    wait_for("record", "done", 3);
    redisReply *events = good_reply("XRANGE", "sh:{record}:events", "-", "+", NULL);
    cr_assert_eq(events->elements, 2, "feedback is no event");
    flatten(events, told, sizeof told);
    redis_reply_free(events);
    cr_assert_not_null(strstr(told, "event routing_decision job_id t-1.0.0 domain acme.shop "
                                    "task_id t-1 at_ms "),
                       "%s", told);
    cr_assert_not_null(strstr(told, "task_type bugfix model_tier small cost_estimate 0.5"), "%s",
                       told);
    cr_assert_not_null(strstr(told, "event execution_recorded job_id t-1.1.0"), "%s", told);
    cr_assert_not_null(strstr(told, "success 1 duration_seconds 1 actual_cost 0.25"), "%s", told);
    wait_for_page(port, "/metrics", "stillhouse_learn_parts_total{kind=\"feedback\"} 1");
    wait_for_page(port, "/metrics", "stillhouse_learn_executions 1");
    wait_for_page(port, "/metrics", "stillhouse_learn_dirty_groups 0");
    cr_assert_not_null(
        strstr(test_page(port, "/metrics"), "stillhouse_learn_drifted_groups_total 0"));
    end_recorder(pid, SIGTERM);
}

/* A router decides by one GET. */
Test(recorder, domains_that_examples_surely_hurt_stand_in_redis_and_are_counted)
{
    enum { TASKS = 200 };
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    const char *told = "";
    int port = 0;
    pid_t pid = start_recorder("one", store_path, &port);

    for (size_t i = 0; i < TASKS; i++) { /* 40 of 100 with examples, 80 of 100 without */
        char id[32];
        const bool is_out = i % 2 == 0;
        snprintf(id, sizeof id, "t-%zu", i);
        const struct record_body part = {.kind = text("outcome"),
                                         .task_id = text(id),
                                         .arm = text(is_out ? "holdout" : "enriched"),
                                         .success = {i / 2 % 10 < (is_out ? 8u : 4u), true}};
        push_record(id, &part);
    }
    wait_for("record", "done", TASKS);
    wait_for_page(port, "/metrics", "stillhouse_learn_hurt_domains 0");
    end_recorder(pid, SIGTERM);

    pid = start_recorder("one", store_path, &port); /* looks at all domains when it begins */
    while (strstr(told, "\"hurt\":1") == NULL) {
        cr_assert(clock_now_ms() < until_ms, "sh:learn:lift says %s", told);
        clock_sleep_ms(POLL_MS);
        told = ask("GET", "sh:learn:lift", NULL);
    }
    cr_assert_not_null(strstr(told, ",\"days\":30,\"compared\":1,\"hurt\":1,\"domains\":[{"
                                    "\"domain\":\"acme.shop\",\"examples\":\"hurt\","
                                    "\"difference\":-0.4"),
                       "%s", told);
    cr_assert_not_null(strstr(told, "\"with\":{\"tasks\":100,\"successes\":40},"
                                    "\"without\":{\"tasks\":100,\"successes\":80}}]}"),
                       "%s", told);
    cr_assert_gt(integer_of(good_reply("PTTL", "sh:learn:lift", NULL)), 0);
    wait_for_page(port, "/metrics", "stillhouse_learn_hurt_domains 1");
    end_recorder(pid, SIGTERM);
}

Test(recorder, a_domains_tiers_stand_in_redis_with_what_is_surely_true_of_them)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    const char *told = "";
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    for (size_t i = 1; i <= 20; i++) {
        push_part(i, 0, 0);
        push_part(i, 1, 0);
    }
    wait_for("record", "done", 40);
    while (strstr(told, "\"finished\":20") == NULL) {
        cr_assert(clock_now_ms() < until_ms, "sh:learn:{acme.shop} says %s", told);
        clock_sleep_ms(POLL_MS);
        told = ask("GET", "sh:learn:{acme.shop}", NULL);
    }
    cr_assert_not_null(strstr(told, "{\"domain\":\"acme.shop\",\"at_ms\":"), "%s", told);
    cr_assert_not_null(strstr(told, "{\"task_type\":null,\"tier\":\"small\",\"executions\":20,"
                                    "\"finished\":20,\"successes\":15,\"success_rate\":0.75,"
                                    "\"mean_cost\":0.25,"),
                       "%s", told);
    cr_assert_not_null(strstr(told, "\"success_at_least\":0.53"), "%s", told);
    cr_assert_not_null(strstr(told, "{\"task_type\":\"bugfix\","), "%s", told);
    cr_assert_gt(integer_of(good_reply("PTTL", "sh:learn:{acme.shop}", NULL)), 0);
    end_recorder(pid, SIGTERM);
}

/* A name a task, where a name a tier was meant. */
Test(recorder, tiers_without_end_make_no_key_without_end)
{
    enum { NAMES = 1100, TOLD = 1000 };
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    char id[32];
    int port = 0;
    size_t count = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    for (size_t i = 0; i < NAMES; i++) {
        snprintf(id, sizeof id, "t-%zu", i);
        const struct record_body part = {
            .kind = text("execution"), .task_id = text(id), .model_tier = text(id)};
        push_record(id, &part);
    }
    wait_for("record", "done", NAMES);
    wait_for_page(port, "/metrics", "stillhouse_learn_dirty_groups 0");
    while (count < TOLD) {
        redisReply *told = good_reply("GET", "sh:learn:{acme.shop}", NULL);
        cr_assert(clock_now_ms() < until_ms, "%zu tiers are told", count);
        count = 0;
        for (const char *at = told->str; at != NULL; at = strstr(at + 1, "\"tier\":")) {
            count += at != told->str;
        }
        redis_reply_free(told);
        clock_sleep_ms(POLL_MS);
    }
    cr_assert_eq(count, TOLD);
    end_recorder(pid, SIGTERM);
}
