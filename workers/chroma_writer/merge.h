/* chroma_writer/merge.h - merging near twins (STILLHOUSE_MERGE_DISTANCE > 0; off by default: it
 * costs a query a document).
 *
 * An experience nearer than the distance to one that is stored takes its place when it is at least
 * as good, and is left out otherwise. Runs in the lane's thread.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_MERGE_H
#define STILLHOUSE_CHROMA_WRITER_MERGE_H

#include "chroma_writer/records.h"

/* For each record: deletes the near and no better one that is stored, or marks the record as failed
 * with its task DONE where a better one is stored. A query that fails judges the tasks. Nothing
 * happens while the setting is 0. */
void merge_near(struct context *ctx, const char *domain, struct record_write *writes, size_t count);

#endif
