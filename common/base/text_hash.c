/* The parts of text.h that need libnettle or the kernel: hashes and new ids. */
#include "base/text.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static const char hex_digits[] = "0123456789abcdef";

/* Where the kernel refuses (getrandom filtered by a sandbox), time and a counter still keep the
 * numbers of one process apart. */
static void fill_random(unsigned char *out, size_t bytes)
{
    static atomic_uint_fast64_t counter;
    size_t filled = 0;

    while (filled < bytes) {
        ssize_t got = getrandom(out + filled, bytes - filled, 0);
        if (got < 0 && errno != EINTR) {
            break;
        }
        filled += got > 0 ? (size_t)got : 0;
    }
    for (; filled < bytes; filled++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        uint64_t mixed = ((uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)out) +
                         atomic_fetch_add(&counter, 1) * UINT64_C(0x9e3779b97f4a7c15);
        out[filled] = (unsigned char)((mixed * UINT64_C(0xbf58476d1ce4e5b9)) >> 56);
    }
}

static void write_hex(const unsigned char *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = hex_digits[bytes[i] >> 4];
        out[2 * i + 1] = hex_digits[bytes[i] & 15];
    }
}

static void hash_end(struct sha256_ctx *context, char out[TEXT_HASH_CHARS + 1])
{
    unsigned char digest[TEXT_HASH_CHARS / 2];

    sha256_digest(context, sizeof digest, digest);
    write_hex(digest, sizeof digest, out);
    out[TEXT_HASH_CHARS] = '\0';
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static size_t skip_space(const char *text, size_t from, size_t bytes)
{
    while (from < bytes && is_space(text[from])) {
        from++;
    }
    return from;
}

/* The end of the run from `from` that normalising leaves as it is: words with one space between. */
static size_t normal_run_end(const char *text, size_t from, size_t bytes)
{
    size_t at = from;
    while (at < bytes) {
        if (is_space(text[at]) && (text[at] != ' ' || at + 1 == bytes || is_space(text[at + 1]))) {
            break;
        }
        at++;
    }
    return at;
}

void text_hash(const char *text, size_t bytes, char out[TEXT_HASH_CHARS + 1])
{
    struct sha256_ctx context;
    size_t from = skip_space(text, 0, bytes);

    sha256_init(&context);
    while (from < bytes) {
        size_t end = normal_run_end(text, from, bytes);
        sha256_update(&context, end - from, (const uint8_t *)text + from);
        from = skip_space(text, end, bytes);
        if (from < bytes) {
            sha256_update(&context, 1, (const uint8_t *)" ");
        }
    }
    hash_end(&context, out);
}

void text_hash_raw(const void *data, size_t bytes, char out[TEXT_HASH_CHARS + 1])
{
    struct sha256_ctx context;

    sha256_init(&context);
    sha256_update(&context, bytes, data);
    hash_end(&context, out);
}

const char *text_derive_id(const char *id, size_t bytes, const char *suffix,
                           char out[TEXT_ID_MAX + 1])
{
    char hash[TEXT_HASH_CHARS + 1];

    if (bytes + strlen(suffix) > TEXT_ID_MAX) {
        text_hash(id, bytes, hash);
        id = hash;
        bytes = TEXT_HASH_CHARS;
    }
    snprintf(out, TEXT_ID_MAX + 1, "%.*s%s", (int)bytes, id, suffix);
    return out;
}

void text_make_id(int64_t unix_ms, char out[37])
{
    static const unsigned char group_bytes[] = {4, 2, 2, 2, 6};
    unsigned char id[16];
    char *at = out;
    size_t from = 0;

    fill_random(id, sizeof id);
    for (size_t i = 0; i < 6; i++) {
        id[i] = (unsigned char)((uint64_t)unix_ms >> (40 - 8 * i));
    }
    id[6] = (unsigned char)(0x70 | (id[6] & 0x0f)); /* version 7 */
    id[8] = (unsigned char)(0x80 | (id[8] & 0x3f)); /* variant of RFC 9562 */

    for (size_t group = 0; group < sizeof group_bytes; group++) {
        write_hex(id + from, group_bytes[group], at);
        from += group_bytes[group];
        at += 2 * group_bytes[group];
        *at++ = '-';
    }
    out[36] = '\0';
}
