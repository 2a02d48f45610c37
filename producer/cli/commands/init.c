/* cli/commands/init.c - everything a Redis needs before the first job; and a job there and back:
 * queue, worker and reply in one number. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/fleet.h"
#include "queue/queue.h"
#include "redis/info.h"

/* ---- init ---------------------------------------------------------------------------------- */

static enum status prepare_queues(const struct cli *cli, struct redis_conn *conn, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < KINDS; i++) {
        struct queue queue;
        status = queue_init(&queue, cli->settings.prefix, job_kinds[i].name, err);
        if (status == STATUS_OK) {
            status = queue_prepare(conn, &queue, err);
        }
    }
    return status;
}

static void warn_of_eviction(const struct redis_info *info)
{
    char policy[REDIS_INFO_BYTES];
    const enum redis_eviction eviction = redis_info_eviction(info, policy);

    if (eviction == REDIS_EVICTS_ALL || eviction == REDIS_EVICTS_MORTAL) {
        cli_message("warning: maxmemory-policy is \"%s\", which may throw jobs away; set it to "
                    "noeviction",
                    policy);
    }
}

static void print_ready(const struct redis_conn *conn, const char *version, bool loaded)
{
    printf("Redis %s at ", version);
    output_text(redis_conn_where(conn));
    puts(loaded ? "\nfunctions loaded" : "\nfunctions were there already");
    fputs("queues prepared:", stdout);
    for (size_t i = 0; i < KINDS; i++) {
        printf(" %s", job_kinds[i].name);
    }
    putchar('\n');
}

static void print_ready_json(const char *version, bool loaded)
{
    struct output out;
    struct json_writer *json = output_object(&out);
    json_put_str(json, "redis_version", version);
    json_put_bool(json, "loaded", loaded);
    json_open(json, "queues", '[');
    for (size_t i = 0; i < KINDS; i++) {
        json_put_str(json, NULL, job_kinds[i].name);
    }
    json_close(json, ']');
    output_end(&out);
}

int cmd_init(struct cli *cli)
{
    struct redis_conn *conn = cli_redis(cli);
    struct redis_info info = {0};
    struct error err = {0};
    bool loaded = false;
    int code = CLI_DONE;

    if (queue_install(conn, &loaded, &err) != STATUS_OK ||
        prepare_queues(cli, conn, &err) != STATUS_OK ||
        redis_info_get(conn, "default", &info, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else {
        char version[REDIS_INFO_BYTES];
        warn_of_eviction(&info);
        redis_info_text(&info, "redis_version", version);
        cli->json ? print_ready_json(version, loaded) : print_ready(conn, version, loaded);
    }
    redis_info_free(&info);
    redis_conn_free(conn);
    return code;
}

/* ---- ping ---------------------------------------------------------------------------------- */

enum { COUNT_DEFAULT = 4, COUNT_MAX = 1000000, WAIT_DEFAULT_MS = 5000, WAIT_MAX_MS = 3600000 };

/* fixmap {"ping": true} */
static const char body[] = "\x81\xa4ping\xc3";

struct tally {
    int64_t sent;
    int64_t answered;
    double min_ms;
    double sum_ms;
    double max_ms;
};

static void count_answer(struct tally *tally, double ms)
{
    tally->min_ms = tally->answered == 0 || ms < tally->min_ms ? ms : tally->min_ms;
    tally->max_ms = ms > tally->max_ms ? ms : tally->max_ms;
    tally->sum_ms += ms;
    tally->answered++;
}

/* One job. A reply that does not come in time is no failure of the call. */
static stillhouse_status ping_once(stillhouse_client *client, int64_t wait_ms, struct tally *tally,
                                   bool quiet)
{
    const stillhouse_job_options options = {
        .priority = STILLHOUSE_HIGH, .deadline_ms = wait_ms, .reply = true};
    char id[STILLHOUSE_ID_BYTES];
    void *reply = NULL;
    size_t reply_bytes = 0;

    const int64_t start_ns = clock_now_ns();
    stillhouse_status status = stillhouse_enqueue_raw(client, job_kinds[KIND_echo].name, "ping",
                                                      body, sizeof body - 1, &options, id);
    if (status != STILLHOUSE_OK) {
        return status;
    }
    tally->sent++;
    status = stillhouse_await_raw(client, job_kinds[KIND_echo].name, id, (int)wait_ms, &reply,
                                  &reply_bytes);
    const double ms = (double)(clock_now_ns() - start_ns) / 1e6;
    if (status == STILLHOUSE_OK) {
        count_answer(tally, ms);
        free(reply);
    }
    if (!quiet && status == STILLHOUSE_OK) {
        printf("%s  %.2f ms\n", id, ms);
    } else if (!quiet && status == STILLHOUSE_NOT_FOUND) {
        printf("%s  no answer within %" PRId64 " ms\n", id, wait_ms);
    }
    fflush(stdout);
    return status == STILLHOUSE_NOT_FOUND ? STILLHOUSE_OK : status;
}

static void print_tally(const struct cli *cli, const struct tally *tally)
{
    const double average = tally->answered == 0 ? 0 : tally->sum_ms / (double)tally->answered;

    if (!cli->json) {
        printf("%" PRId64 " sent, %" PRId64 " answered", tally->sent, tally->answered);
        if (tally->answered > 0) {
            printf(", round trip min/avg/max %.2f/%.2f/%.2f ms", tally->min_ms, average,
                   tally->max_ms);
        }
        putchar('\n');
        return;
    }
    struct output out;
    struct json_writer *json = output_object(&out);
    json_put_int(json, "sent", tally->sent);
    json_put_int(json, "answered", tally->answered);
    strbuf_printf(json_put(json, "min_ms"), "%.3f", tally->min_ms);
    strbuf_printf(json_put(json, "avg_ms"), "%.3f", average);
    strbuf_printf(json_put(json, "max_ms"), "%.3f", tally->max_ms);
    output_end(&out);
}

int cmd_ping(struct cli *cli)
{
    const int64_t count = cli_int(cli, "count", 1, COUNT_MAX, COUNT_DEFAULT);
    const int64_t wait_ms = cli_duration(cli, "wait", WAIT_MAX_MS, WAIT_DEFAULT_MS);
    struct tally tally = {0};

    if (wait_ms == 0) {
        cli_usage(cli->command, "--wait \"0\": expected at least 1ms");
    }
    stillhouse_client *client =
        cli_client(cli, (struct client_bounds){CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, false});
    stillhouse_status status = STILLHOUSE_OK;
    for (int64_t i = 0; status == STILLHOUSE_OK && i < count; i++) {
        status = ping_once(client, wait_ms, &tally, cli->json);
    }
    int code = CLI_DONE;
    if (status != STILLHOUSE_OK) {
        code = client_fail(client, status);
    } else {
        print_tally(cli, &tally);
        if (tally.answered == 0) {
            cli_message("no worker answered; is one running that serves queue \"echo\", and is it "
                        "paused? `stillhouse stats` shows both");
            code = CLI_NOT_FOUND;
        }
    }
    stillhouse_close(client);
    return code;
}
