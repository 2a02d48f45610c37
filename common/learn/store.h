/* learn/store.h - the learning store: what every execution taught, kept and answered.
 *
 *     struct store *store = NULL;
 *     if (store_open("/var/lib/stillhouse/learn.db", STORE_WRITE, &store, &err) == STATUS_OK &&
 *         store_put(store, parts, count, &err) == STATUS_OK) {
 *         ... the parts stand, synced to disk: their jobs may be finished ...
 *     }
 *
 * A part is what one record job says of an execution. A row of `executions` has a column for each
 * field of the kind `execution` (jobs/kinds.def), and each column remembers which part it came
 * from: of two the later (at_ms, then job id) stands. So any order and any repetition of the same
 * parts makes the same row.
 *
 * It is a file of SQLite, which one writer at a time owns, or a database of PostgreSQL
 * (postgresql://user@host/name), to which any number may write at once; both give the same rows.
 * The library comes into the process with the first store. A password is in no error text.
 *
 * A store belongs to one thread at a time. Statuses: INVALID: the place, a file that is no store of
 * ours, or one newer than this program, both versions named. UNAVAILABLE, UNREACHABLE, FAILED: the
 * file or server is away, locked, read-only or full: nothing of the call stands, it may be
 * repeated. GARBLED: what was read of an open file is damaged. INVALID of a put: the data of one of
 * the parts.
 */
#ifndef STILLHOUSE_LEARN_STORE_H
#define STILLHOUSE_LEARN_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "jobs/bodies.h"
#include "learn/database.h"

struct store;

enum store_mode {
    STORE_READ,   /* never changes anything; a file that is not there is NOT_FOUND */
    STORE_WRITE,  /* makes the file, migrates it up, holds its lock; UNAVAILABLE names who has it;
                     not OK where it cannot be written to, as something is */
    STORE_CHANGE, /* a short change by a person beside the writer: no lock; NOT_FOUND as above */
};

/* *out is NULL unless OK. */
enum status store_open(const char *where, enum store_mode mode, struct store **out,
                       struct error *err) MUSTCHECK;
void store_close(struct store *store);

/* 32 hex digits, made with the store and kept for its life: a second, empty history has another.
 * Valid as long as the store is open. */
const char *store_id(const struct store *store);

/* So far ahead of its time a part may be: the caller refuses what is more. It is also for how long
 * a forgotten name is remembered beyond the executions of its time (store_expire). */
#define STORE_AHEAD_MS INT64_C(86400000)

/* A record job. The slices must outlive the call; `body` is as bodies_accept_record gave it. */
struct part {
    struct slice domain;
    struct slice job_id;
    int64_t at_ms; /* what the body says, or when it was enqueued */
    struct record_body body;
};

/* All of them in one transaction, or none; marks the groups of the views that they touch. */
enum status store_put(struct store *store, const struct part *parts, size_t count,
                      struct error *err) MUSTCHECK;

/* Recomputes up to `groups` of the touched groups of the views, the longest touched first, and
 * STORE_REFRESH_MAX at most; *left: how many marks are left, of which a group on a server may have
 * several. */
enum { STORE_REFRESH_MAX = 256 };
enum status store_refresh(struct store *store, int64_t now_unix_ms, size_t groups, size_t *left,
                          struct error *err) MUSTCHECK;

/* What an execution is called. */
struct store_task {
    struct slice domain, task_id;
};

/* Deletes up to `rows` (1 to 1,000) each of what is older than `before_ms`: executions, by the
 * row's at_ms, with their feedback and what they are in the views; pools likewise; policies of
 * domains that have no execution any more; and the hashes of names that were forgotten more than a
 * day before that: what came before its name was forgotten, a day ahead of its time at most, is
 * then too old itself, and goes with the next call. While the store has more than `most_bytes` (0 =
 * no bound) the oldest executions and pools go, whatever their age. The file shrinks with what is
 * deleted. */
struct store_expired {
    size_t executions, feedback, pools, policies;
    size_t forgotten; /* hashes */
    /* Those of the executions that had a description and are not as old as that, so that their
     * vectors do not end by themselves. Valid until the next call. */
    const struct store_task *described;
    size_t described_count;
};
size_t store_expired_rows(const struct store_expired *expired);
enum status store_expire(struct store *store, int64_t before_ms, int64_t most_bytes, size_t rows,
                         struct store_expired *expired, struct error *err) MUSTCHECK;

