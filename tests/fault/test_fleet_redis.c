/* A fleet whose Redis is there and says no: the library is flushed, permissions are taken, groups
 * vanish, the disk or the memory is full. Nothing is lost, nothing runs hot, and work goes on when
 * it may. */
#include "fleet_fixture.h"
#include "jobs/bodies.h"
#include "queue/enqueue.h"
#include "queue/operate.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOG_WINDOW_MS = 5000 };

TestSuite(fleet_redis, .init = fleet_setup, .fini = fleet_teardown, .timeout = 180);

/* A command that may be refused: its status. */
static enum status tell(const char *const *words)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    for (; *words != NULL; words++) {
        redis_args_str(&args, *words);
    }
    const enum status status = redis_conn_command(conn, &args, &reply, &err);
    redis_args_free(&args);
    redis_reply_free(reply);
    return status;
}

#define TELL(...) tell((const char *const[]){__VA_ARGS__, NULL})
#define TELL_OK(...) cr_assert_eq(TELL(__VA_ARGS__), STATUS_OK)

/* The number behind `name` in a section of INFO, 0 for none. */
static long long info(const char *section, const char *name)
{
    redisReply *reply = good_reply("INFO", section, NULL);
    const char *found = strstr(reply->str, name);
    const long long number = found == NULL ? 0 : atoll(found + strlen(name));

    redis_reply_free(reply);
    return number;
}

static enum status enqueue_echo(const char *id)
{
    struct queue queue = queue_named("echo");
    const struct queue_item item = {{id, strlen(id)}, {"legal", 5}, {"", 0}, {"x", 1}};
    struct queue_answer answer;
    struct error err = {0};

    return queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err);
}

static void wait_until_ready(bool ready)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (fleet_redis_ready(fleet) != ready) {
        cr_assert(clock_now_ms() < until_ms, "the fleet stays %s", ready ? "unready" : "ready");
        clock_sleep_ms(POLL_MS);
    }
}

static void wait_until_running(const char *name, int64_t count)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (stats_of(name).running != count) {
        cr_assert(clock_now_ms() < until_ms, "queue %s: %lld run", name,
                  (long long)stats_of(name).running);
        clock_sleep_ms(POLL_MS);
    }
}

/* One enrichment is done, a second one runs and waits for a Chroma that is frozen. */
static void start_fleet_with_a_running_job(void)
{
    start_fleet();
    push_enrich("legal", "first", "make the collection known", 3, "");
    wait_for("enrich", "done", 1);
    test_server_freeze(&chroma_server, true);
    push_enrich("legal", "a", "a query", 3, "");
    wait_until_running("enrich", 1);
}

/* ---- what is written to standard error ------------------------------------------------------- */

static int stderr_kept = -1;

static void catch_log(void)
{
    char path[300];

    log_set_level(LOG_WARNING);
    snprintf(path, sizeof path, "%s/fleet.log", redis.folder);
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    cr_assert_geq(file, 0);
    fflush(stderr);
    stderr_kept = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    close(file);
}

/* Lines that hold `part`. */
static int release_log(const char *part)
{
    char path[300];
    char line[2048];
    int count = 0;

    fflush(stderr);
    dup2(stderr_kept, STDERR_FILENO);
    close(stderr_kept);
    snprintf(path, sizeof path, "%s/fleet.log", redis.folder);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        count += strstr(line, part) != NULL;
    }
    fclose(file);
    return count;
}

/* ---- the library ----------------------------------------------------------------------------- */

/* One lane, which is busy: nobody reads, so only the commit can find the library gone. */
Test(fleet_redis, a_job_that_ran_while_the_library_was_flushed_is_finished_without_a_takeover)
{
    settings.lanes = 1;
    start_fleet_with_a_running_job();
    TELL_OK("FUNCTION", "FLUSH");
    test_server_freeze(&chroma_server, false);

    struct queue queue = queue_named("enrich");
    struct queue_stats stats = {0};
    struct error err = {0};
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS; /* the visibility timeout is 60 s */
    while (stats.counters[QUEUE_DONE] < 2) {
        cr_assert(clock_now_ms() < until_ms, "%s", err.text);
        clock_sleep_ms(POLL_MS);
        if (queue_get_stats(conn, &queue, &stats, &err) != STATUS_OK) {
            stats = (struct queue_stats){0}; /* flushed, and not loaded again yet */
        }
    }
    cr_assert_eq(stats.counters[QUEUE_RECLAIMED], 0);
    cr_assert_eq(queue_check_balance(&stats).jobs, 0);
    stop_fleet();
}

