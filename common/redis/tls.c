#include "redis/tls.h"

#ifdef HAVE_HIREDIS_SSL

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include "base/tls_files.h"

static enum status fail(struct redis_conn *conn, const char *doing, struct error *err)
{
    char text[160] = "no memory";
    const unsigned long code = ERR_get_error();

    if (code != 0) {
        ERR_error_string_n(code, text, sizeof text);
    }
    ERR_clear_error();
    redis_conn_close(conn);
    return error_set(err, STATUS_FAILED, "redis %s: TLS: %s: %s", conn->where, doing, text);
}

/* The default paths are those of SSL_CERT_FILE and SSL_CERT_DIR, and else the system's. */
static bool set_trust(SSL_CTX *context, const struct tls_files *files)
{
    const char *key = files->key[0] != '\0' ? files->key : files->certificate;

    return (files->authorities[0] == '\0'
                ? SSL_CTX_set_default_verify_paths(context) == 1
                : SSL_CTX_load_verify_locations(context, files->authorities, NULL) == 1) &&
           (files->certificate[0] == '\0' ||
            (SSL_CTX_use_certificate_chain_file(context, files->certificate) == 1 &&
             SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 &&
             SSL_CTX_check_private_key(context) == 1));
}

static SSL_CTX *make_context(void)
{
    const struct tls_files files = tls_files_now();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        !set_trust(context, &files)) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return context;
}

/* The certificate must name the host; an address has a field of its own in it. */
static bool expect_name(SSL *session, const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host) == 1;
    }
    SSL_set_hostflags(session, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(session, host) == 1 && SSL_set1_host(session, host) == 1;
}

enum status redis_tls_start(struct redis_conn *conn, struct error *err)
{
    if (conn->tls == NULL) {
        conn->tls = make_context();
    }
    SSL *session = conn->tls == NULL ? NULL : SSL_new(conn->tls);
    if (session == NULL || !expect_name(session, conn->host)) {
        SSL_free(session);
        return fail(conn, "preparing", err);
    }

    /* hiredis' TLS reads and writes inside the handshake: bound them too. */
    conn->bound_ms = conn->timeouts.connect_ms;
    if (!redis_io_set_timeout(conn, SO_RCVTIMEO, conn->timeouts.connect_ms, &conn->receive_ms) ||
        !redis_io_set_timeout(conn, SO_SNDTIMEO, conn->timeouts.connect_ms, &conn->send_ms) ||
        redisInitiateSSL(conn->context, session) != REDIS_OK) {
        const int saved_errno = errno;
        const long verified = SSL_get_verify_result(session);
        SSL_free(session); /* hiredis takes it over only when all went well */
        ERR_clear_error();
        if (verified == X509_V_OK) {
            return redis_io_fail(conn, "TLS handshake", saved_errno, err);
        }
        redis_conn_close(conn);
        return error_set(err, STATUS_UNREACHABLE, "redis %s: its certificate: %s", conn->where,
                         X509_verify_cert_error_string(verified));
    }
    return STATUS_OK;
}

void redis_tls_free(struct redis_conn *conn)
{
    SSL_CTX_free(conn->tls);
}

#else

enum status redis_tls_start(struct redis_conn *conn, struct error *err)
{
    redis_conn_close(conn);
    return error_set(err, STATUS_INVALID,
                     "redis %s: rediss:// needs hiredis with TLS, and this program was built "
                     "without it",
                     conn->where);
}

void redis_tls_free(struct redis_conn *conn)
{
    (void)conn;
}

#endif
