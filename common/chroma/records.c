/* chroma/records.c - the calls on a collection's records. */
#include <math.h>
#include <string.h>

#include "chroma/internal.h"
#include "json/write.h"

/* Of a number of a vector and its comma, rather more than less: growing a buffer of some 100 KiB
 * would take twice its memory while it is copied. */
enum { FLOAT_TEXT_TYPICAL = 12 };

static void write_value(struct strbuf *out, const struct meta_value *value)
{
    switch (value->type) {
    case META_STRING:
        json_string(out, value->string.data, value->string.bytes);
        return;
    case META_INT:
        json_int(out, value->integer);
        return;
    case META_FLOAT:
        json_double(out, value->number);
        return;
    case META_BOOL:
        strbuf_append_str(out, value->boolean ? "true" : "false");
        return;
    case META_NULL:
        strbuf_append_str(out, "null");
        return;
    }
}

static bool is_document_key(const struct meta_pair *pair)
{
    return pair->key.bytes == strlen("document") &&
           memcmp(pair->key.data, "document", pair->key.bytes) == 0;
}

/* Key "document": the text where texts are metadata. Else the caller's, or null, so that a text
 * left there by the other mode goes. */
static void write_document_key(struct strbuf *out, const struct chroma_record *record,
                               bool text_in_metadata)
{
    strbuf_append_str(out, "{\"document\":");
    if (text_in_metadata) {
        json_string(out, record->document.data, record->document.bytes);
        return;
    }
    for (size_t i = 0; i < record->metadata_count; i++) {
        if (is_document_key(&record->metadata[i])) {
            write_value(out, &record->metadata[i].value);
            return;
        }
    }
    strbuf_append_str(out, "null");
}

static void write_metadata(struct strbuf *out, const struct chroma_record *record,
                           bool text_in_metadata)
{
    write_document_key(out, record, text_in_metadata);
    for (size_t i = 0; i < record->metadata_count; i++) {
        const struct meta_pair *pair = &record->metadata[i];
        if (is_document_key(pair)) {
            continue;
        }
        strbuf_append_char(out, ',');
        json_string(out, pair->key.data, pair->key.bytes);
        strbuf_append_char(out, ':');
        write_value(out, &pair->value);
    }
    strbuf_append_char(out, '}');
}

static void write_separator(struct strbuf *out, size_t index)
{
    if (index > 0) {
        strbuf_append_char(out, ',');
    }
}

static void write_upsert(struct chroma *chroma, struct strbuf *out,
                         const struct chroma_record *records, size_t count)
{
    bool text_in_metadata = chroma->config.store_text_as_metadata;

    strbuf_append_str(out, "{\"ids\":[");
    for (size_t i = 0; i < count; i++) {
        write_separator(out, i);
        json_string(out, records[i].id.data, records[i].id.bytes);
    }
    strbuf_append_str(out, "],\"embeddings\":[");
    for (size_t i = 0; i < count; i++) {
        write_separator(out, i);
        json_floats(out, records[i].vector, chroma->config.identity.dimension);
    }
    chroma->foreign_from = out->bytes;
    strbuf_append_str(out, "],\"metadatas\":[");
    for (size_t i = 0; i < count; i++) {
        write_separator(out, i);
        write_metadata(out, &records[i], text_in_metadata);
    }
    if (!text_in_metadata) {
        strbuf_append_str(out, "],\"documents\":[");
        for (size_t i = 0; i < count; i++) {
            write_separator(out, i);
            json_string(out, records[i].document.data, records[i].document.bytes);
        }
    }
    strbuf_append_str(out, "]}");
}

static bool is_finite(const float *vector, size_t dimension)
{
    for (size_t i = 0; i < dimension; i++) {
        if (!isfinite(vector[i])) {
            return false;
        }
    }
    return true;
}

