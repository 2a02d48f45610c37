/* chroma_writer/records.h - writing documents into the domains' collections: what distill and index
 * have in common.
 *
 * Reads what is there (up to 100 a request), leaves out what is the same, drops metadata keys that
 * the new version has not; what is left is written together with other lanes' records
 * (group_write.h), under the fleet's writer lease. Doing it twice leaves one document.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_RECORDS_H
#define STILLHOUSE_CHROMA_WRITER_RECORDS_H

#include "chroma_writer/group_write.h"

enum { RECORDS_SLICE = 100 };

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

/* Deletes documents by id under the writer lease. */
enum status records_delete(struct context *ctx, const char *domain, const struct slice *ids,
                           size_t count, struct error *err) MUSTCHECK;

/* Is its time, metadata "expires_ms", over? What has none never expires. */
bool records_is_expired(const struct example *example, int64_t now_unix_ms);

/* Says in the log, now and then, that a document is kept without some of its metadata. */
void records_say_dropped(struct slice id, struct slice dropped);

/* Looks a key up in a metadata list; NULL when absent. */
const struct meta_value *records_meta(const struct meta_pair *metadata, size_t count,
                                      const char *key);

#endif
