/* Foreign bytes as a file of the spool and as a segment of the versions before: as they are, and
 * damaged where they say. Every walk ends, what is decoded is within the rules and comes back the
 * same, and damage costs no more than it must. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "old_segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* The payload is the same in both formats. */
static void check_record(const struct spool_record *record, const char *end)
{
    struct strbuf again = {0};

    must(record_encode(record, &again, NULL) == STATUS_OK);
    const size_t payload_bytes = again.bytes - SPOOL_HEAD_BYTES;
    must(memcmp(again.data + SPOOL_HEAD_BYTES, end - payload_bytes, payload_bytes) == 0);
    strbuf_free(&again);
}

/* The number of records from `at` on; of an old segment where `nonce` is given. */
static size_t walk(const uint64_t *nonce, const char *data, size_t bytes, size_t at)
{
    size_t records = 0;

    for (;;) {
        struct spool_record record;
        size_t end = 0;
        const enum record_piece piece =
            nonce == NULL
                ? record_decode(data, bytes, at, &record, &end)
                : old_outbox_decode(*nonce, (struct slice){data, bytes}, at, &record, &end);
        if (piece == RECORD_END) {
            must(end == bytes && (nonce != NULL || at == bytes));
            return records;
        }
        must(end > at && end <= bytes);
        if (piece == RECORD_JOB) {
            check_record(&record, data + end);
            records++;
        }
        at = end;
    }
}

/* As a file that somebody left, and as records behind a good header: the first 8 bytes are the
 * nonce. */
static void try_files(const char *data, size_t size)
{
    uint64_t nonce = 0;
    size_t sent = 0;

    (void)walk(NULL, data, size, 0);
    if (old_outbox_open(data, size, &nonce, &sent) == STATUS_OK) {
        must(sent >= OLD_OUTBOX_HEADER_BYTES && sent <= size);
        (void)walk(&nonce, data, size, sent);
    }
    if (size >= sizeof nonce) {
        memcpy(&nonce, data, sizeof nonce);
        (void)walk(&nonce, data, size, 0);
    }
}

/* Whether a sound record stands anywhere in it. */
static bool holds_record(const char *data, size_t size)
{
    struct spool_record record;
    size_t end = 0;
    size_t at = 0;

    while (at < size && record_decode(data, size, at, &record, &end) != RECORD_JOB) {
        at++;
    }
    return at < size;
}

/* As the bodies of three records, of which one byte is changed: the other two are found; in a new
 * file those before it where it hits a length, behind which a record that stands in a body counts
 * as one. */
static void try_damage(const char *data, size_t size)
{
    const uint64_t nonce = /* no input can hold it, as no prompt can */
        UINT64_C(0x9e3779b97f4a7c15) * (record_crc32c(0, data, size) + UINT64_C(1));
    const size_t at = size < 3 ? 0 : ((size_t)(unsigned char)data[0] << 8) | (unsigned char)data[1];
    const char change = (char)(size < 3 || data[2] == 0 ? 1 : data[2]);
    struct strbuf old = {0};
    struct strbuf new = {0};

    for (size_t i = 0; i < 3; i++) {
        const struct spool_record record = {.base = {"sh:{distill}", 12},
                                            .id = {&"abc"[i], 1},
                                            .domain = {"d", 1},
                                            .options = {"since=1", 7},
                                            .body = {data, size}};
        old_segment_add(nonce, &record, &old);
        must(record_encode(&record, &new, NULL) == STATUS_OK);
    }
    must(walk(&nonce, old.data, old.bytes, 0) == 3 && walk(NULL, new.data, new.bytes, 0) == 3);
    const size_t hit = at % new.bytes / (new.bytes / 3);
    const bool length = at % new.bytes % (new.bytes / 3) < 4;
    old.data[at % old.bytes] ^= change;
    new.data[at % new.bytes] ^= change;
    must(walk(&nonce, old.data, old.bytes, 0) == 2);
    const size_t found = walk(NULL, new.data, new.bytes, 0);
    must(length ? found >= hit && (found < 3 || holds_record(data, size)) : found == 2);
    strbuf_free(&old);
    strbuf_free(&new);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    try_files(text, size);
    try_damage(text, size);
    return 0;
}
