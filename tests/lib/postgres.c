/* See postgres.h. */
#include "postgres.h"

#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "folder.h"
#include "programs.h"

enum { READY_MS = 60000, ARGUMENTS_MAX = 48 };

/* The newest that Debian has; false: none. */
static bool find_programs(struct test_postgres *server)
{
    glob_t found;
    bool any = false;

    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0) {
        const char *last = found.gl_pathv[found.gl_pathc - 1];
        any = true;
        snprintf(server->programs, sizeof server->programs, "%.*s",
                 (int)(strlen(last) - strlen("/initdb")), last);
    }
    globfree(&found);
    return any;
}

/* What comes before the program, so that root's child is nobody's and still dies with the test. */
static size_t as_nobody(const char *argv[ARGUMENTS_MAX])
{
    static const char *const words[] = {"setpriv",     "--reuid", "nobody",
                                        "--regid",     "nogroup", "--clear-groups",
                                        "--pdeathsig", "KILL",    "--"};
    const size_t count = sizeof words / sizeof words[0];

    if (geteuid() != 0) {
        return 0;
    }
    memcpy(argv, words, sizeof words);
    return count;
}

static void make_folder(struct test_postgres *server)
{
    const struct passwd *nobody = getpwnam("nobody");

    test_folder_make(server->folder, sizeof server->folder);
    if (geteuid() == 0 &&
        (nobody == NULL || chown(server->folder, nobody->pw_uid, nobody->pw_gid) != 0)) {
        test_fail("chown \"%s\" to nobody: %s", server->folder, strerror(errno));
    }
}

static void init(const struct test_postgres *server)
{
    const char *argv[ARGUMENTS_MAX];
    char program[260];
    char data[260];
    char said[4000];
    size_t count = as_nobody(argv);

    snprintf(program, sizeof program, "%s/initdb", server->programs);
    snprintf(data, sizeof data, "%s/data", server->folder);
    const char *const words[] = {program,
                                 "-D",
                                 data,
                                 "--no-sync",
                                 "--auth=trust",
                                 "--username=stillhouse",
                                 "--encoding=UTF8",
                                 "--locale=C.UTF-8",
                                 "--locale-provider=icu",
                                 "--icu-locale=en",
                                 NULL};
    memcpy(argv + count, words, sizeof words);
    if (test_run(argv, NULL, NULL, 0, said, sizeof said) != 0) {
        test_fail("initdb in \"%s\": %s", server->folder, said);
    }
}

static void start(struct test_postgres *server)
{
    const char *argv[ARGUMENTS_MAX];
    char program[260];
    char data[260];
    char sockets[260];
    char log[260];
    size_t count = as_nobody(argv);

    snprintf(program, sizeof program, "%s/postgres", server->programs);
    snprintf(data, sizeof data, "%s/data", server->folder);
    snprintf(sockets, sizeof sockets, "unix_socket_directories=%s", server->folder);
    snprintf(log, sizeof log, "%s.log", server->folder);
    const char *const words[] = {program,
                                 "-D",
                                 data,
                                 "-c",
                                 "listen_addresses=",
                                 "-c",
                                 sockets,
                                 "-c",
                                 server->syncs ? "fsync=on" : "fsync=off",
                                 "-c",
                                 server->syncs ? "full_page_writes=on" : "full_page_writes=off",
                                 "-c",
                                 "shared_buffers=64MB",
                                 "-c",
                                 "max_connections=40",
                                 "-c",
                                 "max_wal_size=4GB",
                                 "-c",
                                 "deadlock_timeout=200ms",
                                 "-c",
                                 "autovacuum_naptime=10s",
                                 NULL};
    memcpy(argv + count, words, sizeof words);
    server->pid = test_spawn(argv, log);
}

static int psql(const struct test_postgres *server, const char *name, const char *sql, char *out,
                size_t size, char *said, size_t said_size)
{
    char program[260];
    const char *const argv[] = {program, "-XqAt",        "-v", "ON_ERROR_STOP=1",
                                "-h",    server->folder, "-U", "stillhouse",
                                "-d",    name,           "-c", sql,
                                NULL};

    snprintf(program, sizeof program, "%s/psql", server->programs);
    return test_run(argv, NULL, out, size, said, said_size);
}

/* What an end by SIGKILL left of its processes may keep it from starting for a moment. */
static void start_until_ready(struct test_postgres *server)
{
    const int64_t until_ms = clock_now_ms() + READY_MS;
    char said[4000] = "";

    start(server);
    while (psql(server, "postgres", "SELECT 1", NULL, 0, said, sizeof said) != 0) {
        if (clock_now_ms() > until_ms) {
            test_fail("postgres in \"%s\" is not ready, see its .log: %s", server->folder, said);
        }
        clock_sleep_ms(20);
        if (waitpid(server->pid, NULL, WNOHANG) != 0) {
            start(server);
        }
    }
}

bool test_postgres_start(struct test_postgres *server, bool syncs)
{
    *server = (struct test_postgres){.syncs = syncs};
    if (!find_programs(server)) {
        fprintf(stderr, "skipped: no PostgreSQL in /usr/lib/postgresql "
                        "(deploy/install-dependencies test)\n");
        return false;
    }
    make_folder(server);
    init(server);
    start_until_ready(server);
    return true;
}

void test_postgres_ask(const struct test_postgres *server, const char *name, const char *sql,
                       char *out, size_t size)
{
    char said[4000] = "";

    if (psql(server, name, sql, out, size, said, sizeof said) != 0) {
        test_fail("\"%s\": %s", sql, said);
    }
    if (out != NULL) {
        out[strcspn(out, "\n")] = '\0';
    }
}

void test_postgres_database(const struct test_postgres *server, const char *name,
                            char url[TEST_POSTGRES_URL])
{
    char sql[200];

    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    test_postgres_ask(server, "postgres", sql, NULL, 0);
    snprintf(url, TEST_POSTGRES_URL, "postgresql://stillhouse@/%s?host=%s", name, server->folder);
}

void test_postgres_kill(struct test_postgres *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void test_postgres_restart(struct test_postgres *server)
{
    start_until_ready(server);
}

void test_postgres_stop(struct test_postgres *server)
{
    char log[260];

    if (server->pid > 0) {
        test_postgres_kill(server);
    }
    if (server->folder[0] != '\0') {
        snprintf(log, sizeof log, "%s.log", server->folder);
        unlink(log);
        test_folder_remove(server->folder);
    }
}
