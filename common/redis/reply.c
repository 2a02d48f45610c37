#include "redis/reply.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

/* ---- what an error means
 * -------------------------------------------------------------------------- */

/* The table of redis/reply.h, "what an error reply means"; tests/fault/test_redis_errors.c has a
 * test for each row. What is not here is REFUSED and keeps the connection. */
static const struct error_class {
    const char *beginning; /* of the text: whole words */
    enum status status;
    bool reconnect;
} classes[] = {
    {"OOM", STATUS_OOM, false},
    {"BUSY", STATUS_UNAVAILABLE, false},
    {"TRYAGAIN", STATUS_UNAVAILABLE, false},
    {"CLUSTERDOWN", STATUS_UNAVAILABLE, false},
    {"LOADING", STATUS_UNAVAILABLE, true},
    {"MASTERDOWN", STATUS_UNAVAILABLE, true},
    {"MISCONF", STATUS_UNAVAILABLE, true},
    {"NOREPLICAS", STATUS_UNAVAILABLE, true},
    {"READONLY", STATUS_UNAVAILABLE, true},
    {"UNBLOCKED", STATUS_UNAVAILABLE, true},
    {"ERR max number of clients reached", STATUS_UNAVAILABLE, true},
    {"NOGROUP", STATUS_NOT_FOUND, false},
    {"SHFULL", STATUS_FULL, false},
    {"SHINVALID", STATUS_INVALID, false},
};

static const struct error_class *find_class(const char *text, size_t bytes)
{
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        const size_t begins = strlen(classes[i].beginning);
        if (begins <= bytes && memcmp(classes[i].beginning, text, begins) == 0 &&
            (begins == bytes || text[begins] == ' ')) {
            return &classes[i];
        }
    }
    return NULL;
}

enum status redis_classify(const char *text, size_t bytes)
{
    const struct error_class *found = find_class(text, bytes);

    return found == NULL ? STATUS_REFUSED : found->status;
}

bool redis_is_wrong_type(const struct error *err)
{
    return err->status == STATUS_REFUSED && strstr(err->text, "WRONGTYPE ") != NULL;
}

enum status redis_reply_status(const redisReply *reply, struct error *err)
{
    if (reply->type != REDIS_REPLY_ERROR) {
        return STATUS_OK;
    }

    const enum status status = redis_classify(reply->str, (size_t)reply->len);
    const char *text = reply->str;
    if (status == STATUS_INVALID || status == STATUS_FULL) {
        text = strchr(text, ' ') == NULL ? text : strchr(text, ' ') + 1; /* our own marker */
    }
    if (strncmp(text, "MOVED ", 6) == 0 || strncmp(text, "ASK ", 4) == 0) {
        return error_set(err, status,
                         "%.120s: a Redis Cluster, whose redirections are not followed; expected a "
                         "server that holds all keys",
                         text);
    }
    /* What follows is the beginning of what we sent. */
    const char *quoted = strstr(text, ", with args beginning with");
    return error_set(err, status, "%.*s",
                     (int)(quoted == NULL ? strlen(text) : (size_t)(quoted - text)), text);
}

bool redis_reply_is_row(const redisReply *reply, const char *shape)
{
    size_t i = 0;

    if (reply->type != REDIS_REPLY_ARRAY) {
        return false;
    }
    for (; i < reply->elements && shape[i] != '\0'; i++) {
        const int expected = shape[i] == 's'   ? REDIS_REPLY_STRING
                             : shape[i] == 'i' ? REDIS_REPLY_INTEGER
                                               : REDIS_REPLY_ARRAY;
        if (shape[i] != '*' && reply->element[i]->type != expected) {
            return false;
        }
    }
    return i == reply->elements && shape[i] == '\0';
}

bool redis_reply_has_shape(const redisReply *reply, const char *shape)
{
    switch (shape[0]) {
    case '+':
        return reply->type == REDIS_REPLY_STATUS;
    case '$':
        return reply->type == REDIS_REPLY_STRING;
    case '#':
        return reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0;
    case '[':
        return reply->type == REDIS_REPLY_ARRAY;
    default:
        return redis_reply_is_row(reply, shape);
    }
}

struct slice redis_reply_find(const redisReply *list, const char *name)
{
    const size_t count = list == NULL || list->type != REDIS_REPLY_ARRAY ? 0 : list->elements;

    for (size_t i = 0; i + 1 < count; i += 2) {
        const redisReply *value = list->element[i + 1];
        if (list->element[i]->type == REDIS_REPLY_STRING && value->type == REDIS_REPLY_STRING &&
            strcmp(list->element[i]->str, name) == 0) {
            return (struct slice){value->str, (size_t)value->len};
        }
    }
    return (struct slice){NULL, 0};
}

bool redis_reply_wants_reconnect(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR) {
        return false;
    }
    const struct error_class *found = find_class(reply->str, (size_t)reply->len);
    return found != NULL && found->reconnect;
}

/* ---- how a reply is made
 * -------------------------------------------------------------------------- */

enum {
    FIRST_BLOCK_BYTES = 256, /* most replies are a number or a status */
    BLOCK_BYTES_MAX = 64 * 1024,
    ELEMENTS_MAX = 4 * 1024 * 1024, /* of one array: a head of a few bytes may claim any number */
};

