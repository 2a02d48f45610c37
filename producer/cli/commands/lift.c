/* cli/commands/lift.c - what examples are worth to a domain: success of the tasks that had them
 * against that of those that were held out, as the learning store has both. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "learn/lift.h"
#include "learn/questions.h"
#include "json/write.h"

#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)
#define SINCE_MAX_MS (36500 * DAY_MS)

/* Of one kind of prompts or several; tokens and cost are of all that name them. */
struct group {
    struct lift_arm arm;
    int64_t tokens;
    double cost;
};

struct groups {
    struct group with, without, fallback;
};

static struct group *group_of(struct groups *groups, struct slice arm)
{
    static const struct {
        const char *arm;
        size_t offset;
    } known[] = {
        {"enriched", offsetof(struct groups, with)},
        {"stale", offsetof(struct groups, with)},
        {"holdout", offsetof(struct groups, without)},
        {"fallback", offsetof(struct groups, fallback)},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (slice_equal(arm, slice_of(known[i].arm))) {
            return (struct group *)(void *)((char *)groups + known[i].offset);
        }
    }
    return NULL;
}

static void add_row(struct groups *groups, const struct rows *rows)
{
    struct group *group = group_of(groups, rows_value(rows, 0).text);

    if (group != NULL) {
        group->arm.tasks += rows_value(rows, 2).integer;
        group->arm.successes += rows_value(rows, 3).integer;
        group->tokens += rows_value(rows, 4).integer;
        group->cost += rows_value(rows, 5).number;
    }
}

static enum status ask_store(struct store *store, const char *domain, int64_t days,
                             struct groups *groups, struct error *err)
{
    const struct store_question *question = question_find(slice_of("lift"));
    struct rows rows;
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, days);
    const struct slice given[QUESTION_PARAMETERS_MAX] = {slice_of(domain), slice_of(text)};
    struct value with[QUESTION_PARAMETERS_MAX];

    TRY(question_take(question, given, with, err));
    TRY(question_ask(store_database(store), question, with, clock_unix_ms(), &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        add_row(groups, &rows);
    }
    return rows_end(&rows);
}

/* ---- what is shown --------------------------------------------------------------------------- */

static const char *const verdicts[] = {
    [LIFT_UNKNOWN] = "unknown", [LIFT_HELPS] = "help", [LIFT_HURTS] = "hurt"};

static void put_group(struct json_writer *json, const char *name, const struct group *group)
{
    const struct lift_interval interval = lift_wilson(&group->arm);

    json_open(json, name, '{');
    json_put_int(json, "tasks", group->arm.tasks);
    json_put_int(json, "successes", group->arm.successes);
    json_double(json_put(json, "low"), interval.low);
    json_double(json_put(json, "high"), interval.high);
    json_put_int(json, "tokens", group->tokens);
    json_double(json_put(json, "cost"), group->cost);
    json_close(json, '}');
}

static void print_json(const char *domain, int64_t days, const struct groups *groups,
                       const struct lift *lift)
{
    struct output out;
    struct json_writer *json = output_object(&out);

    json_put_str(json, "domain", domain);
    json_put_int(json, "days", days);
    put_group(json, "with", &groups->with);
    put_group(json, "without", &groups->without);
    put_group(json, "fallback", &groups->fallback);
    json_double(json_put(json, "difference"), lift->difference);
    json_double(json_put(json, "low"), lift->interval.low);
    json_double(json_put(json, "high"), lift->interval.high);
    json_put_str(json, "examples", verdicts[lift->verdict]);
    json_put_int(json, "more_tasks", lift->more);
    output_end(&out);
}

static void add_line(struct table *table, const char *name, const struct group *group)
{
    const struct lift_interval interval = lift_wilson(&group->arm);
    const struct lift_arm *arm = &group->arm;

    table_text(table, name);
    table_int(table, arm->tasks);
    if (arm->tasks > 0) {
        table_printf(table, "%.1f %%", 100.0 * (double)arm->successes / (double)arm->tasks);
        table_printf(table, "%.1f..%.1f", 100 * interval.low, 100 * interval.high);
    } else {
        table_text(table, "-");
        table_text(table, "-");
    }
    table_int(table, group->tokens);
    table_printf(table, "%.2f", group->cost);
}

static void print_verdict(const struct groups *groups, const struct lift *lift)
{
    if (groups->without.arm.tasks == 0 || groups->with.arm.tasks == 0) {
        printf("Nothing to compare yet: no task %s has told its outcome%s.\n",
               groups->without.arm.tasks == 0 ? "that was held out" : "with examples",
               groups->without.arm.tasks == 0 ? "; STILLHOUSE_HOLDOUT=5% holds out some" : "");
        return;
    }
    printf("%s: %+.1f points, %+.1f to %+.1f with 95 %%.\n",
           lift->verdict == LIFT_HELPS   ? "Examples help"
           : lift->verdict == LIFT_HURTS ? "Examples hurt"
                                         : "It cannot be told apart yet",
           100 * lift->difference, 100 * lift->interval.low, 100 * lift->interval.high);
    if (lift->verdict == LIFT_UNKNOWN && lift->more > 0) {
        printf("About %" PRId64 " more tasks would tell such a difference.\n", lift->more);
    }
}

static void print_table(const struct groups *groups, const struct lift *lift)
{
    static const char *const titles[] = {"prompts", ">tasks", ">succeeded", ">95 %",
                                         ">tokens", ">cost",  NULL};
    struct table table;

    table_init(&table, titles);
    add_line(&table, "with examples", &groups->with);
    add_line(&table, "held out", &groups->without);
    add_line(&table, "had none", &groups->fallback);
    table_print(&table);
    table_free(&table);
    print_verdict(groups, lift);
}

int cmd_lift(struct cli *cli)
{
    const char *domain = cli_domain(cli, true);
    const int64_t since_ms = cli_duration(cli, "since", SINCE_MAX_MS, 30 * DAY_MS);
    const int64_t days = (since_ms + DAY_MS - 1) / DAY_MS;
    struct groups groups = {0};
    struct error err = {0};

    struct store *store = cli_store(cli, STORE_READ);
    const enum status status = ask_store(store, domain, days, &groups, &err);
    store_close(store);
    if (status != STATUS_OK) {
        return cli_fail(&err);
    }
    const struct lift lift = lift_of(&groups.with.arm, &groups.without.arm);
    if (cli->json) {
        print_json(domain, days, &groups, &lift);
    } else {
        print_table(&groups, &lift);
    }
    return CLI_DONE;
}