/* ---- permissions ----------------------------------------------------------------------------- */

static void log_in_as_fleet(void)
{
    TELL_OK("ACL", "SETUSER", "fleet", "on", ">secret", "~*", "&*", "+@all");
    snprintf(settings.redis_url, sizeof settings.redis_url, "redis://fleet:secret@127.0.0.1:%d/0",
             redis.port);
}

Test(fleet_redis, without_permission_the_fleet_is_unready_and_quiet_and_goes_on_when_it_is_given)
{
    log_in_as_fleet();
    catch_log();
    start_fleet();
    push("echo", "a", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    TELL_OK("CONFIG", "RESETSTAT");
    TELL_OK("ACL", "SETUSER", "fleet", "-xreadgroup");
    const int64_t start_ms = clock_now_ms();
    wait_until_ready(false);
    push("echo", "b", "legal", "", "x", 1);
    /* Long enough for a hot loop to show: the longest pause between two attempts is 5 s. */
    while (clock_now_ms() - start_ms < 3000) {
        cr_assert_not(fleet_redis_ready(fleet));
        clock_sleep_ms(100);
    }
    const long long refused = info("errorstats", "errorstat_NOPERM:count=");
    cr_assert_geq(refused, 1);
    cr_assert_lt(refused, 40, "%lld attempts in 3 s", refused);
    cr_assert(fleet_is_alive(fleet));
    TELL_OK("ACL", "SETUSER", "fleet", "+xreadgroup");
    wait_for("echo", "done", 2);
    wait_until_ready(true);
    const int64_t windows = (clock_now_ms() - start_ms) / LOG_WINDOW_MS + 1;
    stop_fleet();
    const int lines = release_log("NOPERM");
    cr_assert_geq(lines, 1);
    cr_assert_leq(lines, windows, "%d lines", lines);
}

Test(fleet_redis, a_fleet_that_is_not_let_in_waits_and_goes_on_when_it_is)
{
    start_fleet();
    push("echo", "a", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    TELL_OK("CONFIG", "SET", "requirepass", "secret");
    TELL_OK("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    wait_until_ready(false);
    push("echo", "b", "legal", "", "x", 1);
    const long long before = info("errorstats", "errorstat_NOAUTH:count=");
    const int64_t start_ms = clock_now_ms();
    while (clock_now_ms() - start_ms < 2000) {
        cr_assert_not(fleet_redis_ready(fleet));
        clock_sleep_ms(100);
    }
    const long long refused = info("errorstats", "errorstat_NOAUTH:count=") - before;
    cr_assert_lt(refused, 60, "%lld attempts in 2 s", refused);
    TELL_OK("CONFIG", "SET", "requirepass", "");
    wait_for("echo", "done", 2);
    wait_until_ready(true);
    stop_fleet();
}

/* ---- groups and streams ---------------------------------------------------------------------- */

Test(fleet_redis, groups_that_vanish_under_a_waiting_fleet_are_made_again_without_a_hot_loop)
{
    int64_t done = 0;
    char id[16];

    settings.lanes = 4;
    start_fleet();
    push("echo", "first", "legal", "", "x", 1);
    wait_for("echo", "done", ++done);
    TELL_OK("CONFIG", "RESETSTAT");
    const int64_t start_ms = clock_now_ms();
    for (int round = 0; round < 3; round++) {
        TELL_OK("XGROUP", "DESTROY", "sh:{echo}:jobs", "fleet");
        snprintf(id, sizeof id, "g%d", round);
        push("echo", id, "legal", "", "x", 1);
        wait_for("echo", "done", ++done);
        TELL_OK("DEL", "sh:{echo}:jobs", "sh:{enrich}:jobs:high", "sh:{index}:jobs:low");
        snprintf(id, sizeof id, "s%d", round);
        push("echo", id, "legal", "", "x", 1);
        wait_for("echo", "done", ++done);
        TELL_OK("FLUSHALL");
        done = 0; /* the counters are gone too */
        snprintf(id, sizeof id, "f%d", round);
        push("echo", id, "legal", "", "x", 1);
        wait_for("echo", "done", ++done);
    }
    const int64_t seconds = (clock_now_ms() - start_ms) / 1000 + 1;
    const long long created = info("commandstats", "cmdstat_xgroup|create:calls=");
    const long long reads = info("commandstats", "cmdstat_xreadgroup:calls=");
    const long long gone = info("errorstats", "errorstat_NOGROUP:count=");
    cr_assert_geq(created, 3, "they are made again");
    cr_assert_lt(created, 9 * 12 * 4, "%lld XGROUP CREATE", created);
    cr_assert_lt(gone, 9 * 8, "%lld NOGROUP", gone);
    cr_assert_lt(reads, 9 * 50 + seconds * 50, "%lld XREADGROUP in %lld s", reads,
                 (long long)seconds);
    wait_until_ready(true);
    stop_fleet();
}

/* ---- a full disk ----------------------------------------------------------------------------- */

/* RDB files cannot be written where a folder bears their name. */
static void spoil_saving(bool spoilt)
{
    char path[300];
    char inside[320];

    snprintf(path, sizeof path, "%s/dump.rdb", redis.folder);
    snprintf(inside, sizeof inside, "%s/x", path);
    if (spoilt) {
        cr_assert_eq(mkdir(path, 0700), 0);
        cr_assert_eq(mkdir(inside, 0700), 0);
    } else {
        cr_assert_eq(rmdir(inside), 0);
        cr_assert_eq(rmdir(path), 0);
    }
}

static void save(bool expected)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    TELL_OK("BGSAVE");
    while (info("persistence", "rdb_bgsave_in_progress:") != 0) {
        cr_assert(clock_now_ms() < until_ms, "saving does not end");
        clock_sleep_ms(POLL_MS);
    }
    redisReply *reply = good_reply("INFO", "persistence", NULL);
    cr_assert_eq(strstr(reply->str, "rdb_last_bgsave_status:ok") != NULL, expected);
    redis_reply_free(reply);
}

Test(fleet_redis, while_redis_cannot_save_nothing_is_taken_and_nothing_lost)
{
    start_fleet();
    push("echo", "a", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    TELL_OK("CONFIG", "SET", "save", "3600 1000000");
    spoil_saving(true);
    save(false);
    cr_assert_eq(enqueue_echo("b"), STATUS_UNAVAILABLE);
    wait_until_ready(false);
    cr_assert(fleet_is_alive(fleet));
    spoil_saving(false);
    save(true);
    push("echo", "b", "legal", "", "x", 1);
    wait_for("echo", "done", 2);
    wait_until_ready(true);
    cr_assert_eq(counter_of("echo", "enqueued"), 2);
    stop_fleet();
}

/* ---- no memory ------------------------------------------------------------------------------- */

Test(fleet_redis, without_memory_jobs_are_refused_but_those_that_wait_are_done_and_counted)
{
    char id[16];

    for (int i = 0; i < 200; i++) {
        snprintf(id, sizeof id, "j-%d", i);
        push("echo", id, "legal", i % 10 == 0 ? "delay_ms=1500" : "", "x", 1);
    }
    TELL_OK("CONFIG", "SET", "maxmemory", "1");
    cr_assert_eq(enqueue_echo("refused"), STATUS_OOM);
    start_fleet();
    wait_for("echo", "done", 180);
    cr_assert(fleet_redis_ready(fleet), "out of memory is no outage");
    wait_for("echo", "done", 200); /* those that were delayed too: moving them takes no room */
    cr_assert_eq(enqueue_echo("refused"), STATUS_OOM);

    TELL_OK("CONFIG", "SET", "maxmemory", "0");
    push("echo", "after", "legal", "", "x", 1);
    wait_for("echo", "done", 201);
    const struct queue_stats stats = stats_of("echo");
    cr_assert_eq(stats.counters[QUEUE_ENQUEUED], 201);
    cr_assert_eq(stats.counters[QUEUE_RECLAIMED], 0);
    cr_assert_eq(stats.dead, 0);
    stop_fleet();
}

enum { OF_A_KIND = 40 };

static const char *const kinds[] = {"distill", "enrich", "index"};

static void push_index(const char *id, const char *options)
{
    struct index_document document = {.id = {id, strlen(id)}, .text = {id, strlen(id)}};
    struct strbuf body = {0};

    bodies_encode_index(&(struct index_body){.documents = {&document, 1}}, &body);
    push("index", id, "legal", options, body.data, body.bytes);
    strbuf_free(&body);
}

/* Of each kind 40: those of a unique key that is held meanwhile, and those that are due later. */
static void push_some_of_each_kind(void)
{
    char id[24];
    char options[40] = "";

    for (int i = 0; i < OF_A_KIND; i++) {
        snprintf(id, sizeof id, "t-%d", i);
        if (i % 4 == 0) {
            snprintf(options, sizeof options, "delay_ms=%d", 5 * i);
        } else {
            snprintf(options, sizeof options, "unique=u-%d", i);
        }
        push_distill("legal", id, i % 2 == 0 ? "the same prompt" : id, "a result", 0.9, options);
        push_enrich("legal", id, id, 3, options);
        push_index(id, options);
    }
}

/* What needs room in Redis for its own sake is done without it, or with the little that it takes.
 */
static void wait_until_all_is_done_without_memory(void)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        wait_for(kinds[i], "done", OF_A_KIND);
        const struct queue_stats stats = stats_of(kinds[i]);
        cr_assert_eq(stats.waiting + stats.running + stats.delayed + stats.dead, 0, "%s", kinds[i]);
        cr_assert_eq(stats.counters[QUEUE_RETRIED], 0, "%s", kinds[i]);
        cr_assert_eq(stats.counters[QUEUE_PARKED], 0, "%s", kinds[i]);
        cr_assert_eq(stats.counters[QUEUE_RECLAIMED], 0, "%s", kinds[i]);
    }
    cr_assert_eq(enqueue_echo("refused"), STATUS_OOM);
}

static int64_t epoch_at(struct redis_conn *of)
{
    redisReply *reply = NULL;
    struct error err = {0};

    OK(redis_commandf(of, &reply, &err, "GET sh:epoch:{legal}"));
    const int64_t epoch = reply->type == REDIS_REPLY_STRING ? atoll(reply->str) : 0;
    redis_reply_free(reply);
    return epoch;
}

Test(fleet_redis, a_full_redis_gets_rid_of_all_its_jobs_by_itself)
{
    struct arena arena = {0};
    struct enrich_result result;

    settings.max_attempts = 1;
    push_some_of_each_kind();
    TELL_OK("CONFIG", "SET", "maxmemory", "1");
    catch_log();
    start_fleet();
    wait_until_all_is_done_without_memory();
    cr_assert(fleet_redis_ready(fleet), "out of memory is no outage");
    const int64_t epoch = epoch_at(conn);
    cr_assert(epoch > 0 && epoch <= 2 * OF_A_KIND, "%lld", (long long)epoch);
    cr_assert_not(cached("legal", "t-1", &arena, &result));

    TELL_OK("CONFIG", "SET", "maxmemory", "0");
    push_enrich("legal", "after", "t-1", 3, "");
    wait_for("enrich", "done", OF_A_KIND + 1);
    cr_assert(cached("legal", "t-1", &arena, &result));
    cr_assert_eq(result.count, 3);
    arena_free(&arena);
    stop_fleet();
    cr_assert_geq(release_log("results are not kept"), 1);
}

Test(fleet_redis, without_memory_an_epoch_that_is_no_number_begins_anew)
{
    TELL_OK("RPUSH", "sh:epoch:{legal}", "oops");
    push_distill("legal", "t", "a prompt", "a result", 0.9, "");
    TELL_OK("CONFIG", "SET", "maxmemory", "1");
    start_fleet();
    wait_for("distill", "done", 1);
    cr_assert_gt(epoch_at(conn), 1000000000000);
    stop_fleet();
}

/* It knows no function of ours. */
Test(fleet_redis, a_cache_of_its_own_that_is_full_keeps_no_job)
{
    struct test_server cache;
    struct redis_url url;
    struct error err = {0};

    test_redis_start(&cache, NULL);
    OK(redis_url_parse(cache.url, &url, &err));
    struct redis_conn *to_cache = redis_conn_new(&url, (struct redis_timeouts){2000, 2000});
    OK(redis_commandf(to_cache, NULL, &err, "CONFIG SET maxmemory 1"));
    snprintf(settings.cache_url, sizeof settings.cache_url, "%s", cache.url);
    push_some_of_each_kind();
    start_fleet();
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        wait_for(kinds[i], "done", OF_A_KIND);
        cr_assert_eq(counter_of(kinds[i], "parked"), 0);
    }
    cr_assert_gt(epoch_at(to_cache), 0);
    stop_fleet();
    redis_conn_free(to_cache);
    test_server_stop(&cache);
}

