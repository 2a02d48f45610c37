/* learn/driver.h - what a kind of database offers behind learn/database.h, which says what each
 * call promises. Of interest to database.c and to the drivers alone.
 *
 * A driver's own struct begins with a struct database.
 */
#ifndef STILLHOUSE_LEARN_DRIVER_H
#define STILLHOUSE_LEARN_DRIVER_H

#include "learn/database.h"

struct driver {
    /* NULL: many may write at once */
    enum status (*own)(const char *where, int *lock, struct error *err);
    enum status (*open)(const char *where, enum database_mode mode, struct database **out,
                        struct error *err);
    void (*close)(struct database *database);
    const char *(*name)(const struct database *database);
    enum status (*check)(struct database *database, struct error *err);
    enum status (*limit)(struct database *database, int64_t limit_ms, struct error *err);

    enum status (*run)(struct database *database, const char *sql, struct error *err);
    enum status (*ask)(struct database *database, const char *sql, const struct value *with,
                       size_t count, struct rows *rows, struct error *err);
    enum rows_step (*next)(struct rows *rows, struct error *err);
    struct value (*value)(const struct rows *rows, int column);
    enum status (*end)(struct rows *rows, int64_t *changed);
    /* NULL: set by set is as good. */
    enum status (*many)(struct database *database, const struct many *many, int64_t *changed,
                        struct error *err);

    const char *now; /* asks for Unix ms; NULL: this machine's clock is the store's */
    const char *begin, *begin_read;
    void (*rollback)(struct database *database);
    /* NULL both: whoever writes is alone. */
    enum status (*lock)(struct database *database, int64_t key, enum database_lock how,
                        struct error *err);
    enum status (*try_locks)(struct database *database, const int64_t *keys, size_t count,
                             bool *got, struct error *err);
    bool (*was_crossed)(const struct database *database); /* NULL likewise */
    int (*place)(const struct database *database);        /* NULL likewise */

    enum status (*tables)(struct database *database, int64_t *tables, bool *has_meta,
                          struct error *err);
    enum status (*bytes)(struct database *database, int64_t *bytes, int64_t *used,
                         struct error *err);
    enum status (*verify)(struct database *database, struct error *err);
    enum status (*shrink)(struct database *database, struct error *err);
    enum status (*copy)(struct database *database, const char *to, struct error *err);
    enum status (*keep)(struct database *database, int version, bool is_trial,
                        char kept[DATABASE_KEPT_BYTES], struct error *err);
    /* NULL: a server has its own. */
    enum status (*replace)(const char *where, const char *with, struct error *err);
};

struct database {
    const struct driver *driver;
};

extern const struct driver driver_postgres; /* a server: postgres.c */
extern const struct driver driver_sqlite;   /* a file: sqlite.c */

#endif
