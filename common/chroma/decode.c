/* chroma/decode.c - the server's answers, every field of which may be anything at all.
 *
 * An answer to get has one list a field (ids, documents, metadatas), one to query a list of such
 * lists, one a query, and distances. Lists that were not asked for are null.
 *
 * The tree of a whole answer to 64 queries would take 1 MiB, several times its text, and one of
 * 4,096 hits 5 MiB. So the lists are walked together in the text, and only one record is a tree at
 * a time.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chroma/internal.h"
#include "json/tree.h"
#include "json/walk.h"

static enum status not_json(const char *data, size_t bytes, struct error *err)
{
    char excerpt[48];

    if (bytes > 0 && (data[0] == '{' || data[0] == '[')) { /* its texts are nobody's business */
        return error_set(err, STATUS_GARBLED, "the answer is not JSON: it begins so and breaks");
    }
    return error_set(err, STATUS_GARBLED, "the answer is not JSON: \"%s\"",
                     text_excerpt(data, bytes, excerpt));
}

enum status chroma_parse(const char *data, size_t bytes, cJSON **out, struct error *err)
{
    const char *end = NULL;

    *out = NULL;
    if (bytes == 0) {
        return error_set(err, STATUS_GARBLED, "the answer is empty, not JSON");
    }
    if (text_is_utf8(data, bytes)) {
        *out = json_tree_parse(data, bytes + 1, &end, true);
    }
    if (*out != NULL && end == data + bytes) {
        return STATUS_OK;
    }
    cJSON_Delete(*out);
    *out = NULL;
    return not_json(data, bytes, err);
}

static bool is_absent(const cJSON *value)
{
    return value == NULL || cJSON_IsNull(value);
}

static struct slice copy_string(const char *text, struct arena *arena)
{
    const size_t bytes = strlen(text);

    return (struct slice){arena_copy(arena, text, bytes), bytes};
}

/* False for what a metadata value of ours cannot be: null, lists, objects. */
static bool is_scalar(const cJSON *value)
{
    return cJSON_IsString(value) || cJSON_IsBool(value) ||
           (cJSON_IsNumber(value) && isfinite(value->valuedouble));
}

static void decode_value(const cJSON *value, struct arena *arena, struct meta_value *out)
{
    if (cJSON_IsString(value)) {
        out->type = META_STRING;
        out->string = copy_string(value->valuestring, arena);
    } else if (cJSON_IsBool(value)) {
        out->type = META_BOOL;
        out->boolean = cJSON_IsTrue(value);
    } else if (json_tree_number(value, &out->integer) == JSON_WHOLE) {
        out->type = META_INT;
    } else {
        out->type = META_FLOAT;
        out->number = value->valuedouble;
    }
}

/* The scalar pairs of `metadata` into `example`, `hidden` left out (may be NULL). */
static void decode_metadata(const cJSON *metadata, const cJSON *hidden, struct arena *arena,
                            struct example *example)
{
    const cJSON *value = NULL;
    size_t count = 0;

    cJSON_ArrayForEach(value, metadata)
    {
        count += is_scalar(value) && value != hidden ? 1 : 0;
    }
    example->metadata = arena_array(arena, count, sizeof *example->metadata);
    cJSON_ArrayForEach(value, metadata)
    {
        if (is_scalar(value) && value != hidden) {
            struct meta_pair *pair = &example->metadata[example->metadata_count++];
            pair->key = copy_string(value->string, arena);
            decode_value(value, arena, &pair->value);
        }
    }
}

enum {
    IDS = CHROMA_FIELD_IDS,
    DOCUMENTS = CHROMA_FIELD_TEXTS,
    METADATAS = CHROMA_FIELD_METADATA,
    DISTANCES = CHROMA_FIELD_DISTANCES,
    FIELDS = CHROMA_FIELDS,
};

static const char *const field_names[FIELDS] = {"ids", "documents", "metadatas", "distances"};

/* One record: a tree a field, NULL where the answer does not have it. */
struct record {
    cJSON *trees[FIELDS];
};

static enum status check_types(const struct record *record, struct error *err)
{
    if (!cJSON_IsString(record->trees[IDS])) {
        return error_set(err, STATUS_GARBLED, "an id in the answer is not a string");
    }
    if (!is_absent(record->trees[DOCUMENTS]) && !cJSON_IsString(record->trees[DOCUMENTS])) {
        return error_set(err, STATUS_GARBLED, "a document in the answer is not a string");
    }
    if (!is_absent(record->trees[METADATAS]) && !cJSON_IsObject(record->trees[METADATAS])) {
        return error_set(err, STATUS_GARBLED, "metadata in the answer is not an object");
    }
    if (!is_absent(record->trees[DISTANCES]) && !cJSON_IsNumber(record->trees[DISTANCES])) {
        return error_set(err, STATUS_GARBLED, "a distance in the answer is not a number");
    }
    return STATUS_OK;
}

