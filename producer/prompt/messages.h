/* prompt/messages.h - the examples of a result as chat messages: data that reads like the chat's
 * own past.
 *
 *     struct memory_made made;
 *     if (messages_make(&hit, 3, &made, err) == STATUS_OK && made.count > 0) {
 *         char *copy = messages_copy(&made);
 *     }
 *
 * Two an example, user and assistant, the nearest example last: small models follow what stands
 * next to the question. The roles are ours; no text can end its message, since what a chat template
 * takes for structure is broken (base/neutral.h). Bounded: a long example is cut, without a mark,
 * since a mark at an answer's end would be learnt. Left out: what is no past task, and a task of
 * which nothing visible is left. Pure.
 */
#ifndef STILLHOUSE_PROMPT_MESSAGES_H
#define STILLHOUSE_PROMPT_MESSAGES_H

#include "client/result_memory.h"

enum { MESSAGES_MAX_BYTES = 16 * 1024, MESSAGES_EXAMPLE_MAX_BYTES = 4 * 1024 };

/* Of the nearest k examples: the piece is an array of made->count stillhouse_message, what they
 * point to and how far their examples are away; free() it. OOM leaves nothing. */
enum status messages_make(const struct memory_hit *hit, int k, struct memory_made *made,
                          struct error *err) MUSTCHECK;

/* NULL when memory is short. */
void *messages_copy(const struct memory_made *made) MUSTCHECK;

#endif
