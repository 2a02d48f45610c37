#include "recorder/telling.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/strbuf.h"
#include "learn/arms.h"
#include "learn/questions.h"
#include "queue/keys.h"
#include "json/write.h"

enum {
    LIFE_MS = 24 * 60 * 60 * 1000,
    DOMAINS = 16,            /* whose tiers are told in a slice */
    ROWS_MAX = 1000,         /* names that never end make no key that never ends */
    SURE_BYTES_MAX = 1 << 20 /* likewise */
};

struct telling {
    const char *prefix;
    struct redis_conn *cache;

    /* Sets of domains' names, as tsearch() keeps them. */
    void *touched; /* the views do not say yet what was written */
    void *ready;   /* to be told */

    /* The round of lifts. */
    struct strbuf after; /* the domain that was looked at last; empty before the first */
    struct strbuf sure;  /* what is to be told of the sure ones: JSON objects with commas */
    size_t compared;     /* domains with tasks in both arms */
    size_t hurt;
};

struct telling *telling_new(const char *prefix, struct redis_conn *cache)
{
    struct telling *telling = must_alloc(1, sizeof *telling);

    telling->prefix = prefix;
    telling->cache = cache;
    return telling;
}

void telling_free(struct telling *telling)
{
    if (telling != NULL) {
        tdestroy(telling->touched, free);
        tdestroy(telling->ready, free);
        strbuf_free(&telling->after);
        strbuf_free(&telling->sure);
        free(telling);
    }
}

/* False where Redis does not take it. */
static bool set_key(const struct telling *telling, const char *key, const struct strbuf *text)
{
    struct error refused = {0};
    long long suppressed = 0;

    if (redis_commandf(telling->cache, NULL, &refused, "SET %s %.*s PX %d", key, (int)text->bytes,
                       text->data, (int)LIFE_MS) == STATUS_OK) {
        return true;
    }
    if (log_kind_allow("telling", &suppressed)) {
        log_warning("key \"%.80s\" is told later: %s (%lld more like it)", key, refused.text,
                    suppressed);
    }
    return false;
}

/* Up to `most` domains that sort behind `after`, an empty one before the first. */
static enum status ask_domains(struct store *store, const struct strbuf *after, int64_t most,
                               struct rows *rows, struct error *err)
{
    const struct value with[QUESTION_PARAMETERS_MAX] = {
        value_text((struct slice){after->bytes > 0 ? after->data : "", after->bytes}),
        value_integer(most)};

    return question_ask(store_database(store), question_find(slice_of("domains")), with, 0, rows,
                        err);
}

/* ---- tiers ----------------------------------------------------------------------------------- */

static int compare_names(const void *left, const void *right)
{
    return strcmp(left, right);
}

void telling_touch(struct telling *telling, struct slice domain)
{
    char *name = must_copy(domain.data, domain.bytes);
    char **found = tsearch(name, &telling->touched, compare_names);

    if (found == NULL) {
        must_die();
    } else if (*found != name) { /* it was there */
        free(name);
    }
}

enum status telling_touch_all(struct telling *telling, struct store *store, struct error *err)
{
    const struct strbuf none = {0};
    struct rows rows;

    TRY(ask_domains(store, &none, INT64_MAX, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        telling_touch(telling, rows_value(&rows, 0).text);
    }
    return rows_end(&rows);
}

void telling_ready(struct telling *telling)
{
    if (telling->ready == NULL) {
        telling->ready = telling->touched;
        telling->touched = NULL;
    }
}

/* {"domain":"acme.shop","at_ms":...,"days":30,"tiers":[the rows of the question `types`]} */
static enum status write_tiers(struct store *store, const char *domain, int64_t now_unix_ms,
                               struct strbuf *out, struct error *err)
{
    const struct store_question *question = question_find(slice_of("types"));
    const struct value with[QUESTION_PARAMETERS_MAX] = {value_str(domain),
                                                        value_integer(QUESTIONS_WINDOW_DAYS)};
    struct rows rows;

