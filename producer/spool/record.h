/* spool/record.h - the bytes of a job on the disk. Pure, any thread.
 *
 * A file of the spool is SPOOL_MAGIC and records behind it, numbers little-endian:
 *
 *     record, 8 bytes and its payload
 *      0  payload bytes (u32)
 *      4  CRC-32C of the payload
 *      8  payload: bytes of base, id, domain (u8 each), of options (u16), then these, then the body
 *
 * A file is there whole or not at all, so the checksum is for what disks do to it later: a changed
 * byte in a prompt would be learnt as if somebody had said it. The payload is that of the versions
 * before (spool/old_outbox.h), so that one decoder judges both.
 */
#ifndef STILLHOUSE_SPOOL_RECORD_H
#define STILLHOUSE_SPOOL_RECORD_H

#include "base/strbuf.h"
#include "jobs/job.h"

#define SPOOL_MAGIC "SHSPOOL1"

enum { SPOOL_MAGIC_BYTES = 8, SPOOL_HEAD_BYTES = 8 /* in front of each payload */ };

/* One job on its way to the queue whose key base is `base`. Slices are borrowed. */
struct spool_record {
    struct slice base;    /* "sh:{distill}" */
    struct slice id;      /* text_is_id */
    struct slice domain;  /* text_is_domain */
    struct slice options; /* printable; `since` among them */
    struct slice body;
};

/* Appends one record. INVALID where a field breaks its rule, OOM. */
enum status record_encode(const struct spool_record *record, struct strbuf *out,
                          struct error *err) MUSTCHECK;

enum record_piece {
    RECORD_JOB,     /* a record; the next piece begins at *end */
    RECORD_DAMAGED, /* what stands up to *end is none; there is the next sound one, or the end */
    RECORD_END,     /* nothing more; *end is the end of the bytes */
};

/* What stands at `at` (<= bytes) of a file's bytes. `record` is filled for RECORD_JOB and points
 * into `data`. */
enum record_piece record_decode(const char *data, size_t bytes, size_t at,
                                struct spool_record *record, size_t *end) MUSTCHECK;

/* ---- what the old format shares -------------------------------------------------------------- */

/* False where it is none, or a field breaks its rule. */
bool record_decode_payload(const char *data, size_t bytes, struct spool_record *record) MUSTCHECK;

uint32_t record_crc32c(uint32_t before, const void *data, size_t bytes);
void record_put_number(char *out, uint64_t number, size_t bytes);
uint64_t record_get_number(const char *from, size_t bytes);

#endif
