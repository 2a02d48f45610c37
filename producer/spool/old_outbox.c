#include "spool/old_outbox.h"

#include <string.h>

enum { MAGIC_BYTES = 7, FORMAT = '1', HEAD_BYTES = 20 /* in front of each payload */ };

static const char magic[MAGIC_BYTES + 1] = "SHOUTBX";

void old_outbox_encode_sent(uint64_t nonce, uint64_t sent, char out[OLD_OUTBOX_SENT_BYTES])
{
    char covered[16];

    record_put_number(covered, nonce, 8);
    record_put_number(covered + 8, sent, 8);
    memcpy(out, covered + 8, 8);
    record_put_number(out + 8, record_crc32c(0, covered, sizeof covered), 4);
}

enum status old_outbox_open(const char *data, size_t bytes, uint64_t *nonce, size_t *sent)
{
    char expected[OLD_OUTBOX_SENT_BYTES];

    if (bytes < OLD_OUTBOX_HEADER_BYTES || memcmp(data, magic, MAGIC_BYTES) != 0 ||
        record_get_number(data + 16, 4) != record_crc32c(0, data, 16)) {
        return STATUS_INVALID;
    }
    if (data[MAGIC_BYTES] != FORMAT) {
        return STATUS_NOT_FOUND;
    }
    *nonce = record_get_number(data + 8, 8);
    const uint64_t noted = record_get_number(data + OLD_OUTBOX_SENT_AT, 8);
    old_outbox_encode_sent(*nonce, noted, expected);
    const bool good = memcmp(expected, data + OLD_OUTBOX_SENT_AT, sizeof expected) == 0 &&
                      noted >= OLD_OUTBOX_HEADER_BYTES;
    *sent = !good ? OLD_OUTBOX_HEADER_BYTES : noted > bytes ? bytes : (size_t)noted;
    return STATUS_OK;
}

/* The end of the record whose head stands at `at`; 0 where there is none or it is not whole. */
static size_t end_of(uint64_t nonce, struct slice segment, size_t at)
{
    const char *head = segment.data + at;
    const size_t left = segment.bytes - at;

    if (left < HEAD_BYTES || record_get_number(head, 8) != nonce ||
        record_get_number(head + 16, 4) != record_crc32c(0, head, 16)) {
        return 0;
    }
    const size_t payload_bytes = (size_t)record_get_number(head + 8, 4);
    return payload_bytes > left - HEAD_BYTES ? 0 : at + HEAD_BYTES + payload_bytes;
}

/* *end is set also where only the payload is damaged. */
static bool decode_record(uint64_t nonce, struct slice segment, size_t at,
                          struct spool_record *record, size_t *end)
{
    const char *payload = segment.data + at + HEAD_BYTES;

    *end = end_of(nonce, segment, at);
    if (*end == 0) {
        return false;
    }
    const size_t payload_bytes = *end - at - HEAD_BYTES;
    return record_get_number(segment.data + at + 12, 4) ==
               record_crc32c(0, payload, payload_bytes) &&
           record_decode_payload(payload, payload_bytes, record);
}

enum record_piece old_outbox_decode(uint64_t nonce, struct slice segment, size_t at,
                                    struct spool_record *record, size_t *end)
{
    char mark[8];
    struct spool_record found;
    size_t found_end = 0;

    if (at < segment.bytes && decode_record(nonce, segment, at, record, end)) {
        return RECORD_JOB;
    }
    if (at < segment.bytes && *end != 0) { /* its head is sound and says how long it is */
        return RECORD_DAMAGED;
    }
    record_put_number(mark, nonce, sizeof mark);
    for (size_t next = at + 1; next < segment.bytes; next++) {
        const char *place = memmem(segment.data + next, segment.bytes - next, mark, sizeof mark);
        if (place == NULL) {
            break;
        }
        next = (size_t)(place - segment.data);
        if (decode_record(nonce, segment, next, &found, &found_end)) {
            *end = next;
            return RECORD_DAMAGED;
        }
    }
    *end = segment.bytes;
    return RECORD_END;
}
