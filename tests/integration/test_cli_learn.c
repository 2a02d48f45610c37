/* `stillhouse learn`: the questions, and what a person does to a store, on a store of its own. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli_fixture.h"
#include "folder.h"
#include "learn/store.h"
#include "ok.h"
#include "recorder_fixture.h"

enum { EACH = 20 }; /* executions a tier */

static char folder[200];
static char path[240];

/* small: 12 of 20 worked; large: all of them, a hundred times as dear. */
static void fill(struct store *store)
{
    struct error err = {0};
    size_t left = 1;
    const int64_t begin_ms = clock_unix_ms() - 1000;

    for (int i = 0; i < 2 * EACH; i++) {
        const bool is_large = i >= EACH;
        char id[16];
        snprintf(id, sizeof id, "t-%d", i);
        const struct part part = {
            .domain = slice_of("acme.shop"),
            .job_id = slice_of(id),
            .at_ms = begin_ms + i,
            .body = {.kind = slice_of("execution"),
                     .task_id = slice_of(id),
                     .task_type = slice_of("bug"),
                     .user = slice_of(i % 2 == 0 ? "ann" : "bob \"the\" builder"),
                     .model_tier = slice_of(is_large ? "large" : "small"),
                     .success = {is_large || i < 12, true},
                     .actual_cost = {is_large ? 1.0 : 0.01, true}}};
        OK(store_put(store, &part, 1, &err));
    }
    while (left > 0) {
        OK(store_refresh(store, clock_unix_ms(), 100, &left, &err));
    }
}

static void setup(void)
{
    struct store *store = NULL;
    struct error err = {0};

    start_redis();
    test_folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/learn.db", folder);
    OK(store_open(path, STORE_WRITE, &store, &err));
    fill(store);
    store_close(store);
    setenv("STILLHOUSE_LEARN", path, 1);
}

static void teardown(void)
{
    test_folder_remove(folder);
    redis_teardown();
}

TestSuite(cli_learn, .init = setup, .fini = teardown);

Test(cli_learn, a_router_is_told_each_tiers_success_and_cost)
{
    RUN(0, "learn", "route", "--domain", "acme.shop", "--task-type", "bug", "--json");
    cJSON *tiers = document();
    cr_assert_eq(cJSON_GetArraySize(tiers), 2);
    const cJSON *best = cJSON_GetArrayItem(tiers, 0);
    cr_assert_str_eq(text_at(best, "tier"), "large");
    cr_assert_str_eq(text_at(best, "from"), "type");
    cr_assert_eq(number_at(best, "finished"), EACH);
    cr_assert_float_eq(number_at(best, "success_at_least"), 0.8389, 0.001);
    cr_assert_float_eq(number_at(cJSON_GetArrayItem(tiers, 1), "success_rate"), 0.6, 1e-9);
    cJSON_Delete(tiers);
}

Test(cli_learn, the_same_rows_are_a_table_a_list_or_csv)
{
    RUN(0, "learn", "tiers", "--domain", "acme.shop");
    PRINTS("100 % ####################");
    PRINTS(" 60 % ############");
    RUN(0, "learn", "tiers", "--domain", "acme.shop", "--csv");
    PRINTS("\"tier\",\"executions\"");
    PRINTS("\"small\",20,20,12,0.6,");
    RUN(0, "learn", "tiers", "--domain", "nobody", "--json");
    cr_assert_str_eq(out, "[]\n");
    cr_assert_str_empty(err_out);
    RUN(0, "learn", "tiers", "--domain", "nobody");
    cr_assert_str_empty(out);
    SAYS("nothing found, `stillhouse learn domains` lists the domains");
    RUN(4, "learn", "task", "--domain", "nobody", "--task-id", "t-0", "--json");
    cr_assert_str_eq(out, "[]\n");
}

Test(cli_learn, a_table_is_for_people_and_its_title_no_wider_than_it_must)
{
    RUN(0, "learn", "tiers", "--domain", "acme.shop");
    PRINTS(" duration\n"); /* of mean_duration_seconds and duration_p95_seconds */
    cr_assert_null(strstr(out, "mean_duration_seconds"), "%s", out);
    RUN(0, "learn", "trend", "--domain", "acme.shop");
    cr_assert_null(strstr(out, "00:00:00Z"), "%s", out);
    RUN(0, "learn", "latest", "--domain", "acme.shop", "--limit", "1");
    PRINTS("  true ");
    RUN(0, "learn", "errors", "--domain", "acme.shop");
    PRINTS("-             8   20 %");
    RUN(0, "learn", "errors", "--domain", "nobody");
    SAYS("none of the last executions of domain \"nobody\" failed");
    RUN(0, "learn", "policy", "--domain", "acme.shop");
    SAYS("no policy of domain \"acme.shop\" is recorded");
    RUN(0, "learn", "feedback", "--domain", "acme.shop", "--task-id", "t-0");
    SAYS("no feedback of task \"t-0\" in domain \"acme.shop\"");
}

