/* learn/lift.h - what examples are worth: the success of tasks that had them against that of tasks
 * that were held out.
 *
 *     const struct lift lift = lift_of(&(struct lift_arm){90, 100}, &(struct lift_arm){70, 100});
 *     printf("%+.1f points\n", 100 * lift.difference);                        // +20.0 points
 *
 * The interval of a share is Wilson's; that of the difference of two is Newcombe's hybrid of both
 * (Statistics in Medicine 17, 1998, 873-890, method 10), which keeps what it promises with few
 * tasks and with shares near 0 and 1. At 95 %, which is right for who looks once; an alarm looks at
 * every domain every few minutes for months, and asks for 99.9 %. Pure, any thread.
 */
#ifndef STILLHOUSE_LEARN_LIFT_H
#define STILLHOUSE_LEARN_LIFT_H

#include <stdint.h>

struct lift_arm {
    int64_t successes;
    int64_t tasks; /* whose success is known */
};

struct lift_interval {
    double low, high;
};

enum lift_verdict { LIFT_UNKNOWN, LIFT_HELPS, LIFT_HURTS };

struct lift {
    double with, without; /* shares of success; 0 without tasks */
    struct lift_interval with_interval, without_interval;
    double difference; /* with - without */
    struct lift_interval interval;
    enum lift_verdict verdict; /* UNKNOWN while the interval has 0 in it */
    int64_t more;              /* UNKNOWN: about so many tasks more, in the same proportion, would
                                  tell such a difference; 0: nobody can say */
};

/* 0..1 where there are no tasks. */
struct lift_interval lift_wilson(const struct lift_arm *arm);

struct lift lift_of(const struct lift_arm *with, const struct lift_arm *without);

/* For who is told without having asked. */
struct lift_alarm {
    double difference;             /* with - without */
    struct lift_interval interval; /* at 99.9 % */
    enum lift_verdict verdict;     /* UNKNOWN while the interval has 0 in it */
};

struct lift_alarm lift_alarm_of(const struct lift_arm *with, const struct lift_arm *without);

#endif
