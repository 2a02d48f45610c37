/* learn/schema.h - the tables of a learning store, and the numbered steps that make them.
 *
 *     TRY(schema_migrate(database, &schema_steps, schema_steps.count, err));
 *
 * A step goes up or down in one transaction; the number stands in `meta`. One thread at a time.
 */
#ifndef STILLHOUSE_LEARN_SCHEMA_H
#define STILLHOUSE_LEARN_SCHEMA_H

#include <stddef.h>

#include "base/status.h"
#include "learn/database.h"

/* Step i leads from version i to i + 1, and back. */
struct schema_step {
    const char *up;
    const char *down; /* of the first: nothing is before it */
};
struct schema_list {
    const struct schema_step *steps;
    size_t count;
};
extern const struct schema_list schema_steps;

enum { STORE_ID_BYTES = 33 };

/* Advisory lock on a server. A step has it alone; who writes has it together with others. */
enum { SCHEMA_LOCK = 1 };

/* 0: an empty database. INVALID: tables that are not ours, or a version above the list's, both
 * named. */
enum status schema_version(struct database *database, const struct schema_list *list,
                           size_t *version, struct error *err) MUSTCHECK;

/* Up or down to version `to`, which is of the list, 1 or more; an empty database gets its store id.
 */
enum status schema_migrate(struct database *database, const struct schema_list *list, size_t to,
                           struct error *err) MUSTCHECK;

/* Notes that somebody opened the store to write to it. So a full disk or a file that may not be
 * written is found out at once, and not by the first part. */
enum status schema_note_writer(struct database *database, struct error *err) MUSTCHECK;

/* "" where there is none. */
enum status schema_store_id(struct database *database, char out[STORE_ID_BYTES],
                            struct error *err) MUSTCHECK;

#endif
