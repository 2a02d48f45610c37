#include "spool/spool.h"

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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "spool/old_outbox.h"

enum {
    FOLDER_MODE = 0700,
    FILE_MODE = 0600,
    STAMP_DIGITS = 16,
    NAMES_MAX = 16 * 1024, /* listed at once: 1.5 MiB */
    LOOK_AGAIN_MS = 1000,
    LOOK_SHARE = 20, /* a look costs one part in so many of the time */
    LEFTOVER_S = 60 * 60,
};

static const char suffix[] = ".jobs";
static const char temporary_suffix[] = ".tmp";
static const char old_bad_suffix[] = ".bad"; /* what earlier versions put aside */
static const char bad_folder[] = "bad";

/* ---- errors ---------------------------------------------------------------------------------- */

/* FAILED, "outbox "<folder>": <what>: <errno's text>". */
static enum status fail(const struct spool *spool, const char *what, int error_number,
                        struct error *err)
{
    char text[96];

    return error_set(err, error_number == ENOMEM ? STATUS_OOM : STATUS_FAILED,
                     "outbox \"%.120s\": %.80s: %s", spool->folder, what,
                     strerror_r(error_number, text, sizeof text));
}

static void close_quietly(int file)
{
    const int saved = errno;

    close(file);
    errno = saved;
}

/* ---- the folder ------------------------------------------------------------------------------ */

