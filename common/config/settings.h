/* config/settings.h - one table of settings; flags, environment, help and the sample file come from
 * it.
 *
 *     struct settings settings;
 *     settings_defaults(&settings);
 *     status = settings_load_env(&settings, SETTINGS_WORKER, &err);        // NAME and NAME_FILE
 *     status = settings_set(&settings, "lanes", "8", "--lanes", &err);     // each flag
 *     status = settings_finish(&settings, &err);                           // cross-checks
 *
 * A row is reached as flag --redis-url, variable STILLHOUSE_REDIS_URL, and in --print-config.
 * Later sources win: defaults, then environment, then flags.
 */
#ifndef STILLHOUSE_CONFIG_SETTINGS_H
#define STILLHOUSE_CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "base/status.h"
#include "base/tls_files.h"
#include "config/row.h"
#include "embedder/embedder.h"

/* Read-only after settings_finish; then any thread. Times in milliseconds, sizes in bytes. */
struct settings {
    char redis_url[SETTINGS_TEXT_BYTES];    /* STILLHOUSE_REDIS_URL */
    char cache_url[SETTINGS_TEXT_BYTES];    /* STILLHOUSE_CACHE_URL; "" = the same Redis */
    char prefix[64];                        /* STILLHOUSE_PREFIX "sh" */
    char chroma_url[SETTINGS_TEXT_BYTES];   /* STILLHOUSE_CHROMA_URL */
    char chroma_tenant[128];                /* STILLHOUSE_CHROMA_TENANT */
    char chroma_database[128];              /* STILLHOUSE_CHROMA_DATABASE */
    char chroma_token[SETTINGS_TEXT_BYTES]; /* STILLHOUSE_CHROMA_TOKEN, secret; "" = none */
    int64_t chroma_timeout_ms;              /* STILLHOUSE_CHROMA_TIMEOUT 30s, one request */
    int64_t chroma_writers;                 /* STILLHOUSE_CHROMA_WRITERS 1, 1..64 */
    bool store_text_as_metadata;            /* STILLHOUSE_STORE_TEXT=metadata */
    int64_t twins;                          /* STILLHOUSE_TWINS 8, 1..64 */
    double merge_distance;                  /* STILLHOUSE_MERGE_DISTANCE 0 = off, 0..2 */
    enum embedder_kind embedder;            /* STILLHOUSE_EMBEDDER */
    char embed_url[SETTINGS_TEXT_BYTES];    /* STILLHOUSE_EMBED_URL; "" = the embedder's default */
    char embed_model[128];               /* STILLHOUSE_EMBED_MODEL; "" = the embedder's default */
    char embed_key[SETTINGS_TEXT_BYTES]; /* STILLHOUSE_EMBED_KEY, secret */
    int64_t embed_dimension;         /* STILLHOUSE_EMBED_DIMENSION; 0 = the embedder's default */
    int64_t embed_timeout_ms;        /* STILLHOUSE_EMBED_TIMEOUT 30s */
    int64_t embed_max_chars;         /* STILLHOUSE_EMBED_MAX_CHARS; 0 = learnt from refusals */
    bool reject_long_text;           /* STILLHOUSE_LONG_TEXT=reject */
    int64_t embed_rate_count;        /* STILLHOUSE_EMBED_RATE "100/60s": 100; 0 = none */
    int64_t embed_rate_window_ms;    /* ... 60000 */
    struct tls_files tls;            /* STILLHOUSE_CA_FILE, _CLIENT_CERT, _CLIENT_KEY */
    bool examples_as_messages;       /* STILLHOUSE_EXAMPLES=messages */
    char learn[SETTINGS_TEXT_BYTES]; /* STILLHOUSE_LEARN, a path or a URL; "" = none */
    bool learn_similar;              /* STILLHOUSE_LEARN_SIMILAR=on */
    int64_t learn_refresh_ms;        /* STILLHOUSE_LEARN_REFRESH 5s */
    int64_t learn_ttl_ms;            /* STILLHOUSE_LEARN_TTL 90d */
    int64_t learn_max_bytes;         /* STILLHOUSE_LEARN_MAX 4 GiB; 0 = no bound */
    int64_t cache_ttl_ms;            /* STILLHOUSE_CACHE_TTL 1h */
    int64_t cache_fresh_ms;          /* STILLHOUSE_CACHE_FRESH 60s */
    int64_t experience_ttl_ms;       /* STILLHOUSE_EXPERIENCE_TTL 7d */
    int64_t sweep_ms;                /* STILLHOUSE_SWEEP 60s; 0 = never */
    double min_quality;              /* STILLHOUSE_MIN_QUALITY 0.5, 0..1 */
    int64_t max_body_bytes;          /* STILLHOUSE_MAX_BODY 256 KiB ("256KiB", "1MiB", "1000") */
    int64_t max_backlog;             /* STILLHOUSE_MAX_BACKLOG 100000 */
    int64_t max_attempts;            /* STILLHOUSE_MAX_ATTEMPTS 5, 1..1000 */
    int64_t retry_base_ms;           /* STILLHOUSE_RETRY_BASE 2s */
    int64_t retry_max_ms;            /* STILLHOUSE_RETRY_MAX 5m */
    int64_t max_deliveries;          /* STILLHOUSE_MAX_DELIVERIES 5 */
    int64_t max_backlog_bytes;       /* STILLHOUSE_MAX_BACKLOG_BYTES 1 GiB a queue; 0 = no bound */
    int64_t max_dead;                /* STILLHOUSE_MAX_DEAD 100000 a queue; 0 = no bound */
    int64_t max_dead_bytes;          /* STILLHOUSE_MAX_DEAD_BYTES 256 MiB a queue; 0 = no bound */
    int64_t dead_ttl_ms;             /* STILLHOUSE_DEAD_TTL 30d; 0 = for ever */
    int64_t visibility_ms;           /* STILLHOUSE_VISIBILITY 60s, at least 1s */
    int64_t breaker_failures;        /* STILLHOUSE_BREAKER_FAILURES 5 */
    int64_t breaker_pause_ms;        /* STILLHOUSE_BREAKER_PAUSE 60s */
    int64_t drain_ms;                /* STILLHOUSE_DRAIN 25s */

