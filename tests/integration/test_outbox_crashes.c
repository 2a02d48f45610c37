/* The outbox when producers are killed, when several use it at once, and when the disk is full or
 * damaged. On a real Redis. */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_server.h"
#include "outbox_fixture.h"

TestSuite(outbox_crashes, .init = outbox_setup, .fini = outbox_teardown, .timeout = 120);

/* ---- producers that end -------------------------------------------------------------------- */

static void run_child(void (*work)(void))
{
    int code = 0;
    const pid_t pid = fork();

    cr_assert(pid >= 0);
    if (pid == 0) {
        work();
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &code, 0), pid);
    cr_assert(WIFSIGNALED(code) || WEXITSTATUS(code) == 0, "%d", code);
}

static void keep_and_die(void)
{
    const stillhouse_options options = boxed();
    stillhouse_client *own = NULL;

    if (stillhouse_open(&options, &own) != STILLHOUSE_OK ||
        hand_in_to(own, "a") != STILLHOUSE_KEPT || hand_in_to(own, "b") != STILLHOUSE_KEPT) {
        _exit(1);
    }
    raise(SIGKILL);
}

Test(outbox_crashes, what_a_killed_process_kept_is_sent_by_the_next)
{
    away();
    run_child(keep_and_die);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "a,b,");
}

/* Without being asked: its next job takes along what the dead one left. */
Test(outbox_crashes, a_living_process_adopts_without_being_asked)
{
    const int64_t until = clock_now_ms() + 10000;

    IS(hand_in("first"), STILLHOUSE_OK);
    away();
    run_child(keep_and_die);
    back();
    while (kept_files() > 0 && clock_now_ms() < until) {
        (void)hand_in("x");
        clock_sleep_ms(20);
    }
    cr_assert_not_null(strstr(tasks(), "a,b,"), "%s", tasks());
}

/* A producer that hands in, and is killed at any moment. What it was told is in. */
Test(outbox_crashes, a_producer_killed_at_any_moment_loses_nothing_it_was_told_of)
{
    enum { ROUNDS = 8 };
    int told = 0;
    int pipes[2];

    cr_assert_eq(pipe(pipes), 0);
    away();
    for (int round = 0; round < ROUNDS; round++) {
        const pid_t pid = fork();
        cr_assert(pid >= 0);
        if (pid == 0) {
            const stillhouse_options options = boxed();
            stillhouse_client *own = NULL;
            if (stillhouse_open(&options, &own) != STILLHOUSE_OK) {
                _exit(1);
            }
            for (;;) {
                char task[32];
                snprintf(task, sizeof task, "%d.%ld", round, (long)clock_now_ns());
                if (hand_in_to(own, task) != STILLHOUSE_KEPT || write(pipes[1], "x", 1) != 1) {
                    _exit(2);
                }
            }
        }
        char letter;
        for (int i = 0; i < 5 + round; i++) {
            cr_assert_eq(read(pipes[0], &letter, 1), 1);
            told++;
        }
        cr_assert_eq(kill(pid, SIGKILL), 0);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
    }
    cr_assert_eq(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
    for (char letter; read(pipes[0], &letter, 1) == 1;) {
        told++;
    }
    back();
    comes_to(STILLHOUSE_OK);
    const int there = atoi(ask("XLEN", queue.stream[JOB_NORMAL], NULL));
    cr_assert(there >= told && there <= told + ROUNDS, "%d told, %d there", told, there);
    uint64_t aside = 0;
    stillhouse_outbox_counts(client, NULL, NULL, &aside);
    cr_assert_eq(aside, 0);
}

/* A sender that is killed after Redis has accepted and before that was written down. */
Test(outbox_crashes, a_sender_killed_in_the_middle_repeats_but_does_not_lose)
{
    static const struct fake_step script[] = {EXPECT("sh_enqueue"), EXPECT("t-b"), HANG, END};

    away();
    IS(hand_in("t-a"), STILLHOUSE_KEPT);
    IS(hand_in("t-b"), STILLHOUSE_KEPT);
    struct fake_server *fake = fake_server_start(script);
    const pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        stillhouse_options options = boxed();
        stillhouse_client *own = NULL;
        char url[64];
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", fake_server_port(fake));
        options.redis_url = url;
        options.command_timeout_ms = 60000;
        if (stillhouse_open(&options, &own) != STILLHOUSE_OK) {
            _exit(1);
        }
        (void)stillhouse_flush(own, 60000, NULL);
        _exit(2);
    }
    const int64_t until = clock_now_ms() + 10000;
    while (!fake_server_saw(fake, "t-b") && clock_now_ms() < until) {
        clock_sleep_ms(5);
    }
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    (void)fake_server_stop(fake);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "t-a,t-b,");
}

