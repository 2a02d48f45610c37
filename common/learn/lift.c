#include "learn/lift.h"

#include <math.h>

/* What lies between -z and z of the normal distribution. */
static const double z_95 = 1.959963984540054;
static const double z_999 = 3.290526731491926;
static const double more_most = 1e9;

/* Counts as numbers, so that one can ask what so many more would say. */
struct share {
    double successes, tasks;
};

static double rate_of(struct share of)
{
    return of.tasks > 0 ? of.successes / of.tasks : 0;
}

static struct lift_interval wilson(struct share of, double z)
{
    if (of.tasks <= 0) {
        return (struct lift_interval){0, 1};
    }
    const double rate = rate_of(of);
    const double middle = rate + z * z / (2 * of.tasks);
    const double half = z * sqrt(rate * (1 - rate) / of.tasks + z * z / (4 * of.tasks * of.tasks));
    const double scale = 1 + z * z / of.tasks;

    return (struct lift_interval){fmax(0, (middle - half) / scale),
                                  fmin(1, (middle + half) / scale)};
}

static struct lift_interval newcombe(struct share with, struct share without, double z)
{
    if (with.tasks <= 0 || without.tasks <= 0) {
        return (struct lift_interval){-1, 1};
    }
    const struct lift_interval a = wilson(with, z);
    const struct lift_interval b = wilson(without, z);
    const double p = rate_of(with);
    const double q = rate_of(without);

    return (struct lift_interval){p - q - hypot(p - a.low, b.high - q),
                                  p - q + hypot(a.high - p, q - b.low)};
}

static enum lift_verdict judge(struct lift_interval interval)
{
    return interval.low > 0 ? LIFT_HELPS : interval.high < 0 ? LIFT_HURTS : LIFT_UNKNOWN;
}

static enum lift_verdict judge_many(struct share with, struct share without, double times)
{
    return judge(newcombe((struct share){with.successes * times, with.tasks * times},
                          (struct share){without.successes * times, without.tasks * times}, z_95));
}

/* The interval narrows with every task, so the number is found by halving. */
static int64_t tasks_needed(struct share with, struct share without)
{
    const double all = with.tasks + without.tasks;
    double few = 1;
    double many = 2;

    if (with.tasks <= 0 || without.tasks <= 0) {
        return 0;
    }
    while (judge_many(with, without, many) == LIFT_UNKNOWN) {
        few = many;
        many *= 2;
        if (many * all > more_most) {
            return 0;
        }
    }
    while ((many - few) * all > 1) {
        const double middle = (few + many) / 2;
        if (judge_many(with, without, middle) == LIFT_UNKNOWN) {
            few = middle;
        } else {
            many = middle;
        }
    }
    return (int64_t)ceil((many - 1) * all);
}

static struct share share_of(const struct lift_arm *arm)
{
    return (struct share){(double)arm->successes, (double)arm->tasks};
}

struct lift_interval lift_wilson(const struct lift_arm *arm)
{
    return wilson(share_of(arm), z_95);
}

struct lift lift_of(const struct lift_arm *with, const struct lift_arm *without)
{
    const struct share a = share_of(with);
    const struct share b = share_of(without);
    const struct lift_interval interval = newcombe(a, b, z_95);
    const enum lift_verdict verdict = judge(interval);

    return (struct lift){
        .with = rate_of(a),
        .without = rate_of(b),
        .with_interval = wilson(a, z_95),
        .without_interval = wilson(b, z_95),
        .difference = rate_of(a) - rate_of(b),
        .interval = interval,
        .verdict = verdict,
        .more = verdict == LIFT_UNKNOWN ? tasks_needed(a, b) : 0,
    };
}

struct lift_alarm lift_alarm_of(const struct lift_arm *with, const struct lift_arm *without)
{
    const struct share a = share_of(with);
    const struct share b = share_of(without);
    const struct lift_interval interval = newcombe(a, b, z_999);

    return (struct lift_alarm){
        .difference = rate_of(a) - rate_of(b),
        .interval = interval,
        .verdict = judge(interval),
    };
}
