/* Foreign bytes as a delayed job, and as the fields of a stream's entry: what is shown of them is
 * within the bytes, and always one JSON object. */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "operate/entries.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 6 };

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void is_within(struct slice slice, const char *data, size_t size)
{
    must(slice.bytes == 0 || (slice.data >= data && slice.data + slice.bytes <= data + size));
}

static void check_entry(const struct entry *entry, const char *data, size_t size)
{
    struct strbuf json = {0};

    is_within(entry->id, data, size);
    is_within(entry->domain, data, size);
    is_within(entry->attempt, data, size);
    is_within(entry->options, data, size);
    is_within(entry->body, data, size);
    (void)entry_time_ms(entry);
    entry_to_json(entry, &(struct json_writer){.out = &json}, NULL);
    must(strbuf_ok(&json));
    cJSON *parsed = cJSON_ParseWithLength(json.data, json.bytes);
    must(parsed != NULL || json.bytes > 4096); /* deep bodies are deeper than cJSON goes */
    cJSON_Delete(parsed);
    strbuf_free(&json);
}

/* The bytes, cut in even parts, as names and values. */
static void try_stream(char *data, size_t size)
{
    static char id[] = "1700000000000-0";
    static const char *const names[] = {"id", "domain", "options", "body"};
    redisReply parts[FIELDS];
    redisReply *pointers[FIELDS];
    redisReply stream_id = {.type = REDIS_REPLY_STRING, .str = id, .len = sizeof id - 1};
    redisReply fields = {.type = REDIS_REPLY_ARRAY, .elements = FIELDS, .element = pointers};
    redisReply *both[] = {&stream_id, &fields};
    const redisReply element = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = both};
    const size_t share = size / FIELDS;
    struct entry entry;

    for (size_t i = 0; i < FIELDS; i++) {
        parts[i] = (redisReply){.type = REDIS_REPLY_STRING, .str = data + i * share, .len = share};
        pointers[i] = &parts[i];
        if (i % 2 == 0 && size > 0 && (data[0] & 1) != 0) {
            const char *name = names[((unsigned char)data[size - 1] + i) % 4];
            parts[i].str = (char *)(uintptr_t)name;
            parts[i].len = strlen(name);
        }
    }
    if (entry_from_stream(&element, ENTRY_DEAD, &entry)) {
        check_entry(&entry, data, size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1);
    struct entry entry;

    must(copy != NULL);
    memcpy(copy, data, size);
    copy[size] = '\0'; /* as replies have it */
    const redisReply member = {.type = REDIS_REPLY_STRING, .str = copy, .len = size};
    if (entry_from_delayed(&member, 1700000000000, &entry)) {
        check_entry(&entry, copy, size);
    }
    try_stream(copy, size);
    free(copy);
    return 0;
}
