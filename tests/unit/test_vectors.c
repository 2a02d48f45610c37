/* The golden vectors of tests/contract/vectors, held against our own codec. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobs/line_job.h"
#include "prompt/holdout.h"
#include "rules/prompt_block.h"
#include "vectors.h"

/* The document of a file; the caller deletes it. */
static cJSON *read_file(const char *name)
{
    const char *source = getenv("STILLHOUSE_TEST_SOURCE");
    struct strbuf text = {0};
    char path[512];
    char buffer[4096];

    snprintf(path, sizeof path, "%s/tests/contract/vectors/%s.json", source ? source : ".", name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    for (size_t got = 0; (got = fread(buffer, 1, sizeof buffer, file)) > 0;) {
        strbuf_append(&text, buffer, got);
    }
    fclose(file);
    cJSON *document = cJSON_ParseWithLength(text.data, text.bytes);
    cr_assert_not_null(document, "%s is no JSON", path);
    strbuf_free(&text);
    return document;
}

/* Members that are answers, whether the vector has them or the codec gives them. */
static void hold(const cJSON *vector, const cJSON *answer)
{
    static const char *const answers[] = {"fields", "canonical", "error",    "worker",
                                          "json",   "text_hash", "raw_hash", "good",
                                          "body",   "domain",    "options",  "stranger"};
    char *shown = cJSON_PrintUnformatted(vector);

    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        const cJSON *expected = cJSON_GetObjectItemCaseSensitive(vector, answers[i]);
        const cJSON *found = cJSON_GetObjectItemCaseSensitive(answer, answers[i]);
        char *text = cJSON_PrintUnformatted(answer);
        cr_assert((expected == NULL) == (found == NULL), "%s of %s: %s", answers[i], shown, text);
        cr_assert(expected == NULL || cJSON_Compare(expected, found, true), "%s of %s: %s",
                  answers[i], shown, text);
        cJSON_free(text);
    }
    cJSON_free(shown);
}

static void hold_list(const char *file, const char *list, const char *kind)
{
    cJSON *document = read_file(file);
    const cJSON *vectors = cJSON_GetObjectItemCaseSensitive(document, list);
    const cJSON *vector = NULL;

    cr_assert(cJSON_GetArraySize(vectors) > 2);
    cJSON_ArrayForEach(vector, vectors)
    {
        cJSON *answer = vectors_answer(kind, vector);
        hold(vector, answer);
        cJSON_Delete(answer);
    }
    cJSON_Delete(document);
}

Test(vectors, hashes_and_names)
{
    hold_list("names", "hashes", "hashes");
    hold_list("names", "ids", "ids");
    hold_list("names", "domains", "domains");
}

Test(vectors, who_is_held_out)
{
    cJSON *document = read_file("holdouts");
    const cJSON *vector = NULL;
    int count = 0;

    cJSON_ArrayForEach(vector, cJSON_GetObjectItemCaseSensitive(document, "holdouts"))
    {
        const char *domain = cJSON_GetObjectItemCaseSensitive(vector, "domain")->valuestring;
        const char *id = cJSON_GetObjectItemCaseSensitive(vector, "id")->valuestring;
        const int least = cJSON_GetObjectItemCaseSensitive(vector, "least")->valueint;
        cr_assert(holdout_has(least, domain, id), "%s", id);
        cr_assert_not(holdout_has(least - 1, domain, id), "%s", id);
        count++;
    }
    cr_assert_gt(count, 0);
    cJSON_Delete(document);
}

Test(vectors, bodies)
{
    hold_list("bodies", "bodies", "bodies");
}

Test(vectors, options)
{
    hold_list("options", "options", "options");
}

Test(vectors, results)
{
    hold_list("results", "results", "results");
}

static struct slice text_of(const cJSON *object, const char *name)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);

    cr_assert(cJSON_IsString(member), "%s", name);
    return (struct slice){member->valuestring, strlen(member->valuestring)};
}

Test(vectors, blocks_of_examples)
{
    cJSON *document = read_file("results");
    const cJSON *vector = NULL;

    cJSON_ArrayForEach(vector, cJSON_GetObjectItemCaseSensitive(document, "blocks"))
    {
        struct example examples[8];
        struct strbuf block = {0};
        size_t count = 0;
        const cJSON *example = NULL;
        cJSON_ArrayForEach(example, cJSON_GetObjectItemCaseSensitive(vector, "examples"))
        {
            examples[count++] =
                (struct example){.id = text_of(example, "id"), .text = text_of(example, "text")};
        }
        prompt_block_render(examples, count, &block);
        strbuf_append_str(&block, "");
        cr_assert_str_eq(block.data, text_of(vector, "few_shot").data);
        strbuf_free(&block);
    }
    cJSON_Delete(document);
}

