/* A recorder that is killed or sleeps at the worst moment, and a store whose file, disk or folder
 * fails under it: parts wait, no attempt is burnt, /readyz says why, and it goes on by itself. */
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recorder_fixture.h"
#include "worker_fixture.h"

enum { LEASE_MS = 6000 };

static struct error err;

static void push_tasks(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        push_part(i, 0, 0);
        push_part(i, 1, 0);
    }
}

/* All that was pushed stands once, and parks burnt no attempt. */
static void check_kept(const char *file, int64_t tasks)
{
    const struct store_state state = state_of(file);

    cr_assert_eq(state.executions, tasks);
    cr_assert_eq(state.incomplete, 0);
    cr_assert_eq(counter_of("record", "buried"), 0);
    cr_assert_eq(counter_of("record", "retried"), 0, "an attempt was burnt");
}

static void wait_for_parked(int port, const char *reason)
{
    wait_for_page(port, "/readyz", reason); /* there is one while parts are parked, and no longer */
    wait_for_page(port, "/metrics", "stillhouse_learn_open 0");
}

/* ---- whoever writes dies or sleeps ----------------------------------------------------------- */

TestSuite(recorder_crashes, .init = setup_proxies, .fini = teardown_proxies, .timeout = 120);

Test(recorder_crashes, a_worker_that_dies_between_the_outcome_and_the_end_of_a_lesson_repeats_both)
{
    static const char *const records[] = {"--record", "distill", NULL};
    int port = 0;

    snprintf(store_path, sizeof store_path, "%s/learn.db", redis.folder);
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    test_proxy_hold(redis_proxy, PROXY_REQUEST, "sh_done");
    const pid_t first = start_worker("first", PROXIED, records);
    cr_assert(test_proxy_wait_held(redis_proxy, HELD_MS));
    cr_assert_eq(counter_of("record", "enqueued"), 1, "the outcome comes first");
    cr_assert_eq(counter_of("distill", "done"), 0);
    end_worker(first, SIGKILL);
    drop_all();

    const pid_t second = start_worker("second", DIRECT, records);
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("record", "enqueued"), 2);
    cr_assert_eq(stored(), 1);
    end_worker(second, SIGTERM);
    const pid_t recorder = start_recorder("recorder", store_path, &port);
    wait_for("record", "done", 2);
    end_recorder(recorder, SIGTERM);
    const struct store_state state = state_of(store_path);
    cr_assert_eq(state.executions, 1);
    cr_assert_eq(state.incomplete, 1, "its routing never came");
}

TestSuite(recorder_faults, .init = recorder_setup, .fini = recorder_teardown, .timeout = 120);

Test(recorder_faults, a_batch_whose_recorder_dies_between_commit_and_finish_leaves_the_same_rows)
{
    char url[64];
    int port = 0;

    struct test_proxy *proxy = test_proxy_start(redis.port);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", test_proxy_port(proxy));
    push_tasks(1, 11);
    test_proxy_hold(proxy, PROXY_REQUEST, "sh_done");
    const pid_t first = start_recorder_at(url, "one", store_path, &port);
    cr_assert(test_proxy_wait_held(proxy, HELD_MS));
    cr_assert_gt(state_of(store_path).executions, 0, "nothing was committed before the finish");
    cr_assert_lt(counter_of("record", "done"), 20);
    end_recorder(first, SIGKILL);
    test_proxy_stop(proxy);

    const pid_t second = start_recorder("one", store_path, &port);
    wait_for("record", "done", 20);
    end_recorder(second, SIGTERM);
    cr_assert_gt(counter_of("record", "reclaimed"), 0);
    check_kept(store_path, 10);
}

