/* Index jobs that share document ids, or a batch for which memory is short: done means that the
 * documents stand. Linked with --wrap: the embedder refuses texts by a word in them, and malloc
 * refuses the arena's blocks. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "chroma_calls.h"
#include "fleet_fixture.h"
#include "queue/operate.h"

enum { ARENA_BLOCK_BYTES = 64 * 1024 };

static atomic_int blocks_until_failure; /* 0: none fails */

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
enum status __real_embedder_embed(struct embedder *model, const struct slice *texts, size_t count,
                                  float *vectors, struct error *err);
enum status __wrap_embedder_embed(struct embedder *model, const struct slice *texts, size_t count,
                                  float *vectors, struct error *err);

void *__wrap_malloc(size_t bytes)
{
    if (bytes >= ARENA_BLOCK_BYTES && atomic_load(&blocks_until_failure) > 0 &&
        atomic_fetch_sub(&blocks_until_failure, 1) == 1) {
        return NULL;
    }
    return __real_malloc(bytes);
}

enum status __wrap_embedder_embed(struct embedder *model, const struct slice *texts, size_t count,
                                  float *vectors, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (memmem(texts[i].data, texts[i].bytes, "REFUSED", 7) != NULL) {
            return error_set(err, STATUS_INVALID, "embedder: http 400: too long");
        }
    }
    return __real_embedder_embed(model, texts, count, vectors, err);
}

static void begin(void)
{
    fleet_setup();
    settings.lanes = 1;
    settings.visibility_ms = 1000; /* what a worker that ended had in hand is taken over */
    atomic_store(&blocks_until_failure, 0);
}

TestSuite(index, .init = begin, .fini = fleet_teardown, .timeout = 120);

static struct index_document document(const char *id, const char *text)
{
    return (struct index_document){.id = {id, strlen(id)}, .text = {text, strlen(text)}};
}

static void push_documents(const char *job, const struct index_document *documents, size_t count)
{
    struct strbuf body = {0};

    bodies_encode_index(
        &(struct index_body){.documents = {(struct index_document *)documents, count}}, &body);
    push("index", job, "books", "", body.data, body.bytes);
    strbuf_free(&body);
}

static void push_one(const char *job, const char *id, const char *text)
{
    const struct index_document one = document(id, text);
    push_documents(job, &one, 1);
}

static void pause_index(bool paused)
{
    struct queue queue = queue_named("index");
    struct error err = {0};

    cr_assert_eq(queue_pause(conn, &queue, paused, &err), STATUS_OK, "%s", err.text);
}

/* What was pushed while the queue was paused comes as one batch. */
static void run_as_one_batch(void)
{
    start_fleet();
    pause_index(false);
}

