/* base/tls_files.h - whom this process trusts in TLS, and what it shows of itself: one for all its
 * connections, to Redis, Chroma and embedders.
 *
 *     tls_files_use(&(struct tls_files){.authorities = "/etc/ssl/house.pem"});  // at start
 *
 * Without that, and for what is left empty, the system's authorities and no certificate of our own;
 * SSL_CERT_FILE and SSL_CERT_DIR name other authorities, as for every program with OpenSSL (libcurl
 * alone does not look at them). Any thread.
 */
#ifndef STILLHOUSE_BASE_TLS_FILES_H
#define STILLHOUSE_BASE_TLS_FILES_H

#include "base/status.h"

enum { TLS_FILE_BYTES = 512 };

/* PEM files; "" = none. */
struct tls_files {
    char authorities[TLS_FILE_BYTES]; /* instead of the system's */
    char certificate[TLS_FILE_BYTES];
    char key[TLS_FILE_BYTES]; /* "" = in the certificate's file */
};

/* For all connections made from now on. */
void tls_files_use(const struct tls_files *files);
struct tls_files tls_files_now(void);

/* What is said of the authorities in force: a file's or folder's name, or "the system's". */
const char *tls_files_describe(char out[TLS_FILE_BYTES]);

/* INVALID names the setting whose file cannot be read, or that lacks its other half. */
enum status tls_files_check(const struct tls_files *files, struct error *err) MUSTCHECK;

#endif