    /* the worker's own (scope SETTINGS_WORKER) */
    bool record_distill;      /* STILLHOUSE_RECORD=distill */
    char queues[512];         /* STILLHOUSE_QUEUES "enrich,distill,index,echo" */
    int64_t lanes;            /* STILLHOUSE_LANES 4, 1..256 */
    int64_t batch;            /* STILLHOUSE_BATCH 64, 1..1000 */
    char http[128];           /* STILLHOUSE_HTTP "127.0.0.1:9464"; "off" = none */
    char worker_id[65];       /* STILLHOUSE_WORKER_ID; "" = <host>-<pid>-<random> */
    enum log_level log_level; /* STILLHOUSE_LOG_LEVEL info */

    /* the producers' own (scope SETTINGS_CLI) */
    int64_t holdout;                  /* STILLHOUSE_HOLDOUT 0%; millionths */
    char outbox[SETTINGS_TEXT_BYTES]; /* STILLHOUSE_OUTBOX; "" = none */
    int64_t outbox_max_bytes;         /* STILLHOUSE_OUTBOX_MAX 64 MiB */
};

/* Fills every field with its default. */
void settings_defaults(struct settings *settings);

/* Reads STILLHOUSE_<NAME> for every row of `scope`; for a secret or a URL also
 * STILLHOUSE_<NAME>_FILE (first line of that file, with a warning where every user may read or
 * write it). Both given is an error; an empty variable is not given, whatever the row. Errors name
 * the variable, the value (secrets hidden) and what was expected. Reads the environment: before
 * threads start. */
enum status settings_load_env(struct settings *settings, enum settings_scope scope,
                              struct error *err) MUSTCHECK;

/* The same for the row whose flag name is `name`, in a library: any row may stand in a file, other
 * variables are not its business, and it logs nothing. */
enum status settings_load_one(struct settings *settings, const char *name,
                              struct error *err) MUSTCHECK;

/* How many variables named STILLHOUSE_... are no setting of either program, nor one of the scripts
 * and tests beside them; *first is the first of them, "NAME=value", or NULL. Before threads start.
 */
size_t settings_unknown_env(const char **first) MUSTCHECK;

/* Sets the row whose flag name is `name` ("redis-url"). `source` is named in the error ("--lanes"
 * or the variable). STATUS_NOT_FOUND for an unknown name, STATUS_INVALID for a bad value. */
enum status settings_set(struct settings *settings, const char *name, const char *value,
                         const char *source, struct error *err) MUSTCHECK;

/* Overwrites a flag's value, in the words that main() was given, where it may hold a secret: they
 * stand in the list of processes for all to read. Of a URL its scheme stays. */
void settings_blank(const char *name, char *value);

/* The first line of a file that a variable names, as long as a setting may be. */
struct settings_line {
    char text[SETTINGS_TEXT_BYTES + 1];
    bool exposed; /* every user may read or write the file */
};

/* INVALID, naming `source`: it cannot be read, is no regular file, or has no usable line. The
 * caller wipes *line. */
enum status settings_read_line(const char *path, const char *source, struct settings_line *line,
                               struct error *err) MUSTCHECK;

/* Cross-checks (retry-max >= retry-base, ...) and URL syntax. */
enum status settings_finish(const struct settings *settings, struct error *err) MUSTCHECK;

/* The secrets that go over plain http to another host, where anybody on the way reads them:
 * "chroma-token", "embed-key". Returns how many. */
enum { SETTINGS_BARE_MAX = 2 };
size_t settings_bare_secrets(const struct settings *settings, const char *names[SETTINGS_BARE_MAX]);

/* The rows, for building getopt tables, the README's table and the checks that keep them true. */
extern const struct settings_row settings_rows[];
size_t settings_count(void);
struct settings_row_info settings_row(size_t index);

/* "  --lanes N  threads: 1..256 (default 4)" for every row of `scope`. */
void settings_print_help(FILE *out, enum settings_scope scope);

/* "STILLHOUSE_LANES=4" for every row of `scope`; secrets as "***" when set, passwords in
 * URLs too. A value that is the default is written as the table writes it. */
void settings_print(FILE *out, const struct settings *settings, enum settings_scope scope);

#endif