Test(outbox_crashes, two_processes_at_once_keep_and_send_everything)
{
    enum { PROCESSES = 2, TIMES = 100 };
    pid_t pids[PROCESSES];

    IS(hand_in("warm"), STILLHOUSE_OK);
    away();
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        cr_assert(pids[i] >= 0);
        if (pids[i] == 0) {
            const stillhouse_options options = boxed();
            stillhouse_client *own = NULL;
            if (stillhouse_open(&options, &own) != STILLHOUSE_OK) {
                _exit(1);
            }
            for (int n = 0; n < TIMES; n++) {
                char task[32];
                snprintf(task, sizeof task, "%d-%d", i, n);
                const stillhouse_status status = hand_in_to(own, task);
                if (status != STILLHOUSE_OK && status != STILLHOUSE_KEPT) {
                    _exit(2);
                }
                clock_sleep_ms(2);
            }
            stillhouse_close(own);
            _exit(0);
        }
    }
    clock_sleep_ms(50);
    back(); /* in the middle of it */
    for (int i = 0; i < PROCESSES; i++) {
        int code = 0;
        cr_assert_eq(waitpid(pids[i], &code, 0), pids[i]);
        cr_assert_eq(code, 0, "%d", code);
    }
    comes_to(STILLHOUSE_OK);
    const char *all = tasks();
    for (int i = 0; i < PROCESSES; i++) {
        for (int n = 0; n < TIMES; n++) {
            char task[32];
            snprintf(task, sizeof task, "%d-%d,", i, n);
            cr_assert_not_null(strstr(all, task), "%s is not there", task);
        }
    }
    check_books();
}

/* ---- disks --------------------------------------------------------------------------------- */

Test(outbox_crashes, an_outbox_that_is_full_lets_the_call_fail_as_it_would_without)
{
    stillhouse_options options = boxed();
    char id[STILLHOUSE_ID_BYTES] = "x";
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "z", .prompt = "p", .result = "r"};
    int kept = 0;

    stillhouse_close(client);
    options.outbox_max_bytes = 1000;
    client = open_client(&options);
    away();
    while (hand_in("a") == STILLHOUSE_KEPT) {
        cr_assert_lt(++kept, 50);
    }
    IS(stillhouse_enqueue_distill(client, &experience, NULL, id), STILLHOUSE_UNREACHABLE);
    cr_assert_str_eq(id, "");
    says("redis 127.0.0.1");
    says("not kept either: the outbox");
    says("is full");
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_eq(atoi(ask("XLEN", queue.stream[JOB_NORMAL], NULL)), kept);
    IS(hand_in("b"), STILLHOUSE_OK);
}

Test(outbox_crashes, a_disk_that_is_full_lets_the_call_fail_as_it_would_without)
{
    const struct rlimit small = {8, RLIM_INFINITY};
    const struct rlimit large = {RLIM_INFINITY, RLIM_INFINITY};
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "m", .prompt = "p", .result = "r"};
    stillhouse_status outcome[2] = {STILLHOUSE_OK, STILLHOUSE_OK};

    away();
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    IS(hand_in("a"), STILLHOUSE_UNREACHABLE);
    says("not kept either");
    says("File too large");
    const stillhouse_experience both[] = {experience, experience};
    IS(stillhouse_enqueue_distill_many(client, both, 2, NULL, outcome, NULL),
       STILLHOUSE_UNREACHABLE);
    cr_assert_eq(outcome[0], STILLHOUSE_UNREACHABLE);
    cr_assert_eq(outcome[1], STILLHOUSE_UNREACHABLE);
    says("not kept either");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    test_server_restart(&redis);
}

Test(outbox_crashes, a_file_that_another_process_holds_is_left_to_it)
{

    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    const int held = open(oldest_file(), O_RDWR | O_CLOEXEC);
    cr_assert(held >= 0 && flock(held, LOCK_EX) == 0);
    back();
    comes_to(STILLHOUSE_NOT_FOUND);
    says("1 jobs left in files that other processes hold");
    IS(hand_in("b"), STILLHOUSE_OK);
    close(held);
    cr_assert_eq(flushed(STILLHOUSE_OK), 0);
    cr_assert_str_eq(tasks(), "b,a,");
}

Test(outbox_crashes, a_damaged_job_is_put_aside_and_counted)
{
    uint64_t aside = 0;

    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    const int file = open(oldest_file(), O_WRONLY);
    cr_assert(file >= 0 && pwrite(file, "!!!", 3, 70) == 3);
    close(file);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "b,");
    stillhouse_outbox_counts(client, NULL, NULL, &aside);
    cr_assert_eq(aside, 1);
    cr_assert_eq(bad_files(), 1);
}
