/* jobs/library.h - the numbers that C and the function library (queue/lua) agree on, stated here
 * alone.
 *
 * The build takes each line "    LIBRARY_NAME = number," over into the library, as NAME; so a
 * number is written as both languages read it.
 */
#ifndef STILLHOUSE_JOBS_LIBRARY_H
#define STILLHOUSE_JOBS_LIBRARY_H

enum {
    /* what one call takes or moves: Redis serves nobody else meanwhile, and a body that passes
     * through Lua costs some 10 ms a MiB */
    LIBRARY_JOBS_MAX = 1000,
    LIBRARY_CALL_BYTES = 1024 * 1024,

    /* a job */
    LIBRARY_BODY_MAX = 16 * 1024 * 1024,
    LIBRARY_OPTIONS_MAX = 2048,
    LIBRARY_UNIQUE_MAX = 256,
    LIBRARY_TRACEPARENT_MAX = 128,
    LIBRARY_DIGITS_MAX = 15, /* of a number in the options: a double holds it exactly */
    LIBRARY_DELAY_MAX_DAYS = 30,
    LIBRARY_SUSPECT_AFTER = 2, /* deliveries without an end */

    /* what became of a job that was to end; and what sh_finish and sh_bury are told of it */
    LIBRARY_LOST = 0,
    LIBRARY_MOVED = 1,
    LIBRARY_WANTED = 2,
    LIBRARY_RENEWED = 3,
    LIBRARY_FLAG_EXPIRED = 1,
    LIBRARY_FLAG_REPLY = 2,

    LIBRARY_LEASE_MAX_MS = 60000,
    LIBRARY_TOKEN_TTL_MS = 60000, /* of the lists wake and call */
};

#endif
