/* learn/words.h - SQL in SQLite's words, said in PostgreSQL's. Pure, any thread.
 *
 *     struct strbuf out = {0};
 *     words_translate("SELECT user FROM feedback /""*+ FOR UPDATE *""/", &out);
 *     puts(out.data); // SELECT "user" FROM feedback FOR UPDATE
 *     strbuf_free(&out);
 *
 * Whole words are taken for others (the table is in words.c), as they are written there and outside
 * of quotes. What stands in a comment that begins with a plus sign is for PostgreSQL alone. `user`
 * must be a quoted name there: without quotes it is the connection's role.
 */
#ifndef STILLHOUSE_LEARN_WORDS_H
#define STILLHOUSE_LEARN_WORDS_H

#include "base/strbuf.h"

/* Appends; strbuf_ok tells whether there was memory. */
void words_translate(const char *sql, struct strbuf *out);

#endif
