/* Foreign bytes as a server's answers, in one piece and in two: both ways the same replies are made
 * and freed, and no answer holds more than its bound. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "redis/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_BYTES = 64 * 1024 };

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Looks at every byte; what a reply comes to, in a number. */
static uint64_t sum(const redisReply *reply, size_t *bytes)
{
    uint64_t total = (uint64_t)reply->type * 31 + (uint64_t)reply->integer;

    if (reply->str != NULL) {
        must(reply->str[reply->len] == '\0');
        for (size_t i = 0; i < (size_t)reply->len; i++) {
            total = total * 31 + (unsigned char)reply->str[i];
        }
        *bytes += (size_t)reply->len;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        must(reply->element[i] != NULL);
        total = total * 31 + sum(reply->element[i], bytes);
    }
    must(!redis_reply_wants_reconnect(reply) || reply->type == REDIS_REPLY_ERROR);
    return total;
}

/* Takes all replies that are there. */
static uint64_t take_all(redisReader *reader, uint64_t total)
{
    void *reply = NULL;

    while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
        struct error err = {0};
        size_t bytes = 0;
        total = total * 31 + sum(reply, &bytes);
        must(bytes <= MOST_BYTES);
        const enum status status = redis_reply_status(reply, &err);
        must((status == STATUS_OK) == (((redisReply *)reply)->type != REDIS_REPLY_ERROR));
        redis_reply_free(reply);
        reply = NULL;
    }
    return total;
}

static uint64_t read_in_pieces(const char *data, size_t size, size_t cut)
{
    struct redis_answer_bound bound = {.most = MOST_BYTES};
    redisReader *reader = redisReaderCreateWithFunctions(&redis_reply_functions);

    must(reader != NULL);
    reader->privdata = &bound;
    uint64_t total = 0;
    if (redisReaderFeed(reader, data, cut) == REDIS_OK) {
        total = take_all(reader, total);
    }
    if (reader->err == 0 && redisReaderFeed(reader, data + cut, size - cut) == REDIS_OK) {
        total = take_all(reader, total);
    }
    redisReaderFree(reader);
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const size_t cut = size == 0 ? 0 : data[size - 1] % size;

    must(read_in_pieces(text, size, size) == read_in_pieces(text, size, cut));
    return 0;
}
