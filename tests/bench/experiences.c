#include "experiences.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embedder/builtin.h"
#include "embedder/embedder.h"
#include "support.h"
#include "json/write.h"

enum { VOCABULARY = 4096, PROMPT_WORDS = 10, RESULT_WORDS = 40, SHARED_WORDS = 4, METADATA = 6 };

static const int64_t created_unix_ms = 1700000000000;
static const int64_t expires_unix_ms = 4000000000000;

/* splitmix64: the same numbers everywhere. */
static uint64_t scramble(uint64_t value)
{
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9U;
    value = (value ^ value >> 27) * 0x94d049bb133111ebU;
    return value ^ value >> 31;
}

/* Word `index` of text `kind` number `serial`, from syllables: "kelimo". */
static size_t put_word(char *out, size_t size, uint64_t kind, long serial, int index)
{
    static const char consonants[] = "bdfgklmnprstvwzh";
    static const char vowels[] = "aeio";
    const uint64_t word =
        scramble(kind << 56 ^ (uint64_t)serial << 8 ^ (uint64_t)index) % VOCABULARY;
    const uint64_t letters = scramble(word);

    return (size_t)snprintf(out, size, "%s%c%c%c%c%c%c", index > 0 ? " " : "",
                            consonants[letters & 15], vowels[letters >> 4 & 3],
                            consonants[letters >> 6 & 15], vowels[letters >> 10 & 3],
                            consonants[letters >> 12 & 15], vowels[letters >> 16 & 3]);
}

static void put_words(char out[EXPERIENCES_TEXT], uint64_t kind, long serial, int count)
{
    size_t used = 0;

    for (int i = 0; i < count; i++) {
        used += put_word(out + used, EXPERIENCES_TEXT - used, kind, serial, i);
    }
}

void experience_make(struct experience *experience, long serial)
{
    snprintf(experience->task_id, sizeof experience->task_id, "task-%010ld", serial);
    put_words(experience->prompt, 1, serial, PROMPT_WORDS);
    put_words(experience->result, 2, serial, RESULT_WORDS);
}

void experience_query(char query[EXPERIENCES_TEXT], long serial, long count)
{
    const long about = (long)(scramble((uint64_t)serial) % (uint64_t)count);
    size_t used = 0;

    for (int i = 0; i < SHARED_WORDS; i++) {
        used += put_word(query + used, EXPERIENCES_TEXT - used, 1, about, i);
    }
    used += put_word(query + used, EXPERIENCES_TEXT - used, 3, serial, 1);
    snprintf(query + used, EXPERIENCES_TEXT - used, " q%ld", serial);
}

const char *experience_domain(char out[EXPERIENCES_DOMAIN], const char *prefix, long serial,
                              long domains)
{
    snprintf(out, EXPERIENCES_DOMAIN, "%s%ld", prefix, serial % domains);
    return out;
}

/* ---- records -----------------------------------------------------------------------------------
 */

