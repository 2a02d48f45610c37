/* The bytes of an outbox segment, whole and not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spool/outbox_codec.h"

static const uint64_t nonce = UINT64_C(0x0123456789abcdef);

static struct slice text(const char *chars)
{
    return (struct slice){chars, strlen(chars)};
}

static struct outbox_record record_of(const char *id, const char *body)
{
    return (struct outbox_record){.base = text("sh:{distill}"),
                                  .id = text(id),
                                  .domain = text("legal"),
                                  .options = text("priority=high since=1700000000000"),
                                  .body = text(body)};
}

static void assert_slice(struct slice slice, const char *expected)
{
    cr_assert(slice.bytes == strlen(expected) && memcmp(slice.data, expected, slice.bytes) == 0,
              "\"%.*s\" is not \"%s\"", (int)slice.bytes, slice.data, expected);
}

/* A segment of three records; ends[i] is where record i ends. */
static struct strbuf segment_of_three(size_t ends[3])
{
    static const char *const ids[] = {"a-1", "b-2", "c-3"};
    static const char *const bodies[] = {"first body", "", "the third one, a little longer"};
    char header[OUTBOX_HEADER_BYTES];
    struct strbuf out = {0};

    outbox_encode_header(nonce, header);
    strbuf_append(&out, header, sizeof header);
    for (size_t i = 0; i < 3; i++) {
        const struct outbox_record record = record_of(ids[i], bodies[i]);
        cr_assert_eq(outbox_encode_record(&record, &out, NULL), STATUS_OK);
        ends[i] = out.bytes;
    }
    outbox_seal(nonce, out.data + OUTBOX_HEADER_BYTES, out.bytes - OUTBOX_HEADER_BYTES);
    return out;
}

/* An exact copy, so that a read past its end is seen. */
static char *copy_of(const char *data, size_t bytes)
{
    char *copy = malloc(bytes == 0 ? 1 : bytes);

    cr_assert_not_null(copy);
    memcpy(copy, data, bytes);
    return copy;
}

/* What is found from the first record on. */
struct found {
    size_t records;
    size_t damaged;
    bool torn;
    char ids[8]; /* their first letters */
};

static struct found walk(const char *data, size_t bytes)
{
    struct found found = {0};
    size_t at = OUTBOX_HEADER_BYTES;

    for (;;) {
        struct outbox_record record;
        size_t end = 0;
        const enum outbox_piece piece = outbox_decode(nonce, data, bytes, at, &record, &end);
        if (piece == OUTBOX_END) {
            return found;
        }
        cr_assert(end > at && end <= bytes, "no way on from %zu", at);
        if (piece == OUTBOX_RECORD) {
            found.ids[found.records++] = record.id.data[0];
        }
        found.damaged += piece == OUTBOX_DAMAGED;
        found.torn = piece == OUTBOX_TORN;
        at = end;
    }
}

