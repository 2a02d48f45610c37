#include "recorder_fixture.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/enqueue.h"

enum { PAGE_BYTES = 64 * 1024 };

char store_path[300];
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

pid_t start_recorder_at(const char *redis_url, const char *id, const char *file, int *port)
{
    char program[512];
    char http[32];
    char log[300];

    *port = test_free_port();
    snprintf(http, sizeof http, "127.0.0.1:%d", *port);
    snprintf(log, sizeof log, "%s/%s.log", redis.folder, id);
    const char *const argv[] = {test_program("stillhouse-worker", program),
                                "--queues",
                                "record",
                                "--learn",
                                file,
                                "--worker-id",
                                id,
                                "--redis-url",
                                redis_url,
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
                                "100ms",
                                NULL};
    return test_spawn(argv, log);
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

/* A page of its endpoint; "" while nobody listens. */
const char *page(int port, const char *name)
{
    static char answer[PAGE_BYTES];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    char request[128];
    size_t used = 0;
    ssize_t got = 0;
    const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    answer[0] = '\0';
    if (connect(socket_fd, (const struct sockaddr *)&at, sizeof at) == 0) {
        const int bytes = snprintf(request, sizeof request,
                                   "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", name);
        cr_assert_eq(write(socket_fd, request, (size_t)bytes), bytes);
        while (used + 1 < sizeof answer &&
               (got = read(socket_fd, answer + used, sizeof answer - 1 - used)) > 0) {
            used += (size_t)got;
        }
        answer[used] = '\0';
    }
    close(socket_fd);
    return answer;
}

void wait_for_page(int port, const char *name, const char *words)
{
    const int64_t until_ms = clock_now_ms() + RECORDER_PATIENCE_MS;

    while (strstr(page(port, name), words) == NULL) {
        cr_assert(clock_now_ms() < until_ms, "%s never says %s: %s", name, words, page(port, name));
        clock_sleep_ms(RECORDER_POLL_MS);
    }
}

void wait_for_done(int64_t count)
{
    const int64_t until_ms = clock_now_ms() + RECORDER_PATIENCE_MS;
    struct queue_stats stats = stats_of("record");

    while (counter_in(&stats, "done") < count) {
        cr_assert(clock_now_ms() < until_ms, "done stays at %lld",
                  (long long)counter_in(&stats, "done"));
        clock_sleep_ms(RECORDER_POLL_MS);
        stats = stats_of("record");
    }
    check_balance(&stats);
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
