/* clock_shim.c - a wall clock of its own for the program that it is preloaded into.
 *
 *     cc -shared -fPIC -o clock_shim.so clock_shim.c
 *     CLOCK_FILE=/tmp/x/clock LD_PRELOAD=/tmp/x/clock_shim.so redis-server ...
 *
 * CLOCK_FILE holds two signed 64-bit numbers, looked at with every question for the time:
 * milliseconds to add, and the Unix milliseconds at which the clock stands still, 0 where it runs.
 * Monotonic clocks are left alone. For the chaos run and the model of the queue.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct setting {
    int64_t offset_ms;
    int64_t frozen_unix_ms;
};

static const volatile struct setting *setting;

__attribute__((constructor)) static void shim_open(void)
{
    const char *name = getenv("CLOCK_FILE");
    int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        void *page = mmap(NULL, sizeof *setting, PROT_READ, MAP_SHARED, fd, 0);
        setting = page != MAP_FAILED ? page : NULL;
        close(fd);
    }
}

static void add_ms(struct timespec *now, int64_t ms)
{
    now->tv_sec += ms / 1000;
    now->tv_nsec += ms % 1000 * 1000000;
    if (now->tv_nsec >= 1000000000 || now->tv_nsec < 0) {
        const int64_t carry = now->tv_nsec < 0 ? -1 : 1;
        now->tv_sec += carry;
        now->tv_nsec -= carry * 1000000000;
    }
}

/* libc's names for these parameters are its own.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

/* By the system call, since an allocator asks for the time before any constructor has run. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);

    if (result != 0 || setting == NULL ||
        (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) {
        return result;
    }
    if (setting->frozen_unix_ms != 0) {
        *now = (struct timespec){0};
        add_ms(now, setting->frozen_unix_ms);
    }
    add_ms(now, setting->offset_ms);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);

    (void)zone;
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

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
