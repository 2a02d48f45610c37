#include "base/tls_files.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls_files in_use;

void tls_files_use(const struct tls_files *files)
{
    pthread_mutex_lock(&lock);
    in_use = *files;
    pthread_mutex_unlock(&lock);
}

struct tls_files tls_files_now(void)
{
    pthread_mutex_lock(&lock);
    const struct tls_files files = in_use;
    pthread_mutex_unlock(&lock);
    return files;
}

const char *tls_files_describe(char out[TLS_FILE_BYTES])
{
    static const char *const variables[] = {"SSL_CERT_FILE", "SSL_CERT_DIR"};
    const struct tls_files files = tls_files_now();

    snprintf(out, TLS_FILE_BYTES, "%s", files.authorities);
    for (size_t i = 0; out[0] == '\0' && i < sizeof variables / sizeof variables[0]; i++) {
        const char *value = getenv(variables[i]);
        snprintf(out, TLS_FILE_BYTES, "%s", value == NULL ? "" : value);
    }
    return out[0] != '\0' ? out : strcpy(out, "the system's");
}

static enum status check_file(const char *setting, const char *path, struct error *err)
{
    if (path[0] == '\0' || access(path, R_OK) == 0) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID, "%s: cannot read \"%.160s\": %s", setting, path,
                     strerror(errno));
}

enum status tls_files_check(const struct tls_files *files, struct error *err)
{
    if (files->key[0] != '\0' && files->certificate[0] == '\0') {
        return error_set(err, STATUS_INVALID, "client-key is set, expected client-cert too");
    }
    TRY(check_file("ca-file", files->authorities, err));
    TRY(check_file("client-cert", files->certificate, err));
    return check_file("client-key", files->key, err);
}
