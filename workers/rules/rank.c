#include "rules/rank.h"

#include "rules/metadata.h"

size_t rank_first(size_t k)
{
    return k + RANK_SPARE;
}

size_t rank_further(size_t asked)
{
    if (asked >= RANK_RESULTS_MAX) {
        return 0;
    }
    return asked < RANK_RESULTS_MAX / RANK_FURTHER_FACTOR ? asked * RANK_FURTHER_FACTOR
                                                          : RANK_RESULTS_MAX;
}

size_t rank_take(const struct rank_search *search, size_t k, bool *lacks)
{
    *lacks = search->live < k && search->answered >= search->asked;
    return search->live < k ? search->live : k;
}

bool rank_complete(struct example *hit, const struct example *stored, size_t count,
                   int64_t now_unix_ms)
{
    const struct example *whole = metadata_document(stored, count, hit->id);
    const double distance = hit->distance;

    if (whole == NULL) {
        return false;
    }
    *hit = *whole;
    hit->distance = distance;
    return !metadata_is_expired(hit, now_unix_ms);
}

bool rank_is_current(const struct enrich_result *result, int64_t epoch, int64_t now_unix_ms,
                     int64_t fresh_ms)
{
    const int64_t age_ms = now_unix_ms - result->created_unix_ms;

    return result->epoch == epoch || (age_ms >= 0 && age_ms < fresh_ms);
}
