/* folder.h - a private folder for a test, and the end of one.
 *
 * What cannot be had is said on standard error and ends the test with abort(), which Criterion and
 * a plain main() both report as a crash.
 */
#ifndef STILLHOUSE_TESTS_FOLDER_H
#define STILLHOUSE_TESTS_FOLDER_H

#include <stddef.h>

/* $TMPDIR, or /tmp. */
const char *test_temporary(void);

/* A new folder there; its path goes into out[size]. */
void test_folder_make(char *out, size_t size);

/* Removes it with all that is in it; one that is not there is fine. */
void test_folder_remove(const char *folder);

/* Files in it whose name ends so, and is longer; 0 where there is no folder. */
size_t test_folder_count(const char *folder, const char *end);

/* Says why a test cannot go on, and aborts. */
void test_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
