/* The queue's functions among keys that hold anything, with any right missing, and over the worst
 * texts that a producer can write by hand.
 *
 * A table of what may stand under a key is walked, and with each every function is called once. A
 * function answers or refuses; where it refuses it names the key, and whatever it does, the books
 * are off by no more than the foreign hand put them.
 */
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_hostile, .init = queue_setup, .fini = queue_teardown, .timeout = 120);

enum { JOBS = 12, LETTERS = 3, WORDS_MAX = 64 };

#define LAST_ID "18446744073709551615-18446744073709551615"

/* ---- a queue with something in each state ------------------------------------------------------
 */

static char entries[JOBS][48];    /* running, of normal priority, held by "me" */
static char letters[LETTERS][48]; /* dead */
static char prepared[64];
static unsigned turn;

static const char *key_of(const char *suffix)
{
    static char out[4][128];
    static unsigned used;
    char *const key = out[used++ % 4];

    snprintf(key, sizeof out[0], "%s%s", strncmp(suffix, "sh:", 3) == 0 ? "" : prepared, suffix);
    return key;
}

static void copy_entries(const char *stream, char (*out)[48], size_t count)
{
    redisReply *reply = ask_reply("XRANGE", stream, "-", "+", NULL);

    cr_assert(reply->type == REDIS_REPLY_ARRAY && reply->elements >= count, "%s", stream);
    for (size_t i = 0; i < count; i++) {
        snprintf(out[i], sizeof out[i], "%s", reply->element[i]->element[0]->str);
    }
    redis_reply_free(reply);
}

/* A queue of its own for each case: dead letters, running jobs (the second has a unique key, the
 * tenth a twin with more time), waiting ones in all three streams, delayed ones that are due and
 * not. */
static void prepare_queue(void)
{
    struct queue_batch batch = {0};
    char name[16];
    char id[32];

    snprintf(name, sizeof name, "q%u", turn++);
    OK(queue_init(&queue, "sh", name, &err));
    OK(queue_prepare(conn, &queue, &err));
    snprintf(prepared, sizeof prepared, "%s", queue.base);
    for (int i = 0; i < LETTERS; i++) {
        snprintf(id, sizeof id, "dead-%d", i);
        add(id, "");
        cr_assert_eq(bury_as("me", read_one("me", &batch), "rejected"), QUEUE_MOVED);
    }
    copy_entries(queue.dead, letters, LETTERS);
    for (int i = 0; i < JOBS; i++) {
        snprintf(id, sizeof id, "job-%d", i);
        add(id, i == 1 ? "unique=u reply=1" : i == 9 ? "unique=w deadline_ms=9999999999999" : "");
    }
    cr_assert_str_eq(add_bounded(0, "twin", "unique=w reply=1").id, "job-9");
    read_jobs("me", JOBS, &batch);
    copy_entries(queue.stream[JOB_NORMAL], entries, JOBS);
    add("high", "priority=high");
    add("low", "priority=low");
    add("waits", "");
    add("due", "delay_ms=1 priority=low");
    add("later", "delay_ms=3600000");
    cr_assert_str_eq(ask("SET", key_of(":phase:job-11"), "upsert w.1", NULL), "OK");
    queue_batch_free(&batch);
}

/* ---- every function ----------------------------------------------------------------------------
 */

/* One call of each, over jobs of prepare_queue. "#n" is running entry n, "@n" letter n, "%" the
 * queue's base; other keys are literal. */
static const char *const calls[] = {
    "sh_enqueue % 0 new-1 legal  b",
    "sh_enqueue % 100 new-2 legal unique=u;reply=1 b",
    "sh_enqueue % 100 new-3 legal delay_ms=5 b new-4 legal unique=v b new-5 legal priority=low b",
    "sh_enqueue % 0 new-6 legal unique=0123456789abcdef0123456789abcdef.3 b",
    "sh_push % domain legal text hi",
    "sh_done % me 1 1 #0",
    "sh_done % me 1 1 #0 #2",
    "sh_finish % me 1 #1 1 job-1 legal u 2 reply",
    "sh_finish % me 1 #9 1 job-9 legal w 1 -",
    "sh_retry % me 1 #3 1 1000 0",
    "sh_retry % me 1 #4 1 0 1",
    "sh_bury % me w 1 #5 1 rejected no 0 -",
    "sh_reply % job-6 reply",
    "sh_release % me 60000 1 1 #6 1",
    "sh_release % me 60000 0 1 #7 1",
    "sh_heartbeat % me 1 #8 1",
    "sh_promote % 1000",
    "sh_requeue % @0 @0 1-1",
    "sh_discard % @1 1-1",
    "sh_reclaim % 1 you w 0 1 100 0-0",
    "sh_reclaim % 0 you w 0 5 100 0-0",
    "sh_parked % 0",
    "sh_unpark % 0",
    "sh_orphans %",
    "sh_adopt %",
    "sh_limit % 1000000000",
    "sh_purge % 2",
    "sh_trim % 1 0",
    "sh_trim % 0 1",
    "sh_prepare %",
    "sh_leave % nobody",
    "sh_reap % 0",
    "sh_pause % 0",
    "sh_stats %",
    "sh_rate sh:rate:x 10 1000 1",
    "sh_lease_take sh:lease:x me 1000",
    "sh_lease_renew sh:lease:x me 1000",
    "sh_lease_release sh:lease:x me",
    "sh_register sh:workers w1 1000 0 pid 1",
};

