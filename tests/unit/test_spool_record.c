/* A record of the spool: the bytes of a job on the disk, whole and not. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "spool/record.h"

static struct slice text(const char *chars)
{
    return (struct slice){chars, strlen(chars)};
}

Test(spool_record, the_checksum_is_the_one_that_everybody_means)
{
    cr_assert_eq(record_crc32c(0, "123456789", 9), 0xe3069283);
    cr_assert_eq(record_crc32c(0, "", 0), 0);
    cr_assert_eq(record_crc32c(record_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

Test(spool_record, a_record_that_breaks_a_rule_is_not_written)
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
        const struct spool_record record = {.base = text(bad[i].base),
                                            .id = text(bad[i].id),
                                            .domain = text(bad[i].domain),
                                            .options = text(bad[i].options)};
        cr_assert_eq(record_encode(&record, &out, NULL), STATUS_INVALID, "%zu", i);
    }
    cr_assert_eq(out.bytes, 0);
}

/* Three records; ends[i] is where record i ends. */
static struct strbuf three(size_t ends[3])
{
    struct strbuf out = {0};

    for (size_t i = 0; i < 3; i++) {
        const struct spool_record record = {.base = text("sh:{distill}"),
                                            .id = {&"abc"[i], 1},
                                            .domain = text("legal"),
                                            .options = text("priority=high since=1700000000000"),
                                            .body = {"a body \0 of bytes", i * 8}};
        cr_assert_eq(record_encode(&record, &out, NULL), STATUS_OK);
        ends[i] = out.bytes;
    }
    return out;
}

Test(spool_record, what_is_written_reads_back)
{
    size_t ends[3];
    struct strbuf file = three(ends);
    struct spool_record record;
    size_t end = 0;

    cr_assert_eq(record_decode(file.data, file.bytes, ends[1], &record, &end), RECORD_JOB);
    cr_assert_eq(end, file.bytes);
    cr_assert_eq(memcmp(record.base.data, "sh:{distill}", record.base.bytes), 0);
    cr_assert_eq(memcmp(record.id.data, "c", record.id.bytes), 0);
    cr_assert_eq(memcmp(record.domain.data, "legal", record.domain.bytes), 0);
    cr_assert_eq(record.options.bytes, 33);
    cr_assert(record.body.bytes == 16 && memcmp(record.body.data, "a body \0 of bytes", 16) == 0);
    cr_assert_eq(record_decode(file.data, file.bytes, end, &record, &end), RECORD_END);
    strbuf_free(&file);
}

/* Also where it hits a length: the next record is found by its checksum. */
Test(spool_record, every_flipped_bit_costs_its_record_alone_and_every_walk_ends)
{
    size_t ends[3];
    struct strbuf file = three(ends);

    for (size_t at = 0; at < file.bytes * 8; at++) {
        char *flipped = malloc(file.bytes);
        struct spool_record record;
        size_t end = 0;
        size_t jobs = 0;
        cr_assert_not_null(flipped);
        memcpy(flipped, file.data, file.bytes);
        flipped[at / 8] = (char)(flipped[at / 8] ^ (1 << (at % 8)));
        enum record_piece piece = RECORD_JOB;
        for (size_t from = 0;
             (piece = record_decode(flipped, file.bytes, from, &record, &end)) != RECORD_END;
             from = end) {
            cr_assert(end > from && end <= file.bytes);
            jobs += piece == RECORD_JOB;
        }
        cr_assert_eq(jobs, 2, "bit %zu: %zu", at, jobs);
        free(flipped);
    }
    strbuf_free(&file);
}

Test(spool_record, a_file_that_was_cut_has_the_records_before)
{
    size_t ends[3];
    struct strbuf file = three(ends);

    for (size_t bytes = 0; bytes < file.bytes; bytes++) {
        char *cut = malloc(bytes + 1);
        struct spool_record record;
        size_t end = 0;
        size_t at = 0;
        cr_assert_not_null(cut);
        memcpy(cut, file.data, bytes);
        enum record_piece piece = RECORD_JOB;
        while ((piece = record_decode(cut, bytes, at, &record, &end)) == RECORD_JOB) {
            at = end;
        }
        cr_assert_eq(at, bytes >= ends[1] ? ends[1] : bytes >= ends[0] ? ends[0] : 0);
        cr_assert_eq(piece, at == bytes ? RECORD_END : RECORD_DAMAGED);
        free(cut);
    }
    strbuf_free(&file);
}