struct reply_block {
    struct reply_block *next;
    size_t capacity;
    size_t used;
    size_t sum; /* of its capacity and those before it */
    alignas(max_align_t) char data[];
};

/* The outermost object of a reply, and the memory of all objects in it. */
struct reply_root {
    struct reply_block *blocks; /* the one that is filled first; this object stands in the last */
    redisReply reply;
};

/* `bound` is NULL where there is none (a reader of hiredis' own making). */
static void *take(struct reply_block **blocks, size_t bytes, struct redis_answer_bound *bound)
{
    struct reply_block *block = *blocks;
    const size_t rounded = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);

    if (block == NULL || block->capacity - block->used < rounded) {
        size_t capacity = block == NULL ? FIRST_BLOCK_BYTES : 4 * block->capacity;
        capacity = capacity > BLOCK_BYTES_MAX ? BLOCK_BYTES_MAX : capacity;
        capacity = capacity < rounded ? rounded : capacity;
        const size_t sum = (block == NULL ? 0 : block->sum) + capacity;
        if (bound != NULL && sum > bound->most) {
            bound->over = true;
            return NULL;
        }
        block = malloc(sizeof *block + capacity);
        if (block == NULL) {
            return NULL;
        }
        *block = (struct reply_block){.next = *blocks, .capacity = capacity, .sum = sum};
        *blocks = block;
    }
    void *memory = block->data + block->used;
    block->used += rounded;
    return memory;
}

static struct reply_root *root_of(redisReply *reply)
{
    return (struct reply_root *)(void *)((char *)reply - offsetof(struct reply_root, reply));
}

void redis_reply_free(redisReply *reply)
{
    if (reply == NULL) {
        return;
    }
    for (struct reply_block *block = root_of(reply)->blocks; block != NULL;) {
        struct reply_block *next = block->next;
        free(block);
        block = next;
    }
}

static void free_object(void *reply)
{
    redis_reply_free(reply);
}

/* The memory that an object of this task is taken from; NULL: it begins a reply. */
static struct reply_block **blocks_of(const redisReadTask *task)
{
    if (task->parent == NULL) {
        return NULL;
    }
    while (task->parent != NULL) {
        task = task->parent;
    }
    return &root_of(task->obj)->blocks;
}

static redisReply *make_root(int type, struct redis_answer_bound *bound)
{
    struct reply_block *blocks = NULL;
    struct reply_root *root = take(&blocks, sizeof *root, bound);

    if (root == NULL) {
        return NULL;
    }
    *root = (struct reply_root){.blocks = blocks, .reply = {.type = type}};
    return &root->reply;
}

/* An object in its place. */
static redisReply *make(const redisReadTask *task, int type)
{
    struct reply_block **blocks = blocks_of(task);
    redisReply *reply = blocks == NULL ? make_root(type, task->privdata)
                                       : take(blocks, sizeof *reply, task->privdata);

    if (reply != NULL && blocks != NULL) {
        redisReply *parent = task->parent->obj;
        *reply = (redisReply){.type = type};
        parent->element[task->idx] = reply;
    }
    return reply;
}

/* More memory for an object that make() made. */
static void *more(const redisReadTask *task, redisReply *reply, size_t bytes)
{
    struct reply_block **blocks = blocks_of(task);

    return take(blocks == NULL ? &root_of(reply)->blocks : blocks, bytes, task->privdata);
}

/* Half an object is no object: where it is the reply itself, it is not left behind. */
static void *give_up(const redisReadTask *task, redisReply *reply)
{
    if (task->parent == NULL) {
        redis_reply_free(reply);
    }
    return NULL;
}

static void *create_string(const redisReadTask *task, char *text, size_t bytes)
{
    redisReply *reply = make(task, task->type);
    char *copy = reply == NULL ? NULL : more(task, reply, bytes + 1);

    if (copy == NULL) {
        return reply == NULL ? NULL : give_up(task, reply);
    }
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    reply->str = copy;
    reply->len = bytes;
    return reply;
}

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

static void *create_array(const redisReadTask *task, element_count elements)
{
    redisReply *reply = make(task, task->type);
    const size_t count = (size_t)elements;

    if (reply == NULL || count == 0) {
        return reply;
    }
    if (count <= ELEMENTS_MAX) {
        reply->element = more(task, reply, count * sizeof(redisReply *));
    }
    if (reply->element == NULL) {
        return give_up(task, reply);
    }
    memset(reply->element, 0, count * sizeof(redisReply *));
    reply->elements = count;
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    redisReply *reply = make(task, REDIS_REPLY_INTEGER);

    if (reply != NULL) {
        reply->integer = value;
    }
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    return make(task, REDIS_REPLY_NIL);
}

#if HIREDIS_MAJOR >= 1
/* Only RESP3 has these, and nobody asks for it: they come as what they are written as. */
static void *create_double(const redisReadTask *task, double value, char *text, size_t bytes)
{
    (void)value;
    return create_string(task, text, bytes);
}

static void *create_bool(const redisReadTask *task, int value)
{
    return create_integer(task, value);
}
#endif

redisReplyObjectFunctions redis_reply_functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = free_object,
#if HIREDIS_MAJOR >= 1
    .createDouble = create_double,
    .createBool = create_bool,
#endif
};
