/* chroma_writer/same_prompt.h - experiences with the very same prompt: a domain keeps the best and
 * newest STILLHOUSE_TWINS of them.
 *
 * From about 100 identical vectors on, Chroma's index makes other documents unreachable. Nearly all
 * prompts come once, so Redis only remembers that a prompt was seen: 31 bits of its hash, in sets
 * of integers, about 4 bytes each. A prompt that was not seen has no other experience, and costs
 * nothing more. For one that was, Chroma is asked for all of its experiences (metadata
 * "prompt_hash"), and those that are too many are deleted.
 *
 *     sh:seen:{<domain>}:<period>:<bucket>    a set of integers, one bit pattern a prompt
 *
 * A bucket is the beginning of the hash: "" until that set is full, then two digits, then three, so
 * that a set stays small enough for Redis' compact form: 4.2 to 5 MiB for a million prompts up to
 * two millions a domain. A period is as long as an experience lives, and a set lives for two, so
 * the memory follows what is alive. What is lost there (evicted, refused, another type) makes no
 * mistake that lasts: a prompt that is not remembered is taken for new once, and the next
 * experience of it finds them all in Chroma. What older workers write has no "prompt_hash" but a
 * sorted set (keys_twins): it is read, and kept up to date, as long as it is there.
 *
 * Runs in the thread of `ctx`.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_SAME_PROMPT_H
#define STILLHOUSE_CHROMA_WRITER_SAME_PROMPT_H

#include "base/text.h"
#include "context/context.h"

#define SAME_PROMPT_KEY "prompt_hash"

/* An experience that stands in Chroma. */
struct same_prompt {
    struct slice id;
    char text_hash[TEXT_HASH_CHARS + 1]; /* of its prompt */
    double quality;                      /* 0..1; 1 where none was given */
    int64_t created_unix_ms;
};

/* Remembers the experiences just written to `domain`, and deletes those that are too many from
 * Chroma. On failure *failed says what failed. */
enum status same_prompt_trim(struct context *ctx, const char *domain,
                             const struct same_prompt *written, size_t count,
                             enum operation *failed, struct error *err) MUSTCHECK;

/* The value of metadata SAME_PROMPT_KEY: 52 bits of the hash. Pure. */
int64_t same_prompt_hash(const char text_hash[TEXT_HASH_CHARS + 1]);

/* Which of two stays: quality first (in thousandths), then age; more is better. Pure. */
double same_prompt_score(double quality, int64_t created_unix_ms);

#endif
