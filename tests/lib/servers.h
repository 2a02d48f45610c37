/* servers.h - real servers for tests: a redis-server and a Chroma of the test's own.
 *
 * Each starts on a free loopback port in a new folder under $TMPDIR, is waited for (bounded, no
 * blind sleeping), and is killed with the test process (PR_SET_PDEATHSIG) and by stop. A server
 * that cannot be started is a failed test. Chroma is found through $STILLHOUSE_TEST_CHROMA: a
 * command that takes one argument, a configuration file (tests/run sets it to
 * deploy/chroma-server).
 */
#ifndef STILLHOUSE_TESTS_SERVERS_H
#define STILLHOUSE_TESTS_SERVERS_H

#include <stdbool.h>
#include <sys/types.h>

#include "folder.h"
#include "programs.h"

struct test_server {
    pid_t pid;
    int port;
    char folder[256];
    char url[128]; /* redis://127.0.0.1:PORT/0 or http://127.0.0.1:PORT */
};

/* redis-server with `--save "" --appendonly no` and then `extra` arguments (NULL-terminated, may be
 * NULL). */
void test_redis_start(struct test_server *server, const char *const *extra);

/* redis-server --sentinel with these lines of configuration. */
void test_sentinel_start(struct test_server *server, const char *config);

/* One Chroma, empty. */
void test_chroma_start(struct test_server *server);

/* SIGKILL, reaped; the folder stays for test_server_restart. */
void test_server_kill(struct test_server *server);
/* Starts it again on the same port and folder. */
void test_server_restart(struct test_server *server);
/* SIGSTOP / SIGCONT */
void test_server_freeze(struct test_server *server, bool frozen);
/* Kills it and removes its folder. */
void test_server_stop(struct test_server *server);

/* A loopback port that was free a moment ago. */
int test_free_port(void);

#endif
