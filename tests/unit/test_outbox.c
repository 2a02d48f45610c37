/* The outbox's folder: what appends leave, and what becomes of files that crashes, other processes
 * and full disks left. No Redis. */
#include "outbox.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"
#include "ok.h"

static char folder[200];
static struct outbox outbox;
static struct error err;

static void setup(void)
{
    test_folder_make(folder, sizeof folder);
    OK(outbox_open(&outbox, folder, 1 << 20, &err));
}

static void teardown(void)
{
    outbox_close(&outbox);
    test_folder_remove(folder);
}

TestSuite(outbox, .init = setup, .fini = teardown);

/* ---- words --------------------------------------------------------------------------------- */

static enum status try_append(struct outbox *to, const char *id, size_t body_bytes)
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

static void append(const char *id)
{
    OK(try_append(&outbox, id, 10));
}

static size_t count_files(size_t *bad)
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
static const char *path_of(size_t index)
{
    static char path[200];
    struct outbox_list list;

    OK(outbox_list(&outbox, &list, &err));
    cr_assert_lt(index, list.count);
    snprintf(path, sizeof path, "%s/%s", folder, list.files[index].name);
    outbox_list_free(&list);
    return path;
}

static size_t waiting(void)
{
    size_t count = 0;

    OK(outbox_waiting(&outbox, &count, &err));
    return count;
}

/* Takes every record as a sender does; their ids, one after the other. */
static const char *send_all(void)
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

static void write_at(const char *path, off_t at, const char *bytes, size_t count)
{
    const int file = open(path, O_WRONLY);

    cr_assert(file >= 0);
    cr_assert_eq(pwrite(file, bytes, count, at), (ssize_t)count);
    close(file);
}

static off_t size_of(const char *path)
{
    struct stat info;

    cr_assert_eq(stat(path, &info), 0);
    return info.st_size;
}

/* ---- appending ----------------------------------------------------------------------------- */

