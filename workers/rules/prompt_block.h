/* rules/prompt_block.h - examples rendered as one prompt block: data, not instructions.
 *
 * Each example stands between two lines that carry a boundary, a hash that occurs in none of the
 * texts, and a line of its own ends the block, so no text can forge an end. Nor by eye: what looks
 * like such a line is broken by a space, as are control tokens of chat templates ("<|im_start|>",
 * "[INST]", "Human:" at the start of a line ...). A mark before every line would be surer, but
 * costs two thirds of what the examples give (measured with a small chat model: 42 -> 28 % right,
 * 19 without any). Control and invisible characters are dropped, but for those that belong to a
 * word or an emoji: joiners between letters of scripts that have them, marks between two directions
 * of writing, variations of what has them, the tags of a flag. All of Unicode's line ends become
 * '\n'. The whole is bounded. Pure.
 */
#ifndef STILLHOUSE_RULES_PROMPT_BLOCK_H
#define STILLHOUSE_RULES_PROMPT_BLOCK_H

#include <stddef.h>

#include "base/strbuf.h"
#include "jobs/bodies.h"

enum { PROMPT_BLOCK_MAX_BYTES = BODIES_FEW_SHOT_MAX, PROMPT_BLOCK_EXAMPLE_MAX_BYTES = 4 * 1024 };

/* Appends the block to `out` (nothing for no examples); at most PROMPT_BLOCK_MAX_BYTES. Check
 * strbuf_ok. */
void prompt_block_render(const struct example *examples, size_t count, struct strbuf *out);

#endif
