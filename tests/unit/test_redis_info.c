/* Lines of INFO, and what they mean for a queue. */
#include <criterion/criterion.h>

#include "redis/info.h"

static const struct redis_info info = {
    .text = "# Server\r\nredis_version:7.2.4\r\n# Memory\r\nused_memory:123\r\n"
            "maxmemory_policy:noeviction\r\n"};

Test(redis_info, lines_are_found_at_their_beginning_only)
{
    char out[REDIS_INFO_BYTES];

    cr_assert_eq(redis_info_number(&info, "used_memory"), 123);
    cr_assert_eq(redis_info_number(&info, "memory"), 0);
    cr_assert_eq(redis_info_number(&info, "used"), 0);
    cr_assert_str_eq(redis_info_text(&info, "maxmemory_policy", out), "noeviction");
    cr_assert_str_eq(redis_info_text(&info, "role", out), "");
}

Test(redis_info, a_value_that_is_too_long_is_cut_and_no_byte_of_it_moves_the_cursor)
{
    const struct redis_info odd = {.text =
                                       "role:\x1b[2J\r\nlong:"
                                       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    char out[REDIS_INFO_BYTES];

    cr_assert_null(strchr(redis_info_text(&odd, "role", out), '\x1b'));
    cr_assert_eq(strlen(redis_info_text(&odd, "long", out)), sizeof out - 1);
}

Test(redis_info, an_old_redis_and_one_that_throws_keys_away_are_named)
{
    static const struct {
        const char *text;
        bool is_new;
        enum redis_eviction eviction;
    } rows[] = {
        {"redis_version:6.2.14\r\nmaxmemory_policy:allkeys-lru\r\n", false, REDIS_EVICTS_ALL},
        {"redis_version:10.0.0\r\nmaxmemory_policy:volatile-ttl\r\n", true, REDIS_EVICTS_MORTAL},
        {"redis_version:7.0.0\r\n", true, REDIS_EVICTION_UNKNOWN},
        {"", false, REDIS_EVICTION_UNKNOWN},
    };
    char policy[REDIS_INFO_BYTES];

    cr_assert_eq(redis_info_eviction(&info, policy), REDIS_EVICTS_NOTHING);
    cr_assert(redis_info_is_new_enough(&info));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct redis_info one = {.text = rows[i].text};
        cr_assert_eq(redis_info_is_new_enough(&one), rows[i].is_new, "%zu", i);
        cr_assert_eq(redis_info_eviction(&one, policy), rows[i].eviction, "%zu", i);
    }
}
