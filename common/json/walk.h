/* json/walk.h - through a JSON text element by element, without a tree of all of it.
 *
 *     struct json_list list;
 *     if (json_list_open(&list, text, end, '[')) {
 *         while (json_list_next(&list) == JSON_ELEMENT) {
 *             ... read the element at list.at, then: list.at = where it ended;
 *
 * Elements are read with cJSON_ParseWithLengthOpts or another list, or passed over with json_skip.
 * A whole tree of a large answer takes some 4 MiB, of the 16 that a loaded worker may have.
 * This module sees brackets, commas and strings only: what is passed over may be no JSON inside.
 * `text` .. `end` is one buffer with a NUL at `end`. Nothing recurses. Pure; any thread.
 */
#ifndef STILLHOUSE_JSON_WALK_H
#define STILLHOUSE_JSON_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum json_step {
    JSON_ELEMENT, /* list.at is its first character; of an object, that of its key */
    JSON_END,     /* list.at is behind the closing bracket */
    JSON_BROKEN,
};

struct json_list {
    const char *at;
    const char *end;
    char closing;
    bool begun;
};

/* Steps into the list ('[') or object ('{') at `text`; false: there is something else. */
bool json_list_open(struct json_list *list, const char *text, const char *end,
                    char opening) MUSTCHECK;

enum json_step json_list_next(struct json_list *list) MUSTCHECK;

/* Of an object's element: its key as it is written, without the quotes; list.at is the value's
 * first character then. False: there is no key. */
bool json_list_key(struct json_list *list, const char **key, size_t *key_bytes) MUSTCHECK;

/* Where the value at `text` ends; NULL: it does not, or there is none. */
const char *json_skip(const char *text, const char *end) MUSTCHECK;

const char *json_skip_space(const char *text, const char *end) MUSTCHECK;

#endif