/* What was held against the rows. `first`: the first difference in words, "" where there is none.
 */
struct store_checked {
    size_t groups; /* of the views, that were compared */
    size_t apart;  /* groups and counts that are not what the rows make */
    char first[400];
};

/* Recomputes the groups of one execution, chosen by `random`, and of its domain's day, for
 * `most_ms` at most; marks those that are apart. Groups that are marked already are not judged. */
enum status store_check_day(struct store *store, uint64_t random, int most_ms, int64_t now_unix_ms,
                            struct store_checked *checked, struct error *err) MUSTCHECK;

/* Deletes all that is known of a task, or with `user` of whoever it names (the other is {NULL, 0};
 * `domain` {NULL, 0}: a user's in all domains), up to `rows` (1 to 1,000) executions a call, and
 * remembers a hash: parts that come late or again do not bring it back; of a user, those until
 * `now_unix_ms`, with the tasks that they name. What a user rated of others' tasks stays, as a
 * number. *deleted < rows: that was all. */
struct forget {
    struct slice domain, task_id, user;
    int64_t now_unix_ms;
    size_t rows;
    /* Gets each execution that is deleted, before it is known whether the call goes well; may not
     * use the store. NULL: nobody does. */
    void (*take)(void *context, const struct store_task *task);
    void *context;
};
enum status store_forget(struct store *store, const struct forget *what, size_t *deleted,
                         struct error *err) MUSTCHECK;

/* All that stands since a moment (Unix ms), as parts that make the same rows in another store: each
 * the body of a record with its domain, an object of JSON and a line end. `take` empties the line.
 * An execution is one part at the time of its row, so in a store that has later parts of it these
 * stand. What was forgotten is not among them, nor is that it was. */
enum status store_list_parts(struct store *store, int64_t since_ms, void (*take)(struct strbuf *),
                             struct error *err) MUSTCHECK;

/* A copy as of now, at a path where no file is yet. Others go on reading and writing. INVALID: a
 * server's copies are made and put back by its own tools, and the text says how. */
enum status store_backup(struct store *store, const char *to, struct error *err) MUSTCHECK;

/* Puts the copy at `from`, of which every page is read before, in the place of the store at
 * `where`, which nobody may be writing; what stood there is kept as `where`.before-restore.
 * UNAVAILABLE names who writes. */
enum status store_restore(const char *where, const char *from, struct error *err) MUSTCHECK;

/* Brings a store that nobody writes to another version, a step and a transaction after the other.
 * Before the first step down a copy is made beside it; FAILED where there is one of that name
 * already. With is_trial nothing is changed, somebody may be writing, and the rest is as it would
 * be.
 */
struct store_migration {
    bool is_trial;
    int to;                         /* 0: the newest; set to that */
    int from;                       /* set: the version that it has */
    char copy[DATABASE_KEPT_BYTES]; /* set: its name (database_keep); "" where no step goes down */
};
enum status store_migrate(const char *where, struct store_migration *migration,
                          struct error *err) MUSTCHECK;

/* Reads the whole file and recomputes every group of the views, as of one moment, while others
 * write: INVALID says what is damaged, or which figure is not that of the rows. */
enum status store_check(struct store *store, int64_t now_unix_ms, struct store_checked *checked,
                        struct error *err) MUSTCHECK;

/* The same, and sets the counts right and marks the groups that are apart: the next refresh
 * computes them. *checked is as it was before. */
enum status store_mend(struct store *store, int64_t now_unix_ms, struct store_checked *checked,
                       struct error *err) MUSTCHECK;

/* What the questions are asked of. */
struct database *store_database(struct store *store);

/* For metrics and /readyz. */
struct store_state {
    int64_t executions, incomplete; /* incomplete: their routing has not come */
    int64_t dirty_groups;
    int64_t oldest_dirty_ms; /* Unix ms; 0 = none is dirty */
    int64_t bytes;
    int version; /* of the schema */
};
enum status store_look(struct store *store, struct store_state *state, struct error *err) MUSTCHECK;

#endif
