/* proxy.h - a TCP proxy that stops a conversation at a word, for faults at a chosen moment.
 *
 *     struct test_proxy *proxy = test_proxy_start(redis.port);
 *     test_proxy_hold(proxy, PROXY_REQUEST, "sh_finish");   // before it reaches the server
 *     ... a worker talks to test_proxy_port(proxy) ...
 *     cr_assert(test_proxy_wait_held(proxy, 10000));        // it waits for an answer now
 *     kill(worker, SIGKILL);
 *     test_proxy_release(proxy);                            // nobody is there any more
 *     test_proxy_stop(proxy);
 *
 * One thread a proxy. The word is looked for in each chunk together with the 64 bytes before it;
 * the chunk that completes it, and all that comes behind on that connection, stays in the proxy.
 * Knows nothing of Criterion. Calls are for the test's thread.
 */
#ifndef STILLHOUSE_TESTS_PROXY_H
#define STILLHOUSE_TESTS_PROXY_H

#include <stdbool.h>

enum proxy_direction { PROXY_REQUEST, PROXY_ANSWER };

struct test_proxy; /* opaque */

/* Listens on a free loopback port, in front of 127.0.0.1:`target_port`. Aborts when it cannot. */
struct test_proxy *test_proxy_start(int target_port);
int test_proxy_port(const struct test_proxy *proxy);

/* The next chunk in this direction that completes `word` (at most 63 bytes) is held, once. */
void test_proxy_hold(struct test_proxy *proxy, enum proxy_direction direction, const char *word);

/* True once something is held; false when nothing was within `timeout_ms`. */
bool test_proxy_wait_held(struct test_proxy *proxy, int timeout_ms);

/* Lets what is held go on its way. */
void test_proxy_release(struct test_proxy *proxy);

/* Closes all connections with a reset, what is held included. */
void test_proxy_drop(struct test_proxy *proxy);

/* Ends the thread, closes and frees everything. */
void test_proxy_stop(struct test_proxy *proxy);

#endif
