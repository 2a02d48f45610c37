/* Opening an outbox, and putting jobs into it. */
#include "spool/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "spool/outbox_internal.h"

enum { FOLDER_MODE = 0700 };

/* ---- life ------------------------------------------------------------------------------------ */

enum status outbox_open(struct outbox *outbox, const char *folder, const char *prefix,
                        int64_t max_bytes, struct error *err)
{
    char text[96];

    *outbox = (struct outbox){
        .prefix = prefix, .max_bytes = max_bytes, .waiting = true, .batch = OUTBOX_BATCH_MAX};
    if (folder[0] == '\0') {
        return STATUS_OK;
    }
    bool good = mkdir(folder, FOLDER_MODE) == 0 || errno == EEXIST;
    if (good) {
        outbox->folder = realpath(folder, NULL); /* the program may change its own */
        good = outbox->folder != NULL && access(outbox->folder, R_OK | W_OK | X_OK) == 0;
    }
    int probe = good ? outbox_folder_open(outbox) : -1;
    if (probe < 0) {
        (void)error_set(
            err, STATUS_INVALID, "outbox \"%.160s\": %s", folder,
            good && errno == EPERM
                ? "another user's, or others may write to it; expected our own, mode 0700"
                : strerror_r(errno, text, sizeof text));
        outbox_close(outbox);
        return STATUS_INVALID;
    }
    close(probe);
    return STATUS_OK;
}

void outbox_close(struct outbox *outbox)
{
    free(outbox->folder);
    outbox->folder = NULL;
}

bool outbox_is_ours(const struct outbox *outbox, struct slice base)
{
    const size_t bytes = strlen(outbox->prefix);

    return base.bytes > bytes + 2 && memcmp(base.data, outbox->prefix, bytes) == 0 &&
           memcmp(base.data + bytes, ":{", 2) == 0;
}

void outbox_forget_counts(struct outbox *outbox)
{
    outbox->kept = 0;
    outbox->sent = 0;
    outbox->aside = 0;
}

void outbox_start_over(struct outbox *outbox)
{
    outbox->waiting = true;
    outbox->look_again_ms = 0;
    outbox->batch = OUTBOX_BATCH_MAX;
    outbox->tail[0] = '\0';
}

/* ---- where to append ------------------------------------------------------------------------- */

/* The file that an append goes to: locked, its whole records ending at `end`. */
struct place {
    int folder;
    int file;
    char name[OUTBOX_NAME_BYTES];
    struct stat info;
    uint64_t nonce;
    size_t end;
    bool made; /* just now */
};

/* Finds the end of the last whole record. False where the file is better left to be sent only: jobs
 * of another prefix would stand in the way of ours. */
static bool find_end(const struct outbox *outbox, struct place *place)
{
    const size_t bytes = (size_t)place->info.st_size;
    bool ours = true;
    struct strbuf data = {0};
    struct outbox_record record;
    uint64_t sent = 0;
    size_t at = OUTBOX_HEADER_BYTES;
    size_t next = at;
    enum outbox_piece piece = OUTBOX_DAMAGED;

    if (outbox_read(place->file, 0, bytes, &data) && data.bytes == bytes &&
        outbox_decode_header(data.data, bytes, &place->nonce, &sent) == OUTBOX_SEGMENT) {
        while ((piece = outbox_decode(place->nonce, data.data, bytes, at, &record, &next)) ==
               OUTBOX_RECORD) {
            ours = ours && outbox_is_ours(outbox, record.base);
            at = next;
        }
    }
    strbuf_free(&data);
    place->end = at;
    return ours && (piece == OUTBOX_END || piece == OUTBOX_TORN) && sent <= at;
}

/* True when nobody has touched the file since our own last append to it. */
static bool is_as_left(const struct outbox *outbox, const struct place *place)
{
    return strcmp(outbox->tail, place->name) == 0 && outbox->tail_inode == place->info.st_ino &&
           outbox->tail_end == (size_t)place->info.st_size;
}

static bool take_nonce(struct place *place)
{
    struct strbuf data = {0};
    uint64_t sent = 0;

    const bool good =
        outbox_read(place->file, 0, OUTBOX_HEADER_BYTES, &data) &&
        outbox_decode_header(data.data, data.bytes, &place->nonce, &sent) == OUTBOX_SEGMENT;
    strbuf_free(&data);
    place->end = (size_t)place->info.st_size;
    return good;
}

static bool take_file(const struct outbox *outbox, const struct outbox_file *file,
                      struct place *place)
{
    if (file->bytes < OUTBOX_HEADER_BYTES || file->bytes >= OUTBOX_SEGMENT_BYTES) {
        return false;
    }
    snprintf(place->name, sizeof place->name, "%s", file->name);
    place->file = outbox_lock(place->folder, file->name, &place->info);
    if (place->file < 0) {
        return false;
    }
    if (place->info.st_size >= OUTBOX_HEADER_BYTES && place->info.st_size < OUTBOX_SEGMENT_BYTES &&
        (is_as_left(outbox, place) ? take_nonce(place) : find_end(outbox, place)) &&
        ((size_t)place->info.st_size == place->end ||
         ftruncate(place->file, (off_t)place->end) == 0)) {
        return true;
    }
    outbox_unlock(place->file);
    return false;
}

