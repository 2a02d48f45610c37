/* The sweep on a real Redis and a real Chroma: what it deletes, what it leaves, who does it. */
#include "chroma_writer/slots.h"
#include "embedder/builtin.h"
#include "fake_server.h"
#include "fleet_fixture.h"
#include "queue/limits.h"
#include "queue/operate.h"

enum { DIMENSION = 384, SLICE = 100, QUIET_MS = 700 };

static void begin(void)
{
    fleet_setup();
    settings.sweep_ms = 100;
}

TestSuite(sweep, .init = begin, .fini = fleet_teardown, .timeout = 120);

/* Documents "<name><i>" with one time of expiry; 0 = without. */
static void store(const char *domain, const char *name, size_t count, int64_t expires_unix_ms)
{
    static float vectors[SLICE][DIMENSION];
    static char ids[SLICE][32];
    struct chroma_record records[SLICE];
    const struct meta_pair expires = {{"expires_ms", 10},
                                      {.type = META_INT, .integer = expires_unix_ms}};
    struct error err = {0};

    for (size_t done = 0; done < count; done += SLICE) {
        const size_t part = count - done < SLICE ? count - done : SLICE;
        for (size_t i = 0; i < part; i++) {
            const int bytes = snprintf(ids[i], sizeof ids[i], "%s%zu", name, done + i);
            embedder_builtin(ids[i], (size_t)bytes, vectors[i], DIMENSION);
            records[i] = (struct chroma_record){{ids[i], (size_t)bytes},
                                                vectors[i],
                                                {ids[i], (size_t)bytes},
                                                &expires,
                                                expires_unix_ms != 0};
        }
        cr_assert_eq(chroma_upsert(chroma, domain, records, part, &err), STATUS_OK, "%s", err.text);
    }
}

static int64_t before(void)
{
    return clock_unix_ms() - 1000;
}

static int64_t later(void)
{
    return clock_unix_ms() + 3600000;
}

/* A fleet that has worked with Chroma once. */
static void start_working_fleet(void)
{
    start_fleet();
    push_enrich("legal", "e1", "a query", 3, "");
    wait_for("enrich", "done", 1);
}

static void wait_for_documents(const char *domain, int64_t count)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    int64_t left = documents_in(domain);

    while (left > count) {
        cr_assert_lt(clock_now_ms(), until_ms, "%lld documents stay", (long long)left);
        clock_sleep_ms(POLL_MS);
        left = documents_in(domain);
    }
    cr_assert_eq(left, count);
}

static unsigned long sample_of(const char *line)
{
    struct strbuf text = {0};

    metrics_render(metrics, &text);
    strbuf_append_char(&text, '\0');
    const char *at = strstr(text.data, line);
    const unsigned long value = at == NULL ? 0 : strtoul(at + strlen(line), NULL, 10);
    strbuf_free(&text);
    return value;
}

static void wait_for_sample(const char *line, unsigned long value)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (sample_of(line) < value) {
        cr_assert_lt(clock_now_ms(), until_ms, "%s%lu", line, sample_of(line));
        clock_sleep_ms(POLL_MS);
    }
    cr_assert_eq(sample_of(line), value);
}

#define SWEPT "\nstillhouse_swept_experiences_total{reason=\"expired\"} "
#define GETS "\nstillhouse_upstream_seconds_count{upstream=\"chroma\",operation=\"get\"} "
#define ANSWERS "\nstillhouse_http_requests_total{upstream=\"chroma\",code=\"200\"} "

Test(sweep, expired_experiences_go_and_all_others_stay)
{
    store("legal", "old", 250, before());
    store("legal", "new", 20, later());
    store("legal", "manual", 5, 0);
    store("games", "old", 30, before());
    start_working_fleet();
    wait_for_documents("legal", 25);
    wait_for_documents("games", 0);
    wait_for_sample(SWEPT, 280);
    stop_fleet();
}

Test(sweep, what_is_renewed_after_it_was_found_stays)
{
    struct slots *other = slots_new("sh", 1, "other"); /* another process that writes */
    struct error err = {0};
    bool held = false;
    size_t slot = 0;

    store("legal", "old", 10, before());
    cr_assert_eq(slots_try(other, conn, 0, &slot, &held, &err), STATUS_OK);
    cr_assert(held);
    start_working_fleet();
    wait_for_sample(GETS, 1); /* found: now it waits for the lease */
    store("legal", "old", 3, later());
    slots_release(other, conn, slot);
    wait_for_documents("legal", 3);
    wait_for_sample(SWEPT, 7);
    stop_fleet();
    slots_free(other);
}

Test(sweep, one_worker_of_the_fleet_sweeps_and_another_follows_when_it_is_gone)
{
    enum { HELD_MS = 1500 };
    struct error err = {0};
    bool taken = false;

    store("legal", "old", 10, before());
    cr_assert_eq(
        lease_take(conn, &(struct lease){"sh:lease:sweep", "other", HELD_MS}, &taken, &err),
        STATUS_OK);
    cr_assert(taken);
    const int64_t since_ms = clock_now_ms();
    start_working_fleet();
    wait_for_documents("legal", 0);
    cr_assert_geq(clock_now_ms() - since_ms, HELD_MS);
    stop_fleet();
}

Test(sweep, a_worker_without_work_for_chroma_does_not_even_ask_it)
{
    store("legal", "old", 10, before());
    start_fleet();
    push("echo", "1", "legal", "", "\x80", 1);
    wait_for("echo", "done", 1);
    clock_sleep_ms(QUIET_MS);
    cr_assert_eq(sample_of(ANSWERS), 0);
    cr_assert_eq(documents_in("legal"), 10);
    stop_fleet();
}

Test(sweep, it_leaves_a_chroma_alone_that_asks_for_it)
{
    static const struct fake_step script[] = {
        EXPECT("/collections?limit=100&offset=0"),
        ANSWER("429 Too Many Requests\r\nRetry-After: 60", "later"), LOOP};
    struct fake_server *busy = fake_server_start(script);
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    redis_args_str(&args, "HSET");
    redis_args_str(&args, "sh:{distill}:counters");
    redis_args_str(&args, "done");
    redis_args_str(&args, "1");
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "%s", fake_server_url(busy, "http"));
    start_fleet();
    wait_for_sample("\nstillhouse_http_requests_total{upstream=\"chroma\",code=\"429\"} ", 1);
    clock_sleep_ms(QUIET_MS);
    cr_assert_eq(sample_of("\nstillhouse_http_requests_total{upstream=\"chroma\",code=\"429\"} "),
                 1);
    cr_assert_eq(sample_of("\nstillhouse_http_requests_total{upstream=\"chroma\",code=\"error\"} "),
                 0);
    stop_fleet();
    cr_assert_null(fake_server_stop(busy));
}

Test(sweep, it_can_be_switched_off)
{
    settings.sweep_ms = 0;
    store("legal", "old", 10, before());
    start_working_fleet();
    clock_sleep_ms(QUIET_MS);
    cr_assert_eq(sample_of(SWEPT), 0);
    cr_assert_eq(documents_in("legal"), 10);
    stop_fleet();
}
