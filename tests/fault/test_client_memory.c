/* The producer library on short memory: in every public call the 1st, 2nd, 3rd ... allocation
 * of ours fails (hiredis 0.14, which Debian 12 has, does not look at its own), until none is left
 * to fail. No call crashes, leaks (the sanitizers say), or half does its work: what it returns with
 * another status than OK is nothing, and the next call is a good one. */
#include "client_fixture.h"
#include "short_memory.h"

enum { FAILURES_MAX = 3000 };

/* ---- the calls ----------------------------------------------------------------------------- */

static char folder[512];
static const char *url;
static bool with_outbox;

static void setup(void)
{
    queue_setup();
    snprintf(folder, sizeof folder, "%s/outbox", redis.folder);
    url = redis.url;
    write_result_to(conn, &(const struct written){.query = "known", .examples = 2});
    write_result_to(conn, &(const struct written){.query = "tasks", .examples = 2, .tasks = true});
}

static void teardown(void)
{
    test_folder_remove(folder);
    queue_teardown();
}

TestSuite(client_memory, .init = setup, .fini = teardown, .timeout = 240);

static stillhouse_options options_now(void)
{
    stillhouse_options options = patient(url);

    options.retry_ms = 1;
    options.outbox = with_outbox ? folder : "";
    return options;
}

static const stillhouse_meta meta[] = {{.key = "page", .type = STILLHOUSE_META_INT, .integer = 7}};
static const stillhouse_experience experience = {.domain = "legal",
                                                 .task_id = "t",
                                                 .prompt = "p",
                                                 .result = "r",
                                                 .quality = 0.5,
                                                 .metadata = meta,
                                                 .metadata_count = 1};

/* Each makes one call and returns its status; what it returned besides is checked and freed. */
static stillhouse_status one_distill(void)
{
    char id[STILLHOUSE_ID_BYTES] = "none";
    const stillhouse_status status = stillhouse_enqueue_distill(client, &experience, NULL, id);

    cr_assert_eq(id[0] != '\0', status == STILLHOUSE_OK || status == STILLHOUSE_KEPT);
    return status;
}

static stillhouse_status one_enrich(void)
{
    char id[STILLHOUSE_ID_BYTES] = "none";
    const stillhouse_status status = stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, id);

    cr_assert_eq(id[0] != '\0', status == STILLHOUSE_OK);
    return status;
}

static stillhouse_status one_index(void)
{
    const stillhouse_document documents[] = {{"a", "text", meta, 1}, {"b", "text", NULL, 0}};

    return stillhouse_enqueue_index(client, "legal", documents, 2, NULL, NULL);
}

static stillhouse_status one_raw(void)
{
    return stillhouse_enqueue_raw(client, "echo", "legal", "\x80", 1, NULL, NULL);
}

enum { MANY = 1200 };

static stillhouse_status one_record(void)
{
    const stillhouse_meta fields[] = {stillhouse_truth("success", true),
                                      stillhouse_text("model", "m")};
    const stillhouse_meta metadata[] = {stillhouse_whole("page", 3)};
    const stillhouse_part part = {.domain = "legal",
                                  .kind = "outcome",
                                  .task_id = "t",
                                  .fields = fields,
                                  .field_count = 2,
                                  .metadata = metadata,
                                  .metadata_count = 1};
    char id[STILLHOUSE_ID_BYTES] = "x";

    const stillhouse_status status = stillhouse_record(client, &part, id);
    cr_assert_eq(id[0] == '\0', status != STILLHOUSE_OK && status != STILLHOUSE_KEPT);
    return status;
}

static stillhouse_status many_distill(void)
{
    static stillhouse_experience experiences[MANY];
    static stillhouse_status outcome[MANY];
    static char ids[MANY][STILLHOUSE_ID_BYTES];

    for (size_t i = 0; i < MANY; i++) {
        experiences[i] = experience;
        outcome[i] = STILLHOUSE_NOT_FOUND;
    }
    const stillhouse_status status =
        stillhouse_enqueue_distill_many(client, experiences, MANY, NULL, outcome, ids);
    for (size_t i = 0; i < MANY; i++) {
        cr_assert_neq(outcome[i], STILLHOUSE_NOT_FOUND, "%zu was not told", i);
        cr_assert_eq(ids[i][0] != '\0',
                     outcome[i] == STILLHOUSE_OK || outcome[i] == STILLHOUSE_KEPT);
        cr_assert(status != STILLHOUSE_OK || outcome[i] == STILLHOUSE_OK);
    }
    return status;
}

