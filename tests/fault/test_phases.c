/* kill -9 of a real worker at each phase of each handler: another worker does the job, its effects
 * stand once, the books balance. The moment is chosen by proxies that hold a conversation at a
 * word. */
#include <signal.h>

#include "queue/operate.h"
#include "worker_fixture.h"

/* The runbook's promise is the visibility of 1 s and at most 5 s; twice that on a busy machine. */
enum { TAKEN_OVER_MS = 12000 };

TestSuite(phases, .init = setup_proxies, .fini = teardown_proxies, .timeout = 120);

/* ---- jobs ------------------------------------------------------------------------------------ */

static void push_index(const char *id)
{
    struct index_document document = {.id = {"doc-1", 5}, .text = {"a manual", 8}};
    const struct index_body body = {.documents = {&document, 1}};
    struct strbuf packed = {0};

    bodies_encode_index(&body, &packed);
    push("index", id, "legal", "reply=1", packed.data, packed.bytes);
    strbuf_free(&packed);
}

static void push_job(const char *queue, const char *id)
{
    if (strcmp(queue, "enrich") == 0) {
        push_enrich("legal", id, "a question", 3, "reply=1");
    } else if (strcmp(queue, "distill") == 0) {
        push_distill("legal", id, "a prompt", "a result", 0.9, "");
    } else if (strcmp(queue, "index") == 0) {
        push_index(id);
    } else {
        push("echo", id, "legal", "reply=1", "body", 4);
    }
}

/* What the job is for stands, once. */
static void check_effects(const char *queue)
{
    char key[QUEUE_BASE_BYTES];
    struct arena arena = {0};
    struct enrich_result result;

    if (strcmp(queue, "enrich") == 0) {
        cr_assert(cached("legal", "a question", &arena, &result));
        cr_assert_eq(result.count, 1);
        arena_free(&arena);
    }
    if (strcmp(queue, "enrich") == 0 || strcmp(queue, "echo") == 0) {
        snprintf(key, sizeof key, "sh:{%s}:reply:job-1", queue);
        cr_assert_eq(integer_of(good_reply("LLEN", key, NULL)), 1);
    }
    cr_assert_eq(stored(), strcmp(queue, "distill") == 0 || strcmp(queue, "index") == 0 ? 2 : 1);
    snprintf(key, sizeof key, "sh:{%s}:jobs", queue);
    cr_assert_eq(integer_of(good_reply("XLEN", key, NULL)), 0);
}

/* The first worker is killed where the word passes; the second one ends the job. `reclaimed` is how
 * many takeovers that needs: none where the job had ended already. */
static void kill_at(const char *queue, struct test_proxy *proxy, enum proxy_direction direction,
                    const char *word, int64_t reclaimed)
{
    pid_t first = start_worker("first", PROXIED, NULL);
    int64_t before = 0;

    push_distill("legal", "seed", "another prompt", "a result", 0.9, "");
    wait_for("distill", "done", 1);
    before = counter_of(queue, "done");
    test_proxy_hold(proxy, direction, word);
    push_job(queue, "job-1");
    cr_assert(test_proxy_wait_held(proxy, HELD_MS), "\"%s\" never passed", word);
    end_worker(first, SIGKILL);
    drop_all();

    const int64_t killed_ms = clock_now_ms();
    pid_t second = start_worker("second", PROXIED, NULL);
    wait_for(queue, "reclaimed", reclaimed);
    cr_assert_lt(clock_now_ms() - killed_ms, TAKEN_OVER_MS, "it is taken over late");
    wait_for(queue, "done", before + 1);
    struct queue_stats stats = stats_of(queue);
    cr_assert_eq(stats.counters[QUEUE_DONE], before + 1);
    cr_assert_eq(stats.dead, 0);
    cr_assert_eq(stats.counters[QUEUE_RETRIED], 0, "a death is no failure of the job");
    cr_assert_eq(stats.counters[QUEUE_RECLAIMED], reclaimed);
    check_effects(queue);
    end_worker(second, SIGTERM);
}