/* The metadata value that is the record's text, or NULL: where texts are stored as metadata, or
 * were when this record was written and it has no document. */
static const cJSON *text_in(const struct record *record, bool text_in_metadata)
{
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(record->trees[METADATAS], "document");
    bool no_document = cJSON_IsNull(record->trees[DOCUMENTS]);
    return cJSON_IsString(text) && (text_in_metadata || no_document) ? text : NULL;
}

static void decode_record(const struct record *record, bool text_in_metadata, struct arena *arena,
                          struct example *out)
{
    const cJSON *moved = text_in(record, text_in_metadata);
    const cJSON *text = moved != NULL ? moved : record->trees[DOCUMENTS];
    const cJSON *distance = record->trees[DISTANCES];

    out->distance =
        cJSON_IsNumber(distance) && distance->valuedouble > 0 ? distance->valuedouble : 0;
    out->id = copy_string(record->trees[IDS]->valuestring, arena);
    out->text = copy_string(cJSON_IsString(text) ? text->valuestring : "", arena);
    decode_metadata(record->trees[METADATAS], moved, arena, out);
}

static enum status no_list(const char *field, size_t count, struct error *err)
{
    return error_set(err, STATUS_GARBLED, "field \"%s\" of the answer is not a list of %zu", field,
                     count);
}

static void note_field(struct chroma_lists *outer, const char *key, size_t key_bytes,
                       const char *value)
{
    for (int f = 0; f < FIELDS; f++) {
        if (strlen(field_names[f]) == key_bytes && memcmp(field_names[f], key, key_bytes) == 0 &&
            outer->text[f] == NULL && strncmp(value, "null", 4) != 0) {
            outer->text[f] = value;
        }
    }
}

/* False when the answer, from its first byte to its last, is no JSON value. One that is no object
 * has no fields. */
static bool find_fields(const char *data, const char *end, struct chroma_lists *outer)
{
    struct json_list object;
    enum json_step step = JSON_END;

    if (!json_list_open(&object, data, end, '{')) {
        const char *after = json_skip(data, end);
        return after != NULL && json_skip_space(after, end) == end;
    }
    while ((step = json_list_next(&object)) == JSON_ELEMENT) {
        const char *key = NULL;
        size_t key_bytes = 0;
        if (!json_list_key(&object, &key, &key_bytes)) {
            return false;
        }
        note_field(outer, key, key_bytes, object.at);
        object.at = json_skip(object.at, end);
        if (object.at == NULL) {
            return false;
        }
    }
    return step == JSON_END && json_skip_space(object.at, end) == end;
}

enum status chroma_walk_open(struct chroma_walk *walk, const char *data, size_t bytes,
                             struct error *err)
{
    struct chroma_lists *outer = &walk->outer;
    const char *end = data + bytes;

    walk->next = 0;
    *outer = (struct chroma_lists){0};
    if (bytes == 0) {
        return error_set(err, STATUS_GARBLED, "the answer is empty, not JSON");
    }
    if (!text_is_utf8(data, bytes) || !find_fields(data, end, outer)) {
        return not_json(data, bytes, err);
    }
    if (outer->text[IDS] == NULL) {
        return error_set(err, STATUS_GARBLED, "field \"ids\" of the answer is not a list");
    }
    for (int f = 0; f < FIELDS; f++) {
        if (outer->text[f] != NULL && !json_list_open(&outer->lists[f], outer->text[f], end, '[')) {
            return no_list(field_names[f], walk->asked.count, err);
        }
    }
    return STATUS_OK;
}

/* True for a hit that is whole: while a record is deleted, parts of it are null. */
static bool is_whole_hit(const struct record *record)
{
    return cJSON_IsObject(record->trees[METADATAS]) && cJSON_IsNumber(record->trees[DISTANCES]) &&
           isfinite(record->trees[DISTANCES]->valuedouble);
}

/* The lists of one query. */
static enum status open_inner(struct chroma_lists *outer, size_t count, struct chroma_lists *inner,
                              struct error *err)
{
    *inner = (struct chroma_lists){0};
    for (int f = 0; f < FIELDS; f++) {
        struct json_list *list = &outer->lists[f];
        if (outer->text[f] == NULL) {
            continue;
        }
        if (json_list_next(list) != JSON_ELEMENT) {
            return no_list(field_names[f], count, err);
        }
        if (f != IDS && strncmp(list->at, "null", 4) == 0) {
            list->at += 4;
            continue;
        }
        inner->text[f] = list->at;
        if (!json_list_open(&inner->lists[f], list->at, list->end, '[')) {
            return no_list(field_names[f], count, err);
        }
    }
    return STATUS_OK;
}

