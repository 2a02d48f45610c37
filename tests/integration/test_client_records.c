/* What an execution taught, from the library's calls into the queue and into the outbox. */
#include <math.h>

#include "outbox_fixture.h"
#include "queue/queue.h"

static struct error err;
static struct queue records;

static void setup(void)
{
    outbox_setup();
    OK(queue_init(&records, "sh", "record", &err));
}

TestSuite(client_records, .init = setup, .fini = outbox_teardown);

enum { MOST = 8 };

static stillhouse_meta fields[MOST];
static size_t count;

/* A part with the fields set so far. */
static stillhouse_part part(const char *kind)
{
    return (stillhouse_part){
        .domain = "legal", .kind = kind, .task_id = "t-1", .fields = fields, .field_count = count};
}

static void has(stillhouse_meta field)
{
    fields[count++] = field;
}

static void read_first(struct arena *arena, struct record_body *body)
{
    const char *text = first_field(records.stream[JOB_LOW], "body");

    /* No body of these tests holds a NUL. */
    char *kept = arena_array(arena, strlen(text) + 1, 1);
    memcpy(kept, text, strlen(text) + 1);
    OK(bodies_decode_record(kept, strlen(kept), arena, body, &err));
}

Test(client_records, a_part_waits_in_the_low_stream_with_its_fields)
{
    struct arena arena = {0};
    struct record_body body;
    const stillhouse_meta metadata[] = {stillhouse_text("room", "blue")};
    char id[STILLHOUSE_ID_BYTES];

    has(stillhouse_truth("success", true));
    has(stillhouse_number("duration_seconds", 3.3));
    has(stillhouse_number("quality_score", 90.3));
    has(stillhouse_whole("tokens_in", 1234));
    has(stillhouse_text("model_tier", "small"));
    stillhouse_part outcome = part("outcome");
    outcome.metadata = metadata;
    outcome.metadata_count = 1;
    IS(stillhouse_record(client, &outcome, id), STILLHOUSE_OK);
    cr_assert_str_eq(first_field(records.stream[JOB_LOW], "id"), id);
    cr_assert_str_eq(first_field(records.stream[JOB_LOW], "domain"), "legal");
    read_first(&arena, &body);
    assert_slice(body.kind, "outcome");
    assert_slice(body.task_id, "t-1");
    assert_slice(body.model_tier, "small");
    cr_assert(body.success.given && body.success.value);
    cr_assert(body.duration_seconds.given && body.duration_seconds.value == 3.3);
    cr_assert(body.quality_score.given && body.quality_score.value == 90.3);
    cr_assert(body.tokens_in.given && body.tokens_in.value == 1234);
    cr_assert(!body.at_ms.given && !body.actual_cost.given && body.model.data == NULL);
    cr_assert_eq(body.metadata.count, 1);
    assert_slice(body.metadata.pairs[0].value.string, "blue");
    arena_free(&arena);
}

/* The call is refused and says both. */
static void refused(const stillhouse_part *given, const char *one, const char *other)
{
    char id[STILLHOUSE_ID_BYTES] = "x";

    IS(stillhouse_record(client, given, id), STILLHOUSE_INVALID);
    cr_assert_str_eq(id, "");
    says(one);
    says(other);
    count = 0;
}

/* Of one field. */
static void refuses(const char *kind, stillhouse_meta field, const char *expected)
{
    has(field);
    const stillhouse_part given = part(kind);
    refused(&given, field.key, expected);
}

