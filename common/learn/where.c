/* Of learn/database.h: which driver a place means. */
#include <string.h>
#include <unistd.h>

#include "learn/driver.h"

static bool begins_with(const char *text, const char *begin)
{
    return strncmp(text, begin, strlen(begin)) == 0;
}

bool database_is_shared(const char *where)
{
    return begins_with(where, "postgresql://") || begins_with(where, "postgres://");
}

static enum status choose(const char *where, const struct driver **driver, struct error *err)
{
    const char *mark = strstr(where, "://");
    const bool is_server = database_is_shared(where);

    *driver = is_server ? &driver_postgres : &driver_sqlite;
    if (mark != NULL && !is_server) { /* a URL may hold a password: no more of it is shown */
        return error_set(err, STATUS_INVALID,
                         "\"%.*s://...\" is no learning store: expected the path of a file or "
                         "postgresql://user@host/database",
                         (int)(mark - where), where);
    }
    return STATUS_OK;
}

enum status database_own(const char *where, int *lock, struct error *err)
{
    const struct driver *driver = NULL;

    *lock = -1;
    TRY(choose(where, &driver, err));
    return driver->own == NULL ? STATUS_OK : driver->own(where, lock, err);
}

void database_disown(int lock)
{
    if (lock >= 0) {
        close(lock);
    }
}

enum status database_open(const char *where, enum database_mode mode, struct database **out,
                          struct error *err)
{
    const struct driver *driver = NULL;

    *out = NULL;
    TRY(choose(where, &driver, err));
    return driver->open(where, mode, out, err);
}

enum status database_replace(const char *where, const char *with, struct error *err)
{
    const struct driver *driver = NULL;

    TRY(choose(where, &driver, err));
    return driver->replace != NULL
               ? driver->replace(where, with, err)
               : error_set(err, STATUS_INVALID,
                           "a store on a server is put back by its own tools: pg_restore --clean "
                           "--if-exists --dbname=postgresql://... %s",
                           with);
}
