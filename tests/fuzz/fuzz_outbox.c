/* Foreign bytes as a segment of an outbox: as they are, and damaged where they say. Every walk
 * ends, what is decoded is within the rules and comes back the same, and damage costs no other
 * record. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "spool/outbox_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_record(uint64_t nonce, const struct outbox_record *record, const char *bytes,
                         size_t count)
{
    struct strbuf again = {0};

    must(outbox_encode_record(record, &again, NULL) == STATUS_OK);
    outbox_seal(nonce, again.data, again.bytes);
    must(again.bytes == count && memcmp(again.data, bytes, count) == 0);
    strbuf_free(&again);
}

/* The number of records from `at` on. */
static size_t walk(uint64_t nonce, const char *data, size_t bytes, size_t at)
{
    size_t records = 0;

    for (;;) {
        struct outbox_record record;
        size_t end = 0;
        const enum outbox_piece piece = outbox_decode(nonce, data, bytes, at, &record, &end);
        if (piece == OUTBOX_END) {
            must(at == bytes);
            return records;
        }
        must(end > at && end <= bytes);
        if (piece == OUTBOX_RECORD) {
            check_record(nonce, &record, data + at, end - at);
            records++;
        }
        must(piece != OUTBOX_TORN || end == bytes);
        at = end;
    }
}

/* As a file that somebody left. */
static void try_file(const char *data, size_t size)
{
    uint64_t nonce = 0;
    uint64_t sent = 0;

    if (outbox_decode_header(data, size, &nonce, &sent) == OUTBOX_SEGMENT) {
        must(sent >= OUTBOX_HEADER_BYTES);
        const size_t from = sent > size ? size : (size_t)sent;
        const size_t records = walk(nonce, data, size, from);
        must(outbox_count(nonce, data, size, from) >= records);
    }
}

/* As records behind a good header, with their checksums made right: the first 8 bytes are the
 * nonce. What has a sound head gets past the checksums then. */
static void try_records(const char *data, size_t size)
{
    uint64_t nonce = 0;

    if (size < sizeof nonce) {
        return;
    }
    memcpy(&nonce, data, sizeof nonce);
    must(walk(nonce, data, size, 0) <= outbox_count(nonce, data, size, 0));
}

/* As the bodies of three records, of which one byte is changed: the other two are found. */
static void try_damage(const char *data, size_t size)
{
    const uint64_t nonce = /* no input can hold it, as no prompt can */
        UINT64_C(0x9e3779b97f4a7c15) * (outbox_crc32c(0, data, size) + UINT64_C(1));
    const size_t at = size < 3 ? 0 : ((size_t)(unsigned char)data[0] << 8) | (unsigned char)data[1];
    struct strbuf made = {0};

    for (size_t i = 0; i < 3; i++) {
        const struct outbox_record record = {.base = {"sh:{distill}", 12},
                                             .id = {&"abc"[i], 1},
                                             .domain = {"d", 1},
                                             .options = {"since=1", 7},
                                             .body = {data, size}};
        must(outbox_encode_record(&record, &made, NULL) == STATUS_OK);
    }
    outbox_seal(nonce, made.data, made.bytes);
    must(walk(nonce, made.data, made.bytes, 0) == 3);
    made.data[at % made.bytes] ^= (char)(size < 3 || data[2] == 0 ? 1 : data[2]);
    must(walk(nonce, made.data, made.bytes, 0) == 2);
    strbuf_free(&made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    try_file(text, size);
    try_records(text, size);
    try_damage(text, size);
    return 0;
}
