#include "recorder_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "pages.h"
#include "queue/enqueue.h"

char store_path[TEST_POSTGRES_URL];
static struct error err;

void recorder_setup(void)
{
    redis_setup();
    snprintf(store_path, sizeof store_path, "%s/learn.db", redis.folder);
}

void recorder_teardown(void)
{
    redis_teardown();
}

/* ---- recorders ------------------------------------------------------------------------------- */

pid_t spawn_recorder(const char *id, const char *const *flags, int *port)
{
    char program[512];
    char http[32];
    char log[300];

    *port = test_free_port();
    snprintf(http, sizeof http, "127.0.0.1:%d", *port);
    snprintf(log, sizeof log, "%s/%s.log", redis.folder, id);
    const char *argv[48] = {test_program("stillhouse-worker", program),
                            "--worker-id",
                            id,
                            "--http",
                            http,
                            "--lanes",
                            "2",
                            "--batch",
                            "16",
                            "--visibility",
                            "1s",
                            "--retry-base",
                            "20ms",
                            "--retry-max",
                            "200ms",
                            "--breaker-pause",
                            "200ms",
                            "--learn-refresh",
                            "100ms"};
    for (size_t i = 0; flags[i] != NULL; i++) {
        argv[19 + i] = flags[i];
    }
    return test_spawn(argv, log);
}

pid_t start_recorder_at(const char *redis_url, const char *id, const char *file, int *port)
{
    const char *const flags[] = {"--queues",    "record",  "--learn", file,
                                 "--redis-url", redis_url, NULL};

    return spawn_recorder(id, flags, port);
}

pid_t start_recorder(const char *id, const char *file, int *port)
{
    return start_recorder_at(redis.url, id, file, port);
}

void end_recorder(pid_t pid, int signal)
{
    int state = 0;

    cr_assert_eq(kill(pid, signal), 0);
    cr_assert_eq(waitpid(pid, &state, 0), pid);
    cr_assert(signal == SIGKILL || (WIFEXITED(state) && WEXITSTATUS(state) == 0), "state %d",
              state);
}

void wait_for_page(int port, const char *name, const char *words)
{
    const int64_t until_ms = clock_now_ms() + RECORDER_PATIENCE_MS;

    while (strstr(test_page(port, name), words) == NULL) {
        cr_assert(clock_now_ms() < until_ms, "%s never says %s: %s", name, words,
                  test_page(port, name));
        clock_sleep_ms(RECORDER_POLL_MS);
    }
}

/* ---- records --------------------------------------------------------------------------------- */

void push_record(const char *id, const struct record_body *record)
{
    const struct queue queue = queue_named("record");
    struct strbuf body = {0};
    struct queue_answer answer;

    bodies_encode_record(record, &body);
    const struct queue_item item = {text(id), text("acme.shop"), text(""), {body.data, body.bytes}};
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    strbuf_free(&body);
}

/* One of the three parts of task `number`. */
void push_part(size_t number, size_t which, size_t times)
{
    static const char *const kinds[] = {"routing", "outcome", "feedback"};
    char id[64];
    char task_id[32];
    struct record_body part = {.kind = text(kinds[which])};

    snprintf(id, sizeof id, "t-%zu.%zu.%zu", number, which, times);
    snprintf(task_id, sizeof task_id, "t-%zu", number);
    part.task_id = text(task_id);
    if (which == 0) {
        part.task_type = text("bugfix");
        part.model_tier = text("small");
        part.cost_estimate = (struct maybe_number){0.5, true};
    } else if (which == 1) {
        part.success = (struct maybe_truth){number % 4 != 0, true};
        part.duration_seconds = (struct maybe_number){(double)number, true};
        part.actual_cost = (struct maybe_number){0.25, true};
    } else {
        part.user_rating = (struct maybe_integer){4, true};
    }
    push_record(id, &part);
}

struct store_state state_of(const char *file)
{
    struct store *store = NULL;
    struct store_state state;

    OK(store_open(file, STORE_READ, &store, &err));
    OK(store_look(store, &state, &err));
    store_close(store);
    return state;
}
