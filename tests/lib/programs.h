/* programs.h - programs that a test starts: one to its end, or one beside the test.
 *
 * All die with the test's process (PR_SET_PDEATHSIG).
 */
#ifndef STILLHOUSE_TESTS_PROGRAMS_H
#define STILLHOUSE_TESTS_PROGRAMS_H

#include <stddef.h>
#include <sys/types.h>

/* Runs a program: argv NULL-terminated; stdin from `input` (may be NULL); what it printed goes to
 * out/err_out (each at most size-1 bytes, NUL-terminated; NULL = dropped). Returns its exit code,
 * 128+signal, or fails the test after 60 s. */
int test_run(const char *const *argv, const char *input, char *out, size_t out_size, char *err_out,
             size_t err_size);

/* Starts a program that goes on beside the test; its output is appended to the file `log`. It dies
 * with the test's process. The caller reaps it. */
pid_t test_spawn(const char *const *argv, const char *log);

/* Path of a built program ("stillhouse", "stillhouse-worker") from $STILLHOUSE_TEST_BIN. */
const char *test_program(const char *name, char out[512]);

#endif
