#include <criterion/criterion.h>
#include <string.h>

#include "redis/conn.h"

static struct redis_url parsed(const char *text)
{
    struct redis_url url;
    struct error err = {0};

    cr_assert_eq(redis_url_parse(text, &url, &err), STATUS_OK, "%s: %s", text, err.text);
    return url;
}

static void refuse(const char *text, const char *why)
{
    struct redis_url url;
    struct error err = {0};

    cr_assert_eq(redis_url_parse(text, &url, &err), STATUS_INVALID, "\"%s\" was taken", text);
    cr_assert_not_null(strstr(err.text, why), "\"%s\": \"%s\" without \"%s\"", text, err.text, why);
    cr_assert_null(strstr(err.text, "s3cret"), "the password is in \"%s\"", err.text);
}

Test(redis_url, host_port_and_database_are_taken)
{
    const struct redis_url url = parsed("redis://cache.example:7000/3");

    cr_assert_str_eq(url.host, "cache.example");
    cr_assert_eq(url.port, 7000);
    cr_assert_eq(url.db, 3);
    cr_assert_str_empty(url.user);
    cr_assert_str_empty(url.password);
    cr_assert_str_empty(url.path);
    cr_assert_not(url.tls);
}

Test(redis_url, what_is_left_out_has_redis_defaults)
{
    const struct redis_url url = parsed("redis://");

    cr_assert_str_eq(url.host, "127.0.0.1");
    cr_assert_eq(url.port, 6379);
    cr_assert_eq(url.db, 0);
    cr_assert_eq(parsed("redis://h/").db, 0);
    cr_assert_eq(parsed("redis://h/2").port, 6379);
    cr_assert_eq(parsed("redis://:7001").port, 7001);
}

Test(redis_url, an_ipv6_host_stands_in_brackets)
{
    const struct redis_url url = parsed("redis://[::1]:7000/1");
    char shown[320];

    cr_assert_str_eq(url.host, "::1");
    cr_assert_eq(url.port, 7000);
    cr_assert_str_eq(redis_url_describe(&url, shown), "[::1]:7000/1");
    cr_assert_eq(parsed("redis://[fe80::2]").port, 6379);
}

Test(redis_url, user_and_password_are_percent_decoded)
{
    const struct redis_url url = parsed("redis://us%65r:p%40ss%2f%3A@h:1/0");

    cr_assert_str_eq(url.user, "user");
    cr_assert_str_eq(url.password, "p@ss/:");
    cr_assert_str_eq(url.host, "h");
}

Test(redis_url, a_password_needs_no_user)
{
    const struct redis_url url = parsed("redis://:s3cret@h");

    cr_assert_str_empty(url.user);
    cr_assert_str_eq(url.password, "s3cret");
}

Test(redis_url, a_unix_socket_has_a_path_and_a_database)
{
    const struct redis_url url = parsed("unix:///run/redis%20one.sock?db=4");
    char shown[320];

    cr_assert_str_eq(url.path, "/run/redis one.sock");
    cr_assert_str_empty(url.host);
    cr_assert_eq(url.db, 4);
    cr_assert_str_eq(redis_url_describe(&url, shown), "/run/redis one.sock?db=4");
    const struct redis_url plain = parsed("unix:///run/r.sock");
    cr_assert_str_eq(redis_url_describe(&plain, shown), "/run/r.sock");
    cr_assert_str_eq(parsed("unix://u:p@/run/r.sock").password, "p");
}

Test(redis_url, rediss_asks_for_tls)
{
    const struct redis_url url = parsed("rediss://h:6380");
    char shown[320];

    cr_assert(url.tls);
    cr_assert_str_eq(redis_url_describe(&url, shown), "h:6380/0");
}

Test(redis_url, sentinels_a_masters_name_and_a_database_are_taken)
{
    const struct redis_url url =
        parsed("redis+sentinel://u%21:p%40ss@s1.example,s2:7001,[::1]:7002/my%20master/4");
    char shown[320];

    cr_assert_eq(url.sentinel_count, 3);
    cr_assert_str_eq(url.sentinels[0].host, "s1.example");
    cr_assert_eq(url.sentinels[0].port, 26379);
    cr_assert_str_eq(url.sentinels[1].host, "s2");
    cr_assert_eq(url.sentinels[1].port, 7001);
    cr_assert_str_eq(url.sentinels[2].host, "::1");
    cr_assert_eq(url.sentinels[2].port, 7002);
    cr_assert_str_eq(url.master, "my master");
    cr_assert_eq(url.db, 4);
    cr_assert_str_eq(url.user, "u!");
    cr_assert_str_eq(url.password, "p@ss");
    cr_assert_str_empty(url.host);
    cr_assert_str_empty(url.path);
    cr_assert_str_empty(url.sentinel_user);
    cr_assert_str_empty(url.sentinel_password);
    cr_assert_not(url.tls);
    cr_assert_str_eq(redis_url_describe(&url, shown),
                     "s1.example:26379,s2:7001,[::1]:7002/my master/4");
    cr_assert_eq(parsed("redis://h").sentinel_count, 0);
    cr_assert_eq(parsed("redis+sentinel://h/m").db, 0);
    cr_assert_eq(parsed("redis+sentinel://h/m/").db, 0);
}