static struct slice text(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* A record with all that it points to. */
struct made {
    struct experience experience;
    char document[2 * EXPERIENCES_TEXT + 2];
    float vector[EXPERIENCES_DIMENSION];
    struct meta_pair metadata[METADATA];
};

static struct chroma_record make_record(struct made *made, const char *domain, long serial)
{
    experience_make(&made->experience, serial);
    snprintf(made->document, sizeof made->document, "%s\n\n%s", made->experience.prompt,
             made->experience.result);
    embedder_builtin(made->experience.prompt, strlen(made->experience.prompt), made->vector,
                     EXPERIENCES_DIMENSION);
    const struct meta_pair metadata[METADATA] = {
        {text("task_id"), {.type = META_STRING, .string = text(made->experience.task_id)}},
        {text("domain"), {.type = META_STRING, .string = text(domain)}},
        {text("success"), {.type = META_BOOL, .boolean = true}},
        {text("quality"), {.type = META_FLOAT, .number = 0.9}},
        {text("created_ms"), {.type = META_INT, .integer = created_unix_ms}},
        {text("expires_ms"), {.type = META_INT, .integer = expires_unix_ms}},
    };
    memcpy(made->metadata, metadata, sizeof metadata);
    return (struct chroma_record){.id = text(made->experience.task_id),
                                  .vector = made->vector,
                                  .document = text(made->document),
                                  .metadata = made->metadata,
                                  .metadata_count = METADATA};
}

void experiences_store(struct chroma *chroma, const char *prefix, long count, long domains)
{
    static struct made made[EXPERIENCES_BATCH];
    struct chroma_record records[EXPERIENCES_BATCH];
    char domain[EXPERIENCES_DOMAIN];
    struct error err = {0};

    for (long d = 0; d < domains; d++) {
        size_t filled = 0;
        experience_domain(domain, prefix, d, domains);
        for (long serial = d; serial < count; serial += domains) {
            records[filled] = make_record(&made[filled], domain, serial);
            filled++;
            if (filled < EXPERIENCES_BATCH && serial + domains < count) {
                continue;
            }
            if (chroma_upsert(chroma, domain, records, filled, &err) != STATUS_OK) {
                bench_fail("store: %s", err.text);
            }
            filled = 0;
        }
    }
}

/* ---- requests
 * ------------------------------------------------------------------------------------ */

static void put_metadata(struct strbuf *out, const struct chroma_record *record)
{
    strbuf_append_str(out, "{\"document\":null");
    for (size_t i = 0; i < record->metadata_count; i++) {
        const struct meta_pair *pair = &record->metadata[i];
        strbuf_append_char(out, ',');
        json_string(out, pair->key.data, pair->key.bytes);
        strbuf_append_char(out, ':');
        if (pair->value.type == META_STRING) {
            json_string(out, pair->value.string.data, pair->value.string.bytes);
        } else if (pair->value.type == META_INT) {
            json_int(out, pair->value.integer);
        } else if (pair->value.type == META_FLOAT) {
            json_double(out, pair->value.number);
        } else {
            strbuf_append_str(out, "true");
        }
    }
    strbuf_append_char(out, '}');
}

enum part { IDS, EMBEDDINGS, METADATAS, DOCUMENTS, PARTS };

static void put_part(struct strbuf *out, enum part part, const struct chroma_record *record)
{
    switch (part) {
    case IDS:
        json_string(out, record->id.data, record->id.bytes);
        break;
    case EMBEDDINGS:
        json_floats(out, record->vector, EXPERIENCES_DIMENSION);
        break;
    case METADATAS:
        put_metadata(out, record);
        break;
    case DOCUMENTS:
        json_string(out, record->document.data, record->document.bytes);
        break;
    case PARTS:
        break;
    }
}

void experiences_upsert_body(struct strbuf *out, const char *domain, const long *serials,
                             size_t count)
{
    static const char *const names[PARTS] = {"{\"ids\":[", "],\"embeddings\":[",
                                             "],\"metadatas\":[", "],\"documents\":["};
    static struct made made[EXPERIENCES_BATCH];
    struct chroma_record records[EXPERIENCES_BATCH];

    for (size_t i = 0; i < count; i++) {
        records[i] = make_record(&made[i], domain, serials[i]);
    }
    for (int part = 0; part < PARTS; part++) {
        strbuf_append_str(out, names[part]);
        for (size_t i = 0; i < count; i++) {
            if (i > 0) {
                strbuf_append_char(out, ',');
            }
            put_part(out, (enum part)part, &records[i]);
        }
    }
    strbuf_append_str(out, "]}");
}

void experiences_query_body(struct strbuf *out, const long *serials, size_t count, long experiences)
{
    char query[EXPERIENCES_TEXT];
    float vector[EXPERIENCES_DIMENSION];

    strbuf_append_str(out, "{\"query_embeddings\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            strbuf_append_char(out, ',');
        }
        experience_query(query, serials[i], experiences);
        embedder_builtin(query, strlen(query), vector, EXPERIENCES_DIMENSION);
        json_floats(out, vector, EXPERIENCES_DIMENSION);
    }
    strbuf_append_str(out, "],\"n_results\":");
    json_int(out, EXPERIENCES_RESULTS);
    strbuf_append_str(out, ",\"include\":[\"documents\",\"metadatas\",\"distances\"]}");
}
