/* What the builtin embedder is good for, measured on Debian's package descriptions in a real
 * Chroma.
 *
 * All sections stand mixed in one collection, so that a hit of the right section is no matter of
 * course. A held-out package's need is paraphrased (deploy/package-experiences: content words only,
 * the second half first).
 */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chroma/chroma.h"
#include "chroma_calls.h"
#include "embedder/builtin.h"
#include "embedder/embedder.h"
#include "http/client.h"
#include "servers.h"

enum { DIMENSION = 384, STORED = 3000, ASKED = 200, TOP = 5, SLICE = 100, ASK_SLICE = 50 };

static struct test_server server;
static struct chroma *chroma;

static void setup(void)
{
    struct error err = {0};

    cr_assert_eq(http_global_init(&err), STATUS_OK, "%s", err.text);
    test_chroma_start(&server);
    const struct chroma_config config = {
        .url = server.url,
        .tenant = "default_tenant",
        .database = "default_database",
        .token = "",
        .timeout_ms = 30000,
        .identity = {"builtin-384-v1", DIMENSION},
    };
    chroma = chroma_new(&config);
    cr_assert_not_null(chroma);
}

static void teardown(void)
{
    chroma_free(chroma);
    test_server_stop(&server);
}

TestSuite(retrieval, .init = setup, .fini = teardown, .timeout = 120);

/* The lines that the script prints, as one JSON array; NULL when apt has no lists. */
static cJSON *read_lines(const char *option, int count)
{
    const char *source = getenv("STILLHOUSE_TEST_SOURCE");
    char command[600];
    char line[4096];
    cJSON *lines = cJSON_CreateArray();

    snprintf(command, sizeof command, "%s/deploy/package-experiences %s %d",
             source != NULL ? source : ".", option, count);
    FILE *pipe = popen(command, "r");
    cr_assert_not_null(pipe);
    while (fgets(line, sizeof line, pipe) != NULL) {
        cJSON *parsed = cJSON_Parse(line);
        cr_assert_not_null(parsed, "not JSON: %s", line);
        cJSON_AddItemToArray(lines, parsed);
    }
    cr_assert_eq(pclose(pipe), 0, "deploy/package-experiences failed (apt-get update?)");
    return lines;
}

static const char *text_of(const cJSON *line, const char *field)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, field);
    cr_assert(cJSON_IsString(item), "no field %s", field);
    return item->valuestring;
}

static void store(const cJSON *lines)
{
    static float vectors[SLICE][DIMENSION];
    struct chroma_record records[SLICE];
    struct meta_pair sections[SLICE];
    struct error err = {0};
    size_t count = 0;
    const cJSON *line = NULL;

    cJSON_ArrayForEach(line, lines)
    {
        const char *prompt = text_of(line, "prompt");
        const char *domain = text_of(line, "domain");
        const char *id = text_of(line, "task_id");
        embedder_builtin(prompt, strlen(prompt), vectors[count], DIMENSION);
        sections[count] = (struct meta_pair){
            {"section", 7}, {.type = META_STRING, .string = {domain, strlen(domain)}}};
        records[count] = (struct chroma_record){
            {id, strlen(id)}, vectors[count], {prompt, strlen(prompt)}, &sections[count], 1};
        if (++count == SLICE || line->next == NULL) {
            cr_assert_eq(chroma_upsert(chroma, "packages", records, count, &err), STATUS_OK, "%s",
                         err.text);
            count = 0;
        }
    }
}

/* How many of the top hits of each query fit; `fits` says which. */
static int count_hits(char *const *queries, const char *const *wanted, size_t count, bool by_id,
                      int *at_least_one)
{
    static float vectors[ASK_SLICE * DIMENSION];
    int total = 0;

    *at_least_one = 0;
    for (size_t done = 0; done < count; done += ASK_SLICE) {
        struct arena arena = {0};
        struct chroma_hits hits[ASK_SLICE] = {0};
        struct error err = {0};
        size_t part = count - done < ASK_SLICE ? count - done : ASK_SLICE;
        for (size_t i = 0; i < part; i++) {
            embedder_builtin(queries[done + i], strlen(queries[done + i]), vectors + i * DIMENSION,
                             DIMENSION);
        }
        cr_assert_eq(query_all(chroma, "packages", (struct vectors){vectors, part, DIMENSION}, TOP,
                               &arena, hits, &err),
                     STATUS_OK, "%s", err.text);
        for (size_t i = 0; i < part; i++) {
            int fitting = 0;
            for (size_t j = 0; j < hits[i].count; j++) {
                const struct example *hit = &hits[i].examples[j];
                struct slice own = by_id ? hit->id : hit->metadata[0].value.string;
                fitting += own.bytes == strlen(wanted[done + i]) &&
                           memcmp(own.data, wanted[done + i], own.bytes) == 0;
            }
            total += fitting;
            *at_least_one += fitting > 0;
        }
        arena_free(&arena);
    }
    return total;
}

/* What a random choice would give: the mean share of the asked sections among the stored. */
static double chance(const cJSON *lines, const char *const *wanted, size_t count)
{
    double sum = 0;
    const cJSON *line = NULL;

    for (size_t i = 0; i < count; i++) {
        cJSON_ArrayForEach(line, lines)
        {
            sum += strcmp(text_of(line, "domain"), wanted[i]) == 0;
        }
    }
    return sum / (double)count / cJSON_GetArraySize(lines);
}

Test(retrieval, paraphrased_needs_find_their_section_and_synopses_their_package)
{
    cJSON *lines = read_lines("--count", STORED);
    cJSON *questions = read_lines("--questions", ASKED);
    char *queries[ASKED];
    const char *wanted[ASKED];
    int any = 0;
    size_t count = 0;
    cJSON *line = NULL;

    store(lines);
    cJSON_ArrayForEach(line, questions)
    {
        queries[count] = (char *)text_of(line, "query");
        wanted[count++] = text_of(line, "domain");
    }
    cr_assert_eq(count, ASKED);
    double share = count_hits(queries, wanted, count, false, &any) / (double)(count * TOP);
    double by_chance = chance(lines, wanted, count);
    printf(
        "same section among the top %d: %.1f %% of hits, chance %.1f %%; at least one: %.1f %%\n",
        TOP, 100 * share, 100 * by_chance, 100.0 * any / (double)count);
    cr_assert_gt(share, 3 * by_chance, "%.3f of hits, chance %.3f", share, by_chance);

    count = 0;
    int step = cJSON_GetArraySize(lines) / ASKED;
    for (int i = 0; count < ASKED; i += step) {
        const cJSON *stored = cJSON_GetArrayItem(lines, i);
        char *synopsis = strchr(text_of(stored, "result"), ':');
        cr_assert_not_null(synopsis);
        queries[count] = synopsis + 2;
        wanted[count++] = text_of(stored, "task_id");
    }
    count_hits(queries, wanted, count, true, &any);
    printf("own synopsis finds the very package among the top %d: %.1f %%\n", TOP,
           100.0 * any / (double)count);
    cr_assert_geq(any, ASKED * 95 / 100);
    cJSON_Delete(lines);
    cJSON_Delete(questions);
}
