/* The spool's folder: what puts leave, also those of several processes at once. No Redis. */
#include "spool_folder.h"

#include <stdio.h>
#include <sys/file.h>
#include <sys/wait.h>

TestSuite(spool, .init = setup, .fini = teardown);

/* ---- putting ----------------------------------------------------------------------------- */

Test(spool, jobs_come_out_in_the_order_they_went_in_and_their_files_go)
{
    struct stat info;

    put("a");
    put("b");
    put("c");
    cr_assert_eq(count_files(), 3);
    cr_assert_eq(waiting(), 3);
    cr_assert_eq(spool.kept, 3);
    cr_assert_eq(stat(path_of(0), &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600);
    cr_assert_str_eq(send_all(), "abc");
    cr_assert_eq(count_files(), 0);
    put("d");
    cr_assert_str_eq(send_all(), "d");
}

Test(spool, what_one_process_after_the_other_leaves_is_in_order)
{
    for (int i = 0; i < 20; i++) {
        struct spool other;
        const char id[2] = {(char)('a' + i), '\0'};
        OK(spool_open(&other, folder, "sh", 1 << 20, &err));
        OK(try_put(&other, id, 5));
        spool_close(&other);
    }
    cr_assert_eq(waiting(), 20);
    cr_assert_str_eq(send_all(), "abcdefghijklmnopqrst");
}

Test(spool, a_file_that_another_holds_is_in_nobodys_way)
{
    put("a");
    const int held = open(path_of(0), O_RDWR);
    cr_assert(held >= 0 && flock(held, LOCK_EX) == 0);
    put("b");
    put("c");
    cr_assert_str_eq(send_all(), "bc");
    cr_assert_eq(waiting(), 1);
    close(held);
    cr_assert_str_eq(send_all(), "a");
}

/* As a call of many does. */
static void put_many(const char *ids)
{
    struct strbuf records = {0};

    for (const char *id = ids; *id != '\0'; id++) {
        const struct spool_record record = {.base = {"sh:{distill}", 12},
                                            .id = {id, 1},
                                            .domain = {"legal", 5},
                                            .body = {"body", 4}};
        OK(record_encode(&record, &records, &err));
    }
    OK(spool_put(&spool, &records, strlen(ids), SPOOL_ALL, &err));
    strbuf_free(&records);
}

Test(spool, a_call_of_many_is_one_file_and_says_how_many_they_are)
{
    put_many("abcdef");
    put("g");
    cr_assert_eq(count_files(), 2);
    cr_assert_eq(waiting(), 7);
    cr_assert_eq(spool.kept, 7);
    cr_assert_str_eq(send_all(), "abcdefg");
}

Test(spool, a_file_that_was_taken_in_part_has_the_rest_and_is_the_next)
{
    struct spool_file file;
    struct spool_record record;
    size_t end = 0;

    put_many("abcdef");
    put("g");
    cr_assert_eq(count_files(), 2);
    const int64_t bytes = spool.bytes;
    const int descriptor = spool_folder(&spool, &err);
    OK(spool_claim(&spool, descriptor, &file, &err));
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(spool_next(&file, file.at, &record, &end), RECORD_JOB);
        OK(spool_take(&file, end, &err));
    }
    OK(spool_release(&file, true, &err));
    cr_assert_lt(spool.bytes, bytes);
    OK(spool_claim(&spool, descriptor, &file, &err));
    cr_assert_eq(spool_next(&file, file.at, &record, &end), RECORD_JOB);
    cr_assert_eq(record.id.data[0], 'e');
    OK(spool_release(&file, false, &err));
    const int64_t counted = spool.bytes;
    cr_assert_eq(waiting(), 3);
    cr_assert_eq(spool.bytes, counted, "what was added up is what is there");
    cr_assert_eq(count_files(), 2);
    close(descriptor);
    cr_assert_str_eq(send_all(), "efg");
    cr_assert_eq(spool.bytes, 0);
}