enum { CALLS = sizeof calls / sizeof calls[0] };

/* The word itself with ";" as a space, or what it stands for. It is not copied. */
static const char *resolved(char *word)
{
    if (word[0] == '#') {
        return entries[atoi(word + 1)];
    }
    if (word[0] == '@') {
        return letters[atoi(word + 1)];
    }
    for (char *semicolon = word; (semicolon = strchr(semicolon, ';')) != NULL;) {
        *semicolon = ' ';
    }
    return strcmp(word, "%") == 0 ? prepared : word;
}

/* The reply, for the caller to free. */
static redisReply *make_call(struct redis_conn *on, const char *line)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char words[256];
    int count = 0;

    snprintf(words, sizeof words, "%s", line);
    redis_args_str(&args, "FCALL");
    for (char *word = words; word != NULL; count++) {
        char *space = strchr(word, ' ');
        if (space != NULL) {
            *space = '\0';
        }
        redis_args_str(&args, resolved(word));
        if (count == 0) {
            redis_args_str(&args, "1");
        }
        word = space == NULL ? NULL : space + 1;
    }
    OK(redis_conn_append(on, &args, &err));
    OK(redis_conn_collect(on, &reply, &err));
    redis_args_free(&args);
    return reply;
}

static struct queue_balance books(void)
{
    const struct queue_stats now = stats();

    return queue_check_balance(&now);
}

static void must_be_off_by(struct queue_balance before, const char *call, const char *what)
{
    const struct queue_balance now = books();

    cr_assert(now.jobs == before.jobs && now.dead == before.dead,
              "%s, with %s: the books move by %lld and %lld", call, what,
              (long long)(now.jobs - before.jobs), (long long)(now.dead - before.dead));
}

/* ---- whatever stands under a key ---------------------------------------------------------------
 */

static const char *const types[] = {"string", "list", "set", "zset", "hash", "stream"};

enum { TYPES = sizeof types / sizeof types[0] };

static void put_type(const char *key, const char *type)
{
    ask("DEL", key, NULL);
    if (strcmp(type, "string") == 0) {
        ask("SET", key, "junk", NULL);
    } else if (strcmp(type, "list") == 0) {
        ask("RPUSH", key, "junk", NULL);
    } else if (strcmp(type, "set") == 0) {
        ask("SADD", key, "junk", NULL);
    } else if (strcmp(type, "zset") == 0) {
        ask("ZADD", key, "1", "junk", NULL);
    } else if (strcmp(type, "hash") == 0) {
        ask("HSET", key, "junk", "junk", NULL);
    } else {
        ask("XADD", key, "*", "junk", "junk", NULL);
    }
    cr_assert_str_eq(ask("TYPE", key, NULL), type);
}

/* Calls everything; a refusal must name `key`. */
static void call_all(const char *key, const char *what)
{
    const struct queue_balance before = books();

    for (int i = 0; i < CALLS; i++) {
        redisReply *reply = make_call(conn, calls[i]);
        cr_assert(reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "ERR ERR", 7) != 0, "%s",
                  reply->str);
        cr_assert(reply->type != REDIS_REPLY_ERROR || strstr(reply->str, key) != NULL,
                  "%s, with %s: %s", calls[i], what, reply->str);
        redis_reply_free(reply);
        must_be_off_by(before, calls[i], what);
    }
}

