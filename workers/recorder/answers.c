/* See recorder/answers.h. A reading connection stays open from question to question; one that
 * failed, or whose file was replaced, is closed and opened anew with the next.
 */
#include "recorder/answers.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/text.h"
#include "config/clients.h"
#include "learn/questions.h"
#include "learn/similar.h"
#include "learn/store.h"

enum { CODE_OK = 200, CODE_INVALID = 400, CODE_NOT_FOUND = 404, CODE_UNAVAILABLE = 503 };
enum { AGAIN_MS = ANSWERS_LIMIT_MS / 2 };

/* Who waits. */
struct guest {
    const char *path;
    struct http_server_request *request;
    int64_t since_ms;
};

/* Who waits for a thread, and what is the thread's own. */
struct line {
    struct answers *answers;
    pthread_t thread;
    bool is_started;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t asked; /* for the thread: the line, or the end */
    struct guest guests[ANSWERS_LINE];
    size_t first, count;
    bool ends;

    struct similar_clients clients; /* NULL while they are not open */
    struct store *store;            /* likewise; the database is this one's */
    struct arena arena;             /* of one answer */
};

/* Questions that the store alone answers do not wait behind those that ask servers too. */
enum { OF_STORE, OF_SERVERS, LINES };

struct answers {
    struct settings settings;
    struct line lines[LINES];
};

/* ---- replies --------------------------------------------------------------------------------- */

static void begin_sentence(struct http_server_reply *reply, unsigned code)
{
    reply->code = code;
    reply->type = "text/plain; charset=utf-8";
    strbuf_reset(&reply->body);
}

static void say(struct http_server_reply *reply, unsigned code, const char *text)
{
    begin_sentence(reply, code);
    strbuf_printf(&reply->body, "%s\n", text);
}

static void say_no_question(struct http_server_reply *reply, const char *name)
{
    char found[48];

    begin_sentence(reply, CODE_NOT_FOUND);
    strbuf_printf(&reply->body, "no question \"%s\", expected one of",
                  text_excerpt(name, strlen(name), found));
    for (size_t i = 0; i < questions_count; i++) {
        strbuf_printf(&reply->body, "%s %s", i == 0 ? "" : ",", questions[i].name);
    }
    strbuf_append_char(&reply->body, '\n');
}

/* ---- a question ------------------------------------------------------------------------------ */

static enum status refuse_name(const struct store_question *question, struct slice name,
                               struct error *err)
{
    struct strbuf list = {0};
    char found[48];

    for (size_t i = 0; i < QUESTION_PARAMETERS_MAX && question->parameters[i].name != NULL; i++) {
        strbuf_printf(&list, "%s%s", i == 0 ? "" : ", ", question->parameters[i].name);
    }
    strbuf_must(&list);
    error_set(err, STATUS_INVALID, "parameter \"%s\" of %s, expected %s%s",
              text_excerpt(name.data, name.bytes, found), question->name,
              list.bytes == 0 ? "none" : "one of ", list.bytes == 0 ? "" : list.data);
    strbuf_free(&list);
    return STATUS_INVALID;
}

static enum status take_fields(const struct store_question *question,
                               const struct http_server_request *request,
                               struct value with[QUESTION_PARAMETERS_MAX], struct error *err)
{
    struct http_server_field fields[QUESTION_PARAMETERS_MAX + 1]; /* one is wrong or twice then */
    struct slice given[QUESTION_PARAMETERS_MAX] = {{NULL, 0}};
    size_t count = http_server_fields(request, fields, QUESTION_PARAMETERS_MAX + 1);

    count = count > QUESTION_PARAMETERS_MAX + 1 ? QUESTION_PARAMETERS_MAX + 1 : count;
    for (size_t i = 0; i < count; i++) {
        const size_t place = question_parameter_place(question, fields[i].name);
        if (place == QUESTION_PARAMETERS_MAX) {
            return refuse_name(question, fields[i].name, err);
        }
        if (given[place].data != NULL) {
            return error_set(err, STATUS_INVALID, "%s is given twice, expected one value",
                             question->parameters[place].name);
        }
        given[place] = fields[i].value;
    }
    return question_take(question, given, with, err);
}

