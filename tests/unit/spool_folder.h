/* spool_folder.h - a spool in a folder of its own, and short words for what is in it.
 *
 *     TestSuite(spool, .init = setup, .fini = teardown);
 */
#ifndef STILLHOUSE_TESTS_SPOOL_FOLDER_H
#define STILLHOUSE_TESTS_SPOOL_FOLDER_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "ok.h"
#include "spool/spool.h"

#define HELPER static __attribute__((unused))

static char folder[200];
static struct spool spool;
static struct error err;

HELPER void setup(void)
{
    test_folder_make(folder, sizeof folder);
    OK(spool_open(&spool, folder, "sh", 1 << 20, &err));
}

HELPER void teardown(void)
{
    spool_close(&spool);
    test_folder_remove(folder);
}

HELPER enum status try_put(struct spool *to, const char *id, size_t body_bytes)
{
    struct strbuf records = {0};
    char *body = malloc(body_bytes + 1);

    cr_assert_not_null(body);
    memset(body, 'x', body_bytes);
    const struct spool_record record = {.base = {"sh:{distill}", 12},
                                        .id = {id, strlen(id)},
                                        .domain = {"legal", 5},
                                        .body = {body, body_bytes}};
    OK(record_encode(&record, &records, &err));
    const enum status status = spool_put(to, &records, 1, SPOOL_ALL, &err);
    strbuf_free(&records);
    free(body);
    return status;
}

HELPER void put(const char *id)
{
    OK(try_put(&spool, id, 10));
}

/* Files in a folder of the spool ("" = itself) whose name ends so. */
HELPER size_t count_like(const char *under, const char *end)
{
    char path[300];

    snprintf(path, sizeof path, "%s/%s", folder, under);
    return test_folder_count(path, end);
}

/* What there is to be sent. */
HELPER size_t count_files(void)
{
    OK(spool_look(&spool, NULL, &err));
    return spool.count;
}

/* The path of file `index`. */
HELPER const char *path_of(size_t index)
{
    static char path[300];

    cr_assert_lt(index, count_files());
    snprintf(path, sizeof path, "%s/%s", folder, spool.names[index]);
    return path;
}

HELPER size_t waiting(void)
{
    size_t count = 0;

    OK(spool_look(&spool, &count, &err));
    return count;
}

/* Takes every job as a sender does; their ids, one after the other. */
HELPER const char *send_all(void)
{
    static char ids[4096];
    struct spool_file file;
    enum status status = STATUS_OK;

    ids[0] = '\0';
    OK(spool_look(&spool, NULL, &err));
    const int descriptor = spool_folder(&spool, &err);
    cr_assert(descriptor >= 0 || spool.count == 0, "%s", err.text);
    while ((status = spool_claim(&spool, descriptor, &file, &err)) == STATUS_OK) {
        enum record_piece piece = RECORD_JOB;
        struct spool_record record;
        size_t end = 0;
        while ((piece = spool_next(&file, file.at, &record, &end)) != RECORD_END) {
            if (piece == RECORD_JOB) {
                strncat(ids, record.id.data, record.id.bytes);
                OK(spool_take(&file, end, &err));
            } else {
                OK(spool_set_aside(&file, end, "damaged", &err));
            }
        }
        file.at = end;
        OK(spool_release(&file, true, &err));
    }
    cr_assert_eq(status, STATUS_NOT_FOUND, "%s", err.text);
    if (descriptor >= 0) {
        close(descriptor);
    }
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