Test(cli_learn, its_help_says_what_each_question_is)
{
    RUN(0, "help", "learn");
    PRINTS("  errors     what the last executions failed of");
    PRINTS("Days and times are UTC");
    PRINTS(" --learn ");
    RUN(2, "learn", "tiers", "--domain", "d", "--days", "0");
    SAYS("days is 0, expected a whole number from 1 on");
}

Test(cli_learn, an_export_is_a_line_of_json_an_execution)
{
    size_t lines = 0;

    RUN(0, "learn", "export");
    for (const char *at = out; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    cr_assert_eq(lines, 2 * EACH);
    PRINTS("\"user\":\"bob \\\"the\\\" builder\"");
}

static void put_body(struct store *store, const char *id, struct record_body body)
{
    struct error err = {0};
    const struct part part = {.domain = slice_of("acme.shop"),
                              .job_id = slice_of(id),
                              .at_ms = clock_unix_ms() - 500,
                              .body = body};

    OK(store_put(store, &part, 1, &err));
}

/* The answer to the question, from the store in that file. */
static const char *told_by(const char *file, const char *name, const char *const *flags)
{
    const char *words[12] = {"learn", name, "--learn", file};

    for (size_t i = 0; flags[i] != NULL; i++) {
        words[4 + i] = flags[i];
    }
    cr_assert_eq(run_with(NULL, words), 0, "%s", err_out);
    return out;
}

Test(cli_learn, exported_parts_make_the_same_rows_in_another_store)
{
    static const struct {
        const char *name;
        const char *flags[6];
    } asked[] = {
        {"export", {NULL}},
        {"export", {"--parts"}},
        {"feedback", {"--domain", "acme.shop", "--task-id", "t-0", "--json"}},
        {"policy", {"--domain", "acme.shop", "--json"}},
    };
    static char parts[sizeof out];
    static char first[sizeof out];
    struct store *store = NULL;
    struct error err = {0};
    char other[260];
    int port = 0;

    OK(store_open(path, STORE_CHANGE, &store, &err));
    put_body(store, "f",
             (struct record_body){.kind = slice_of("feedback"),
                                  .task_id = slice_of("t-0"),
                                  .comment = slice_of("\"so\"\nso"),
                                  .user = slice_of("eve"),
                                  .user_accepted = {false, true},
                                  .user_rating = {2, true}});
    put_body(store, "p",
             (struct record_body){.kind = slice_of("policy"),
                                  .repo = slice_of("acme/shop"),
                                  .coverage_threshold = {80, true}});
    put_body(store, "s",
             (struct record_body){.kind = slice_of("pool_start"),
                                  .pool_id = slice_of("pool-1"),
                                  .pool_type = slice_of("warm"),
                                  .parallelism = {4, true}});
    put_body(store, "o",
             (struct record_body){.kind = slice_of("outcome"),
                                  .task_id = slice_of("unrouted"),
                                  .success = {false, true},
                                  .error_type = slice_of("timeout")});
    store_close(store);

    RUN(2, "learn", "export", "--parts", "--csv");
    SAYS("--csv and --parts exclude each other");
    RUN(0, "learn", "export", "--parts");
    PRINTS("{\"kind\":\"outcome\",\"domain\":\"acme.shop\",\"task_id\":\"unrouted\",");
    PRINTS("{\"kind\":\"pool_end\",\"domain\":\"acme.shop\",\"pool_id\":\"pool-1\",");
    snprintf(parts, sizeof parts, "%s", out);
    RUN_WITH(0, parts, "enqueue", "record", "--jsonl", "-");
    PRINTS("45 accepted, 0 deduplicated, 0 refused, 0 invalid"); /* of a pool two */
    snprintf(other, sizeof other, "%s/other.db", folder);
    const pid_t pid = start_recorder("other", other, &port);
    wait_for("record", "done", 45);
    end_recorder(pid, SIGTERM);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        snprintf(first, sizeof first, "%s", told_by(path, asked[i].name, asked[i].flags));
        cr_assert_gt(strlen(first), 10, "%s: %s", asked[i].name, first);
        cr_assert_str_eq(told_by(other, asked[i].name, asked[i].flags), first, "%s", asked[i].name);
    }
}

Test(cli_learn, what_is_forgotten_is_gone_and_what_is_left_is_whole)
{
    RUN(0, "learn", "forget", "--domain", "acme.shop", "--task-id", "t-0");
    PRINTS("1 forgotten");
    RUN(0, "learn", "forget", "--user", "bob \"the\" builder", "--json");
    PRINTS("{\"forgotten\":20}");
    RUN(0, "learn", "export", "--csv");
    cr_assert(strstr(out, "builder") == NULL, "%s", out);
    RUN(0, "learn", "stats", "--json");
    PRINTS("\"executions\":19");
    RUN(0, "learn", "check");
    PRINTS("whole");
}

