/* bare_learn.h - SQLite as a program without Stillhouse would use it: the store's file, settings,
 * tables, indexes, rows and batches; an upsert for each record, and an insert for each group of a
 * view that it touches. Failure is fatal.
 */
#ifndef STILLHOUSE_TESTS_BENCH_BARE_LEARN_H
#define STILLHOUSE_TESTS_BENCH_BARE_LEARN_H

#include "learn/store.h"

struct bare_learn;

/* The file has the store's tables already. */
struct bare_learn *bare_learn_open(const char *path);
/* One transaction, with synchronous=FULL. */
void bare_learn_put(struct bare_learn *bare, const struct part *parts, size_t count);
void bare_learn_close(struct bare_learn *bare);

#endif
