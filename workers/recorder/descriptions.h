/* recorder/descriptions.h - what executions were about, on its way to Chroma: the recorder orders a
 * job of the queue `vector` for each description that it was told, and whoever serves that queue
 * reads the row.
 *
 *     status = descriptions_order(ctx, parts, refused, count, &err);        // the recorder's lane
 *     status = descriptions_read(descriptions, each, count, &arena, &err);  // the other's
 *
 * A job says no more than which task: its text stays in the store. So the order of jobs is of no
 * matter, each makes Chroma agree with the row as it stands then, and what was forgotten does not
 * come back. What Redis does not take, because it or the queue is full, is left out and said in the
 * log: no record waits for it.
 */
#ifndef STILLHOUSE_RECORDER_DESCRIPTIONS_H
#define STILLHOUSE_RECORDER_DESCRIPTIONS_H

#include "context/context.h"
#include "learn/similar.h"
#include "learn/store.h"

struct descriptions; /* opaque: a reading connection to the store, which lanes take turns at */

/* Of the learning store at `where`, borrowed; it is opened when it is read. */
struct descriptions *descriptions_new(const char *where);
void descriptions_free(struct descriptions *descriptions); /* NULL is fine */

/* similar_describe(), from any thread. What fails is tried anew with the next call. */
enum status descriptions_read(struct descriptions *descriptions, struct description *each,
                              size_t count, struct arena *arena, struct error *err) MUSTCHECK;

/* Those parts of which `refused` says nothing, once they stand: each that brought a description is
 * ordered under the id "<job id>.v", so that twice is as good as once. Does nothing without
 * STILLHOUSE_LEARN_SIMILAR. Errors: Redis was not to be had, and may be asked again. Runs in the
 * lane's thread. */
enum status descriptions_order(struct context *ctx, const struct part *parts,
                               const struct error *refused, size_t count,
                               struct error *err) MUSTCHECK;

/* The rows of these tasks are gone: jobs are ordered that delete their vectors, which nothing finds
 * any more, and which would stay until they expire. Those that Redis does not take do. Does nothing
 * without STILLHOUSE_LEARN_SIMILAR. `conn`: the queue's Redis. */
void descriptions_drop(struct redis_conn *conn, const struct settings *settings,
                       const struct store_task *tasks, size_t count);

#endif
