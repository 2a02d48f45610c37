/* records.h - writing documents into a domain's collection: what distill and index have in common.
 *
 * In slices of up to 100: reads what is there (one request), leaves out what is the same, drops
 * metadata keys that the new version has not; then, under the fleet's writer lease, upserts. Doing
 * it twice leaves one document.
 */
#ifndef STILLHOUSE_WORKERS_RECORDS_H
#define STILLHOUSE_WORKERS_RECORDS_H

#include "tools.h"

enum { RECORDS_SLICE = 100 };

/* One document to write: `record` in; out how it ended. */
struct record_write {
    struct chroma_record record;
    struct task *task; /* whose it is; judged where it fails. Several records may share one */
    bool failed;
};

/* Writes `count` records with distinct ids into the collection of `domain`. `same` decides whether
 * what is stored is what would be written (NULL: always write). Records that fail judge their task
 * and are marked. */
void records_write(struct lane_tools *tools, const char *domain, struct record_write *writes,
                   size_t count,
                   bool (*same)(const struct chroma_record *record, const struct example *stored));

/* Deletes documents by id under the writer lease. */
enum status records_delete(struct lane_tools *tools, const char *domain, const struct slice *ids,
                           size_t count, struct error *err) MUSTCHECK;

/* Looks a key up in a metadata list; NULL when absent. */
const struct meta_value *records_meta(const struct meta_pair *metadata, size_t count,
                                      const char *key);

#endif
