/* spool/spool.h - jobs on this machine's disk that Redis does not take yet: the outbox. Knows
 * files, not Redis.
 *
 *     status = spool_open(&spool, "/var/lib/app/outbox", "sh", 64 << 20, &err);
 *     status = record_encode(&job, &records, &err);
 *     status = spool_put(&spool, &records, 1, SPOOL_ALL, &err); // durable now
 *     ...
 *     status = spool_look(&spool, NULL, &err);                  // what is there, oldest first
 *     while (spool_claim(&spool, folder, &file, &err) == STATUS_OK) {
 *         while (spool_next(&file, file.at, &job, &end) == RECORD_JOB && send(&job)) {
 *             status = spool_take(&file, end, &err);            // Redis has it
 *         }
 *         status = spool_release(&file, true, &err);            // gone, where all of it was taken
 *     }
 *
 * One file a call: <Unix us>-<pid>-<random>-<prefix>-<jobs>.jobs, the prefix as a checksum, whole
 * or absent by its name, in a folder that any number of processes share. Nobody owns a file:
 * whoever sends it holds its flock for just that long and waits for none. So what a dead process
 * left is sent by the next one, and a stopped one is in nobody's way. Names give the order: that of
 * one process, and of processes one after the other; a clock that was put back does not change it.
 *
 * Happy path: put = write, rename, fdatasync, sync the folder; taken = unlink. Failure modes: a put
 * that fails leaves nothing. A file that was taken in part is written anew with the rest. What was
 * sent without being unlinked is sent again under the same ids. What is damaged, or refused for
 * good, is put into bad/ as a file of its own with the reason beside it (*.txt); a refused one that
 * is moved back is tried again. Segments of the versions before are used up too (old_outbox.h).
 *
 * What it costs: a folder sync a put, so that keeping one job takes about twice to four times as
 * long as an append to an open file would (1.3 ms and 0.3 on an ext4 that was busy, 0.9 and 0.16 at
 * best); and a block of the file system a job. Rename comes before fdatasync, so that one commit of
 * the journal has both: a power cut between them may leave an empty or damaged file that nobody was
 * told of. The folder is listed once a second at most, and for a twentieth of the time at most
 * where it has very many files; in between its size is added up.
 *
 * One thread at a time; the folder must be on a local file system. Errors name the folder.
 */
#ifndef STILLHOUSE_SPOOL_SPOOL_H
#define STILLHOUSE_SPOOL_SPOOL_H

#include "spool/record.h"

enum {
    SPOOL_PUT_MAX = 17 * 1024 * 1024, /* one job: a body is 16 MiB at most, whoever sends it */
    SPOOL_FILE_MAX = SPOOL_PUT_MAX + 1024 * 1024,
    SPOOL_NAME_BYTES = 96,
    SPOOL_BATCH_MAX = 256,
};

struct spool {
    char *folder;       /* absolute; NULL = no outbox */
    const char *prefix; /* whose jobs are sent; borrowed */
    int64_t max_bytes;  /* of the whole folder, bad/ included */
    bool waiting;       /* there may be something in it */
    size_t batch;       /* jobs in the next call: fewer after one that was too slow */
    uint64_t kept;      /* jobs, since it was opened */
    uint64_t sent;      /* accepted by Redis */
    uint64_t aside;     /* damaged stretches and refused jobs: bad/ */

    /* The folder as it was when it was looked at last; spool.c's own but for look_again_ms. */
    int64_t look_again_ms; /* monotonic: not before */
    int64_t bytes;         /* with what we put and took since */
    bool has_bad;
    int64_t stamp_us;                /* of the newest name */
    char (*names)[SPOOL_NAME_BYTES]; /* the oldest ones, in order */
    size_t count;
    size_t capacity;
    size_t next;                    /* to be claimed */
    bool more;                      /* there were more than can be listed, */
    char horizon[SPOOL_NAME_BYTES]; /* from this one on */
};

/* Makes the folder where it is missing. INVALID: it is none, cannot be written to, belongs to
 * another user (but root), or may be written to by others: whoever can put a file there sends jobs
 * with our login. `folder` "" is no outbox, and so is a zero-initialised one. `prefix` is borrowed:
 * jobs of another one are left for who has that. */
enum status spool_open(struct spool *spool, const char *folder, const char *prefix,
                       int64_t max_bytes, struct error *err) MUSTCHECK;
void spool_close(struct spool *spool);

/* In a child of fork(): nothing was kept or sent by it yet. And where another thread was using the
 * spool just then: only the folder is known. */
void spool_forget_counts(struct spool *spool);
void spool_start_over(struct spool *spool);

/* True for a queue's base of the spool's prefix. */
bool spool_is_ours(const struct spool *spool, struct slice base) MUSTCHECK;

/* How full the folder may become by a put: to its bound, or to half of it, so that what matters
 * less leaves room for what matters more. */
enum spool_room { SPOOL_ALL, SPOOL_HALF };

/* Puts records that record_encode made into one file, durably: all or none. `count` is how many
 * they are; none is fine. FULL: no such room, or more than SPOOL_PUT_MAX; FAILED: the disk; OOM.
 * Takes as long as the disk's fdatasync does. */
enum status spool_put(struct spool *spool, const struct strbuf *records, size_t count,
                      enum spool_room room, struct error *err) MUSTCHECK;

/* ---- sending --------------------------------------------------------------------------------- */

/* Lists the folder anew, without the files whose names say another prefix; one that is gone is
 * empty. `*jobs` (may be NULL) is how many wait in it, those of others and those that others hold
 * included. */
enum status spool_look(struct spool *spool, size_t *jobs, struct error *err) MUSTCHECK;

/* A descriptor of the folder; -1 with *err. close() it. */
int spool_folder(const struct spool *spool, struct error *err) MUSTCHECK;

/* A file whose lock is held. */
struct spool_file {
    struct spool *spool;
    int folder; /* borrowed */
    int file;
    char name[SPOOL_NAME_BYTES];
    size_t index; /* of spool->names */
    bool old;     /* a segment of the versions before */
    uint64_t nonce;
    struct strbuf bytes; /* all of it */
    size_t from;         /* where the first job begins */
    size_t at;           /* where the first one begins that is not yet taken */
};

/* Claims and reads the next file of the list that can be had. NOT_FOUND: there is none. Others: one
 * could not be read; the next call goes on behind it. */
enum status spool_claim(struct spool *spool, int folder, struct spool_file *file,
                        struct error *err) MUSTCHECK;

/* What stands at `at` of the file. */
enum record_piece spool_next(const struct spool_file *file, size_t at, struct spool_record *record,
                             size_t *end) MUSTCHECK;

/* What begins before `to` is accepted. */
enum status spool_take(struct spool_file *file, size_t to, struct error *err) MUSTCHECK;

/* Puts what stands between `at` and `to` into bad/ because of `why`, then takes it. */
enum status spool_set_aside(struct spool_file *file, size_t to, const char *why,
                            struct error *err) MUSTCHECK;

/* Removes the file where all was taken, or writes it anew with the rest; lets go of it either way.
 * What is left of it is the next to be claimed where it is to be claimed `again`, else it is not
 * before the next look. */
enum status spool_release(struct spool_file *file, bool again, struct error *err) MUSTCHECK;

#endif
