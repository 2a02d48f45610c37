/* cli/commands/doctor.h - the findings of `stillhouse doctor`: what was looked at, how it is, what
 * to do. */
#ifndef STILLHOUSE_CLI_COMMANDS_DOCTOR_H
#define STILLHOUSE_CLI_COMMANDS_DOCTOR_H

#include "cli/frame/cli.h"
#include "cli/frame/output.h"
#include "redis/conn.h"

enum finding { FINDING_OK, FINDING_WARNING, FINDING_ERROR, FINDINGS };

struct doctor {
    const struct cli *cli;
    struct table table;
    struct strbuf checks; /* the same as JSON objects, comma-separated */
    size_t count[FINDINGS];
    bool redis_unreachable;
};

/* One check: its name, what was found, and what to do ("" when nothing). */
void doctor_note(struct doctor *doctor, enum finding finding, const char *check, const char *advice,
                 const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Each looks at one server and notes what it finds. */
void doctor_redis(struct doctor *doctor);
void doctor_upstreams(struct doctor *doctor);

#endif
