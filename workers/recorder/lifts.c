#include "recorder/lifts.h"

#include <stdlib.h>

#include "base/must.h"
#include "base/strbuf.h"
#include "learn/arms.h"
#include "learn/questions.h"
#include "queue/keys.h"
#include "json/write.h"

enum { TOLD_BYTES_MAX = 1024 * 1024 };

struct lifts {
    const char *prefix;
    struct strbuf after;   /* the domain that was looked at last; empty before the first */
    struct strbuf domains; /* what is to be told of the sure ones: JSON objects with commas */
    size_t compared;       /* domains with tasks in both arms */
    size_t hurt;
};

struct lifts *lifts_new(const char *prefix)
{
    struct lifts *lifts = must_alloc(1, sizeof *lifts);

    lifts->prefix = prefix;
    return lifts;
}

void lifts_free(struct lifts *lifts)
{
    if (lifts != NULL) {
        strbuf_free(&lifts->after);
        strbuf_free(&lifts->domains);
        free(lifts);
    }
}

/* Moves `after` on; it is empty where there is no domain behind it. */
static enum status find_next(struct lifts *lifts, struct store *store, struct error *err)
{
    const struct store_question *question = question_find(slice_of("domains"));
    struct strbuf next = {0};
    struct rows rows;

    const struct value with[QUESTION_PARAMETERS_MAX] = {
        value_text(
            (struct slice){lifts->after.bytes > 0 ? lifts->after.data : "", lifts->after.bytes}),
        value_integer(1)};
    TRY(question_ask(store_database(store), question, with, 0, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        const struct slice domain = rows_value(&rows, 0).text;
        strbuf_append(&next, domain.data, domain.bytes);
    }
    const enum status status = rows_end(&rows);
    strbuf_must(&next);
    strbuf_free(&lifts->after);
    lifts->after = next;
    return status;
}

static void write_arm(struct strbuf *out, const char *name, const struct arm *arm)
{
    strbuf_printf(out, ",\"%s\":{\"tasks\":%lld,\"successes\":%lld}", name,
                  (long long)arm->tasks.tasks, (long long)arm->tasks.successes);
}

static void add(struct lifts *lifts, const struct arms *arms)
{
    const struct lift_alarm alarm = lift_alarm_of(&arms->with.tasks, &arms->without.tasks);
    struct strbuf *out = &lifts->domains;

    lifts->compared += arms->with.tasks.tasks > 0 && arms->without.tasks.tasks > 0;
    lifts->hurt += alarm.verdict == LIFT_HURTS;
    if (alarm.verdict == LIFT_UNKNOWN || out->bytes > TOLD_BYTES_MAX) {
        return;
    }
    strbuf_append_str(out, out->bytes == 0 ? "{\"domain\":" : ",{\"domain\":");
    json_string(out, lifts->after.data, lifts->after.bytes);
    strbuf_printf(out, ",\"examples\":\"%s\"", alarm.verdict == LIFT_HURTS ? "hurt" : "help");
    strbuf_append_str(out, ",\"difference\":");
    json_double(out, alarm.difference);
    strbuf_append_str(out, ",\"low\":");
    json_double(out, alarm.interval.low);
    strbuf_append_str(out, ",\"high\":");
    json_double(out, alarm.interval.high);
    write_arm(out, "with", &arms->with);
    write_arm(out, "without", &arms->without);
    strbuf_append_char(out, '}');
    strbuf_must(out);
}

static void tell(const struct lifts *lifts, const struct tiers_telling *telling)
{
    struct strbuf text = {0};
    char key[KEYS_BYTES];

    strbuf_printf(&text, "{\"at_ms\":%lld,\"days\":%d,\"compared\":%zu,\"hurt\":%zu,\"domains\":[",
                  (long long)telling->now_unix_ms, (int)QUESTIONS_WINDOW_DAYS, lifts->compared,
                  lifts->hurt);
    if (lifts->domains.bytes > 0) {
        strbuf_append(&text, lifts->domains.data, lifts->domains.bytes);
    }
    strbuf_append_str(&text, "]}");
    strbuf_must(&text);
    (void)tiers_set(telling, keys_name(key, KEYS_PLAIN, lifts->prefix, "learn:lift"), &text);
    strbuf_free(&text);
}

enum status lifts_look(struct lifts *lifts, const struct tiers_telling *telling,
                       struct lifts_round *round, struct error *err)
{
    struct arms arms;

    TRY(find_next(lifts, telling->store, err));
    *round = (struct lifts_round){lifts->after.bytes == 0, lifts->hurt};
    if (round->is_done) {
        tell(lifts, telling);
        strbuf_reset(&lifts->domains);
        lifts->compared = 0;
        lifts->hurt = 0;
        return STATUS_OK;
    }
    const struct arms_question asked = {
        {lifts->after.data, lifts->after.bytes}, QUESTIONS_WINDOW_DAYS, telling->now_unix_ms};
    TRY(arms_ask(store_database(telling->store), &asked, &arms, err));
    add(lifts, &arms);
    return STATUS_OK;
}