static struct meta_pair pair_of(const cJSON *member)
{
    const struct slice key = slice_of(member->string);

    return cJSON_IsNumber(member)
               ? (struct meta_pair){key,
                                    {.type = META_INT, .integer = (int64_t)member->valuedouble}}
               : (struct meta_pair){key,
                                    {.type = META_STRING, .string = slice_of(member->valuestring)}};
}

static void expect_half(const cJSON *vector, const char *name, bool is_task, struct slice half)
{
    cr_assert_eq(cJSON_HasObjectItem(vector, name), is_task, "%s", name);
    cr_assert(!is_task || slice_equal(text_of(vector, name), half), "\"%s\" is not \"%.*s\"",
              text_of(vector, name).data, (int)half.bytes, half.data);
}

Test(vectors, past_tasks_and_what_is_none)
{
    cJSON *document = read_file("results");
    const cJSON *vector = NULL;
    int seen = 0;

    cJSON_ArrayForEach(vector, cJSON_GetObjectItemCaseSensitive(document, "tasks"))
    {
        const cJSON *given = cJSON_GetObjectItemCaseSensitive(vector, "example");
        const cJSON *member = NULL;
        struct meta_pair pairs[4];
        struct example example = {
            .id = text_of(given, "id"), .text = text_of(given, "text"), .distance = 0.25};
        struct halves halves = {{NULL, 0}, {NULL, 0}};
        struct strbuf packed = {0};
        struct strbuf hex = {0};
        example.metadata = pairs;
        cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(given, "metadata"))
        {
            pairs[example.metadata_count++] = pair_of(member);
        }
        const bool is_task = example_split(&example, &halves);
        expect_half(vector, "prompt", is_task, halves.prompt);
        expect_half(vector, "result", is_task, halves.result);
        bodies_encode_result(
            &(struct enrich_result){.domain = slice_of("legal"),
                                    .query_hash = slice_of("0123456789abcdef0123456789abcdef"),
                                    .created_unix_ms = 1,
                                    .epoch = 9,
                                    .k = 5,
                                    .examples = &example,
                                    .count = 1,
                                    .few_shot = {"", 0}},
            &packed);
        for (size_t i = 0; i < packed.bytes; i++) {
            strbuf_printf(&hex, "%02x", (unsigned char)packed.data[i]);
        }
        cr_assert_str_eq(hex.data, text_of(vector, "hex").data);
        strbuf_free(&packed);
        strbuf_free(&hex);
        seen++;
    }
    cr_assert_gt(seen, 10);
    cJSON_Delete(document);
}

Test(vectors, lines_of_json)
{
    cJSON *document = read_file("lines");
    struct arena arena = {0};
    struct line_job job = {0};
    const cJSON *vector = NULL;

    cJSON_ArrayForEach(vector, cJSON_GetObjectItemCaseSensitive(document, "lines"))
    {
        const struct line_defaults defaults = {
            .kind = kind_of(text_of(vector, "kind").data, text_of(vector, "kind").bytes),
            .domain = "legal",
            .priority = JOB_NORMAL,
            .max_body_bytes = 256 * 1024};
        const struct slice line = text_of(vector, "line");
        struct error err = {0};
        cJSON *answer = cJSON_CreateObject();
        if (line_job_decode(&defaults, (struct slice){line.data, line.bytes}, &arena, &job, &err) ==
            STATUS_OK) {
            cJSON_AddStringToObject(answer, "domain", job.domain);
            const struct job_options options = {.priority = job.priority,
                                                .delay_ms = job.delay_ms,
                                                .unique = {job.unique, strlen(job.unique)}};
            char text[640];
            cr_assert_eq(job.deadline_ms, 0, "it would be counted from now");
            (void)job_options_format(&options, text, sizeof text);
            cJSON_AddStringToObject(answer, "options", text);
            vectors_add_hex(answer, "body", &job.body);
            if (job.strangers > 0) {
                cJSON_AddStringToObject(answer, "stranger", job.stranger);
            }
        } else {
            cJSON_AddStringToObject(answer, "error", err.text);
        }
        hold(vector, answer);
        cJSON_Delete(answer);
    }
    line_job_free(&job);
    arena_free(&arena);
    cJSON_Delete(document);
}
