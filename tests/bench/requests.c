#include "requests.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare_http.h"
#include "experiences.h"
#include "support.h"

static void add(struct requests *requests, const struct requests_plan *plan, long domain,
                const long *serials, size_t count)
{
    struct request *request = &requests->list[requests->count++];
    char name[EXPERIENCES_DOMAIN];

    request->domain = domain;
    request->count = count;
    if (plan->writes) {
        experience_domain(name, plan->prefix, domain, plan->domains);
        experiences_upsert_body(&request->body, name, serials, count);
    } else {
        experiences_query_body(&request->body, serials, count, plan->experiences);
    }
    if (!strbuf_ok(&request->body)) {
        bench_fail("out of memory");
    }
}

void requests_make(struct requests *requests, const struct requests_plan *plan)
{
    const long most = plan->count / (long)plan->batch + plan->domains + 1;
    long serials[EXPERIENCES_BATCH];

    *requests = (struct requests){.list = calloc((size_t)most, sizeof *requests->list)};
    if (requests->list == NULL || plan->batch > EXPERIENCES_BATCH) {
        bench_fail("%ld requests of %zu", most, plan->batch);
    }
    for (long domain = 0; domain < plan->domains; domain++) {
        size_t filled = 0;
        for (long i = domain; i < plan->count; i += plan->domains) {
            serials[filled++] = plan->first + i;
            if (filled == plan->batch || i + plan->domains >= plan->count) {
                add(requests, plan, domain, serials, filled);
                filled = 0;
            }
        }
    }
}

void requests_free(struct requests *requests)
{
    for (size_t i = 0; i < requests->count; i++) {
        strbuf_free(&requests->list[i].body);
    }
    free(requests->list);
    *requests = (struct requests){0};
}

void requests_url(char url[REQUESTS_URL_BYTES], const struct test_server *chroma, const char *path)
{
    snprintf(url, REQUESTS_URL_BYTES,
             "%s/api/v2/tenants/default_tenant/databases/default_database/collections/%s",
             chroma->url, path);
}

/* The URL of the domain's collection's query or upsert. */
static void find_url(struct bare_http *http, const struct requests_plan *plan, long domain,
                     const struct test_server *chroma, char url[REQUESTS_URL_BYTES])
{
    char name[EXPERIENCES_DOMAIN];
    char path[128];

    experience_domain(name, plan->prefix, domain, plan->domains);
    snprintf(path, sizeof path, "sh-%s", name);
    requests_url(url, chroma, path);
    cJSON *root = cJSON_Parse(bare_http_call(http, "GET", url, NULL)->data);
    const cJSON *id = cJSON_GetObjectItem(root, "id");
    if (!cJSON_IsString(id)) {
        bench_fail("no id of \"%s\"", path);
    }
    snprintf(path, sizeof path, "%s/%s", id->valuestring, plan->writes ? "upsert" : "query");
    requests_url(url, chroma, path);
    cJSON_Delete(root);
}

void requests_address(struct requests *requests, const struct requests_plan *plan,
                      const struct test_server *chroma)
{
    struct bare_http *http = bare_http_new();

    for (size_t i = 0; i < requests->count; i++) {
        struct request *request = &requests->list[i];
        if (i > 0 && request->domain == requests->list[i - 1].domain) {
            memcpy(request->url, requests->list[i - 1].url, REQUESTS_URL_BYTES);
        } else {
            find_url(http, plan, request->domain, chroma, request->url);
        }
    }
    bare_http_free(http);
}