Test(redis_url, sentinels_have_a_user_and_a_password_of_their_own)
{
    const struct redis_url url =
        parsed("redis+sentinel://:p@h/m?sentinel_user=us%65r&sentinel_password=a%40b%26c=d");

    cr_assert_str_eq(url.sentinel_user, "user");
    cr_assert_str_eq(url.sentinel_password, "a@b&c=d");
    cr_assert_str_eq(url.password, "p");
    cr_assert_str_eq(parsed("redis+sentinel://h/m/1?sentinel_password=x").sentinel_password, "x");
}

Test(redis_url, many_long_sentinels_are_described_as_far_as_they_fit)
{
    char text[2000] = "redis+sentinel://";
    char shown[320];

    for (int i = 0; i < REDIS_SENTINELS_MAX; i++) {
        char host[256];
        snprintf(host, sizeof host, "%s%d-%0200d", i == 0 ? "" : ",", i, 0);
        strcat(text, host);
    }
    strcat(text, "/the-master/15");
    const struct redis_url url = parsed(text);
    cr_assert_eq(url.sentinel_count, REDIS_SENTINELS_MAX);
    redis_url_describe(&url, shown);
    cr_assert_not_null(strstr(shown, ",7-000"), "%s", shown);
    cr_assert_not_null(strstr(shown, "/the-master/15"), "%s", shown);
}

Test(redis_url, what_is_no_sentinel_url_is_refused_with_the_reason)
{
    refuse("redis+sentinel://h", "the master's name is missing");
    refuse("redis+sentinel://h/", "the master's name is missing");
    refuse("redis+sentinel://h//1", "the master's name is missing");
    refuse("redis+sentinel:///m", "a sentinel's host is empty");
    refuse("redis+sentinel://h,/m", "a sentinel's host is empty");
    refuse("redis+sentinel://,h/m", "a sentinel's host is empty");
    refuse("redis+sentinel://a,b,c,d,e,f,g,h,i/m", "too many sentinels");
    refuse("redis+sentinel://a,b:0/m", "the port must be");
    refuse("redis+sentinel://a:x,b/m", "the port must be");
    refuse("redis+sentinel://a,[::1/m", "[ without ]");
    refuse("redis+sentinel://h/m/x", "the database must be");
    refuse("redis+sentinel://h/m/1/2", "the database must be");
    refuse("redis+sentinel://h/m%4", "the master's name");
    refuse("redis+sentinel://h/m?db=1", "unknown query");
    refuse("redis+sentinel://h/m?sentinel_password=", "is empty");
    refuse("redis+sentinel://h/m?sentinel_password", "is empty");
    refuse("redis+sentinel://h/m?sentinel_user=u", "sentinel_user without sentinel_password");
    refuse("rediss+sentinel://h/m", "TLS together with Sentinel is not supported");
    refuse("redis+sentinels://h/m", "unknown scheme");
}

Test(redis_url, what_is_not_a_redis_url_is_refused_with_the_reason)
{
    refuse("http://h", "unknown scheme");
    refuse("", "unknown scheme");
    refuse("redis:/h", "unknown scheme");
    refuse("redis://h:0", "the port must be");
    refuse("redis://h:65536", "the port must be");
    refuse("redis://h:12345678901", "the port must be");
    refuse("redis://h:port", "the port must be");
    refuse("redis://h:", "the port is missing");
    refuse("redis://h/one", "the database must be");
    refuse("redis://h/70000", "the database must be");
    refuse("redis://[::1", "[ without ]");
    refuse("redis://[::1]x:1", "between ] and the port");
    refuse("redis://h%4", "cannot be decoded");
    refuse("redis://h%zz", "cannot be decoded");
    refuse("unix://run/r.sock", "must begin with /");
    refuse("unix://", "must begin with /");
    refuse("unix:///r.sock?timeout=1", "unknown query");
    refuse("unix:///r.sock?db=x", "unknown query");
}

Test(redis_url, a_refusal_never_shows_the_password)
{
    refuse("redis://s3cret@h", "a user without a password");
    refuse("redis://u:s3cret%00@h", "the password");
    refuse("redis://u:@h", "the password is empty");
    refuse("redis://u%0:s3cret@h", "the user");
    refuse("redis://u:s3cret@h:0", "***@h:0");
    refuse("u:s3cret@h", "unknown scheme");
    refuse("http://u:s3cret@h", "http://u:***@h");
    refuse("redis+sentinel://u:s3cret@h", "redis+sentinel://u:***@h");
    refuse("redis://:s3cret", "redis://***");
    refuse("redis://:s3cret@127.0.0.1:1/0#s3cret", "redis://:***@***");
    refuse("redis+sentinel://h:1/m/0?SENTINEL_PASSWORD=s3cret", "SENTINEL_PASSWORD=***");
    refuse("redis+sentinel://h:1/m/0?sentinel_password=a@s3cret", "redis+sentinel://***");
    refuse("redis+sentinel://h/m/x?sentinel_password=s3cret", "the database must be");
    refuse("redis+sentinel://u:s3cret@h/m?sentinel_password=s3cret&x=1", "unknown query");
    refuse("redis+sentinel://h/m?sentinel_password=s3cret%00", "sentinels' user or password");
}

Test(redis_url, parts_that_are_too_long_are_refused)
{
    char text[700];
    char many[400];

    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    snprintf(text, sizeof text, "redis://%s", many);
    refuse(text, "the host is too long");
    snprintf(text, sizeof text, "redis://%s:p@h", many);
    refuse(text, "the user");
    snprintf(text, sizeof text, "redis://u:%s@h", many);
    refuse(text, "the password");
    snprintf(text, sizeof text, "unix:///%s", many);
    refuse(text, "too long");
}
