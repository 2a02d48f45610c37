/* chroma/decode.c - the server's answers, every field of which may be anything at all.
 *
 * An answer to get has one list a field (ids, documents, metadatas), one to query a list of such
 * lists, one a query, and distances. Lists that were not asked for are null. cJSON keeps lists as
 * chains, so they are walked together and never indexed.
 *
 * The tree of a whole answer to 64 queries would take 1 MiB, several times its text, and one of
 * 4,096 hits 5 MiB. So the lists of an answer to query are walked in the text, and only one record
 * is a tree at a time.
 */
#include <math.h>
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

static enum status copy_string(const char *text, struct arena *arena, struct slice *out,
                               struct error *err)
{
    size_t bytes = strlen(text);
    const char *copy = arena_copy(arena, text, bytes);
    if (copy == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for an answer of chroma");
    }
    *out = (struct slice){copy, bytes};
    return STATUS_OK;
}

/* False for what a metadata value of ours cannot be: null, lists, objects. */
static bool is_scalar(const cJSON *value)
{
    return cJSON_IsString(value) || cJSON_IsBool(value) ||
           (cJSON_IsNumber(value) && isfinite(value->valuedouble));
}

static enum status decode_value(const cJSON *value, struct arena *arena, struct meta_value *out,
                                struct error *err)
{
    if (cJSON_IsString(value)) {
        out->type = META_STRING;
        return copy_string(value->valuestring, arena, &out->string, err);
    }
    if (cJSON_IsBool(value)) {
        out->type = META_BOOL;
        out->boolean = cJSON_IsTrue(value);
        return STATUS_OK;
    }
    if (json_tree_number(value, &out->integer) == JSON_WHOLE) {
        out->type = META_INT;
        return STATUS_OK;
    }
    out->type = META_FLOAT;
    out->number = value->valuedouble;
    return STATUS_OK;
}

/* The scalar pairs of `metadata` into `example`, `hidden` left out (may be NULL). */
static enum status decode_metadata(const cJSON *metadata, const cJSON *hidden, struct arena *arena,
                                   struct example *example, struct error *err)
{
    const cJSON *value = NULL;
    size_t count = 0;

    cJSON_ArrayForEach(value, metadata)
    {
        count += is_scalar(value) && value != hidden ? 1 : 0;
    }
    example->metadata = arena_array(arena, count, sizeof *example->metadata);
    if (example->metadata == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for an answer of chroma");
    }

    cJSON_ArrayForEach(value, metadata)
    {
        if (!is_scalar(value) || value == hidden) {
            continue;
        }
        struct meta_pair *pair = &example->metadata[example->metadata_count++];
        if (copy_string(value->string, arena, &pair->key, err) != STATUS_OK ||
            decode_value(value, arena, &pair->value, err) != STATUS_OK) {
            return STATUS_OOM;
        }
    }
    return STATUS_OK;
}

/* The fields of one record, or the lists of one query, or the heads of chains walked together. */
struct fields {
    const cJSON *ids;
    const cJSON *documents;
    const cJSON *metadatas;
    const cJSON *distances;
};

static const cJSON *after(const cJSON *value)
{
    return value == NULL ? NULL : value->next;
}

static void step(struct fields *chains)
{
    chains->ids = after(chains->ids);
    chains->documents = after(chains->documents);
    chains->metadatas = after(chains->metadatas);
    chains->distances = after(chains->distances);
}

static enum status no_list(const char *field, size_t count, struct error *err)
{
    return error_set(err, STATUS_GARBLED, "field \"%s\" of the answer is not a list of %zu", field,
                     count);
}

static enum status chain(const cJSON *list, const char *field, size_t count, const cJSON **first,
                         struct error *err)
{
    *first = NULL;
    if (is_absent(list)) {
        return STATUS_OK;
    }
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) != count) {
        return no_list(field, count, err);
    }
    *first = list->child;
    return STATUS_OK;
}

/* The first elements of lists that must all have `count`. */
static enum status chains(const struct fields *lists, size_t count, struct fields *out,
                          struct error *err)
{
    if (!cJSON_IsArray(lists->ids)) {
        return error_set(err, STATUS_GARBLED, "field \"ids\" of the answer is not a list");
    }
    enum status status = chain(lists->ids, "ids", count, &out->ids, err);
    if (status == STATUS_OK) {
        status = chain(lists->documents, "documents", count, &out->documents, err);
    }
    if (status == STATUS_OK) {
        status = chain(lists->metadatas, "metadatas", count, &out->metadatas, err);
    }
    if (status == STATUS_OK) {
        status = chain(lists->distances, "distances", count, &out->distances, err);
    }
    return status;
}

