/* See learn/columns.h. */
#include "learn/columns.h"

#include <stddef.h>

#include "jobs/bodies.h"

#define AT(field) offsetof(struct record_body, field)
#define TEXT(field)                                                                                \
    {                                                                                              \
#field, FIELD_TEXT, false, AT(field)                                                       \
    }
#define GROUP(field)                                                                               \
    {                                                                                              \
#field, FIELD_TEXT, true, AT(field)                                                        \
    }
#define INTEGER(field)                                                                             \
    {                                                                                              \
#field, FIELD_INTEGER, false, AT(field)                                                    \
    }
#define NUMBER(field)                                                                              \
    {                                                                                              \
#field, FIELD_NUMBER, false, AT(field)                                                     \
    }
#define TRUTH(field)                                                                               \
    {                                                                                              \
#field, FIELD_TRUTH, false, AT(field)                                                      \
    }

static const struct column executions[] = {
    TEXT(repo),
    TEXT(user),
    GROUP(task_type),
    TEXT(task_description),
    INTEGER(file_count),
    INTEGER(estimated_tokens),
    INTEGER(tokens_in),
    INTEGER(tokens_out),
    GROUP(model_tier),
    TEXT(model),
    GROUP(pool_type),
    TEXT(swarm_topology),
    NUMBER(routing_confidence),
    NUMBER(complexity_score),
    NUMBER(cost_estimate),
    INTEGER(parallelism),
    NUMBER(queue_wait_seconds),
    TRUTH(success),
    NUMBER(duration_seconds),
    INTEGER(retries),
    NUMBER(quality_score),
    NUMBER(actual_cost),
    TEXT(error_type),
    TEXT(error_message),
    NUMBER(peak_memory_mb),
    NUMBER(cpu_time_seconds),
    TEXT(solution_summary),
    INTEGER(started_ms),
    INTEGER(completed_ms),
    TEXT(arm),
    TEXT(prompt_id),
    TRUTH(user_accepted),
    INTEGER(user_rating),
};

static const struct column pools[] = {
    TEXT(repo),
    TEXT(task_id),
    GROUP(pool_type),
    TEXT(swarm_topology),
    INTEGER(parallelism),
    NUMBER(queue_wait_seconds),
    NUMBER(duration_seconds),
    NUMBER(peak_memory_mb),
    NUMBER(cpu_time_seconds),
    INTEGER(started_ms),
    INTEGER(completed_ms),
};

static const struct column policies[] = {
    TEXT(maturity),
    NUMBER(coverage_threshold),
    TEXT(strictness),
    TEXT(reason),
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

const struct merged merged_executions = {"executions", "task_id", executions, COUNT(executions)};
const struct merged merged_pools = {"pools", "pool_id", pools, COUNT(pools)};
const struct merged merged_policies = {"policies", "repo", policies, COUNT(policies)};
