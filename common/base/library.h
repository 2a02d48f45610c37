/* base/library.h - a shared library that comes into the process when it is first needed, and the
 * table of its calls.
 *
 *     static struct { int (*open)(const char *path); } foo; // a pointer for each call
 *     static const struct library_call calls[] = {{"foo_open", 0}};
 *     static struct library library = {.need = "a foo store needs libfoo 3 or later",
 *                                      .names = {"libfoo.so.3"}, .calls = calls, .count = 1,
 *                                      .table = &foo, .lock = PTHREAD_MUTEX_INITIALIZER};
 *     if (library_load(&library, &err) == STATUS_OK) {
 *         foo.open("/tmp/foo");
 *     }
 *
 * A program that never needs the library, or runs where there is none, is no bigger for it. The
 * table is the only way to the library: a call that is not in the list does not link.
 */
#ifndef STILLHOUSE_BASE_LIBRARY_H
#define STILLHOUSE_BASE_LIBRARY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct library_call {
    const char *name;
    size_t offset; /* of its pointer in the table */
};

/* Static, one for each library. */
struct library {
    const char *need;     /* "a learning store needs libfoo 3 or later" */
    const char *names[3]; /* of the file, tried in this order; none: the table is filled already */
    const struct library_call *calls;
    size_t count;
    void *table;
    enum status (*start)(struct error *err); /* NULL: nothing is to be done once it is there */
    pthread_mutex_t lock;
    bool is_loaded;
};

/* Fills the table and starts the library, once; what failed is tried again by the next call.
 * FAILED: no such library, one that lacks a call, or what `start` says. It is never closed: what
 * libraries leave behind at their end is not safe to unload. Any thread. */
enum status library_load(struct library *library, struct error *err) MUSTCHECK;

#endif
