/* https: whom we trust, and what we show. The server is openssl's own. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/tls_files.h"
#include "certificates.h"
#include "http/client.h"
#include "servers.h"

enum { PATIENCE_MS = 15000, POLL_MS = 20 };

static char folder[200];
static char authority[300];
static char certificate[300];
static char key[300];
static pid_t server;
static int port;

static enum status get(const char *host, struct error *err)
{
    char url[128];
    struct http *http = http_new(&(struct http_config){.upstream = "chroma", .timeout_ms = 5000});
    struct http_response response = {0};

    cr_assert_not_null(http);
    snprintf(url, sizeof url, "https://%s:%d/", host, port);
    const struct http_request request = {.method = "GET", .url = url, .operation = "get"};
    enum status status = http_perform(http, &request, &response, err);
    cr_assert(status != STATUS_OK || response.code == 200);
    http_response_free(&response);
    http_free(http);
    return status;
}

static void use(const char *authorities, const char *own, const char *own_key)
{
    struct tls_files files = {0};

    snprintf(files.authorities, sizeof files.authorities, "%s", authorities);
    snprintf(files.certificate, sizeof files.certificate, "%s", own);
    snprintf(files.key, sizeof files.key, "%s", own_key);
    tls_files_use(&files);
}

/* `verify` and its value, or NULL: whether it asks for our certificate. */
static void start(const char *verify)
{
    char listen_on[16];
    char log[300];
    struct error err = {0};

    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
    test_folder_make(folder, sizeof folder);
    test_certificates_make(folder);
    test_certificate(folder, "ca.crt", authority);
    test_certificate(folder, "cert.pem", certificate);
    test_certificate(folder, "key.pem", key);
    port = test_free_port();
    snprintf(listen_on, sizeof listen_on, "%d", port);
    server = test_spawn((const char *const[]){"openssl", "s_server", "-accept", listen_on, "-cert",
                                              certificate, "-key", key, "-CAfile", authority,
                                              "-www", "-quiet", verify, "1", NULL},
                        test_certificate(folder, "log", log));
    use(authority, certificate, key);
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (get("localhost", &err) != STATUS_OK) {
        cr_assert(clock_now_ms() < until_ms, "%s", err.text);
        clock_sleep_ms(POLL_MS);
    }
}

static void stop(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    test_folder_remove(folder);
}

TestSuite(http_tls, .fini = stop, .timeout = 120);

static void assert_refused(const char *host, const char *text)
{
    struct error err = {0};

    cr_assert_eq(get(host, &err), STATUS_UNREACHABLE, "%s", err.text);
    cr_assert_not_null(strstr(err.text, text), "%s", err.text);
}

Test(http_tls, only_an_authority_that_is_named_is_trusted_and_only_for_its_host)
{
    char other[300];
    struct error err = {0};

    start(NULL);
    assert_refused("127.0.0.1", "127.0.0.1"); /* "does not match target host name '127.0.0.1'" */
    use("", "", "");
    assert_refused("localhost", "certificate");
    use(test_certificate(folder, "other.crt", other), "", "");
    assert_refused("localhost", "certificate");

    use("", "", "");
    setenv("SSL_CERT_FILE", authority, 1);
    cr_assert_eq(get("localhost", &err), STATUS_OK, "%s", err.text);
    use(other, "", "");
    assert_refused("localhost", "certificate"); /* the setting comes before the variable */
}

Test(http_tls, our_certificate_is_shown_to_who_asks_for_it)
{
    char both[300];
    char command[1000];
    struct error err = {0};

    start("-Verify");
    use(authority, "", "");
    cr_assert_neq(get("localhost", &err), STATUS_OK);
    test_certificate(folder, "both.pem", both);
    snprintf(command, sizeof command, "cat %s %s > %s", certificate, key, both);
    cr_assert_eq(system(command), 0); /* NOLINT(cert-env33-c) */
    use(authority, both, "");
    cr_assert_eq(get("localhost", &err), STATUS_OK, "%s", err.text);
}