/* As ssh judges its files. -1 with errno: EPERM = it is not ours alone. */
static int open_folder(const struct spool *spool)
{
    const int folder = open(spool->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat info;

    if (folder >= 0 &&
        (fstat(folder, &info) != 0 || (info.st_uid != geteuid() && info.st_uid != 0) ||
         (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)) {
        errno = EPERM;
        close_quietly(folder);
        return -1;
    }
    return folder;
}

int spool_folder(const struct spool *spool, struct error *err)
{
    const int folder = open_folder(spool);

    if (folder < 0) {
        (void)fail(spool, "cannot be opened", errno, err);
    }
    return folder;
}

enum status spool_open(struct spool *spool, const char *folder, const char *prefix,
                       int64_t max_bytes, struct error *err)
{
    char text[96];

    *spool = (struct spool){
        .prefix = prefix, .max_bytes = max_bytes, .waiting = true, .batch = SPOOL_BATCH_MAX};
    if (folder[0] == '\0') {
        return STATUS_OK;
    }
    bool good = mkdir(folder, FOLDER_MODE) == 0 || errno == EEXIST;
    if (good) {
        spool->folder = realpath(folder, NULL); /* the program may change its own */
        good = spool->folder != NULL && access(spool->folder, R_OK | W_OK | X_OK) == 0;
    }
    const int probe = good ? open_folder(spool) : -1;
    if (probe < 0) {
        (void)error_set(
            err, STATUS_INVALID, "outbox \"%.160s\": %s", folder,
            good && errno == EPERM
                ? "another user's, or others may write to it; expected our own, mode 0700"
                : strerror_r(errno, text, sizeof text));
        spool_close(spool);
        return STATUS_INVALID;
    }
    close(probe);
    return STATUS_OK;
}

static void forget_names(struct spool *spool)
{
    free(spool->names);
    spool->names = NULL;
    spool->count = spool->capacity = spool->next = 0;
    spool->more = false;
}

void spool_close(struct spool *spool)
{
    forget_names(spool);
    free(spool->folder);
    spool->folder = NULL;
}

bool spool_is_ours(const struct spool *spool, struct slice base)
{
    const size_t bytes = strlen(spool->prefix);

    return base.bytes > bytes + 2 && memcmp(base.data, spool->prefix, bytes) == 0 &&
           memcmp(base.data + bytes, ":{", 2) == 0;
}

void spool_forget_counts(struct spool *spool)
{
    spool->kept = 0;
    spool->sent = 0;
    spool->aside = 0;
}

void spool_start_over(struct spool *spool)
{
    *spool = (struct spool){.folder = spool->folder,
                            .prefix = spool->prefix,
                            .max_bytes = spool->max_bytes,
                            .waiting = true,
                            .batch = SPOOL_BATCH_MAX};
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
    const size_t bytes = strlen(name);

    return bytes > strlen(end) && bytes < SPOOL_NAME_BYTES && name[0] != '.' &&
           strcmp(name + bytes - strlen(end), end) == 0;
}

/* The time in a name, of an old one too, which has ms. 0 where there is none. */
static int64_t stamp_of(const char *name)
{
    int64_t stamp = 0;

    for (size_t i = 0; i < STAMP_DIGITS; i++) {
        const bool digit = *name >= '0' && *name <= '9';
        stamp = stamp * 10 + (digit ? *name : '0') - '0';
        name += digit;
    }
    return stamp;
}

/* How many jobs a name says that its file has. */
static size_t jobs_of(const char *name)
{
    const char *dash = strrchr(name, '-');
    const size_t jobs = dash == NULL ? 0 : strtoul(dash + 1, NULL, 10);

    return jobs == 0 ? 1 : jobs;
}

/* What a name says of the prefix: files of another one need not be opened to know. */
static void prefix_mark(const struct spool *spool, char mark[9])
{
    snprintf(mark, 9, "%08" PRIx32, record_crc32c(0, spool->prefix, strlen(spool->prefix)));
}

/* Also of a name that says nothing of it. */
static bool may_be_ours(const struct spool *spool, const char *name)
{
    const char *dash = strrchr(name, '-');
    char mark[9];

    if (dash == NULL || dash - name < 9 || dash[-9] != '-' ||
        strspn(dash - 8, "0123456789abcdef") != 8) {
        return true;
    }
    prefix_mark(spool, mark);
    return memcmp(dash - 8, mark, 8) == 0;
}

/* By the clock, but behind every name that is known also where the clock was put back. */
static void make_name(struct spool *spool, size_t jobs, char name[SPOOL_NAME_BYTES])
{
    struct timespec now;
    char id[37];
    char mark[9];

    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    spool->stamp_us = spool->stamp_us >= now_us ? spool->stamp_us + 1 : now_us;
    text_make_id(now_us / 1000, id);
    prefix_mark(spool, mark);
    snprintf(name, SPOOL_NAME_BYTES, "%0*" PRId64 "-%ld-%s-%s-%zu%s", STAMP_DIGITS, spool->stamp_us,
             (long)getpid(), id + 24 /* 12 random digits */, mark, jobs, suffix);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* False with errno. A write beyond the process' file size limit raises SIGXFSZ, whose default is
 * death: here it is an error as any other. */
static bool write_all(int file, const char *from, size_t bytes)
{
    const struct timespec at_once = {0, 0};
    sigset_t limit;
    sigset_t old;
    ssize_t written = 0;

    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    const bool blocked =
        pthread_sigmask(SIG_BLOCK, &limit, &old) == 0 && sigismember(&old, SIGXFSZ) == 0;
    while (bytes > 0) {
        written = write(file, from, bytes);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            errno = written == 0 ? ENOSPC : errno;
            break;
        }
        from += written;
        bytes -= (size_t)written;
    }
    const int saved = errno;
    if (blocked) {
        if (bytes > 0 && saved == EFBIG) {
            while (sigtimedwait(&limit, NULL, &at_once) < 0 && errno == EINTR) {
            }
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    errno = saved;
    return bytes == 0;
}

/* Appends the file's bytes to `out`; false with errno. */
static bool read_all(int file, size_t bytes, struct strbuf *out)
{
    char *to = strbuf_reserve(out, bytes);

    if (to == NULL) {
        errno = ENOMEM;
        return false;
    }
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(file, to + done, bytes - done, (off_t)done);
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

enum place {
    PLACE_NEW,     /* under a name that nobody has */
    PLACE_IF_FREE, /* EEXIST, or EINVAL where the file system cannot tell: nothing is changed */
    PLACE_OURS     /* instead of the file of that name, whose lock is held */
};

/* A whole file under `name`, durable, or none: false with errno. */
static bool write_file(int folder, const char *name, enum place place, struct slice records)
{
    char temporary[SPOOL_NAME_BYTES + 40];

    snprintf(temporary, sizeof temporary, "%s%s", name, temporary_suffix);
    const int file =
        openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (file < 0) {
        return false;
    }
    const bool renamed = write_all(file, SPOOL_MAGIC, SPOOL_MAGIC_BYTES) &&
                         write_all(file, records.data, records.bytes) &&
                         renameat2(folder, temporary, folder, name,
                                   place == PLACE_IF_FREE ? RENAME_NOREPLACE : 0) == 0;
    const bool good = renamed && fdatasync(file) == 0 && fsync(folder) == 0;
    close_quietly(file);
    if (!renamed || (!good && place == PLACE_NEW)) { /* else it is all that there is of its jobs */
        const int saved = errno;
        unlinkat(folder, renamed ? name : temporary, 0);
        errno = saved;
    }
    return good;
}

/* ---- looking --------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void sort_names(struct spool *spool)
{
    if (spool->count > 1) {
        qsort(spool->names, spool->count, sizeof spool->names[0], by_name);
    }
}

/* Where there are more than NAMES_MAX the newer half goes, and with it what comes behind it. */
static bool add_name(struct spool *spool, const char *name)
{
    if (spool->count == NAMES_MAX) {
        sort_names(spool);
        spool->count = NAMES_MAX / 2;
        spool->more = true;
        memcpy(spool->horizon, spool->names[spool->count], sizeof spool->horizon);
    }
    if (spool->more && strcmp(name, spool->horizon) >= 0) {
        return true;
    }
    if (spool->count == spool->capacity) {
        const size_t capacity = spool->capacity == 0 ? 64 : spool->capacity * 2;
        void *grown = realloc(spool->names, capacity * sizeof spool->names[0]);
        if (grown == NULL) {
            return false;
        }
        spool->names = grown;
        spool->capacity = capacity;
    }
    snprintf(spool->names[spool->count++], SPOOL_NAME_BYTES, "%s", name);
    return true;
}

/* Without a lock: what others hold counts as it stands now. */
static size_t old_jobs(int folder, const char *name, size_t bytes)
{
    const int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct strbuf data = {0};
    struct spool_record record;
    uint64_t nonce = 0;
    size_t at = 0;
    size_t jobs = 0;

    if (file >= 0 && bytes <= SPOOL_FILE_MAX && read_all(file, bytes, &data) &&
        old_outbox_open(data.data, data.bytes, &nonce, &at) == STATUS_OK) {
        enum record_piece piece = RECORD_JOB;
        while ((piece = old_outbox_decode(nonce, (struct slice){data.data, data.bytes}, at, &record,
                                          &at)) != RECORD_END) {
            jobs += piece == RECORD_JOB;
        }
    }
    strbuf_free(&data);
    if (file >= 0) {
        close(file);
    }
    return jobs;
}

/* False when memory is short. */
static bool take_entry(struct spool *spool, int folder, const char *name, size_t *jobs)
{
    const bool new = ends_with(name, suffix);
    const bool old = ends_with(name, OLD_OUTBOX_SUFFIX);
    const bool temporary = ends_with(name, temporary_suffix);
    const bool bad = ends_with(name, old_bad_suffix);
    struct stat info;

    if ((!new && !old && !temporary && !bad) ||
        fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) {
        return true;
    }
    if (temporary && clock_unix_ms() / 1000 - (int64_t)info.st_mtime > LEFTOVER_S) {
        unlinkat(folder, name, 0); /* of a process that was killed in the middle */
        return true;
    }
    spool->bytes += info.st_size;
    spool->has_bad = spool->has_bad || bad;
    if (!new && !old) {
        return true;
    }
    const int64_t stamp_us = stamp_of(name);
    spool->stamp_us = stamp_us > spool->stamp_us ? stamp_us : spool->stamp_us;
    if (jobs != NULL) {
        *jobs += new ? jobs_of(name) : old_jobs(folder, name, (size_t)info.st_size);
    }
    return !may_be_ours(spool, name) || add_name(spool, name);
}

static void add_bad(struct spool *spool, int folder)
{
    const int descriptor =
        openat(folder, bad_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *bad = descriptor < 0 ? NULL : fdopendir(descriptor);
    struct stat info;

    for (struct dirent *entry; bad != NULL && (entry = readdir(bad)) != NULL;) {
        if (fstatat(descriptor, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(info.st_mode)) {
            spool->bytes += info.st_size;
            spool->has_bad = true;
        }
    }
    if (bad != NULL) {
        closedir(bad);
    } else if (descriptor >= 0) {
        close(descriptor);
    }
}

enum status spool_look(struct spool *spool, size_t *jobs, struct error *err)
{
    const int64_t begun_ms = clock_now_ms();
    bool fits = true;

    if (jobs != NULL) {
        *jobs = 0;
    }
    spool->count = spool->next = 0;
    spool->more = false;
    spool->bytes = 0;
    spool->has_bad = false;
    DIR *folder = opendir(spool->folder);
    if (folder == NULL && errno != ENOENT) {
        return fail(spool, "cannot be read", errno, err);
    }
    for (struct dirent *entry; folder != NULL && fits && (entry = readdir(folder)) != NULL;) {
        fits = take_entry(spool, dirfd(folder), entry->d_name, jobs);
    }
    if (folder != NULL) {
        add_bad(spool, dirfd(folder));
        closedir(folder);
    }
    if (!fits) {
        forget_names(spool);
        return fail(spool, "its files", ENOMEM, err);
    }
    sort_names(spool);
    if (spool->count == 0) {
        forget_names(spool);
    }
    const int64_t now_ms = clock_now_ms();
    const int64_t pause_ms = (now_ms - begun_ms) * LOOK_SHARE;
    spool->look_again_ms = now_ms + (pause_ms > LOOK_AGAIN_MS ? pause_ms : LOOK_AGAIN_MS);
    return STATUS_OK;
}

/* ---- putting --------------------------------------------------------------------------------- */

static enum status check_room(struct spool *spool, int64_t bytes, enum spool_room room,
                              struct error *err)
{
    const int64_t most = room == SPOOL_HALF ? spool->max_bytes / 2 : spool->max_bytes;

    if (bytes > SPOOL_PUT_MAX) {
        return error_set(err, STATUS_FULL, "the outbox takes at most %d bytes at once, not %lld",
                         SPOOL_PUT_MAX, (long long)bytes);
    }
    if (clock_now_ms() >= spool->look_again_ms) {
        TRY(spool_look(spool, NULL, err));
    }
    return spool->bytes + bytes <= most
               ? STATUS_OK
               : error_set(err, STATUS_FULL,
                           "the outbox \"%.120s\" is full: %lld bytes%s, at most %lld%s",
                           spool->folder, (long long)spool->bytes,
                           spool->has_bad ? " (what was put aside among them)" : "",
                           (long long)most,
                           room == SPOOL_HALF ? " of such jobs, half of its bound" : "");
}

enum status spool_put(struct spool *spool, const struct strbuf *records, size_t count,
                      enum spool_room room, struct error *err)
{
    const int64_t bytes = SPOOL_MAGIC_BYTES + (int64_t)records->bytes;
    char name[SPOOL_NAME_BYTES];

    if (count == 0) {
        return STATUS_OK;
    }
    enum status status = check_room(spool, bytes, room, err);
    if (status != STATUS_OK) {
        return status;
    }
    int folder = open_folder(spool);
    if (folder < 0 && errno == ENOENT && mkdir(spool->folder, FOLDER_MODE) == 0) {
        folder = open_folder(spool);
    }
    if (folder < 0) {
        return fail(spool, "cannot be opened", errno, err);
    }
    make_name(spool, count, name);
    if (write_file(folder, name, PLACE_NEW, (struct slice){records->data, records->bytes})) {
        spool->bytes += bytes;
        spool->waiting = true;
        spool->kept += count;
    } else {
        status = fail(spool, "cannot be written", errno, err);
    }
    close(folder);
    return status;
}

/* ---- putting aside --------------------------------------------------------------------------- */

/* The folder bad/, made where it is missing; -1 with errno. */
static int open_bad(int folder)
{
    const int made = mkdirat(folder, bad_folder, FOLDER_MODE);

    if (made != 0 && errno != EEXIST) {
        return -1;
    }
    return openat(folder, bad_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* Beside the file, for a person. */
static void write_reason(int bad, const char *name, const char *why)
{
    char path[SPOOL_NAME_BYTES + 32];
    const char *dot = strrchr(name, '.');

    snprintf(path, sizeof path, "%.*s.txt", (int)(dot - name), name);
    const int file =
        openat(bad, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (file >= 0) {
        (void)(write_all(file, why, strlen(why)) && write_all(file, "\n", 1));
        close(file);
    }
}

/* A file that is none of ours, as it is. */
static enum status put_file_aside(struct spool_file *file, const char *why, struct error *err)
{
    const int bad = open_bad(file->folder);

    if (bad < 0 || renameat(file->folder, file->name, bad, file->name) != 0) {
        const int saved = errno;
        if (bad >= 0) {
            close(bad);
        }
        return fail(file->spool, "a file cannot be put aside", saved, err);
    }
    write_reason(bad, file->name, why);
    close(bad);
    file->spool->aside++;
    file->spool->has_bad = true;
    return STATUS_OK;
}

/* A job is written as it would be kept, so that the file may be moved back; damage as it is. What
 * was a file's all along keeps its name: one that is moved back again and again would outgrow
 * names. */
static bool write_part(int bad, const struct spool_file *file, size_t to, const char *why)
{
    char name[SPOOL_NAME_BYTES + 32];
    struct spool_record record;
    struct strbuf part = {0};
    size_t end = 0;

    if (!file->old && file->at == SPOOL_MAGIC_BYTES && to == file->bytes.bytes) {
        snprintf(name, sizeof name, "%s", file->name);
    } else {
        snprintf(name, sizeof name, "%.*s-at%zu-1%s", (int)(strrchr(file->name, '.') - file->name),
                 file->name, file->at, suffix);
    }
    bool good = true;
    if (spool_next(file, file->at, &record, &end) == RECORD_JOB) {
        good = record_encode(&record, &part, NULL) == STATUS_OK;
    } else {
        strbuf_append(&part, file->bytes.data + file->at, to - file->at);
        good = strbuf_ok(&part);
    }
    if (!good) {
        errno = ENOMEM;
    }
    good = good && write_file(bad, name, PLACE_NEW, (struct slice){part.data, part.bytes});
    strbuf_free(&part);
    if (good) {
        write_reason(bad, name, why);
    }
    return good;
}

enum status spool_set_aside(struct spool_file *file, size_t to, const char *why, struct error *err)
{
    const int bad = open_bad(file->folder);
    const bool good = bad >= 0 && write_part(bad, file, to, why);
    const int saved = errno;

    if (bad >= 0) {
        close(bad);
    }
    if (!good) {
        return fail(file->spool, "a job cannot be put aside", saved, err);
    }
    file->spool->aside++;
    file->spool->has_bad = true;
    file->spool->bytes += (int64_t)(to - file->at);
    return spool_take(file, to, err);
}

/* ---- claiming -------------------------------------------------------------------------------- */

/* A file that was removed, or replaced, between being opened and being locked is nobody's any more.
 * -1 with errno: EWOULDBLOCK = another holds it, ENOENT = it is gone. */
static int lock_file(int folder, const char *name, struct stat *info)
{
    const int file = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (file < 0) {
        return -1;
    }
    if (flock(file, LOCK_EX | LOCK_NB) == 0 && fstat(file, info) == 0) {
        if (S_ISREG(info->st_mode) && info->st_nlink > 0) {
            return file;
        }
        errno = info->st_nlink == 0 ? ENOENT : EINVAL;
    }
    close_quietly(file);
    return -1;
}

static void let_go(struct spool_file *file)
{
    flock(file->file, LOCK_UN); /* in a forked child's hands too */
    close(file->file);
    strbuf_free(&file->bytes);
}

/* False with errno. */
static bool remove_file(const struct spool_file *file)
{
    if (unlinkat(file->folder, file->name, 0) != 0) {
        return false;
    }
    file->spool->bytes -= (int64_t)file->bytes.bytes;
    return true;
}

/* Judges what was read. NOT_FOUND where there is nothing to send from it. */
static enum status judge(struct spool_file *file, struct error *err)
{
    const struct strbuf *bytes = &file->bytes;
    enum status status = STATUS_INVALID;

    if (bytes->bytes < (file->old ? (size_t)OLD_OUTBOX_HEADER_BYTES : 1)) {
        (void)remove_file(file); /* a crash right after it was made */
        return STATUS_NOT_FOUND;
    }
    if (file->old) {
        status = old_outbox_open(bytes->data, bytes->bytes, &file->nonce, &file->at);
    } else if (bytes->bytes >= SPOOL_MAGIC_BYTES &&
               memcmp(bytes->data, SPOOL_MAGIC, SPOOL_MAGIC_BYTES - 1) == 0) {
        status = bytes->data[SPOOL_MAGIC_BYTES - 1] == SPOOL_MAGIC[SPOOL_MAGIC_BYTES - 1]
                     ? STATUS_OK
                     : STATUS_NOT_FOUND; /* of a later version: it is left alone */
        file->at = SPOOL_MAGIC_BYTES;
    }
    file->from = file->at;
    if (status == STATUS_INVALID) {
        status = put_file_aside(file, "not a file of an outbox, or damaged in front", err);
        return status == STATUS_OK ? STATUS_NOT_FOUND : status;
    }
    return status;
}

static enum status claim(struct spool_file *file, struct error *err)
{
    struct stat info;

    file->file = lock_file(file->folder, file->name, &info);
    if (file->file < 0) {
        return errno == EWOULDBLOCK || errno == ENOENT ? STATUS_NOT_FOUND
                                                       : fail(file->spool, file->name, errno, err);
    }
    enum status status = STATUS_OK;
    if (info.st_size > SPOOL_FILE_MAX) {
        status = fail(file->spool, file->name, EFBIG, err);
    } else if (!read_all(file->file, (size_t)info.st_size, &file->bytes)) {
        status = fail(file->spool, file->name, errno, err);
    } else {
        status = judge(file, err);
    }
    if (status != STATUS_OK) {
        let_go(file);
    }
    return status;
}

enum status spool_claim(struct spool *spool, int folder, struct spool_file *file, struct error *err)
{
    enum status status = STATUS_NOT_FOUND;

    while (status == STATUS_NOT_FOUND && spool->next < spool->count) {
        const char *name = spool->names[spool->next];
        *file = (struct spool_file){.spool = spool,
                                    .folder = folder,
                                    .index = spool->next,
                                    .old = ends_with(name, OLD_OUTBOX_SUFFIX)};
        snprintf(file->name, sizeof file->name, "%s", name);
        spool->next++;
        status = claim(file, err);
    }
    return status;
}

/* ---- moving on ------------------------------------------------------------------------------- */

enum record_piece spool_next(const struct spool_file *file, size_t at, struct spool_record *record,
                             size_t *end)
{
    const struct strbuf *bytes = &file->bytes;

    return file->old ? old_outbox_decode(file->nonce, (struct slice){bytes->data, bytes->bytes}, at,
                                         record, end)
                     : record_decode(bytes->data, bytes->bytes, at, record, end);
}

enum status spool_take(struct spool_file *file, size_t to, struct error *err)
{
    char sent[OLD_OUTBOX_SENT_BYTES];

    file->at = to;
    if (!file->old || to == file->bytes.bytes) {
        return STATUS_OK;
    }
    old_outbox_encode_sent(file->nonce, to, sent);
    return pwrite(file->file, sent, sizeof sent, OLD_OUTBOX_SENT_AT) == (ssize_t)sizeof sent
               ? STATUS_OK
               : fail(file->spool, "cannot be written", errno, err);
}

/* Writes what is left under a name that says how many they are; where another file has that, or it
 * would be too long, under its own. */
static enum status write_rest(struct spool_file *file, struct error *err)
{
    const struct slice rest = {file->bytes.data + file->at, file->bytes.bytes - file->at};
    char name[SPOOL_NAME_BYTES];
    struct spool_record record;
    size_t jobs = 0;
    size_t end = 0;

    for (size_t at = file->at; spool_next(file, at, &record, &end) != RECORD_END; at = end) {
        jobs++;
    }
    const char *dash = strrchr(file->name, '-');
    const char *stem_end = dash == NULL ? strrchr(file->name, '.') : dash;
    const int bytes = snprintf(name, sizeof name, "%.*s-%zu%s", (int)(stem_end - file->name),
                               file->name, jobs, suffix);
    const bool renamed = bytes < (int)sizeof name && strcmp(name, file->name) != 0 &&
                         write_file(file->folder, name, PLACE_IF_FREE, rest);
    if (renamed) {
        unlinkat(file->folder, file->name, 0);
        if (file->index < file->spool->count) {
            memcpy(file->spool->names[file->index], name, sizeof name);
        }
    } else if (!write_file(file->folder, file->name, PLACE_OURS, rest)) {
        return fail(file->spool, "the rest of a file cannot be written", errno, err);
    }
    file->spool->bytes -= (int64_t)(file->at - file->from);
    return STATUS_OK;
}

enum status spool_release(struct spool_file *file, bool again, struct error *err)
{
    struct spool *spool = file->spool;
    enum status status = STATUS_OK;

    if (file->at == file->bytes.bytes) {
        if (!remove_file(file)) {
            status = fail(spool, "a file cannot be removed", errno, err);
        }
    } else {
        if (file->old && file->at != file->from && fdatasync(file->file) != 0) {
            status = fail(spool, "cannot be written", errno, err);
        } else if (!file->old && file->at != file->from) {
            status = write_rest(file, err);
        }
        if (again && file->index < spool->next) {
            spool->next = file->index;
        }
    }
    let_go(file);
    return status;
}
