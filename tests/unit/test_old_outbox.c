/* The bytes of a segment of the versions before the spool, whole and not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "old_segment.h"

static const uint64_t nonce = UINT64_C(0x0123456789abcdef);

static struct slice text(const char *chars)
{
    return (struct slice){chars, strlen(chars)};
}

static struct spool_record record_of(const char *id, const char *body)
{
    return (struct spool_record){.base = text("sh:{distill}"),
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
    struct strbuf out = {0};

    old_segment_begin(nonce, &out);
    for (size_t i = 0; i < 3; i++) {
        const struct spool_record record = record_of(ids[i], bodies[i]);
        old_segment_add(nonce, &record, &out);
        ends[i] = out.bytes;
    }
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
    char ids[8]; /* their first letters */
};

static struct found walk(const char *data, size_t bytes)
{
    struct found found = {0};
    size_t at = OLD_OUTBOX_HEADER_BYTES;

    for (;;) {
        struct spool_record record;
        size_t end = 0;
        const enum record_piece piece =
            old_outbox_decode(nonce, (struct slice){data, bytes}, at, &record, &end);
        if (piece == RECORD_END) {
            cr_assert_eq(end, bytes);
            return found;
        }
        cr_assert(end > at && end <= bytes, "no way on from %zu", at);
        if (piece == RECORD_JOB) {
            found.ids[found.records++] = record.id.data[0];
        }
        found.damaged += piece == RECORD_DAMAGED;
        at = end;
    }
}

Test(old_outbox, what_was_written_reads_back)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);
    struct spool_record record;
    size_t end = 0;
    uint64_t read_nonce = 0;
    size_t sent = 0;

    cr_assert_eq(old_outbox_open(segment.data, segment.bytes, &read_nonce, &sent), STATUS_OK);
    cr_assert_eq(read_nonce, nonce);
    cr_assert_eq(sent, OLD_OUTBOX_HEADER_BYTES);
    cr_assert_eq(old_outbox_decode(nonce, (struct slice){segment.data, segment.bytes}, ends[1],
                                   &record, &end),
                 RECORD_JOB);
    cr_assert_eq(end, ends[2]);
    assert_slice(record.base, "sh:{distill}");
    assert_slice(record.id, "c-3");
    assert_slice(record.domain, "legal");
    assert_slice(record.options, "priority=high since=1700000000000");
    assert_slice(record.body, "the third one, a little longer");
    cr_assert_eq(
        old_outbox_decode(nonce, (struct slice){segment.data, segment.bytes}, end, &record, &end),
        RECORD_END);
    strbuf_free(&segment);
}

Test(old_outbox, a_segment_cut_at_any_byte_keeps_the_whole_records_before)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);

    for (size_t bytes = OLD_OUTBOX_HEADER_BYTES; bytes <= segment.bytes; bytes++) {
        char *cut = copy_of(segment.data, bytes);
        const struct found found = walk(cut, bytes);
        const size_t whole =
            (size_t)(bytes >= ends[0]) + (size_t)(bytes >= ends[1]) + (size_t)(bytes >= ends[2]);
        cr_assert_eq(found.records, whole, "cut at %zu", bytes);
        cr_assert_eq(strncmp(found.ids, "abc", whole), 0);
        cr_assert_eq(found.damaged, 0);
        free(cut);
    }
    strbuf_free(&segment);
}

Test(old_outbox, zeros_where_a_crash_left_no_data_are_a_torn_end)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);

    memset(segment.data + ends[1], 0, segment.bytes - ends[1]);
    const struct found found = walk(segment.data, segment.bytes);
    cr_assert_eq(found.records, 2);
    cr_assert_eq(found.damaged, 0);
    strbuf_free(&segment);
}

Test(old_outbox, every_flipped_bit_of_a_record_costs_that_record_alone)
{
    size_t ends[3];
    struct strbuf segment = segment_of_three(ends);

    for (size_t at = OLD_OUTBOX_HEADER_BYTES; at < segment.bytes; at++) {
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
            cr_assert(found.damaged == 1 || (found.damaged == 0 && hit == 2), "byte %zu, bit %d",
                      at, bit);
            free(flipped);
        }
    }
    strbuf_free(&segment);
}

Test(old_outbox, every_flipped_bit_of_a_header_is_seen_or_means_nothing_sent)
{
    struct strbuf made = {0};
    uint64_t read_nonce = 0;
    size_t sent = 0;

    old_segment_begin(nonce, &made);
    char *header = copy_of(made.data, made.bytes);
    const size_t bytes = made.bytes;
    strbuf_free(&made);
    old_outbox_encode_sent(nonce, 4711, header + OLD_OUTBOX_SENT_AT);
    cr_assert_eq(old_outbox_open(header, bytes, &read_nonce, &sent), STATUS_OK);
    cr_assert_eq(sent, bytes, "no more than there is");
    for (size_t at = 0; at < bytes; at++) {
        for (int bit = 0; bit < 8; bit++) {
            header[at] = (char)(header[at] ^ (1 << bit));
            const enum status status = old_outbox_open(header, bytes, &read_nonce, &sent);
            cr_assert_eq(status, at < OLD_OUTBOX_SENT_AT ? STATUS_INVALID : STATUS_OK);
            cr_assert(at < OLD_OUTBOX_SENT_AT || sent == OLD_OUTBOX_HEADER_BYTES);
            header[at] = (char)(header[at] ^ (1 << bit));
        }
    }
    for (size_t cut = 0; cut < bytes; cut++) {
        cr_assert_eq(old_outbox_open(header, cut, &read_nonce, &sent), STATUS_INVALID);
    }
    header[7] = '2'; /* a format that never was is told from a damaged one */
    old_segment_sign(header);
    cr_assert_eq(old_outbox_open(header, bytes, &read_nonce, &sent), STATUS_NOT_FOUND);
    free(header);
}

/* Somebody's prompt may be a segment. */
Test(old_outbox, a_record_inside_a_damaged_body_is_none)
{
    size_t ends[3];
    struct strbuf inner = segment_of_three(ends);
    struct strbuf outer = {0};
    struct spool_record record = record_of("outer", "");

    record.body = (struct slice){inner.data, inner.bytes};
    old_segment_begin(nonce + 1, &outer);
    old_segment_add(nonce + 1, &record, &outer);
    outer.data[OLD_OUTBOX_HEADER_BYTES + 9] ^= 1; /* its length */
    size_t end = 0;
    cr_assert_eq(old_outbox_decode(nonce + 1, (struct slice){outer.data, outer.bytes},
                                   OLD_OUTBOX_HEADER_BYTES, &record, &end),
                 RECORD_END);
    strbuf_free(&inner);
    strbuf_free(&outer);
}
