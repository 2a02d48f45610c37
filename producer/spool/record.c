#include "spool/record.h"

#include <string.h>

#include "base/text.h"
#include "queue/queue.h"

enum { FIXED_BYTES = 5 /* the lengths in front of a payload */ };

/* ---- numbers --------------------------------------------------------------------------------- */

void record_put_number(char *out, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        out[i] = (char)(unsigned char)(number >> (8 * i));
    }
}

uint64_t record_get_number(const char *from, size_t bytes)
{
    uint64_t number = 0;

    for (size_t i = 0; i < bytes; i++) {
        number |= (uint64_t)(unsigned char)from[i] << (8 * i);
    }
    return number;
}

/* Castagnoli's polynomial, reflected, half a byte at a time: 16 numbers instead of 256. */
uint32_t record_crc32c(uint32_t before, const void *data, size_t bytes)
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

/* ---- rules ----------------------------------------------------------------------------------- */

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

static bool is_sound(const struct spool_record *record)
{
    return is_base(record->base) && text_is_id(record->id.data, record->id.bytes) &&
           text_is_domain(record->domain.data, record->domain.bytes) &&
           record->options.bytes <= UINT16_MAX && is_printable(record->options);
}

/* ---- records --------------------------------------------------------------------------------- */

enum status record_encode(const struct spool_record *record, struct strbuf *out, struct error *err)
{
    const struct slice *parts[] = {&record->base, &record->id, &record->domain, &record->options,
                                   &record->body};
    const size_t start = out->bytes;
    char head[SPOOL_HEAD_BYTES + FIXED_BYTES] = "";
    size_t bytes = FIXED_BYTES;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        bytes += parts[i]->bytes;
    }
    if (!is_sound(record) || record->body.bytes > UINT32_MAX / 2) {
        return error_set(err, STATUS_INVALID, "a job that the outbox's format cannot hold");
    }
    record_put_number(head, bytes, 4);
    record_put_number(head + 8, record->base.bytes, 1);
    record_put_number(head + 9, record->id.bytes, 1);
    record_put_number(head + 10, record->domain.bytes, 1);
    record_put_number(head + 11, record->options.bytes, 2);
    strbuf_append(out, head, sizeof head);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        strbuf_append(out, parts[i]->bytes == 0 ? "" : parts[i]->data, parts[i]->bytes);
    }
    if (!strbuf_ok(out)) {
        return error_set(err, STATUS_OOM, "out of memory for the outbox");
    }
    char *made = out->data + start;
    record_put_number(made + 4, record_crc32c(0, made + SPOOL_HEAD_BYTES, bytes), 4);
    return STATUS_OK;
}

bool record_decode_payload(const char *data, size_t bytes, struct spool_record *record)
{
    struct slice *parts[] = {&record->base, &record->id, &record->domain, &record->options};
    static const size_t widths[] = {1, 1, 1, 2};
    size_t length_at = 0;
    size_t at = FIXED_BYTES;

    if (bytes < FIXED_BYTES) {
        return false;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const size_t part_bytes = (size_t)record_get_number(data + length_at, widths[i]);
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

/* Where the length at `at` says that its record ends; 0 where that is beyond the bytes. */
static size_t end_of(const char *data, size_t bytes, size_t at)
{
    const size_t left = bytes - at;
    const size_t payload_bytes =
        left < SPOOL_HEAD_BYTES ? SIZE_MAX : (size_t)record_get_number(data + at, 4);

    return left < SPOOL_HEAD_BYTES || payload_bytes > left - SPOOL_HEAD_BYTES
               ? 0
               : at + SPOOL_HEAD_BYTES + payload_bytes;
}

/* The end of the sound record at `at`; 0 where none is. The rules of its fields are looked at
 * first, since they cost less than the checksum. */
static size_t decode_sound(const char *data, size_t bytes, size_t at, struct spool_record *record)
{
    const size_t end = end_of(data, bytes, at);
    const char *payload = data + at + SPOOL_HEAD_BYTES;
    const size_t payload_bytes = end == 0 ? 0 : end - at - SPOOL_HEAD_BYTES;

    return end != 0 && record_decode_payload(payload, payload_bytes, record) &&
                   record_get_number(data + at + 4, 4) == record_crc32c(0, payload, payload_bytes)
               ? end
               : 0;
}

/* The end of the damage at `at`. Its length is believed where it leads to the end or to a sound
 * record; else the damage is in the length, and the next sound record is looked for. */
static size_t end_of_damage(const char *data, size_t bytes, size_t at)
{
    struct spool_record record;
    size_t next = end_of(data, bytes, at);

    if (next == bytes || (next != 0 && decode_sound(data, bytes, next, &record) != 0)) {
        return next;
    }
    for (next = at + 1; next < bytes && decode_sound(data, bytes, next, &record) == 0; next++) {
    }
    return next;
}

enum record_piece record_decode(const char *data, size_t bytes, size_t at,
                                struct spool_record *record, size_t *end)
{
    *end = bytes;
    if (at == bytes) {
        return RECORD_END;
    }
    *end = decode_sound(data, bytes, at, record);
    if (*end != 0) {
        return RECORD_JOB;
    }
    *end = end_of_damage(data, bytes, at);
    return RECORD_DAMAGED;
}
