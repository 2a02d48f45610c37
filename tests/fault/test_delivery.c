/* Who holds a job, when workers sleep, are slow, or are told to go. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "queue/enqueue.h"
#include "queue/operate.h"
#include "worker_fixture.h"

enum { VISIBILITY_MS = 1000 };

TestSuite(delivery, .init = setup_proxies, .fini = teardown_proxies, .timeout = 120);

static bool log_has(const char *id, const char *text)
{
    static char log[1 << 16];
    char path[300];

    snprintf(path, sizeof path, "%s/%s.log", redis.folder, id);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false; /* it has not begun yet */
    }
    size_t bytes = fread(log, 1, sizeof log - 1, file);
    fclose(file);
    log[bytes] = '\0';
    return strstr(log, text) != NULL;
}

static void wait_for_log(const char *id, const char *text)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (!log_has(id, text)) {
        cr_assert_lt(clock_now_ms(), until_ms, "\"%s\" is not in the log of %s", text, id);
        clock_sleep_ms(POLL_MS);
    }
}

Test(delivery, a_worker_that_slept_through_its_time_is_refused_when_it_finishes)
{
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    test_proxy_hold(chroma_proxy, PROXY_REQUEST, "/upsert");
    pid_t sleeper = start_worker("sleeper", PROXIED, NULL);
    cr_assert(test_proxy_wait_held(chroma_proxy, HELD_MS));
    cr_assert_eq(kill(sleeper, SIGSTOP), 0);

    pid_t heir = start_worker("heir", DIRECT, NULL);
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("distill", "reclaimed"), 1);
    test_proxy_release(chroma_proxy);
    cr_assert_eq(kill(sleeper, SIGCONT), 0);
    wait_for_log("sleeper", "was taken over meanwhile");

    struct queue_stats stats = stats_of("distill");
    cr_assert_eq(stats.counters[QUEUE_DONE], 1, "it was counted twice");
    cr_assert_eq(stats.running, 0);
    cr_assert_eq(stored(), 1);
    end_worker(sleeper, SIGTERM);
    end_worker(heir, SIGTERM);
}

Test(delivery, a_job_five_visibility_timeouts_long_runs_once)
{
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    test_proxy_hold(chroma_proxy, PROXY_REQUEST, "/upsert");
    pid_t slow = start_worker("slow", PROXIED, NULL);
    cr_assert(test_proxy_wait_held(chroma_proxy, HELD_MS));
    pid_t greedy = start_worker("greedy", DIRECT, NULL);

    int64_t until_ms = clock_now_ms() + 5 * VISIBILITY_MS;
    while (clock_now_ms() < until_ms) {
        struct queue_stats stats = stats_of("distill");
        cr_assert_eq(stats.running, 1);
        cr_assert_eq(stats.counters[QUEUE_RECLAIMED], 0, "taken from a worker that is alive");
        clock_sleep_ms(POLL_MS);
    }
    test_proxy_release(chroma_proxy);
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("distill", "reclaimed"), 0);
    cr_assert_eq(stored(), 1);
    end_worker(slow, SIGTERM);
    end_worker(greedy, SIGTERM);
}

Test(delivery, a_lane_goes_on_while_the_heartbeat_for_its_jobs_waits_for_redis)
{
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    test_proxy_hold(chroma_proxy, PROXY_REQUEST, "/upsert");
    pid_t worker = start_worker("worker", PROXIED, NULL);
    cr_assert(test_proxy_wait_held(chroma_proxy, HELD_MS));
    test_proxy_hold(redis_proxy, PROXY_REQUEST, "sh_heartbeat");
    cr_assert(test_proxy_wait_held(redis_proxy, HELD_MS));

    const int64_t held_ms = clock_now_ms(); /* the janitor waits for 5 s */
    test_proxy_release(chroma_proxy);
    wait_for("distill", "done", 1);
    push_distill("legal", "t2", "another prompt", "a result", 0.9, "");
    wait_for("distill", "done", 2);
    cr_assert_lt(clock_now_ms() - held_ms, 3000, "the lane waited for the janitor's connection");
    test_proxy_release(redis_proxy);
    end_worker(worker, SIGTERM);
}

