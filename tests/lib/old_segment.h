/* old_segment.h - a segment *.outbox as the versions before the spool wrote it. Needs the producer
 * library. */
#ifndef STILLHOUSE_TESTS_OLD_SEGMENT_H
#define STILLHOUSE_TESTS_OLD_SEGMENT_H

#include <stdlib.h>
#include <string.h>

#include "spool/old_outbox.h"

#define OLD_HELPER static __attribute__((unused))

enum { OLD_HEAD_BYTES = 20 };

/* Makes the checksum of a header right that was changed. */
OLD_HELPER void old_segment_sign(char header[OLD_OUTBOX_HEADER_BYTES])
{
    record_put_number(header + 16, record_crc32c(0, header, 16), 4);
}

/* Appends the header of a segment that has nothing sent. */
OLD_HELPER void old_segment_begin(uint64_t nonce, struct strbuf *out)
{
    char header[OLD_OUTBOX_HEADER_BYTES] = "SHOUTBX1";

    record_put_number(header + 8, nonce, 8);
    old_segment_sign(header);
    old_outbox_encode_sent(nonce, OLD_OUTBOX_HEADER_BYTES, header + OLD_OUTBOX_SENT_AT);
    strbuf_append(out, header, sizeof header);
}

/* Appends a record; aborts where it breaks a rule. */
OLD_HELPER void old_segment_add(uint64_t nonce, const struct spool_record *record,
                                struct strbuf *out)
{
    char head[OLD_HEAD_BYTES];
    struct strbuf made = {0};

    if (record_encode(record, &made, NULL) != STATUS_OK) {
        abort();
    }
    record_put_number(head, nonce, 8);
    memcpy(head + 8, made.data, SPOOL_HEAD_BYTES); /* length and checksum are the same */
    record_put_number(head + 16, record_crc32c(0, head, 16), 4);
    strbuf_append(out, head, sizeof head);
    strbuf_append(out, made.data + SPOOL_HEAD_BYTES, made.bytes - SPOOL_HEAD_BYTES);
    strbuf_free(&made);
}

#endif
