#include "client_fixture.h"

stillhouse_client *client;
static struct error err;

stillhouse_options patient(const char *url)
{
    return (stillhouse_options){.size = sizeof(stillhouse_options),
                                .redis_url = url,
                                .connect_timeout_ms = 2000,
                                .command_timeout_ms = 2000};
}

stillhouse_client *open_client(const stillhouse_options *options)
{
    stillhouse_client *made = NULL;

    cr_assert_eq(stillhouse_open(options, &made), STILLHOUSE_OK, "%s", stillhouse_open_error());
    return made;
}

void says(const char *part)
{
    cr_assert_not_null(strstr(stillhouse_error(client), part), "\"%s\" has no \"%s\"",
                       stillhouse_error(client), part);
}

void client_setup(void)
{
    queue_setup();
    const stillhouse_options options = patient(redis.url);
    client = open_client(&options);
}

void client_teardown(void)
{
    stillhouse_close(client);
    queue_teardown();
}

/* ---- what a worker writes ------------------------------------------------------------------ */

void encode_written(const struct written *written, struct strbuf *out)
{
    static struct meta_pair year = {{"year", 4}, {.type = META_INT, .integer = 2026}};
    static struct example examples[] = {{{"t-1", 3}, {"first", 5}, 0.25, &year, 1},
                                        {{"t-2", 3}, {"second", 6}, 0.5, NULL, 0}};
    static struct meta_pair task = {{"task_id", 7}, {.type = META_STRING, .string = {"t", 1}}};
    static struct example tasks[] = {{{"t-1", 3}, {"q1\n\na1", 6}, 0.25, &task, 1},
                                     {{"t-2", 3}, {"q2\n\na2", 6}, 0.5, &task, 1}};
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(written->query, strlen(written->query), hash);
    const struct enrich_result result = {
        .domain = text("legal"),
        .query_hash = text(hash),
        .created_unix_ms = clock_unix_ms() - written->age_ms,
        .epoch = written->epoch,
        .k = written->k == 0 ? 3 : written->k,
        .examples = written->tasks ? tasks : examples,
        .count = written->examples,
        .few_shot = text(written->examples == 0 ? "" : "block\n"),
        .error = {written->error, written->error == NULL ? 0 : strlen(written->error)},
    };
    strbuf_reset(out);
    bodies_encode_result(&result, out);
    cr_assert(strbuf_ok(out));
}

const char *cache_key(const char *query)
{
    static char key[KEYS_BYTES];
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(query, strlen(query), hash);
    return keys_name(key, KEYS_CACHE, "sh", "legal", hash);
}

void set_bytes(struct redis_conn *to, const char *key, const void *data, size_t bytes)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "SET");
    redis_args_str(&args, key);
    redis_args_add(&args, data, bytes);
    OK(redis_conn_command(to, &args, &reply, &err));
    redis_args_free(&args);
    redis_reply_free(reply);
}

void write_result_to(struct redis_conn *to, const struct written *written)
{
    struct strbuf packed = {0};

    encode_written(written, &packed);
    set_bytes(to, cache_key(written->query), packed.data, packed.bytes);
    strbuf_free(&packed);
}
