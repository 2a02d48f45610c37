/* bodies_support.h - msgpack bodies for tests, written as JSON with single quotes. */
#ifndef STILLHOUSE_TESTS_BODIES_SUPPORT_H
#define STILLHOUSE_TESTS_BODIES_SUPPORT_H

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <math.h>
#include <msgpack.h>
#include <string.h>

#include "jobs/bodies.h"

#define SLICE(text) ((struct slice){text, sizeof(text) - 1})
#define BYTES(text) text, sizeof(text) - 1

static inline int support_write(void *out, const char *data, size_t bytes)
{
    strbuf_append(out, data, bytes);
    return 0;
}

static inline void support_pack(msgpack_packer *packer, const cJSON *value)
{
    double number = value->valuedouble;

    if (cJSON_IsString(value)) {
        msgpack_pack_str_with_body(packer, value->valuestring, strlen(value->valuestring));
    } else if (cJSON_IsNumber(value) && number == trunc(number)) {
        msgpack_pack_int64(packer, (int64_t)number);
    } else if (cJSON_IsNumber(value)) {
        msgpack_pack_double(packer, number);
    } else if (cJSON_IsBool(value)) {
        cJSON_IsTrue(value) ? msgpack_pack_true(packer) : msgpack_pack_false(packer);
    } else if (cJSON_IsNull(value)) {
        msgpack_pack_nil(packer);
    } else {
        const cJSON *child;
        size_t count = (size_t)cJSON_GetArraySize(value);
        cJSON_IsObject(value) ? msgpack_pack_map(packer, count) : msgpack_pack_array(packer, count);
        cJSON_ArrayForEach(child, value)
        {
            if (cJSON_IsObject(value)) {
                msgpack_pack_str_with_body(packer, child->string, strlen(child->string));
            }
            support_pack(packer, child);
        }
    }
}

/* Replaces what is in `out`. */
static inline void support_body(struct strbuf *out, const char *text)
{
    char *json = strdup(text);
    cr_assert_not_null(json);
    for (char *at = strchr(json, '\''); at != NULL; at = strchr(at, '\'')) {
        *at = '"';
    }
    cJSON *document = cJSON_Parse(json);
    cr_assert_not_null(document, "the test's own JSON is broken: %s", text);

    msgpack_packer packer;
    strbuf_reset(out);
    msgpack_packer_init(&packer, out, support_write);
    support_pack(&packer, document);
    cr_assert(strbuf_ok(out));
    cJSON_Delete(document);
    free(json);
}

static inline bool slice_is(struct slice slice, const char *text)
{
    return slice.data != NULL && slice.bytes == strlen(text) &&
           memcmp(slice.data, text, slice.bytes) == 0;
}

#endif
