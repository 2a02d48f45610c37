/* commands.c - the table of commands, and the help that is made from it. */
#include <stdio.h>
#include <string.h>

#include "cli/frame/cli.h"
#include "cli/frame/output.h"

static const struct cli_option no_options[] = {{NULL, NULL, NULL}};

static const struct cli_option enqueue_options[] = {
    {"domain", "D", "the job's domain; with --jsonl for lines without one"},
    {"query", "Q", "enrich: what the examples shall be about"},
    {"k", "N", "enrich: how many examples, 1..20 (default 3)"},
    {"task-id", "T", "distill: the task's id; the same id again replaces the experience"},
    {"prompt", "P", "distill: what the task was asked"},
    {"result", "R", "distill: what came out"},
    {"quality", "F", "distill: 0..1"},
    {"model", "M", "distill: which model made the result"},
    {"meta", "K=V", "distill: one pair of metadata, K=text or K:=number, true or false; repeats"},
    {"text", "T", "echo: the text that comes back"},
    {"priority", "P", "high, normal or low (default normal)"},
    {"delay", "TIME", "not before so long from now, e.g. 5s"},
    {"deadline", "TIME", "not after so long from now; the job then counts as expired"},
    {"wait", "TIME", "wait so long for the result and print it"},
    {"jsonl", "FILE", "one job a line, - for standard input"},
    {"stop-on-error", NULL, "with --jsonl: the first bad line ends it"},
    {"wait-full", NULL, "with --jsonl: wait for room instead of ending with exit code 5"},
    {NULL, NULL, NULL},
};

static const struct cli_option prompt_options[] = {
    {"domain", "D", "the task's domain"},
    {"query", "Q", "what the examples shall be about"},
    {"base", "FILE", "the prompt to enrich, - for standard input; at most 16 MiB"},
    {"wait", "TIME", "on a miss wait so long for the enrichment (default 0)"},
    {NULL, NULL, NULL},
};

static const struct cli_option result_options[] = {
    {"domain", "D", "the domain"},
    {"query", "Q", "the query, as it was enqueued"},
    {NULL, NULL, NULL},
};

static const struct cli_option stats_options[] = {
    {"watch", NULL, "again every second, with rates, until interrupted"},
    {NULL, NULL, NULL},
};

static const struct cli_option ping_options[] = {
    {"count", "N", "how many jobs, one after the other (default 4)"},
    {"wait", "TIME", "how long to wait for each (default 5s)"},
    {NULL, NULL, NULL},
};

static const struct cli_option resume_options[] = {
    {"parked", NULL, "release the jobs that wait for an upstream, of one queue or all"},
    {NULL, NULL, NULL},
};

static const struct cli_option dead_options[] = {
    {"all", NULL, "requeue or discard every dead letter of the queue"},
    {"limit", "N", "list: how many, the newest first (default 20)"},
    {NULL, NULL, NULL},
};

static const struct cli_option export_options[] = {
    {"domain", "D", "whose experiences"},
    {"format", "F", "chat (default) or completion"},
    {NULL, NULL, NULL},
};

static const struct cli_option purge_options[] = {
    {"yes", NULL, "do not ask"},
    {NULL, NULL, NULL},
};

static const struct cli_option verify_options[] = {
    {"repair", NULL, "put them right after somebody's DEL or junk, and say by how much"},
    {NULL, NULL, NULL},
};

static const struct cli_option flush_options[] = {
    {"wait", "TIME", "how long to try, also where Redis is away or a queue full (default 5s)"},
    {NULL, NULL, NULL},
};