static const struct {
    const char *key;
    const char *type; /* as it should be */
    bool is_said;     /* by sh_stats; the others heal by themselves */
} keys[] = {
    {":jobs:high", "stream", true},
    {":jobs", "stream", true},
    {":jobs:low", "stream", true},
    {":delayed", "zset", true},
    {":dead", "stream", true},
    {":paused", "string", false},
    {":unique:u", "string", false},
    {":unique:v", "string", false},
    {":wanted:job-1", "string", false},
    {":phase:job-11", "string", false},
    {":reply:job-1", "list", false},
    {":reply:job-6", "list", false},
    {"sh:rate:x", "string", false},
    {"sh:lease:x", "string", false},
    {"sh:lease:x:next", "string", false},
    {":wake", "list", false},
    {":limits", "string", false},
    {"sh:workers", "zset", false},
    {"sh:worker:w1", "hash", false},
    {":unique:w", "string", false},
    {":wanted:job-9", "string", false},
};

Test(queue_hostile, a_key_of_another_type_is_named_or_makes_way_and_the_books_stay)
{
    char what[96];

    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        for (int t = 0; t < TYPES; t++) {
            if (strcmp(types[t], keys[k].type) == 0) {
                continue;
            }
            prepare_queue();
            const char *key = key_of(keys[k].key);
            snprintf(what, sizeof what, "a %s in %s", types[t], key);
            put_type(key, types[t]);
            const struct queue_stats now = stats();
            cr_assert_eq(now.faults, keys[k].is_said, "%s: %s", what, now.fault);
            cr_assert(!keys[k].is_said || (strstr(now.fault, key) && strstr(now.fault, types[t])),
                      "%s: \"%s\"", what, now.fault);
            call_all(key, what);
            ask("DEL", key, NULL);
        }
    }
}

Test(queue_hostile, counters_of_another_type_begin_anew_with_the_next_job_and_that_is_counted)
{
    for (int t = 0; t < TYPES; t++) {
        if (strcmp(types[t], "hash") == 0) {
            continue;
        }
        prepare_queue();
        const char *key = key_of(":counters");
        put_type(key, types[t]);
        cr_assert_neq(strstr(stats().fault, key), NULL, "%s", stats().fault);
        add("anew", "");
        cr_assert_eq(stats().faults, 0, "%s: %s", types[t], stats().fault);
        cr_assert_eq(counter("enqueued"), 1);
        cr_assert_eq(counter("reset"), 1);
        call_all(key, types[t]);
    }
}

Test(queue_hostile, a_counter_that_is_no_number_begins_anew_and_that_is_counted)
{
    static const char *const junk[] = {"junk",  "",     "9223372036854775807",
                                       "1e300", "0x10", "-9223372036854775808"};

    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        prepare_queue();
        const char *key = key_of(":counters");
        for (int c = 0; c < QUEUE_COUNTERS - 1; c++) {
            ask("HSET", key, queue_counter_names[c], junk[i], NULL);
        }
        cr_assert_eq(stats().faults, QUEUE_COUNTERS - 1, "%s: %s", junk[i], stats().fault);
        cr_assert_str_eq(ask("FCALL", "sh_reap", "1", prepared, "60000", NULL), "0");
        cr_assert_eq(stats().faults, 0, "%s: %s", junk[i], stats().fault);
        cr_assert_eq(counter("reset"), QUEUE_COUNTERS - 1);
        call_all(key, junk[i]);
    }
}

Test(queue_hostile, one_job_more_is_one_more_whatever_its_counter_was)
{
    static const char *const junk[] = {"junk", "9223372036854775807"};

    for (size_t i = 0; i < 2; i++) {
        prepare_queue();
        ask("HSET", key_of(":counters"), "enqueued", junk[i], "done", junk[i], NULL);
        add("anew", "");
        cr_assert_eq(counter("enqueued"), 1);
        redisReply *reply = make_call(conn, "sh_done % me 1 1 #0");
        cr_assert(reply->type == REDIS_REPLY_INTEGER && reply->integer == 1);
        redis_reply_free(reply);
        cr_assert_eq(counter("done"), 1);
        cr_assert_eq(counter("reset"), 2);
    }
}

/* ---- junk of the right type --------------------------------------------------------------------
 */