/* A person may have put it there, or copied it. */
Test(spool, the_rest_of_a_file_takes_no_other_files_name)
{
    struct spool_file file;
    struct spool_record record;
    char name[SPOOL_NAME_BYTES];
    char path[300];
    size_t end = 0;

    put_many("abc");
    snprintf(name, sizeof name, "%s", strrchr(path_of(0), '/') + 1);
    put("z");
    memcpy(strrchr(name, '-'), "-2.jobs", sizeof "-2.jobs");
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(rename(path_of(1), path), 0);

    cr_assert_eq(count_files(), 2);
    const int descriptor = spool_folder(&spool, &err);
    OK(spool_claim(&spool, descriptor, &file, &err));
    cr_assert_str_eq(file.name, name, "\"-2\" comes before \"-3\"");
    OK(spool_release(&file, false, &err));
    OK(spool_claim(&spool, descriptor, &file, &err));
    cr_assert_eq(spool_next(&file, file.at, &record, &end), RECORD_JOB);
    OK(spool_take(&file, end, &err));
    OK(spool_release(&file, true, &err));
    close(descriptor);
    cr_assert_str_eq(send_all(), "zbc");
}

Test(spool, more_files_than_are_listed_at_once_come_out_in_order)
{
    enum { FILES = 40000 };
    char path[300];
    size_t jobs = 0;

    put("z");
    const char *first = strdup(path_of(0));
    for (int i = 0; i < FILES; i++) { /* the newest first */
        snprintf(path, sizeof path, "%s/%016d-1-a-2.jobs", folder, FILES - i);
        cr_assert_eq(link(first, path), 0);
    }
    OK(spool_look(&spool, &jobs, &err));
    cr_assert_eq(jobs, 2 * FILES + 1);
    cr_assert(spool.more);
    cr_assert_lt(spool.count, FILES);
    for (size_t i = 0; i < spool.count; i++) {
        cr_assert_eq(atoi(spool.names[i]), (int)i + 1, "%zu: %s", i, spool.names[i]);
    }
    free((char *)first);
}

Test(spool, files_of_another_prefix_count_and_are_not_listed)
{
    struct spool other;

    OK(spool_open(&other, folder, "other", 1 << 20, &err));
    OK(try_put(&other, "a", 5));
    put("b");
    cr_assert_eq(waiting(), 2);
    cr_assert_eq(count_files(), 1);
    cr_assert_str_eq(send_all(), "b");
    cr_assert_eq(waiting(), 1);
    cr_assert_gt(spool.bytes, 0);
    OK(spool_look(&other, NULL, &err));
    cr_assert_eq(other.count, 1);
    spool_close(&other);
}

Test(spool, its_bound_holds_and_says_what_fills_it)
{
    spool.max_bytes = 1000;
    size_t count = 0;
    while (try_put(&spool, "a", 100) == STATUS_OK) {
        cr_assert_lt(++count, 100);
    }
    cr_assert_eq(err.status, STATUS_FULL);
    cr_assert_not_null(strstr(err.text, "is full"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, folder), "%s", err.text);
    cr_assert_eq(waiting(), count);
    cr_assert_leq(spool.bytes, 1000);
    cr_assert_eq(strlen(send_all()), count);
    put("b");
}

Test(spool, a_clock_that_was_put_back_does_not_change_the_order)
{
    char later[200];
    char latest[200];

    put("a");
    snprintf(later, sizeof later, "%s/9999999999998-1-000000000000-1.jobs", folder);
    snprintf(latest, sizeof latest, "%s/9999999999999000-1-000000000000-1.jobs", folder);
    cr_assert_eq(rename(path_of(0), later), 0); /* as an old version would name it, in ms */
    cr_assert_str_eq(path_of(0), later);
    put("b");
    cr_assert_eq(rename(path_of(1), latest), 0);
    cr_assert_str_eq(path_of(0), later);
    put("c");
    cr_assert_str_eq(send_all(), "abc");
}