const struct command cli_commands[] = {
    {"init", "", "load the functions into Redis and prepare the queues",
     "Safe to repeat. Redis must be 7.0 or newer.", no_options, cmd_init},
    {"enqueue",
     "enrich --domain D --query Q [--k N]\n"
     "distill --domain D --task-id T --prompt P --result R [--quality F] [--meta K=V ...]\n"
     "echo --domain D [--text T]\n"
     "enrich|distill|index|echo --jsonl FILE|-",
     "add one job, or one a line",
     "Prints the id that stands for the job. Fields of a line: domain priority delay deadline and\n"
     "  enrich   query k\n"
     "  distill  task_id prompt result success quality model metadata\n"
     "  index    documents: [{id, text, metadata}]\n"
     "  echo     text\n"
     "Other fields are left out; the first is named, all are counted.\n"
     "A bad line is reported with its number; the rest goes on and the exit code is 1.\n"
     "With --outbox DIR whatever Redis does not take, enrichments apart, is kept in that folder:\n"
     "the exit code is 0, a message says so, and the next enqueue or `stillhouse flush` sends it.",
     enqueue_options, cmd_enqueue},
    {"prompt", "--domain D --query Q --base FILE|- [--wait 0]",
     "the enriched prompt, or the base prompt unchanged",
     "Where no examples are cached the enrichment is enqueued for the next time.\n"
     "A server that is down is no failure: the base prompt comes out and the exit code is 0.",
     prompt_options, cmd_prompt},
    {"result", "--domain D --query Q", "the cached result of an enrichment as JSON",
     "Indented for people, on one line with --json. Exit code 4 where there is none.",
     result_options, cmd_result},
    {"stats", "[--watch]", "what stands where in every queue", "", stats_options, cmd_stats},
    {"workers", "", "who is alive", "", no_options, cmd_workers},
    {"ping", "[--count N]", "echo jobs through the queue and a worker, and how long they took",
     "Exit code 4 where none came back.", ping_options, cmd_ping},
    {"dead",
     "list QUEUE [--limit N]\n"
     "show QUEUE ID\n"
     "requeue QUEUE ID ...|--all\n"
     "discard QUEUE ID ...|--all",
     "the dead letters of a queue",
     "ID is the id of the dead letter or of the job. A requeued job has all its attempts again.",
     dead_options, cmd_dead},
    {"peek", "QUEUE [ID]", "the next jobs of a queue, or one by its id",
     "The first ten that wait, in the order of their priority, then of the delayed ones.",
     no_options, cmd_peek},
    {"pause", "QUEUE", "workers take no new job of a queue", "", no_options, cmd_pause},
    {"resume", "QUEUE\n[QUEUE] --parked", "the end of a pause; with --parked, of a wait",
     "Parked jobs wait for an upstream: `stats` says for which. With --parked they come as\n"
     "soon as its breaker is closed, at most STILLHOUSE_BREAKER_PAUSE later.",
     resume_options, cmd_resume},
    {"purge", "QUEUE [--yes]", "take all jobs out of a queue",
     "Those that wait, are delayed or run; the dead letters stay. They count as buried and\n"
     "discarded, who waits for one is told, and unique keys are free again. Asks first.",
     purge_options, cmd_purge},
    {"verify", "[--repair]", "whether the books of every queue balance",
     "enqueued + requeued + adjusted = done + buried + expired + waiting + running + delayed\n"
     "buried = dead + requeued + discarded\n"
     "adjusted is what --repair put right. Exit code 1 where one does not hold, or where jobs "
     "wait\n"
     "that are nobody's.",
     verify_options, cmd_verify},
    {"doctor", "", "what Redis, Chroma and the embedder are, and what will break",
     "Exit code 1 where something is an error, 3 where Redis cannot be reached.", no_options,
     cmd_doctor},
    {"export", "dataset --domain D [--format chat|completion]",
     "distilled experiences as fine-tuning JSON Lines", "", export_options, cmd_export},
    {"flush", "--outbox DIR [--wait 5s]", "send what is kept in an outbox",
     "Exit code 0 where nothing is left, 3 where Redis could not be reached, 4 where the time was\n"
     "over or running programs are about to send the rest, 5 where a queue is full.",
     flush_options, cmd_flush},
    {"help", "[COMMAND]", "this help, or a command's", "", no_options, cmd_help},
    {NULL, NULL, NULL, NULL, NULL, NULL},
};

const struct command *cli_command_find(const char *name)
{
    for (const struct command *command = cli_commands; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

/* ---- help ---------------------------------------------------------------------------------- */

void cli_help_all(void)
{
    puts("stillhouse: enqueue work for the Stillhouse fleet, use its results, look after it\n\n"
         "usage: stillhouse COMMAND [flags]\n\ncommands:");
    for (const struct command *command = cli_commands; command->name != NULL; command++) {
        printf("  %-8s  %s\n", command->name, command->summary);
    }
    puts("\n`stillhouse help COMMAND` has its flags. Of every command:\n"
         "  --json          one JSON document (or JSON Lines) on standard output\n"
         "  --help          its help\n"
         "  --version       the version\n"
         "  --print-config  the settings in force, secrets hidden\n\n"
         "settings (flags, then STILLHOUSE_... in the environment, then these defaults):");
    settings_print_help(stdout, SETTINGS_CLI);
    puts("\nexit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 a server could not be\n"
         "reached, 4 not found or timed out, 5 queue full");
}

static void print_usage(const struct command *command)
{
    const char *line = command->usage;

    for (;;) {
        const size_t bytes = strcspn(line, "\n");
        printf("%s stillhouse %s%s%.*s\n", line == command->usage ? "usage:" : "      ",
               command->name, bytes > 0 ? " " : "", (int)bytes, line);
        if (line[bytes] == '\0') {
            return;
        }
        line += bytes + 1;
    }
}

void cli_help_command(const struct command *command)
{
    print_usage(command);
    printf("\n%s\n", command->summary);
    if (command->details[0] != '\0') {
        printf("\n%s\n", command->details);
    }
    puts("\nflags:");
    for (const struct cli_option *option = command->options; option->name != NULL; option++) {
        char flag[48];
        snprintf(flag, sizeof flag, "--%s %s", option->name,
                 option->argument == NULL ? "" : option->argument);
        printf("  %-18s  %s\n", flag, option->help);
    }
    printf("  %-18s  %s\n", "--json", "one JSON document (or JSON Lines) on standard output");
    puts("\nsettings:");
    settings_print_help(stdout, SETTINGS_CLI);
}
