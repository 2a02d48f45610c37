/* A client that a fork() copied: parent and children, and theirs, use it at once, as the workers of
 * a pre-forking server do that was opened before the fork. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_fixture.h"

TestSuite(client_forked, .init = client_setup, .fini = client_teardown);

enum { CHILDREN = 3, QUERIES = 60 };

static const char *const domains[CHILDREN + 1] = {"parent", "alpha", "beta", "gamma"};

/* ---- words --------------------------------------------------------------------------------- */

/* A result of `query` in `domain`, under the key of the domain `under`; its block names the domain.
 */
static void write_of(const char *domain, const char *query, const char *under)
{
    struct example example = {{"t-1", 3}, {"text", 4}, 0.5, NULL, 0};
    struct strbuf packed = {0};
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];

    text_hash(query, strlen(query), hash);
    const struct enrich_result result = {.domain = text(domain),
                                         .query_hash = text(hash),
                                         .created_unix_ms = clock_unix_ms(),
                                         .k = 3,
                                         .examples = &example,
                                         .count = 1,
                                         .few_shot = text(domain)};
    bodies_encode_result(&result, &packed);
    set_bytes(conn, keys_name(key, KEYS_CACHE, "sh", under, hash), packed.data, packed.bytes);
    strbuf_free(&packed);
}

static void write_all(void)
{
    char query[32];

    for (size_t i = 0; i <= CHILDREN; i++) {
        for (int j = 0; j < QUERIES; j++) {
            snprintf(query, sizeof query, "query %d", j);
            write_of(domains[i], query, domains[i]);
        }
    }
}

/* How many prompts of the domain did not come out with its own examples. */
static int ask_all(const char *domain)
{
    char query[32];
    int faults = 0;

    for (int i = 0; i < QUERIES; i++) {
        stillhouse_prompt_result prompt;
        snprintf(query, sizeof query, "query %d", i);
        faults += stillhouse_prompt(client, domain, query, BASE, 0, &prompt) !=
                      STILLHOUSE_PROMPT_ENRICHED ||
                  strncmp(prompt.text, domain, strlen(domain)) != 0;
        stillhouse_prompt_free(&prompt);
    }
    return faults;
}

/* Forks; the child ends with what `body` returns, in 20 s at most. */
static pid_t in_child(int (*body)(const void *), const void *context)
{
    const pid_t pid = fork();

    cr_assert_geq(pid, 0);
    if (pid == 0) {
        alarm(20);
        _exit(body(context));
    }
    return pid;
}

static void ends_well(pid_t pid)
{
    int status = -1;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status is %x", status);
}

/* Connections that the server took since it started. */
static long connections(void)
{
    redisReply *reply = ask_reply("INFO", "stats", NULL);
    const char *at = strstr(reply->str, "total_connections_received:");

    cr_assert_not_null(at);
    const long count = strtol(strchr(at, ':') + 1, NULL, 10);
    redis_reply_free(reply);
    return count;
}

static int lookup_is(const char *query, stillhouse_status expected)
{
    stillhouse_result *result = NULL;

    const stillhouse_status status = stillhouse_lookup(client, "alpha", query, 0, &result);
    stillhouse_result_free(result);
    return status != expected;
}

/* ---- prompts ------------------------------------------------------------------------------- */

static int asks_for_own(const void *domain)
{
    return ask_all(domain);
}

Test(client_forked, each_process_gets_its_own_results_and_the_parent_keeps_its_connection)
{
    pid_t children[CHILDREN];

    write_all();
    cr_assert_eq(ask_all("parent"), 0);
    const long before = connections();
    for (size_t i = 0; i < CHILDREN; i++) {
        children[i] = in_child(asks_for_own, domains[i + 1]);
    }
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(lookup_is("not there", STILLHOUSE_NOT_FOUND), 0); /* past the memory */
        cr_assert_eq(ask_all("parent"), 0);
    }
    for (size_t i = 0; i < CHILDREN; i++) {
        ends_well(children[i]);
    }
    cr_assert_eq(lookup_is("not there either", STILLHOUSE_NOT_FOUND), 0);
    cr_assert_eq(connections() - before, CHILDREN, "one each, and none for the parent");
}

static int asks_and_forks(const void *context)
{
    int status = -1;

    (void)context;
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        _exit(ask_all("beta"));
    }
    const int faults = ask_all("alpha");
    return faults + (waitpid(pid, &status, 0) != pid) + (status != 0);
}

Test(client_forked, a_child_of_a_child_is_a_process_of_its_own)
{
    write_all();
    cr_assert_eq(ask_all("parent"), 0);
    const pid_t child = in_child(asks_and_forks, NULL);
    cr_assert_eq(lookup_is("not there", STILLHOUSE_NOT_FOUND), 0);
    ends_well(child);
    cr_assert_eq(ask_all("gamma"), 0);
}

static int asks_from_memory(const void *context)
{
    (void)context;
    return ask_all("parent");
}

Test(client_forked, a_child_knows_what_its_parent_had_in_memory)
{
    write_all();
    cr_assert_eq(ask_all("parent"), 0);
    (void)ask("FLUSHALL", NULL);
    ends_well(in_child(asks_from_memory, NULL));
}

static int closes_at_once(const void *context)
{
    (void)context;
    stillhouse_close(client);
    return 0;
}

