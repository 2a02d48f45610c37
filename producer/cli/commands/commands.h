/* cli/commands/commands.h - the commands: each runs with what frame/cli.h has parsed, and returns
 * the exit code. The table that names them is in main.c. */
#ifndef STILLHOUSE_CLI_COMMANDS_COMMANDS_H
#define STILLHOUSE_CLI_COMMANDS_COMMANDS_H

#include "cli/frame/cli.h"

/* init.c */
int cmd_init(struct cli *cli);
int cmd_ping(struct cli *cli);

/* enqueue.c; its forms and details are made from the table of kinds */
enum { ENQUEUE_DETAILS_BYTES = 4096 };
extern struct cli_form enqueue_forms[];
extern char enqueue_details[ENQUEUE_DETAILS_BYTES];
void enqueue_make_forms(void);
int cmd_enqueue(struct cli *cli);
int cmd_enqueue_lines(struct cli *cli);
int cmd_flush(struct cli *cli);

/* feedback.c */
int cmd_feedback(struct cli *cli);

/* prompt.c */
int cmd_prompt(struct cli *cli);
int cmd_messages(struct cli *cli);
int cmd_result(struct cli *cli);

/* stats.c */
int cmd_stats(struct cli *cli);
int cmd_workers(struct cli *cli);
int cmd_verify(struct cli *cli);

/* dead.c */
int cmd_dead_list(struct cli *cli);
int cmd_dead_show(struct cli *cli);
int cmd_dead_requeue(struct cli *cli);
int cmd_dead_discard(struct cli *cli);

/* peek.c */
int cmd_peek(struct cli *cli);

/* steer.c */
int cmd_pause(struct cli *cli);
int cmd_resume(struct cli *cli);
int cmd_release_parked(struct cli *cli);
int cmd_purge(struct cli *cli);

/* vectors.c */
int cmd_learn_embed(struct cli *cli);
int cmd_learn_forget(struct cli *cli);

/* learn.c; its details are made from the table of questions */
enum { LEARN_DETAILS_BYTES = 4096 };
extern char learn_details[LEARN_DETAILS_BYTES];
void learn_make_details(void);
int cmd_learn_ask(struct cli *cli);
int cmd_learn_parts(struct cli *cli);
int cmd_learn_backup(struct cli *cli);
int cmd_learn_check(struct cli *cli);
int cmd_learn_restore(struct cli *cli);
int cmd_learn_migrate(struct cli *cli);
int cmd_learn_adopt(struct cli *cli);

/* lift.c */
int cmd_lift(struct cli *cli);

/* doctor.c, export.c */
int cmd_doctor(struct cli *cli);
int cmd_export(struct cli *cli);

#endif