Test(cli_learn, a_copy_brings_back_what_was_forgotten_after_it)
{
    char copy[260];

    snprintf(copy, sizeof copy, "%s/copy.db", folder);
    RUN(0, "learn", "backup", copy);
    RUN(1, "learn", "backup", copy);
    SAYS(copy);
    RUN(0, "learn", "forget", "--domain", "acme.shop", "--task-id", "t-0");
    RUN(4, "learn", "task", "--domain", "acme.shop", "--task-id", "t-0");
    SAYS("no execution of task \"t-0\" in domain \"acme.shop\"");
    RUN(0, "learn", "restore", copy);
    PRINTS("what stood there is kept as ");
    PRINTS(".before-restore");
    RUN(0, "learn", "task", "--domain", "acme.shop", "--task-id", "t-0", "--json");
    PRINTS("\"task_id\":\"t-0\"");
    RUN(0, "learn", "migrate", "--dry-run");
    PRINTS("has version 3");
    RUN(0, "learn", "migrate", "--to", "1", "--dry-run");
    PRINTS("would be copied to ");
    PRINTS(".version-3");
    PRINTS("would go from version 3 to 2");
    PRINTS("would go from version 2 to 1");
    RUN(0, "learn", "migrate", "--to", "1");
    PRINTS("went from version 2 to 1");
    RUN(2, "learn", "stats");
    SAYS("has version 1, expected 3");
    RUN(0, "learn", "migrate");
    PRINTS("went from version 1 to 2");
    PRINTS("went from version 2 to 3");
    RUN(1, "learn", "migrate", "--to", "1");
    SAYS("a file is there already");
    RUN(2, "learn", "migrate", "--to", "4");
    SAYS("version 4: expected 1 to 3");
}

Test(cli_learn, a_store_is_adopted_as_the_fleets)
{
    struct store *store = NULL;
    struct error err = {0};
    char printed[80];

    DO("SET", "sh:learn:store", "0123456789abcdef0123456789abcdef");
    RUN(0, "learn", "adopt");
    OK(store_open(path, STORE_READ, &store, &err));
    snprintf(printed, sizeof printed, "%s is the fleet's store", store_id(store));
    PRINTS(printed);
    redisReply *known = COMMAND("GET", "sh:learn:store");
    cr_assert_str_eq(known->str, store_id(store));
    redis_reply_free(known);
    store_close(store);
}

Test(cli_learn, the_doctor_looks_at_the_store_that_is_named)
{
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("learning store");
    PRINTS(" executions, ");
    DO("SET", "sh:learn:store", "0123456789abcdef0123456789abcdef");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1");
    PRINTS("the fleet's is 0123456789abcdef0123456789abcdef");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1", "--learn", "/nonexistent/learn.db");
    PRINTS("/nonexistent/learn.db");
    PRINTS("a recorder makes it");
    RUN(1, "doctor", "--chroma-url", "http://127.0.0.1:1", "--learn",
        "postgresql://u@127.0.0.1:1/d");
    PRINTS("start the server");
    cr_assert_null(strstr(out, "a recorder makes it"), "%s", out);
}

Test(cli_learn, what_is_missing_or_wrong_is_named)
{
    RUN(2, "learn", "tiers");
    SAYS("domain is missing");
    RUN(2, "learn", "tiers", "--domain", "d", "--days", "-3");
    SAYS("days is \"-3\", expected a whole number");
    RUN(2, "learn", "forget", "--domain", "acme.shop");
    SAYS("expected one of --task-id and --user");
    RUN(4, "learn", "stats", "--learn", "/nowhere/learn.db");
    SAYS("/nowhere/learn.db");
    RUN(2, "learn", "stats", "--learn", "mysql://u:secret@host/db");
    SAYS("expected the path of a file");
    RUN(2, "learn", "stats", "--learn", "");
    SAYS("no learning store is named");
    RUN(2, "learn", "backup", "");
    SAYS("expected the path of a file");
    RUN(2, "learn", "fly");
    SAYS("migrate, adopt, embed or forget");
}

/* More than a buffer, so that it is not the end of the program that sees it. */
Test(cli_learn, a_full_disk_behind_an_export_is_told)
{
    struct store *store = NULL;
    struct error err = {0};
    char text[60000];
    char line[800];
    char program[512];
    char said[400] = "";

    memset(text, 'x', sizeof text);
    OK(store_open(path, STORE_CHANGE, &store, &err));
    const struct part part = {.domain = slice_of("acme.shop"),
                              .job_id = slice_of("j"),
                              .at_ms = 1,
                              .body = {.kind = slice_of("routing"),
                                       .task_id = slice_of("t-1"),
                                       .task_description = {text, sizeof text}}};
    OK(store_put(store, &part, 1, &err));
    store_close(store);
    snprintf(line, sizeof line, "%s learn export 2>&1 >/dev/full",
             test_program("stillhouse", program));
    FILE *shell = popen(line, "r");
    cr_assert_gt(fread(said, 1, sizeof said - 1, shell), 0);
    cr_assert_neq(pclose(shell), 0);
    cr_assert_str_eq(said, "stillhouse: standard output: No space left on device\n");
}