Test(recorder_faults, who_comes_after_a_recorder_that_was_killed_parks_nothing_for_its_lease)
{
    int port = 0;
    const pid_t first = start_recorder("first", store_path, &port);

    push_tasks(1, 2);
    wait_for("record", "done", 2);
    end_recorder(first, SIGKILL);
    const pid_t second = start_recorder("second", store_path, &port);
    push_tasks(2, 12);
    wait_for("record", "done", 22);
    cr_assert_eq(counter_of("record", "parked"), 0);
    end_recorder(second, SIGTERM);
    check_kept(store_path, 11);
}

/* Redis answers the claim so late that it runs out before the next one is due; one is each 2 s, and
 * a recorder that began 7 s ago has no patience any more. */
Test(recorder_faults, a_claim_that_took_long_parks_nothing)
{
    enum { BEFORE_MS = 7300, SLOW_MS = 2200, PUSHES = 60, EVERY_MS = 50 };
    redisReply *reply = NULL;
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    push_tasks(1, 2);
    wait_for("record", "done", 2);
    clock_sleep_ms(BEFORE_MS);
    OK(redis_commandf(conn, &reply, &err, "CLIENT PAUSE %d ALL", SLOW_MS));
    redis_reply_free(reply);
    for (size_t i = 2; i < 2 + PUSHES; i++) {
        push_tasks(i, i + 1);
        clock_sleep_ms(EVERY_MS);
    }
    wait_for("record", "done", 2 + 2 * PUSHES);
    cr_assert_eq(counter_of("record", "parked"), 0);
    end_recorder(pid, SIGTERM);
    check_kept(store_path, 1 + PUSHES);
}

/* As on another machine, which has a copy of the file: there no lock on it keeps the first out. */
Test(recorder_faults, a_recorder_that_slept_through_its_lease_never_writes_beside_its_heir)
{
    char copy[320];
    int first_port = 0;
    int second_port = 0;
    struct store *store = NULL;

    const pid_t first = start_recorder("first", store_path, &first_port);
    push_tasks(1, 2);
    wait_for("record", "done", 2);
    snprintf(copy, sizeof copy, "%s.copy", store_path);
    OK(store_open(store_path, STORE_READ, &store, &err));
    OK(store_backup(store, copy, &err));
    store_close(store);
    cr_assert_eq(kill(first, SIGSTOP), 0);

    const pid_t second = start_recorder("second", copy, &second_port);
    wait_for_page(second_port, "/readyz", "\\\"first\\\" writes to the learning store");
    wait_for_page(second_port, "/readyz", "\"state\":\"open\"");
    push_tasks(2, 12);
    wait_for("record", "done", 22);
    push_tasks(12, 22);
    cr_assert_eq(kill(first, SIGCONT), 0);
    wait_for_parked(first_port, "\\\"second\\\" writes to the learning store");
    push_tasks(22, 32);
    wait_for("record", "done", 62);
    cr_assert_eq(state_of(store_path).executions, 1, "the first wrote after its lease");
    end_recorder(first, SIGTERM);
    end_recorder(second, SIGTERM);
    check_kept(copy, 31);
}

/* On one machine the lock on the file is held through any sleep. */
Test(recorder_faults, while_a_recorder_sleeps_nobody_else_writes_to_its_file)
{
    int first_port = 0;
    int second_port = 0;

    const pid_t first = start_recorder("first", store_path, &first_port);
    push_tasks(1, 2);
    wait_for("record", "done", 2);
    cr_assert_eq(kill(first, SIGSTOP), 0);
    const pid_t second = start_recorder("second", store_path, &second_port);
    wait_for_parked(second_port, "is being written by process");
    push_tasks(2, 12);
    const int64_t until_ms = clock_now_ms() + LEASE_MS + 1000;
    while (clock_now_ms() < until_ms) {
        cr_assert_eq(counter_of("record", "done"), 2, "two wrote at once");
        clock_sleep_ms(RECORDER_POLL_MS);
    }
    cr_assert_eq(kill(first, SIGCONT), 0);
    wait_for("record", "done", 22);
    end_recorder(first, SIGTERM);
    wait_for_page(second_port, "/readyz", "\"state\":\"open\"");
    end_recorder(second, SIGTERM);
    check_kept(store_path, 11);
}

