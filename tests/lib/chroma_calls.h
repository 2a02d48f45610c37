/* chroma_calls.h - calls of the Chroma client as tests like them: all at once. */
#ifndef STILLHOUSE_TESTS_CHROMA_CALLS_H
#define STILLHOUSE_TESTS_CHROMA_CALLS_H

#include "chroma/chroma.h"

/* The hits of `count` vectors that lie one after the other. */
struct vectors {
    const float *all;
    size_t count;
    size_t dimension;
};

static inline enum status query_all(struct chroma *chroma, const char *domain,
                                    struct vectors vectors, size_t n_results, struct arena *arena,
                                    struct chroma_hits *hits, struct error *err)
{
    const float *each[64];
    const struct chroma_search search = {
        .domain = domain, .vectors = each, .count = vectors.count, .n_results = n_results};

    for (size_t i = 0; i < vectors.count; i++) {
        each[i] = vectors.all + i * vectors.dimension;
    }
    enum status status = chroma_query(chroma, &search, err);
    for (size_t i = 0; i < vectors.count && status == STATUS_OK; i++) {
        status = chroma_next_hits(chroma, arena, &hits[i], err);
    }
    return status;
}

static inline enum status get_ids(struct chroma *chroma, const char *domain,
                                  const struct slice *ids, size_t count, struct arena *arena,
                                  struct chroma_hits *hits, struct error *err)
{
    const struct chroma_select select = {
        .domain = domain, .ids = ids, .count = count, .fields = CHROMA_TEXTS};

    return chroma_get(chroma, &select, arena, hits, err);
}

static inline enum status get_page(struct chroma *chroma, const char *domain, size_t offset,
                                   size_t limit, struct arena *arena, struct chroma_hits *hits,
                                   struct error *err)
{
    const struct chroma_select select = {
        .domain = domain, .offset = offset, .limit = limit, .fields = CHROMA_TEXTS};

    return chroma_get(chroma, &select, arena, hits, err);
}

#endif
