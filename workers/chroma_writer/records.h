/* chroma_writer/records.h - writing documents into the domains' collections: what distill and index
 * have in common.
 *
 *     struct record_write writes[] = {{.record = first, .task = task},
 *                                     {.record = second, .task = task}};
 *     const struct record_group group = {"legal", writes, 2};
 *     records_write(ctx, &group, 1, NULL);
 *     if (!writes[0].failed) { ... }                      // else its task is judged
 *
 * Reads what is there (up to 100 a request), leaves out what is the same, drops metadata keys that
 * the new version has not; what is left goes to the writer (chroma_writer/writer.h), all domains at
 * once. Doing it twice leaves one document.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_RECORDS_H
#define STILLHOUSE_CHROMA_WRITER_RECORDS_H

#include "chroma_writer/writer.h"

enum { RECORDS_SLICE = WRITER_REQUEST_MAX };

/* What goes into one domain: `count` records with distinct ids. */
struct record_group {
    const char *domain;
    struct record_write *writes;
    size_t count;
};

/* Is what is stored what would be written? */
typedef bool record_same(const struct chroma_record *record, const struct example *stored);

/* Writes the groups, each of another domain. `same` may be NULL: always write. Records that fail
 * judge their task and are marked. */
void records_write(struct context *ctx, const struct record_group *groups, size_t group_count,
                   record_same *same);

/* Judges the task of a record by how the writer ended it. One that failed alone is at fault where
 * others passed: in the same request, or since its job was tried last. */
void records_judge(struct context *ctx, const char *domain, struct record_write *write);

/* Says in the log, now and then, that a document is kept without some of its metadata. */
void records_say_dropped(struct slice id, struct slice dropped);

#endif