/* How many elements a list has; only what is between them is looked at. */
static size_t count_elements(struct json_list list)
{
    size_t count = 0;

    while (list.at != NULL && json_list_next(&list) == JSON_ELEMENT) {
        list.at = json_skip(list.at, list.end);
        count++;
    }
    return count;
}

static enum status next_record(struct chroma_lists *lists, size_t count, struct record *record,
                               struct error *err)
{
    for (int f = 0; f < FIELDS; f++) {
        struct json_list *list = &lists->lists[f];
        const char *after = NULL;
        if (lists->text[f] == NULL) {
            continue;
        }
        if (json_list_next(list) != JSON_ELEMENT) {
            return no_list(field_names[f], count, err);
        }
        const size_t left = (size_t)(list->end - list->at);
        record->trees[f] = f == METADATAS
                               ? json_tree_parse(list->at, left + 1, &after, false)
                               : cJSON_ParseWithLengthOpts(list->at, left + 1, &after, false);
        if (record->trees[f] == NULL) {
            return not_json(list->at, left, err);
        }
        list->at = after;
    }
    return STATUS_OK;
}

static enum status check_ended(struct chroma_lists *lists, size_t count, struct error *err)
{
    for (int f = 0; f < FIELDS; f++) {
        if (lists->text[f] != NULL && json_list_next(&lists->lists[f]) != JSON_END) {
            return no_list(field_names[f], count, err);
        }
    }
    return STATUS_OK;
}

/* Adds a record to those of its list; of a query's hits those that are whole, and wanted. */
static enum status take_record(const struct chroma_walk *walk, const struct record *record,
                               struct arena *arena, struct chroma_hits *hits, struct error *err)
{
    const struct chroma_search *asked = &walk->asked;
    const struct arena_mark mark = arena_mark(arena);
    struct example *hit = &hits->examples[hits->count];

    TRY(check_types(record, err));
    if (asked->count > 0 && !is_whole_hit(record)) {
        return STATUS_OK;
    }
    decode_record(record, walk->text_in_metadata, arena, hit);
    if (asked->wanted != NULL && !asked->wanted(asked->wanted_context, hit)) {
        *hit = (struct example){0};
        arena_rewind(arena, mark);
    } else {
        hits->count++;
    }
    return STATUS_OK;
}

/* The records of lists that all are `count` long. */
static enum status take_list(const struct chroma_walk *walk, struct chroma_lists *lists,
                             struct arena *arena, struct chroma_hits *hits, struct error *err)
{
    const size_t count = count_elements(lists->lists[IDS]);
    enum status status = STATUS_OK;

    if (walk->asked.count > 0 && count > walk->asked.n_results) {
        return error_set(err, STATUS_GARBLED, "the answer has %zu hits where %zu were asked", count,
                         walk->asked.n_results);
    }
    *hits = (struct chroma_hits){.examples = arena_array(arena, count, sizeof *hits->examples),
                                 .answered = count};
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        struct record record = {0};
        status = next_record(lists, count, &record, err);
        if (status == STATUS_OK) {
            status = take_record(walk, &record, arena, hits, err);
        }
        for (int f = 0; f < FIELDS; f++) {
            cJSON_Delete(record.trees[f]);
        }
    }
    return status == STATUS_OK ? check_ended(lists, count, err) : status;
}

enum status chroma_walk_all(struct chroma_walk *walk, struct arena *arena, struct chroma_hits *hits,
                            struct error *err)
{
    return take_list(walk, &walk->outer, arena, hits, err);
}

enum status chroma_walk_next(struct chroma_walk *walk, struct arena *arena,
                             struct chroma_hits *hits, struct error *err)
{
    struct chroma_lists inner;

    TRY(open_inner(&walk->outer, walk->asked.count, &inner, err));
    TRY(take_list(walk, &inner, arena, hits, err));
    for (int f = 0; f < FIELDS; f++) {
        walk->outer.lists[f].at =
            inner.text[f] != NULL ? inner.lists[f].at : walk->outer.lists[f].at;
    }
    walk->next++;
    return walk->next == walk->asked.count ? check_ended(&walk->outer, walk->asked.count, err)
                                           : STATUS_OK;
}

/* What a name of ours has behind `start`; NULL: it is none. */
static const char *domain_behind(const char *start, const char *name)
{
    const size_t bytes = strlen(start);

    return strncmp(name, start, bytes) == 0 && text_is_domain(name + bytes, strlen(name + bytes))
               ? name + bytes
               : NULL;
}