Test(outbox_codec, the_checksum_is_the_one_that_everybody_means)
{
    cr_assert_eq(outbox_crc32c(0, "123456789", 9), 0xe3069283);
    cr_assert_eq(outbox_crc32c(0, "", 0), 0);
    cr_assert_eq(outbox_crc32c(outbox_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

Test(outbox_codec, what_is_written_reads_back)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);
    struct outbox_record record;
    size_t end = 0;
    uint64_t read_nonce = 0;
    uint64_t sent = 0;

    cr_assert_eq(outbox_decode_header(segment.data, segment.bytes, &read_nonce, &sent),
                 OUTBOX_SEGMENT);
    cr_assert_eq(read_nonce, nonce);
    cr_assert_eq(sent, OUTBOX_HEADER_BYTES);
    cr_assert_eq(outbox_decode(nonce, segment.data, segment.bytes, ends[1], &record, &end),
                 OUTBOX_RECORD);
    cr_assert_eq(end, ends[2]);
    assert_slice(record.base, "sh:{distill}");
    assert_slice(record.id, "c-3");
    assert_slice(record.domain, "legal");
    assert_slice(record.options, "priority=high since=1700000000000");
    assert_slice(record.body, "the third one, a little longer");
    cr_assert_eq(outbox_decode(nonce, segment.data, segment.bytes, end, &record, &end), OUTBOX_END);
    cr_assert_eq(outbox_count(nonce, segment.data, segment.bytes, OUTBOX_HEADER_BYTES), 3);
    cr_assert_eq(outbox_count(nonce, segment.data, segment.bytes, ends[0]), 2);
    cr_assert_eq(outbox_count(nonce, segment.data, segment.bytes, ends[2]), 0);
    strbuf_free(&segment);
}

Test(outbox_codec, a_record_that_breaks_a_rule_is_not_written)
{
    static const struct {
        const char *base, *id, *domain, *options;
    } bad[] = {
        {"sh:distill", "a", "d", ""},         {"{distill}", "a", "d", ""},
        {":{distill}", "a", "d", ""},         {"sh:{}", "a", "d", ""},
        {"sh:{a}b}", "a", "d", ""},           {"sh:{a}:{b}", "a", "d", ""},
        {"sh:{dis\ntill}", "a", "d", ""},     {"sh:{distill}", "", "d", ""},
        {"sh:{distill}", "a b", "d", ""},     {"sh:{distill}", "a", "D", ""},
        {"sh:{distill}", "a", "d", "x\ny=1"},
    };
    struct strbuf out = {0};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct outbox_record record = {.base = text(bad[i].base),
                                             .id = text(bad[i].id),
                                             .domain = text(bad[i].domain),
                                             .options = text(bad[i].options)};
        cr_assert_eq(outbox_encode_record(&record, &out, NULL), STATUS_INVALID, "%zu", i);
    }
    cr_assert_eq(out.bytes, 0);
}

Test(outbox_codec, a_segment_cut_at_any_byte_keeps_the_whole_records_before)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);

    for (size_t bytes = OUTBOX_HEADER_BYTES; bytes <= segment.bytes; bytes++) {
        char *cut = copy_of(segment.data, bytes);
        const struct found found = walk(cut, bytes);
        const size_t whole =
            (size_t)(bytes >= ends[0]) + (size_t)(bytes >= ends[1]) + (size_t)(bytes >= ends[2]);
        const bool clean = bytes == OUTBOX_HEADER_BYTES || bytes == ends[0] || bytes == ends[1] ||
                           bytes == ends[2];
        cr_assert_eq(found.records, whole, "cut at %zu", bytes);
        cr_assert_eq(strncmp(found.ids, "abc", whole), 0);
        cr_assert_eq(found.damaged, 0);
        cr_assert_eq(found.torn, !clean, "cut at %zu", bytes);
        cr_assert_eq(outbox_count(nonce, cut, bytes, OUTBOX_HEADER_BYTES), whole);
        free(cut);
    }
    strbuf_free(&segment);
}

Test(outbox_codec, zeros_where_a_crash_left_no_data_are_a_torn_end)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);

    memset(segment.data + ends[1], 0, segment.bytes - ends[1]);
    const struct found found = walk(segment.data, segment.bytes);
    cr_assert_eq(found.records, 2);
    cr_assert(found.torn);
    strbuf_free(&segment);
}

