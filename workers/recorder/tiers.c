#include "recorder/tiers.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/strbuf.h"
#include "learn/questions.h"
#include "queue/keys.h"
#include "json/write.h"

enum {
    FIRST_SLOTS = 64,
    LIFE_MS = 24 * 60 * 60 * 1000,
    PAGE = 1000,
    ROWS_MAX = 1000 /* names that never end make no key that never ends */
};

/* A set of names: open addressing, at most half full. */
struct names {
    char **slots;
    size_t slot_count; /* a power of two */
    size_t count;
};

struct tiers {
    const char *prefix;
    struct names touched; /* the views do not say yet what was written */
    struct names ready;   /* to be told */
    size_t next;          /* of `ready`: where the next one to tell is looked for */
};

static void names_init(struct names *names)
{
    *names = (struct names){must_alloc(FIRST_SLOTS, sizeof(char *)), FIRST_SLOTS, 0};
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->slot_count; i++) {
        free(names->slots[i]);
    }
    free(names->slots);
}

struct tiers *tiers_new(const char *prefix)
{
    struct tiers *tiers = must_alloc(1, sizeof *tiers);

    tiers->prefix = prefix;
    names_init(&tiers->touched);
    names_init(&tiers->ready);
    return tiers;
}

void tiers_free(struct tiers *tiers)
{
    if (tiers != NULL) {
        names_free(&tiers->touched);
        names_free(&tiers->ready);
        free(tiers);
    }
}

/* Where it stands, or would. */
static char **slot_of(const struct names *names, struct slice domain)
{
    size_t at = (size_t)slice_hash(SLICE_HASH, domain) & (names->slot_count - 1);

    while (names->slots[at] != NULL && !slice_equal(slice_of(names->slots[at]), domain)) {
        at = (at + 1) & (names->slot_count - 1);
    }
    return &names->slots[at];
}

static void grow(struct names *names)
{
    char **const old = names->slots;
    const size_t old_count = names->slot_count;

    names->slot_count *= 2;
    names->slots = must_alloc(names->slot_count, sizeof(char *));
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] != NULL) {
            *slot_of(names, slice_of(old[i])) = old[i];
        }
    }
    free(old);
}

static void names_add(struct names *names, struct slice domain)
{
    char **slot = slot_of(names, domain);

    if (*slot != NULL) {
        return;
    }
    *slot = must_copy(domain.data, domain.bytes);
    if (++names->count * 2 > names->slot_count) {
        grow(names);
    }
}

/* Takes it out; those behind it may have to move into its place. */
static void names_remove(struct names *names, size_t at)
{
    free(names->slots[at]);
    names->slots[at] = NULL;
    names->count--;
    for (size_t i = (at + 1) & (names->slot_count - 1); names->slots[i] != NULL;
         i = (i + 1) & (names->slot_count - 1)) {
        char *const moved = names->slots[i];
        names->slots[i] = NULL;
        *slot_of(names, slice_of(moved)) = moved;
    }
}

void tiers_touch(struct tiers *tiers, struct slice domain)
{
    names_add(&tiers->touched, domain);
}

void tiers_ready(struct tiers *tiers)
{
    for (size_t i = 0; tiers->touched.count > 0 && i < tiers->touched.slot_count; i++) {
        if (tiers->touched.slots[i] != NULL) {
            names_add(&tiers->ready, slice_of(tiers->touched.slots[i]));
        }
    }
    if (tiers->touched.count > 0) {
        names_free(&tiers->touched);
        names_init(&tiers->touched);
    }
}

