#include "operate/entries.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/frame/output.h"
#include "jobs/bodies.h"
#include "json/write.h"

enum { FIND_PAGE = 500 };

/* ---- from replies -------------------------------------------------------------------------- */

struct slice entry_field(const struct entry *entry, const char *name)
{
    const redisReply *fields = entry->fields;

    for (size_t i = 0; fields != NULL && i + 1 < fields->elements; i += 2) {
        const redisReply *field = fields->element[i];
        const redisReply *value = fields->element[i + 1];
        if (field->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            strcmp(field->str, name) == 0) {
            return (struct slice){value->str, (size_t)value->len};
        }
    }
    return (struct slice){NULL, 0};
}

struct slice entry_cell(const struct entry *entry, const char *name, size_t most)
{
    const struct slice value = entry_field(entry, name);

    return (struct slice){value.bytes == 0 ? "" : value.data,
                          text_utf8_cut(value.data, value.bytes, most)};
}

bool entry_from_stream(const redisReply *element, enum entry_state state, struct entry *out)
{
    *out = (struct entry){.state = state, .priority = JOB_NORMAL};
    if (element->type != REDIS_REPLY_ARRAY || element->elements != 2 ||
        element->element[0]->type != REDIS_REPLY_STRING ||
        element->element[1]->type != REDIS_REPLY_ARRAY) {
        return false;
    }
    out->stream_id = (struct slice){element->element[0]->str, (size_t)element->element[0]->len};
    out->fields = element->element[1];
    out->id = entry_field(out, "id");
    out->domain = entry_field(out, "domain");
    out->attempt = entry_field(out, "attempt");
    out->options = entry_field(out, "options");
    out->body = entry_field(out, "body");
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

/* "body": the decoded value, or null with the reason and the bytes. */
static void put_body(struct strbuf *out, struct slice body)
{
    struct error err = {0};
    struct strbuf value = {0};

    enum status status = bodies_scan(body.data, body.bytes, &err);
    if (status == STATUS_OK) {
        status =
            bodies_to_json(body.data, body.bytes, &(struct json_writer){.out = &value}, NULL, &err);
    }
    json_key(out, "body");
    if (status == STATUS_OK && strbuf_ok(&value)) {
        strbuf_append(out, value.data, value.bytes);
    } else {
        strbuf_append_str(out, "null");
        json_key(out, "body_error");
        json_bytes(out, err.text, strlen(err.text));
        json_key(out, "body_base64");
        json_base64(out, body.data, body.bytes);
    }
    strbuf_free(&value);
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

static void put_field(struct strbuf *out, const char *name, struct slice value)
{
    if (strcmp(name, "body") == 0) {
        put_body(out, value);
        return;
    }
    json_key(out, name);
    if (is_number_field(name) && is_number(value)) {
        strbuf_append(out, value.data, value.bytes);
    } else {
        json_bytes(out, value.bytes == 0 ? "" : value.data, value.bytes);
    }
}

/* Every field the entry has; a name that is not UTF-8 is nobody's and left out. */
static void put_stream_fields(const struct entry *entry, struct strbuf *out)
{
    for (size_t i = 0; i + 1 < entry->fields->elements; i += 2) {
        const redisReply *name = entry->fields->element[i];
        const redisReply *value = entry->fields->element[i + 1];
        if (name->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            text_is_utf8(name->str, (size_t)name->len)) {
            put_field(out, name->str, (struct slice){value->str, (size_t)value->len});
        }
    }
}

static void put_delayed_fields(const struct entry *entry, struct strbuf *out)
{
    json_key(out, "due");
    json_int(out, entry->due_unix_ms);
    if (entry->parked.waits_for.bytes > 0) {
        json_key(out, "waits_for");
        json_bytes(out, entry->parked.waits_for.data, entry->parked.waits_for.bytes);
        json_key(out, "tries");
        json_int(out, entry->parked.tries);
    }
    put_field(out, "id", entry->id);
    put_field(out, "domain", entry->domain);
    put_field(out, "attempt", entry->attempt);
    put_field(out, "options", entry->options);
    put_field(out, "body", entry->body);
}

void entry_to_json(const struct entry *entry, struct strbuf *out)
{
    static const char *const states[] = {"waiting", "running", "delayed", "dead"};

    strbuf_append_char(out, '{');
    json_key(out, "state");
    json_str(out, states[entry->state]);
    if (entry->state != ENTRY_DEAD) {
        json_key(out, "priority");
        json_str(out, job_priority_name(entry->priority));
    }
    if (entry->state == ENTRY_DELAYED) {
        put_delayed_fields(entry, out);
    } else {
        json_key(out, "entry");
        json_bytes(out, entry->stream_id.data, entry->stream_id.bytes);
    }
    if (entry->state == ENTRY_RUNNING) {
        json_key(out, "consumer");
        json_bytes(out, entry->consumer.bytes == 0 ? "" : entry->consumer.data,
                   entry->consumer.bytes);
        json_key(out, "deliveries");
        json_int(out, entry->deliveries);
    }
    if (entry->fields != NULL) {
        put_stream_fields(entry, out);
    }
    strbuf_append_char(out, '}');
}

/* ---- from Redis ---------------------------------------------------------------------------- */

enum status entries_range(struct redis_conn *conn, const char *key, const char *from,
                          const char *to, size_t count, bool newest_first, redisReply **reply,
                          struct error *err)
{
    const enum status status =
        redis_commandf(conn, reply, err, "%s %s %s %s COUNT %zu",
                       newest_first ? "XREVRANGE" : "XRANGE", key, from, to, count);
    if (status == STATUS_OK && (*reply)->type != REDIS_REPLY_ARRAY) {
        redis_reply_free(*reply);
        *reply = NULL;
        return error_set(err, STATUS_GARBLED, "XRANGE: an answer of another shape");
    }
    return status;
}

/* Looks for the job's id in one page; moves `from` behind it. */
static bool find_in_page(const redisReply *page, const char *id, enum entry_state state,
                         char from[ENTRY_ID_BYTES], struct entry *out)
{
    const size_t bytes = strlen(id);

    for (size_t i = 0; i < page->elements; i++) {
        if (!entry_from_stream(page->element[i], state, out)) {
            continue;
        }
        if (out->id.bytes == bytes && memcmp(out->id.data, id, bytes) == 0) {
            return true;
        }
        snprintf(from, ENTRY_ID_BYTES, "(%.*s", (int)out->stream_id.bytes, out->stream_id.data);
    }
    return false;
}

static enum status find_by_job(struct redis_conn *conn, const char *key, const char *id,
                               enum entry_state state, redisReply **reply, struct entry *out,
                               struct error *err)
{
    char from[ENTRY_ID_BYTES] = "-";

    for (;;) {
        enum status status = entries_range(conn, key, from, "+", FIND_PAGE, false, reply, err);
        if (status != STATUS_OK) {
            return status;
        }
        if (find_in_page(*reply, id, state, from, out)) {
            return STATUS_OK;
        }
        const bool last = (*reply)->elements < FIND_PAGE;
        redis_reply_free(*reply);
        *reply = NULL;
        if (last) {
            return error_set(err, STATUS_NOT_FOUND, "no job \"%s\" in \"%s\"", id, key);
        }
    }
}

enum status entries_find(struct redis_conn *conn, const char *key, const char *id,
                         enum entry_state state, redisReply **reply, struct entry *out,
                         struct error *err)
{
    *reply = NULL;
    if (entry_is_stream_id(id)) {
        const enum status status = entries_range(conn, key, id, id, 1, false, reply, err);
        if (status != STATUS_OK) {
            return status;
        }
        if ((*reply)->elements == 1 && entry_from_stream((*reply)->element[0], state, out)) {
            return STATUS_OK;
        }
        redis_reply_free(*reply);
        *reply = NULL;
    }
    return find_by_job(conn, key, id, state, reply, out, err);
}
