/* prompt/prompt.h - the layout of an enriched prompt. */
#ifndef STILLHOUSE_PROMPT_PROMPT_H
#define STILLHOUSE_PROMPT_PROMPT_H

#include "jobs/job.h"

/* The block, a blank line, the base prompt: free() it. NULL when memory is short. Pure. */
char *prompt_compose(struct slice few_shot, const char *base) MUSTCHECK;

#endif
