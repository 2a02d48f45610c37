/* cli/commands/main.c - the program `stillhouse`: for operators, and for producers that are
 * scripts. The table of its commands, from which arguments are checked and the help is made. */
#include <signal.h>

#include "base/descriptors.h"
#include "base/log.h"
#include "cli/commands/commands.h"

enum { ANY_NUMBER = 1 << 30 };

static const struct command commands[] = {
    {"init", "load the functions into Redis and prepare the queues",
     "Safe to repeat. Redis must be 7.0 or newer.", NULL,
     (const struct cli_form[]){{.usage = "", .run = cmd_init}, {.run = NULL}}},

    {"enqueue", "add one job, or one a line", enqueue_details,
     (const struct cli_option[]){
         {"domain", "D", "the job's domain; with --jsonl for lines without one", NULL},
#define JOB_FLAG(name, field, flag, argument, help) {flag, argument, help, #name},
#include "jobs/kinds.def"
         {"priority", "P", "high, normal or low (default normal)", NULL},
         {"delay", "TIME", "not before so long from now, e.g. 5s", NULL},
         {"deadline", "TIME", "not after so long from now; the job then counts as expired", NULL},
         {"wait", "TIME", "wait so long for the result and print it", NULL},
         {"jsonl", "FILE", "one job a line, - for standard input", NULL},
         {"stop-on-error", NULL, "with --jsonl: the first bad line ends it", NULL},
         {"wait-full", NULL, "with --jsonl: wait for room instead of ending with exit code 5",
          NULL},
         {NULL, NULL, NULL, NULL}},
     enqueue_forms},

    {"feedback", "what a user says of a task's result, for the learning store",
     "A record of the kind feedback: `enqueue record` gives all others. With --outbox DIR it is\n"
     "kept there where Redis does not take it. It waits until a worker serves the queue record.",
     (const struct cli_option[]){
         {"domain", "D", "the task's domain", NULL},
         {"task-id", "T", "which task", NULL},
         {"rating", "N", "1..5", NULL},
         {"accepted", NULL, "the user took the result", NULL},
         {"rejected", NULL, "or did not", NULL},
         {"comment", "TEXT", "in the user's words", NULL},
         {"type", "T", "what kind of feedback it is, in a word of your own", NULL},
         {"user", "U", "whose it is", NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{.usage = "--domain D --task-id T [--rating N] "
                                         "[--accepted|--rejected] [--comment TEXT]",
                                .run = cmd_feedback},
                               {.run = NULL}}},

    {"prompt", "the enriched prompt, or the base prompt unchanged; or the examples as messages",
     "Where no examples are cached the enrichment is enqueued for the next time.\n"
     "A server that is down is no failure: the base prompt comes out, or no messages, and the\n"
     "exit code is 0. Messages are a JSON list of role and content, the nearest example last;\n"
     "they are printed too where --examples is messages and no --base is given.",
     (const struct cli_option[]){
         {"domain", "D", "the task's domain", NULL},
         {"query", "Q", "what the examples shall be about", NULL},
         {"base", "FILE", "the prompt to enrich, - for standard input; at most 16 MiB", NULL},
         {"messages", NULL, "past tasks as chat messages", NULL},
         {"task-id", "T", "whose prompt it is: with --holdout all of a task's are held out or none",
          NULL},
         {"k", "N", "of messages: how many examples, 1..20 (default 3)", NULL},
         {"wait", "TIME", "on a miss wait so long for the enrichment (default 0)", NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){
         {.usage = "--domain D --query Q --base FILE|- [--task-id T] [--wait 0]",
          .run = cmd_prompt},
         {.flag = "messages",
          .usage = "--messages --domain D --query Q [--k N] [--task-id T] [--wait 0]",
          .run = cmd_messages},
         {.run = NULL}}},

    {"result", "the cached result of an enrichment as JSON",
     "Indented for people, on one line with --json. Exit code 4 where there is none.",
     (const struct cli_option[]){{"domain", "D", "the domain", NULL},
                                 {"query", "Q", "the query, as it was enqueued", NULL},
                                 {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{.usage = "--domain D --query Q", .run = cmd_result},
                               {.run = NULL}}},

    {"stats", "what stands where in every queue", "",
     (const struct cli_option[]){
         {"watch", NULL, "again every second, with rates, until interrupted", NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{.usage = "[--watch]", .run = cmd_stats}, {.run = NULL}}},

    {"workers", "who is alive", "", NULL,
     (const struct cli_form[]){{.usage = "", .run = cmd_workers}, {.run = NULL}}},

    {"ping", "echo jobs through the queue and a worker, and how long they took",
     "Exit code 4 where none came back.",
     (const struct cli_option[]){
         {"count", "N", "how many jobs, one after the other (default 4)", NULL},
         {"wait", "TIME", "how long to wait for each (default 5s)", NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{.usage = "[--count N]", .run = cmd_ping}, {.run = NULL}}},

    {"dead", "the dead letters of a queue",
     "ID is the id of the dead letter or of the job. A requeued job has all its attempts again.",
     (const struct cli_option[]){{"all", NULL, "every dead letter of the queue", "requeue discard"},
                                 {"limit", "N", "how many, the newest first (default 20)", "list"},
                                 {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{"list", NULL, "QUEUE [--limit N]", 1, 1, cmd_dead_list},
                               {"show", NULL, "QUEUE ID", 2, 2, cmd_dead_show},
                               {"requeue", NULL, "QUEUE ID ...", 2, ANY_NUMBER, cmd_dead_requeue},
                               {"requeue", "all", "QUEUE --all", 1, 1, cmd_dead_requeue},
                               {"discard", NULL, "QUEUE ID ...", 2, ANY_NUMBER, cmd_dead_discard},
                               {"discard", "all", "QUEUE --all", 1, 1, cmd_dead_discard},
                               {.run = NULL}}},

    {"peek", "the next jobs of a queue, or one by its id",
     "The first ten that wait, in the order of their priority, then of the delayed ones.", NULL,
     (const struct cli_form[]){{NULL, NULL, "QUEUE [ID]", 1, 2, cmd_peek}, {.run = NULL}}},

    {"pause", "workers take no new job of a queue", "", NULL,
     (const struct cli_form[]){{NULL, NULL, "QUEUE", 1, 1, cmd_pause}, {.run = NULL}}},

    {"resume", "the end of a pause; with --parked, of a wait",
     "Parked jobs wait for an upstream: `stats` says for which. With --parked they come as\n"
     "soon as its breaker is closed, at most STILLHOUSE_BREAKER_PAUSE later.",
     (const struct cli_option[]){
         {"parked", NULL, "release the jobs that wait for an upstream, of one queue or all", NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{NULL, NULL, "QUEUE", 1, 1, cmd_resume},
                               {NULL, "parked", "[QUEUE] --parked", 0, 1, cmd_release_parked},
                               {.run = NULL}}},

    {"purge", "take all jobs out of a queue",
     "Those that wait, are delayed or run; the dead letters stay. They count as buried and\n"
     "discarded, who waits for one is told, and unique keys are free again. Asks first.",
     (const struct cli_option[]){{"yes", NULL, "do not ask", NULL}, {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{NULL, NULL, "QUEUE [--yes]", 1, 1, cmd_purge}, {.run = NULL}}},

    {"verify", "whether the books of every queue balance",
     "enqueued + requeued + adjusted = done + buried + expired + waiting + running + delayed\n"
     "buried = dead + requeued + discarded\n"
     "adjusted is what --repair put right. Exit code 1 where one does not hold, or where jobs "
     "wait\n"
     "that are nobody's.",
     (const struct cli_option[]){
         {"repair", NULL, "put them right after somebody's DEL or junk, and say by how much", NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{.usage = "[--repair]", .run = cmd_verify}, {.run = NULL}}},

    {"doctor", "what Redis, Chroma and the embedder are, and what will break",
     "Exit code 1 where something is an error, 3 where Redis cannot be reached.", NULL,
     (const struct cli_form[]){{.usage = "", .run = cmd_doctor}, {.run = NULL}}},

    {"export", "distilled experiences as fine-tuning JSON Lines", "",
     (const struct cli_option[]){{"domain", "D", "whose experiences", NULL},
                                 {"format", "F", "chat (default) or completion", NULL},
                                 {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){
         {"dataset", NULL, "--domain D [--format chat|completion]", 0, 0, cmd_export},
         {.run = NULL}}},

    {"lift", "whether examples help: tasks that had them against those that were held out",
     "STILLHOUSE_HOLDOUT holds out a share; outcomes tell the prompt's `arm`. Tokens and cost are\n"
     "all that were told. The interval is of 95 %.",
     (const struct cli_option[]){
         {"domain", "D", "whose tasks", NULL},
         {"since", "TIME", "how far back, in whole days (default 30d)", NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{.usage = "--domain D [--since 30d]", .run = cmd_lift},
                               {.run = NULL}}},

    {"learn", "what executions taught: questions to the learning store, and its care",
     learn_details,
     (const struct cli_option[]){
         {"domain", "D", "whose executions",
          "tiers types pools solutions trend route lift similar latest errors task feedback policy "
          "forget embed"},
         {"task-type", "T", "of one task type only", "tiers trend route"},
         {"days", "N", "how many days back (default 30; lift 90)", "tiers types trend route lift"},
         {"hours", "N", "how many hours back (default 168)", "pools"},
         {"uses", "N", "used so often at least (default 5)", "solutions"},
         {"task", "TEXT", "what it is about", "similar"},
         {"limit", "N", "so many rows at most (default 5 of similar, which has at most 20)",
          "solutions latest domains similar"},
         {"last", "N", "of how many executions, the newest first (default 1000)", "errors"},
         {"least", "N", "finished executions, below which wider figures are taken (default 10)",
          "route"},
         {"task-id", "T", "which execution", "task feedback forget"},
         {"after", "D", "domains that sort behind this one", "domains"},
         {"since-ms", "MS", "from this moment on, Unix ms", "export"},
         {"parts", NULL, "all of the store, as lines of `enqueue record --jsonl`", "export"},
         {"user", "U", "all of this user's, in one domain or in all", "forget"},
         {"to", "N", "this version (default: the newest)", "migrate"},
         {"dry-run", NULL, "change nothing, only say what would be", "migrate"},
         {"mend", NULL, "what is not as its executions make it is computed again", "check"},
         {"csv", NULL, "lines of CSV with a head",
          "tiers types pools solutions trend route lift similar latest errors task feedback policy "
          "stats domains export"},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){
         {"tiers", NULL, "--domain D [--task-type T] [--days N]", 0, 0, cmd_learn_ask},
         {"types", NULL, "--domain D [--days N]", 0, 0, cmd_learn_ask},
         {"pools", NULL, "--domain D [--hours N]", 0, 0, cmd_learn_ask},
         {"solutions", NULL, "--domain D [--uses N] [--limit N]", 0, 0, cmd_learn_ask},
         {"trend", NULL, "--domain D [--task-type T] [--days N]", 0, 0, cmd_learn_ask},
         {"route", NULL, "--domain D [--task-type T] [--days N] [--least N]", 0, 0, cmd_learn_ask},
         {"lift", NULL, "--domain D [--days N]", 0, 0, cmd_learn_ask},
         {"similar", NULL, "--domain D --task TEXT [--limit N]", 0, 0, cmd_learn_ask},
         {"latest", NULL, "--domain D [--limit N]", 0, 0, cmd_learn_ask},
         {"errors", NULL, "--domain D [--last N]", 0, 0, cmd_learn_ask},
         {"task", NULL, "--domain D --task-id T", 0, 0, cmd_learn_ask},
         {"feedback", NULL, "--domain D --task-id T", 0, 0, cmd_learn_ask},
         {"policy", NULL, "--domain D", 0, 0, cmd_learn_ask},
         {"stats", NULL, "", 0, 0, cmd_learn_ask},
         {"domains", NULL, "[--after D] [--limit N]", 0, 0, cmd_learn_ask},
         {"export", NULL, "[--since-ms MS] [--csv]", 0, 0, cmd_learn_ask},
         {"export", "parts", "--parts [--since-ms MS]", 0, 0, cmd_learn_parts},
         {"backup", NULL, "FILE", 1, 1, cmd_learn_backup},
         {"restore", NULL, "FILE", 1, 1, cmd_learn_restore},
         {"check", NULL, "[--mend]", 0, 0, cmd_learn_check},
         {"migrate", NULL, "[--to N] [--dry-run]", 0, 0, cmd_learn_migrate},
         {"adopt", NULL, "", 0, 0, cmd_learn_adopt},
         {"embed", NULL, "[--domain D]", 0, 0, cmd_learn_embed},
         {"forget", NULL, "--domain D --task-id T", 0, 0, cmd_learn_forget},
         {"forget", "user", "--user U [--domain D]", 0, 0, cmd_learn_forget},
         {.run = NULL}}},

    {"flush", "send what is kept in an outbox",
     "Exit code 0 where nothing is left, 3 where Redis could not be reached, 4 where the time was\n"
     "over or running programs are about to send the rest, 5 where a queue is full.",
     (const struct cli_option[]){
         {"wait", "TIME", "how long to try, also where Redis is away or a queue full (default 5s)",
          NULL},
         {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{.usage = "--outbox DIR [--wait 5s]", .run = cmd_flush},
                               {.run = NULL}}},

    {"help", "this help, or a command's", "", NULL,
     (const struct cli_form[]){{NULL, NULL, "[COMMAND]", 0, 1, cli_help}, {.run = NULL}}},

    {NULL, NULL, NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
    struct cli cli;

    if (!descriptors_reserve()) {
        return CLI_FAILED;
    }
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is seen as a failed write */
    enqueue_make_forms();
    learn_make_details();
    cli_parse(&cli, commands, argc, argv);
    log_set_level(cli.settings.log_level);
    const int code = cli.form->run(&cli);
    cli_free(&cli);
    cli_exit(code);
}