    strbuf_append_str(out, "{\"domain\":");
    json_str(out, domain);
    strbuf_printf(out, ",\"at_ms\":%lld,\"days\":%d,\"tiers\":[", (long long)now_unix_ms,
                  (int)QUESTIONS_WINDOW_DAYS);
    TRY(question_ask(store_database(store), question, with, now_unix_ms, &rows, err));
    for (size_t row = 0; row < ROWS_MAX && rows_next(&rows, err) == ROWS_ONE; row++) {
        strbuf_append_str(out, row == 0 ? "" : ",");
        question_json(question, &rows, out);
    }
    strbuf_append_str(out, "]}");
    strbuf_must(out);
    return rows_end(&rows);
}

enum status telling_tiers(struct telling *telling, struct store *store, bool *more,
                          struct error *err)
{
    struct strbuf text = {0};
    int64_t now_unix_ms = 0;
    bool told = true;

    enum status status = database_now(store_database(store), &now_unix_ms, err);
    for (size_t i = 0; status == STATUS_OK && told && i < DOMAINS && telling->ready != NULL; i++) {
        char *name = *(char **)telling->ready; /* of the node that is the root */
        char key[KEYS_BYTES];
        strbuf_reset(&text);
        status = write_tiers(store, name, now_unix_ms, &text, err);
        told = status == STATUS_OK &&
               set_key(telling, keys_name(key, KEYS_LEARN, telling->prefix, name), &text);
        if (told) {
            tdelete(name, &telling->ready, compare_names);
            free(name);
        }
    }
    strbuf_free(&text);
    *more = told && telling->ready != NULL;
    return status;
}

/* ---- lifts ----------------------------------------------------------------------------------- */

/* Moves `after` on; it is empty where there is no domain behind it. */
static enum status find_next(struct telling *telling, struct store *store, struct error *err)
{
    struct strbuf next = {0};
    struct rows rows;

    TRY(ask_domains(store, &telling->after, 1, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        const struct slice domain = rows_value(&rows, 0).text;
        strbuf_append(&next, domain.data, domain.bytes);
    }
    const enum status status = rows_end(&rows);
    strbuf_must(&next);
    strbuf_free(&telling->after);
    telling->after = next;
    return status;
}

static void write_arm(struct strbuf *out, const char *name, const struct arm *arm)
{
    strbuf_printf(out, ",\"%s\":{\"tasks\":%lld,\"successes\":%lld}", name,
                  (long long)arm->tasks.tasks, (long long)arm->tasks.successes);
}

static void add_domain(struct telling *telling, const struct arms *arms)
{
    const struct lift_alarm alarm = lift_alarm_of(&arms->with.tasks, &arms->without.tasks);
    struct strbuf *out = &telling->sure;

    telling->compared += arms->with.tasks.tasks > 0 && arms->without.tasks.tasks > 0;
    telling->hurt += alarm.verdict == LIFT_HURTS;
    if (alarm.verdict == LIFT_UNKNOWN || out->bytes > SURE_BYTES_MAX) {
        return;
    }
    strbuf_append_str(out, out->bytes == 0 ? "{\"domain\":" : ",{\"domain\":");
    json_string(out, telling->after.data, telling->after.bytes);
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

static void tell_round(const struct telling *telling, int64_t now_unix_ms)
{
    struct strbuf text = {0};
    char key[KEYS_BYTES];

    strbuf_printf(&text, "{\"at_ms\":%lld,\"days\":%d,\"compared\":%zu,\"hurt\":%zu,\"domains\":[",
                  (long long)now_unix_ms, (int)QUESTIONS_WINDOW_DAYS, telling->compared,
                  telling->hurt);
    if (telling->sure.bytes > 0) {
        strbuf_append(&text, telling->sure.data, telling->sure.bytes);
    }
    strbuf_append_str(&text, "]}");
    strbuf_must(&text);
    (void)set_key(telling, keys_name(key, KEYS_PLAIN, telling->prefix, "learn:lift"), &text);
    strbuf_free(&text);
}

enum status telling_lifts(struct telling *telling, struct store *store, struct telling_round *round,
                          struct error *err)
{
    struct arms arms;
    int64_t now_unix_ms = 0;

    TRY(database_now(store_database(store), &now_unix_ms, err));
    TRY(find_next(telling, store, err));
    *round = (struct telling_round){telling->after.bytes == 0, telling->hurt};
    if (round->is_done) {
        tell_round(telling, now_unix_ms);
        strbuf_reset(&telling->sure);
        telling->compared = 0;
        telling->hurt = 0;
        return STATUS_OK;
    }
    const struct arms_question asked = {
        {telling->after.data, telling->after.bytes}, QUESTIONS_WINDOW_DAYS, now_unix_ms};
    TRY(arms_ask(store_database(store), &asked, &arms, err));
    add_domain(telling, &arms);
    return STATUS_OK;
}
