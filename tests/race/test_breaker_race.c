/* Lanes share one breaker an upstream: of all that ask at once exactly one may probe, round after
 * round, while the endpoint looks on. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "context/upstreams.h"

enum { LANES = 4, ROUNDS = 300, BATCH = 64 };

static struct upstreams *upstreams;
static struct metrics *metrics;
static pthread_barrier_t together;
static atomic_size_t allowed;
static atomic_size_t probes;
static atomic_bool working = true;

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "test_breaker_race: %s\n", what);
        exit(1);
    }
}

static const struct error no_answer = {.status = STATUS_TIMEOUT, .text = "no answer"};

/* Every lane fails once, which opens it; the pause is over at once; all ask. */
static void *lane(void *context)
{
    const int index = *(const int *)context;
    for (int round = 0; round < ROUNDS; round++) {
        upstreams_report(upstreams, OPERATION_QUERY, STATUS_TIMEOUT, &no_answer);
        upstreams_report(upstreams, OPERATION_REDIS, round % 2 == 0 ? STATUS_TIMEOUT : STATUS_OK,
                         &no_answer);
        pthread_barrier_wait(&together);
        size_t mine = upstreams_allow(upstreams, OPERATION_QUERY, BATCH);
        atomic_fetch_add(&allowed, mine);
        atomic_fetch_add(&probes, mine > 0 ? 1 : 0);
        pthread_barrier_wait(&together);
        if (index == 0) {
            expect(atomic_load(&allowed) == 1 && atomic_load(&probes) == 1,
                   "not exactly one probe");
            atomic_store(&allowed, 0);
            atomic_store(&probes, 0);
        }
        pthread_barrier_wait(&together);
        if (mine > 0 && round % 3 == 0) {
            upstreams_cancel(upstreams, OPERATION_QUERY);
        } else if (mine > 0) {
            upstreams_report(upstreams, OPERATION_QUERY,
                             round % 3 == 1 ? STATUS_OK : STATUS_TIMEOUT, &no_answer);
        }
        pthread_barrier_wait(&together);
    }
    return NULL;
}

static void *look(void *unused)
{
    struct strbuf text = {0};
    (void)unused;
    while (atomic_load(&working)) {
        strbuf_reset(&text);
        for (int i = 0; i < METRICS_UPSTREAMS; i++) {
            upstreams_describe(upstreams, (enum metrics_upstream)i, &text);
        }
        for (int i = 0; i < OPERATIONS; i++) {
            expect(upstreams_wait_ms(upstreams, (enum operation)i) >= 0, "a negative wait");
            (void)upstreams_state(upstreams, (enum operation)i);
        }
        metrics_render(metrics, &text);
        expect(strbuf_ok(&text), "out of memory");
    }
    strbuf_free(&text);
    return NULL;
}

int main(void)
{
    struct settings settings;
    pthread_t lanes[LANES];
    int indexes[LANES];
    pthread_t looker;

    settings_defaults(&settings);
    settings.breaker_failures = LANES;
    settings.breaker_pause_ms = 0;
    log_set_level(LOG_ERROR);
    metrics = metrics_new();
    expect(metrics != NULL, "out of memory");
    upstreams = upstreams_new(&settings, metrics);
    expect(upstreams != NULL, "out of memory");
    expect(pthread_barrier_init(&together, NULL, LANES) == 0, "no barrier");
    expect(pthread_create(&looker, NULL, look, NULL) == 0, "no thread");
    for (int i = 0; i < LANES; i++) {
        indexes[i] = i;
        expect(pthread_create(&lanes[i], NULL, lane, &indexes[i]) == 0, "no thread");
    }
    for (int i = 0; i < LANES; i++) {
        pthread_join(lanes[i], NULL);
    }
    atomic_store(&working, false);
    pthread_join(looker, NULL);

    pthread_barrier_destroy(&together);
    upstreams_free(upstreams);
    metrics_free(metrics);
    puts("ok");
    return 0;
}
