#include "queue/enqueue.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_push, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

enum { WORDS = 24 };

/* FCALL sh_push on `base` with up to WORDS words. */
static const char *push(const char *base, ...)
{
    const char *w[WORDS + 1] = {NULL};
    va_list list;

    va_start(list, base);
    for (int i = 0; i < WORDS; i++) {
        w[i] = va_arg(list, const char *);
        if (w[i] == NULL) {
            break;
        }
    }
    va_end(list);
    return ask("FCALL", "sh_push", "1", base, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8],
               w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16], w[17], w[18], w[19], w[20],
               w[21], w[22], w[23], NULL);
}

static void assert_body(const char *stream, const void *expected, size_t bytes)
{
    redisReply *reply = ask_reply("XREVRANGE", stream, "+", "-", "COUNT", "1", NULL);
    cr_assert_eq(reply->elements, 1);
    const redisReply *body = reply->element[0]->element[1]->element[9];
    cr_assert_eq((size_t)body->len, bytes, "%zu bytes", (size_t)body->len);
    cr_assert_eq(memcmp(body->str, expected, bytes), 0);
    redis_reply_free(reply);
}

static void refused(const char *answer, const char *why)
{
    cr_assert_eq(strncmp(answer, "SHINVALID ", 10), 0, "%s", answer);
    cr_assert_not_null(strstr(answer, why), "\"%s\" without \"%s\"", answer, why);
}

BOOKED_TEST(queue_push, an_enrichment_is_made_of_plain_words)
{
    static const char body[] = "\x82\xa5query\xb9notice period for tenants\xa1k\x05";
    struct queue_batch batch = {0};

    const char *id = push(queue.base, "domain", "legal", "query", "notice period for tenants", "k",
                          "5", "priority", "high", "reply", "1", NULL);
    cr_assert_eq(strncmp(id, "push-", 5), 0, "%s", id);
    assert_body(queue.stream[JOB_HIGH], body, sizeof body - 1);
    const struct job *job = read_one("me", &batch);
    assert_slice(job->id, id);
    assert_slice(job->domain, "legal");
    assert_slice(job->options_text, "priority=high reply=1");
    OK(queue_job_check(job, &err));
    cr_assert_eq(counter("enqueued"), 1);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_push, a_distillation_has_typed_fields_and_succeeds_unless_said)
{
    static const char body[] =
        "\x85\xa7task_id\xa2t1\xa6prompt\xa1p\xa6result\xa1r\xa7success\xc3\xa7quality"
        "\xcb\x3f\xe8\0\0\0\0\0\0";
    static const char failed[] =
        "\x85\xa7task_id\xa2t1\xa6prompt\xa1p\xa6result\xa1r\xa7success\xc2\xa5model\xa2m1";
    const char *base = "sh:{distill.2}";

    cr_assert_eq(strncmp(push(base, "domain", "legal", "quality", "0.75", "task_id", "t1", "prompt",
                              "p", "result", "r", NULL),
                         "push-", 5),
                 0);
    assert_body("sh:{distill.2}:jobs", body, sizeof body - 1);
    cr_assert_eq(strncmp(push(base, "domain", "legal", "task_id", "t1", "prompt", "p", "result",
                              "r", "success", "false", "model", "m1", NULL),
                         "push-", 5),
                 0);
    assert_body("sh:{distill.2}:jobs", failed, sizeof failed - 1);
}

BOOKED_TEST(queue_push, another_queue_takes_a_body_or_a_map_of_its_fields)
{
    static const char map[] = "\x82\xa6"
                              "colour\xa3red\xa4size\xa1"
                              "2";

    cr_assert_eq(strncmp(push("sh:{echo}", "domain", "x", "body", "raw", NULL), "push-", 5), 0);
    assert_body("sh:{echo}:jobs", "raw", 3);
    cr_assert_eq(
        strncmp(push("sh:{echo}", "colour", "red", "domain", "x", "size", "2", NULL), "push-", 5),
        0);
    assert_body("sh:{echo}:jobs", map, sizeof map - 1);
    cr_assert_eq(strncmp(push("sh:{echo}", "domain", "x", NULL), "push-", 5), 0);
    assert_body("sh:{echo}:jobs", "", 0);
    refused(push("sh:{echo}", "domain", "x", "body", "raw", "colour", "red", NULL),
            "field \"colour\": expected nothing beside body");
}

