/* doctor_upstreams.c - Chroma and the embedder: there, ours, and not overfull? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/commands/doctor.h"
#include "cli/frame/connections.h"
#include "config/clients.h"

enum { HEARTBEAT_MS = 3000, COLLECTIONS_WARNING = 200, STRANGERS_MAX = 10 };

static void check_collections(struct doctor *doctor, struct chroma *chroma)
{
    struct error err = {0};
    int64_t count = 0;

    if (chroma_collection_count(chroma, &count, &err) != STATUS_OK) {
        doctor_note(doctor, FINDING_ERROR, "chroma collections",
                    "check STILLHOUSE_CHROMA_TENANT, _DATABASE and _TOKEN", "%s", err.text);
        return;
    }
    doctor_note(doctor, count > COLLECTIONS_WARNING ? FINDING_WARNING : FINDING_OK,
                "chroma collections",
                count > COLLECTIONS_WARNING
                    ? "each takes memory and files that are not given back; use fewer domains"
                    : "",
                "%" PRId64, count);
}

/* Which collection wants another embedder, or another space: its jobs wait until somebody mends it.
 */
static void check_identities(struct doctor *doctor, struct chroma *chroma)
{
    struct arena arena = {0};
    struct chroma_domains page = {0};
    struct error err = {0};
    size_t strangers = 0;

    if (chroma_list_domains(chroma, 0, COLLECTIONS_WARNING, &arena, &page, &err) != STATUS_OK) {
        page.count = 0; /* said already */
    }
    for (size_t i = 0; i < page.count && strangers < STRANGERS_MAX; i++) {
        if (chroma_open_collection(chroma, page.domains[i], false, &err) == STATUS_MISMATCH) {
            strangers++;
            doctor_note(doctor, FINDING_ERROR, "chroma collection",
                        "its jobs wait: set STILLHOUSE_EMBEDDER, _EMBED_MODEL and "
                        "_EMBED_DIMENSION as it was made, or make it anew",
                        "%s", err.text);
        }
    }
    arena_free(&arena);
}

static void check_chroma(struct doctor *doctor, struct chroma *chroma)
{
    const char *url = doctor->cli->settings.chroma_url;
    struct error err = {0};
    char version[64];

    const int64_t start_ns = clock_now_ns();
    if (chroma_heartbeat(chroma, HEARTBEAT_MS, &err) != STATUS_OK) {
        doctor_note(doctor, FINDING_ERROR, "chroma",
                    "start it, or name another in STILLHOUSE_CHROMA_URL", "%s", err.text);
        return;
    }
    doctor_note(doctor, FINDING_OK, "chroma", "", "%s answers in %.1f ms", url,
                (double)(clock_now_ns() - start_ns) / 1e6);
    if (chroma_version(chroma, version, &err) == STATUS_OK) {
        doctor_note(doctor, FINDING_OK, "chroma version", "", "says %s", version);
        check_collections(doctor, chroma);
        check_identities(doctor, chroma);
    } else { /* what it has no tenant, database or token can explain */
        doctor_note(doctor, FINDING_WARNING, "chroma version",
                    "is STILLHOUSE_CHROMA_URL that of a Chroma?", "%s", err.text);
    }
}

static void check_embedder(struct doctor *doctor, struct embedder *embedder)
{
    static const char text[] = "the doctor's test sentence";
    const struct slice texts[] = {{text, sizeof text - 1}};
    struct error err = {0};
    const enum status learnt = embedder_learn(embedder, &err);
    const size_t dimension = embedder_dimension(embedder);
    float *vector = calloc(dimension + 1, sizeof *vector);

    if (vector == NULL) {
        doctor_note(doctor, FINDING_ERROR, "embedder", "", "out of memory");
        return;
    }
    const int64_t start_ns = clock_now_ns();
    if (learnt == STATUS_OK && embedder_embed(embedder, texts, 1, vector, &err) == STATUS_OK) {
        doctor_note(doctor, FINDING_OK, "embedder", "", "%s, %zu dimensions, a text in %.1f ms",
                    embedder_model(embedder), dimension, (double)(clock_now_ns() - start_ns) / 1e6);
    } else {
        doctor_note(doctor, FINDING_ERROR, "embedder",
                    "check STILLHOUSE_EMBED_URL, _MODEL, _KEY and _DIMENSION",
                    "%s, %zu "
                    "dimensions: %s",
                    embedder_model(embedder), dimension, err.text);
    }
    free(vector);
}

/* What is trusted, and which secrets need none of it. */
static void check_transport(struct doctor *doctor)
{
    const struct settings *settings = &doctor->cli->settings;
    const char *names[SETTINGS_BARE_MAX];
    char authorities[TLS_FILE_BYTES];

    doctor_note(doctor, FINDING_OK, "tls authorities", "", "%s", tls_files_describe(authorities));
    const size_t count = settings_bare_secrets(settings, names);
    for (size_t i = 0; i < count; i++) {
        doctor_note(doctor, FINDING_WARNING, names[i],
                    "anybody on the way can read it; use https:// (STILLHOUSE_CA_FILE names an "
                    "authority of your own)",
                    "goes over plain http to another host");
    }
}

void doctor_upstreams(struct doctor *doctor)
{
    struct embedder *embedder = NULL;
    struct error err = {0};

    if (http_global_init(&err) != STATUS_OK ||
        clients_open_embedder(&doctor->cli->settings, NULL, NULL, &embedder, &err) != STATUS_OK) {
        doctor_note(doctor, FINDING_ERROR, "embedder", "", "%s", err.text);
        return;
    }
    struct chroma *chroma = clients_open_chroma(&doctor->cli->settings, embedder, NULL, NULL);
    if (chroma == NULL) {
        doctor_note(doctor, FINDING_ERROR, "chroma", "", "out of memory");
    } else {
        if (embedder_learn(embedder, &err) == STATUS_OK) { /* else it is said below */
            chroma_set_dimension(chroma, embedder_dimension(embedder));
        }
        check_chroma(doctor, chroma);
    }
    check_transport(doctor);
    check_embedder(doctor, embedder);
    chroma_free(chroma);
    embedder_free(embedder);
}