Test(fleet_redis, without_memory_a_long_job_still_beats_and_is_not_taken_over)
{
    settings.visibility_ms = 1000;
    start_fleet_with_a_running_job();
    TELL_OK("CONFIG", "SET", "maxmemory", "1");
    const int64_t start_ms = clock_now_ms();
    while (clock_now_ms() - start_ms < 3 * settings.visibility_ms) {
        cr_assert_eq(counter_of("enrich", "reclaimed"), 0, "it was taken over");
        clock_sleep_ms(50);
    }
    TELL_OK("CONFIG", "SET", "maxmemory", "0");
    test_server_freeze(&chroma_server, false);
    wait_for("enrich", "done", 2);
    cr_assert_eq(counter_of("enrich", "reclaimed"), 0);
    stop_fleet();
}

/* ---- a cache of its own that hangs ----------------------------------------------------------- */

/* What the janitor does between its looks at the cache: promoting due jobs. */
Test(fleet_redis, a_cache_that_hangs_holds_up_no_delayed_job)
{
    const int64_t start_ms = clock_now_ms();
    int64_t longest_ms = 0;
    struct test_server cache;
    char id[16];

    test_redis_start(&cache, NULL);
    snprintf(settings.cache_url, sizeof settings.cache_url, "%s", cache.url);
    settings.breaker_failures = 1;
    settings.breaker_pause_ms = 600000;
    start_fleet();
    test_server_stop(&chroma_server);
    push_distill("legal", "t", "a prompt", "a result", 0.9, "");
    wait_for("distill", "parked", 1);
    test_server_freeze(&cache, true);
    for (int i = 0; clock_now_ms() - start_ms < 7000; i++) {
        const int64_t pushed_ms = clock_now_ms();
        snprintf(id, sizeof id, "e-%d", i);
        push("echo", id, "legal", "delay_ms=10", "x", 1);
        wait_for("echo", "done", i + 1);
        const int64_t took_ms = clock_now_ms() - pushed_ms;
        longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
    }
    cr_assert_lt(longest_ms, 2500, "%lld ms", (long long)longest_ms);
    test_server_freeze(&cache, false);
    test_chroma_start(&chroma_server); /* for the teardown */
    stop_fleet();
    test_server_stop(&cache);
}

