#include <stdlib.h>
#include <string.h>

#include "client.h"

static enum status await_bytes(stillhouse_client *client, const char *queue, const char *id,
                               int wait_ms, struct strbuf *out)
{
    struct queue keys;

    client->error.text[0] = '\0';
    if (id == NULL || !text_is_id(id, strlen(id))) {
        return error_set(&client->error, STATUS_INVALID,
                         "job id: expected 1 to %d of [A-Za-z0-9._:-]", TEXT_ID_MAX);
    }
    enum status status = queue_init(&keys, client->prefix, queue, &client->error);
    if (status == STATUS_OK) {
        status = client_connect(client, &client->queue);
    }
    if (status == STATUS_OK) {
        status = queue_await_reply(client->queue.conn, &keys, id, wait_ms > 0 ? wait_ms : 0, out,
                                   &client->error);
        if (status == STATUS_TIMEOUT && redis_conn_is_open(client->queue.conn)) {
            status = error_set(&client->error, STATUS_NOT_FOUND, "no reply to job \"%s\" in %d ms",
                               id, wait_ms); /* the connection is good, the reply is late */
        }
        client_note(client, &client->queue, status);
    }
    return status;
}

stillhouse_status stillhouse_await_raw(stillhouse_client *client, const char *queue, const char *id,
                                       int wait_ms, void **body, size_t *body_bytes)
{
    struct strbuf bytes = {0};
    enum status status = await_bytes(client, queue, id, wait_ms, &bytes);

    *body = NULL;
    *body_bytes = 0;
    if (status == STATUS_OK) {
        *body = bytes.data; /* malloc'ed: the caller's from now on */
        *body_bytes = bytes.bytes;
        return STILLHOUSE_OK;
    }
    strbuf_free(&bytes);
    return client_status(client, status);
}

stillhouse_status stillhouse_await(stillhouse_client *client, const char *queue, const char *id,
                                   int wait_ms, stillhouse_result **result)
{
    struct strbuf bytes = {0};
    enum status status = await_bytes(client, queue, id, wait_ms, &bytes);

    *result = NULL;
    if (status == STATUS_OK) {
        *result = client_make_result(client, bytes.data, bytes.bytes, false);
        status = *result != NULL ? STATUS_OK : client->error.status;
    }
    strbuf_free(&bytes);
    return client_status(client, status);
}