#define PHASE(queue, phase, proxy, direction, word, reclaimed)                                     \
    Test(phases, queue##_survives_a_kill_at_##phase)                                               \
    {                                                                                              \
        kill_at(#queue, proxy, direction, word, reclaimed);                                        \
    }

PHASE(enrich, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(enrich, embed, embed_proxy, PROXY_REQUEST, "/v1/embeddings", 1)
PHASE(enrich, query, chroma_proxy, PROXY_REQUEST, "/query", 1)
PHASE(enrich, the_write_of_its_result, redis_proxy, PROXY_REQUEST, "sh:cache:{legal}", 1)
PHASE(enrich, finish, redis_proxy, PROXY_REQUEST, "sh_finish", 1)
PHASE(distill, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(distill, embed, embed_proxy, PROXY_REQUEST, "/v1/embeddings", 1)
PHASE(distill, query, chroma_proxy, PROXY_REQUEST, "/get", 1)
PHASE(distill, upsert, chroma_proxy, PROXY_REQUEST, "/upsert", 1)
PHASE(distill, the_answer_of_its_upsert, chroma_proxy, PROXY_ANSWER, "HTTP/1.1 200", 1)
PHASE(distill, the_trimming_of_twins, redis_proxy, PROXY_REQUEST, "sh:twins:", 1)
PHASE(distill, finish, redis_proxy, PROXY_REQUEST, "sh_done", 1)
PHASE(index, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(index, embed, embed_proxy, PROXY_REQUEST, "/v1/embeddings", 1)
PHASE(index, query, chroma_proxy, PROXY_REQUEST, "/get", 1)
PHASE(index, upsert, chroma_proxy, PROXY_REQUEST, "/upsert", 1)
PHASE(index, the_move_of_the_epoch, redis_proxy, PROXY_REQUEST, "sh:epoch:", 1)
PHASE(index, finish, redis_proxy, PROXY_REQUEST, "sh_finish", 1)
PHASE(echo, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(echo, finish, redis_proxy, PROXY_REQUEST, "sh_finish", 1)

/* ---- a job that kills its workers ------------------------------------------------------------ */

Test(phases, a_job_that_kills_its_workers_is_dead_with_the_phase_named_and_others_flow)
{
    static const char *const limit[] = {"--max-deliveries", "4", NULL};
    char said[400];
    char id[16];

    /* In every life a worker is handed the killer, and ends when it writes it; the others that
     * stood in its batch must all be done in the end. */
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "fine-%d", i);
        push_distill("legal", id, id, "a result", 0.9, "");
    }
    push_distill("legal", "killer", "kill me", "a result", 0.9, "");
    for (int life = 0; counter_of("distill", "buried") == 0; life++) {
        cr_assert_lt(life, 10, "it lives for ever");
        test_proxy_hold(chroma_proxy, PROXY_REQUEST, "\"killer\"");
        pid_t worker = start_worker("victim", PROXIED, limit);
        int64_t until_ms = clock_now_ms() + HELD_MS;
        while (!test_proxy_wait_held(chroma_proxy, 100) && counter_of("distill", "buried") == 0) {
            cr_assert_lt(clock_now_ms(), until_ms, "the killer did not come");
        }
        end_worker(worker, SIGKILL);
        drop_all();
    }
    pid_t last = start_worker("survivor", PROXIED, limit);
    push_distill("legal", "late", "late", "a result", 0.9, "");
    wait_for("distill", "done", 21);
    dead_letter("distill", said, sizeof said);
    cr_assert_str_eq(said, "crash_loop: handed out 4 times without an end; the last worker, "
                           "\"victim.0\", died in phase \"query\"");
    cr_assert_eq(stats_of("distill").dead, 1, "others died with it");
    cr_assert_eq(stored(), 21);
    end_worker(last, SIGTERM);
}