BOOKED_TEST(queue_push, a_delayed_push_waits_and_a_twin_is_named)
{
    const char *first = push(queue.base, "domain", "x", "query", "q", "delay_ms", "60000", "unique",
                             "k", "deadline_ms", "99999999999999", "traceparent", "t", NULL);
    cr_assert_eq(strncmp(first, "push-", 5), 0, "%s", first);
    cr_assert_eq(stats().delayed, 1);
    cr_assert_str_eq(
        push(queue.base, "domain", "x", "query", "q", "delay_ms", "70000", "unique", "k", NULL),
        first);
    cr_assert_eq(counter("deduplicated"), 1);
}

BOOKED_TEST(queue_push, every_push_has_its_own_id)
{
    char first[80];

    snprintf(first, sizeof first, "%s", push(queue.base, "domain", "x", "query", "q", NULL));
    cr_assert_str_neq(push(queue.base, "domain", "x", "query", "q", NULL), first);
}

BOOKED_TEST(queue_push, what_is_wrong_is_named_with_field_value_and_expectation)
{
    const char *base = queue.base;
    const char *distill = "sh:{distill}";

    refused(push(base, NULL), "arguments \"0\"");
    refused(push(base, "domain", NULL), "arguments \"1\"");
    refused(push(base, "query", "q", NULL), "domain \"\": expected 1 to 63 of");
    refused(push(base, "domain", "BAD", "query", "q", NULL), "domain \"BAD\"");
    refused(push(base, "domain", "x", NULL), "query \"\": expected text that is not blank");
    refused(push(base, "domain", "x", "query", " \t", NULL), "query \" ?\": expected text");
    refused(push(base, "domain", "x", "query", "q", "k", "0", NULL),
            "k \"0\": expected a whole number from 1 to 20");
    refused(push(base, "domain", "x", "query", "q", "k", "21", NULL), "k \"21\"");
    refused(push(base, "domain", "x", "query", "q", "k", "1.5", NULL), "k \"1.5\"");
    refused(push(base, "domain", "x", "query", "q", "query", "r", NULL),
            "field \"query\": expected it once");
    refused(push(base, "domain", "x", "query", "q", "colour", "red", NULL),
            "field \"colour\": expected domain, priority");
    refused(push(base, "domain", "x", "query", "q", "body", "b", NULL), "field \"body\"");
    refused(push(base, "domain", "x", "query", "q", "priority", "urgent", NULL),
            "priority \"urgent\": expected high, normal or low");
    refused(push(base, "domain", "x", "query", "q", "delay_ms", "5s", NULL), "delay_ms \"5s\"");
    refused(push(base, "domain", "x", "query", "q", "unique", "a b", NULL), "unique \"a b\"");
    refused(push(distill, "domain", "x", "task_id", "t", "prompt", "p", NULL), "result \"\"");
    refused(push(distill, "domain", "x", "task_id", "t", "prompt", "p", "result", "r", "quality",
                 "1.1", NULL),
            "quality \"1.1\": expected a number from 0 to 1");
    refused(push(distill, "domain", "x", "task_id", "t", "prompt", "p", "result", "r", "quality",
                 "nan", NULL),
            "quality \"nan\"");
    refused(push(distill, "domain", "x", "task_id", "t", "prompt", "p", "result", "r", "success",
                 "yes", NULL),
            "success \"yes\": expected true or false");
    refused(push("sh:{index}", "domain", "x", "query", "q", NULL), "queue \"index\"");
    refused(push("sh:index", "domain", "x", "query", "q", NULL), "key \"sh:index\"");
    cr_assert_str_eq(ask("DBSIZE", NULL), "3", "only the prepared streams");
}

BOOKED_TEST(queue_push, a_full_queue_says_so)
{
    enum { CALLS = 100 };
    struct queue_item *items = calloc(QUEUE_BATCH_MAX, sizeof *items);
    struct queue_answer *answers = calloc(QUEUE_BATCH_MAX, sizeof *answers);

    cr_assert(items != NULL && answers != NULL);
    for (int i = 0; i < QUEUE_BATCH_MAX; i++) {
        items[i] = (struct queue_item){text("a"), text("x"), text(""), text("")};
    }
    for (int i = 0; i < CALLS; i++) {
        OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, QUEUE_BATCH_MAX}, answers,
                         &err));
    }
    const char *answer = push(queue.base, "domain", "x", "query", "q", NULL);
    cr_assert_eq(strncmp(answer, "SHFULL ", 7), 0, "%s", answer);
    cr_assert_eq(counter("refused"), 1);
    free(answers);
    free(items);
}