/* ---- lanes that are cut off ------------------------------------------------------------------ */

/* Kills the connections whose last command was `command`; how many there were. */
static int kill_clients(const char *command)
{
    redisReply *reply = good_reply("CLIENT", "LIST", NULL);
    char wanted[64];
    char *rest = NULL;
    int killed = 0;

    snprintf(wanted, sizeof wanted, " cmd=%s ", command);
    for (char *line = strtok_r(reply->str, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, wanted) != NULL) {
            char id[32];
            snprintf(id, sizeof id, "%lld", atoll(line + strlen("id=")));
            TELL_OK("CLIENT", "KILL", "ID", id);
            killed++;
        }
    }
    redis_reply_free(reply);
    return killed;
}

Test(fleet_redis, lanes_that_cannot_connect_keep_their_jobs_and_nobody_dies_of_it)
{
    char id[16];

    settings.visibility_ms = 1000;
    settings.max_deliveries = 2;
    start_fleet();
    push("echo", "first", "legal", "", "x", 1);
    wait_for("echo", "done", 1);
    TELL_OK("CONFIG", "SET", "maxclients", "1"); /* who is in stays in */
    cr_assert_geq(kill_clients("ping") + kill_clients("fcall"), 1);
    for (int i = 0; i < 40; i++) {
        snprintf(id, sizeof id, "j-%d", i);
        push("echo", id, "legal", "", "x", 1);
    }
    const int64_t start_ms = clock_now_ms();
    while (clock_now_ms() - start_ms < 3 * settings.visibility_ms) {
        cr_assert_eq(stats_of("echo").dead, 0);
        clock_sleep_ms(50);
    }
    TELL_OK("CONFIG", "SET", "maxclients", "10000");
    wait_for("echo", "done", 41);
    cr_assert_eq(counter_of("echo", "buried"), 0);
    stop_fleet();
}

