/* What stands behind a worker's standard descriptors: a reader that stands still, or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/enqueue.h"
#include "redis_fixture.h"

enum { PATIENCE_MS = 20000, POLL_MS = 10, BAD_JOBS = 200, GOOD_JOBS = 20 };

static char program[512];
static struct error err;

static void setup(void)
{
    test_program("stillhouse-worker", program);
    redis_setup();
}

TestSuite(worker_output, .init = setup, .fini = redis_teardown, .timeout = 120);

/* Bodies that hold nothing: good for echo, bad for distill. */
static void enqueue(const char *name, size_t count)
{
    struct queue_item items[BAD_JOBS];
    struct queue_answer answers[BAD_JOBS];
    char ids[BAD_JOBS][16];
    const struct queue queue = queue_named(name);

    for (size_t i = 0; i < count; i++) {
        const int bytes = snprintf(ids[i], sizeof ids[i], "job-%zu", i);
        items[i] = (struct queue_item){{ids[i], (size_t)bytes}, {"legal", 5}, {"", 0}, {"\x80", 1}};
    }
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, count}, answers, &err));
}

/* Waits until a queue holds nothing but dead letters; their number. */
static int64_t drained(const char *name)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    struct queue_stats stats = stats_of(name);

    while (stats.waiting + stats.running + stats.delayed != 0) {
        cr_assert(clock_now_ms() < until_ms, "queue %s: waiting %lld, running %lld", name,
                  (long long)stats.waiting, (long long)stats.running);
        clock_sleep_ms(POLL_MS);
        stats = stats_of(name);
    }
    return stats.dead;
}

/* A worker of the two queues; `script` is what a shell does with "$0" and "$@". */
static pid_t start(const char *script)
{
    return test_spawn((const char *const[]){"sh", "-c", script, program, "--redis-url", redis.url,
                                            "--queues", "echo,distill", "--http", "off", "--drain",
                                            "2s", NULL},
                      "/dev/null");
}

/* SIGTERM; the worker must end by itself, well. */
static void end(pid_t pid)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    int state = 0;
    pid_t ended;

    cr_assert_eq(kill(pid, SIGTERM), 0);
    while ((ended = waitpid(pid, &state, WNOHANG)) == 0) {
        cr_assert(clock_now_ms() < until_ms, "the worker does not end");
        clock_sleep_ms(POLL_MS);
    }
    cr_assert_eq(ended, pid);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "state %d", state);
}

Test(worker_output, a_log_that_nobody_reads_stops_no_job_and_no_signal)
{
    char path[300];
    char script[400];
    static const char filler[512] = {0};

    snprintf(path, sizeof path, "%s/fifo", redis.folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    const int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    while (write(fd, filler, sizeof filler) > 0) {
    }
    cr_assert_eq(errno, EAGAIN);

    snprintf(script, sizeof script, "exec \"$0\" \"$@\" 2>%s", path);
    const pid_t pid = start(script);
    enqueue("distill", BAD_JOBS);
    cr_assert_eq(drained("distill"), BAD_JOBS);
    enqueue("echo", GOOD_JOBS);
    cr_assert_eq(drained("echo"), 0);
    end(pid);
    close(fd);
}

static void assert_no_socket_below_three(pid_t pid)
{
    for (int fd = 0; fd <= 2; fd++) {
        char link[64];
        char target[256] = {0};
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
        cr_assert_geq(readlink(link, target, sizeof target - 1), 0, "descriptor %d is closed", fd);
        cr_assert_str_eq(target, "/dev/null");
    }
}

Test(worker_output, without_standard_descriptors_no_connection_gets_their_numbers)
{
    static const char *const closed[] = {"2>&-", "<&- >&- 2>&-"};

    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        char script[64];
        snprintf(script, sizeof script, "exec \"$0\" \"$@\" %s", closed[i]);
        const pid_t pid = start(script);
        enqueue("distill", BAD_JOBS);
        enqueue("echo", GOOD_JOBS);
        cr_assert_eq(drained("distill"), (int64_t)(i + 1) * BAD_JOBS);
        cr_assert_eq(drained("echo"), 0);
        assert_no_socket_below_three(pid);
        end(pid);
    }
}
