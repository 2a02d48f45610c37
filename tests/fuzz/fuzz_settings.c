/* Any text for any setting, the first byte choosing which: it is refused, with words, and changes
 * nothing, or what is shown of it reads back as the same settings. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_read_back(const struct settings_row *row, const struct settings *settings)
{
    char value[SETTINGS_VALUE_BYTES];
    struct settings again;
    struct error err = {0};

    settings_defaults(&again);
    must(settings_row_parse(row, settings_row_format(row, settings, value), "here", &again, &err) ==
         STATUS_OK);
    must(memcmp(&again, settings, sizeof again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct settings usual;
    static struct settings settings;
    struct error err = {0};

    if (size == 0) {
        return 0;
    }
    char *text = malloc(size);
    must(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';

    const struct settings_row *row = &settings_rows[data[0] % settings_count()];
    settings_defaults(&usual);
    settings_defaults(&settings);
    const enum status status = settings_row_parse(row, text, "here", &settings, &err);
    if (status == STATUS_OK) {
        check_read_back(row, &settings);
        err.status = settings_finish(&settings, &err);
    } else {
        must(status == STATUS_INVALID && memcmp(&usual, &settings, sizeof usual) == 0);
        must(strncmp(err.text, "here", 4) == 0 && text_is_utf8(err.text, strlen(err.text)));
    }
    settings_blank(row->info.flag, text);
    must(!row->info.secret || strspn(text, "*") == strlen(text));
    free(text);
    return 0;
}
