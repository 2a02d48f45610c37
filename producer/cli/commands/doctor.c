/* cli/commands/doctor.c - what the servers are and what will break, and what to do about it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands/doctor.h"
#include "json/write.h"

static const char *const words[FINDINGS] = {"ok", "warning", "ERROR"};
static const char *const states[FINDINGS] = {"ok", "warning", "error"};

void doctor_note(struct doctor *doctor, enum finding finding, const char *check, const char *advice,
                 const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);

    doctor->count[finding]++;
    table_text(&doctor->table, words[finding]);
    table_text(&doctor->table, check);
    table_printf(&doctor->table, "%s%s%s", text, advice[0] == '\0' ? "" : ": ", advice);

    struct strbuf *out = &doctor->checks;
    strbuf_append_str(out, out->bytes == 0 ? "{\"check\":" : ",{\"check\":");
    json_str(out, check);
    strbuf_printf(out, ",\"state\":\"%s\",\"found\":", states[finding]);
    json_bytes(out, text, strlen(text));
    strbuf_append_str(out, ",\"advice\":");
    json_bytes(out, advice, strlen(advice));
    strbuf_append_char(out, '}');
}

static int print_json(const struct doctor *doctor)
{
    struct strbuf document = {0};

    strbuf_printf(&document, "{\"ok\":%s,\"warnings\":%zu,\"errors\":%zu,\"checks\":[",
                  doctor->count[FINDING_ERROR] == 0 ? "true" : "false",
                  doctor->count[FINDING_WARNING], doctor->count[FINDING_ERROR]);
    strbuf_append(&document, doctor->checks.data, doctor->checks.bytes);
    strbuf_append_str(&document, "]}");
    document.failed = document.failed || !strbuf_ok(&doctor->checks);
    const int code = json_print(&document);
    strbuf_free(&document);
    return code;
}

static int print_table(const struct doctor *doctor)
{
    if (!table_print(&doctor->table, stdout)) {
        return cli_out_of_memory();
    }
    printf("\n%zu ok, %zu warning%s, %zu error%s\n", doctor->count[FINDING_OK],
           doctor->count[FINDING_WARNING], doctor->count[FINDING_WARNING] == 1 ? "" : "s",
           doctor->count[FINDING_ERROR], doctor->count[FINDING_ERROR] == 1 ? "" : "s");
    return CLI_DONE;
}

static void check_environment(struct doctor *doctor)
{
    const char *first = NULL;
    const size_t count = settings_unknown_env(&first);

    if (count > 0) {
        doctor_note(doctor, FINDING_WARNING, "environment", "`stillhouse-worker --help` shows all",
                    "%.*s: no such setting (%zu such variables)", (int)strcspn(first, "="), first,
                    count);
    }
}

int cmd_doctor(struct cli *cli)
{
    struct doctor doctor = {.cli = cli};

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code != CLI_DONE) {
        return code;
    }
    table_init(&doctor.table, (const char *const[]){"state", "check", "found", NULL});
    check_environment(&doctor);
    doctor_redis(&doctor);
    doctor_upstreams(&doctor);

    code = cli->json ? print_json(&doctor) : print_table(&doctor);
    if (code == CLI_DONE && doctor.redis_unreachable) {
        code = CLI_UNREACHABLE;
    } else if (code == CLI_DONE && doctor.count[FINDING_ERROR] > 0) {
        code = CLI_FAILED;
    }
    table_free(&doctor.table);
    strbuf_free(&doctor.checks);
    return code;
}
