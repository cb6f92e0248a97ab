/* The pieces of quarry-api that need no socket: routes, keys, limits, queries, wallets' files, and JSON-RPC's
 * authorization and statuses. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api_private.h"

/* ---- Routes ------------------------------------------------------------------------------------------ */

static const struct route *find(const char *method, const char *path, enum area *area, char param[128],
                                char allow[64])
{
    return route_find(method, strlen(method), path, strlen(path), area, param, allow);
}

Test(routes, areas_and_parameters)
{
    static const struct {
        const char *method, *path, *pattern, *param;
        enum area area;
    } cases[] = {{"GET", "/health", "/health", "", AREA_ROOT},
                 {"GET", "/api/health/ready", "/health/ready", "", AREA_API},
                 {"GET", "/api/v1/health/live", "/health/live", "", AREA_V1},
                 {"GET", "/api/admin/health", "/health", "", AREA_ADMIN},
                 {"HEAD", "/api/v1/blockchain", "/blockchain", "", AREA_V1},
                 {"GET", "/api/v1/blockchain/blocks/latest", "/blockchain/blocks/latest", "", AREA_V1},
                 {"GET", "/api/v1/blockchain/blocks/ab", "/blockchain/blocks/{hash}", "ab", AREA_V1},
                 {"GET", "/api/v1/wallet/bcrt1x/balance", "/wallet/{address}/balance", "bcrt1x", AREA_V1},
                 {"GET", "/api/v1/wallet/addresses", "/wallet/addresses", "", AREA_V1},
                 {"POST", "/api/wallet/transactions", "/transactions", "", AREA_WALLET},
                 {"POST", "/api/admin/transactions", "/transactions", "", AREA_ADMIN},
                 {"GET", "/", "/", "", AREA_ROOT},
                 {"GET", "/assets/app.js", "/assets/{name}", "app.js", AREA_ROOT}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char param[128], allow[64];
        enum area area;
        const struct route *route = find(cases[i].method, cases[i].path, &area, param, allow);
        cr_assert(route, "%s", cases[i].path);
        cr_assert_str_eq(route->path, cases[i].pattern);
        cr_assert_str_eq(param, cases[i].param);
        cr_assert_eq(area, cases[i].area);
    }
}

Test(routes, unknown_paths)
{
    char param[128], allow[64], longest[300];
    enum area area;
    static const char *const unknown[] = {"",
                                          "/api",
                                          "/api/",
                                          "/api/v1",
                                          "/api/v1/",
                                          "/api/v1x/blockchain",
                                          "/api/v2/blockchain",
                                          "/API/v1/blockchain",
                                          "/api/v1/blockchain/",
                                          "/api/v1/blockchain/blocks/",
                                          "/api/v1/wallet/a/b",
                                          "/api/v1/wallet//balance",
                                          "/api/wallet/blockchain",
                                          "/healthz/",
                                          "/api/healthz",
                                          "//health",
                                          "/assets/a/b"};
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++) {
        cr_assert_null(find("GET", unknown[i], &area, param, allow), "%s", unknown[i]);
        cr_assert_str_eq(allow, "", "%s", unknown[i]);
    }
    snprintf(longest, sizeof longest, "/api/v1/wallet/%0127d", 7);
    cr_assert(find("GET", longest, &area, param, allow));
    cr_assert_eq(strlen(param), 127);
    snprintf(longest, sizeof longest, "/api/v1/wallet/%0128d", 7);
    cr_assert_null(find("GET", longest, &area, param, allow));
}

Test(routes, methods)
{
    char param[128], allow[64];
    enum area area;
    cr_assert_null(find("DELETE", "/api/v1/blockchain", &area, param, allow));
    cr_assert_str_eq(allow, "GET, HEAD");
    cr_assert_null(find("PUT", "/api/v1/transactions", &area, param, allow));
    cr_assert_str_eq(allow, "GET, HEAD, POST");
    cr_assert_null(find("HEAD", "/api/v1/faucet", &area, param, allow));
    cr_assert_str_eq(allow, "POST");
    cr_assert_null(find("get", "/health", &area, param, allow), "methods have a case");
}

Test(routes, every_write_wants_a_key)
{
    for (const struct route *r = routes; r->method; r++) {
        cr_assert(strcmp(r->method, "GET") == 0 || (strcmp(r->method, "POST") == 0 && r->role != ROLE_NONE),
                  "%s", r->path);
        cr_assert(!(r->flags & ROUTE_CACHED) || strcmp(r->method, "GET") == 0);
    }
}

/* ---- Queries ----------------------------------------------------------------------------------------- */