Test(queue_hostile, junk_and_extreme_numbers_stop_no_function)
{
    static const char *const strings[] = {
        "",
        "inf",
        "nan",
        "-1",
        "1e400",
        "99999999999999999999999999999999",
        "18446744073709551615",
        "0x7fffffffffffffff",
        "job-1 @1:18446744073709551615-18446744073709551615:0 ~999999999999",
        "job-9 @d999999999999999:1:3",
        "job-1 @2:1-1-1:99999999999999999 ~~~ @@@",
        "junk with spaces",
        "\t\n",
    };
    static const char *const places[] = {":unique:u",      ":unique:v", ":unique:w",
                                         ":phase:job-11",  "sh:rate:x", "sh:lease:x",
                                         "sh:lease:x:next"};
    static const char *const members[] = {
        "junk", "", "\n", " \n", "id legal 0 \nb", "id legal 99999999999999999999 since=1e9 \nb"};
    static const char *const scores[] = {"-inf", "-1e308", "0", "1e308", "inf"};

    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
            prepare_queue();
            const char *key = key_of(places[p]);
            ask("SET", key, strings[i], NULL);
            call_all(key, strings[i]);
            ask("DEL", key, NULL);
        }
    }
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        for (size_t s = 0; s < sizeof scores / sizeof scores[0]; s++) {
            prepare_queue();
            ask("ZADD", key_of(":delayed"), scores[s], members[i], NULL);
            call_all("", members[i]);
        }
    }
    prepare_queue();
    ask("XADD", queue.stream[JOB_NORMAL], "18446744073709551614-1", "id", "ahead", "domain",
        "legal", "attempt", "999999999", "options", "since=999999999999999 unique", "body", "",
        NULL);
    call_all("", "an entry of the far future");
}

Test(queue_hostile, who_takes_another_s_question_does_not_stand_for_it)
{
    static const char *const key = "unique=0123456789abcdef0123456789abcdef.3 reply=1";
    const struct queue_item items[] = {
        {text("evil"), text("legal"), text(key),
         text("\x81\xa5query\xa4"
              "evil")},
        {text("good"), text("legal"), text(key),
         text("\x81\xa5query\xa4"
              "good")},
        {text("twin"), text("legal"), text(key), text("\x82\xa5query\xa6 good \xa1k\x03")},
    };
    struct queue_answer answers[3];

    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, 3}, answers, &err));
    cr_assert_str_eq(answers[1].id, "good");
    cr_assert_str_eq(answers[2].id, "good",
                     "white space and a k that is the default change nothing");
    cr_assert_str_eq(ask("SET", "sh:{enrich}:unique:legal:0123456789abcdef0123456789abcdef.3",
                         "old", "PX", "60000", NULL),
                     "OK");
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &items[1], 1}, answers, &err));
    cr_assert_str_eq(answers[0].id, "old", "a library before 5 wrote no mark");
}

Test(queue_hostile, a_unique_key_without_an_end_is_nobody_s)
{
    ask("SET", "sh:{enrich}:unique:u", "junk", NULL);
    add("mine", "unique=u");
    cr_assert_str_eq(add_bounded(0, "twin", "unique=u").id, "mine");
    ask("SET", "sh:{enrich}:unique:v", "old", "PX", "60000", NULL);
    cr_assert_str_eq(add_bounded(0, "twin", "unique=v").id, "old", "a library before 5 wrote it");
}

Test(queue_hostile, a_foreign_key_does_not_stop_the_waking_of_who_looks_after_due_jobs)
{
    for (int t = 0; t < TYPES; t++) {
        put_type("sh:{enrich}:wake", types[t]);
        ask("DEL", queue.delayed, NULL);
        add("delayed", "delay_ms=1000");
        cr_assert_str_eq(ask("LLEN", "sh:{enrich}:wake", NULL), "1", "%s", types[t]);
    }
}

/* ---- ids that are used up ----------------------------------------------------------------------
 */

Test(queue_hostile, a_stream_that_takes_no_more_is_named_and_begins_anew_once_it_is_empty)
{
    struct queue_batch batch = {0};
    struct queue_answer answer;
    const struct queue_item item = {text("new"), text("legal"), text(""), text("b")};

    add("before", "");
    ask("XADD", queue.stream[JOB_NORMAL], LAST_ID, "a", "b", NULL);
    cr_assert_not_null(strstr(stats().fault, "ids are exhausted"), "%s", stats().fault);
    const struct queue_balance off = books();
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err),
                 STATUS_REFUSED);
    cr_assert_not_null(strstr(err.text, queue.stream[JOB_NORMAL]), "%s", err.text);
    cr_assert_eq(counter("enqueued"), 1);
    must_be_off_by(off, "sh_enqueue", "no ids left");

    cr_assert_str_eq(ask("FCALL", "sh_reap", "1", queue.base, "60000", NULL), "0");
    cr_assert_eq(stats().waiting, 2, "with jobs in it, it is left alone");
    read_jobs("me", 2, &batch);
    cr_assert_eq(finish_as("me", &batch.jobs[0]), QUEUE_MOVED);
    cr_assert_eq(bury_as("me", &batch.jobs[1], "malformed"), QUEUE_MOVED);
    queue_batch_free(&batch);
    cr_assert_str_eq(ask("FCALL", "sh_reap", "1", queue.base, "60000", NULL), "0");
    cr_assert_eq(stats().faults, 0, "%s", stats().fault);
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    cr_assert_eq(finish_as("me", read_one("me", &batch)), QUEUE_MOVED);
    queue_batch_free(&batch);
}

