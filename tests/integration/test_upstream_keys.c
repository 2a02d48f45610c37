/* What the fleet knows of an operation: two processes, here two contexts, on one Redis. */
#include "context/asking.h"
#include "fleet_fixture.h"

struct process {
    struct context ctx;
    struct settings settings;
    struct metrics *metrics;
    struct upstreams *upstreams;
};

static struct process one;
static struct process other;
static atomic_llong redis_clock_ms;
static const struct error down = {.status = STATUS_UNREACHABLE, .text = "connection refused"};

static void open_process(struct process *process)
{
    struct error err = {0};

    process->settings = settings;
    process->metrics = metrics_new();
    process->upstreams = upstreams_new(&process->settings, process->metrics);
    process->ctx = (struct context){.settings = &process->settings,
                                    .metrics = process->metrics,
                                    .upstreams = process->upstreams,
                                    .redis_clock_ms = &redis_clock_ms};
    cr_assert_eq(context_open(&process->ctx, &err), STATUS_OK, "%s", err.text);
}

static void close_process(struct process *process)
{
    context_close(&process->ctx);
    upstreams_free(process->upstreams);
    metrics_free(process->metrics);
}

static void prepare(void)
{
    fleet_setup();
    atomic_store(&redis_clock_ms, clock_unix_ms() - clock_now_ms());
    settings.embedder = EMBEDDER_OPENAI;
    settings.embed_dimension = 2;
    settings.breaker_failures = 4;
    settings.breaker_pause_ms = 1000;
    open_process(&one);
    open_process(&other);
}

static void clean(void)
{
    close_process(&one);
    close_process(&other);
    fleet_teardown();
}

TestSuite(upstream_keys, .init = prepare, .fini = clean, .timeout = 60);

static void fail(struct process *process, const struct error *err)
{
    cr_assert_gt(asking_allow(&process->ctx, OPERATION_EMBED, 1), 0);
    asking_report(&process->ctx, OPERATION_EMBED, err->status, err);
}

static int64_t stat_of(const char *name)
{
    redisReply *reply = good_reply("INFO", "stats", NULL);
    const char *found = strstr(reply->str, name);
    cr_assert_not_null(found);
    const int64_t count = strtoll(found + strlen(name), NULL, 10);
    redis_reply_free(reply);
    return count;
}

static int64_t commands(void)
{
    return stat_of("total_commands_processed:");
}

static int64_t refusals(void)
{
    return stat_of("total_error_replies:");
}

static void change_rights(const char *rule)
{
    const char *const words[] = {"ACL", "SETUSER", "default", rule};
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        redis_args_str(&args, words[i]);
    }
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_args_free(&args);
    redis_reply_free(reply);
}

Test(upstream_keys, failures_that_are_spread_over_processes_open_the_breaker_of_each)
{
    fail(&one, &down);
    fail(&other, &down);
    fail(&one, &down);
    fail(&other, &down);
    cr_assert_eq(upstreams_state(other.upstreams, OPERATION_EMBED), BREAKER_OPEN);
    cr_assert_eq(asking_allow(&one.ctx, OPERATION_EMBED, 64), 0, "it hears of it");
    cr_assert_eq(upstreams_state(one.upstreams, OPERATION_EMBED), BREAKER_OPEN);
    cr_assert_eq(asking_allow(&one.ctx, OPERATION_WRITE, 64), 64, "and of nothing else");

    redisReply *ttl = good_reply("PTTL", "sh:upstream:embedder:embed", NULL);
    cr_assert(ttl->integer > 0 && ttl->integer <= 2 * 60 * 60 * 1000);
    redis_reply_free(ttl);
}

Test(upstream_keys, who_alone_does_not_get_there_stops_nobody_else)
{
    for (int i = 0; i < 4; i++) {
        fail(&one, &down);
        cr_assert_gt(asking_allow(&other.ctx, OPERATION_EMBED, 64), 0);
        asking_report(&other.ctx, OPERATION_EMBED, STATUS_OK, NULL);
    }
    while (upstreams_state(one.upstreams, OPERATION_EMBED) == BREAKER_CLOSED) {
        fail(&one, &down);
    }
    cr_assert_gt(asking_allow(&other.ctx, OPERATION_EMBED, 64), 0);
    cr_assert_eq(upstreams_state(other.upstreams, OPERATION_EMBED), BREAKER_CLOSED);
}

Test(upstream_keys, one_probes_for_all_and_all_go_on_after_it)
{
    for (int i = 0; i < 4; i++) {
        fail(&one, &down);
    }
    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 0);
    clock_sleep_ms(settings.breaker_pause_ms + 50);
    cr_assert_eq(asking_allow(&one.ctx, OPERATION_EMBED, 64), 1, "the probe");
    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 0, "another process probes");
    cr_assert_gt(upstreams_wait_ms(other.upstreams, OPERATION_EMBED), 0);
    asking_report(&one.ctx, OPERATION_EMBED, STATUS_OK, NULL);
    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 1, "it grows from one");
    asking_report(&other.ctx, OPERATION_EMBED, STATUS_OK, NULL);
    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 2);
}

