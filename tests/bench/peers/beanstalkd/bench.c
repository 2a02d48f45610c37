/* The no-op job on beanstalkd, its protocol spoken directly:  bench PORT fill | work DEPTH
 *
 * DEPTH 1 is what its clients do: reserve, run, delete, one round trip each. With more, up to DEPTH
 * reserves are under way, and the deletes and new reserves of all answers read at once leave in one
 * write. A reserve that found nothing is answered at once (timeout 0), so that no delete behind it
 * waits; only the last one under way waits a second. */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "../lib/marks.h"

#define FILL_BATCH 500

static FILE *in, *out;

static void connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        marks_die("beanstalkd");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    in = fdopen(fd, "r");
    out = fdopen(dup(fd), "w");
    if (in == NULL || out == NULL) {
        marks_die("beanstalkd");
    }
    setvbuf(in, NULL, _IOFBF, 1 << 16);
    setvbuf(out, NULL, _IOFBF, 1 << 18);
}

static void read_line(char line[static 256])
{
    if (fgets(line, 256, in) == NULL) {
        exit(0); /* the server went: the run is over */
    }
}

static void expect(const char *start)
{
    char line[256];
    read_line(line);
    if (strncmp(line, start, strlen(start)) != 0) {
        fprintf(stderr, "expected \"%s\": %s", start, line);
        exit(1);
    }
}

static void fill(long jobs)
{
    char body[MARKS_BODY_BYTES + 1];
    for (long number = 0; number < jobs;) {
        long sent = 0;
        for (; sent < FILL_BATCH && number < jobs; sent++, number++) {
            marks_body(body, number);
            fprintf(out, "put 0 0 60 %d\r\n%s\r\n", MARKS_BODY_BYTES, body);
        }
        fflush(out);
        while (sent-- > 0) {
            expect("INSERTED");
        }
    }
}

/* Reads the answer of a reserve and those of the deletes before it; runs its job. False: the queue
 * was empty. */
static bool run_one(unsigned long long *id)
{
    char line[256];
    char body[MARKS_BODY_BYTES + 2];
    do {
        read_line(line);
    } while (strcmp(line, "DELETED\r\n") == 0);
    if (strcmp(line, "TIMED_OUT\r\n") == 0) {
        return false;
    }
    if (sscanf(line, "RESERVED %llu 200", id) != 1) {
        fprintf(stderr, "expected a job: %s", line);
        exit(1);
    }
    if (fread(body, 1, sizeof body, in) != sizeof body) {
        exit(0);
    }
    marks_mark(body);
    return true;
}

static void work_in_turns(void)
{
    for (;;) {
        unsigned long long id;
        fputs("reserve-with-timeout 1\r\n", out);
        fflush(out);
        if (!run_one(&id)) {
            marks_write();
            continue;
        }
        fprintf(out, "delete %llu\r\n", id);
        fflush(out);
        expect("DELETED");
    }
}

static void work_in_depth(int depth)
{
    for (;;) {
        fputs("reserve-with-timeout 1\r\n", out);
        for (int under_way = 1; under_way > 0;) {
            fflush(out);
            int answers = under_way;
            bool empty = false;
            for (int i = 0; i < answers; i++) {
                unsigned long long id;
                under_way--;
                if (run_one(&id)) {
                    fprintf(out, "delete %llu\r\n", id);
                } else {
                    empty = true;
                }
            }
            for (; !empty && under_way < depth; under_way++) {
                fputs("reserve-with-timeout 0\r\n", out);
            }
        }
        marks_write();
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        return 2;
    }
    connect_to(atoi(argv[1]));
    if (strcmp(argv[2], "fill") == 0) {
        fill(strtol(getenv("BENCH_JOBS"), NULL, 10));
        return 0;
    }
    int depth = argc > 3 ? atoi(argv[3]) : 1;
    if (depth <= 1) {
        work_in_turns();
    }
    work_in_depth(depth);
}
