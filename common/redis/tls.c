#include "redis/tls.h"

#ifdef HAVE_HIREDIS_SSL

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

#include "base/tls_files.h"

/* OpenSSL's own object bears our name. */
static SSL_CTX *rules_of(struct redis_tls *tls)
{
    return (SSL_CTX *)tls;
}

static enum status fail(struct error *err)
{
    char text[160] = "no memory";
    const unsigned long code = ERR_get_error();

    if (code != 0) {
        ERR_error_string_n(code, text, sizeof text);
    }
    ERR_clear_error();
    return error_set(err, STATUS_FAILED, "TLS: preparing: %s", text);
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

enum status redis_tls_new(struct redis_tls **out, struct error *err)
{
    const struct tls_files files = tls_files_now();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        !set_trust(context, &files)) {
        SSL_CTX_free(context);
        return fail(err);
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    *out = (struct redis_tls *)context;
    return STATUS_OK;
}

void redis_tls_free(struct redis_tls *tls)
{
    SSL_CTX_free(rules_of(tls));
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

enum status redis_tls_start(struct redis_tls *tls, redisContext *context, const char *host,
                            struct error *err)
{
    SSL *session = SSL_new(rules_of(tls));

    if (session == NULL || !expect_name(session, host)) {
        SSL_free(session);
        return fail(err);
    }
    if (redisInitiateSSL(context, session) == REDIS_OK) {
        return STATUS_OK;
    }
    const int saved_errno = errno;
    const long verified = SSL_get_verify_result(session);
    SSL_free(session); /* hiredis takes it over only when all went well */
    ERR_clear_error();
    errno = saved_errno;
    return verified == X509_V_OK ? STATUS_UNREACHABLE
                                 : error_set(err, STATUS_UNREACHABLE, "its certificate: %s",
                                             X509_verify_cert_error_string(verified));
}

#else

enum status redis_tls_new(struct redis_tls **out, struct error *err)
{
    (void)out;
    return error_set(err, STATUS_INVALID,
                     "rediss:// needs hiredis with TLS, and this program was built without it");
}

void redis_tls_free(struct redis_tls *tls)
{
    (void)tls;
}

enum status redis_tls_start(struct redis_tls *tls, redisContext *context, const char *host,
                            struct error *err)
{
    (void)tls;
    (void)context;
    (void)host;
    return error_set(err, STATUS_INVALID, "built without TLS");
}

#endif