static enum status touch_page(struct tiers *tiers, struct store *store, struct strbuf *after,
                              size_t *found, struct error *err)
{
    const struct store_question *question = question_find(slice_of("domains"));
    struct value with[QUESTION_PARAMETERS_MAX] = {
        value_text((struct slice){after->bytes > 0 ? after->data : "", after->bytes}),
        value_integer(PAGE)};
    struct rows rows;

    *found = 0;
    TRY(question_ask(store_database(store), question, with, 0, &rows, err));
    struct strbuf last = {0};
    while (rows_next(&rows, err) == ROWS_ONE) {
        const struct slice domain = rows_value(&rows, 0).text;
        tiers_touch(tiers, domain);
        strbuf_reset(&last);
        strbuf_append(&last, domain.data, domain.bytes);
        (*found)++;
    }
    const enum status status = rows_end(&rows);
    strbuf_free(after);
    *after = last;
    strbuf_must(after);
    return status;
}

enum status tiers_touch_all(struct tiers *tiers, struct store *store, struct error *err)
{
    struct strbuf after = {0};
    size_t found = 0;
    enum status status = STATUS_OK;

    do {
        status = touch_page(tiers, store, &after, &found, err);
    } while (status == STATUS_OK && found == PAGE);
    strbuf_free(&after);
    return status;
}

/* {"domain":"acme.shop","at_ms":...,"days":30,"tiers":[the rows of `types`]} */
static enum status write_tiers(const struct tiers_telling *telling, const char *domain,
                               struct strbuf *out, struct error *err)
{
    const struct store_question *question = question_find(slice_of("types"));
    const struct value with[QUESTION_PARAMETERS_MAX] = {value_str(domain),
                                                        value_integer(QUESTIONS_WINDOW_DAYS)};
    const char *separator = "";
    size_t count = 0;
    struct rows rows;

    strbuf_append_str(out, "{\"domain\":");
    json_str(out, domain);
    strbuf_printf(out, ",\"at_ms\":%lld,\"days\":%d,\"tiers\":[", (long long)telling->now_unix_ms,
                  (int)QUESTIONS_WINDOW_DAYS);
    TRY(question_ask(store_database(telling->store), question, with, telling->now_unix_ms, &rows,
                     err));
    while (count < ROWS_MAX && rows_next(&rows, err) == ROWS_ONE) {
        strbuf_append_str(out, separator);
        question_json(question, &rows, out);
        separator = ",";
        count++;
    }
    strbuf_append_str(out, "]}");
    strbuf_must(out);
    return rows_end(&rows);
}

bool tiers_set(const struct tiers_telling *telling, const char *key, const struct strbuf *text)
{
    struct error refused = {0};
    long long suppressed = 0;

    if (redis_commandf(telling->cache, NULL, &refused, "SET %s %.*s PX %d", key, (int)text->bytes,
                       text->data, (int)LIFE_MS) == STATUS_OK) {
        return true;
    }
    if (log_kind_allow("tiers", &suppressed)) {
        log_warning("key \"%.80s\" is told later: %s (%lld more like it)", key, refused.text,
                    suppressed);
    }
    return false;
}

static enum status tell(const struct tiers *tiers, const struct tiers_telling *telling,
                        const char *domain, bool *told, struct error *err)
{
    struct strbuf text = {0};
    char key[KEYS_BYTES];

    const enum status status = write_tiers(telling, domain, &text, err);
    if (status == STATUS_OK) {
        *told = tiers_set(telling, keys_name(key, KEYS_LEARN, tiers->prefix, domain), &text);
    }
    strbuf_free(&text);
    return status;
}

enum status tiers_tell(struct tiers *tiers, const struct tiers_telling *telling, size_t most,
                       size_t *left, struct error *err)
{
    struct names *ready = &tiers->ready;
    bool told = true;

    for (size_t i = 0; told && i < most && ready->count > 0; i++) {
        while (ready->slots[tiers->next] == NULL) {
            tiers->next = (tiers->next + 1) & (ready->slot_count - 1);
        }
        told = false;
        TRY(tell(tiers, telling, ready->slots[tiers->next], &told, err));
        if (told) {
            names_remove(ready, tiers->next);
        }
    }
    *left = told ? ready->count : 0;
    return STATUS_OK;
}
