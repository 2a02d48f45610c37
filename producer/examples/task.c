/* A task executor in thirty lines: ask for the prompt, run the task, hand in what was learnt.
 *
 *     cc task.c $(pkg-config --cflags --libs stillhouse) -o example
 *     ./task legal "notice period for tenants"
 *
 * Without a Redis, a worker or a Chroma it prints the base prompt and ends well: nothing behind the
 * queue can stop a task.
 */
#include <stdio.h>
#include <time.h>

#include <stillhouse.h>

/* Where your model would be asked. */
static const char *run_the_task(const char *prompt)
{
    printf("---- the prompt that the model gets\n%s\n----\n", prompt);
    return "three months to the end of a month";
}

int main(int argc, char **argv)
{
    const char *domain = argc > 1 ? argv[1] : "legal";
    const char *query = argc > 2 ? argv[2] : "notice period for tenants";
    stillhouse_client *client = NULL;
    stillhouse_prompt_result prompt;
    char task_id[32];

    if (stillhouse_open(NULL, &client) != STILLHOUSE_OK) {
        fprintf(stderr, "example: %s\n", stillhouse_open_error());
        return 2; /* a setting is wrong: this is the only call worth stopping for */
    }

    stillhouse_prompt(client, domain, query, "Answer the tenant in one sentence.", 0, &prompt);
    const char *result = run_the_task(prompt.text);
    stillhouse_prompt_free(&prompt);

    snprintf(task_id, sizeof task_id, "example-%lld", (long long)time(NULL));
    const stillhouse_experience done = {
        .domain = domain,
        .task_id = task_id,
        .prompt = query,
        .result = result,
        .success = true,
        .quality = 0.9,
    };
    if (stillhouse_enqueue_distill(client, &done, NULL, NULL) != STILLHOUSE_OK) {
        fprintf(stderr, "example: not learnt: %s\n", stillhouse_error(client));
    }
    stillhouse_close(client);
    return 0;
}
