/* A bare loop over the builtin embedder: texts a second on one core, by their length. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "embedder/builtin.h"
#include "embedder/embedder.h"
#include "flags.h"
#include "support.h"

enum { TEXT_MAX = 65536, DIMENSION = 384 };

static const char *const words[] = {"the",      "notice", "period",   "tenants", "rent",
                                    "landlord", "ends",   "contract", "month",   "written"};

static long rounds = 1;
static long first_round = 0;
static struct flag_list sizes = {{50, 500, 5000}, 3};
static long total_bytes = 2000000;
static const char *group = "embed";

/* Words in an order that differs from text to text. */
static size_t make_text(char *text, size_t bytes, long serial)
{
    size_t used = 0;

    while (used < bytes) {
        const unsigned long pick = (unsigned long)serial * 7 + used * 13 + (used >> 3);
        const char *word = words[pick % (sizeof words / sizeof words[0])];
        used += (size_t)snprintf(text + used, TEXT_MAX - used, "%s%lu ", word, pick % 97);
    }
    return bytes;
}

static void measure(long bytes, long round)
{
    static char text[TEXT_MAX + 64];
    float vector[DIMENSION];
    char variant[64];
    double busy_s = 0;
    double length = 0;
    const long count = total_bytes / bytes + 1;

    for (long i = 0; i < count; i++) {
        const size_t used = make_text(text, (size_t)bytes, i);
        const int64_t start_ns = clock_now_ns();
        embedder_builtin(text, used, vector, DIMENSION);
        busy_s += (double)(clock_now_ns() - start_ns) / 1e9;
        for (int d = 0; d < DIMENSION; d++) {
            length += (double)vector[d] * (double)vector[d];
        }
    }
    snprintf(variant, sizeof variant, "builtin embedder, %ld B a text", bytes);
    const double off = length / (double)count - 1; /* unit length, each of them */
    const struct bench_figure figure = {group, "builtin embedder",       variant,
                                        round, (double)count / busy_s,   "texts/s",
                                        count, off < 1e-3 && off > -1e-3};
    bench_print(&figure, "\"text_bytes\": %ld", bytes);
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--sizes", FLAG_LIST, &sizes, "bytes of a text"},
        {"--total", FLAG_NUMBER, &total_bytes, "bytes of all texts of a measurement"},
    };

    flags_parse(argc, argv, "The builtin embedder alone.", flags, sizeof flags / sizeof flags[0]);
    for (long round = first_round; round < first_round + rounds; round++) {
        for (size_t i = 0; i < sizes.count; i++) {
            const long bytes = sizes.values[bench_turn(round, i, sizes.count)];
            if (bytes < 1 || bytes > TEXT_MAX - 64) {
                bench_fail("texts of %ld bytes: expected 1 to %d", bytes, TEXT_MAX - 64);
            }
            measure(bytes, round);
        }
    }
    return 0;
}
