/* clock_shim.c - a wall clock of its own for the program that it is preloaded into.
 *
 * CLOCK_OFFSET_FILE names a file with one signed 64-bit number, milliseconds to add, looked at with
 * every question for the time; monotonic clocks go on. Built and used by the chaos run.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_ms;

__attribute__((constructor)) static void shim_open(void)
{
    const char *name = getenv("CLOCK_OFFSET_FILE");
    int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        void *page = mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, fd, 0);
        offset_ms = page != MAP_FAILED ? page : NULL;
        close(fd);
    }
}

/* By the system call, since an allocator asks for the time before any constructor has run. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && offset_ms != NULL &&
        (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += *offset_ms / 1000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;

    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
