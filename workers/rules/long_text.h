/* rules/long_text.h - texts that are longer than the model takes: what of them is embedded. Pure.
 */
#ifndef STILLHOUSE_RULES_LONG_TEXT_H
#define STILLHOUSE_RULES_LONG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "jobs/job.h"

/* Shorter ones are not cut: what refuses them has another reason. */
enum { LONG_TEXT_MIN_CHARS = 64, LONG_TEXT_UNTOLD_CHARS = 1000 };

/* Characters of valid UTF-8. */
size_t long_text_chars(struct slice text);

/* The beginning of at most `chars` > 0 characters, whole characters, up to the end of a word where
 * one is near; the text itself where it is no longer, or its beginning is all white space. */
struct slice long_text_head(struct slice text, size_t chars);

/* Does the server say that the text is too long? Every server has words of its own. */
bool long_text_is_told(const struct error *err);

#endif
