/* embedder/internal.h - shared by the embedders only. */
#ifndef STILLHOUSE_EMBEDDER_INTERNAL_H
#define STILLHOUSE_EMBEDDER_INTERNAL_H

#include <stdbool.h>

#include "base/strbuf.h"
#include "embedder/embedder.h"

enum { EMBEDDER_REQUEST_MAX = 256, EMBEDDER_URL_BYTES = SETTINGS_TEXT_BYTES + 32 };

struct embedder {
    enum settings_embedder kind;
    char model[160];    /* what the server is asked for */
    char identity[192]; /* the name in keys and collections */
    size_t dimension;
    bool ask_dimension; /* it was configured: sent to an OpenAI-compatible server */
    bool ask_packed;    /* base64, which is shorter */
    bool fields_work;   /* a request with these optional fields passed */
    bool compares;      /* the text is our own: a refusal is none of it */
    int timeout_ms;     /* of a request; 0 = the client's */
    bool ollama_singly; /* /api/embed is not there: /api/embeddings, one text a request */
    char url[SETTINGS_TEXT_BYTES];
    struct http *http;
    struct http_response response;
    struct strbuf request;
    size_t texts_from; /* where the texts begin in it: the model before them may be quoted */
};

/* One request for `count` <= EMBEDDER_REQUEST_MAX texts. */
enum status embedder_ask_openai(struct embedder *embedder, const struct slice *texts, size_t count,
                                float *vectors, struct error *err) MUSTCHECK;
enum status embedder_ask_ollama(struct embedder *embedder, const struct slice *texts, size_t count,
                                float *vectors, struct error *err) MUSTCHECK;

/* The length of the first vector of an answer, whoever sent it. GARBLED: there is none. */
enum status embedder_decode_length(const char *body, size_t bytes, size_t *length,
                                   struct error *err) MUSTCHECK;

#endif