static enum found in_query(const char *query, int64_t *out)
{
    return query_find(span_of(query, strlen(query)), "page", out, 0, UINT32_MAX);
}

Test(query, numbers)
{
    int64_t out = 5;
    static const char *const absent[] = {"", "pages=3", "limit=3&xpage=4", "page", "&&", "=1"},
                             *const wrong[] = {"page=",           "page=-1",          "page=+1",
                                               "page= 1",         "page=1x",          "page=0x1",
                                               "page=4294967296", "page=99999999999", "page=1&page=x",
                                               "limit=2&page=a"};
    for (size_t i = 0; i < ARRAY_COUNT(absent); i++) {
        cr_assert_eq(in_query(absent[i], &out), FOUND_NOT, "%s", absent[i]);
    }
    cr_assert_eq(out, 5);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        cr_assert_eq(in_query(wrong[i], &out), FOUND_WRONG, "%s", wrong[i]);
    }
    cr_assert_eq(in_query("limit=3&page=4294967295", &out), FOUND);
    cr_assert_eq(out, UINT32_MAX);
    cr_assert_eq(in_query("page=07&limit=x", &out), FOUND);
    cr_assert_eq(out, 7);
}

/* ---- Keys -------------------------------------------------------------------------------------------- */

Test(keys, roles)
{
    struct api *api = mem_alloc(sizeof *api);
    cr_assert_eq(key_role(api, "", 0), ROLE_NONE, "an empty key never matches, also where none is set");
    snprintf(api->admin_key, sizeof api->admin_key, "root");
    snprintf(api->wallet_key, sizeof api->wallet_key, "purse");
    cr_assert_eq(key_role(api, "", 0), ROLE_NONE);
    cr_assert_eq(key_role(api, "root", 4), ROLE_ADMIN);
    cr_assert_eq(key_role(api, "purse", 5), ROLE_WALLET);
    cr_assert_eq(key_role(api, "purs", 4), ROLE_NONE);
    cr_assert_eq(key_role(api, "purse2", 6), ROLE_NONE);
    cr_assert_eq(key_role(api, "Root", 4), ROLE_NONE);
    cr_assert_eq(key_role(api, "root\0x", 6), ROLE_NONE);
    mem_free(api);
}

/* ---- Limits ------------------------------------------------------------------------------------------ */

static struct rng *rng_of_test(void)
{
    static struct rng rng;
    rng_seed_u64(&rng, 1);
    return &rng;
}

Test(limits, burst_then_rate)
{
    struct limits *limits = limits_new(rng_of_test(), 10, 3);
    int64_t now = 1000000000;
    for (int left = 2; left >= 0; left--) {
        struct verdict v = limits_take(limits, "a", now);
        cr_assert(v.allowed && v.remaining == left);
    }
    struct verdict refused = limits_take(limits, "a", now);
    cr_assert(!refused.allowed && refused.retry_after_s == 1);
    cr_assert(limits_take(limits, "b", now).allowed, "everybody has a bucket");
    cr_assert(!limits_take(limits, "a", now + 99000).allowed);
    cr_assert(limits_take(limits, "a", now + 100000).allowed);
    unsigned admitted = 0;
    for (int64_t at = now + 100000; at < now + 10100000; at += 1000) {
        admitted += limits_take(limits, "a", at).allowed;
    }
    cr_assert(admitted >= 99 && admitted <= 101, "%u in ten seconds", admitted);
    cr_assert_eq(limits_take(limits, "a", now + 3600000000).remaining, 2, "no more than the burst gathers");
    limits_free(limits);
}

Test(limits, slow_rates_say_how_long)
{
    struct limits *limits = limits_new(rng_of_test(), 0.1, 1);
    cr_assert(limits_take(limits, "a", 0).allowed);
    struct verdict v = limits_take(limits, "a", 1000000);
    cr_assert(!v.allowed && v.retry_after_s >= 9 && v.retry_after_s <= 10);
    limits_free(limits);
}