Test(outbox_codec, every_flipped_bit_of_a_record_costs_that_record_alone)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);

    for (size_t at = OUTBOX_HEADER_BYTES; at < segment.bytes; at++) {
        const size_t hit = (size_t)(at >= ends[0]) + (size_t)(at >= ends[1]);
        char left[3] = "";
        size_t kept = 0;
        for (size_t i = 0; i < 3; i++) {
            if (i != hit) {
                left[kept++] = "abc"[i];
            }
        }
        for (int bit = 0; bit < 8; bit++) {
            char *flipped = copy_of(segment.data, segment.bytes);
            flipped[at] = (char)(flipped[at] ^ (1 << bit));
            const struct found found = walk(flipped, segment.bytes);
            cr_assert_eq(found.records, 2, "byte %zu, bit %d: %zu", at, bit, found.records);
            cr_assert_eq(memcmp(found.ids, left, 2), 0, "byte %zu, bit %d", at, bit);
            cr_assert_eq(found.damaged + found.torn, 1, "byte %zu, bit %d", at, bit);
            cr_assert(!found.torn || hit == 2);
            free(flipped);
        }
    }
    strbuf_free(&segment);
}

Test(outbox_codec, every_flipped_bit_of_a_header_is_seen_or_means_nothing_sent)
{
    char header[OUTBOX_HEADER_BYTES];
    uint64_t read_nonce = 0;
    uint64_t sent = 0;

    outbox_encode_header(nonce, header);
    outbox_encode_sent(nonce, 4711, header + OUTBOX_SENT_AT);
    cr_assert_eq(outbox_decode_header(header, sizeof header, &read_nonce, &sent), OUTBOX_SEGMENT);
    cr_assert_eq(sent, 4711);
    for (size_t at = 0; at < sizeof header; at++) {
        for (int bit = 0; bit < 8; bit++) {
            header[at] = (char)(header[at] ^ (1 << bit));
            const enum outbox_kind kind =
                outbox_decode_header(header, sizeof header, &read_nonce, &sent);
            cr_assert_eq(kind, at < OUTBOX_SENT_AT ? OUTBOX_UNKNOWN : OUTBOX_SEGMENT);
            cr_assert(at < OUTBOX_SENT_AT || sent == OUTBOX_HEADER_BYTES);
            header[at] = (char)(header[at] ^ (1 << bit));
        }
    }
    for (size_t bytes = 0; bytes < sizeof header; bytes++) {
        cr_assert_eq(outbox_decode_header(header, bytes, &read_nonce, &sent), OUTBOX_UNKNOWN);
    }
}

Test(outbox_codec, a_later_format_is_told_from_a_damaged_one)
{
    char header[OUTBOX_HEADER_BYTES];
    uint64_t read_nonce = 0;
    uint64_t sent = 0;

    outbox_encode_header(nonce, header);
    header[7] = '2';
    cr_assert_eq(outbox_decode_header(header, sizeof header, &read_nonce, &sent), OUTBOX_UNKNOWN);
    const uint32_t crc = outbox_crc32c(0, header, 16);
    for (size_t i = 0; i < 4; i++) {
        header[16 + i] = (char)(unsigned char)(crc >> (8 * i));
    }
    cr_assert_eq(outbox_decode_header(header, sizeof header, &read_nonce, &sent), OUTBOX_NEWER);
}

/* Somebody's prompt may be a segment. */
Test(outbox_codec, a_record_inside_a_damaged_body_is_none)
{
    size_t ends[3];
    struct strbuf inner = segment_of_three(ends);
    struct strbuf outer = {0};
    char header[OUTBOX_HEADER_BYTES];
    struct outbox_record record = record_of("outer", "");

    record.body = (struct slice){inner.data, inner.bytes};
    outbox_encode_header(nonce + 1, header);
    strbuf_append(&outer, header, sizeof header);
    cr_assert_eq(outbox_encode_record(&record, &outer, NULL), STATUS_OK);
    outbox_seal(nonce + 1, outer.data + sizeof header, outer.bytes - sizeof header);
    outer.data[sizeof header + 9] ^= 1; /* its length */
    size_t end = 0;
    cr_assert_eq(
        outbox_decode(nonce + 1, outer.data, outer.bytes, OUTBOX_HEADER_BYTES, &record, &end),
        OUTBOX_TORN);
    strbuf_free(&inner);
    strbuf_free(&outer);
}