static size_t given;
static size_t told_of;

static bool next(void *context, stillhouse_job *job)
{
    (void)context;
    job->domain = "legal";
    job->body = "\x80";
    job->body_bytes = 1;
    job->unique = "u";
    return given++ < 3;
}

static void told(void *context, size_t index, stillhouse_status outcome, const char *id, bool twin)
{
    (void)context;
    (void)outcome;
    (void)id;
    (void)twin;
    cr_assert_lt(index, 3);
    told_of++;
}

static stillhouse_status from_a_source(void)
{
    const stillhouse_source source = {
        .size = sizeof source, .queue = "echo", .next = next, .told = told};

    given = told_of = 0;
    const stillhouse_status status = stillhouse_enqueue_all(client, &source);
    cr_assert(status != STILLHOUSE_OK || told_of == 3);
    return status;
}

static stillhouse_status a_lookup(void)
{
    stillhouse_result *result = (void *)1;
    const stillhouse_status status = stillhouse_lookup(client, "legal", "known", 0, &result);

    cr_assert_eq(result != NULL, status == STILLHOUSE_OK);
    stillhouse_result_free(result);
    return status;
}

static stillhouse_status a_prompt_of(const char *query)
{
    stillhouse_prompt_result prompt;

    const stillhouse_prompt_kind kind = stillhouse_prompt(client, "legal", query, BASE, 0, &prompt);
    cr_assert_not_null(strstr(prompt.text, BASE));
    cr_assert_eq(kind, prompt.kind);
    const stillhouse_status status = prompt.status;
    stillhouse_prompt_free(&prompt);
    return status;
}

static stillhouse_status a_hit(void)
{
    return a_prompt_of("known");
}

static stillhouse_status a_miss(void)
{
    return a_prompt_of("unknown");
}

static stillhouse_status messages_of(const char *query)
{
    stillhouse_messages_result past;
    const stillhouse_prompt_kind kind = stillhouse_messages(client, "legal", query, 0, 0, &past);
    const stillhouse_status status = past.status;

    cr_assert_eq(past.count == 0, kind == STILLHOUSE_PROMPT_FALLBACK);
    cr_assert(past.count == 0 || strcmp(past.messages[3].content, "a1") == 0);
    cr_assert_eq(past.messages == NULL, past.count == 0);
    stillhouse_messages_free(&past);
    return status;
}

/* From Redis, then as they are made of the memory, then as they were made. */
static stillhouse_status messages(void)
{
    stillhouse_status status = STILLHOUSE_OK;

    for (int i = 0; i < 3 && status == STILLHOUSE_OK; i++) {
        status = messages_of("tasks");
    }
    return status;
}

static stillhouse_status no_messages(void)
{
    return messages_of("unknown");
}

/* A client beside this one, which shares its memory. */
static stillhouse_status beside(void)
{
    stillhouse_client *other = NULL;
    const stillhouse_status status = stillhouse_open_beside(client, &other);

    cr_assert_eq(other != NULL, status == STILLHOUSE_OK);
    cr_assert(status == STILLHOUSE_OK || stillhouse_open_error()[0] != '\0');
    if (other != NULL) {
        stillhouse_prompt_result prompt;
        (void)stillhouse_prompt_from_memory(other, "legal", "known", BASE, &prompt);
        stillhouse_prompt_free(&prompt);
    }
    stillhouse_close(other);
    return status;
}

static stillhouse_status a_wait(void)
{
    void *body = (void *)1;
    size_t bytes = 0;
    const stillhouse_status status =
        stillhouse_await_raw(client, "enrich", "there-is-none", 0, &body, &bytes);

    cr_assert_eq(body != NULL, status == STILLHOUSE_OK);
    return status;
}

static stillhouse_status a_flush(void)
{
    size_t left = 99;
    const stillhouse_status status = stillhouse_flush(client, 10000, &left);

    cr_assert(status != STILLHOUSE_OK || left == 0);
    return status;
}

/* Makes the call with the 1st, 2nd ... allocation failing, on a new client each time, and the same
 * once more with none. */
