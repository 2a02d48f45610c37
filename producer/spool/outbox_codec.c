#include "spool/outbox_codec.h"

#include <string.h>

#include "base/text.h"
#include "queue/queue.h"

enum { MAGIC_BYTES = 7, FORMAT = '1', FIXED_BYTES = 5 /* the lengths in front of a payload */ };

static const char magic[MAGIC_BYTES + 1] = "SHOUTBX";

/* ---- numbers --------------------------------------------------------------------------------- */

static void put_number(char *out, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        out[i] = (char)(unsigned char)(number >> (8 * i));
    }
}

static uint64_t get_number(const char *from, size_t bytes)
{
    uint64_t number = 0;

    for (size_t i = 0; i < bytes; i++) {
        number |= (uint64_t)(unsigned char)from[i] << (8 * i);
    }
    return number;
}

/* Castagnoli's polynomial, reflected, half a byte at a time: 16 numbers instead of 256. */
uint32_t outbox_crc32c(uint32_t before, const void *data, size_t bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const unsigned char *from = data;
    uint32_t crc = ~before;

    for (size_t i = 0; i < bytes; i++) {
        crc ^= from[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

/* ---- header ---------------------------------------------------------------------------------- */

void outbox_encode_sent(uint64_t nonce, uint64_t sent, char out[OUTBOX_SENT_BYTES])
{
    char covered[16];

    put_number(covered, nonce, 8);
    put_number(covered + 8, sent, 8);
    memcpy(out, covered + 8, 8);
    put_number(out + 8, outbox_crc32c(0, covered, sizeof covered), 4);
}

void outbox_encode_header(uint64_t nonce, char out[OUTBOX_HEADER_BYTES])
{
    memcpy(out, magic, MAGIC_BYTES);
    out[MAGIC_BYTES] = FORMAT;
    put_number(out + 8, nonce, 8);
    put_number(out + 16, outbox_crc32c(0, out, 16), 4);
    outbox_encode_sent(nonce, OUTBOX_HEADER_BYTES, out + OUTBOX_SENT_AT);
}

enum outbox_kind outbox_decode_header(const void *data, size_t bytes, uint64_t *nonce,
                                      uint64_t *sent)
{
    const char *header = data;
    char expected[OUTBOX_SENT_BYTES];

    if (bytes < OUTBOX_HEADER_BYTES || memcmp(header, magic, MAGIC_BYTES) != 0 ||
        get_number(header + 16, 4) != outbox_crc32c(0, header, 16)) {
        return OUTBOX_UNKNOWN;
    }
    if (header[MAGIC_BYTES] != FORMAT) {
        return OUTBOX_NEWER;
    }
    *nonce = get_number(header + 8, 8);
    *sent = get_number(header + OUTBOX_SENT_AT, 8);
    outbox_encode_sent(*nonce, *sent, expected);
    if (memcmp(expected, header + OUTBOX_SENT_AT, sizeof expected) != 0 ||
        *sent < OUTBOX_HEADER_BYTES) {
        *sent = OUTBOX_HEADER_BYTES;
    }
    return OUTBOX_SEGMENT;
}

/* ---- records --------------------------------------------------------------------------------- */

static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.bytes; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        if (c < ' ' || c == 127) {
            return false;
        }
    }
    return true;
}

/* "<prefix>:{<queue>}", as queue_init makes it. */
static bool is_base(struct slice base)
{
    const char *open = base.bytes < 5 ? NULL : memchr(base.data, '{', base.bytes);

    return open != NULL && open > base.data + 1 && open[-1] == ':' &&
           base.bytes < QUEUE_BASE_BYTES && base.data[base.bytes - 1] == '}' &&
           memchr(base.data, '}', base.bytes) == base.data + base.bytes - 1 &&
           memchr(open + 1, '{', (size_t)(base.data + base.bytes - open) - 1) == NULL &&
           open + 2 < base.data + base.bytes && is_printable(base);
}

static bool is_sound(const struct outbox_record *record)
{
    return is_base(record->base) && text_is_id(record->id.data, record->id.bytes) &&
           text_is_domain(record->domain.data, record->domain.bytes) &&
           record->options.bytes <= UINT16_MAX && is_printable(record->options);
}

enum status outbox_encode_record(const struct outbox_record *record, struct strbuf *out,
                                 struct error *err)
{
    const struct slice *parts[] = {&record->base, &record->id, &record->domain, &record->options,
                                   &record->body};
    const size_t start = out->bytes;
    char head[OUTBOX_RECORD_BYTES + FIXED_BYTES] = "";
    size_t bytes = FIXED_BYTES;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        bytes += parts[i]->bytes;
    }
    if (!is_sound(record) || record->body.bytes > UINT32_MAX / 2) {
        return error_set(err, STATUS_INVALID, "a job that the outbox's format cannot hold");
    }
    put_number(head + 8, bytes, 4);
    put_number(head + 20, record->base.bytes, 1);
    put_number(head + 21, record->id.bytes, 1);
    put_number(head + 22, record->domain.bytes, 1);
    put_number(head + 23, record->options.bytes, 2);
    strbuf_append(out, head, sizeof head);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        strbuf_append(out, parts[i]->bytes == 0 ? "" : parts[i]->data, parts[i]->bytes);
    }
    if (!strbuf_ok(out)) {
        return error_set(err, STATUS_OOM, "out of memory for the outbox");
    }
    char *made = out->data + start;
    put_number(made + 12, outbox_crc32c(0, made + OUTBOX_RECORD_BYTES, bytes), 4);
    return STATUS_OK;
}

