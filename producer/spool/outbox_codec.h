/* spool/outbox_codec.h - the bytes of an outbox segment: its header, its records, and what is left
 * of them after a crash. Pure, any thread.
 *
 * A segment is a header and records behind it, numbers little-endian:
 *
 *     header, 32 bytes                        record, 20 bytes and its payload
 *      0  "SHOUTBX", format '1'                0  nonce of the segment
 *      8  nonce, random                        8  payload bytes (u32)
 *     16  CRC-32C of bytes 0..16              12  CRC-32C of the payload
 *     20  sent: where the first record        16  CRC-32C of bytes 0..16
 *         begins that is not yet accepted     20  payload: bytes of base, id, domain (u8 each), of
 *     28  CRC-32C of nonce and sent               options (u16), then these, then the body
 *
 * The only thing ever changed in place is `sent`; one that is damaged counts as "nothing sent", and
 * what is sent twice does no harm. Each record begins with the segment's nonce, so that behind a
 * damaged stretch the next record is found, and a record that stands inside a body is none.
 */
#ifndef STILLHOUSE_SPOOL_OUTBOX_CODEC_H
#define STILLHOUSE_SPOOL_OUTBOX_CODEC_H

#include "base/strbuf.h"
#include "jobs/job.h"

enum {
    OUTBOX_HEADER_BYTES = 32,
    OUTBOX_SENT_AT = 20, /* in the header: what outbox_encode_sent makes goes there */
    OUTBOX_SENT_BYTES = 12,
    OUTBOX_RECORD_BYTES = 20, /* in front of each payload */
};

uint32_t outbox_crc32c(uint32_t before, const void *data, size_t bytes);

/* ---- header ---------------------------------------------------------------------------------- */

void outbox_encode_header(uint64_t nonce, char out[OUTBOX_HEADER_BYTES]);
void outbox_encode_sent(uint64_t nonce, uint64_t sent, char out[OUTBOX_SENT_BYTES]);

enum outbox_kind {
    OUTBOX_SEGMENT, /* ours */
    OUTBOX_NEWER,   /* of a later version: leave it alone */
    OUTBOX_UNKNOWN, /* damaged, or no segment at all */
};

/* `*sent` is at least OUTBOX_HEADER_BYTES; it may lie behind the end of a file that was cut. */
enum outbox_kind outbox_decode_header(const void *data, size_t bytes, uint64_t *nonce,
                                      uint64_t *sent) MUSTCHECK;

/* ---- records --------------------------------------------------------------------------------- */

/* One job on its way to the queue whose key base is `base`. Slices are borrowed. */
struct outbox_record {
    struct slice base;    /* "sh:{distill}" */
    struct slice id;      /* text_is_id */
    struct slice domain;  /* text_is_domain */
    struct slice options; /* printable; `since` among them */
    struct slice body;
};

/* Appends one record without the nonce of a segment: outbox_seal. INVALID where a field breaks its
 * rule, OOM. */
enum status outbox_encode_record(const struct outbox_record *record, struct strbuf *out,
                                 struct error *err) MUSTCHECK;

/* Makes the records in `data`, whole ones that outbox_encode_record made, those of a segment. */
void outbox_seal(uint64_t nonce, char *data, size_t bytes);

enum outbox_piece {
    OUTBOX_RECORD,  /* a record; *end is where the next piece begins */
    OUTBOX_DAMAGED, /* none, but one stood here: it ended, or the next one begins, at *end */
    OUTBOX_TORN,    /* none, nor anywhere behind: an append that was not completed. *end == bytes */
    OUTBOX_END,     /* at == bytes */
};

/* What stands at `at` (<= bytes) of a segment's bytes. `record` is filled for OUTBOX_RECORD and
 * points into `data`. */
enum outbox_piece outbox_decode(uint64_t nonce, const char *data, size_t bytes, size_t at,
                                struct outbox_record *record, size_t *end) MUSTCHECK;

/* How many records begin at `at` and behind; looks at their heads only. */
size_t outbox_count(uint64_t nonce, const char *data, size_t bytes, size_t at);

#endif
