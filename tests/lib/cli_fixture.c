#include "cli_fixture.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/settle.h"
#include "queue/take.h"

char out[1 << 18];
char err_out[1 << 16];

void start_redis(void)
{
    redis_setup();
    setenv("STILLHOUSE_REDIS_URL", redis.url, 1);
}

/* ---- the program --------------------------------------------------------------------------- */

int run_with(const char *input, const char *const *words)
{
    char program[512];
    const char *argv[32] = {test_program("stillhouse", program)};

    for (size_t count = 1; *words != NULL && count < 31; count++) {
        argv[count] = *words++;
    }
    return test_run(argv, input, out, sizeof out, err_out, sizeof err_out);
}

cJSON *document(void)
{
    const char *end = NULL;
    cJSON *parsed = cJSON_ParseWithOpts(out, &end, false);

    cr_assert_not_null(parsed, "not JSON: %s", out);
    cr_assert_eq(strspn(end, "\n"), strlen(end), "something behind the document: %s", end);
    return parsed;
}

double number_at(const cJSON *from, const char *path)
{
    char name[64];

    for (; *path != '\0'; path += *path == '.') {
        const size_t bytes = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)bytes, path);
        from = cJSON_GetObjectItemCaseSensitive(from, name);
        cr_assert_not_null(from, "no \"%s\" in %s", name, out);
        path += bytes;
    }
    cr_assert(cJSON_IsNumber(from));
    return from->valuedouble;
}

const char *text_at(const cJSON *from, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, name);

    cr_assert(cJSON_IsString(item), "no text \"%s\" in %s", name, out);
    return item->valuestring;
}

double stat_of(const char *path)
{
    RUN(0, "stats", "--json");
    cJSON *stats = document();
    const double number = number_at(stats, path);
    cJSON_Delete(stats);
    return number;
}

/* ---- a worker that knows one answer -------------------------------------------------------- */

pid_t start_answering(const char *name, const char *reply, size_t reply_bytes)
{
    const pid_t pid = fork();

    cr_assert(pid >= 0);
    if (pid > 0) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const struct queue queue = queue_named(name);
    struct redis_url url;
    struct queue_batch batch = {0};
    if (redis_url_parse(redis.url, &url, NULL) != STATUS_OK) {
        _exit(1);
    }
    struct redis_conn *own = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    if (own == NULL || queue_prepare(own, &queue, NULL) != STATUS_OK) {
        _exit(1);
    }
    for (;;) {
        const char *streams[] = {queue.stream[0], queue.stream[1], queue.stream[2]};
        redisReply *answer = NULL;
        if (queue_read_append(own, &(struct queue_read){"w", 10, 1000, streams, 3}, NULL) !=
                STATUS_OK ||
            redis_conn_collect(own, &answer, NULL) != STATUS_OK ||
            queue_read_parse(&queue, answer, &batch, NULL) != STATUS_OK) {
            _exit(1);
        }
        for (size_t i = 0; i < batch.count; i++) {
            struct queue_end item = {.job = &batch.jobs[i],
                                     .reply = reply == NULL ? batch.jobs[i].body
                                                            : (struct slice){reply, reply_bytes}};
            if (queue_finish(own, &(struct queue_holder){.queue = &queue, .consumer = "w"}, &item,
                             1, NULL) != STATUS_OK) {
                _exit(1);
            }
        }
        redis_reply_free(answer);
        queue_batch_reset(&batch);
    }
}

void stop_answering(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
