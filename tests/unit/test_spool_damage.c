/* The spool on a full disk, and what becomes of files that crashes and bad disks left. No Redis. */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <utime.h>

#include "old_segment.h"
#include "spool_folder.h"

TestSuite(spool_damage, .init = setup, .fini = teardown);

/* ---- a disk that is full ------------------------------------------------------------------- */

static void limit_files(rlim_t bytes)
{
    const struct rlimit limit = {bytes, RLIM_INFINITY};

    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(spool_damage, a_put_that_the_disk_does_not_take_leaves_nothing_and_kills_nobody)
{
    put("a");
    limit_files(50);
    cr_assert_eq(signal(SIGXFSZ, SIG_DFL) == SIG_ERR, 0);
    cr_assert_eq(try_put(&spool, "b", 1000), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "File too large"), "%s", err.text);
    limit_files(5); /* nor can the first bytes be written */
    cr_assert_eq(try_put(&spool, "c", 10), STATUS_FAILED);
    cr_assert_eq(count_files(), 1);
    cr_assert_eq(count_like("", ".tmp"), 0);
    limit_files(RLIM_INFINITY);
    put("d");
    cr_assert_str_eq(send_all(), "ad");
}

Test(spool_damage, what_cannot_be_put_aside_or_written_anew_stays)
{
    struct spool_file file;
    struct spool_record record;
    size_t end = 0;

    put("a");
    cr_assert_eq(count_files(), 1);
    const int descriptor = spool_folder(&spool, &err);
    OK(spool_claim(&spool, descriptor, &file, &err));
    limit_files(1);
    cr_assert_eq(spool_set_aside(&file, file.bytes.bytes, "why", &err), STATUS_FAILED);
    cr_assert_eq(spool_next(&file, file.at, &record, &end), RECORD_JOB);
    OK(spool_release(&file, true, &err));
    limit_files(RLIM_INFINITY);
    close(descriptor);
    cr_assert_eq(count_like("bad", ".jobs"), 0);
    cr_assert_str_eq(send_all(), "a");
}

/* ---- what crashes and bad disks leave ------------------------------------------------------ */