/* ---- one bad key ----------------------------------------------------------------------------- */

Test(fleet_redis, a_delayed_set_of_another_type_stops_no_other_queue_and_is_said)
{
    snprintf(settings.queues, sizeof settings.queues, "echo.1,echo.2");
    TELL_OK("SET", "sh:{echo.1}:delayed", "oops");
    catch_log();
    start_fleet();
    push("echo.2", "later", "legal", "delay_ms=100", "x", 1);
    wait_for("echo.2", "done", 1);
    cr_assert(fleet_redis_ready(fleet));
    stop_fleet();
    cr_assert_geq(release_log("janitor: promote: "), 1);
}

Test(fleet_redis, a_stream_of_another_type_sets_one_queue_aside_until_it_is_gone)
{
    struct strbuf said = {0};

    snprintf(settings.queues, sizeof settings.queues, "echo.1,echo.2");
    TELL_OK("SET", "sh:{echo.1}:jobs:low", "oops");
    start_fleet();
    push("echo.2", "good", "legal", "", "x", 1);
    wait_for("echo.2", "done", 1);
    cr_assert(fleet_redis_ready(fleet));
    cr_assert(fleet_describe(fleet, &said));
    cr_assert_not_null(memmem(said.data, said.bytes, "{\"echo.1\":\"", 11), "%.*s", (int)said.bytes,
                       said.data);
    strbuf_reset(&said);
    fleet_measure(fleet);
    metrics_render(fleet_worker(fleet)->metrics, &said);
    cr_assert_not_null(memmem(said.data, said.bytes, "set_aside 1\n", 12));
    TELL_OK("DEL", "sh:{echo.1}:jobs:low");
    push("echo.1", "healed", "legal", "", "x", 1);
    wait_for("echo.1", "done", 1);
    strbuf_reset(&said);
    cr_assert_not(fleet_describe(fleet, &said));
    strbuf_free(&said);
    stop_fleet();
}

