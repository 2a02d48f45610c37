#include "operate/letters.h"
#include "queue/queue.h"

#include <stdio.h>
#include <string.h>

/* Ids gathered for one call. */
struct handful {
    char text[ENTRIES_PAGE][ENTRY_ID_BYTES];
    struct slice ids[ENTRIES_PAGE];
    size_t count;
};

static void take(struct handful *some, const struct entry *letter)
{
    char *text = some->text[some->count];

    snprintf(text, ENTRY_ID_BYTES, "%.*s", (int)letter->stream_id.bytes, letter->stream_id.data);
    some->ids[some->count++] = (struct slice){text, strlen(text)};
}

/* The id of the newest letter; "" where there is none. */
static enum status find_newest(struct redis_conn *conn, const struct queue *queue,
                               char newest[ENTRY_ID_BYTES], struct error *err)
{
    struct entries letters;
    struct entry letter;

    entries_open(&letters, conn, queue->dead, ENTRY_DEAD);
    entries_turn(&letters);
    letters.most = 1;
    newest[0] = '\0';
    if (entries_next(&letters, &letter)) {
        snprintf(newest, ENTRY_ID_BYTES, "%.*s", (int)letter.stream_id.bytes,
                 letter.stream_id.data);
    }
    return entries_close(&letters, err);
}

enum status letters_move_all(struct redis_conn *conn, const struct queue *queue, letters_move *move,
                             size_t *moved, struct error *err)
{
    struct handful some;
    struct entries letters;
    struct entry letter;
    bool more = true;

    entries_open(&letters, conn, queue->dead, ENTRY_DEAD);
    enum status status = find_newest(conn, queue, letters.until, err);
    if (status != STATUS_OK || letters.until[0] == '\0') {
        return status;
    }
    while (status == STATUS_OK && more) {
        some.count = 0;
        while (some.count < ENTRIES_PAGE && (more = entries_next(&letters, &letter))) {
            take(&some, &letter);
        }
        if (some.count > 0) {
            size_t moved_now = 0;
            status = move(conn, queue, some.ids, some.count, &moved_now, err);
            *moved += moved_now;
        }
    }
    const enum status read = entries_close(&letters, status == STATUS_OK ? err : NULL);
    return status == STATUS_OK ? read : status;
}

enum status letters_move_one(struct redis_conn *conn, const struct queue *queue, letters_move *move,
                             const char *id, size_t *moved, struct error *err)
{
    struct entries letters;
    struct entry letter;
    size_t moved_now = 0;

    entries_open(&letters, conn, queue->dead, ENTRY_DEAD);
    if (!entries_find(&letters, id, &letter)) {
        return entries_close(&letters, err);
    }
    const enum status status = move(conn, queue, &letter.stream_id, 1, &moved_now, err);
    *moved += moved_now;
    entries_close(&letters, NULL);
    return status;
}
