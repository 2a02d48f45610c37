/* The outbox on a full disk, and what becomes of files that crashes and bad disks left. No Redis.
 */
#include "outbox_folder.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

TestSuite(outbox_damage, .init = setup, .fini = teardown);

/* ---- a disk that is full ------------------------------------------------------------------- */

static void limit_files(rlim_t bytes)
{
    const struct rlimit limit = {bytes, RLIM_INFINITY};

    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(outbox_damage, an_append_that_the_disk_does_not_take_is_taken_back_and_kills_nobody)
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
    OK(outbox_open(&outbox, folder, "sh", 1 << 20, &err));
    cr_assert_eq(unlink(path_of(0)), 0);
    cr_assert_eq(try_append(&outbox, "c", 10), STATUS_FAILED);
    cr_assert_eq(count_files(NULL), 0);
    limit_files(RLIM_INFINITY);
    append("d");
    cr_assert_str_eq(send_all(), "d");
}

Test(outbox_damage, what_cannot_be_put_aside_stays)
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

Test(outbox_damage, a_torn_end_is_cut_off_before_the_next_append)
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

Test(outbox_damage, a_torn_end_goes_with_the_last_record_before_it)
{
    append("a");
    append("b");
    cr_assert_eq(truncate(path_of(0), size_of(path_of(0)) - 1), 0);
    cr_assert_str_eq(send_all(), "a");
    size_t bad = 0;
    cr_assert_eq(count_files(&bad), 0);
    cr_assert_eq(bad, 0);
}

Test(outbox_damage, a_damaged_record_is_put_aside_and_the_others_go)
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

Test(outbox_damage, a_file_whose_header_is_damaged_is_put_aside_whole)
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

Test(outbox_damage, a_lost_note_of_what_was_sent_means_that_it_is_sent_again)
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

Test(outbox_damage, an_empty_leftover_is_removed_and_a_later_version_left_alone)
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

Test(outbox_damage, what_is_no_plain_file_is_not_touched)
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
