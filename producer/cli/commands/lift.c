/* cli/commands/lift.c - what examples are worth to a domain: success of the tasks that had them
 * against that of those that were held out, as the learning store has both. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "learn/arms.h"
#include "json/write.h"

#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)
#define SINCE_MAX_MS (36500 * DAY_MS)

/* ---- what is shown --------------------------------------------------------------------------- */

static const char *const verdicts[] = {
    [LIFT_UNKNOWN] = "unknown", [LIFT_HELPS] = "help", [LIFT_HURTS] = "hurt"};

static void put_arm(struct json_writer *json, const char *name, const struct arm *arm)
{
    const struct lift_interval interval = lift_wilson(&arm->tasks);

    json_open(json, name, '{');
    json_put_int(json, "tasks", arm->tasks.tasks);
    json_put_int(json, "successes", arm->tasks.successes);
    json_double(json_put(json, "low"), interval.low);
    json_double(json_put(json, "high"), interval.high);
    json_put_int(json, "tokens", arm->tokens);
    json_double(json_put(json, "cost"), arm->cost);
    json_close(json, '}');
}

static void print_json(const struct arms_question *asked, const struct arms *arms,
                       const struct lift *lift)
{
    struct output out;
    struct json_writer *json = output_object(&out);

    json_put_str(json, "domain", asked->domain.data);
    json_put_int(json, "days", asked->days);
    put_arm(json, "with", &arms->with);
    put_arm(json, "without", &arms->without);
    put_arm(json, "fallback", &arms->fallback);
    json_double(json_put(json, "difference"), lift->difference);
    json_double(json_put(json, "low"), lift->interval.low);
    json_double(json_put(json, "high"), lift->interval.high);
    json_put_str(json, "examples", verdicts[lift->verdict]);
    json_put_int(json, "more_tasks", lift->more);
    output_end(&out);
}

static void add_line(struct table *table, const char *name, const struct arm *arm)
{
    const struct lift_interval interval = lift_wilson(&arm->tasks);
    const struct lift_arm *tasks = &arm->tasks;

    table_text(table, name);
    table_int(table, tasks->tasks);
    if (tasks->tasks > 0) {
        table_printf(table, "%.1f %%", 100.0 * (double)tasks->successes / (double)tasks->tasks);
        table_printf(table, "%.1f..%.1f", 100 * interval.low, 100 * interval.high);
    } else {
        table_text(table, "-");
        table_text(table, "-");
    }
    table_int(table, arm->tokens);
    table_printf(table, "%.2f", arm->cost);
}

static void print_verdict(const struct arms *arms, const struct lift *lift)
{
    if (arms->without.tasks.tasks == 0 || arms->with.tasks.tasks == 0) {
        printf("Nothing to compare yet: no task %s has told its outcome%s.\n",
               arms->without.tasks.tasks == 0 ? "that was held out" : "with examples",
               arms->without.tasks.tasks == 0 ? "; STILLHOUSE_HOLDOUT=5% holds out some" : "");
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

static void print_table(const struct arms *arms, const struct lift *lift)
{
    static const char *const titles[] = {"prompts", ">tasks", ">succeeded", ">95 %",
                                         ">tokens", ">cost",  NULL};
    struct table table;

    table_init(&table, titles);
    add_line(&table, "with examples", &arms->with);
    add_line(&table, "held out", &arms->without);
    add_line(&table, "had none", &arms->fallback);
    table_print(&table);
    table_free(&table);
    print_verdict(arms, lift);
}

int cmd_lift(struct cli *cli)
{
    const int64_t since_ms = cli_duration(cli, "since", SINCE_MAX_MS, 30 * DAY_MS);
    struct arms_question asked = {
        .domain = slice_of(cli_domain(cli, true)),
        .days = (since_ms + DAY_MS - 1) / DAY_MS,
    };
    struct arms arms;
    struct error err = {0};

    struct store *store = cli_store(cli, STORE_READ);
    enum status status = database_now(store_database(store), &asked.now_unix_ms, &err);
    if (status == STATUS_OK) {
        status = arms_ask(store_database(store), &asked, &arms, &err);
    }
    store_close(store);
    if (status != STATUS_OK) {
        return cli_fail(&err);
    }
    const struct lift lift = lift_of(&arms.with.tasks, &arms.without.tasks);
    if (cli->json) {
        print_json(&asked, &arms, &lift);
    } else {
        print_table(&arms, &lift);
    }
    return CLI_DONE;
}
