/* TLS to a real Redis with a certificate of the test's own authority. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tls_files.h"
#include "certificates.h"
#include "redis/conn.h"
#include "servers.h"

static struct test_server server;
static char folder[200];

static bool has_tls(void)
{
#ifdef HAVE_HIREDIS_SSL
    return true;
#else
    return false;
#endif
}

/* `auth_clients` is Redis' setting. The plain port is what the fixture waits for; TLS has one of
 * its own. */
static int start_redis(const char *auth_clients)
{
    char port[16];
    char cert[256];
    char key[256];
    char ca[256];
    const int tls_port = test_free_port();

    test_folder_make(folder, sizeof folder);
    test_certificates_make(folder);
    snprintf(port, sizeof port, "%d", tls_port);
    snprintf(cert, sizeof cert, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    snprintf(ca, sizeof ca, "%s/ca.crt", folder);
    const char *extra[] = {"--tls-port",
                           port,
                           "--tls-cert-file",
                           cert,
                           "--tls-key-file",
                           key,
                           "--tls-ca-cert-file",
                           ca,
                           "--tls-auth-clients",
                           auth_clients,
                           NULL};
    test_redis_start(&server, extra);
    setenv("SSL_CERT_FILE", ca, 1);
    return tls_port;
}

static enum status ping(const char *host, int port, struct error *err)
{
    char text[128];
    struct redis_url url;
    struct redis_args args = {0};
    redisReply *reply = NULL;

    snprintf(text, sizeof text, "rediss://%s:%d/0", host, port);
    cr_assert_eq(redis_url_parse(text, &url, err), STATUS_OK, "%s", err->text);
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){3000, 3000});
    cr_assert_not_null(conn);
    redis_args_str(&args, "PING");
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_conn_close(conn);
    if (status == STATUS_OK) {
        redis_reply_free(reply);
        status = redis_conn_command(conn, &args, &reply, err); /* on a second session */
        redis_reply_free(reply);
    }
    redis_args_free(&args);
    redis_conn_free(conn);
    return status;
}

Test(redis_tls, the_certificate_must_be_signed_by_whom_we_trust_and_name_the_host, .timeout = 120)
{
    struct error err = {0};

    if (!has_tls()) {
        cr_skip("this hiredis has no TLS");
    }
    const int port = start_redis("no");
    cr_assert_eq(ping("localhost", port, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(ping("127.0.0.1", port, &err), STATUS_UNREACHABLE);
    cr_assert_not_null(strstr(err.text, "certificate"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "mismatch"), "%s", err.text);

    setenv("SSL_CERT_FILE", "/dev/null", 1);
    setenv("SSL_CERT_DIR", folder, 1);
    cr_assert_eq(ping("localhost", port, &err), STATUS_UNREACHABLE);
    cr_assert_not_null(strstr(err.text, "certificate"), "%s", err.text);

    /* a plain port waits for the end of a line, which the greeting has by chance */
    cr_assert_neq(ping("localhost", server.port, &err), STATUS_OK, "plain port");
    cr_assert_null(strstr(err.text, " 0 ms"), "%s", err.text);
    test_server_stop(&server);
    test_folder_remove(folder);
}

/* With TLS 1.3 session tickets lie in the socket: they are no answer. */
Test(redis_tls, who_waits_for_an_answer_is_not_called_before_it_comes, .timeout = 120)
{
    struct error err = {0};
    char text[128];
    struct redis_url url;
    struct redis_args args = {0};
    redisReply *reply = NULL;
    bool ready = true;

    if (!has_tls()) {
        cr_skip("this hiredis has no TLS");
    }
    snprintf(text, sizeof text, "rediss://localhost:%d/0", start_redis("no"));
    cr_assert_eq(redis_url_parse(text, &url, &err), STATUS_OK, "%s", err.text);
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){3000, 3000});
    redis_args_str(&args, "BLPOP");
    redis_args_str(&args, "nothing");
    redis_args_str(&args, "1");
    cr_assert_eq(redis_conn_append(conn, &args, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(redis_conn_wait(conn, 300, &ready, &err), STATUS_OK, "%s", err.text);
    cr_assert_not(ready);
    cr_assert_eq(redis_conn_wait(conn, 5000, &ready, &err), STATUS_OK, "%s", err.text);
    cr_assert(ready);
    cr_assert_eq(redis_conn_collect(conn, &reply, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(reply->type, REDIS_REPLY_NIL);
    redis_reply_free(reply);
    redis_args_free(&args);
    redis_conn_free(conn);
    test_server_stop(&server);
    test_folder_remove(folder);
}

Test(redis_tls, files_that_are_named_come_before_the_variables, .timeout = 120)
{
    struct error err = {0};
    struct tls_files files = {0};

    if (!has_tls()) {
        cr_skip("this hiredis has no TLS");
    }
    const int port = start_redis("yes");
    setenv("SSL_CERT_FILE", "/dev/null", 1);
    snprintf(files.authorities, sizeof files.authorities, "%s/ca.crt", folder);
    tls_files_use(&files);
    cr_assert_neq(ping("localhost", port, &err), STATUS_OK, "it asks for a certificate");
    snprintf(files.certificate, sizeof files.certificate, "%s/cert.pem", folder);
    snprintf(files.key, sizeof files.key, "%s/key.pem", folder);
    tls_files_use(&files);
    cr_assert_eq(ping("localhost", port, &err), STATUS_OK, "%s", err.text);
    snprintf(files.authorities, sizeof files.authorities, "%s/other.crt", folder);
    tls_files_use(&files);
    cr_assert_eq(ping("localhost", port, &err), STATUS_UNREACHABLE);
    cr_assert_not_null(strstr(err.text, "certificate"), "%s", err.text);
    test_server_stop(&server);
    test_folder_remove(folder);
}

Test(redis_tls, a_port_where_nothing_is_fails_clearly_with_tls_and_without)
{
    struct error err = {0};
    const enum status status = ping("127.0.0.1", 1, &err);

    if (has_tls()) {
        cr_assert_eq(status, STATUS_UNREACHABLE);
        cr_assert_not_null(strstr(err.text, "cannot connect"), "%s", err.text);
    } else {
        cr_assert_eq(status, STATUS_INVALID);
        cr_assert_not_null(strstr(err.text, "rediss:// needs hiredis with TLS"), "%s", err.text);
    }
}