static struct fields lists_of(const cJSON *root)
{
    return (struct fields){
        .ids = cJSON_GetObjectItemCaseSensitive(root, "ids"),
        .documents = cJSON_GetObjectItemCaseSensitive(root, "documents"),
        .metadatas = cJSON_GetObjectItemCaseSensitive(root, "metadatas"),
        .distances = cJSON_GetObjectItemCaseSensitive(root, "distances"),
    };
}

static enum status check_types(const struct fields *record, struct error *err)
{
    if (!cJSON_IsString(record->ids)) {
        return error_set(err, STATUS_GARBLED, "an id in the answer is not a string");
    }
    if (!is_absent(record->documents) && !cJSON_IsString(record->documents)) {
        return error_set(err, STATUS_GARBLED, "a document in the answer is not a string");
    }
    if (!is_absent(record->metadatas) && !cJSON_IsObject(record->metadatas)) {
        return error_set(err, STATUS_GARBLED, "metadata in the answer is not an object");
    }
    if (!is_absent(record->distances) && !cJSON_IsNumber(record->distances)) {
        return error_set(err, STATUS_GARBLED, "a distance in the answer is not a number");
    }
    return STATUS_OK;
}

/* The metadata value that is the record's text, or NULL: where texts are stored as metadata, or
 * were when this record was written and it has no document. */
static const cJSON *text_in(const struct fields *record, bool text_in_metadata)
{
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(record->metadatas, "document");
    bool no_document = cJSON_IsNull(record->documents);
    return cJSON_IsString(text) && (text_in_metadata || no_document) ? text : NULL;
}

static enum status decode_record(const struct fields *record, bool text_in_metadata,
                                 struct arena *arena, struct example *out, struct error *err)
{
    const cJSON *moved = text_in(record, text_in_metadata);
    const cJSON *text = moved != NULL ? moved : record->documents;
    const char *text_data = cJSON_IsString(text) ? text->valuestring : "";
    double distance = cJSON_IsNumber(record->distances) ? record->distances->valuedouble : 0;

    out->distance = distance > 0 ? distance : 0;
    if (copy_string(record->ids->valuestring, arena, &out->id, err) != STATUS_OK ||
        copy_string(text_data, arena, &out->text, err) != STATUS_OK) {
        return STATUS_OOM;
    }
    return decode_metadata(record->metadatas, moved, arena, out, err);
}

static enum status decode_list(const struct fields *lists, bool text_in_metadata,
                               struct arena *arena, struct chroma_hits *out, struct error *err)
{
    size_t count = (size_t)cJSON_GetArraySize(lists->ids);
    struct fields record = {0};
    enum status status = chains(lists, count, &record, err);

    *out = (struct chroma_hits){.answered = count};
    if (status != STATUS_OK) {
        return status;
    }
    out->examples = arena_array(arena, count, sizeof *out->examples);
    if (out->examples == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for an answer of chroma");
    }
    for (; record.ids != NULL && status == STATUS_OK; step(&record)) {
        status = check_types(&record, err);
        if (status == STATUS_OK) {
            status =
                decode_record(&record, text_in_metadata, arena, &out->examples[out->count], err);
            out->count++;
        }
    }
    return status;
}

enum status chroma_decode_records(const cJSON *root, bool text_in_metadata, struct arena *arena,
                                  struct chroma_hits *out, struct error *err)
{
    struct fields lists = lists_of(root);
    lists.distances = NULL;
    return decode_list(&lists, text_in_metadata, arena, out, err);
}

/* ---- the answer to a query, walked ---- */

enum {
    IDS = CHROMA_FIELD_IDS,
    DOCUMENTS = CHROMA_FIELD_TEXTS,
    METADATAS = CHROMA_FIELD_METADATA,
    DISTANCES = CHROMA_FIELD_DISTANCES,
    FIELDS = CHROMA_FIELDS,
};

static const char *const field_names[FIELDS] = {"ids", "documents", "metadatas", "distances"};

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

static enum status open_outer(const char *data, size_t bytes, size_t count,
                              struct chroma_lists *outer, struct error *err)
{
    const char *end = data + bytes;

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
            return no_list(field_names[f], count, err);
        }
    }
    return STATUS_OK;
}

