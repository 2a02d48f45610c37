/* The main job, ended as chat messages: real workers on a real Redis and a real Chroma, and the
 * library's calls. */
#include "fleet_fixture.h"
#include "stillhouse.h"

enum { CALLERS_KEYS = 64 };

static stillhouse_client *client;
static stillhouse_messages_result past;

static void setup(void)
{
    fleet_setup();
    const stillhouse_options here = {.size = sizeof here,
                                     .redis_url = redis.url,
                                     .connect_timeout_ms = 5000,
                                     .command_timeout_ms = 5000};
    cr_assert_eq(stillhouse_open(&here, &client), STILLHOUSE_OK, "%s", stillhouse_open_error());
}

static void teardown(void)
{
    stillhouse_messages_free(&past);
    stillhouse_close(client);
    fleet_teardown();
}

TestSuite(messages, .init = setup, .fini = teardown, .timeout = 120);

static void distill(const char *id, const char *prompt, const char *result,
                    const stillhouse_meta *metadata, size_t count)
{
    const stillhouse_experience done = {.domain = "legal",
                                        .task_id = id,
                                        .prompt = prompt,
                                        .result = result,
                                        .success = true,
                                        .quality = 0.9,
                                        .metadata = metadata,
                                        .metadata_count = count};

    cr_assert_eq(stillhouse_enqueue_distill(client, &done, NULL, NULL), STILLHOUSE_OK, "%s",
                 stillhouse_error(client));
}

static void enriched(const char *query, int k)
{
    stillhouse_messages_free(&past);
    cr_assert_eq(stillhouse_messages(client, "legal", query, k, PATIENCE_MS, &past),
                 STILLHOUSE_PROMPT_ENRICHED, "%d: %s", (int)past.status, stillhouse_error(client));
}

static void says(size_t i, const char *role, const char *content)
{
    cr_assert_lt(i, past.count);
    cr_assert_str_eq(past.messages[i].role, role);
    cr_assert_str_eq(past.messages[i].content, content);
}

static const stillhouse_meta *meta_of(const stillhouse_example *example, const char *key)
{
    for (size_t i = 0; i < example->metadata_count; i++) {
        if (strcmp(example->metadata[i].key, key) == 0) {
            return &example->metadata[i];
        }
    }
    return NULL;
}

/* Whatever prompt and metadata, what was handed in comes back: blank lines, a line end before the
 * blank line, a key of ours with a lie in it, as many keys as a caller may have. */
Test(messages, distilled_tasks_come_back_split_exactly_and_the_nearest_last)
{
    static const char near[] = "notice period for tenants\n\nin a flat\n\n\nof two rooms\n";
    static const char far[] = "notice period of landlords";
    static const stillhouse_document document = {.id = "law", .text = "notice period\n\nlaw"};
    stillhouse_meta metadata[CALLERS_KEYS];
    char keys[CALLERS_KEYS][16];
    stillhouse_result *result = NULL;

    for (size_t i = 0; i < CALLERS_KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "key %zu", i);
        metadata[i] = (stillhouse_meta){.key = keys[i], .type = STILLHOUSE_META_INT, .integer = 1};
    }
    metadata[0].key = "prompt_bytes";
    start_fleet();
    distill("near", near, "three\n\nmonths", metadata, CALLERS_KEYS);
    distill("far", far, "a year", NULL, 0);
    cr_assert_eq(stillhouse_enqueue_index(client, "legal", &document, 1, NULL, NULL),
                 STILLHOUSE_OK);
    wait_for("distill", "done", 2);
    wait_for("index", "done", 1);

    enriched("notice period for tenants in a flat of two rooms", 3);
    cr_assert_eq(past.count, 4, "the document is no task: %zu", past.count);
    cr_assert_eq(past.examples, 2);
    says(0, "user", far);
    says(1, "assistant", "a year");
    says(2, "user", near);
    says(3, "assistant", "three\n\nmonths");

    enriched("notice period for tenants in a flat of two rooms", 1); /* from the same result */
    cr_assert_eq(past.count, 2);
    says(0, "user", near);

    cr_assert_eq(stillhouse_lookup(client, "legal",
                                   "notice period for tenants in a flat of two rooms", 3, &result),
                 STILLHOUSE_OK);
    for (size_t i = 0; i < result->count; i++) {
        const stillhouse_example *example = &result->examples[i];
        const bool is_task = strcmp(example->id, "law") != 0;
        cr_assert_eq(stillhouse_example_prompt(result, i) != NULL, is_task);
        cr_assert_eq(stillhouse_example_result(result, i) != NULL, is_task);
        if (strcmp(example->id, "near") == 0) {
            cr_assert_eq(stillhouse_message_distance(&past, 0), example->distance);
            cr_assert_eq(stillhouse_message_distance(&past, 1), example->distance);
            cr_assert(example->distance >= 0 && example->distance <= 2);
            cr_assert_str_eq(stillhouse_example_prompt(result, i), near);
            cr_assert_str_eq(stillhouse_example_result(result, i), "three\n\nmonths");
            cr_assert_eq(meta_of(example, "caller_prompt_bytes")->integer, 1);
            cr_assert_not_null(meta_of(example, "key 63"));
        }
    }
    stillhouse_result_free(result);
    stop_fleet();
}