Test(queue_hostile, of_a_call_that_uses_up_the_ids_the_rest_is_refused_and_counted_so)
{
    const struct queue_item items[] = {
        {text("a"), text("legal"), text(""), text("b")},
        {text("b"), text("legal"), text("unique=k"), text("b")},
        {text("c"), text("legal"), text("unique=l"), text("b")},
        {text("twin"), text("legal"), text("unique=l reply=1"), text("b")},
        {text("urgent"), text("legal"), text("unique=m"), text("b")},
        {text("a"), text("legal"), text(""), text("b")},
    };
    struct queue_answer answers[6];

    add("patient", "priority=low unique=m");
    ask("XADD", queue.stream[JOB_NORMAL], "18446744073709551615-18446744073709551613", "a", "b",
        NULL);
    const struct queue_balance off = books();
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, 6}, answers, &err));
    cr_assert_str_eq(answers[0].id, "a");
    cr_assert_str_eq(answers[1].id, "b");
    for (size_t i = 2; i < 6; i++) {
        cr_assert(answers[i].full, "%zu", i);
    }
    cr_assert_eq(counter("enqueued"), 3);
    cr_assert_eq(counter("refused"), 4);
    cr_assert_eq(counter("deduplicated"), 0);
    cr_assert_str_eq(ask("KEYS", "sh:{enrich}:wanted:*", NULL), "[0]");
    cr_assert_str_eq(add_bounded(0, "x", "unique=m priority=low").id, "patient",
                     "whose key it was has it again");
    must_be_off_by(off, "sh_enqueue", "two ids left");
    const int64_t until_ms = clock_now_ms() + 2000;
    while (strcmp(ask("EXISTS", "sh:{enrich}:unique:l", NULL), "0") != 0) {
        cr_assert_lt(clock_now_ms(), until_ms, "its unique key stays taken");
    }
}

Test(queue_hostile, delayed_jobs_of_a_stream_that_takes_none_make_way_for_others)
{
    add("low", "delay_ms=1 priority=low");
    add("normal", "delay_ms=2");
    put_type(queue.stream[JOB_LOW], "string");
    clock_sleep_ms(5);
    cr_assert_eq(promote(NULL), 1);
    cr_assert_eq(stats().waiting, 1);
    cr_assert_eq(stats().delayed, 1);
    cr_assert_str_eq(first_field(queue.stream[JOB_NORMAL], "id"), "normal");
}

/* ---- numbers -----------------------------------------------------------------------------------
 */

static void refused(const char *line, const char *why)
{
    redisReply *reply = make_call(conn, line);

    cr_assert(reply->type == REDIS_REPLY_ERROR && strstr(reply->str, why) != NULL, "%s: %s", line,
              reply->type == REDIS_REPLY_ERROR ? reply->str : "taken");
    redis_reply_free(reply);
}

Test(queue_hostile, numbers_from_outside_are_bounded)
{
    prepare_queue();
    refused("sh_enqueue % 0 a legal delay_ms=2592000001 b", "at most 30 days");
    refused("sh_lease_take sh:lease:x me 60001", "from 1 to 60000");
    refused("sh_lease_renew sh:lease:x me 60001", "from 1 to 60000");
    refused("sh_lease_take sh:other me 1000", "a lease's key");
    refused("sh_lease_release % me", "a lease's key");
    refused("sh_rate sh:rate:x 1 1000 11", "at most 10 times");
    refused("sh_rate sh:other 1 1000 1", "a rate's key");

    ask("SET", "sh:lease:x", "somebody", NULL);
    cr_assert_str_eq(ask("FCALL", "sh_lease_take", "1", "sh:lease:x", "me", "1000", NULL), "1",
                     "a lease without an end is nobody's");
    ask("SET", "sh:rate:x", "99999999999999999", NULL);
    cr_assert_str_eq(ask("FCALL", "sh_rate", "1", "sh:rate:x", "10", "1000", "1", NULL), "0");
}

Test(queue_hostile, a_clock_that_is_put_back_takes_the_rate_with_it)
{
    char value[64];
    const long long now_us = (long long)clock_unix_ms() * 1000;

    /* Written an hour ahead of now, with half a second to go then. */
    snprintf(value, sizeof value, "%lld %lld", now_us + 3600500000LL, now_us + 3600000000LL);
    ask("SET", "sh:rate:x", value, NULL);
    const long long wait_ms =
        atoll(ask("FCALL", "sh_rate", "1", "sh:rate:x", "1", "1000", "1", NULL));
    cr_assert(wait_ms > 0 && wait_ms <= 500, "%lld", wait_ms);
}

