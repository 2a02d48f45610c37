/* spool/outbox_internal.h - what the files of outbox.h share: descriptors, locks, bounded writes.
 */
#ifndef STILLHOUSE_SPOOL_OUTBOX_INTERNAL_H
#define STILLHOUSE_SPOOL_OUTBOX_INTERNAL_H

#include <sys/stat.h>

#include "spool/outbox.h"

/* FAILED, "outbox "<folder>": <what>: <errno's text>". */
enum status outbox_fail(const struct outbox *outbox, const char *what, int error_number,
                        struct error *err);

/* A descriptor of the folder, -1 with errno: EPERM = it is not ours alone. */
int outbox_folder_open(const struct outbox *outbox);

/* Opens `name` for reading and writing and locks it; *info is what it is then. -1 with errno:
 * EWOULDBLOCK = another holds it, ENOENT = it is gone. */
int outbox_lock(int folder, const char *name, struct stat *info);

/* A new segment's file, empty and locked; fills `name`, which sorts behind `last` (may be ""). -1
 * with errno. */
int outbox_create(int folder, const char *last, char name[OUTBOX_NAME_BYTES], struct stat *info);

/* Releases the lock, in a forked child's hands too, and closes. */
void outbox_unlock(int file);

/* 0, or -1 with errno. A file size limit (SIGXFSZ) is an error as any other. */
int outbox_write(int file, const void *data, size_t bytes, size_t at);

/* Appends `bytes` from the file's `at` to `out`; false with errno (ENOMEM, EIO). A file that is
 * shorter gives what there is. */
bool outbox_read(int file, size_t at, size_t bytes, struct strbuf *out);

bool outbox_is_segment_name(const char *name);

#endif
