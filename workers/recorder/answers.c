/* See recorder/answers.h. The reading connection stays open from question to question; one that
 * failed, or whose file was replaced, is closed and opened anew with the next.
 */
#include "recorder/answers.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/text.h"
#include "learn/questions.h"
#include "learn/store.h"

enum { CODE_OK = 200, CODE_INVALID = 400, CODE_NOT_FOUND = 404, CODE_UNAVAILABLE = 503 };

/* Who waits. */
struct guest {
    const char *path;
    struct http_server_request *request;
    int64_t since_ms;
};

struct answers {
    const char *where;
    const atomic_llong *redis_clock_ms;
    pthread_t thread;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t asked; /* for the thread: the line, or the end */
    struct guest line[ANSWERS_LINE];
    size_t first, count;
    bool ends;

    struct store *store; /* the thread's own; NULL while it is not open */
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

static enum status open_store(struct answers *answers, struct error *err)
{
    if (answers->store != NULL &&
        database_check(store_database(answers->store), err) != STATUS_OK) {
        store_close(answers->store);
        answers->store = NULL;
    }
    if (answers->store == NULL) {
        TRY(store_open(answers->where, STORE_READ, &answers->store, err));
        return database_limit(store_database(answers->store), ANSWERS_LIMIT_MS, err);
    }
    return STATUS_OK;
}

/* FULL: the answer is too long. */
static enum status ask(struct answers *answers, const struct store_question *question,
                       const struct value *with, struct strbuf *out, struct error *err)
{
    const int64_t now_unix_ms = clock_now_ms() + atomic_load(answers->redis_clock_ms);
    struct rows rows;

    TRY(open_store(answers, err));
    TRY(question_ask(store_database(answers->store), question, with, now_unix_ms, &rows, err));
    const enum status listed = question_list(question, &rows, ANSWERS_BYTES_MAX, out, err);
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : listed;
}

static void answer(struct answers *answers, const struct guest *guest,
                   struct http_server_reply *reply)
{
    const char *name = guest->path + strlen(ANSWERS_PATH);
    const struct store_question *question = question_find(slice_of(name));
    struct value with[QUESTION_PARAMETERS_MAX];
    struct error err = {0};

    if (question == NULL) {
        say_no_question(reply, name);
        return;
    }
    if (take_fields(question, guest->request, with, &err) != STATUS_OK) {
        say(reply, CODE_INVALID, err.text);
        return;
    }
    switch (ask(answers, question, with, &reply->body, &err)) {
    case STATUS_OK:
        reply->code = CODE_OK;
        reply->type = "application/json";
        break;
    case STATUS_FULL:
        say(reply, CODE_INVALID, err.text);
        break;
    case STATUS_TIMEOUT:
        say(reply, CODE_UNAVAILABLE, "the question took too long");
        break;
    default:
        store_close(answers->store);
        answers->store = NULL;
        say(reply, CODE_UNAVAILABLE, err.text);
        break;
    }
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *run(void *argument)
{
    struct answers *answers = argument;

    pthread_mutex_lock(&answers->lock);
    while (!answers->ends || answers->count > 0) {
        if (answers->count == 0) {
            pthread_cond_wait(&answers->asked, &answers->lock);
            continue;
        }
        const struct guest guest = answers->line[answers->first];
        const bool ends = answers->ends;
        answers->first = (answers->first + 1) % ANSWERS_LINE;
        answers->count--;
        pthread_mutex_unlock(&answers->lock);

        struct http_server_reply reply = {0};
        if (ends) {
            say(&reply, CODE_UNAVAILABLE, "this worker is ending");
        } else if (clock_now_ms() - guest.since_ms > ANSWERS_LIMIT_MS) {
            say(&reply, CODE_UNAVAILABLE, "the questions before this one took too long");
        } else {
            answer(answers, &guest, &reply);
        }
        http_server_send(guest.request, &reply);
        pthread_mutex_lock(&answers->lock);
    }
    pthread_mutex_unlock(&answers->lock);
    return NULL;
}

void answers_ask(struct answers *answers, const char *path, struct http_server_request *request)
{
    struct http_server_reply reply = {0};

    pthread_mutex_lock(&answers->lock);
    const bool ends = answers->ends;
    const bool fits = !ends && answers->count < ANSWERS_LINE;
    if (fits) {
        answers->line[(answers->first + answers->count++) % ANSWERS_LINE] =
            (struct guest){path, request, clock_now_ms()};
        pthread_cond_signal(&answers->asked);
    }
    pthread_mutex_unlock(&answers->lock);
    if (!fits) {
        say(&reply, CODE_UNAVAILABLE, ends ? "this worker is ending" : "too many questions wait");
        http_server_send(request, &reply);
    }
}

enum status answers_start(const char *where, const atomic_llong *redis_clock_ms,
                          struct answers **out, struct error *err)
{
    struct answers *answers = must_alloc(1, sizeof *answers);

    answers->where = where;
    answers->redis_clock_ms = redis_clock_ms;
    pthread_mutex_init(&answers->lock, NULL);
    pthread_cond_init(&answers->asked, NULL);
    if (pthread_create(&answers->thread, NULL, run, answers) != 0) {
        answers_free(answers);
        return error_set(err, STATUS_OOM, "questions over HTTP: no thread to be had");
    }
    *out = answers;
    return STATUS_OK;
}

void answers_stop(struct answers *answers)
{
    pthread_mutex_lock(&answers->lock);
    answers->ends = true;
    pthread_cond_signal(&answers->asked);
    pthread_mutex_unlock(&answers->lock);
    pthread_join(answers->thread, NULL);
}

void answers_free(struct answers *answers)
{
    if (answers == NULL) {
        return;
    }
    store_close(answers->store);
    pthread_cond_destroy(&answers->asked);
    pthread_mutex_destroy(&answers->lock);
    free(answers);
}
