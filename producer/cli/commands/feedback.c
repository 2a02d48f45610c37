/* cli/commands/feedback.c - what a user says of a task's result, for the learning store: a record
 * of the kind feedback. */
#include <stdio.h>

#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"

enum { MOST_FIELDS = 5 };

struct said {
    stillhouse_meta fields[MOST_FIELDS];
    size_t count;
};

static void add(struct said *said, stillhouse_meta field)
{
    said->fields[said->count++] = field;
}

static void add_text(struct said *said, const struct cli *cli, const char *flag, const char *field)
{
    if (cli_has(cli, flag)) {
        add(said, stillhouse_text(field, cli_text(cli, flag)));
    }
}

static void read_flags(const struct cli *cli, struct said *said)
{
    const bool accepted = cli_has(cli, "accepted");

    if (accepted && cli_has(cli, "rejected")) {
        cli_usage(cli->command, "--accepted and --rejected exclude each other");
    }
    if (cli_has(cli, "rating")) {
        add(said, stillhouse_whole("user_rating", cli_int(cli, "rating", 1, 5, 0)));
    }
    if (accepted || cli_has(cli, "rejected")) {
        add(said, stillhouse_truth("user_accepted", accepted));
    }
    add_text(said, cli, "comment", "comment");
    if (said->count == 0) {
        cli_usage(cli->command, "expected --rating, --accepted, --rejected or --comment");
    }
    add_text(said, cli, "type", "feedback_type");
    add_text(said, cli, "user", "user");
}

static void print_id(const struct cli *cli, const char *id, bool kept)
{
    if (!cli->json) {
        puts(id);
        return;
    }
    struct output out;
    struct json_writer *json = output_object(&out);
    json_put_str(json, "id", id);
    if (kept) {
        json_put_bool(json, "kept", true);
    }
    output_end(&out);
}

int cmd_feedback(struct cli *cli)
{
    const struct client_bounds bounds = {CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, true};
    struct said said = {.count = 0};
    char id[STILLHOUSE_ID_BYTES];

    read_flags(cli, &said);
    const stillhouse_part part = {.domain = cli_domain(cli, true),
                                  .kind = "feedback",
                                  .task_id = cli_text(cli, "task-id"),
                                  .fields = said.fields,
                                  .field_count = said.count};
    stillhouse_client *client = cli_client(cli, bounds);
    const stillhouse_status status = stillhouse_record(client, &part, id);
    const bool kept = status == STILLHOUSE_KEPT;
    if (kept) {
        cli_message("%s", stillhouse_error(client));
    }
    const int code = kept || status == STILLHOUSE_OK ? CLI_DONE : client_fail(client, status);
    stillhouse_close(client);
    if (code == CLI_DONE) {
        print_id(cli, id, kept);
    }
    return code;
}
