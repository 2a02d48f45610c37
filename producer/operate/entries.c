#include "operate/entries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "jobs/bodies.h"
#include "json/write.h"

const char *entry_state_name(enum entry_state state)
{
    static const char *const names[] = {"waiting", "running", "delayed", "dead"};

    return names[state];
}

/* ---- from replies -------------------------------------------------------------------------- */

struct slice entry_cell(const struct entry *entry, const char *name, size_t most)
{
    const struct slice value = redis_reply_find(entry->fields, name);

    return (struct slice){value.bytes == 0 ? "" : value.data,
                          text_utf8_cut(value.data, value.bytes, most)};
}

bool entry_from_stream(const redisReply *element, enum entry_state state, struct entry *out)
{
    *out = (struct entry){.state = state, .priority = JOB_NORMAL};
    if (!redis_reply_is_row(element, "sa")) {
        return false;
    }
    out->stream_id = (struct slice){element->element[0]->str, (size_t)element->element[0]->len};
    out->fields = element->element[1];
    out->id = redis_reply_find(out->fields, "id");
    out->domain = redis_reply_find(out->fields, "domain");
    out->attempt = redis_reply_find(out->fields, "attempt");
    out->options = redis_reply_find(out->fields, "options");
    out->body = redis_reply_find(out->fields, "body");
    return true;
}

/* Takes the run up to the next space off `text`. */
static struct slice take_word(struct slice *text)
{
    const char *space = text->bytes == 0 ? NULL : memchr(text->data, ' ', text->bytes);
    const size_t bytes = space == NULL ? text->bytes : (size_t)(space - text->data);
    const struct slice word = {text->data, bytes};
    const size_t taken = space == NULL ? bytes : bytes + 1;

    *text = (struct slice){text->data + taken, text->bytes - taken};
    return word;
}

bool entry_from_delayed(const redisReply *member, int64_t due_unix_ms, struct entry *out)
{
    *out =
        (struct entry){.state = ENTRY_DELAYED, .priority = JOB_NORMAL, .due_unix_ms = due_unix_ms};
    if (member->type != REDIS_REPLY_STRING) {
        return false;
    }
    const char *end = memchr(member->str, '\n', (size_t)member->len);
    if (end == NULL) {
        return false;
    }
    struct slice head = {member->str, (size_t)(end - member->str)};
    struct job_options options;
    out->id = take_word(&head);
    out->domain = take_word(&head);
    out->attempt = take_word(&head);
    out->options = head;
    out->body = (struct slice){end + 1, (size_t)member->len - (size_t)(end + 1 - member->str)};
    if (job_options_parse(head.data, head.bytes, true, &options, NULL) == STATUS_OK) {
        out->priority = options.priority;
        out->parked = options.parked;
    }
    return true;
}

int64_t entry_time_ms(const struct entry *entry)
{
    return entry->stream_id.bytes == 0 ? 0 : strtoll(entry->stream_id.data, NULL, 10);
}

