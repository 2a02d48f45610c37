/* example.c - a task that uses past tasks, and leaves itself behind for later ones.
 *
 *     ./example DOMAIN QUESTION       with STILLHOUSE_REDIS_URL where Redis is not on this machine
 *
 * It runs whatever state the servers are in: then with the base prompt, and says why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <stillhouse.h>

/* Stands for your executor: whatever turns a prompt into a result. */
static const char *run_the_task(const char *prompt)
{
    printf("---- the prompt ----\n%s\n--------------------\n", prompt);
    return "the answer";
}

/* The prompt, with what is known from past tasks in front of it where there is something. */
static const char *do_task(stillhouse_client *client, const char *domain, const char *question)
{
    static const char *const kinds[] = {"enriched", "enriched (a newer result is on its way)",
                                        "as it was"};
    stillhouse_prompt_result prompt;

    /* 200 ms: what this task can wait for an enrichment that is not at hand. Most give 0. */
    stillhouse_prompt(client, domain, question, question, 200, &prompt);
    fprintf(stderr, "prompt: %s, %zu examples\n", kinds[prompt.kind], prompt.examples);
    if (prompt.status != STILLHOUSE_OK) {
        fprintf(stderr, "prompt: %s\n", stillhouse_error(client));
    }
    const char *answer = run_the_task(prompt.text);
    stillhouse_prompt_free(&prompt);
    return answer;
}

/* Hands the finished task in. That it cannot be handed in is no failure of the task. */
static void leave_behind(stillhouse_client *client, const char *domain, const char *question,
                         const char *answer)
{
    char task_id[64];
    char job[STILLHOUSE_ID_BYTES];
    const stillhouse_meta metadata[] = {
        {.key = "source", .type = STILLHOUSE_META_STRING, .string = "example"},
        {.key = "answer_bytes", .type = STILLHOUSE_META_INT, .integer = (int64_t)strlen(answer)},
    };
    const stillhouse_experience done = {
        .domain = domain,
        .task_id = task_id,
        .prompt = question,
        .result = answer,
        .success = true,
        .quality = 0.9,
        .metadata = metadata,
        .metadata_count = sizeof metadata / sizeof metadata[0],
    };

    snprintf(task_id, sizeof task_id, "example-%lld", (long long)time(NULL));
    if (stillhouse_enqueue_distill(client, &done, NULL, job) == STILLHOUSE_OK) {
        fprintf(stderr, "experience \"%s\" is job %s\n", task_id, job);
    } else {
        fprintf(stderr, "experience \"%s\" is lost: %s\n", task_id, stillhouse_error(client));
    }
}

int main(int argc, char **argv)
{
    stillhouse_client *client = NULL;

    if (argc != 3) {
        fprintf(stderr, "usage: %s DOMAIN QUESTION\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (stillhouse_open(NULL, &client) != STILLHOUSE_OK) { /* only a wrong setting fails here */
        fprintf(stderr, "%s\n", stillhouse_open_error());
        return EXIT_FAILURE;
    }
    const char *answer = do_task(client, argv[1], argv[2]);
    leave_behind(client, argv[1], argv[2], answer);
    stillhouse_close(client);
    return EXIT_SUCCESS;
}