/* True for a hit that is whole: while a record is deleted, parts of it are null. */
static bool is_whole_hit(const struct fields *record)
{
    return cJSON_IsObject(record->metadatas) && cJSON_IsNumber(record->distances) &&
           isfinite(record->distances->valuedouble);
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

/* The next record as trees, one a field. */
static enum status next_record(struct chroma_lists *inner, size_t count, cJSON *trees[FIELDS],
                               struct error *err)
{
    for (int f = 0; f < FIELDS; f++) {
        struct json_list *list = &inner->lists[f];
        const char *after = NULL;
        if (inner->text[f] == NULL) {
            continue;
        }
        if (json_list_next(list) != JSON_ELEMENT) {
            return no_list(field_names[f], count, err);
        }
        const size_t left = (size_t)(list->end - list->at);
        trees[f] = f == METADATAS ? json_tree_parse(list->at, left + 1, &after, false)
                                  : cJSON_ParseWithLengthOpts(list->at, left + 1, &after, false);
        if (trees[f] == NULL) {
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

/* Adds the hit to those of its query, unless it is not wanted. */
static enum status take_record(cJSON *const trees[FIELDS], const struct chroma_walk *walk,
                               struct arena *arena, struct chroma_hits *hits, struct error *err)
{
    const struct fields record = {trees[IDS], trees[DOCUMENTS], trees[METADATAS], trees[DISTANCES]};
    const struct arena_mark mark = arena_mark(arena);
    struct example *hit = &hits->examples[hits->count];
    enum status status = check_types(&record, err);

    if (status != STATUS_OK || !is_whole_hit(&record)) {
        return status;
    }
    status = decode_record(&record, walk->text_in_metadata, arena, hit, err);
    if (status == STATUS_OK && walk->asked.wanted != NULL &&
        !walk->asked.wanted(walk->asked.wanted_context, hit)) {
        *hit = (struct example){0};
        arena_rewind(arena, mark);
        return STATUS_OK;
    }
    hits->count += status == STATUS_OK;
    return status;
}

enum status chroma_walk_open(struct chroma_walk *walk, const char *data, size_t bytes,
                             struct error *err)
{
    walk->next = 0;
    walk->outer = (struct chroma_lists){0};
    return open_outer(data, bytes, walk->asked.count, &walk->outer, err);
}

enum status chroma_walk_next(struct chroma_walk *walk, struct arena *arena,
                             struct chroma_hits *hits, struct error *err)
{
    struct chroma_lists inner;
    enum status status = open_inner(&walk->outer, walk->asked.count, &inner, err);

    if (status != STATUS_OK) {
        return status;
    }
    const size_t count = count_elements(inner.lists[IDS]);
    if (count > walk->asked.n_results) {
        return error_set(err, STATUS_GARBLED, "the answer has %zu hits where %zu were asked", count,
                         walk->asked.n_results);
    }
    *hits = (struct chroma_hits){.examples = arena_array(arena, count, sizeof *hits->examples),
                                 .answered = count};
    if (hits->examples == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for an answer of chroma");
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        cJSON *trees[FIELDS] = {NULL};
        status = next_record(&inner, count, trees, err);
        if (status == STATUS_OK) {
            status = take_record(trees, walk, arena, hits, err);
        }
        for (int f = 0; f < FIELDS; f++) {
            cJSON_Delete(trees[f]);
        }
    }
    if (status == STATUS_OK) {
        status = check_ended(&inner, count, err);
    }
    for (int f = 0; f < FIELDS; f++) {
        walk->outer.lists[f].at =
            inner.text[f] != NULL ? inner.lists[f].at : walk->outer.lists[f].at;
    }
    walk->next++;
    return status == STATUS_OK && walk->next == walk->asked.count
               ? check_ended(&walk->outer, walk->asked.count, err)
               : status;
}

/* The domain in the name of a collection of ours; NULL: it is somebody else's. */
static const char *domain_of(const cJSON *collection)
{
    static const char ours[] = "sh-";
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(collection, "name");

    if (!cJSON_IsString(name) || strncmp(name->valuestring, ours, sizeof ours - 1) != 0) {
        return NULL;
    }
    const char *domain = name->valuestring + sizeof ours - 1;
    return text_is_domain(domain, strlen(domain)) ? domain : NULL;
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
    if (out->domains == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for an answer of chroma");
    }
    cJSON_ArrayForEach(collection, root)
    {
        const char *domain = domain_of(collection);
        if (domain == NULL) {
            continue;
        }
        out->domains[out->count] = arena_copy(arena, domain, strlen(domain));
        if (out->domains[out->count] == NULL) {
            return error_set(err, STATUS_OOM, "out of memory for an answer of chroma");
        }
        out->count++;
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

    enum status status = check_space(root, name, err);
    if (status == STATUS_OK) {
        status = check_identity(root, name, identity, err);
    }
    if (status == STATUS_OK) {
        memcpy(id, uuid->valuestring, bytes + 1);
    }
    return status;
}
