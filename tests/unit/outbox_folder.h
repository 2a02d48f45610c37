/* outbox_folder.h - an outbox in a folder of its own, and short words for what is in it.
 *
 *     TestSuite(outbox, .init = setup, .fini = teardown);
 */
#ifndef STILLHOUSE_TESTS_OUTBOX_FOLDER_H
#define STILLHOUSE_TESTS_OUTBOX_FOLDER_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "ok.h"
#include "spool/outbox.h"

#define HELPER static __attribute__((unused))

static char folder[200];
static struct outbox outbox;
static struct error err;

HELPER void setup(void)
{
    test_folder_make(folder, sizeof folder);
    OK(outbox_open(&outbox, folder, "sh", 1 << 20, &err));
}

HELPER void teardown(void)
{
    outbox_close(&outbox);
    test_folder_remove(folder);
}

HELPER enum status try_append(struct outbox *to, const char *id, size_t body_bytes)
{
    struct strbuf records = {0};
    char *body = malloc(body_bytes + 1);

    cr_assert_not_null(body);
    memset(body, 'x', body_bytes);
    const struct outbox_record record = {.base = {"sh:{distill}", 12},
                                         .id = {id, strlen(id)},
                                         .domain = {"legal", 5},
                                         .body = {body, body_bytes}};
    OK(outbox_encode_record(&record, &records, &err));
    const enum status status = outbox_append(to, &records, 1, &err);
    strbuf_free(&records);
    free(body);
    return status;
}

HELPER void append(const char *id)
{
    OK(try_append(&outbox, id, 10));
}

HELPER size_t count_files(size_t *bad)
{
    struct outbox_list list;

    OK(outbox_list(&outbox, &list, &err));
    const size_t count = list.count;
    if (bad != NULL) {
        *bad = list.bad;
    }
    outbox_list_free(&list);
    return count;
}

/* The path of segment `index`. */
HELPER const char *path_of(size_t index)
{
    static char path[200];
    struct outbox_list list;

    OK(outbox_list(&outbox, &list, &err));
    cr_assert_lt(index, list.count);
    snprintf(path, sizeof path, "%s/%s", folder, list.files[index].name);
    outbox_list_free(&list);
    return path;
}

HELPER size_t waiting(void)
{
    size_t count = 0;

    OK(outbox_waiting(&outbox, &count, &err));
    return count;
}

/* Takes every record as a sender does; their ids, one after the other. */
HELPER const char *send_all(void)
{
    static char ids[4096];
    struct outbox_list list;

    ids[0] = '\0';
    OK(outbox_list(&outbox, &list, &err));
    for (size_t i = 0; i < list.count; i++) {
        struct outbox_segment segment;
        const enum status status = outbox_segment_open(&outbox, list.files[i].name, &segment, &err);
        if (status == STATUS_NOT_FOUND) {
            continue;
        }
        cr_assert_eq(status, STATUS_OK, "%s", err.text);
        for (;;) {
            struct outbox_record record;
            size_t end = 0;
            const enum outbox_piece piece =
                outbox_decode(segment.nonce, segment.bytes.data, segment.bytes.bytes, segment.sent,
                              &record, &end);
            if (piece == OUTBOX_RECORD) {
                strncat(ids, record.id.data, record.id.bytes);
                OK(outbox_segment_advance(&segment, end, &err));
            } else if (piece == OUTBOX_DAMAGED) {
                OK(outbox_segment_set_aside(&segment, end, &err));
            } else {
                segment.sent = end;
                break;
            }
        }
        OK(outbox_segment_close(&segment, &err));
    }
    outbox_list_free(&list);
    return ids;
}

HELPER void write_at(const char *path, off_t at, const char *bytes, size_t count)
{
    const int file = open(path, O_WRONLY);

    cr_assert(file >= 0);
    cr_assert_eq(pwrite(file, bytes, count, at), (ssize_t)count);
    close(file);
}

HELPER off_t size_of(const char *path)
{
    struct stat info;

    cr_assert_eq(stat(path, &info), 0);
    return info.st_size;
}

#endif