static uint64_t make_nonce(const char *name)
{
    uint64_t nonce = 0;

    if (getrandom(&nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce) {
        nonce = (uint64_t)clock_now_ns() ^ ((uint64_t)outbox_crc32c(0, name, strlen(name)) << 32);
    }
    return nonce;
}

static bool make_file(const char *last, struct place *place)
{
    char header[OUTBOX_HEADER_BYTES];

    place->file = outbox_create(place->folder, last, place->name, &place->info);
    if (place->file < 0) {
        return false;
    }
    place->made = true;
    place->nonce = make_nonce(place->name);
    place->end = OUTBOX_HEADER_BYTES;
    outbox_encode_header(place->nonce, header);
    return outbox_write(place->file, header, sizeof header, 0) == 0;
}

/* Our own last one, else the newest, else a new one. False with errno; a file that was made is to
 * be given up then too. */
static bool find_place(const struct outbox *outbox, const struct outbox_list *list,
                       struct place *place)
{
    const struct outbox_file *last = list->count == 0 ? NULL : &list->files[list->count - 1];

    for (size_t i = list->count; i-- > 0;) {
        if (strcmp(list->files[i].name, outbox->tail) == 0 &&
            take_file(outbox, &list->files[i], place)) {
            return true;
        }
    }
    if (last != NULL && strcmp(last->name, outbox->tail) != 0 && take_file(outbox, last, place)) {
        return true;
    }
    return make_file(last == NULL ? "" : last->name, place);
}

/* ---- appending ------------------------------------------------------------------------------- */

/* Takes an append back that failed. */
static void give_up(struct outbox *outbox, const struct place *place)
{
    outbox->tail[0] = '\0';
    if (place->file < 0) {
        return;
    }
    if (place->made) {
        unlinkat(place->folder, place->name, 0);
    } else if (ftruncate(place->file, (off_t)place->end) != 0) {
        return; /* the next one to append cuts it off */
    }
}

static bool write_records(struct place *place, struct strbuf *records)
{
    outbox_seal(place->nonce, records->data, records->bytes);
    return outbox_write(place->file, records->data, records->bytes, place->end) == 0 &&
           fdatasync(place->file) == 0 && (!place->made || fsync(place->folder) == 0);
}

static enum status append_to(struct outbox *outbox, const struct outbox_list *list,
                             struct strbuf *records, struct error *err)
{
    struct place place = {.file = -1, .folder = outbox_folder_open(outbox)};

    if (place.folder < 0 && errno == ENOENT && mkdir(outbox->folder, FOLDER_MODE) == 0) {
        place.folder = outbox_folder_open(outbox);
    }
    if (place.folder < 0) {
        return outbox_fail(outbox, "cannot be opened", errno, err);
    }
    enum status status = STATUS_OK;
    if (find_place(outbox, list, &place) && write_records(&place, records)) {
        memcpy(outbox->tail, place.name, sizeof outbox->tail);
        outbox->tail_inode = place.info.st_ino;
        outbox->tail_end = place.end + records->bytes;
    } else {
        status = outbox_fail(outbox, "cannot be written", errno, err);
        give_up(outbox, &place);
    }
    if (place.file >= 0) {
        outbox_unlock(place.file);
    }
    close(place.folder);
    return status;
}

enum status outbox_append(struct outbox *outbox, struct strbuf *records, size_t count,
                          struct error *err)
{
    struct outbox_list list;

    if (records->bytes == 0) {
        return STATUS_OK;
    }
    if (records->bytes > OUTBOX_APPEND_MAX) {
        return error_set(err, STATUS_FULL, "the outbox takes at most %d bytes at once, not %zu",
                         OUTBOX_APPEND_MAX, records->bytes);
    }
    enum status status = outbox_list(outbox, &list, err);
    if (status == STATUS_OK && list.total_bytes + (int64_t)records->bytes > outbox->max_bytes) {
        status = error_set(
            err, STATUS_FULL, "the outbox \"%.120s\" is full: %lld bytes%s, at most %lld",
            outbox->folder, (long long)list.total_bytes,
            list.bad > 0 ? " (files *.bad among them)" : "", (long long)outbox->max_bytes);
    }
    if (status == STATUS_OK) {
        status = append_to(outbox, &list, records, err);
    }
    outbox_list_free(&list);
    if (status == STATUS_OK) {
        strbuf_reset(records);
        outbox->waiting = true;
        outbox->kept += count;
    }
    return status;
}
