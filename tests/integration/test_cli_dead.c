/* stillhouse dead and peek. */
#include "cli_fixture.h"
#include "queue/enqueue.h"
#include "queue/settle.h"
#include "queue/take.h"

TestSuite(cli_dead, .init = start_redis, .fini = redis_teardown);

/* Puts `count` echo jobs j-<from> ... in and buries them. */
static void bury(int from, int count)
{
    const struct queue queue = queue_named("echo");
    const char *streams[] = {queue.stream[JOB_NORMAL]};
    struct queue_batch batch = {0};
    redisReply *reply = NULL;

    cr_assert_eq(queue_prepare(conn, &queue, NULL), STATUS_OK);
    for (int i = from; i < from + count; i++) {
        char id[32];
        const int length = snprintf(id, sizeof id, "j-%d", i);
        const struct queue_item item = {
            {id, (size_t)length}, {"d", 1}, {NULL, 0}, {"\x81\xa1n\x07", 4}};
        struct queue_answer answer;
        cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, NULL),
                     STATUS_OK);
    }
    cr_assert_eq(
        queue_read_append(conn, &(struct queue_read){"w", (size_t)count, 0, streams, 1}, NULL),
        STATUS_OK);
    cr_assert_eq(redis_conn_collect(conn, &reply, NULL), STATUS_OK);
    cr_assert_eq(queue_read_parse(&queue, reply, &batch, NULL), STATUS_OK);
    cr_assert_eq(batch.count, (size_t)count);
    for (size_t i = 0; i < batch.count; i++) {
        struct queue_end item = {
            .job = &batch.jobs[i], .reason = "rejected", .error = "quality 0.1 is under 0.5"};
        cr_assert_eq(
            queue_bury(conn, &(struct queue_holder){&queue, "w", "worker-1"}, &item, 1, NULL),
            STATUS_OK);
        cr_assert_eq(item.fate, QUEUE_MOVED);
    }
    redis_reply_free(reply);
    queue_batch_free(&batch);
}

static double dead(void)
{
    return stat_of("queues.echo.dead");
}

Test(cli_dead, dead_letters_are_listed_newest_first)
{
    RUN(0, "dead", "list", "echo");
    PRINTS("no dead letters");
    bury(0, 3);
    RUN(0, "dead", "list", "echo");
    PRINTS("rejected");
    PRINTS("quality 0.1 is under 0.5");
    cr_assert_lt(strstr(out, "j-2"), strstr(out, "j-0"));

    RUN(0, "dead", "list", "echo", "--limit", "1", "--json");
    cJSON *letter = document();
    cr_assert_str_eq(text_at(letter, "id"), "j-2");
    cr_assert_str_eq(text_at(letter, "reason"), "rejected");
    cr_assert_eq(number_at(letter, "attempts"), 1);
    cr_assert_eq(number_at(letter, "body.n"), 7);
    cJSON_Delete(letter);
}

Test(cli_dead, one_is_shown_by_its_job_or_its_own_id)
{
    bury(0, 2);
    RUN(0, "dead", "show", "echo", "j-1", "--json");
    cJSON *letter = document();
    char entry[64];
    snprintf(entry, sizeof entry, "%s", text_at(letter, "entry"));
    cr_assert_str_eq(text_at(letter, "worker"), "worker-1");
    cJSON_Delete(letter);

    RUN(0, "dead", "show", "echo", entry);
    PRINTS("\"j-1\"");
    RUN(4, "dead", "show", "echo", "j-9");
    SAYS("j-9");
    RUN(4, "dead", "show", "echo", "1-1");
    cr_assert_str_eq(out, "");
}

Test(cli_dead, letters_leave_one_by_one)
{
    bury(0, 3);
    RUN(0, "dead", "requeue", "echo", "j-0");
    cr_assert_str_eq(out, "1 requeued\n");
    RUN(0, "dead", "discard", "echo", "j-1", "--json");
    cr_assert_str_eq(out, "{\"discarded\":1}\n");
    RUN(4, "dead", "discard", "echo", "j-1", "j-2");
    PRINTS("1 discarded");
    cr_assert_eq(dead(), 0);
    cr_assert_eq(stat_of("queues.echo.waiting"), 1);
    RUN(0, "verify");
}

Test(cli_dead, all_of_them_leave_page_by_page)
{
    bury(0, 1000);
    bury(1000, 234);
    RUN(0, "dead", "requeue", "echo", "--all");
    cr_assert_str_eq(out, "1234 requeued\n");
    cr_assert_eq(dead(), 0);
    cr_assert_eq(stat_of("queues.echo.waiting"), 1234);
    bury(2000, 1);
    RUN(0, "dead", "discard", "echo", "--all");
    cr_assert_str_eq(out, "1 discarded\n");
    RUN(0, "dead", "discard", "echo", "--all");
    cr_assert_str_eq(out, "0 discarded\n");
    RUN(0, "verify");
}

Test(cli_dead, bad_usage_is_named)
{
    RUN(2, "dead");
    RUN(2, "dead", "bury", "echo");
    SAYS("bury");
    RUN(2, "dead", "list");
    SAYS("QUEUE");
    RUN(2, "dead", "requeue", "echo");
    SAYS("--all");
    RUN(2, "dead", "requeue", "echo", "j-1", "--all");
    RUN(2, "dead", "show", "echo", "--all");
    SAYS("--all");
    RUN(2, "dead", "show", "echo");
    RUN(2, "dead", "list", "echo", "--limit", "0");
    SAYS("--limit");
    RUN(2, "dead", "list", "NO");
    SAYS("NO");
}

