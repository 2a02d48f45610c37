/* redis/objects.h - how replies are made: all objects of one reply in a few blocks of memory,
 * instead of hiredis' two for each. A batch of 64 jobs is 900 objects. For redis/conn.c alone;
 * everybody frees replies with redis_reply_free.
 */
#ifndef STILLHOUSE_REDIS_OBJECTS_H
#define STILLHOUSE_REDIS_OBJECTS_H

#include "redis/conn.h"

/* For the reader of a context that was just connected. */
extern redisReplyObjectFunctions redis_objects;

#endif
