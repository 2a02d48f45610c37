/* executions.h - executions for the learning store's benchmarks: whole ones, all fields set, texts
 * as long as people write them, in the order of time over the last days. Number i is always the
 * same but for its time.
 */
#ifndef STILLHOUSE_TESTS_BENCH_EXECUTIONS_H
#define STILLHOUSE_TESTS_BENCH_EXECUTIONS_H

#include "learn/questions.h"
#include "learn/store.h"

struct executions {
    long count;
    long days;      /* that they are spread over */
    long domains;   /* that they are of, by turns at random */
    int64_t now_ms; /* when the last day ends */
};

/* Owns what its part points into. */
struct execution {
    char domain[24], job[40], task[32], type[16], user[16], prompt[40];
    char description[1600], solution[96], error[160];
    struct meta_pair pair;
    struct part part;
};

/* Those from `count` on are of now. */
void execution_make(struct execution *out, const struct executions *of, long i);

/* What a person says of number i a minute later. */
void execution_rate(struct execution *out, const struct executions *of, long i);

/* What is asked of quality in the domain of number i. */
void execution_demand(struct execution *out, const struct executions *of, long i);

/* What a question is asked with: of the execution, else what it falls back to. False: it needs what
 * no execution says, or reads all there is. */
bool execution_give(const struct store_question *question, const struct execution *of,
                    struct slice given[QUESTION_PARAMETERS_MAX]);

#endif
