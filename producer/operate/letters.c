#include "operate/letters.h"

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
static enum status find_newest(const struct letters *letters, char newest[ENTRY_ID_BYTES],
                               struct error *err)
{
    struct entries entries;
    struct entry letter;

    entries_open(&entries, letters->conn, letters->queue->dead, ENTRY_DEAD);
    entries_turn(&entries);
    entries.most = 1;
    newest[0] = '\0';
    if (entries_next(&entries, &letter)) {
        snprintf(newest, ENTRY_ID_BYTES, "%.*s", (int)letter.stream_id.bytes,
                 letter.stream_id.data);
    }
    return entries_close(&entries, err);
}

static enum status move(struct letters *letters, const struct slice *ids, size_t count,
                        struct error *err)
{
    size_t moved = 0;

    const enum status status = letters->move(letters->conn, letters->queue,
                                             (struct queue_letters){ids, count}, &moved, err);
    letters->moved += moved;
    return status;
}

enum status letters_move_all(struct letters *letters, struct error *err)
{
    struct handful some;
    struct entries entries;
    struct entry letter;
    enum status status = STATUS_OK;
    bool more = true;

    entries_open(&entries, letters->conn, letters->queue->dead, ENTRY_DEAD);
    TRY(find_newest(letters, entries.until, err));
    if (entries.until[0] == '\0') {
        return STATUS_OK;
    }
    while (status == STATUS_OK && more) {
        some.count = 0;
        while (some.count < ENTRIES_PAGE && (more = entries_next(&entries, &letter))) {
            take(&some, &letter);
        }
        status = some.count > 0 ? move(letters, some.ids, some.count, err) : STATUS_OK;
    }
    const enum status read = entries_close(&entries, status == STATUS_OK ? err : NULL);
    return status == STATUS_OK ? read : status;
}

enum status letters_move_one(struct letters *letters, const char *id, struct error *err)
{
    struct entries entries;
    struct entry letter;

    entries_open(&entries, letters->conn, letters->queue->dead, ENTRY_DEAD);
    if (!entries_find(&entries, id, &letter)) {
        return entries_close(&entries, err);
    }
    const enum status status = move(letters, &letter.stream_id, 1, err);
    (void)entries_close(&entries, NULL);
    return status;
}