/* ---- all queues paused ----------------------------------------------------------------------- */

static void wait_until_reads_nothing(void)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (!reader_is_paused(fleet_worker(fleet)->reader, 0)) {
        cr_assert(clock_now_ms() < until_ms, "the pause is not seen");
        clock_sleep_ms(POLL_MS);
    }
}

Test(fleet_redis, with_all_queues_paused_lost_functions_come_back_and_a_lost_redis_is_seen)
{
    struct queue queue = queue_named("echo");
    struct error err = {0};

    snprintf(settings.queues, sizeof settings.queues, "echo");
    start_fleet();
    cr_assert_eq(queue_pause(conn, &queue, true, &err), STATUS_OK, "%s", err.text);
    push("echo", "held", "legal", "", "x", 1); /* by which the reader learns of the pause */
    wait_until_reads_nothing();
    TELL_OK("FUNCTION", "FLUSH");
    TELL_OK("DEL", queue.paused);
    struct queue_stats stats = {0};
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (stats.counters[QUEUE_DONE] < 1) {
        cr_assert(clock_now_ms() < until_ms, "the functions do not come back");
        clock_sleep_ms(POLL_MS);
        if (queue_get_stats(conn, &queue, &stats, &err) != STATUS_OK) {
            stats = (struct queue_stats){0};
        }
    }

    cr_assert_eq(queue_pause(conn, &queue, true, &err), STATUS_OK, "%s", err.text);
    push("echo", "held-too", "legal", "", "x", 1);
    wait_until_reads_nothing();
    wait_until_ready(true);
    TELL_OK("CONFIG", "SET", "requirepass", "secret"); /* as good as away, for the fleet */
    TELL_OK("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    wait_until_ready(false);
    TELL_OK("CONFIG", "SET", "requirepass", "");
    wait_until_ready(true);
    stop_fleet();
}

/* ---- eviction -------------------------------------------------------------------------------- */

Test(fleet_redis, a_policy_that_evicts_jobs_is_seen_at_run_time)
{
    struct strbuf said = {0};

    start_fleet();
    wait_until_ready(true);
    TELL_OK("CONFIG", "SET", "maxmemory-policy", "allkeys-random");
    wait_until_ready(false);
    cr_assert(fleet_describe(fleet, &said));
    cr_assert_not_null(memmem(said.data, said.bytes, "evicts", 6));
    strbuf_free(&said);
    TELL_OK("CONFIG", "SET", "maxmemory-policy", "noeviction");
    wait_until_ready(true);
    stop_fleet();
}