Test(upstream_keys, a_wait_that_a_server_asked_for_holds_back_every_process_at_once)
{
    const struct error busy = {
        .status = STATUS_UNAVAILABLE, .retry_after_ms = 30000, .http_code = 429, .text = "busy"};
    const struct error for_ever = {.status = STATUS_UNAVAILABLE,
                                   .retry_after_ms = 1000 * 60 * 60 * 24,
                                   .http_code = 503,
                                   .text = "gone fishing"};

    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 64);
    asking_report(&other.ctx, OPERATION_EMBED, STATUS_OK, NULL);
    fail(&one, &busy);
    cr_assert_eq(asking_allow(&one.ctx, OPERATION_EMBED, 64), 0);
    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 0, "and the very next call");
    cr_assert_gt(upstreams_wait_ms(other.upstreams, OPERATION_EMBED), 25000);

    asking_report(&other.ctx, OPERATION_QUERY, STATUS_UNAVAILABLE, &for_ever);
    cr_assert_leq(upstreams_wait_ms(other.upstreams, OPERATION_QUERY), 60 * 60 * 1000);
}

Test(upstream_keys, a_success_is_told_when_it_is_news_and_else_every_few_seconds)
{
    fail(&one, &down);
    cr_assert_gt(asking_allow(&one.ctx, OPERATION_EMBED, 1), 0);
    asking_report(&one.ctx, OPERATION_EMBED, STATUS_OK, NULL);
    redisReply *failures = good_reply("HGETALL", "sh:upstream:embedder:embed", NULL);
    for (size_t i = 0; i + 1 < failures->elements; i += 2) {
        if (strcmp(failures->element[i]->str, "failures") == 0) {
            cr_assert_str_eq(failures->element[i + 1]->str, "0");
        }
    }
    redis_reply_free(failures);

    const int64_t before = commands();
    for (int i = 0; i < 100; i++) {
        cr_assert_gt(asking_allow(&one.ctx, OPERATION_EMBED, 1), 0);
        asking_report(&one.ctx, OPERATION_EMBED, STATUS_OK, NULL);
    }
    cr_assert_leq(commands() - before, 102, "one read a call, no writes");
}

Test(upstream_keys, what_is_no_hash_counts_as_nothing_and_is_written_anew)
{
    redis_reply_free(good_reply("INCR", "sh:upstream:embedder:embed", NULL));
    cr_assert_eq(asking_allow(&one.ctx, OPERATION_EMBED, 64), 64);
    asking_report(&one.ctx, OPERATION_EMBED, STATUS_UNREACHABLE, &down);
    redisReply *type = good_reply("TYPE", "sh:upstream:embedder:embed", NULL);
    cr_assert_str_eq(type->str, "hash");
    redis_reply_free(type);
}

Test(upstream_keys, where_redis_refuses_it_is_let_alone_for_some_seconds)
{
    change_rights("-hmget");
    int64_t before = refusals();
    for (int i = 0; i < 3; i++) {
        fail(&one, &down);
    }
    cr_assert_eq(refusals() - before, 1, "the first question");

    change_rights("+hmget");
    change_rights("-hset");
    before = refusals();
    for (int i = 0; i < 3; i++) {
        fail(&other, &down);
    }
    cr_assert_eq(refusals() - before, 1, "the first word");
    change_rights("allcommands");
}

Test(upstream_keys, who_has_other_settings_is_not_concerned)
{
    close_process(&other);
    snprintf(settings.embed_key, sizeof settings.embed_key, "another key");
    open_process(&other);
    for (int i = 0; i < 4; i++) {
        fail(&one, &down);
    }
    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 64);
    asking_report(&other.ctx, OPERATION_EMBED, STATUS_OK, NULL);
    clock_sleep_ms(settings.breaker_pause_ms + 50);
    cr_assert_eq(asking_allow(&one.ctx, OPERATION_EMBED, 64), 1);
    cr_assert_eq(upstreams_state(one.upstreams, OPERATION_EMBED), BREAKER_HALF_OPEN);
}

Test(upstream_keys, without_redis_each_process_goes_on_by_itself)
{
    test_server_kill(&redis);
    for (int i = 0; i < 4; i++) {
        fail(&one, &down);
    }
    cr_assert_eq(asking_allow(&one.ctx, OPERATION_EMBED, 64), 0);
    cr_assert_eq(asking_allow(&other.ctx, OPERATION_EMBED, 64), 64);
}

Test(upstream_keys, an_idle_worker_learns_that_an_upstream_is_there_again)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    start_fleet();
    struct upstreams *idle = fleet_worker(fleet)->upstreams;
    for (int i = 0; i < 4; i++) {
        upstreams_report(idle, OPERATION_WRITE, STATUS_UNREACHABLE, &down);
    }
    cr_assert_eq(upstreams_state(idle, OPERATION_WRITE), BREAKER_OPEN);
    /* The other one goes on working: a success in the millisecond of the failure says nothing. */
    while (upstreams_state(idle, OPERATION_WRITE) != BREAKER_CLOSED) {
        cr_assert_lt(clock_now_ms(), until_ms, "it was not told");
        if (asking_allow(&other.ctx, OPERATION_WRITE, 1) > 0) {
            asking_report(&other.ctx, OPERATION_WRITE, STATUS_OK, NULL);
        }
        clock_sleep_ms(20);
    }
    stop_fleet();
}
