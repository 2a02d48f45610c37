#include "json/tree.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "json/walk.h"

static const double WHOLE_BOUND = 9007199254740992.0; /* 2^53, which is 2^53 + 1 too */

static bool is_whole(double number)
{
    return number == trunc(number) && fabs(number) < WHOLE_BOUND;
}

/* False: out of memory. */
static bool keep_digits(cJSON *node, const char *text, size_t bytes)
{
    const bool fraction = memchr(text, '.', bytes) != NULL || memchr(text, 'e', bytes) != NULL ||
                          memchr(text, 'E', bytes) != NULL;

    if (fraction != is_whole(node->valuedouble)) {
        return true; /* the double says it */
    }
    node->valuestring = cJSON_malloc(bytes + 1);
    if (node->valuestring == NULL) {
        return false;
    }
    memcpy(node->valuestring, text, bytes);
    node->valuestring[bytes] = '\0';
    return true;
}

/* Walks a tree beside its text, which begins at `text`; returns where that ends. NULL: they differ
 * (cJSON takes more for white space than JSON has), or out of memory. As deep as cJSON goes. */
static const char *walk(cJSON *node, const char *text, const char *end)
{
    const bool is_object = cJSON_IsObject(node);
    const char *at = json_skip_space(text, end);
    struct json_list list;

    if (!is_object && !cJSON_IsArray(node)) {
        const char *after = json_skip(at, end);
        if (after != NULL && cJSON_IsNumber(node) && !keep_digits(node, at, (size_t)(after - at))) {
            return NULL;
        }
        return after;
    }
    if (!json_list_open(&list, at, end, is_object ? '{' : '[')) {
        return NULL;
    }
    for (cJSON *child = node->child; child != NULL; child = child->next) {
        const char *key = NULL;
        size_t key_bytes = 0;
        if (json_list_next(&list) != JSON_ELEMENT ||
            (is_object && !json_list_key(&list, &key, &key_bytes))) {
            return NULL;
        }
        list.at = walk(child, list.at, end);
        if (list.at == NULL) {
            return NULL;
        }
    }
    return json_list_next(&list) == JSON_END ? list.at : NULL;
}

cJSON *json_tree_parse(const char *text, size_t bytes, const char **after, bool to_the_end)
{
    cJSON *tree = cJSON_ParseWithLengthOpts(text, bytes, after, to_the_end);

    if (tree != NULL && walk(tree, text, *after) == NULL) {
        cJSON_Delete(tree);
        tree = NULL;
    }
    return tree;
}

enum json_number json_tree_number(const cJSON *node, int64_t *out)
{
    char *end = NULL;

    if (!cJSON_IsNumber(node)) {
        return JSON_NO_NUMBER;
    }
    if (node->valuestring == NULL) {
        *out = is_whole(node->valuedouble) ? (int64_t)node->valuedouble : 0;
        return is_whole(node->valuedouble) ? JSON_WHOLE : JSON_FRACTION;
    }
    errno = 0;
    *out = strtoimax(node->valuestring, &end, 10);
    if (*end != '\0') {
        return JSON_FRACTION;
    }
    return errno == 0 ? JSON_WHOLE : JSON_TOO_LARGE;
}