static void try_call(const char *name, stillhouse_status (*call)(void), stillhouse_status good)
{
    const stillhouse_options options = options_now();
    bool failed = true;
    int n = 1;

    for (; failed && n < FAILURES_MAX; n++) {
        client = open_client(&options);
        short_memory = n;
        const stillhouse_status status = call();
        failed = short_memory == 0;
        short_memory = 0;
        cr_assert(status == good || status == STILLHOUSE_FAILED ||
                      status == STILLHOUSE_UNREACHABLE ||
                      (with_outbox && status == STILLHOUSE_KEPT),
                  "%s, allocation %d: %d: %s", name, n, (int)status, stillhouse_error(client));
        cr_assert(failed || status == good, "%s, %d of %d: %s", name, (int)status, n,
                  stillhouse_error(client));
        clock_sleep_ms(2);
        IS(call(), good);
        stillhouse_close(client);
        client = NULL;
    }
    cr_assert_gt(n, 2, "%s: nothing failed", name);
    cr_assert_lt(n, FAILURES_MAX, "%s: it fails for ever", name);
}

Test(client_memory, calls_on_a_redis_that_is_there)
{
    try_call("distill", one_distill, STILLHOUSE_OK);
    try_call("record", one_record, STILLHOUSE_OK);
    try_call("enrich", one_enrich, STILLHOUSE_OK);
    try_call("index", one_index, STILLHOUSE_OK);
    try_call("raw", one_raw, STILLHOUSE_OK);
    try_call("lookup", a_lookup, STILLHOUSE_OK);
    try_call("prompt, a hit", a_hit, STILLHOUSE_OK);
    try_call("prompt, a miss", a_miss, STILLHOUSE_NOT_FOUND);
    try_call("messages, a hit", messages, STILLHOUSE_OK);
    try_call("messages, a miss", no_messages, STILLHOUSE_NOT_FOUND);
    try_call("beside", beside, STILLHOUSE_OK);
    try_call("await", a_wait, STILLHOUSE_NOT_FOUND);
    try_call("a source", from_a_source, STILLHOUSE_OK);
}

Test(client_memory, many_at_once)
{
    try_call("many", many_distill, STILLHOUSE_OK);
}

Test(client_memory, with_an_outbox)
{
    with_outbox = true;
    try_call("distill", one_distill, STILLHOUSE_OK);
    try_call("a source", from_a_source, STILLHOUSE_OK);
    try_call("flush", a_flush, STILLHOUSE_OK);
    url = "redis://127.0.0.1:1";
    try_call("distill, kept", one_distill, STILLHOUSE_KEPT);
    try_call("record, kept", one_record, STILLHOUSE_KEPT);
    try_call("many, kept", many_distill, STILLHOUSE_KEPT);
}

Test(client_memory, what_waits_in_an_outbox_goes_or_stays)
{
    const stillhouse_options options = options_now();
    bool failed = true;
    int n = 1;

    with_outbox = true;
    for (; failed && n < FAILURES_MAX; n++) {
        url = "redis://127.0.0.1:1";
        stillhouse_options away = options_now();
        client = open_client(&away);
        IS(one_distill(), STILLHOUSE_KEPT);
        IS(one_index(), STILLHOUSE_KEPT);
        stillhouse_close(client);
        url = redis.url;
        stillhouse_options back = options_now();
        client = open_client(&back);
        short_memory = n;
        (void)a_flush();
        failed = short_memory == 0;
        short_memory = 0;
        clock_sleep_ms(2);
        IS(a_flush(), STILLHOUSE_OK);
        uint64_t aside = 99;
        stillhouse_outbox_counts(client, NULL, NULL, &aside);
        cr_assert_eq(aside, 0);
        stillhouse_close(client);
        client = NULL;
    }
    (void)options;
    cr_assert_gt(n, 3);
    cr_assert_lt(n, FAILURES_MAX);
    cr_assert_geq(atoll(ask("XLEN", "sh:{distill}:jobs", NULL)), n - 1);
}

Test(client_memory, opening_and_closing)
{
    bool failed = true;
    int n = 1;

    with_outbox = true;
    for (; failed && n < FAILURES_MAX; n++) {
        const stillhouse_options options = options_now();
        short_memory = n;
        const stillhouse_status status = stillhouse_open(&options, &client);
        failed = short_memory == 0;
        short_memory = 0;
        cr_assert(status == STILLHOUSE_OK || (failed && status != STILLHOUSE_OK && client == NULL));
        cr_assert(status == STILLHOUSE_OK || stillhouse_open_error()[0] != '\0');
        if (client != NULL) { /* what a prompt counted goes out in close */
            (void)a_prompt_of("known");
            short_memory = n;
            stillhouse_close(client);
            short_memory = 0;
        }
        client = NULL;
    }
    cr_assert_gt(n, 3);
    cr_assert_lt(n, FAILURES_MAX);
}
