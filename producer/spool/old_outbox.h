/* spool/old_outbox.h - the segments *.outbox that versions before this one kept jobs in: read and
 * used up, never made. Processes of such a version may share the folder while a fleet of producers
 * is renewed, so they are looked for as long as any appear, under the same flock. Pure, any thread.
 *
 *     header, 32 bytes                        record, 20 bytes and its payload
 *      0  "SHOUTBX", format '1'                0  nonce of the segment
 *      8  nonce, random                        8  payload bytes (u32)
 *     16  CRC-32C of bytes 0..16              12  CRC-32C of the payload
 *     20  sent: where the first record        16  CRC-32C of bytes 0..16
 *         begins that is not yet accepted     20  payload, as record.h has it
 *     28  CRC-32C of nonce and sent
 *
 * Records were appended, so the last one may be torn: nobody was told that it is kept. `sent` is
 * changed in place; one that is damaged counts as "nothing sent".
 */
#ifndef STILLHOUSE_SPOOL_OLD_OUTBOX_H
#define STILLHOUSE_SPOOL_OLD_OUTBOX_H

#include "spool/record.h"

#define OLD_OUTBOX_SUFFIX ".outbox"

enum { OLD_OUTBOX_HEADER_BYTES = 32, OLD_OUTBOX_SENT_AT = 20, OLD_OUTBOX_SENT_BYTES = 12 };

/* OK: `*sent` is at least the header's size, and at most `bytes`. NOT_FOUND: of a version that
 * nobody knows; leave it alone. INVALID: damaged, or no segment at all. */
enum status old_outbox_open(const char *data, size_t bytes, uint64_t *nonce,
                            size_t *sent) MUSTCHECK;

/* What stands at OLD_OUTBOX_SENT_AT once what begins before `sent` was accepted. */
void old_outbox_encode_sent(uint64_t nonce, uint64_t sent, char out[OLD_OUTBOX_SENT_BYTES]);

/* As record_decode. A torn end is the end; behind a damaged stretch the next record is found. */
enum record_piece old_outbox_decode(uint64_t nonce, struct slice segment, size_t at,
                                    struct spool_record *record, size_t *end) MUSTCHECK;

#endif
