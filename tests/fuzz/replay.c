/* replay.c - runs a fuzz target without libFuzzer: once on nothing, then on every file named, or in
 * a folder named. So each corpus entry and each old finding is a test in every build. */
#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 16 << 20 };

static bool run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    uint8_t *data = malloc(INPUT_MAX);
    if (data == NULL) {
        fclose(file);
        return false;
    }
    size_t size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    uint8_t *exact = malloc(size > 0 ? size : 1); /* so that a read past the end is seen */
    if (exact != NULL) {
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
    }
    free(exact);
    free(data);
    return true;
}

static int run_folder(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;
    if (folder == NULL) {
        perror(path);
        return -1;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && run_file(name)) {
            count++;
        }
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    int total = 1;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        int count = -1;
        if (stat(argv[i], &info) == 0) {
            count = S_ISDIR(info.st_mode) ? run_folder(argv[i]) : run_file(argv[i]);
        }
        if (count < 0) {
            fprintf(stderr, "replay: cannot read \"%s\"\n", argv[i]);
            return 1;
        }
        total += count;
    }
    printf("replayed %d inputs\n", total);
    return 0;
}