static void assert_text(const char *id, const char *text)
{
    const struct slice wanted = {id, strlen(id)};
    struct chroma_hits hits = {0};
    struct arena arena = {0};
    struct error err = {0};

    cr_assert_eq(get_ids(chroma, "books", &wanted, 1, &arena, &hits, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_eq(hits.count, 1, "document %s does not stand", id);
    cr_assert_eq(hits.examples[0].text.bytes, strlen(text));
    cr_assert_eq(memcmp(hits.examples[0].text.data, text, strlen(text)), 0);
    arena_free(&arena);
}

Test(index, of_documents_with_one_id_the_last_one_stands_and_all_jobs_are_done)
{
    pause_index(true);
    push_one("i1", "a", "the first edition");
    push_one("i2", "a", "the second edition");
    push_one("i3", "b", "another book");
    push_one("i4", "a", "the third edition");
    run_as_one_batch();
    wait_for("index", "done", 4);
    assert_text("a", "the third edition");
    assert_text("b", "another book");
    stop_fleet();
}

Test(index, where_the_last_document_of_an_id_is_refused_the_one_before_it_is_written)
{
    const struct index_document mixed[] = {document("a", "a REFUSED third edition"),
                                           document("b", "a book of the refused job")};

    pause_index(true);
    push_one("i1", "a", "the first edition");
    push_one("i2", "a", "the second edition");
    push_documents("i3", mixed, 2);
    push_one("i4", "a", "a REFUSED fourth edition");
    push_one("i5", "c", "another book");
    run_as_one_batch();
    wait_for("index", "done", 3);
    wait_for("index", "buried", 2);
    assert_text("a", "the second edition");
    assert_text("c", "another book");
    stop_fleet();
}

Test(index, a_job_is_not_done_while_its_documents_later_version_waits_for_chroma)
{
    settings.breaker_failures = 1;
    settings.breaker_pause_ms = 300;
    settings.chroma_timeout_ms = 1000;
    pause_index(true);
    push_one("i1", "a", "the first edition");
    push_one("i2", "a", "the second edition");
    test_server_kill(&chroma_server);
    run_as_one_batch();
    wait_for("index", "parked", 2);
    cr_assert_eq(counter_of("index", "done"), 0);
    stop_fleet();
}

/* A worker in a process of its own whose `block`th block of memory is refused: it ends with a line.
 * Returns what it writes to standard error, behind the "r" that says that it is ready. */
static pid_t start_short_worker(int block, int *output)
{
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        start_fleet();
        atomic_store(&blocks_until_failure, block);
        (void)!write(STDERR_FILENO, "r", 1);
        for (;;) {
            pause();
        }
    }
    close(ends[1]);
    char ready = 0;
    cr_assert_eq(read(ends[0], &ready, 1), 1);
    *output = ends[0];
    return child;
}

/* True when it ended by itself before all jobs were done. */
static bool ends_of_memory(pid_t child, int output, int64_t jobs)
{
    char said[256] = {0};
    int how = 0;

    while (waitpid(child, &how, WNOHANG) == 0) {
        if (counter_of("index", "done") == jobs) {
            kill(child, SIGKILL);
            waitpid(child, &how, 0);
            close(output);
            return false;
        }
        clock_sleep_ms(2);
    }
    cr_assert(WIFEXITED(how) && WEXITSTATUS(how) == 1);
    cr_assert_gt(read(output, said, sizeof said - 1), 0);
    cr_assert_not_null(strstr(said, "out of memory"), "%s", said);
    close(output);
    return true;
}

/* Every allocation of a block fails once, the first, the second ... until none is left to fail: the
 * worker ends, and another one takes its jobs over. */
Test(index, on_short_memory_no_job_is_done_whose_documents_do_not_stand)
{
    enum { JOBS = 3, EACH = 70, ROUNDS_MAX = 40 };
    static struct index_document documents[EACH];
    static char ids[EACH][32];
    struct error err = {0};
    int round = 0;
    bool failed = true;

    cr_assert_eq(chroma_open_collection(chroma, "books", true, &err), STATUS_OK, "%s", err.text);
    for (; failed && round < ROUNDS_MAX; round++) {
        const int64_t done = (int64_t)(round + 1) * JOBS;
        int output = -1;
        pause_index(true);
        for (int j = 0; j < JOBS; j++) {
            char job[32];
            for (int i = 0; i < EACH; i++) {
                snprintf(ids[i], sizeof ids[i], "%d-%d-%d", round, j, i);
                documents[i] = document(ids[i], ids[i]);
            }
            snprintf(job, sizeof job, "job-%d-%d", round, j);
            push_documents(job, documents, EACH);
        }
        const pid_t child = start_short_worker(round + 1, &output);
        pause_index(false);
        failed = ends_of_memory(child, output, done);
        if (failed) {
            clock_sleep_ms(settings.visibility_ms + 100); /* so that the first look finds them */
            start_fleet();
            wait_for("index", "done", done);
            stop_fleet();
        }
        cr_assert_eq(documents_in("books"), done * EACH, "round %d", round);
    }
    cr_assert_gt(round, 3, "nothing failed");
    cr_assert_lt(round, ROUNDS_MAX, "it fails for ever");
}