Test(spool, a_folder_that_was_removed_is_made_again)
{
    put("a");
    test_folder_remove(folder);
    cr_assert_eq(waiting(), 0);
    put("b");
    cr_assert_str_eq(send_all(), "b");
}

Test(spool, what_is_no_folder_or_has_no_parent_is_invalid_at_once)
{
    struct spool other;
    char path[200];

    put("a");
    cr_assert_eq(spool_open(&other, path_of(0), "sh", 1000, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, folder), "%s", err.text);
    snprintf(path, sizeof path, "%s/no/such", folder);
    cr_assert_eq(spool_open(&other, path, "sh", 1000, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "No such file"), "%s", err.text);
    OK(spool_open(&other, "", "sh", 1000, &err));
    cr_assert_null(other.folder);
}

Test(spool, a_folder_of_another_user_or_that_others_may_write_to_is_invalid)
{
    static const struct {
        mode_t mode;
        enum status status;
    } cases[] = {{0700, STATUS_OK},
                 {0755, STATUS_OK},
                 {0770, STATUS_INVALID},
                 {0702, STATUS_INVALID},
                 {01777, STATUS_INVALID}};
    struct spool other;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert_eq(chmod(folder, cases[i].mode), 0);
        cr_assert_eq(spool_open(&other, folder, "sh", 1000, &err), cases[i].status, "%o",
                     cases[i].mode);
        spool_close(&other);
    }
    cr_assert_not_null(strstr(err.text, "others may write to it"), "%s", err.text);
    cr_assert_eq(try_put(&spool, "a", 1), STATUS_FAILED, "it was opened before");
    cr_assert_eq(chmod(folder, 0700), 0);
    if (geteuid() == 0) {
        cr_assert_eq(chown(folder, 65534, 65534), 0);
        cr_assert_eq(spool_open(&other, folder, "sh", 1000, &err), STATUS_INVALID);
        cr_assert_eq(chown(folder, 0, 0), 0);
    }
}

Test(spool, a_file_larger_than_any_of_ours_is_not_read)
{
    struct spool_file file;

    put("a");
    cr_assert_eq(truncate(path_of(0), (off_t)1 << 30), 0);
    const int descriptor = spool_folder(&spool, &err);
    cr_assert_eq(spool_claim(&spool, descriptor, &file, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "File too large"), "%s", err.text);
    cr_assert_eq(spool_claim(&spool, descriptor, &file, &err), STATUS_NOT_FOUND);
    close(descriptor);
    cr_assert_eq(try_put(&spool, "b", SPOOL_PUT_MAX), STATUS_FULL);
}

Test(spool, a_relative_folder_stays_the_same_when_the_program_moves)
{
    struct spool other;

    char parent[sizeof folder];

    strcpy(parent, folder);
    char *name = strrchr(parent, '/');
    *name++ = '\0';
    cr_assert_eq(chdir(parent), 0);
    OK(spool_open(&other, name, "sh", 1 << 20, &err));
    cr_assert_eq(chdir("/"), 0);
    OK(try_put(&other, "a", 1));
    spool_close(&other);
    cr_assert_str_eq(send_all(), "a");
}

/* ---- many at once -------------------------------------------------------------------------- */

/* Each appends its letter so often. */
static void put_letters(char letter, int times)
{
    const char id[2] = {letter, '\0'};
    struct spool own;

    if (spool_open(&own, folder, "sh", 1 << 20, &err) != STATUS_OK) {
        _exit(1);
    }
    for (int i = 0; i < times; i++) {
        if (try_put(&own, id, 20) != STATUS_OK) {
            _exit(2);
        }
    }
    _exit(0);
}

Test(spool, processes_that_append_and_send_at_once_lose_nothing)
{
    enum { PROCESSES = 4, TIMES = 40 };
    char all[PROCESSES * TIMES + 1] = "";
    pid_t pids[PROCESSES];
    int left = PROCESSES;

    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        cr_assert(pids[i] >= 0);
        if (pids[i] == 0) {
            put_letters((char)('a' + i), TIMES);
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
    cr_assert_eq(count_files(), 0);
}
