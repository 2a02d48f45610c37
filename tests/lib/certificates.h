/* certificates.h - an authority of the test's own and what it signed, made with openssl. */
#ifndef STILLHOUSE_TESTS_CERTIFICATES_H
#define STILLHOUSE_TESTS_CERTIFICATES_H

#include <stddef.h>

/* Into `folder`: ca.crt; cert.pem with key.pem for "localhost" (not for 127.0.0.1), which does for
 * a server and for a client; other.crt, an authority that signed nothing. */
void test_certificates_make(const char *folder);

/* `folder`/`name`; returns `out`. */
const char *test_certificate(const char *folder, const char *name, char out[300]);

#endif