Test(spool_damage, what_a_process_killed_in_the_middle_leaves_is_no_file_and_goes_in_time)
{
    char path[300];

    snprintf(path, sizeof path, "%s/1-1-1-1.jobs.tmp", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    put("a");
    cr_assert_eq(count_files(), 1);
    cr_assert_eq(access(path, F_OK), 0);
    const struct utimbuf long_ago = {1, 1};
    cr_assert_eq(utime(path, &long_ago), 0);
    cr_assert_str_eq(send_all(), "a");
    cr_assert_neq(access(path, F_OK), 0);
}

Test(spool_damage, a_damaged_job_is_put_aside_with_the_reason_and_the_others_go)
{
    put("a");
    put("b");
    put("c");
    write_at(path_of(1), 30, "!", 1);
    cr_assert_str_eq(send_all(), "ac");
    cr_assert_eq(count_files(), 0);
    cr_assert_eq(count_like("bad", ".jobs"), 1);
    cr_assert_eq(count_like("bad", ".txt"), 1);
    cr_assert_eq(spool.aside, 1);
    cr_assert_gt(spool.bytes, 0, "bad/ counts");
    put("e");
    cr_assert_str_eq(send_all(), "e");
}

/* As often as somebody likes to. */
Test(spool_damage, a_refused_job_that_is_moved_back_is_tried_again)
{
    enum { TIMES = 10 };
    struct spool_file file;
    struct spool_record record;
    char command[500];
    size_t end = 0;

    snprintf(command, sizeof command,
             "cd %s && grep -q 'not today' bad/*.txt && mv bad/*.jobs . && rm bad/*.txt", folder);
    put("a");
    for (int i = 0; i < TIMES; i++) {
        cr_assert_eq(count_files(), 1);
        const int descriptor = spool_folder(&spool, &err);
        OK(spool_look(&spool, NULL, &err));
        OK(spool_claim(&spool, descriptor, &file, &err));
        cr_assert_eq(spool_next(&file, file.at, &record, &end), RECORD_JOB);
        OK(spool_set_aside(&file, end, "not today", &err));
        OK(spool_release(&file, true, &err));
        close(descriptor);
        cr_assert_str_eq(send_all(), "");
        cr_assert_eq(system(command), 0);
    }
    cr_assert_str_eq(send_all(), "a");
    cr_assert_eq(spool.bytes, 0);
}

Test(spool_damage, a_file_whose_beginning_is_damaged_is_put_aside_whole)
{
    put("a");
    write_at(path_of(0), 3, "!", 1);
    put("b");
    cr_assert_str_eq(send_all(), "b");
    cr_assert_eq(count_files(), 0);
    cr_assert_eq(count_like("bad", ".jobs"), 1);
    cr_assert_eq(spool.aside, 1);
}

Test(spool_damage, an_empty_leftover_is_removed_and_a_later_version_left_alone)
{
    char path[200];

    snprintf(path, sizeof path, "%s/1-1-1.jobs", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    cr_assert_str_eq(send_all(), "");
    cr_assert_neq(access(path, F_OK), 0);

    close(open(path, O_CREAT | O_WRONLY, 0600));
    write_at(path, 0, "SHSPOOL7 and more", 17);
    put("a");
    cr_assert_str_eq(send_all(), "a");
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(size_of(path), 17);
}

Test(spool_damage, what_is_no_plain_file_is_not_touched)
{
    char path[200];
    char link[200];

    put("a");
    snprintf(path, sizeof path, "%s/0-fifo.jobs", folder);
    cr_assert_eq(mkfifo(path, 0600), 0);
    snprintf(link, sizeof link, "%s/9-link.jobs", folder);
    cr_assert_eq(symlink("/dev/zero", link), 0);
    cr_assert_eq(count_files(), 1);
    put("b");
    cr_assert_str_eq(send_all(), "ab");
}

/* ---- segments of the versions before ------------------------------------------------------- */

/* Writes one with these ids; its path. */
static const char *old_segment(const char *name, const char *ids)
{
    static char path[300];
    struct strbuf bytes = {0};

    old_segment_begin(7, &bytes);
    for (const char *id = ids; *id != '\0'; id++) {
        const struct spool_record record = {.base = {"sh:{distill}", 12},
                                            .id = {id, 1},
                                            .domain = {"legal", 5},
                                            .body = {"body", 4}};
        old_segment_add(7, &record, &bytes);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    write_at(path, 0, bytes.data, bytes.bytes);
    strbuf_free(&bytes);
    return path;
}

Test(spool_damage, old_segments_are_sent_first_and_as_long_as_any_appear)
{
    (void)old_segment("1700000000000-1-000000000000.outbox", "abc");
    put("d");
    cr_assert_eq(waiting(), 4);
    cr_assert_str_eq(send_all(), "abcd");
    (void)old_segment("1700000000001-1-000000000000.outbox", "ef");
    cr_assert_str_eq(send_all(), "ef");
    cr_assert_eq(count_files(), 0);
}

Test(spool_damage, an_old_segment_taken_in_part_is_one_to_the_old_version_too)
{
    const char *path = old_segment("1-1-1.outbox", "abc");
    struct spool_file file;
    struct spool_record record;
    size_t end = 0;

    cr_assert_eq(count_files(), 1);
    const int descriptor = spool_folder(&spool, &err);
    OK(spool_claim(&spool, descriptor, &file, &err));
    cr_assert_eq(spool_next(&file, file.at, &record, &end), RECORD_JOB);
    OK(spool_take(&file, end, &err));
    OK(spool_release(&file, true, &err));
    close(descriptor);
    cr_assert_eq(waiting(), 2);
    write_at(path, OLD_OUTBOX_SENT_AT + 1, "!", 1); /* a lost note: it is sent again */
    cr_assert_eq(waiting(), 3);
    cr_assert_str_eq(send_all(), "abc");
}

Test(spool_damage, of_a_damaged_old_segment_the_good_records_go)
{
    const char *path = old_segment("1-1-1.outbox", "abcd");
    const off_t one = (size_of(path) - OLD_OUTBOX_HEADER_BYTES) / 4;

    write_at(path, OLD_OUTBOX_HEADER_BYTES + one + 30, "!", 1);
    cr_assert_eq(truncate(path, size_of(path) - 1), 0); /* torn: nobody was told of d */
    cr_assert_eq(waiting(), 2);
    cr_assert_str_eq(send_all(), "ac");
    cr_assert_eq(count_files(), 0);
    cr_assert_eq(count_like("bad", ".jobs"), 1);
    cr_assert_eq(spool.aside, 1);
}

Test(spool_damage, an_old_file_that_is_none_is_put_aside_and_a_stub_removed)
{
    write_at(old_segment("1-1-1.outbox", "a"), 3, "!", 1);
    cr_assert_eq(truncate(old_segment("2-2-2.outbox", "a"), 10), 0);
    const char *strange = old_segment("3-3-3.outbox", "a");
    char header[OLD_OUTBOX_HEADER_BYTES] = "SHOUTBX7";
    old_segment_sign(header);
    write_at(strange, 0, header, sizeof header);
    cr_assert_str_eq(send_all(), "");
    cr_assert_eq(count_files(), 1, "a format that nobody knows is left alone");
    cr_assert_eq(count_like("bad", ".outbox"), 1);
    cr_assert_eq(spool.aside, 1);
}