Test(client_records, a_wrong_part_is_refused_by_field_value_and_what_was_expected)
{
    refused(NULL, "part", "NULL");
    stillhouse_part bad = part("outcome");
    bad.task_id = NULL;
    refused(&bad, "task_id", "missing");
    bad = part("outcome");
    bad.task_id = "a\nb";
    refused(&bad, "task_id", "control character");
    bad = part("outcome");
    bad.at_ms = -1;
    refused(&bad, "at_ms -1", "expected");
    bad = part(NULL);
    refused(&bad, "kind", "NULL");
    bad = part("outcom");
    refused(&bad, "kind \"outcom\"", "routing outcome pool_start");
    bad = part("outcome");
    bad.field_count = 1;
    bad.fields = NULL;
    refused(&bad, "fields", "NULL");
    bad = part("outcome");
    bad.domain = "No";
    refused(&bad, "domain \"No\"", "expected");

    refuses("feedback", stillhouse_whole("user_rating", 6), "from 1 to 5");
    refuses("feedback", stillhouse_whole("user_rating", 0), "from 1 to 5");
    refuses("feedback", stillhouse_number("user_rating", 4), "a whole number, found the float 4");
    refuses("outcome", stillhouse_number("quality_score", -1), "from 0 to 100");
    refuses("outcome", stillhouse_number("actual_cost", NAN), "a number from 0");
    refuses("outcome", stillhouse_number("actual_cost", INFINITY), "a number from 0");
    refuses("outcome", stillhouse_number("sucess", 1), "among metadata");
    refuses("outcome", stillhouse_text("strictness", "high"), "kind \"outcome\"");
    refuses("outcome", stillhouse_text("success", "yes"),
            "true or false, found the string \"yes\"");
    refuses("outcome", stillhouse_truth("model", true), "text, found true");
    refuses("outcome", stillhouse_text("model", NULL), "text, found nil");
    refuses("outcome", stillhouse_whole("model", -7), "text, found -7");
    refuses("outcome", stillhouse_text("tokens_in", "9"), "a whole number, found the string \"9\"");
    refuses("outcome", stillhouse_truth("actual_cost", false), "a number, found false");
    refuses("outcome", stillhouse_text("model", "caf\xe9"), "UTF-8");
    refuses("outcome", stillhouse_text("task_id", "t-2"), "among metadata");
    cr_assert_str_eq(ask("XLEN", records.stream[JOB_LOW], NULL), "0");
}

Test(client_records, a_pool_s_part_has_a_pool_or_a_task_and_a_policy_neither)
{
    has(stillhouse_text("pool_id", "p-1"));
    stillhouse_part pool = part("pool_start");
    pool.task_id = NULL;
    IS(stillhouse_record(client, &pool, NULL), STILLHOUSE_OK);
    count = 0;
    has(stillhouse_whole("duration_seconds", 3));
    pool = part("pool_end");
    IS(stillhouse_record(client, &pool, NULL), STILLHOUSE_OK);
    pool.task_id = NULL;
    refused(&pool, "\"task_id\" or \"pool_id\"", "missing");
    has(stillhouse_text("strictness", "high"));
    stillhouse_part policy = part("policy");
    policy.task_id = NULL;
    IS(stillhouse_record(client, &policy, NULL), STILLHOUSE_OK);
    cr_assert_str_eq(ask("XLEN", records.stream[JOB_LOW], NULL), "3");
}

Test(client_records, of_many_a_wrong_one_stays_out_alone)
{
    enum { MANY = 1200 };
    static stillhouse_part parts[MANY];
    static stillhouse_status outcome[MANY];
    static char ids[MANY][STILLHOUSE_ID_BYTES];

    has(stillhouse_truth("success", false));
    for (size_t i = 0; i < MANY; i++) {
        parts[i] = part("outcome");
    }
    parts[700].kind = "nothing";
    IS(stillhouse_record_many(client, parts, MANY, outcome, ids), STILLHOUSE_INVALID);
    says("[700]: kind \"nothing\"");
    cr_assert_eq(outcome[0], STILLHOUSE_OK);
    cr_assert_eq(outcome[700], STILLHOUSE_INVALID);
    cr_assert_eq(outcome[MANY - 1], STILLHOUSE_OK);
    cr_assert_eq(strlen(ids[MANY - 1]), 36);
    cr_assert_str_eq(ask("XLEN", records.stream[JOB_LOW], NULL), "1199");
    IS(stillhouse_record_many(client, NULL, 0, NULL, NULL), STILLHOUSE_OK);
    IS(stillhouse_record_many(client, NULL, 1, NULL, NULL), STILLHOUSE_INVALID);
}

Test(client_records, an_outbox_keeps_parts_and_leaves_half_of_itself_to_experiences)
{
    stillhouse_options small = boxed();
    stillhouse_status status = STILLHOUSE_KEPT;
    size_t kept = 0;

    small.outbox_max_bytes = 32 * 1024;
    stillhouse_client *one = open_client(&small);
    away();
    has(stillhouse_truth("success", true));
    const stillhouse_part outcome = part("outcome");
    for (; kept < 1000 && status == STILLHOUSE_KEPT; kept += status == STILLHOUSE_KEPT) {
        status = stillhouse_record(one, &outcome, NULL);
    }
    cr_assert_eq(status, STILLHOUSE_UNREACHABLE);
    cr_assert(kept > 50 && kept < 300, "%zu", kept);
    cr_assert_not_null(strstr(stillhouse_error(one), "half of its bound"), "%s",
                       stillhouse_error(one));
    cr_assert_eq(hand_in_to(one, "a"), STILLHOUSE_KEPT);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_eq(strtoul(ask("XLEN", records.stream[JOB_LOW], NULL), NULL, 10), kept);
    cr_assert_str_eq(tasks(), "a,");
    stillhouse_close(one);
}
