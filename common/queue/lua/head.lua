#!lua name=stillhouse
--[[ The rules of the queue, as Redis Functions (Redis 7.0 or newer, or Valkey).

A job is always in exactly one place, and each function below is one atomic move between them:

    enqueue -----> stream (waiting) --read--> pending entries list (running) --finish--> gone
       |             ^      ^   ^                |     |                |
       |    promote  |      |   +--- release ----+     +---- bury ---> dead --discard--> gone
       +---> delayed +      +------- requeue -----------------------------+
                ^------------------------ retry -------+

What holds a running job is Redis' pending entries list and nothing else. Whoever ends one names
its consumer and the delivery count it was given (the fence): a job that was taken over meanwhile
has another consumer or a higher count, is answered LOST (0) and is left alone.

Every counter moves in the same call as its job, so that at every moment
    enqueued + requeued = done + buried + expired + waiting + running + delayed
    buried = dead + requeued + discarded

Whoever may write to Redis may have put anything under our keys, and any command may be forbidden to
the user. So what is read is judged before it is believed, a key that must not stop a whole call is
asked for with `try`, and there is a rollback, which Redis has not: what is written goes into a
journal with the command that takes it back, and an error on the way plays that backwards. No text
from outside is walked in more than linear time.
Functions are only added or extended, never changed in meaning; VERSION grows with every change. ]]

local VERSION = 6

