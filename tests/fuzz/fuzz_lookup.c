/* Foreign bytes as a cached result: nothing that is not the asked query's is handed out or
 * remembered, and what is comes back the same from the memory. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "jobs/bodies.h"
#include "prompt/lookup.h"
#include "prompt/messages.h"
#include "prompt/result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct memory memory;
static stillhouse_client client = {.memory = &memory};

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void same_results(const stillhouse_result *a, const stillhouse_result *b)
{
    must(a->count == b->count && strcmp(a->few_shot, b->few_shot) == 0 &&
         strcmp(a->domain, b->domain) == 0 && a->epoch == b->epoch);
    for (size_t i = 0; i < a->count; i++) {
        must(strcmp(a->examples[i].id, b->examples[i].id) == 0 &&
             strcmp(a->examples[i].text, b->examples[i].text) == 0 &&
             a->examples[i].metadata_count == b->examples[i].metadata_count);
        for (size_t j = 0; j < a->examples[i].metadata_count; j++) {
            must(strcmp(a->examples[i].metadata[j].key, b->examples[i].metadata[j].key) == 0);
        }
    }
}

static bool is_remembered(struct memory_hit *hit)
{
    return memory_find(&memory, &(struct question){"legal", "q", 1}, 0, hit) == MEMORY_HIT;
}

/* Whatever the texts are, what comes of them is a chat: bounded, well-formed, by turns. */
static void is_chat(const struct memory_hit *hit, const stillhouse_result *result)
{
    struct memory_made made;
    struct error err = {0};
    size_t bytes = 0;

    must(messages_make(hit, BODIES_K_MAX, &made, &err) == STATUS_OK);
    stillhouse_message *messages = messages_copy(&made);
    must(messages != NULL && made.count <= 2 * (size_t)BODIES_K_MAX &&
         made.count <= 2 * result->count);
    for (size_t i = 0; i < made.count; i++) {
        const size_t length = strlen(messages[i].content);
        must(strcmp(messages[i].role, i % 2 == 0 ? "user" : "assistant") == 0);
        must(text_is_utf8(messages[i].content, length) &&
             strstr(messages[i].content, "<|") == NULL);
        bytes += length;
    }
    must(bytes <= MESSAGES_MAX_BYTES);
    free(messages);
    free(made.piece);
}

/* As the result of a query in "legal": it is one only if it says so. */
static void ask_for_it(const void *data, size_t bytes, bool is_it)
{
    const struct lookup_bytes from = {.data = data, .bytes = bytes};
    const struct question asked = {"legal", "q", 1};
    stillhouse_result *result = NULL;
    struct memory_hit hit;
    struct error err = {0};

    must(memory_init(&memory, 4, INT64_MAX / 2, &err) == STATUS_OK);
    const enum status status = lookup_decode(&client, &from, &asked, &result, &err);
    must((status == STATUS_OK) == (result != NULL));
    if (is_it) {
        must(status == STATUS_OK);
    } else if (status == STATUS_OK) {
        must(result->error != NULL || strcmp(result->domain, "legal") == 0);
    }
    if (is_remembered(&hit)) {
        must(status == STATUS_OK && result->error == NULL);
        stillhouse_result *copy = result_copy(hit.piece, hit.bytes, hit.made_at);
        must(copy != NULL);
        same_results(result, copy);
        is_chat(&hit, copy);
        stillhouse_result_free(copy);
    } else {
        must(status != STATUS_OK || result->error != NULL);
    }
    stillhouse_result_free(result);
    memory_free(&memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct enrich_result decoded;
    struct arena arena = {0};
    struct strbuf again = {0};
    char hash[TEXT_HASH_CHARS + 1];

    ask_for_it(data, size, false);
    if (bodies_decode_result(data, size, &arena, &decoded, NULL) == STATUS_OK &&
        decoded.error.data == NULL) {
        text_hash("q", 1, hash);
        decoded.domain = (struct slice){"legal", 5};
        decoded.query_hash = (struct slice){hash, TEXT_HASH_CHARS};
        bodies_encode_result(&decoded, &again);
        ask_for_it(again.data, again.bytes, true);
    }
    strbuf_free(&again);
    arena_free(&arena);
    return 0;
}