void outbox_seal(uint64_t nonce, char *data, size_t bytes)
{
    for (size_t at = 0; at + OUTBOX_RECORD_BYTES <= bytes;) {
        put_number(data + at, nonce, 8);
        put_number(data + at + 16, outbox_crc32c(0, data + at, 16), 4);
        at += OUTBOX_RECORD_BYTES + (size_t)get_number(data + at + 8, 4);
    }
}

/* The end of the record whose head stands at `at`; 0 where there is none or it is not whole. */
static size_t end_of(uint64_t nonce, const char *data, size_t bytes, size_t at)
{
    if (bytes - at < OUTBOX_RECORD_BYTES || get_number(data + at, 8) != nonce ||
        get_number(data + at + 16, 4) != outbox_crc32c(0, data + at, 16)) {
        return 0;
    }
    const size_t payload_bytes = (size_t)get_number(data + at + 8, 4);
    const size_t from = at + OUTBOX_RECORD_BYTES;
    return payload_bytes > bytes - from ? 0 : from + payload_bytes;
}

static bool decode_payload(const char *data, size_t bytes, struct outbox_record *record)
{
    struct slice *parts[] = {&record->base, &record->id, &record->domain, &record->options};
    static const size_t widths[] = {1, 1, 1, 2};
    size_t length_at = 0;
    size_t at = FIXED_BYTES;

    if (bytes < FIXED_BYTES) {
        return false;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const size_t part_bytes = (size_t)get_number(data + length_at, widths[i]);
        if (part_bytes > bytes - at) {
            return false;
        }
        *parts[i] = (struct slice){data + at, part_bytes};
        at += part_bytes;
        length_at += widths[i];
    }
    record->body = (struct slice){data + at, bytes - at};
    return is_sound(record);
}

/* *end is set also where only the payload is damaged. */
static bool decode_record(uint64_t nonce, const char *data, size_t bytes, size_t at,
                          struct outbox_record *record, size_t *end)
{
    const char *payload = data + at + OUTBOX_RECORD_BYTES;

    *end = end_of(nonce, data, bytes, at);
    if (*end == 0) {
        return false;
    }
    const size_t payload_bytes = *end - at - OUTBOX_RECORD_BYTES;
    return get_number(data + at + 12, 4) == outbox_crc32c(0, payload, payload_bytes) &&
           decode_payload(payload, payload_bytes, record);
}

enum outbox_piece outbox_decode(uint64_t nonce, const char *data, size_t bytes, size_t at,
                                struct outbox_record *record, size_t *end)
{
    char mark[8];
    struct outbox_record found;
    size_t found_end = 0;

    *end = at;
    if (at == bytes) {
        return OUTBOX_END;
    }
    if (decode_record(nonce, data, bytes, at, record, end)) {
        return OUTBOX_RECORD;
    }
    if (*end > 0) { /* its head is sound and says how long it is */
        return OUTBOX_DAMAGED;
    }
    put_number(mark, nonce, sizeof mark);
    for (size_t next = at + 1; next < bytes; next++) {
        const char *place = memmem(data + next, bytes - next, mark, sizeof mark);
        if (place == NULL) {
            break;
        }
        next = (size_t)(place - data);
        if (decode_record(nonce, data, bytes, next, &found, &found_end)) {
            *end = next;
            return OUTBOX_DAMAGED;
        }
    }
    *end = bytes;
    return OUTBOX_TORN;
}

size_t outbox_count(uint64_t nonce, const char *data, size_t bytes, size_t at)
{
    size_t count = 0;

    while (at < bytes) {
        const size_t end = end_of(nonce, data, bytes, at);
        if (end == 0) {
            struct outbox_record record;
            size_t next = at;
            if (outbox_decode(nonce, data, bytes, at, &record, &next) != OUTBOX_DAMAGED) {
                break;
            }
            at = next;
            continue;
        }
        count++;
        at = end;
    }
    return count;
}