Test(outbox, jobs_come_out_in_the_order_they_went_in_and_the_file_goes_with_the_last)
{
    struct stat info;

    append("a");
    append("b");
    append("c");
    cr_assert_eq(count_files(NULL), 1);
    cr_assert_eq(waiting(), 3);
    cr_assert_eq(outbox.kept, 3);
    cr_assert_eq(stat(path_of(0), &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600);
    cr_assert_str_eq(send_all(), "abc");
    cr_assert_eq(count_files(NULL), 0);
    append("d");
    cr_assert_str_eq(send_all(), "d");
}

Test(outbox, the_next_process_appends_to_what_the_last_one_left)
{
    for (int i = 0; i < 20; i++) {
        struct outbox other;
        const char id[2] = {(char)('a' + i), '\0'};
        OK(outbox_open(&other, folder, 1 << 20, &err));
        OK(try_append(&other, id, 5));
        outbox_close(&other);
    }
    cr_assert_eq(count_files(NULL), 1);
    cr_assert_str_eq(send_all(), "abcdefghijklmnopqrst");
}

Test(outbox, a_segment_that_another_holds_is_in_nobodys_way)
{
    append("a");
    const int held = open(path_of(0), O_RDWR);
    cr_assert(held >= 0 && flock(held, LOCK_EX) == 0);
    append("b");
    append("c");
    cr_assert_eq(count_files(NULL), 2);
    cr_assert_str_eq(send_all(), "bc");
    cr_assert_eq(waiting(), 1);
    close(held);
    cr_assert_str_eq(send_all(), "a");
}

Test(outbox, a_segment_takes_no_more_than_its_share_and_order_goes_on_in_the_next)
{
    outbox.max_bytes = 64 << 20;
    for (int i = 0; i < 26; i++) {
        const char id[2] = {(char)('a' + i), '\0'};
        OK(try_append(&outbox, id, 200000));
    }
    cr_assert_geq(count_files(NULL), 4);
    cr_assert_lt(size_of(path_of(0)), OUTBOX_SEGMENT_BYTES + 200100);
    cr_assert_str_eq(send_all(), "abcdefghijklmnopqrstuvwxyz");
}

Test(outbox, its_bound_holds_and_says_what_fills_it)
{
    outbox.max_bytes = 1000;
    size_t count = 0;
    while (try_append(&outbox, "a", 100) == STATUS_OK) {
        cr_assert_lt(++count, 100);
    }
    cr_assert_eq(err.status, STATUS_FULL);
    cr_assert_not_null(strstr(err.text, "is full"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, folder), "%s", err.text);
    cr_assert_leq(size_of(path_of(0)), 1000);
    cr_assert_eq(waiting(), count);
    cr_assert_eq(strlen(send_all()), count);
    append("b");
}

Test(outbox, a_clock_that_was_put_back_does_not_change_the_order)
{
    char later[200];

    append("a");
    snprintf(later, sizeof later, "%s/9999999999998-1-000000000000.outbox", folder);
    cr_assert_eq(rename(path_of(0), later), 0);
    const int held = open(later, O_RDWR);
    cr_assert(held >= 0 && flock(held, LOCK_EX) == 0);
    append("b");
    close(held);
    cr_assert_str_eq(path_of(0), later);
    cr_assert_str_eq(send_all(), "ab");
}

Test(outbox, a_folder_that_was_removed_is_made_again)
{
    append("a");
    test_folder_remove(folder);
    cr_assert_eq(waiting(), 0);
    append("b");
    cr_assert_str_eq(send_all(), "b");
}

Test(outbox, what_is_no_folder_or_has_no_parent_is_invalid_at_once)
{
    struct outbox other;
    char path[200];

    append("a");
    cr_assert_eq(outbox_open(&other, path_of(0), 1000, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, folder), "%s", err.text);
    snprintf(path, sizeof path, "%s/no/such", folder);
    cr_assert_eq(outbox_open(&other, path, 1000, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "No such file"), "%s", err.text);
    OK(outbox_open(&other, "", 1000, &err));
    cr_assert_null(other.folder);
}

Test(outbox, a_relative_folder_stays_the_same_when_the_program_moves)
{
    struct outbox other;

    char parent[sizeof folder];

    strcpy(parent, folder);
    char *name = strrchr(parent, '/');
    *name++ = '\0';
    cr_assert_eq(chdir(parent), 0);
    OK(outbox_open(&other, name, 1 << 20, &err));
    cr_assert_eq(chdir("/"), 0);
    OK(try_append(&other, "a", 1));
    outbox_close(&other);
    cr_assert_str_eq(send_all(), "a");
}

/* ---- a disk that is full ------------------------------------------------------------------- */

static void limit_files(rlim_t bytes)
{
    const struct rlimit limit = {bytes, RLIM_INFINITY};

    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(outbox, an_append_that_the_disk_does_not_take_is_taken_back_and_kills_nobody)
{
    append("a");
    const off_t before = size_of(path_of(0));
    limit_files((rlim_t)before + 50);
    cr_assert_eq(signal(SIGXFSZ, SIG_DFL) == SIG_ERR, 0);
    cr_assert_eq(try_append(&outbox, "b", 1000), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "File too large"), "%s", err.text);
    cr_assert_eq(size_of(path_of(0)), before);
    limit_files(10); /* nor can a new file's header be written */
    outbox_close(&outbox);
    OK(outbox_open(&outbox, folder, 1 << 20, &err));
    cr_assert_eq(unlink(path_of(0)), 0);
    cr_assert_eq(try_append(&outbox, "c", 10), STATUS_FAILED);
    cr_assert_eq(count_files(NULL), 0);
    limit_files(RLIM_INFINITY);
    append("d");
    cr_assert_str_eq(send_all(), "d");
}

Test(outbox, what_cannot_be_put_aside_stays)
{
    struct outbox_segment segment;
    struct outbox_list list;

    append("a");
    append("b");
    OK(outbox_list(&outbox, &list, &err));
    OK(outbox_segment_open(&outbox, list.files[0].name, &segment, &err));
    limit_files(1);
    cr_assert_eq(outbox_segment_set_aside(&segment, segment.bytes.bytes, &err), STATUS_FAILED);
    limit_files(RLIM_INFINITY);
    OK(outbox_segment_close(&segment, &err));
    outbox_list_free(&list);
    size_t bad = 0;
    (void)count_files(&bad);
    cr_assert_eq(bad, 0);
    cr_assert_str_eq(send_all(), "ab");
}

/* ---- what crashes and bad disks leave ------------------------------------------------------ */

Test(outbox, a_torn_end_is_cut_off_before_the_next_append)
{
    append("a");
    append("b");
    const off_t whole = size_of(path_of(0));
    append("c");
    for (off_t cut = size_of(path_of(0)) - 1; cut > whole; cut--) {
        cr_assert_eq(truncate(path_of(0), cut), 0);
        cr_assert_eq(waiting(), 2);
    }
    append("d"); /* by the one who knows the file, */
    cr_assert_eq(truncate(path_of(0), size_of(path_of(0)) - 1), 0);
    outbox.tail[0] = '\0'; /* and by one who does not */
    append("e");
    cr_assert_eq(count_files(NULL), 1);
    cr_assert_str_eq(send_all(), "abe");
    cr_assert_eq(outbox.aside, 0);
}

Test(outbox, a_torn_end_goes_with_the_last_record_before_it)
{
    append("a");
    append("b");
    cr_assert_eq(truncate(path_of(0), size_of(path_of(0)) - 1), 0);
    cr_assert_str_eq(send_all(), "a");
    size_t bad = 0;
    cr_assert_eq(count_files(&bad), 0);
    cr_assert_eq(bad, 0);
}

Test(outbox, a_damaged_record_is_put_aside_and_the_others_go)
{
    size_t bad = 0;

    append("a");
    const off_t at = size_of(path_of(0));
    append("b");
    append("c");
    write_at(path_of(0), at + 30, "!", 1);
    outbox.tail[0] = '\0';
    append("d"); /* not into a damaged file */
    cr_assert_eq(count_files(NULL), 2);
    cr_assert_str_eq(send_all(), "acd");
    cr_assert_eq(count_files(&bad), 0);
    cr_assert_eq(bad, 1);
    cr_assert_eq(outbox.aside, 1);
    append("e");
    cr_assert_str_eq(send_all(), "e");
}

Test(outbox, a_file_whose_header_is_damaged_is_put_aside_whole)
{
    size_t bad = 0;

    append("a");
    write_at(path_of(0), 3, "!", 1);
    cr_assert_eq(waiting(), 0);
    append("b");
    cr_assert_str_eq(send_all(), "b");
    cr_assert_eq(count_files(&bad), 0);
    cr_assert_eq(bad, 1);
    cr_assert_eq(outbox.aside, 1);
}

Test(outbox, a_lost_note_of_what_was_sent_means_that_it_is_sent_again)
{
    struct outbox_segment segment;
    struct outbox_record record;
    struct outbox_list list;
    size_t end = 0;

    append("a");
    append("b");
    OK(outbox_list(&outbox, &list, &err));
    OK(outbox_segment_open(&outbox, list.files[0].name, &segment, &err));
    cr_assert_eq(outbox_decode(segment.nonce, segment.bytes.data, segment.bytes.bytes, segment.sent,
                               &record, &end),
                 OUTBOX_RECORD);
    OK(outbox_segment_advance(&segment, end, &err));
    OK(outbox_segment_close(&segment, &err));
    outbox_list_free(&list);
    cr_assert_eq(waiting(), 1);
    write_at(path_of(0), OUTBOX_SENT_AT + 1, "!", 1);
    cr_assert_eq(waiting(), 2);
    cr_assert_str_eq(send_all(), "ab");
}

Test(outbox, an_empty_leftover_is_removed_and_a_later_version_left_alone)
{
    char header[OUTBOX_HEADER_BYTES];
    char path[200];

    snprintf(path, sizeof path, "%s/1-1-1.outbox", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cr_assert_str_eq(send_all(), "");
    cr_assert_neq(access(path, F_OK), 0);

    outbox_encode_header(1, header);
    header[7] = '7';
    const uint32_t crc = outbox_crc32c(0, header, 16);
    for (size_t i = 0; i < 4; i++) {
        header[16 + i] = (char)(unsigned char)(crc >> (8 * i));
    }
    close(open(path, O_CREAT | O_WRONLY, 0600));
    write_at(path, 0, header, sizeof header);
    append("a");
    cr_assert_str_eq(send_all(), "a");
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(size_of(path), OUTBOX_HEADER_BYTES);
    cr_assert_eq(waiting(), 0);
}

Test(outbox, what_is_no_plain_file_is_not_touched)
{
    char path[200];
    char link[200];

    append("a");
    snprintf(path, sizeof path, "%s/0-fifo.outbox", folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    snprintf(link, sizeof link, "%s/9-link.outbox", folder);
    cr_assert_eq(symlink("/dev/zero", link), 0);
    cr_assert_eq(count_files(NULL), 1);
    append("b");
    cr_assert_str_eq(send_all(), "ab");
}

/* ---- many at once -------------------------------------------------------------------------- */

/* Each appends its letter so often. */
static void append_letters(char letter, int times)
{
    const char id[2] = {letter, '\0'};
    struct outbox own;

    if (outbox_open(&own, folder, 1 << 20, &err) != STATUS_OK) {
        _exit(1);
    }
    for (int i = 0; i < times; i++) {
        if (try_append(&own, id, 20) != STATUS_OK) {
            _exit(2);
        }
    }
    _exit(0);
}

Test(outbox, processes_that_append_and_send_at_once_lose_nothing)
{
    enum { PROCESSES = 4, TIMES = 40 };
    char all[PROCESSES * TIMES + 1] = "";
    pid_t pids[PROCESSES];
    int left = PROCESSES;

    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        cr_assert(pids[i] >= 0);
        if (pids[i] == 0) {
            append_letters((char)('a' + i), TIMES);
        }
    }
    while (left > 0) {
        strncat(all, send_all(), sizeof all - strlen(all) - 1);
        for (int i = 0; i < PROCESSES; i++) {
            int code = 0;
            if (pids[i] > 0 && waitpid(pids[i], &code, WNOHANG) == pids[i]) {
                cr_assert_eq(code, 0, "%d", code);
                pids[i] = 0;
                left--;
            }
        }
    }
    strncat(all, send_all(), sizeof all - strlen(all) - 1);
    cr_assert_eq(strlen(all), PROCESSES * TIMES);
    for (int i = 0; i < PROCESSES; i++) {
        int seen = 0;
        for (const char *at = all; *at != '\0'; at++) {
            seen += *at == 'a' + i;
        }
        cr_assert_eq(seen, TIMES);
    }
    cr_assert_eq(count_files(NULL), 0);
}
