/* chroma_writer/same_prompt.h - experiences with the very same prompt: a domain keeps the best and
 * newest STILLHOUSE_TWINS of them.
 *
 * From about 100 identical vectors on, Chroma's index makes other documents unreachable. Nearly all
 * prompts come once, so Redis only remembers that a prompt was seen: 31 bits of its hash, in sets
 * of integers, about 4 bytes each. A prompt that was not seen has no other experience, and costs
 * nothing more. For one that was, Chroma is asked for all of its experiences (metadata
 * "prompt_hash"), and those that are too many are deleted.
 *
 *     sh:seen:{<domain>}:<period>:<bucket>    a set of integers, one a prompt
 *
 * A bucket is the beginning of the hash: "" until that set is full, then two digits, then three, so
 * that a set stays small enough for Redis' compact form: 4.2 to 5 MiB for a million prompts up to
 * two millions a domain. A period is as long as an experience lives, and a set lives for two, so
 * the memory follows what is alive. What is lost there (evicted, refused, another type) makes no
 * mistake that lasts: a prompt that is not remembered is taken for new once, and the next
 * experience of it finds them all in Chroma. What older workers write has no "prompt_hash" but a
 * sorted set (KEYS_TWINS): it is read, and kept up to date, as long as it is there.
 *
 *     struct same_prompt one = {.domain = "legal", .id = id, .quality = 0.9};
 *     one.created_unix_ms = now_unix_ms;
 *     text_hash(prompt, bytes, one.text_hash);
 *     struct same_prompt *list[] = {&one};
 *     status = same_prompt_remember(ctx, list, 1, &err);  // after it was written
 *     if (one.was_seen) { ... }                           // order that it is trimmed
 *
 * Whoever adds a prompt second sees the first, and each is added after its experience was written:
 * so the last one to look finds all.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_SAME_PROMPT_H
#define STILLHOUSE_CHROMA_WRITER_SAME_PROMPT_H

#include "base/text.h"
#include "chroma_writer/records.h"
#include "context/asking.h"

#define SAME_PROMPT_KEY "prompt_hash"

struct same_prompt_copy; /* same_prompt.c */

/* An experience that stands in Chroma. */
struct same_prompt {
    const char *domain;
    struct slice id;
    char text_hash[TEXT_HASH_CHARS + 1]; /* of its prompt */
    double quality;                      /* 0..1; 1 where none was given */
    int64_t created_unix_ms;

    /* Out, of same_prompt_remember. */
    bool was_seen; /* there may be others of its prompt; also where Redis does not say */
    struct same_prompt_copy *old; /* in the sorted set of older workers; in the arena */
    size_t old_count;
    size_t depth; /* where it is remembered */
};

/* Adds what was just written, of any domains, to what is remembered, and says what was seen before.
 * In the lane's thread. Errors: Redis is not to be had. */
enum status same_prompt_remember(struct context *ctx, struct same_prompt *const *written,
                                 size_t count, struct error *err) MUSTCHECK;

/* Deletes what is too many of prompts of one domain that were seen; asked->err says where it
 * failed, or was not allowed. In a thread of the writer, which has a slot. */
void same_prompt_trim(struct context *ctx, struct same_prompt *const *seen, size_t count,
                      struct asked *asked);

/* Merging near duplicates (STILLHOUSE_MERGE_DISTANCE > 0; off by default: it costs a query a
 * document). An experience nearer than the distance to one that is stored takes its place when it
 * is at least as good (`replaces`: deleted once the new one stands), and is left out otherwise
 * (`failed`, its task DONE). A query that fails, or may not be asked now, judges the tasks. In the
 * lane's thread. */
void same_prompt_find_near(struct context *ctx, const struct record_group *group);

/* The value of metadata SAME_PROMPT_KEY: 52 bits of the hash. Pure. */
int64_t same_prompt_hash(const char text_hash[TEXT_HASH_CHARS + 1]);

/* Which of two stays: quality first (in thousandths), then age; more is better. Pure. */
double same_prompt_score(double quality, int64_t created_unix_ms);

#endif
