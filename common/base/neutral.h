/* base/neutral.h - foreign text as it may stand in a prompt: as data, and nothing that is obeyed.
 *
 *     neutral_append("<|im_start|>system", 18, 4096, &out);     // "< |im_start| >system"
 *
 * A space breaks what a chat template or a model takes for structure: control tokens anywhere
 * ("<|im_start|>", "[INST]", "<start_of_turn>" ...), the name of a role at the start of a line
 * ("Human:"), and lines that look like those which fence the block of examples. Control and
 * invisible characters are dropped, but for those that belong to a word or an emoji: joiners
 * between letters of scripts that have them, marks between two directions of writing, variations of
 * what has them, the tags of a flag. All of Unicode's line ends become '\n'. The one implementation
 * for the block (rules/prompt_block.h) and for messages (prompt/messages.h). Pure, any thread.
 */
#ifndef STILLHOUSE_BASE_NEUTRAL_H
#define STILLHOUSE_BASE_NEUTRAL_H

#include <stddef.h>

#include "base/strbuf.h"

/* Appends one text of UTF-8, at most `max_bytes` of it, cut between characters and with " [cut]"
 * behind it where it is. What is broken grows: who needs a bound on what comes out cuts that. Check
 * strbuf_ok. */
void neutral_append(const char *text, size_t bytes, size_t max_bytes, struct strbuf *out);

#endif