Test(queue_hostile, a_first_time_that_nobody_can_have_meant_is_now)
{
    struct queue_batch batch = {0};
    char kept[64];
    const int64_t before_ms = clock_unix_ms() - 1000;

    snprintf(kept, sizeof kept, "since=%lld", (long long)before_ms);
    add("kept", kept);
    add("ahead", "since=999999999999999");
    add("ancient", "since=1");
    read_jobs("me", 3, &batch);
    cr_assert_eq(batch.jobs[0].options.since_unix_ms, before_ms);
    for (int i = 1; i < 3; i++) {
        cr_assert_geq(batch.jobs[i].options.since_unix_ms, before_ms);
        cr_assert_leq(batch.jobs[i].options.since_unix_ms, clock_unix_ms() + 1000);
    }
    queue_batch_free(&batch);
}

Test(queue_hostile, two_databases_with_one_prefix_do_not_share_their_bound)
{
    enum { MOST = 1500 };
    size_t taken = 0;

    for (int i = 0; i < 4 * MOST; i++) {
        cr_assert_str_eq(ask("SELECT", i % 8 == 0 ? "1" : "0", NULL), "OK");
        char id[24];
        snprintf(id, sizeof id, "job-%d", i);
        const bool is_full = add_bounded(MOST, id, "").full;
        taken += i % 8 != 0 && !is_full;
    }
    cr_assert_str_eq(ask("SELECT", "0", NULL), "OK");
    cr_assert_eq(taken, MOST);
    cr_assert_eq(stats().waiting, MOST);
}

/* ---- a right that is missing -------------------------------------------------------------------
 */

static struct redis_conn *connect_as(const char *user)
{
    struct redis_url url;

    OK(redis_url_parse(redis.url, &url, &err));
    snprintf(url.user, sizeof url.user, "%s", user);
    snprintf(url.password, sizeof url.password, "pw");
    struct redis_conn *made = redis_conn_new(&url, (struct redis_timeouts){3000, 10000});
    cr_assert_not_null(made);
    return made;
}

/* How often a job stands anywhere: one that is doubled, or lost, changes it although the books may
 * balance. */
static int64_t jobs_there(void)
{
    const struct queue_stats now = stats();

    return now.waiting + now.running + now.delayed + now.dead;
}

Test(queue_hostile, without_a_right_a_function_moves_all_or_nothing)
{
    static const char *const commands[] = {
        "hincrby", "hmget", "xadd",   "xack",    "xdel",   "xclaim", "xautoclaim", "xpending",
        "xrange",  "xlen",  "xtrim",  "zadd",    "zrem",   "zrange", "zcard",      "set",
        "get",     "del",   "rpush",  "pexpire", "exists", "zcount", "memory",     "hset",
        "time",    "xinfo", "xgroup", "pttl",    "type",
    };
    char what[64];
    char right[32];

    for (size_t c = 0; c < sizeof commands / sizeof commands[0]; c++) {
        snprintf(right, sizeof right, "-%s", commands[c]);
        cr_assert_str_eq(
            ask("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+@all", right, NULL), "OK");
        struct redis_conn *weak = connect_as("weak");
        snprintf(what, sizeof what, "no right to %s", commands[c]);
        prepare_queue();
        const struct queue_balance before = books();
        for (int i = 0; i < CALLS; i++) {
            const int64_t there = jobs_there();
            redisReply *reply = make_call(weak, calls[i]);
            must_be_off_by(before, calls[i], what);
            cr_assert(reply->type != REDIS_REPLY_ERROR || jobs_there() == there, "%s, with %s: %s",
                      calls[i], what, reply->str);
            redis_reply_free(reply);
        }
        redis_conn_free(weak);
    }
}

Test(queue_hostile, an_error_keeps_its_first_word_which_clients_go_by)
{
    put_type(queue.delayed, "string");
    redisReply *reply = ask_reply("FCALL", "sh_promote", "1", queue.base, "10", NULL);
    cr_assert_eq(reply->type, REDIS_REPLY_ERROR);
    cr_assert_eq(strncmp(reply->str, "WRONGTYPE key \"sh:{enrich}:delayed\"", 34), 0, "%s",
                 reply->str);
    redis_reply_free(reply);
}

