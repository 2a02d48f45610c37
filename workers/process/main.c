/* stillhouse-worker: settings, preflight, fleet, endpoint, signals. */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/must.h"
#include "http/client.h"
#include "jobs/kinds.h"
#include "process/fleet.h"
#include "process/health.h"
#include "process/preflight.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };
enum { OPTION_HELP = 1000, OPTION_VERSION, OPTION_PRINT, OPTION_SETTING };

static int fail(int code, const char *text)
{
    char line[ERROR_TEXT_BYTES + 32];

    snprintf(line, sizeof line, "stillhouse-worker: %s", text);
    log_plain(line);
    return code;
}

/* The last lines, as far as somebody reads them. Every way out after log_start goes through here.
 */
static int leave(int code)
{
    enum { LAST_LINES_MS = 500 };

    log_flush(LAST_LINES_MS);
    return code;
}

static void print_help(void)
{
    printf(
        "usage: stillhouse-worker [--SETTING VALUE ...]\n\n"
        "Takes enrichment, distillation and index jobs from Redis, and works them off.\n"
        "SIGTERM, SIGINT or SIGHUP drains (running jobs are finished, others are handed back); a "
        "second\n"
        "signal stops at once. Settings come from flags, then the environment, then defaults.\n\n"
        "  --help               this text\n"
        "  --version            the version\n"
        "  --print-config       the settings in force, secrets hidden\n\n");
    settings_print_help(stdout, SETTINGS_WORKER);
}

/* One long option a setting, behind the three of our own. */
static struct option *make_options(void)
{
    size_t count = settings_count();
    struct option *options = must_alloc(count + 4, sizeof *options);

    options[0] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    options[1] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    options[2] = (struct option){"print-config", no_argument, NULL, OPTION_PRINT};
    for (size_t i = 0; i < count; i++) {
        options[i + 3] =
            (struct option){settings_row(i).flag, required_argument, NULL, OPTION_SETTING};
    }
    return options;
}

/* One heap for all lanes. Each with its own kept the most it ever held, though lanes are seldom at
 * their most together: with one, what a lane frees is what the next one takes. Giving it all back
 * to the system costs 200 page faults a batch, a sixth of its time; so does a mapping for each
 * buffer. The lock is no matter: Redis, which hands out the jobs, is one thread. */
static void share_heap(void)
{
    enum { MAPPED_BYTES = 192 * 1024, SPARE_BYTES = 256 * 1024 };

    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES); /* fixed: malloc would raise it to 32 MiB by itself */
    mallopt(M_TRIM_THRESHOLD, SPARE_BYTES);
}

/* Its memory holds keys and passwords. One byte and not none: where core_pattern is a pipe, the
 * kernel does not look at the limit but for this value. (PR_SET_DUMPABLE would also take /proc and
 * the debugger from the one who runs it.) */
static void leave_no_core(void)
{
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1});
}

enum action { ACTION_RUN, ACTION_PRINT, ACTION_EXIT };

/* Parses the command line into `settings`; *code is the exit code for ACTION_EXIT. */
static enum action parse_arguments(int argc, char **argv, struct settings *settings, int *code)
{
    struct option *options = make_options();
    enum action action = ACTION_RUN;
    int index = 0;
    int option;

    *code = EXIT_DONE;
    opterr = 1;
    while (action != ACTION_EXIT && (option = getopt_long(argc, argv, "", options, &index)) != -1) {
        struct error err = {0};
        char source[64];
        switch (option) {
        case OPTION_HELP:
            print_help();
            action = ACTION_EXIT;
            break;
        case OPTION_VERSION:
            printf("stillhouse-worker %s\n", STILLHOUSE_VERSION_TEXT);
            action = ACTION_EXIT;
            break;
        case OPTION_PRINT:
            action = ACTION_PRINT;
            break;
        case OPTION_SETTING:
            snprintf(source, sizeof source, "--%s", options[index].name);
            if (settings_set(settings, options[index].name, optarg, source, &err) != STATUS_OK) {
                *code = fail(EXIT_USAGE, err.text);
                action = ACTION_EXIT;
            }
            settings_blank(options[index].name, optarg);
            break;
        default:
            *code = fail(EXIT_USAGE, "see --help");
            action = ACTION_EXIT;
        }
    }
    if (action != ACTION_EXIT && optind < argc) {
        fprintf(stderr, "stillhouse-worker: unexpected argument \"%s\", see --help\n",
                argv[optind]);
        *code = EXIT_USAGE;
        action = ACTION_EXIT;
    }
    free(options);
    return action;
}

static int exit_code_of(enum status status)
{
    switch (status) {
    case STATUS_INVALID:
    case STATUS_NOT_FOUND:
        return EXIT_USAGE;
    case STATUS_UNREACHABLE:
    case STATUS_TIMEOUT:
    case STATUS_UNAVAILABLE:
        return EXIT_UNREACHABLE;
    default:
        return EXIT_FAILED;
    }
}