Test(cli_dead, a_letter_that_is_no_job_does_not_disturb)
{
    DO("XADD", "sh:{echo}:dead", "*", "body", "\x1b[2J", "reason", "malformed");
    RUN(0, "dead", "list", "echo");
    cr_assert_null(strchr(out, '\x1b'));
    RUN(0, "dead", "list", "echo", "--json");
    cJSON *letter = document();
    cr_assert(cJSON_IsNull(cJSON_GetObjectItem(letter, "body")));
    cr_assert(strlen(text_at(letter, "body_base64")) > 0);
    cJSON_Delete(letter);
}

/* ---- peek ---------------------------------------------------------------------------------- */

Test(cli_dead, peek_shows_what_comes_next_by_priority)
{
    RUN(0, "peek", "echo");
    PRINTS("no waiting jobs");
    DO("FCALL", "sh_push", "1", "sh:{echo}", "domain", "d", "text", "normal one");
    DO("FCALL", "sh_push", "1", "sh:{echo}", "domain", "d", "text", "high one", "priority", "high");
    DO("FCALL", "sh_push", "1", "sh:{echo}", "domain", "d", "text", "later one", "delay_ms",
       "3600000");
    RUN(0, "peek", "echo");
    cr_assert_lt(strstr(out, "high one"), strstr(out, "normal one"));
    cr_assert_lt(strstr(out, "normal one"), strstr(out, "later one"));
    PRINTS("due in");
    for (int i = 0; i < 12; i++) {
        DO("FCALL", "sh_push", "1", "sh:{echo}", "domain", "d", "text", "more");
    }
    RUN(0, "peek", "echo", "--json");
    size_t lines = 0;
    for (const char *at = out; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    cr_assert_eq(lines, 10);
}

Test(cli_dead, peek_finds_one_job_wherever_it_is)
{
    const struct queue queue = queue_named("echo");
    const char *streams[] = {queue.stream[JOB_NORMAL]};

    cr_assert_eq(queue_prepare(conn, &queue, NULL), STATUS_OK);
    DO("FCALL", "sh_enqueue", "1", "sh:{echo}", "0", "j-run", "d", "", "\x81\xa1n\x01");
    cr_assert_eq(queue_read_append(conn, &(struct queue_read){"w", 1, 0, streams, 1}, NULL),
                 STATUS_OK);
    redisReply *reply = NULL;
    cr_assert_eq(redis_conn_collect(conn, &reply, NULL), STATUS_OK);
    redis_reply_free(reply);
    DO("FCALL", "sh_enqueue", "1", "sh:{echo}", "0", "j-low", "d", "priority=low", "\xc1");
    DO("FCALL", "sh_enqueue", "1", "sh:{echo}", "0", "j-late", "d", "delay_ms=3600000",
       "\x81\xa1n\x03");

    RUN(0, "peek", "echo", "j-run", "--json");
    cJSON *job = document();
    cr_assert_str_eq(text_at(job, "state"), "running");
    cr_assert_str_eq(text_at(job, "consumer"), "w");
    cr_assert_eq(number_at(job, "deliveries"), 1);
    char entry[64];
    snprintf(entry, sizeof entry, "%s", text_at(job, "entry"));
    cJSON_Delete(job);
    RUN(0, "peek", "echo", entry);
    PRINTS("j-run");

    RUN(0, "peek", "echo", "j-low", "--json");
    job = document();
    cr_assert_str_eq(text_at(job, "state"), "waiting");
    cr_assert_str_eq(text_at(job, "priority"), "low");
    cJSON_Delete(job);

    RUN(0, "peek", "echo", "j-late", "--json");
    job = document();
    cr_assert_str_eq(text_at(job, "state"), "delayed");
    cr_assert_gt(number_at(job, "due"), 0);
    cr_assert_eq(number_at(job, "body.n"), 3);
    cJSON_Delete(job);

    RUN(4, "peek", "echo", "j-gone");
    SAYS("j-gone");
    RUN(0, "peek", "echo", "--json");
}

Test(cli_dead, peek_passes_over_what_is_running)
{
    const struct queue queue = queue_named("echo");
    const char *streams[] = {queue.stream[JOB_NORMAL]};
    redisReply *reply = NULL;

    cr_assert_eq(queue_prepare(conn, &queue, NULL), STATUS_OK);
    DO("FCALL", "sh_push", "1", "sh:{echo}", "domain", "d", "text", "first");
    DO("FCALL", "sh_push", "1", "sh:{echo}", "domain", "d", "text", "second");
    cr_assert_eq(queue_read_append(conn, &(struct queue_read){"w", 1, 0, streams, 1}, NULL),
                 STATUS_OK);
    cr_assert_eq(redis_conn_collect(conn, &reply, NULL), STATUS_OK);
    redis_reply_free(reply);
    RUN(0, "peek", "echo");
    PRINTS("second");
    cr_assert_null(strstr(out, "first"));
}