Test(client_forked, closing_in_a_child_neither_speaks_for_the_parent_nor_counts_for_it)
{
    write_all();
    cr_assert_eq(ask_all("parent"), 0); /* what is counted waits for the next second */
    const long before = connections();
    ends_well(in_child(closes_at_once, NULL));
    ends_well(in_child(asks_from_memory, NULL));
    cr_assert_eq(lookup_is("not there", STILLHOUSE_NOT_FOUND), 0);
    cr_assert_eq(connections(), before);
    stillhouse_close(client);
    client = NULL;
    cr_assert_str_eq(ask("HGET", "sh:prompts", "enriched", NULL), "60");
}

/* ---- jobs ---------------------------------------------------------------------------------- */

static int enqueues_and_waits(const void *context)
{
    const char *id = context; /* of a job that the parent enqueued */
    void *body = NULL;
    size_t bytes = 0;
    int faults = stillhouse_enqueue_enrich(client, "alpha", "q", 0, NULL, NULL) != STILLHOUSE_OK;

    faults += stillhouse_await_raw(client, "enrich", id, 5000, &body, &bytes) != STILLHOUSE_OK;
    faults += bytes != 5 || memcmp(body, "reply", 5) != 0;
    free(body);
    return faults;
}

Test(client_forked, a_child_enqueues_and_waits_for_its_parents_job)
{
    const stillhouse_job_options options = {.reply = true};
    char id[STILLHOUSE_ID_BYTES];
    char key[KEYS_BYTES];

    IS(stillhouse_enqueue_enrich(client, "parent", "q", 0, &options, id), STILLHOUSE_OK);
    const pid_t child = in_child(enqueues_and_waits, id);
    IS(stillhouse_enqueue_enrich(client, "parent", "q2", 0, NULL, NULL), STILLHOUSE_OK);
    snprintf(key, sizeof key, "%s:reply:%s", queue.base, id);
    (void)ask("RPUSH", key, "reply", NULL);
    ends_well(child);
    cr_assert_eq(counter("enqueued"), 3);
    check_books();
}

/* ---- another thread of the parent is in a call --------------------------------------------- */

static void *waits_in_a_call(void *context)
{
    stillhouse_result *result = NULL;

    (void)stillhouse_await(client, "enrich", context, 1500, &result);
    stillhouse_result_free(result);
    return NULL;
}

static int asks_for_alpha(const void *context)
{
    (void)context;
    return ask_all("alpha");
}

Test(client_forked, a_fork_in_the_middle_of_another_threads_call_leaves_the_child_a_sound_client)
{
    pthread_t thread;
    char id[] = "never";
    const int64_t until_ms = clock_now_ms() + 5000;

    write_all();
    cr_assert_eq(pthread_create(&thread, NULL, waits_in_a_call, id), 0);
    while (strstr(ask("INFO", "clients", NULL), "blocked_clients:1") == NULL &&
           clock_now_ms() < until_ms) {
        usleep(1000);
    }
    ends_well(in_child(asks_for_alpha, NULL));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(ask_all("parent"), 0);
}

/* ---- programs that are started ------------------------------------------------------------- */

/* How many descriptors a program would inherit that are connections to the test's Redis. */
static int inherited(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++) {
        struct sockaddr_in peer = {0};
        socklen_t bytes = sizeof peer;
        count += getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0 &&
                 peer.sin_family == AF_INET && ntohs(peer.sin_port) == redis.port &&
                 (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0;
    }
    return count;
}

Test(client_forked, a_program_that_is_started_inherits_no_connection)
{
    IS(stillhouse_enqueue_enrich(client, "alpha", "q", 0, NULL, NULL), STILLHOUSE_OK);
    cr_assert_eq(inherited(), 0);
}

/* ---- a name is being looked up ------------------------------------------------------------- */

static int asks_again(const void *context)
{
    stillhouse_client *late = (stillhouse_client *)(uintptr_t)context;

    for (int i = 0; i < 3; i++) {
        if (stillhouse_enqueue_enrich(late, "alpha", "q", 0, NULL, NULL) !=
            STILLHOUSE_UNREACHABLE) {
            return 1;
        }
    }
    stillhouse_close(late);
    return 0;
}

/* The thread that looks it up is the parent's alone. */
Test(client_forked, a_look_up_under_way_is_the_parents)
{
    const stillhouse_options options = {SIZED, .redis_url = "redis://no-such-host.invalid:6379",
                                        .connect_timeout_ms = 1, .retry_ms = 1};

    for (int i = 0; i < 5; i++) {
        stillhouse_client *late = open_client(&options);
        cr_assert_eq(stillhouse_enqueue_enrich(late, "alpha", "q", 0, NULL, NULL),
                     STILLHOUSE_UNREACHABLE);
        ends_well(in_child(asks_again, late));
        cr_assert_eq(asks_again(late), 0);
    }
}

/* ---- whatever else mixes answers up -------------------------------------------------------- */

Test(client_forked, a_result_of_another_domain_or_query_is_none)
{
    stillhouse_prompt_result prompt;

    write_of("beta", "q", "alpha");
    cr_assert_eq(lookup_is("q", STILLHOUSE_FAILED), 0);
    says("another domain's");
    cr_assert_eq(stillhouse_prompt(client, "alpha", "q", BASE, 0, &prompt),
                 STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_str_eq(prompt.text, BASE);
    cr_assert_eq(prompt.status, STILLHOUSE_NOT_FOUND);
    stillhouse_prompt_free(&prompt);
    cr_assert_eq(counter("enqueued"), 1, "the right one is asked for");

    write_of("alpha", "q", "alpha");
    cr_assert_eq(lookup_is("q", STILLHOUSE_OK), 0);
}