Test(redis, addresses)
{
    static const struct {
        const char *text, *user, *password, *host, *shown;
        int port;
    } good[] = {
        {"redis", "", "", "redis", "redis", 6379},
        {"redis:7000", "", "", "redis", "redis:7000", 7000},
        {"[::1]:7000", "", "", "::1", "[::1]:7000", 7000},
        {"[::1]", "", "", "::1", "[::1]", 6379},
        {"unix:/run/redis.sock", "", "", "", "unix:/run/redis.sock", 0},
        {"redis://redis", "", "", "redis", "redis", 6379},
        {"redis://:secret@redis:7000", "", "secret", "redis", "redis:7000", 7000},
        {"redis://web:se%3acr%40et@[::1]", "web", "se:cr@et", "::1", "[::1]", 6379},
        {"redis://web:a@b@redis", "web", "a@b", "redis", "redis", 6379},
    };
    static const char *const wrong[] = {"",
                                        "redis:",
                                        "redis:x",
                                        "redis:70000",
                                        "[::1",
                                        "[::1]x",
                                        ":7000",
                                        "redis://",
                                        "redis://@r",
                                        "redis://secret@",
                                        "redis://secret@re",
                                        "redis://u:%zz@r",
                                        "redis://u:%0@r",
                                        "redis://u:%00@r",
                                        "redis://unix:/x"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        struct redis_address got;
        cr_assert(redis_address_parse(&got, good[i].text, NULL), "%s", good[i].text);
        cr_assert_str_eq(got.user, good[i].user);
        cr_assert_str_eq(got.password, good[i].password);
        cr_assert_str_eq(got.host, good[i].host);
        cr_assert_str_eq(got.shown, good[i].shown);
        cr_assert_eq(got.port, good[i].port);
        mem_free(got.shown);
    }
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct redis_address got;
        struct error error = {0};
        cr_assert_not(redis_address_parse(&got, wrong[i], &error), "%s", wrong[i]);
        cr_assert_null(strstr(error.text, "secret"), "%s", error.text);
    }
}

Test(limits, what_redis_says_is_known)
{
    struct limits *limits = limits_new(rng_of_test(), 10, 100);
    cr_assert_eq(limits_tokens(limits, "a", 0), 100);
    limits_learn(limits, "a", 0, 0);
    cr_assert(!limits_take(limits, "a", 0).allowed, "no second burst");
    cr_assert_eq(limits_tokens(limits, "a", 1000000), 10);
    limits_learn(limits, "a", 1000, 0);
    cr_assert_eq(limits_tokens(limits, "a", 0), 100);
    limits_free(limits);
}

Test(limits, a_flood_of_addresses_is_bounded)
{
    struct limits *limits = limits_new(rng_of_test(), 1, 2);
    unsigned admitted = 0;
    char name[64];
    for (unsigned i = 0; i < 70000; i++) {
        snprintf(name, sizeof name, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        admitted += limits_take(limits, name, 0).allowed;
    }
    cr_assert(admitted >= 65536 && admitted <= 65540, "strangers share one bucket: %u", admitted);
    cr_assert(limits_take(limits, "rested", 10000000).allowed, "those that have rested are forgotten");
    cr_assert_eq(limits_take(limits, "rested", 10000000).remaining, 0);
    limits_free(limits);
}

/* ---- Wallet files ------------------------------------------------------------------------------------ */

Test(wallets, files)
{
    struct api *api = mem_alloc(sizeof *api);
    struct error error = {0};
    struct key key;
    char folder[] = "/tmp/wallets.XXXXXX", path[512];
    static const uint8_t seed[32] = {1};
    wallet_init(seed);
    cr_assert(mkdtemp(folder));
    cr_assert(chain_params_init(&api->params, CHAIN_REGTEST, NULL, NULL));
    api->wallet_dir = mem_strdup(folder);
    json_t *made = wallet_create(api, "Ersparnisse", &error);
    cr_assert(made, "%s", error.text);
    const char *address = json_string_value(json_object_get(made, "address"));
    snprintf(path, sizeof path, "%s/%s.wallet", folder, address);
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600);
    json_t *shown = wallet_show(api, address), *list = wallet_list(api);
    cr_assert(json_equal(shown, made));
    cr_assert_eq(json_array_size(list), 1);
    cr_assert_str_eq(json_string_value(json_array_get(list, 0)), address);
    cr_assert(wallet_key_of(api, address, &key));
    cr_assert_not(wallet_key_of(api, "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202", &key));
    static const char *const wrong[] = {"", "..", "../x", "/etc/passwd", "bcrt1q/../x", "BCRT1Q"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        cr_assert_null(wallet_show(api, wrong[i]), "%s", wrong[i]);
    }
    char other[512];
    snprintf(other, sizeof other, "%s/bcrt1qother.wallet", folder);
    cr_assert_eq(rename(path, other), 0);
    cr_assert_null(wallet_show(api, "bcrt1qother"), "a file holds the wallet that its name says");
    json_decref(made);
    json_decref(shown);
    json_decref(list);
    unlink(other);
    rmdir(folder);
    mem_free(api->wallet_dir);
    chain_params_free(&api->params);
    mem_free(api);
}

