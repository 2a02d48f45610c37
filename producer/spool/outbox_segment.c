/* Sending from a segment: read, move on, put aside what is no good, remove what is done. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spool/outbox_internal.h"

/* ---- names of what is put aside -------------------------------------------------------------- */

static void bad_name(const struct outbox_segment *segment, const char *part,
                     char out[OUTBOX_NAME_BYTES + 32])
{
    const char *dot = strrchr(segment->name, '.');

    snprintf(out, OUTBOX_NAME_BYTES + 32, "%.*s%s.bad", (int)(dot - segment->name), segment->name,
             part);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void release(struct outbox_segment *segment)
{
    if (segment->file >= 0) {
        outbox_unlock(segment->file);
    }
    if (segment->folder >= 0) {
        close(segment->folder);
    }
    strbuf_free(&segment->bytes);
    segment->file = -1;
    segment->folder = -1;
}

/* Judges what was read. NOT_FOUND where there is nothing to send from it. */
static enum status take_header(struct outbox_segment *segment, struct error *err)
{
    const struct strbuf *bytes = &segment->bytes;
    char aside[OUTBOX_NAME_BYTES + 32];
    uint64_t sent = 0;

    if (bytes->bytes < OUTBOX_HEADER_BYTES) { /* a crash right after it was made */
        unlinkat(segment->folder, segment->name, 0);
        return error_set(err, STATUS_NOT_FOUND, "\"%s\" is empty", segment->name);
    }
    switch (outbox_decode_header(bytes->data, bytes->bytes, &segment->nonce, &sent)) {
    case OUTBOX_SEGMENT:
        segment->sent = sent > bytes->bytes ? bytes->bytes : (size_t)sent;
        return STATUS_OK;
    case OUTBOX_NEWER:
        return error_set(err, STATUS_NOT_FOUND, "\"%s\" is of a later version", segment->name);
    case OUTBOX_UNKNOWN:
        break;
    }
    bad_name(segment, "", aside);
    if (renameat(segment->folder, segment->name, segment->folder, aside) != 0) {
        return outbox_fail(segment->outbox, "a file cannot be put aside", errno, err);
    }
    segment->outbox->aside++;
    return error_set(err, STATUS_NOT_FOUND, "\"%s\" is no segment", segment->name);
}

enum status outbox_segment_open(struct outbox *outbox, const char *name,
                                struct outbox_segment *segment, struct error *err)
{
    struct stat info;

    *segment =
        (struct outbox_segment){.outbox = outbox, .file = -1, .folder = outbox_folder_open(outbox)};
    snprintf(segment->name, sizeof segment->name, "%s", name);
    if (segment->folder < 0) {
        return outbox_fail(outbox, "cannot be opened", errno, err);
    }
    segment->file = outbox_lock(segment->folder, name, &info);
    enum status status = STATUS_OK;
    if (segment->file < 0) {
        status = errno == EWOULDBLOCK || errno == ENOENT
                     ? error_set(err, STATUS_NOT_FOUND, "\"%s\" is held by another process", name)
                     : outbox_fail(outbox, name, errno, err);
    } else if (info.st_size > OUTBOX_FILE_MAX) {
        status = outbox_fail(outbox, name, EFBIG, err);
    } else if (!outbox_read(segment->file, 0, (size_t)info.st_size, &segment->bytes)) {
        status = outbox_fail(outbox, name, errno, err);
    } else {
        status = take_header(segment, err);
    }
    if (status != STATUS_OK) {
        release(segment);
    }
    return status;
}

/* ---- moving on ------------------------------------------------------------------------------- */

enum status outbox_segment_advance(struct outbox_segment *segment, size_t to, struct error *err)
{
    char sent[OUTBOX_SENT_BYTES];

    segment->sent = to;
    segment->moved = true;
    outbox_encode_sent(segment->nonce, to, sent);
    if (outbox_write(segment->file, sent, sizeof sent, OUTBOX_SENT_AT) != 0) {
        return outbox_fail(segment->outbox, "cannot be written", errno, err);
    }
    return STATUS_OK;
}

enum status outbox_segment_set_aside(struct outbox_segment *segment, size_t to, struct error *err)
{
    char name[OUTBOX_NAME_BYTES + 32];
    char part[24];

    snprintf(part, sizeof part, "-%zu", segment->sent);
    bad_name(segment, part, name);
    const int file =
        openat(segment->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0 ||
        outbox_write(file, segment->bytes.data + segment->sent, to - segment->sent, 0) != 0 ||
        fdatasync(file) != 0 || fsync(segment->folder) != 0) {
        const int saved = errno;
        if (file >= 0) {
            close(file);
            unlinkat(segment->folder, name, 0);
        }
        return outbox_fail(segment->outbox, "a damaged part cannot be put aside", saved, err);
    }
    close(file);
    segment->outbox->aside++;
    return outbox_segment_advance(segment, to, err);
}

enum status outbox_segment_close(struct outbox_segment *segment, struct error *err)
{
    enum status status = STATUS_OK;

    if (segment->sent == segment->bytes.bytes) {
        if (unlinkat(segment->folder, segment->name, 0) != 0) {
            status = outbox_fail(segment->outbox, "an empty file cannot be removed", errno, err);
        }
    } else if (segment->moved && fdatasync(segment->file) != 0) {
        status = outbox_fail(segment->outbox, "cannot be written", errno, err);
    }
    release(segment);
    return status;
}

/* ---- counting -------------------------------------------------------------------------------- */

/* Without a lock: what others hold counts as it stands now. A file that is gone counts for none. */
static enum status count_file(const struct outbox *outbox, int folder,
                              const struct outbox_file *file, size_t *count, struct error *err)
{
    struct strbuf data = {0};
    uint64_t nonce = 0;
    uint64_t sent = 0;
    enum status status = STATUS_OK;

    const int descriptor =
        openat(folder, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) {
        return errno == ENOENT ? STATUS_OK : outbox_fail(outbox, file->name, errno, err);
    }
    if ((off_t)file->bytes > OUTBOX_FILE_MAX || !outbox_read(descriptor, 0, file->bytes, &data)) {
        status = outbox_fail(outbox, file->name, errno, err);
    } else if (outbox_decode_header(data.data, data.bytes, &nonce, &sent) == OUTBOX_SEGMENT) {
        *count += outbox_count(nonce, data.data, data.bytes, (size_t)sent);
    }
    strbuf_free(&data);
    close(descriptor);
    return status;
}

enum status outbox_waiting(const struct outbox *outbox, size_t *count, struct error *err)
{
    struct outbox_list list;

    *count = 0;
    enum status status = outbox_list(outbox, &list, err);
    const int folder = list.count == 0 ? -1 : outbox_folder_open(outbox);
    for (size_t i = 0; folder >= 0 && status == STATUS_OK && i < list.count; i++) {
        status = count_file(outbox, folder, &list.files[i], count, err);
    }
    if (folder >= 0) {
        close(folder);
    }
    outbox_list_free(&list);
    return status;
}
