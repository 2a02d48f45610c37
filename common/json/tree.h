/* json/tree.h - cJSON's trees, with numbers as they were written.
 *
 *     cJSON *tree = json_tree_parse(text, bytes, &after, false);
 *     if (json_tree_number(cJSON_GetObjectItemCaseSensitive(tree, "user"), &id) == JSON_WHOLE) {
 *
 * cJSON makes a double of every number, which holds whole ones only up to 2^53, and forgets whether
 * there was a point in it. Where that loses something, the digits are kept beside the double
 * (valuestring of the node). Pure; any thread.
 */
#ifndef STILLHOUSE_JSON_TREE_H
#define STILLHOUSE_JSON_TREE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* cJSON_ParseWithLengthOpts: `bytes` includes the NUL where `to_the_end`. NULL: no JSON, or out of
 * memory. The caller frees it with cJSON_Delete. */
cJSON *json_tree_parse(const char *text, size_t bytes, const char **after,
                       bool to_the_end) MUSTCHECK;

enum json_number {
    JSON_NO_NUMBER,
    JSON_FRACTION,  /* written with a point or an exponent, 5.0 too: node->valuedouble */
    JSON_WHOLE,     /* in *out */
    JSON_TOO_LARGE, /* a whole one that 64 bits do not hold */
};
enum json_number json_tree_number(const cJSON *node, int64_t *out) MUSTCHECK;

#endif