bool entry_is_stream_id(const char *text)
{
    const size_t ms = strspn(text, "0123456789");
    const size_t sequence = text[ms] == '-' ? strspn(text + ms + 1, "0123456789") : 0;

    return ms > 0 && ms <= 20 && sequence > 0 && sequence <= 20 && text[ms + 1 + sequence] == '\0';
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void put_slice(struct json_writer *json, const char *name, struct slice text)
{
    json_put_bytes(json, name, text.bytes == 0 ? "" : text.data, text.bytes);
}

/* "body": the decoded value, or null with the reason and the bytes. */
static void put_body(struct json_writer *json, struct slice body)
{
    struct error err = {0};

    if (values_to_json(body.data, body.bytes, json, "body", &err) != STATUS_OK) {
        json_put_null(json, "body");
        json_put_str(json, "body_error", err.text);
        json_base64(json_put(json, "body_base64"), body.data, body.bytes);
    }
}

void entry_body_to_json(const struct entry *entry, struct json_writer *json)
{
    if (values_to_json(entry->body.data, entry->body.bytes, json, NULL, NULL) != STATUS_OK) {
        json_put_null(json, NULL);
    }
}

static bool is_number_field(const char *name)
{
    static const char *const names[] = {"attempt", "attempts", "deliveries", "died", "since"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_number(struct slice text)
{
    return text.bytes > 0 && text.bytes <= 15 && strspn(text.data, "0123456789") >= text.bytes &&
           (text.data[0] != '0' || text.bytes == 1);
}

static void put_field(struct json_writer *json, const char *name, struct slice value)
{
    if (strcmp(name, "body") == 0) {
        put_body(json, value);
    } else if (is_number_field(name) && is_number(value)) {
        strbuf_append(json_put(json, name), value.data, value.bytes);
    } else {
        put_slice(json, name, value);
    }
}

/* Every field the entry has; a name that is not UTF-8 is nobody's and left out. */
static void put_stream_fields(struct json_writer *json, const struct entry *entry)
{
    for (size_t i = 0; i + 1 < entry->fields->elements; i += 2) {
        const redisReply *name = entry->fields->element[i];
        const redisReply *value = entry->fields->element[i + 1];
        if (name->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            text_is_utf8(name->str, (size_t)name->len)) {
            put_field(json, name->str, (struct slice){value->str, (size_t)value->len});
        }
    }
}

static void put_delayed_fields(struct json_writer *json, const struct entry *entry)
{
    json_put_int(json, "due", entry->due_unix_ms);
    if (entry->parked.waits_for.bytes > 0) {
        put_slice(json, "waits_for", entry->parked.waits_for);
        json_put_int(json, "tries", entry->parked.tries);
    }
    put_field(json, "id", entry->id);
    put_field(json, "domain", entry->domain);
    put_field(json, "attempt", entry->attempt);
    put_field(json, "options", entry->options);
    put_field(json, "body", entry->body);
}

void entry_to_json(const struct entry *entry, struct json_writer *json, const char *name)
{
    json_open(json, name, '{');
    json_put_str(json, "state", entry_state_name(entry->state));
    if (entry->state != ENTRY_DEAD) {
        json_put_str(json, "priority", job_priority_name(entry->priority));
    }
    if (entry->state == ENTRY_DELAYED) {
        put_delayed_fields(json, entry);
    } else {
        put_slice(json, "entry", entry->stream_id);
    }
    if (entry->state == ENTRY_RUNNING) {
        put_slice(json, "consumer", entry->consumer);
        json_put_int(json, "deliveries", entry->deliveries);
    }
    if (entry->fields != NULL) {
        put_stream_fields(json, entry);
    }
    json_close(json, '}');
}

/* ---- from Redis ---------------------------------------------------------------------------- */

void entries_open(struct entries *entries, struct redis_conn *conn, const char *stream,
                  enum entry_state state)
{
    *entries = (struct entries){.from = "-",
                                .until = "+",
                                .most = SIZE_MAX,
                                .conn = conn,
                                .stream = stream,
                                .state = state};
}

void entries_turn(struct entries *entries)
{
    entries->newest_first = true;
    snprintf(entries->from, ENTRY_ID_BYTES, "+");
    snprintf(entries->until, ENTRY_ID_BYTES, "-");
}

/* A reply of XRANGE's shape, or NULL with entries->err. */
static redisReply *range(struct entries *entries, const char *from, const char *until, size_t count)
{
    redisReply *reply = NULL;

    const enum status status = redis_fetchf(
        entries->conn, "[", &reply, &entries->err, "%s %s %s %s COUNT %zu",
        entries->newest_first ? "XREVRANGE" : "XRANGE", entries->stream, from, until, count);
    return status == STATUS_OK ? reply : NULL;
}

static void free_page(struct entries *entries)
{
    redis_reply_free(entries->page);
    entries->page = NULL;
    entries->at = 0;
}

/* Moves `from` behind the page that was read. False where nothing is behind it. */
static bool pass_page(struct entries *entries)
{
    const redisReply *page = entries->page;
    const redisReply *newest =
        page == NULL || page->elements == 0 ? NULL : page->element[page->elements - 1];

    if (page == NULL) {
        return true; /* the first page */
    }
    if (entries->last || newest == NULL || newest->type != REDIS_REPLY_ARRAY ||
        newest->elements == 0 || newest->element[0]->type != REDIS_REPLY_STRING) {
        return false;
    }
    snprintf(entries->from, ENTRY_ID_BYTES, "(%s", newest->element[0]->str);
    return true;
}

static bool read_page(struct entries *entries)
{
    const size_t count = entries->most < ENTRIES_PAGE ? entries->most : ENTRIES_PAGE;

    if (entries->err.status != STATUS_OK || count == 0 || !pass_page(entries)) {
        return false;
    }
    free_page(entries);
    entries->page = range(entries, entries->from, entries->until, count);
    entries->last = entries->page == NULL || entries->page->elements < count;
    return entries->page != NULL;
}

bool entries_next(struct entries *entries, struct entry *out)
{
    for (;;) {
        while (entries->page != NULL && entries->at < entries->page->elements) {
            if (entry_from_stream(entries->page->element[entries->at++], entries->state, out)) {
                entries->most--;
                return true;
            }
        }
        if (!read_page(entries)) {
            return false;
        }
    }
}

enum status entries_close(struct entries *entries, struct error *err)
{
    free_page(entries);
    if (err != NULL) {
        *err = entries->err;
    }
    return entries->err.status;
}

/* The one entry of this id; else all are looked through. */
static bool find_by_stream_id(struct entries *entries, const char *id, struct entry *out)
{
    redisReply *reply = range(entries, id, id, 1);

    if (reply == NULL || reply->elements != 1 ||
        !entry_from_stream(reply->element[0], entries->state, out)) {
        redis_reply_free(reply);
        return false;
    }
    entries->page = reply;
    entries->at = 1;
    entries->last = true;
    return true;
}

bool entries_find(struct entries *entries, const char *id, struct entry *out)
{
    const size_t bytes = strlen(id);

    if (entry_is_stream_id(id) && find_by_stream_id(entries, id, out)) {
        return true;
    }
    while (entries_next(entries, out)) {
        if (out->id.bytes == bytes && memcmp(out->id.data, id, bytes) == 0) {
            return true;
        }
    }
    if (entries->err.status == STATUS_OK) {
        (void)error_set(&entries->err, STATUS_NOT_FOUND, "no job \"%s\" in \"%s\"", id,
                        entries->stream);
    }
    return false;
}