Test(delivery, jobs_not_begun_are_handed_back_at_sigterm_and_burn_nothing)
{
    static const char *const both[] = {"--queues", "distill,echo", "--visibility", "60s", NULL};
    char id[16];

    /* All at once before the worker comes, so that one read brings both queues. */
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "echo-%d", i);
        push("echo", id, "legal", "", "body", 4);
    }
    test_proxy_hold(chroma_proxy, PROXY_REQUEST, "/upsert");
    pid_t leaving = start_worker("leaving", PROXIED, both);
    cr_assert(test_proxy_wait_held(chroma_proxy, HELD_MS));
    cr_assert_eq(stats_of("echo").running, 5, "they are held, and not begun");
    pid_t staying = start_worker("staying", DIRECT, both);
    wait_for_log("staying", "lanes on");

    int64_t told_ms = clock_now_ms();
    cr_assert_eq(kill(leaving, SIGTERM), 0);
    wait_for("echo", "done", 5);
    int64_t took_ms = clock_now_ms() - told_ms;
    cr_assert_lt(took_ms, 10000, "they waited for the visibility timeout");
    cr_log_info("handed back and done by another worker in %lld ms", (long long)took_ms);
    struct queue_stats stats = stats_of("echo");
    cr_assert_eq(stats.counters[QUEUE_RETRIED], 0);
    cr_assert_eq(stats.counters[QUEUE_RECLAIMED], 0, "nobody had to take them over");

    test_proxy_release(chroma_proxy);
    int state = 0;
    cr_assert_eq(waitpid(leaving, &state, 0), leaving);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "state %d", state);
    wait_for("distill", "done", 1); /* what was begun is finished */
    cr_assert_eq(stored(), 1);
    end_worker(staying, SIGTERM);
}

Test(delivery, what_a_stopped_worker_was_doing_is_taken_over_and_costs_no_attempt)
{
    push_distill("legal", "t1", "a prompt", "a result", 0.9, "");
    test_proxy_hold(chroma_proxy, PROXY_REQUEST, "/upsert");
    static const char *const impatient[] = {"--drain", "0", NULL};
    pid_t leaving = start_worker("leaving", PROXIED, impatient);
    cr_assert(test_proxy_wait_held(chroma_proxy, HELD_MS));
    int state = 0;
    cr_assert_eq(kill(leaving, SIGTERM), 0);
    cr_assert_eq(waitpid(leaving, &state, 0), leaving);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 1, "work was left: state %d", state);
    drop_all();

    pid_t heir = start_worker("heir", DIRECT, NULL);
    wait_for("distill", "done", 1);
    cr_assert_eq(counter_of("distill", "retried"), 0);
    cr_assert_eq(stored(), 1);
    end_worker(heir, SIGTERM);
}

Test(delivery, a_twins_asker_is_answered_though_the_answer_that_ended_the_job_was_lost)
{
    static const char *const echo[] = {"--queues", "echo", "--lanes", "1", NULL};
    struct queue queue = queue_named("echo");
    struct queue_answer answer;
    struct strbuf reply = {0};
    struct error err = {0};
    const struct queue_item twin = {
        {"second", 6}, {"legal", 5}, {"unique=u reply=1", 16}, {"body", 4}};

    push("echo", "first", "legal", "unique=u", "body", 4);
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &twin, 1}, &answer, &err),
                 STATUS_OK, "%s", err.text);
    cr_assert_str_eq(answer.id, "first");
    test_proxy_hold(redis_proxy, PROXY_ANSWER, "*1\r\n:2\r\n"); /* done, and a reply is wanted */
    pid_t worker = start_worker("worker", PROXIED, echo);
    cr_assert(test_proxy_wait_held(redis_proxy, HELD_MS));
    test_proxy_drop(redis_proxy);

    cr_assert_eq(queue_await_reply(conn, &queue, "first", 15000, &reply, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_str_eq(reply.data, "body");
    cr_assert_not(log_has("worker", "was taken over meanwhile"), "it was its own");
    strbuf_free(&reply);
    end_worker(worker, SIGTERM);
}