/* A collection of ours as the calls name it; NULL: it is somebody else's. */
static const char *domain_of(const cJSON *collection, struct arena *arena)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(collection, "name");
    char text[CHROMA_DOMAIN_BYTES];

    if (!cJSON_IsString(name)) {
        return NULL;
    }
    const char *domain = domain_behind(CHROMA_NAME, name->valuestring);
    const char *tasks = domain_behind(CHROMA_TASKS_NAME, name->valuestring);
    if (domain == NULL && tasks == NULL) {
        return NULL;
    }
    const int bytes = snprintf(text, sizeof text, "%s%s", tasks == NULL ? "" : CHROMA_TASKS,
                               tasks == NULL ? domain : tasks);
    return arena_copy(arena, text, (size_t)bytes);
}

enum status chroma_decode_domains(const cJSON *root, struct arena *arena,
                                  struct chroma_domains *out, struct error *err)
{
    const cJSON *collection = NULL;

    out->domains = NULL;
    out->count = 0;
    if (!cJSON_IsArray(root)) {
        return error_set(err, STATUS_GARBLED, "the answer is not a list of collections");
    }
    out->answered = (size_t)cJSON_GetArraySize(root);
    out->domains = arena_array(arena, out->answered, sizeof *out->domains);
    cJSON_ArrayForEach(collection, root)
    {
        const char *domain = domain_of(collection, arena);
        if (domain != NULL) {
            out->domains[out->count++] = domain;
        }
    }
    return STATUS_OK;
}

enum status chroma_decode_count(const cJSON *root, int64_t *count, struct error *err)
{
    if (json_tree_number(root, count) != JSON_WHOLE || *count < 0) {
        return error_set(err, STATUS_GARBLED, "the answer is not a count");
    }
    return STATUS_OK;
}

/* A string of foreign JSON fit for an error text; "none" where it is not a string. */
static const char *shown(const cJSON *value, char out[48])
{
    if (!cJSON_IsString(value)) {
        return "none";
    }
    return text_excerpt(value->valuestring, strlen(value->valuestring), out);
}

static bool is_string(const cJSON *value, const char *expected)
{
    return cJSON_IsString(value) && strcmp(value->valuestring, expected) == 0;
}

static bool is_dimension(const cJSON *value, size_t expected)
{
    return expected == 0 || (cJSON_IsNumber(value) && value->valuedouble == (double)expected);
}

static enum status check_space(const cJSON *root, const char *name, struct error *err)
{
    char text[48];
    const cJSON *configuration = cJSON_GetObjectItemCaseSensitive(root, "configuration_json");
    const cJSON *index = cJSON_GetObjectItemCaseSensitive(configuration, "hnsw");
    if (is_absent(index)) {
        index = cJSON_GetObjectItemCaseSensitive(configuration, "spann"); /* distributed servers */
    }

    const cJSON *space = cJSON_GetObjectItemCaseSensitive(index, "space");
    if (!is_string(space, "cosine")) {
        return error_set(err, STATUS_MISMATCH,
                         "collection \"%s\" has distance space \"%s\", ours is \"cosine\"", name,
                         shown(space, text));
    }
    return STATUS_OK;
}

static enum status check_identity(const cJSON *root, const char *name,
                                  const struct chroma_identity *identity, struct error *err)
{
    char text[48];
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(root, "metadata");
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(metadata, "embedder");
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(metadata, "dimension");
    const cJSON *actual = cJSON_GetObjectItemCaseSensitive(root, "dimension"); /* null = empty */
    const cJSON *dimension = is_absent(actual) ? said : actual;

    if (is_string(model, identity->model) && is_dimension(dimension, identity->dimension)) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_MISMATCH,
                     "collection \"%s\" was made with embedder \"%s\" of %.0f dimensions, ours is "
                     "\"%s\" of %zu",
                     name, shown(model, text),
                     cJSON_IsNumber(dimension) ? dimension->valuedouble : 0.0, identity->model,
                     identity->dimension);
}

enum status chroma_decode_collection(const cJSON *root, const char *name,
                                     const struct chroma_identity *identity,
                                     char id[CHROMA_ID_BYTES], struct error *err)
{
    const cJSON *uuid = cJSON_GetObjectItemCaseSensitive(root, "id");
    if (!cJSON_IsString(uuid)) {
        return error_set(err, STATUS_GARBLED, "the answer is not a collection");
    }
    size_t bytes = strlen(uuid->valuestring);
    if (bytes == 0 || bytes >= CHROMA_ID_BYTES ||
        strspn(uuid->valuestring, "0123456789abcdefABCDEF-") != bytes) {
        return error_set(err, STATUS_GARBLED, "the id of collection \"%s\" is not a UUID", name);
    }

    TRY(check_space(root, name, err));
    TRY(check_identity(root, name, identity, err));
    memcpy(id, uuid->valuestring, bytes + 1);
    return STATUS_OK;
}