static void close_clients(struct line *line)
{
    chroma_free(line->clients.chroma);
    embedder_free(line->clients.embedder);
    store_close(line->store);
    line->clients = (struct similar_clients){0};
    line->store = NULL;
}

static enum status open_store(struct line *line, struct error *err)
{
    if (line->store != NULL && database_check(line->clients.database, err) != STATUS_OK) {
        close_clients(line);
    }
    if (line->store == NULL) {
        TRY(store_open(line->answers->settings.learn, STORE_READ, &line->store, err));
        line->clients.database = store_database(line->store);
        return database_limit(line->clients.database, ANSWERS_LIMIT_MS, err);
    }
    return STATUS_OK;
}

static enum status open_servers(struct line *line, struct error *err)
{
    const struct settings *settings = &line->answers->settings;

    if (line->clients.embedder == NULL) {
        TRY(clients_open_embedder(settings, NULL, NULL, &line->clients.embedder, err));
        line->clients.chroma = clients_open_chroma(settings, line->clients.embedder, NULL, NULL);
        line->clients.text_bytes_max = (size_t)settings->embed_max_chars;
    }
    return STATUS_OK;
}

static enum status ask_rows(struct line *line, const struct store_question *question,
                            const struct value *with, struct rows *rows, struct error *err)
{
    int64_t now_unix_ms = 0;

    TRY(open_store(line, err));
    if (question->sql != NULL) {
        TRY(database_now(line->clients.database, &now_unix_ms, err));
        return question_ask(line->clients.database, question, with, now_unix_ms, rows, err);
    }
    TRY(open_servers(line, err));
    return similar_ask(&line->clients, with, &line->arena, rows, err);
}

/* FULL: the answer is too long. INVALID: something of the question is wrong. */
static enum status ask(struct line *line, const struct store_question *question,
                       const struct value *with, struct strbuf *out, struct error *err)
{
    struct rows rows;

    TRY(ask_rows(line, question, with, &rows, err));
    const enum status listed = question_list(question, &rows, ANSWERS_BYTES_MAX, out, err);
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : listed;
}

/* A server, or whatever stands between, may have ended a connection that nobody used for a while:
 * then once more, on another. */
static enum status ask_or_again(struct line *line, const struct store_question *question,
                                const struct value *with, struct strbuf *out, struct error *err)
{
    const bool was_open = line->store != NULL;
    const int64_t asked_ms = clock_now_ms();
    enum status status = ask(line, question, with, out, err);

    if (was_open && line->store != NULL && question->sql != NULL &&
        (status == STATUS_UNREACHABLE || status == STATUS_UNAVAILABLE) &&
        clock_now_ms() - asked_ms < AGAIN_MS) {
        close_clients(line);
        strbuf_reset(out);
        *err = (struct error){0};
        status = ask(line, question, with, out, err);
    }
    return status;
}

