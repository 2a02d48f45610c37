#include "base/library.h"

#include <dlfcn.h>

static enum status open_first(const struct library *library, void **opened, struct error *err)
{
    const size_t most = sizeof library->names / sizeof library->names[0];

    for (size_t i = 0; *opened == NULL && i < most && library->names[i] != NULL; i++) {
        *opened = dlopen(library->names[i], RTLD_NOW | RTLD_LOCAL);
        if (*opened == NULL && i == 0) { /* the usual one: its reason is the one to tell */
            error_set(err, STATUS_FAILED, "%s: %s", library->need, dlerror());
        }
    }
    return *opened == NULL ? STATUS_FAILED : STATUS_OK;
}

static enum status find_calls(const struct library *library, struct error *err)
{
    void *opened = NULL;

    TRY(open_first(library, &opened, err));
    for (size_t i = 0; i < library->count; i++) {
        void *call = dlsym(opened, library->calls[i].name);
        if (call == NULL) {
            return error_set(err, STATUS_FAILED, "%s: it lacks %s: %s", library->need,
                             library->calls[i].name, dlerror());
        }
        *(void **)((char *)library->table + library->calls[i].offset) = call;
    }
    return STATUS_OK;
}

static enum status load(const struct library *library, struct error *err)
{
    if (library->names[0] != NULL) {
        TRY(find_calls(library, err));
    }
    return library->start == NULL ? STATUS_OK : library->start(err);
}

enum status library_load(struct library *library, struct error *err)
{
    pthread_mutex_lock(&library->lock);
    const enum status status = library->is_loaded ? STATUS_OK : load(library, err);
    library->is_loaded = status == STATUS_OK;
    pthread_mutex_unlock(&library->lock);
    return status;
}