/* ---- the file, its disk, its folder ---------------------------------------------------------- */

/* Root may write what nobody may; without this right it is as everybody else. The recorders that
 * are started from now on lack it. */
static void give_up_roots_right(void)
{
    cr_assert(getuid() != 0 || prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0);
}

static void check_mode(const char *at, mode_t mode, mode_t usual)
{
    int port = 0;
    pid_t pid = start_recorder("one", store_path, &port);

    push_tasks(1, 2);
    wait_for("record", "done", 2);
    end_recorder(pid, SIGTERM);
    cr_assert_eq(chmod(at, mode), 0);
    pid = start_recorder("one", store_path, &port);
    push_tasks(2, 12);
    wait_for_parked(port, store_path);
    cr_assert_eq(counter_of("record", "done"), 2);
    cr_assert_eq(chmod(at, usual), 0);
    wait_for("record", "done", 22);
    wait_for_page(port, "/readyz", "\"state\":\"open\"");
    end_recorder(pid, SIGTERM);
    check_kept(store_path, 11);
}

Test(recorder_faults, a_file_that_may_not_be_written_parks_until_it_may)
{
    give_up_roots_right();
    check_mode(store_path, 0400, 0600);
}

Test(recorder_faults, a_folder_that_takes_no_new_file_parks_until_it_does)
{
    char folder[300];

    give_up_roots_right();
    snprintf(folder, sizeof folder, "%s/store", redis.folder);
    cr_assert_eq(mkdir(folder, 0700), 0);
    snprintf(store_path, sizeof store_path, "%s/learn.db", folder);
    check_mode(folder, 0500, 0700);
}

Test(recorder_faults, a_file_that_may_not_grow_parks_until_it_may)
{
    const struct rlimit small = {16 * 1024, RLIM_INFINITY};
    const struct rlimit usual = {RLIM_INFINITY, RLIM_INFINITY};
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    push_tasks(1, 2);
    wait_for("record", "done", 2);
    cr_assert_eq(prlimit(pid, RLIMIT_FSIZE, &small, NULL), 0);
    push_tasks(2, 102);
    wait_for_parked(port, "disk I/O error");
    cr_assert_lt(counter_of("record", "done"), 202);
    cr_assert_eq(prlimit(pid, RLIMIT_FSIZE, &usual, NULL), 0);
    wait_for("record", "done", 202);
    wait_for_page(port, "/readyz", "\"state\":\"open\"");
    end_recorder(pid, SIGTERM);
    check_kept(store_path, 101);
}

Test(recorder_faults, a_log_that_is_deleted_under_the_process_costs_nothing)
{
    char log[320];
    int port = 0;
    const pid_t pid = start_recorder("one", store_path, &port);

    push_tasks(1, 11);
    wait_for("record", "done", 20);
    snprintf(log, sizeof log, "%s-wal", store_path);
    cr_assert_eq(unlink(log), 0);
    push_tasks(11, 21);
    wait_for("record", "done", 40);
    cr_assert_eq(access(log, F_OK), 0, "it writes on where nobody can read");
    end_recorder(pid, SIGKILL);
    check_kept(store_path, 20);
}

Test(recorder_faults, a_folder_that_is_gone_begins_no_second_history)
{
    char folder[270];
    char away[280];
    int port = 0;

    snprintf(folder, sizeof folder, "%s/store", redis.folder);
    snprintf(away, sizeof away, "%s.away", folder);
    snprintf(store_path, sizeof store_path, "%s/learn.db", folder);
    cr_assert_eq(mkdir(folder, 0700), 0);
    const pid_t pid = start_recorder("one", store_path, &port);
    push_tasks(1, 11);
    wait_for("record", "done", 20);
    cr_assert_eq(rename(folder, away), 0);
    push_tasks(11, 21);
    wait_for_parked(port, "No such file or directory");
    cr_assert_eq(mkdir(folder, 0700), 0); /* an empty one in its place */
    wait_for_parked(port, "another history");
    cr_assert_eq(counter_of("record", "done"), 20);
    end_recorder(pid, SIGTERM);
    snprintf(store_path, sizeof store_path, "%s/learn.db", away);
    check_kept(store_path, 10);
}

