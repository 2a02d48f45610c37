/* The folder of an outbox: its files, their locks, and writes that raise no signal. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "spool/outbox_internal.h"

enum { STAMP_DIGITS = 13, CREATE_ATTEMPTS = 5, FILE_MODE = 0600 };

static const char suffix[] = ".outbox";
static const char bad_suffix[] = ".bad";

enum status outbox_fail(const struct outbox *outbox, const char *what, int error_number,
                        struct error *err)
{
    char text[96];

    return error_set(err, error_number == ENOMEM ? STATUS_OOM : STATUS_FAILED,
                     "outbox \"%.120s\": %.80s: %s", outbox->folder, what,
                     strerror_r(error_number, text, sizeof text));
}

/* As ssh judges its files. */
static bool is_ours_alone(int folder)
{
    struct stat info;

    return fstat(folder, &info) == 0 && (info.st_uid == geteuid() || info.st_uid == 0) &&
           (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static void close_quietly(int file)
{
    const int saved = errno;

    close(file);
    errno = saved;
}

int outbox_folder_open(const struct outbox *outbox)
{
    const int folder = open(outbox->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder >= 0 && !is_ours_alone(folder)) {
        errno = EPERM;
        close_quietly(folder);
        return -1;
    }
    return folder;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
    const size_t bytes = strlen(name);

    return bytes > strlen(end) && bytes < OUTBOX_NAME_BYTES && name[0] != '.' &&
           strcmp(name + bytes - strlen(end), end) == 0;
}

bool outbox_is_segment_name(const char *name)
{
    return ends_with(name, suffix);
}

/* By the clock, but behind `last` also where the clock was put back. */
static void make_name(const char *last, char name[OUTBOX_NAME_BYTES])
{
    const int64_t now_unix_ms = clock_unix_ms();
    char stamp[STAMP_DIGITS + 1];
    char id[37];

    snprintf(stamp, sizeof stamp, "%s", last);
    const int64_t last_unix_ms =
        strspn(stamp, "0123456789") == STAMP_DIGITS ? strtoll(stamp, NULL, 10) : 0;
    text_make_id(now_unix_ms, id);
    snprintf(name, OUTBOX_NAME_BYTES, "%013" PRId64 "-%ld-%s%s",
             last_unix_ms >= now_unix_ms ? last_unix_ms + 1 : now_unix_ms, (long)getpid(),
             id + 24, /* 12 random digits */
             suffix);
}

/* ---- locks ----------------------------------------------------------------------------------- */

/* A file that was removed between being opened and being locked is nobody's any more. */
static int lock(int file, struct stat *info)
{
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        return -1;
    }
    if (fstat(file, info) != 0) {
        return -1;
    }
    if (!S_ISREG(info->st_mode) || info->st_nlink == 0) {
        errno = info->st_nlink == 0 ? ENOENT : EINVAL;
        return -1;
    }
    return 0;
}

int outbox_lock(int folder, const char *name, struct stat *info)
{
    const int file = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (file >= 0 && lock(file, info) != 0) {
        close_quietly(file);
        return -1;
    }
    return file;
}

/* Between making a file and locking it another process may find it, take it for the leftover of a
 * crash, and remove it: then another one is made. */
int outbox_create(int folder, const char *last, char name[OUTBOX_NAME_BYTES], struct stat *info)
{
    for (int attempt = 0; attempt < CREATE_ATTEMPTS; attempt++) {
        make_name(last, name);
        const int file =
            openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
        if (file < 0) {
            if (errno == EEXIST) {
                continue;
            }
            return -1;
        }
        if (lock(file, info) == 0) {
            return file;
        }
        close_quietly(file);
        if (errno != EWOULDBLOCK && errno != ENOENT) {
            unlinkat(folder, name, 0);
            return -1;
        }
    }
    errno = EWOULDBLOCK;
    return -1;
}

void outbox_unlock(int file)
{
    flock(file, LOCK_UN);
    close(file);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* A write beyond the process' file size limit raises SIGXFSZ, whose default is death. */
static ssize_t write_some(int file, const char *data, size_t bytes, off_t at)
{
    const struct timespec at_once = {0, 0};
    sigset_t limit;
    sigset_t old;

    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    const bool blocked =
        pthread_sigmask(SIG_BLOCK, &limit, &old) == 0 && sigismember(&old, SIGXFSZ) == 0;
    const ssize_t written = pwrite(file, data, bytes, at);
    const int saved = errno;
    if (blocked) {
        if (written < 0 && saved == EFBIG) {
            while (sigtimedwait(&limit, NULL, &at_once) < 0 && errno == EINTR) {
            }
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    errno = saved;
    return written;
}

int outbox_write(int file, const void *data, size_t bytes, size_t at)
{
    const char *from = data;

    while (bytes > 0) {
        const ssize_t written = write_some(file, from, bytes, (off_t)at);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            errno = written == 0 ? ENOSPC : errno;
            return -1;
        }
        from += written;
        at += (size_t)written;
        bytes -= (size_t)written;
    }
    return 0;
}

bool outbox_read(int file, size_t at, size_t bytes, struct strbuf *out)
{
    char *to = strbuf_reserve(out, bytes);

    if (to == NULL) {
        errno = ENOMEM;
        return false;
    }
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(file, to + done, bytes - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
        strbuf_commit(out, (size_t)got);
    }
    return true;
}

/* ---- the list -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct outbox_file *)a)->name, ((const struct outbox_file *)b)->name);
}

static bool add_file(struct outbox_list *list, const char *name, size_t bytes)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        struct outbox_file *grown = realloc(list->files, capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        list->files = grown;
        list->capacity = capacity;
    }
    struct outbox_file *file = &list->files[list->count++];
    snprintf(file->name, sizeof file->name, "%s", name);
    file->bytes = bytes;
    return true;
}

static bool take_entry(struct outbox_list *list, int folder, const char *name)
{
    const bool segment = outbox_is_segment_name(name);
    struct stat info;

    if ((!segment && !ends_with(name, bad_suffix)) ||
        fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) {
        return true;
    }
    list->total_bytes += info.st_size;
    list->bad += !segment;
    return !segment || add_file(list, name, (size_t)info.st_size);
}

enum status outbox_list(const struct outbox *outbox, struct outbox_list *list, struct error *err)
{
    bool fits = true;

    *list = (struct outbox_list){0};
    DIR *folder = opendir(outbox->folder);
    if (folder == NULL) {
        return errno == ENOENT ? STATUS_OK : outbox_fail(outbox, "cannot be read", errno, err);
    }
    for (struct dirent *entry; fits && (entry = readdir(folder)) != NULL;) {
        fits = take_entry(list, dirfd(folder), entry->d_name);
    }
    closedir(folder);
    if (!fits) {
        return outbox_fail(outbox, "its files", ENOMEM, err);
    }
    if (list->count > 1) {
        qsort(list->files, list->count, sizeof list->files[0], by_name);
    }
    return STATUS_OK;
}

void outbox_list_free(struct outbox_list *list)
{
    free(list->files);
    *list = (struct outbox_list){0};
}