/* ---- Answers ----------------------------------------------------------------------------------------- */

Test(replies, errors_are_json_whatever_they_repeat)
{
    static const char *const sentences[] = {"plain", "with \"quotes\"\n", "no UTF-8 \xff\xfe", ""};
    for (size_t i = 0; i < ARRAY_COUNT(sentences); i++) {
        struct buf out = {0};
        put_error(&out, "some_code", sentences[i]);
        json_t *body = json_loadb((const char *)out.data, out.len, 0, NULL);
        cr_assert(body);
        cr_assert(json_is_false(json_object_get(body, "success")) &&
                  json_is_null(json_object_get(body, "data")));
        cr_assert_str_eq(json_string_value(json_object_get(body, "code")), "some_code");
        cr_assert(json_is_string(json_object_get(body, "error")));
        json_decref(body);
        buf_free(&out);
    }
    char text[40];
    put_timestamp(text, INT64_C(1700000000123456));
    cr_assert_str_eq(text, "2023-11-14T22:13:20.123Z");
}

/* ---- JSON-RPC ---------------------------------------------------------------------------------------- */

static int status(const char *reply)
{
    return rpc_status(span_of(reply, strlen(reply)));
}

Test(rpc, statuses)
{
    cr_assert_eq(status("{\"result\":5,\"error\":null,\"id\":1}"), 200);
    cr_assert_eq(status("{\"result\":null,\"error\":null,\"id\":1}"), 200);
    cr_assert_eq(status("{\"result\":null,\"error\":{\"code\":-32600,\"message\":\"\"},\"id\":1}"), 400);
    cr_assert_eq(status("{\"result\":null,\"error\":{\"code\":-32601,\"message\":\"\"},\"id\":1}"), 404);
    cr_assert_eq(status("{\"result\":null,\"error\":{\"code\":-32700,\"message\":\"\"},\"id\":1}"), 500);
    cr_assert_eq(status("{\"result\":null,\"error\":{\"code\":-8,\"message\":\"\"},\"id\":1}"), 500);
    cr_assert_eq(status("{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-8,\"message\":\"\"},\"id\":1}"), 200);
    cr_assert_eq(status("[{\"result\":null,\"error\":{\"code\":-8,\"message\":\"\"},\"id\":1}]"), 200);
    cr_assert_eq(status(""), 204);
}

/* HMAC-SHA256("salt", "pass:word"), computed by another program. */
Test(rpc, rpcauth)
{
    static const char real[] = "bob:salt$d0a846657404cdd479f61e9f3e229188325dcf1d736988e49df31050b9c93695";
    cr_assert(rpc_auth_matches(real, "bob:pass:word", 13));
    cr_assert_not(rpc_auth_matches(real, "bob:pass:worD", 13));
    cr_assert_not(rpc_auth_matches(real, "bob:", 4));
    cr_assert_not(rpc_auth_matches(real, "bob", 3));
    cr_assert_not(rpc_auth_matches(real, "bo:pass:word", 12));
    cr_assert_not(rpc_auth_matches("bob:salt$", "bob:pass:word", 13));
    cr_assert_not(rpc_auth_matches("bob:nodollar", "bob:pass:word", 13));
}

static bool holds(const char *subnet_text, const char *address_text)
{
    struct subnet subnet;
    uint8_t address[16] = {[10] = 0xff, [11] = 0xff};
    cr_assert(client_subnet_parse(&subnet, subnet_text), "%s", subnet_text);
    if (inet_pton(AF_INET, address_text, address + 12) != 1) {
        cr_assert_eq(inet_pton(AF_INET6, address_text, address), 1);
    }
    return subnet_holds(&subnet, address);
}

Test(rpc, subnets)
{
    struct subnet subnet;
    static const char *const wrong[] = {"",       "/8",       "10.0.0.0/",   "10.0.0.0/33",
                                        "::/129", "10.0.0/8", "10.0.0.0/8x", "a"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        cr_assert_not(client_subnet_parse(&subnet, wrong[i]), "%s", wrong[i]);
    }
    cr_assert(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
    cr_assert(holds("192.168.1.77", "192.168.1.77") && !holds("192.168.1.77", "192.168.1.78"));
    cr_assert(holds("10.0.0.128/25", "10.0.0.255") && !holds("10.0.0.128/25", "10.0.0.127"));
    cr_assert(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "2001:db8::1"));
    cr_assert(holds("::/0", "1.2.3.4") && holds("2001:db8::/32", "2001:db8:1::5"));
    cr_assert(holds("::1", "::1") && !holds("::1", "::2"));
}