static enum status check_records(const struct chroma *chroma, const struct chroma_record *records,
                                 size_t count, struct error *err)
{
    if (count > CHROMA_BATCH_MAX) {
        return error_set(err, STATUS_INVALID, "%zu records in one upsert, at most %d are allowed",
                         count, CHROMA_BATCH_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        char excerpt[48];
        if (records[i].id.bytes == 0) {
            return error_set(err, STATUS_INVALID, "record %zu of an upsert has no id", i);
        }
        if (!is_finite(records[i].vector, chroma->config.identity.dimension)) {
            return error_set(err, STATUS_INVALID,
                             "the vector of \"%s\" holds a number that is not finite",
                             text_excerpt(records[i].id.data, records[i].id.bytes, excerpt));
        }
    }
    return STATUS_OK;
}

/* A write is answered with an object, by older servers with true. Another server's page, list or
 * error object is no acknowledgement, whatever its code is. */
static enum status check_acknowledged(struct chroma *chroma, const char *what, struct error *err)
{
    cJSON *root = NULL;
    enum status status = chroma_answer(chroma, what, &root, err);

    if (status == STATUS_OK && !cJSON_IsTrue(root) &&
        (!cJSON_IsObject(root) || cJSON_HasObjectItem(root, "error"))) {
        status = error_set(err, STATUS_GARBLED, "chroma at \"%.64s\": %s: not an acknowledgement",
                           chroma->config.url, what);
    }
    cJSON_Delete(root);
    return status;
}

enum status chroma_upsert(struct chroma *chroma, const char *domain,
                          const struct chroma_record *records, size_t count, struct error *err)
{
    if (count == 0) {
        return STATUS_OK;
    }
    TRY(check_records(chroma, records, count, err));
    write_upsert(chroma, chroma_request(chroma), records, count);
    TRY(chroma_on_collection(chroma, &(struct chroma_action){domain, true, "POST", "upsert"}, err));
    return check_acknowledged(chroma, "upsert", err);
}

static void write_query(const struct chroma *chroma, struct strbuf *out,
                        const struct chroma_search *search)
{
    const size_t dimension = chroma->config.identity.dimension;

    if (strbuf_reserve(out, search->count * dimension * FLOAT_TEXT_TYPICAL) == NULL) {
        return; /* what failed sticks */
    }
    strbuf_append_str(out, "{\"query_embeddings\":[");
    for (size_t i = 0; i < search->count; i++) {
        write_separator(out, i);
        json_floats(out, search->vectors[i], dimension);
    }
    strbuf_append_str(out, "],\"n_results\":");
    json_int(out, (int64_t)search->n_results);
    strbuf_append_str(out, ",\"include\":[");
    strbuf_append_str(out, search->without_text ? "" : "\"documents\",");
    strbuf_append_str(out, "\"metadatas\",\"distances\"]}");
}

static enum status name_garbled(const struct chroma *chroma, const char *what, enum status status,
                                struct error *err)
{
    return status == STATUS_GARBLED
               ? error_wrap(err, "chroma at \"%.64s\": %s", chroma->config.url, what)
               : status;
}

enum status chroma_query(struct chroma *chroma, const struct chroma_search *search,
                         struct error *err)
{
    chroma->walk = (struct chroma_walk){
        .asked = *search,
        .text_in_metadata = chroma->config.store_text_as_metadata,
    };
    if (search->count == 0) {
        return STATUS_OK;
    }
    if (search->n_results == 0) { /* Chroma's handler dies of it and closes the connection */
        return error_set(err, STATUS_INVALID, "a query for 0 results, at least 1 is needed");
    }
    for (size_t i = 0; i < search->count; i++) {
        if (!is_finite(search->vectors[i], chroma->config.identity.dimension)) {
            return error_set(err, STATUS_INVALID,
                             "a query vector holds a number that is not finite");
        }
    }
    write_query(chroma, chroma_request(chroma), search);
    const struct chroma_action action = {search->domain, false, "POST", "query"};
    TRY(chroma_on_collection(chroma, &action, err));
    const enum status status = chroma_walk_open(&chroma->walk, chroma->response.body.data,
                                                chroma->response.body.bytes, err);
    return name_garbled(chroma, "query", status, err);
}

enum status chroma_next_hits(struct chroma *chroma, struct arena *arena, struct chroma_hits *hits,
                             struct error *err)
{
    const enum status status = chroma_walk_next(&chroma->walk, arena, hits, err);

    if (status != STATUS_OK || chroma->walk.next == chroma->walk.asked.count) {
        chroma_end_answer(chroma);
    }
    return name_garbled(chroma, "query", status, err);
}

static void write_ids(struct strbuf *out, const struct slice *ids, size_t count)
{
    strbuf_append_str(out, "{\"ids\":[");
    for (size_t i = 0; i < count; i++) {
        write_separator(out, i);
        json_string(out, ids[i].data, ids[i].bytes);
    }
    strbuf_append_char(out, ']');
}

static void write_select(struct strbuf *out, const struct chroma_select *select)
{
    static const char *const includes[] = {
        [CHROMA_IDS] = "",
        [CHROMA_METADATA] = "\"metadatas\"",
        [CHROMA_TEXTS] = "\"metadatas\",\"documents\"",
    };

    if (select->ids != NULL) {
        write_ids(out, select->ids, select->count);
    } else if (select->key != NULL) {
        strbuf_append_str(out, "{\"where\":{");
        json_str(out, select->key);
        strbuf_append_str(out, ":{\"$in\":[");
        for (size_t i = 0; i < select->count; i++) {
            write_separator(out, i);
            json_int(out, select->values[i]);
        }
        strbuf_append_str(out, "]}},\"limit\":");
        json_int(out, (int64_t)select->limit);
    } else if (select->expired_unix_ms > 0) {
        strbuf_append_str(out, "{\"where\":{\"expires_ms\":{\"$lte\":");
        json_int(out, select->expired_unix_ms);
        strbuf_append_str(out, "}},\"limit\":");
        json_int(out, (int64_t)select->limit);
    } else {
        strbuf_append_str(out, "{\"limit\":");
        json_int(out, (int64_t)select->limit);
        strbuf_append_str(out, ",\"offset\":");
        json_int(out, (int64_t)select->offset);
    }
    strbuf_append_str(out, ",\"include\":[");
    strbuf_append_str(out, includes[select->fields]);
    strbuf_append_str(out, "]}");
}

enum status chroma_get(struct chroma *chroma, const struct chroma_select *select,
                       struct arena *arena, struct chroma_hits *out, struct error *err)
{
    const struct chroma_action action = {select->domain, false, "POST", "get"};
    const bool by_list = select->ids != NULL || select->key != NULL;
    struct chroma_walk walk = {.text_in_metadata = chroma->config.store_text_as_metadata};
    const struct strbuf *body = &chroma->response.body;

    *out = (struct chroma_hits){0};
    if (by_list ? select->count == 0 : select->limit == 0) {
        return STATUS_OK;
    }
    write_select(chroma_request(chroma), select);
    TRY(chroma_on_collection(chroma, &action, err));
    enum status status = chroma_walk_open(&walk, body->data, body->bytes, err);
    if (status == STATUS_OK) {
        status = chroma_walk_all(&walk, arena, out, err);
    }
    chroma_end_answer(chroma);
    return name_garbled(chroma, "get", status, err);
}

/* Never called with an empty list: with neither ids nor where, older servers delete everything. */
static enum status delete_slice(struct chroma *chroma, const char *domain, const struct slice *ids,
                                size_t count, struct error *err)
{
    struct strbuf *request = chroma_request(chroma);
    write_ids(request, ids, count);
    strbuf_append_char(request, '}');
    TRY(chroma_on_collection(chroma, &(struct chroma_action){domain, false, "POST", "delete"},
                             err));
    return check_acknowledged(chroma, "delete", err);
}

enum status chroma_delete(struct chroma *chroma, const char *domain, const struct slice *ids,
                          size_t count, struct error *err)
{
    for (size_t done = 0; done < count;) {
        size_t slice = count - done < CHROMA_BATCH_MAX ? count - done : CHROMA_BATCH_MAX;
        TRY(delete_slice(chroma, domain, ids + done, slice, err));
        done += slice;
    }
    return STATUS_OK;
}

enum status chroma_count(struct chroma *chroma, const char *domain, int64_t *count,
                         struct error *err)
{
    cJSON *root = NULL;
    TRY(chroma_on_collection(chroma, &(struct chroma_action){domain, false, "GET", "count"}, err));
    TRY(chroma_answer(chroma, "count", &root, err));
    const enum status status = chroma_decode_count(root, count, err);
    cJSON_Delete(root);
    return status;
}