/* Each waits for half a minute at least, and would come back by itself after it. */
Test(recorder_faults, what_was_parked_comes_back_within_seconds_of_the_store_being_well)
{
    enum { TASKS = 50, SOON_MS = 5000 };
    const char *const flags[] = {"--queues",
                                 "record",
                                 "--learn",
                                 store_path,
                                 "--redis-url",
                                 redis.url,
                                 "--breaker-pause",
                                 "60s",
                                 "--retry-base",
                                 "60s",
                                 "--retry-max",
                                 "60s",
                                 NULL};
    const int64_t until_ms = clock_now_ms() + RECORDER_PATIENCE_MS;
    char away[TEST_POSTGRES_URL + 8];
    int port = 0;

    snprintf(away, sizeof away, "%s.away", store_path);
    const pid_t pid = spawn_recorder("one", flags, &port);
    push_tasks(1, 2);
    wait_for("record", "done", 2);
    cr_assert_eq(rename(store_path, away), 0);
    cr_assert_eq(mkdir(store_path, 0700), 0); /* no file can be made there */
    push_tasks(2, TASKS + 2);
    wait_for_parked(port, "Is a directory");
    while (integer_of(good_reply("ZCARD", "sh:{record}:delayed", NULL)) == 0) {
        cr_assert(clock_now_ms() < until_ms, "nothing is parked");
        clock_sleep_ms(RECORDER_POLL_MS);
    }
    cr_assert_eq(rmdir(store_path), 0);
    cr_assert_eq(rename(away, store_path), 0);
    const int64_t well_ms = clock_now_ms();
    wait_for("record", "done", 2 * TASKS + 2);
    cr_assert_lt(clock_now_ms() - well_ms, SOON_MS);
    end_recorder(pid, SIGTERM);
    check_kept(store_path, TASKS + 1);
}

/* Of the file that the fleet knows: what is not its bytes any more is not written to. */
Test(recorder_faults, a_damaged_file_parks_and_a_copy_that_is_put_back_goes_on)
{
    char copy[320];
    char damaged[320];
    struct store *store = NULL;
    int port = 0;
    const pid_t first = start_recorder("one", store_path, &port);

    push_tasks(1, 301);
    wait_for("record", "done", 600);
    snprintf(copy, sizeof copy, "%s.copy", store_path);
    snprintf(damaged, sizeof damaged, "%s.damaged", store_path);
    OK(store_open(store_path, STORE_READ, &store, &err));
    OK(store_backup(store, copy, &err));
    OK(store_backup(store, damaged, &err));
    store_close(store);
    FILE *file = fopen(damaged, "r+");
    cr_assert_not_null(file);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    const long bytes = ftell(file);
    cr_assert_eq(fseek(file, 4096, SEEK_SET), 0); /* the first page, with the schema, stands */
    for (long i = 4096; i < bytes; i++) {
        fputc(0xAA, file);
    }
    fclose(file);
    cr_assert_eq(rename(damaged, store_path), 0);
    push_tasks(301, 311);
    wait_for_parked(port, "malformed");
    cr_assert_eq(counter_of("record", "done"), 600);
    cr_assert_eq(rename(copy, store_path), 0);
    wait_for("record", "done", 620);
    wait_for_page(port, "/readyz", "\"state\":\"open\"");
    end_recorder(first, SIGTERM);
    check_kept(store_path, 310);
}