Test(queue_hostile, a_refused_enqueue_leaves_its_unique_key_free)
{
    static const char *const commands[] = {"-hincrby", "-xadd", "-set"};

    for (size_t c = 0; c < 3; c++) {
        cr_assert_str_eq(ask("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+@all", "-del",
                             commands[c], NULL),
                         "OK");
        struct redis_conn *weak = connect_as("weak");
        prepare_queue();
        redisReply *reply = make_call(weak, "sh_enqueue % 0 a legal unique=fresh b");
        cr_assert_eq(reply->type, REDIS_REPLY_ERROR, "%s", commands[c]);
        redis_reply_free(reply);
        redis_conn_free(weak);
        const int64_t until_ms = clock_now_ms() + 2000;
        while (strcmp(ask("EXISTS", key_of(":unique:fresh"), NULL), "0") != 0) {
            cr_assert_lt(clock_now_ms(), until_ms, "%s", commands[c]);
        }
    }
}

/* What stands under a unique key is what stood there before a call that was refused. */
Test(queue_hostile, a_call_that_is_refused_leaves_a_unique_key_to_its_holder)
{
    static const char *const steps[] = {
        "sh_enqueue % 0 urgent legal unique=m b", /* took it from one that comes later */
        "sh_retry % me 2 #0 1 60000 0",           /* said where its job would be */
    };
    struct queue_batch batch = {0};
    const char *key = "sh:{enrich}:unique:m";

    add("patient", "priority=low unique=m");
    (void)read_one("me", &batch);
    snprintf(prepared, sizeof prepared, "%s", queue.base);
    snprintf(entries[0], sizeof entries[0], "%s", first_entry(queue.stream[JOB_LOW]));
    char *before = strdup(ask("GET", key, NULL));
    for (size_t i = 0; i < 2; i++) {
        ask("ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+@all",
            i == 0 ? "-xadd" : "-xack", NULL);
        struct redis_conn *weak = connect_as("weak");
        redisReply *reply = make_call(weak, steps[i]);
        cr_assert_eq(reply->type, REDIS_REPLY_ERROR, "%s", steps[i]);
        redis_reply_free(reply);
        redis_conn_free(weak);
        cr_assert_str_eq(ask("GET", key, NULL), before, "%s", steps[i]);
        cr_assert_gt(atoll(ask("PTTL", key, NULL)), 60000);
    }
    check_books();
    free(before);
    queue_batch_free(&batch);
}

/* ---- the worst texts ---------------------------------------------------------------------------
 */

/* What the functions took in all since the last look, in us. */
static long long spent_us(void)
{
    redisReply *reply = ask_reply("INFO", "commandstats", NULL);
    const char *found = strstr(reply->str, "cmdstat_fcall:");
    const char *usec = found == NULL ? NULL : strstr(found, "usec=");
    const long long spent = usec == NULL ? 0 : atoll(usec + 5);

    redis_reply_free(reply);
    cr_assert_str_eq(ask("CONFIG", "RESETSTAT", NULL), "OK");
    return spent;
}

static char *repeated(const char *unit, size_t bytes)
{
    char *out = malloc(bytes + 1);

    cr_assert_not_null(out);
    for (size_t i = 0; i < bytes; i++) {
        out[i] = unit[i % strlen(unit)];
    }
    out[bytes] = '\0';
    return out;
}

/* A job by hand with the text as its options, through every function that reads them. */
static void feed_options(const char *bad)
{
    static const char *const ends[] = {
        "sh_retry % me 1 #0 1 0 0",
        "sh_release % me 0 1 1 #0 1",
        "sh_bury % me w 1 #0 1 rejected no 0 -",
        "sh_reclaim % 1 me w 0 1 100 0-0",
    };

    ask("DEL", queue.stream[JOB_NORMAL], queue.dead, NULL);
    OK(queue_prepare(conn, &queue, &err));
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct queue_batch batch = {0};
        ask("XADD", queue.stream[JOB_NORMAL], "*", "id", "a", "domain", "d", "attempt", "0",
            "options", bad, "body", "b", NULL);
        (void)read_jobs("me", 10, &batch);
        copy_entries(queue.stream[JOB_NORMAL], entries, 1);
        redis_reply_free(make_call(conn, ends[i]));
        queue_batch_free(&batch);
    }
    copy_entries(queue.dead, letters, 1);
    redis_reply_free(make_call(conn, "sh_requeue % @0"));
}

static void feed_head(const char *bad)
{
    ask("DEL", queue.delayed, NULL);
    char *member = malloc(2 * strlen(bad) + 16);

    cr_assert_not_null(member);
    sprintf(member, "%s d 0 %s\nb", bad, bad);
    ask("ZADD", queue.delayed, "1", member, NULL);
    ask("ZADD", queue.delayed, "1", bad, NULL);
    free(member);
    redis_reply_free(make_call(conn, "sh_promote % 1000"));
}

