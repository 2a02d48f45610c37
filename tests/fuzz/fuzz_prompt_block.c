/* The block of examples over any texts: bounded, well-formed, one line of each kind of ours. The
 * input is texts with a byte 0xff between them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "rules/prompt_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXAMPLES_MAX = 20 };

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Lines that begin with `prefix`. */
static size_t count_lines(const struct strbuf *block, const char *prefix)
{
    const size_t bytes = strlen(prefix);
    size_t count = 0;

    for (size_t i = 0; i + bytes <= block->bytes; i++) {
        count +=
            (i == 0 || block->data[i - 1] == '\n') && memcmp(block->data + i, prefix, bytes) == 0;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct example examples[EXAMPLES_MAX] = {0};
    struct strbuf block = {0};
    const char *at = (const char *)data;
    size_t left = size;
    size_t count = 0;
    bool sound = true;

    while (count < EXAMPLES_MAX) {
        const char *end = left == 0 ? NULL : memchr(at, 0xff, left);
        const size_t bytes = end == NULL ? left : (size_t)(end - at);
        examples[count++].text = (struct slice){at, bytes};
        sound = sound && text_is_utf8(at, bytes);
        if (end == NULL) {
            break;
        }
        at = end + 1;
        left -= bytes + 1;
    }
    prompt_block_render(examples, count, &block);
    must(strbuf_ok(&block));
    if (sound) { /* a handler's texts are */
        must(block.bytes <= PROMPT_BLOCK_MAX_BYTES);
        must(text_is_utf8(block.data, block.bytes));
        must(count_lines(&block, "--- example ") == count);
        must(count_lines(&block, "--- end of example ") == count);
        must(count_lines(&block, "--- end of the examples ") == 1);
        must(count_lines(&block, "Examples from past tasks ") == 1);
        must(memmem(block.data, block.bytes, "<|", 2) == NULL);
        must(memmem(block.data, block.bytes, "\xe2\x80\x8b", 3) == NULL);
    }
    strbuf_free(&block);
    return 0;
}
