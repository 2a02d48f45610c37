/* spool/outbox.h - jobs on this machine's disk that Redis would not take yet. Knows files, not
 * Redis.
 *
 *     status = outbox_open(&outbox, "/var/lib/app/outbox", 64 << 20, &err);
 *     status = outbox_append(&outbox, &records, &err);         // outbox_codec.h made the records
 *     ...
 *     status = outbox_list(&outbox, &list, &err);              // oldest first
 *     status = outbox_segment_open(&outbox, list.files[0].name, &segment, &err);
 *     ... outbox_decode(segment.nonce, ...) from segment.sent on; send; then ...
 *     status = outbox_segment_advance(&segment, end, &err);
 *     status = outbox_segment_close(&segment, &err);           // an empty one is gone
 *
 * A folder of segments, <Unix ms>-<pid>-<random>.outbox, that any number of processes share. Nobody
 * owns a segment: whoever appends to it or sends from it holds its flock for just that long, never
 * waits for one, and takes another segment where it is held. So what a dead process left is sent by
 * the next one, and a stopped one is in nobody's way. A segment takes records until it has
 * OUTBOX_SEGMENT_BYTES; order is kept within a segment, and between those of one process as long as
 * nobody holds one.
 *
 * Happy path: append = write and fdatasync; sent = `sent` in the header moves on, and the file goes
 * away with its last record. Failure modes: an append that fails is taken back, and one that was
 * torn by a crash is cut off before the next; a record that is damaged, or refused for good, is
 * copied into a file *.bad and passed over; a file without a sound header is renamed *.bad. What
 * was sent without `sent` being moved is sent again.
 *
 * One thread at a time; the folder must be on a local file system. Errors name the folder.
 */
#ifndef STILLHOUSE_SPOOL_OUTBOX_H
#define STILLHOUSE_SPOOL_OUTBOX_H

#include <sys/types.h>

#include "spool/outbox_codec.h"

enum {
    OUTBOX_SEGMENT_BYTES = 1024 * 1024,
    OUTBOX_APPEND_MAX = 17 * 1024 * 1024, /* one job: a body is 16 MiB at most, whoever sends it */
    OUTBOX_FILE_MAX = OUTBOX_SEGMENT_BYTES + OUTBOX_APPEND_MAX,
    OUTBOX_NAME_BYTES = 64,
    OUTBOX_BATCH_MAX = 256,
};

struct outbox {
    char *folder;                 /* absolute; NULL = no outbox */
    const char *prefix;           /* whose jobs are sent; borrowed */
    int64_t max_bytes;            /* of the whole folder, *.bad included */
    bool waiting;                 /* there may be something in it */
    int64_t look_again_ms;        /* monotonic: what others left is looked for not before */
    size_t batch;                 /* jobs in the next call: fewer after one that was too slow */
    uint64_t kept;                /* jobs, since it was opened */
    uint64_t sent;                /* accepted by Redis */
    uint64_t aside;               /* damaged stretches and refused jobs: *.bad */
    char tail[OUTBOX_NAME_BYTES]; /* what was appended to last, and how it was left */
    ino_t tail_inode;
    size_t tail_end;
};

/* Makes the folder where it is missing. INVALID: it is none, cannot be written to, belongs to
 * another user (but root), or may be written to by others: whoever can put a file there sends jobs
 * with our login. `folder` "" is no outbox, and so is a zero-initialised one. `prefix` is borrowed:
 * jobs of another one are left for who has that. */
enum status outbox_open(struct outbox *outbox, const char *folder, const char *prefix,
                        int64_t max_bytes, struct error *err) MUSTCHECK;
void outbox_close(struct outbox *outbox);

/* True for a queue's base of the outbox's prefix. */
bool outbox_is_ours(const struct outbox *outbox, struct slice base) MUSTCHECK;

/* In a child of fork(): nothing was kept or sent by it yet. And where another thread was using the
 * outbox just then: only the folder is known. */
void outbox_forget_counts(struct outbox *outbox);
void outbox_start_over(struct outbox *outbox);

/* Puts whole records, made with outbox_encode_record, durably behind the others, and empties
 * `records` where that succeeds: all or none. `count` is how many they are. FULL: the bound, or
 * more than OUTBOX_APPEND_MAX; FAILED: the disk. Takes as long as the disk's fdatasync does. */
enum status outbox_append(struct outbox *outbox, struct strbuf *records, size_t count,
                          struct error *err) MUSTCHECK;

/* ---- files ----------------------------------------------------------------------------------- */

struct outbox_file {
    char name[OUTBOX_NAME_BYTES];
    size_t bytes;
};

struct outbox_list {
    struct outbox_file *files; /* segments, by name: oldest first */
    size_t count;
    size_t capacity;
    int64_t total_bytes; /* *.bad included */
    size_t bad;          /* files *.bad */
};

/* An outbox_list_free is due after either outcome. A folder that is gone is an empty one. */
enum status outbox_list(const struct outbox *outbox, struct outbox_list *list,
                        struct error *err) MUSTCHECK;
void outbox_list_free(struct outbox_list *list);

/* ---- segments -------------------------------------------------------------------------------- */

/* A segment whose lock is held. */
struct outbox_segment {
    struct outbox *outbox;
    char name[OUTBOX_NAME_BYTES];
    int folder; /* descriptors */
    int file;
    uint64_t nonce;
    size_t sent;         /* the first record that is not yet accepted begins here */
    bool moved;          /* `sent` was moved since it was opened */
    struct strbuf bytes; /* the whole file */
};

/* Locks and reads one. NOT_FOUND: it is gone, or held by another, or of a later version; nothing to
 * close then. FAILED: the disk; OOM. */
enum status outbox_segment_open(struct outbox *outbox, const char *name,
                                struct outbox_segment *segment, struct error *err) MUSTCHECK;

/* What begins before `to` is accepted. */
enum status outbox_segment_advance(struct outbox_segment *segment, size_t to,
                                   struct error *err) MUSTCHECK;

/* Copies what stands between `sent` and `to` into a file *.bad, then advances. */
enum status outbox_segment_set_aside(struct outbox_segment *segment, size_t to,
                                     struct error *err) MUSTCHECK;

/* Removes it where everything was accepted, else makes `sent` durable; releases it either way. */
enum status outbox_segment_close(struct outbox_segment *segment, struct error *err) MUSTCHECK;

/* How many records wait in all segments, those that others hold included. Reads them all. */
enum status outbox_waiting(const struct outbox *outbox, size_t *count, struct error *err) MUSTCHECK;

#endif