static void feed_arguments(const char *bad)
{
    const char *const fields[] = {"id", "domain", "options", "body"};

    for (int place = 0; place < 4; place++) {
        const char *values[] = {"a", "legal", "", "b"};
        values[place] = bad;
        ask("FCALL", "sh_enqueue", "1", prepared, "0", values[0], values[1], values[2], values[3],
            NULL);
        ask("FCALL", "sh_push", "1", prepared, "domain", "legal", fields[place], bad, NULL);
    }
    ask("FCALL", "sh_enqueue", "1", bad, "0", "a", "legal", "", "b", NULL);
    ask("FCALL", "sh_enqueue", "1", prepared, bad, "a", "legal", "", "b", NULL);
    ask("FCALL", "sh_push", "1", prepared, "domain", "legal", "unique", bad, NULL);
    ask("FCALL", "sh_done", "1", prepared, "me", "1", "1", bad, NULL);
    ask("FCALL", "sh_retry", "1", prepared, "me", "1", "1-1", "1", bad, bad, NULL);
    ask("FCALL", "sh_finish", "1", prepared, "me", "1", bad, "1", "a", "d", bad, "0", "", NULL);
    ask("FCALL", "sh_rate", "1", "sh:rate:x", bad, "1", "1", NULL);
    ask("FCALL", "sh_lease_take", "1", "sh:lease:x", "me", bad, NULL);
}

/* A query's body: its white space is what the mark looks at. */
static void feed_question(const char *bad)
{
    const size_t bytes = strlen(bad);
    char *body = malloc(bytes + 16);

    cr_assert_not_null(body);
    memcpy(body, "\x81\xa5query\xdb", 8);
    for (int i = 0; i < 4; i++) {
        body[8 + i] = (char)(bytes >> (24 - 8 * i));
    }
    memcpy(body + 12, bad, bytes);
    const struct queue_item item = {text("a"),
                                    text("legal"),
                                    text("unique=0123456789abcdef0123456789abcdef.3"),
                                    {body, bytes + 12}};
    struct queue_answer answer;
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    free(body);
}

static void feed_values(const char *bad)
{
    static const char *const places[] = {":unique:u", ":phase:a", "sh:rate:x", "sh:lease:x"};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        ask("SET", key_of(places[i]), bad, NULL);
    }
    ask("HSET", key_of(":counters"), "enqueued", bad, NULL);
    redis_reply_free(make_call(conn, "sh_stats %"));
    redis_reply_free(make_call(conn, "sh_enqueue % 0 a legal unique=u b"));
    redis_reply_free(make_call(conn, "sh_rate sh:rate:x 10 1000 1"));
    redis_reply_free(make_call(conn, "sh_lease_take sh:lease:x me 1000"));
    redis_reply_free(make_call(conn, "sh_reap % 0"));
}

/* The quickest of some goes, so that what else the machine does counts little. */
static long long cost_us(void (*feed)(const char *), const char *bad)
{
    long long least = 0;

    for (int i = 0; i < 5; i++) {
        (void)spent_us();
        feed(bad);
        const long long spent = spent_us();
        least = i == 0 || spent < least ? spent : least;
    }
    return least;
}

Test(queue_hostile, eight_times_the_text_costs_eight_times_and_not_sixty_four)
{
    enum { SHORT = 8 * 1024, LONG = 8 * SHORT, MOST = 24 /* times; noise and memory cost too */ };
    static void (*const feeds[])(const char *) = {feed_options, feed_head, feed_arguments,
                                                  feed_question, feed_values};
    static const char *const units[] = {"x", " ", "=", "a=",      "= ", "a=b ",
                                        "9", ".", ":", "since=1", "\t"};

    prepare_queue();
    for (size_t f = 0; f < sizeof feeds / sizeof feeds[0]; f++) {
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            char *text_short = repeated(units[u], SHORT);
            char *text_long = repeated(units[u], LONG);
            long long few_us = 0;
            long long many_us = 0;
            /* Other work on the machine makes one of the two dear now and then, not each time. */
            for (int i = 0; i < 5 && many_us >= MOST * few_us; i++) {
                few_us = cost_us(feeds[f], text_short);
                many_us = cost_us(feeds[f], text_long);
            }
            cr_assert_lt(many_us, MOST * few_us, "text %zu of \"%s\": %lld us, then %lld", f,
                         units[u], few_us, many_us);
            free(text_short);
            free(text_long);
        }
    }
}
