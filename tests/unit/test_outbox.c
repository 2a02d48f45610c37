/* The outbox's folder: what appends leave, also those of several processes at once. No Redis. */
#include "outbox_folder.h"

#include <stdio.h>
#include <sys/file.h>
#include <sys/wait.h>

TestSuite(outbox, .init = setup, .fini = teardown);

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
        OK(outbox_open(&other, folder, "sh", 1 << 20, &err));
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
    cr_assert_eq(outbox_open(&other, path_of(0), "sh", 1000, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, folder), "%s", err.text);
    snprintf(path, sizeof path, "%s/no/such", folder);
    cr_assert_eq(outbox_open(&other, path, "sh", 1000, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "No such file"), "%s", err.text);
    OK(outbox_open(&other, "", "sh", 1000, &err));
    cr_assert_null(other.folder);
}

Test(outbox, a_folder_of_another_user_or_that_others_may_write_to_is_invalid)
{
    static const struct {
        mode_t mode;
        enum status status;
    } cases[] = {{0700, STATUS_OK},
                 {0755, STATUS_OK},
                 {0770, STATUS_INVALID},
                 {0702, STATUS_INVALID},
                 {01777, STATUS_INVALID}};
    struct outbox other;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(chmod(folder, cases[i].mode), 0);
        cr_assert_eq(outbox_open(&other, folder, "sh", 1000, &err), cases[i].status, "%o",
                     cases[i].mode);
        outbox_close(&other);
    }
    cr_assert_not_null(strstr(err.text, "others may write to it"), "%s", err.text);
    cr_assert_eq(try_append(&outbox, "a", 1), STATUS_FAILED, "it was opened before");
    cr_assert_eq(chmod(folder, 0700), 0);
    if (geteuid() == 0) {
        cr_assert_eq(chown(folder, 65534, 65534), 0);
        cr_assert_eq(outbox_open(&other, folder, "sh", 1000, &err), STATUS_INVALID);
        cr_assert_eq(chown(folder, 0, 0), 0);
    }
}

Test(outbox, a_file_larger_than_any_of_ours_is_not_read)
{
    struct outbox_segment segment;
    size_t count = 0;

    append("a");
    cr_assert_eq(truncate(path_of(0), (off_t)1 << 30), 0);
    cr_assert_eq(outbox_segment_open(&outbox, strrchr(path_of(0), '/') + 1, &segment, &err),
                 STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "File too large"), "%s", err.text);
    cr_assert_eq(outbox_waiting(&outbox, &count, &err), STATUS_FAILED);
    cr_assert_eq(try_append(&outbox, "b", OUTBOX_APPEND_MAX), STATUS_FULL);
}

Test(outbox, a_relative_folder_stays_the_same_when_the_program_moves)
{
    struct outbox other;

    char parent[sizeof folder];

    strcpy(parent, folder);
    char *name = strrchr(parent, '/');
    *name++ = '\0';
    cr_assert_eq(chdir(parent), 0);
    OK(outbox_open(&other, name, "sh", 1 << 20, &err));
    cr_assert_eq(chdir("/"), 0);
    OK(try_append(&other, "a", 1));
    outbox_close(&other);
    cr_assert_str_eq(send_all(), "a");
}

/* ---- many at once -------------------------------------------------------------------------- */

/* Each appends its letter so often. */
static void append_letters(char letter, int times)
{
    const char id[2] = {letter, '\0'};
    struct outbox own;

    if (outbox_open(&own, folder, "sh", 1 << 20, &err) != STATUS_OK) {
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
