#include "certificates.h"

#include <stdio.h>

#include "folder.h"
#include "programs.h"

static void openssl(const char *folder, const char *command)
{
    char line[1200];
    char said[4096];

    snprintf(line, sizeof line, "cd %s && openssl %s", folder, command);
    if (test_run((const char *const[]){"sh", "-c", line, NULL}, NULL, NULL, 0, said, sizeof said) !=
        0) {
        test_fail("openssl %s: %s", command, said);
    }
}

void test_certificates_make(const char *folder)
{
    openssl(folder, "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.crt "
                    "-subj '/CN=tests'");
    openssl(folder, "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout other.key -out other.crt "
                    "-subj '/CN=others'");
    openssl(folder, "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem "
                    "-subj '/CN=localhost'");
    openssl(folder, "version >/dev/null && echo subjectAltName=DNS:localhost > names");
    openssl(folder, "x509 -req -in request.pem -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
                    "-out cert.pem -extfile names");
}

const char *test_certificate(const char *folder, const char *name, char out[300])
{
    snprintf(out, 300, "%s/%s", folder, name);
    return out;
}
