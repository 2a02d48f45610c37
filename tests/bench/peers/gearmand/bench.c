/* The no-op job on gearmand through its own library:  bench PORT fill | work */

#include <libgearman/gearman.h>
#include <string.h>

#include "../lib/marks.h"

#define IDLE_MS 100

static gearman_return_t noop(gearman_job_st *job, void *context)
{
    (void)context;
    marks_mark(gearman_job_workload(job));
    return GEARMAN_SUCCESS;
}

static void work(in_port_t port)
{
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_function_t function = gearman_function_create(noop);
    if (worker == NULL || gearman_failed(gearman_worker_add_server(worker, "127.0.0.1", port)) ||
        gearman_failed(gearman_worker_define_function(worker, "noop", 4, function, 0, NULL))) {
        marks_die("gearmand");
    }
    gearman_worker_set_timeout(worker, IDLE_MS);
    for (;;) {
        gearman_return_t result = gearman_worker_work(worker);
        if (result == GEARMAN_TIMEOUT) {
            marks_write();
        } else if (gearman_failed(result)) {
            fprintf(stderr, "%s\n", gearman_worker_error(worker));
            exit(1);
        }
    }
}

static void fill(in_port_t port, long jobs)
{
    char body[MARKS_BODY_BYTES + 1];
    gearman_job_handle_t handle;
    gearman_client_st *client = gearman_client_create(NULL);
    if (client == NULL || gearman_failed(gearman_client_add_server(client, "127.0.0.1", port))) {
        marks_die("gearmand");
    }
    for (long number = 0; number < jobs; number++) {
        marks_body(body, number);
        if (gearman_failed(gearman_client_do_background(client, "noop", NULL, body,
                                                        MARKS_BODY_BYTES, handle))) {
            fprintf(stderr, "%s\n", gearman_client_error(client));
            exit(1);
        }
    }
    gearman_client_free(client);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    in_port_t port = (in_port_t)atoi(argv[1]);
    if (strcmp(argv[2], "fill") == 0) {
        fill(port, strtol(getenv("BENCH_JOBS"), NULL, 10));
    } else {
        work(port);
    }
}
