/* fake_server.h - a server that does what a script says, for faults no real server makes on demand.
 *
 *     static const struct fake_step script[] = {
 *         EXPECT("POST /api/v2/"),               // read until the client has sent this
 *         ANSWER("503 Busy\r\nRetry-After: 2", "later"),
 *         EXPECT("POST /api/v2/"),               // again, on the same connection
 *         RST,
 *         EXPECT("POST /api/v2/"),               // on the next connection
 *         SEND("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"ha"),
 *         HANG,
 *         END,
 *     };
 *     struct fake_server *server = fake_server_start(script);
 *     ... talk to fake_server_url(server, "http"), or "redis" with SEND("+OK\r\n") ...
 *     cr_assert_null(fake_server_stop(server));  // or the text of what went wrong
 *
 * One thread plays the script on 127.0.0.1, one connection at a time. A step that needs a
 * connection while none is open waits for one. An expectation that is not met within
 * FAKE_PATIENCE_MS, or not before fake_server_stop, is the fault that fake_server_stop reports; the
 * rest of the script is not played. After the last step the connection stays open, unanswered,
 * until fake_server_stop. Knows nothing of Criterion; may be used in any kind of test program. A
 * machine that cannot open a socket or start a thread is fatal.
 */
#ifndef STILLHOUSE_TESTS_FAKE_SERVER_H
#define STILLHOUSE_TESTS_FAKE_SERVER_H

#include <stdbool.h>
#include <stddef.h>

enum { FAKE_PATIENCE_MS = 5000 };

enum fake_action {
    FAKE_END,
    FAKE_ACCEPT,
    FAKE_EXPECT,
    FAKE_EXPECT_CLOSE,
    FAKE_SEND,
    FAKE_ANSWER,
    FAKE_FLOOD,
    FAKE_CLOSE,
    FAKE_RST,
    FAKE_HANG,
    FAKE_LOOP
};

struct fake_step {
    enum fake_action action;
    const char *data; /* borrowed until fake_server_stop */
    const char *body; /* FAKE_ANSWER */
    size_t bytes;     /* of data; 0 = up to its NUL */
    int number;       /* FAKE_SEND: ms a byte; FAKE_FLOOD: how often */
};

/* Drops the connection, if there is one, and waits for the next. */
#define ACCEPT                                                                                     \
    {                                                                                              \
        .action = FAKE_ACCEPT                                                                      \
    }

/* Reads until `text` has come; bytes up to its end are used up, later ones wait for the next
 * EXPECT. */
#define EXPECT(text)                                                                               \
    {                                                                                              \
        .action = FAKE_EXPECT, .data = (text)                                                      \
    }

/* Reads until the client closes the connection. */
#define EXPECT_CLOSE                                                                               \
    {                                                                                              \
        .action = FAKE_EXPECT_CLOSE                                                                \
    }

#define SEND(text)                                                                                 \
    {                                                                                              \
        .action = FAKE_SEND, .data = (text)                                                        \
    }

/* For bytes with NULs among them. */
#define SEND_BYTES(pointer, count)                                                                 \
    {                                                                                              \
        .action = FAKE_SEND, .data = (pointer), .bytes = (count)                                   \
    }

/* Byte by byte; a client that has enough and closes is no fault. */
#define SEND_SLOWLY(text, ms_per_byte)                                                             \
    {                                                                                              \
        .action = FAKE_SEND, .data = (text), .number = (ms_per_byte)                               \
    }

/* `text`, `times` over; a client that has enough and closes is no fault. */
#define FLOOD(text, times)                                                                         \
    {                                                                                              \
        .action = FAKE_FLOOD, .data = (text), .number = (times)                                    \
    }

/* A whole HTTP/1.1 answer with its Content-Length: ANSWER("200 OK", "{}"). More headers go behind
 * the status: ANSWER("429 Slow\r\nRetry-After: 3", ""). The connection stays open. */
#define ANSWER(status, text)                                                                       \
    {                                                                                              \
        .action = FAKE_ANSWER, .data = (status), .body = (text)                                    \
    }

/* Closes properly: what was sent still arrives. */
#define CLOSE                                                                                      \
    {                                                                                              \
        .action = FAKE_CLOSE                                                                       \
    }

/* Closes with a reset. */
#define RST                                                                                        \
    {                                                                                              \
        .action = FAKE_RST                                                                         \
    }

/* Keeps the connection and does nothing more, until fake_server_stop. */
#define HANG                                                                                       \
    {                                                                                              \
        .action = FAKE_HANG                                                                        \
    }

/* Begins again at the first step, on the same connection or, where the client closed it, on the
 * next. From the second round on it waits as long as it takes, and being stopped is no fault. */
#define LOOP                                                                                       \
    {                                                                                              \
        .action = FAKE_LOOP                                                                        \
    }

/* The last of every script. */
#define END                                                                                        \
    {                                                                                              \
        .action = FAKE_END                                                                         \
    }

struct fake_server; /* opaque */

/* Listens on a free port and starts playing. `script` is borrowed until fake_server_stop. */
struct fake_server *fake_server_start(const struct fake_step *script);

int fake_server_port(const struct fake_server *server);

/* "http://127.0.0.1:PORT"; lives as long as the server, and is one per server. */
const char *fake_server_url(struct fake_server *server, const char *scheme);

/* True when `text` is somewhere in what was received so far, on whatever connection. */
bool fake_server_saw(struct fake_server *server, const char *text);

/* How many connections were accepted so far. */
int fake_server_connections(struct fake_server *server);

/* Ends the thread, closes and frees everything. NULL when every step was played (HANG counts), else
 * what went wrong, in a buffer that the next call overwrites. */
const char *fake_server_stop(struct fake_server *server);

#endif
