#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void test_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "test: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

const char *test_temporary(void)
{
    const char *root = getenv("TMPDIR");
    return root != NULL && *root != '\0' ? root : "/tmp";
}

void test_folder_make(char *out, size_t size)
{
    const char *root = test_temporary();
    int length = snprintf(out, size, "%s/stillhouse-test-XXXXXX", root);
    if (length < 0 || (size_t)length >= size) {
        test_fail("TMPDIR \"%s\" is too long", root);
    }
    if (mkdtemp(out) == NULL) {
        test_fail("mkdtemp \"%s\": %s", out, strerror(errno));
    }
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

void test_folder_remove(const char *folder)
{
    if (nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        test_fail("remove \"%s\": %s", folder, strerror(errno));
    }
}

size_t test_folder_count(const char *folder, const char *end)
{
    size_t count = 0;

    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        const size_t bytes = strlen(entry->d_name);
        count += bytes > strlen(end) && strcmp(entry->d_name + bytes - strlen(end), end) == 0;
    }
    if (entries != NULL) {
        closedir(entries);
    }
    return count;
}
