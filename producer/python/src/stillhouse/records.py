"""What record() may say: the kinds, and the fields, which are those of the contract (section 4)."""

from __future__ import annotations

from typing import Literal, TypedDict

RecordKind = Literal["routing", "outcome", "pool_start", "pool_end", "execution", "feedback", "solution", "policy"]


class RecordFields(TypedDict, total=False):
    """The fields of record(), by name. None, or left out: not said.

    Which kinds have a field stands behind it (an execution has what routing, outcome and pools have); the C
    library refuses it in others, and what is out of its bounds.
    """

    # who, and what
    pool_id: str | None  # pool_start, pool_end: the pool's, where it has one of its own
    repo: str | None  # every kind: the repository's full name, where the domain is a short one
    user: str | None  # routing, outcome, feedback: whose task; `learn forget --user` deletes by it
    task_type: str | None  # routing, outcome, solution
    task_description: str | None  # routing: what was asked

    # what was estimated and chosen
    file_count: int | None  # routing, outcome
    estimated_tokens: int | None  # routing
    model_tier: str | None  # routing, outcome
    model: str | None  # routing, outcome
    pool_type: str | None  # routing, pool_start, pool_end
    swarm_topology: str | None  # routing, pool_start
    routing_confidence: float | None  # routing: 0 to 1
    complexity_score: float | None  # routing
    cost_estimate: float | None  # routing
    parallelism: int | None  # routing, pool_start, outcome
    arm: str | None  # routing, outcome: the kind of the prompt that it had (Prompt.kind)
    prompt_id: str | None  # routing, outcome: the id of that prompt (Prompt.id)

    # what came out
    success: bool | None  # outcome
    quality_score: float | None  # outcome: 0 to 100
    tokens_in: int | None  # outcome
    tokens_out: int | None  # outcome
    actual_cost: float | None  # outcome
    duration_seconds: float | None  # outcome, pool_end
    queue_wait_seconds: float | None  # pool_start, outcome
    retries: int | None  # outcome
    error_type: str | None  # outcome: what kind of failure
    error_message: str | None  # outcome
    peak_memory_mb: float | None  # outcome, pool_end
    cpu_time_seconds: float | None  # outcome, pool_end
    solution_summary: str | None  # outcome, solution: how it was solved, in a line
    started_ms: int | None  # routing, pool_start, outcome: Unix ms
    completed_ms: int | None  # outcome, pool_end: Unix ms

    # what a user says of it (feedback() has these)
    user_accepted: bool | None  # feedback
    user_rating: int | None  # feedback: 1 to 5
    feedback_type: str | None  # feedback alone, not execution
    comment: str | None  # feedback alone, not execution

    # the quality policy of a domain
    maturity: str | None  # policy
    coverage_threshold: float | None  # policy: 0 to 100
    strictness: str | None  # policy
    reason: str | None  # policy
