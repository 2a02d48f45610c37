#include "base/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool descriptors_reserve(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY}; /* the wrong way round but for 2 */

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) {
            continue;
        }
        int got = open("/dev/null", modes[fd]); /* the lowest free number is this one */
        if (got < 0) {
            got = open("/", O_RDONLY | O_DIRECTORY); /* a root without /dev: only fails */
        }
        if (got != fd) {
            return false;
        }
    }
    return true;
}
