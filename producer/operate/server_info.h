/* operate/server_info.h - what a Redis says about itself in INFO. One thread. */
#ifndef STILLHOUSE_OPERATE_SERVER_INFO_H
#define STILLHOUSE_OPERATE_SERVER_INFO_H

#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "redis/conn.h"

/* The whole INFO text into `out` (freed by the caller). */
enum status server_info_get(struct redis_conn *conn, struct strbuf *out,
                            struct error *err) MUSTCHECK;

/* The value of a line "name:value"; "" when there is none. Returns `out`. */
const char *server_info_text(const struct strbuf *info, const char *name, char out[128]);
int64_t server_info_number(const struct strbuf *info, const char *name);

#endif