/* Waits for a signal, drains, and gives up when the time is over or a second signal comes. */
static int serve(struct fleet *fleet, const struct settings *settings, const sigset_t *signals)
{
    int which = 0;

    sigwait(signals, &which);
    log_info("signal %d: draining for at most %lld ms", which, (long long)settings->drain_ms);
    fleet_stop(fleet, FLEET_DRAIN);

    int64_t until_ms = clock_now_ms() + settings->drain_ms;
    const struct timespec now = {0};
    while (!fleet_wait(fleet, 50)) {
        bool again = sigtimedwait(signals, NULL, &now) > 0;
        if (again || clock_now_ms() >= until_ms) {
            fleet_stop(fleet, FLEET_STOP);
            log_warning("%s: running jobs stay pending and are taken over by other workers",
                        again ? "second signal" : "drain time is over");
            return EXIT_FAILED;
        }
    }
    return EXIT_DONE;
}

/* Everything that runs. On a stop nothing is freed: it must outlive lanes that still run. */
static int run(const struct settings *settings, const sigset_t *signals)
{
    struct fleet *fleet = NULL;
    struct health *health = NULL;
    struct error err = {0};
    struct metrics *metrics = metrics_new();

    if (metrics == NULL) {
        must_die();
    }
    enum status status = fleet_start(settings, metrics, &fleet, &err);
    if (status != STATUS_OK) {
        metrics_free(metrics);
        return fail(exit_code_of(status), err.text);
    }
    struct worker *worker = fleet_worker(fleet);
    if (strcmp(settings->http, "off") != 0) {
        const struct health_config config = {
            .bind = settings->http,
            .metrics = metrics,
            .families = &worker->families,
            .upstreams = worker->upstreams,
            .alive = fleet_is_alive,
            .redis_ready = fleet_redis_ready,
            .describe = fleet_describe,
            .measure = fleet_measure,
            .context = fleet,
            .learn = worker->recorder == NULL ? NULL : settings,
        };
        status = health_start(&config, &health, &err);
    }

    int code = EXIT_DONE;
    if (status != STATUS_OK) {
        code = fail(exit_code_of(status), err.text);
        fleet_stop(fleet, FLEET_DRAIN);
        if (!fleet_wait(fleet, settings->drain_ms)) {
            _exit(leave(code));
        }
    } else {
        log_info("worker \"%s\": %lld lanes on %s", worker->id, (long long)settings->lanes,
                 settings->queues);
        code = serve(fleet, settings, signals);
    }
    if (worker_mode(worker) == FLEET_STOP) {
        _exit(leave(code)); /* lanes are in the middle of a call: nothing may be freed under them */
    }
    health_stop(health);
    fleet_free(fleet);
    metrics_free(metrics);
    log_info("drained");
    return code;
}

static void warn_of_bare_secrets(const struct settings *settings)
{
    const char *names[SETTINGS_BARE_MAX];
    const size_t count = settings_bare_secrets(settings, names);

    for (size_t i = 0; i < count; i++) {
        log_warning("%s goes over plain http to another host: anybody on the way can read it",
                    names[i]);
    }
}

/* A mistyped name would leave the default in force without a word. Its value may be a secret. */
static void warn_of_unknown_variables(void)
{
    const char *first = NULL;
    const size_t count = settings_unknown_env(&first);

    if (count > 0) {
        log_warning("%.*s: no such setting, --help shows all (%zu such variables)",
                    (int)strcspn(first, "="), first, count);
    }
}

/* Most kinds of work may need an HTTP server any moment. */
static bool needs_http(const char *queues)
{
    for (const char *name = queues; *name != '\0'; name += strspn(name, ",")) {
        const size_t bytes = strcspn(name, ",");
        const enum kind_id kind = kind_of(name, bytes);
        if (kind != KINDS && (job_kinds[kind].traits & KIND_ASKS_HTTP) != 0) {
            return true;
        }
        name += bytes;
    }
    return false;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    struct error err = {0};
    sigset_t signals;
    int code = EXIT_DONE;
    bool stopped = false;

    if (!descriptors_reserve()) {
        return EXIT_FAILED;
    }
    leave_no_core();
    settings_defaults(&settings);
    if (settings_load_env(&settings, SETTINGS_WORKER, &err) != STATUS_OK) {
        return fail(EXIT_USAGE, err.text);
    }
    enum action action = parse_arguments(argc, argv, &settings, &code);
    if (action == ACTION_EXIT) {
        return code;
    }
    if (settings_finish(&settings, &err) != STATUS_OK) {
        return fail(EXIT_USAGE, err.text);
    }
    if (action == ACTION_PRINT) {
        settings_print(stdout, &settings, SETTINGS_WORKER);
        return fflush(stdout) == 0 ? EXIT_DONE : fail(EXIT_FAILED, "standard output is closed");
    }

    log_set_level(settings.log_level);
    share_heap();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error to whoever writes it */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP); /* a terminal that is gone need not cost its jobs a minute */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    /* Said now, not to the first job. It forks, so it comes before the first thread. */
    enum status status = needs_http(settings.queues) ? http_check_library(&err) : STATUS_OK;
    if (status == STATUS_OK) {
        status = log_start(&err);
    }
    warn_of_unknown_variables();
    warn_of_bare_secrets(&settings);
    tls_files_use(&settings.tls);
    if (status == STATUS_OK) {
        status = preflight_redis(&settings, &signals, &stopped, &err);
    }
    if (status != STATUS_OK) {
        return leave(fail(exit_code_of(status), err.text));
    }
    return leave(stopped ? EXIT_DONE : run(&settings, &signals));
}