static void answer(struct line *line, const struct guest *guest, struct http_server_reply *reply)
{
    const char *name = guest->path + strlen(ANSWERS_PATH);
    const struct store_question *question = question_find(slice_of(name));
    struct value with[QUESTION_PARAMETERS_MAX];
    struct error err = {0};

    if (question == NULL) {
        say_no_question(reply, name);
        return;
    }
    if (question->sql == NULL && !line->answers->settings.learn_similar) {
        say(reply, CODE_NOT_FOUND, /* it would cost embeddings, and find nothing */
            "similar is not answered here, expected a recorder with STILLHOUSE_LEARN_SIMILAR=on");
        return;
    }
    if (take_fields(question, guest->request, with, &err) != STATUS_OK) {
        say(reply, CODE_INVALID, err.text);
        return;
    }
    switch (ask_or_again(line, question, with, &reply->body, &err)) {
    case STATUS_OK:
        reply->code = CODE_OK;
        reply->type = "application/json";
        break;
    case STATUS_INVALID:
    case STATUS_FULL:
        say(reply, CODE_INVALID, err.text);
        break;
    case STATUS_TIMEOUT:
        say(reply, CODE_UNAVAILABLE, "the question took too long");
        break;
    default:
        close_clients(line);
        say(reply, CODE_UNAVAILABLE, err.text);
        break;
    }
    arena_reset(&line->arena, 0);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *run(void *argument)
{
    struct line *line = argument;

    pthread_mutex_lock(&line->lock);
    while (!line->ends || line->count > 0) {
        if (line->count == 0) {
            pthread_cond_wait(&line->asked, &line->lock);
            continue;
        }
        const struct guest guest = line->guests[line->first];
        const bool ends = line->ends;
        line->first = (line->first + 1) % ANSWERS_LINE;
        line->count--;
        pthread_mutex_unlock(&line->lock);

        struct http_server_reply reply = {0};
        if (ends) {
            say(&reply, CODE_UNAVAILABLE, "this worker is ending");
        } else if (clock_now_ms() - guest.since_ms > ANSWERS_LIMIT_MS) {
            say(&reply, CODE_UNAVAILABLE, "the questions before this one took too long");
        } else {
            answer(line, &guest, &reply);
        }
        http_server_send(guest.request, &reply);
        pthread_mutex_lock(&line->lock);
    }
    pthread_mutex_unlock(&line->lock);
    return NULL;
}

static struct line *line_of(struct answers *answers, const char *path)
{
    const struct store_question *question = question_find(slice_of(path + strlen(ANSWERS_PATH)));

    return &answers->lines[question != NULL && question->sql == NULL ? OF_SERVERS : OF_STORE];
}

void answers_ask(struct answers *answers, const char *path, struct http_server_request *request)
{
    struct line *line = line_of(answers, path);
    struct http_server_reply reply = {0};

    pthread_mutex_lock(&line->lock);
    const bool ends = line->ends;
    const bool fits = !ends && line->count < ANSWERS_LINE;
    if (fits) {
        line->guests[(line->first + line->count++) % ANSWERS_LINE] =
            (struct guest){path, request, clock_now_ms()};
        pthread_cond_signal(&line->asked);
    }
    pthread_mutex_unlock(&line->lock);
    if (!fits) {
        say(&reply, CODE_UNAVAILABLE, ends ? "this worker is ending" : "too many questions wait");
        http_server_send(request, &reply);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

enum status answers_start(const struct settings *settings, struct answers **out, struct error *err)
{
    struct answers *answers = must_alloc(1, sizeof *answers);

    answers->settings = *settings;
    answers->settings.chroma_timeout_ms = ANSWERS_LIMIT_MS;
    answers->settings.embed_timeout_ms = ANSWERS_LIMIT_MS;
    bool is_whole = true;
    for (size_t i = 0; i < LINES; i++) {
        struct line *line = &answers->lines[i];
        line->answers = answers;
        line->arena.is_must = true;
        pthread_mutex_init(&line->lock, NULL);
        pthread_cond_init(&line->asked, NULL);
        line->is_started = pthread_create(&line->thread, NULL, run, line) == 0;
        is_whole = is_whole && line->is_started;
    }
    if (!is_whole) {
        answers_stop(answers);
        answers_free(answers);
        return error_set(err, STATUS_OOM, "questions over HTTP: no thread to be had");
    }
    *out = answers;
    return STATUS_OK;
}

void answers_stop(struct answers *answers)
{
    for (size_t i = 0; i < LINES; i++) {
        struct line *line = &answers->lines[i];
        pthread_mutex_lock(&line->lock);
        line->ends = true;
        pthread_cond_signal(&line->asked);
        pthread_mutex_unlock(&line->lock);
    }
    for (size_t i = 0; i < LINES; i++) {
        if (answers->lines[i].is_started) {
            pthread_join(answers->lines[i].thread, NULL);
        }
    }
}

void answers_free(struct answers *answers)
{
    if (answers == NULL) {
        return;
    }
    for (size_t i = 0; i < LINES; i++) {
        struct line *line = &answers->lines[i];
        close_clients(line);
        arena_free(&line->arena);
        pthread_cond_destroy(&line->asked);
        pthread_mutex_destroy(&line->lock);
    }
    explicit_bzero(&answers->settings, sizeof answers->settings);
    free(answers);
}
