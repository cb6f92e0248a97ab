/* The table of routes, finding one, and the OpenAPI page that is made from the table. */
#include <stdio.h>

#include "api/api_private.h"

#define BOTH   (AREA_V1 | AREA_ADMIN)
#define PAY    (AREA_V1 | AREA_ADMIN | AREA_WALLET)
#define PROBES (AREA_ROOT | AREA_API | AREA_V1 | AREA_ADMIN)

const struct route routes[] = {
    {"GET", "/health", PROBES, ROLE_NONE, SERVE_HEALTH, ROUTE_EXEMPT, show_health, "Health",
     "State of node and server", NULL},
    {"GET", "/health/live", PROBES, ROLE_NONE, SERVE_HEALTH, ROUTE_EXEMPT, show_live, "Health",
     "The server runs", NULL},
    {"GET", "/health/liveness", PROBES, ROLE_NONE, SERVE_HEALTH, ROUTE_EXEMPT, show_live, "Health",
     "The server runs", NULL},
    {"GET", "/health/ready", PROBES, ROLE_NONE, SERVE_HEALTH, ROUTE_EXEMPT, show_ready, "Health",
     "The node is usable", NULL},
    {"GET", "/health/readiness", PROBES, ROLE_NONE, SERVE_HEALTH, ROUTE_EXEMPT, show_ready, "Health",
     "The node is usable", NULL},
    {"GET", "/healthz", AREA_ROOT, ROLE_NONE, SERVE_HEALTH, ROUTE_EXEMPT, show_live, "Health",
     "The server runs", NULL},
    {"GET", "/readyz", AREA_ROOT, ROLE_NONE, SERVE_HEALTH, ROUTE_EXEMPT, show_ready, "Health",
     "The node is usable", NULL},
    {"GET", "/metrics", AREA_ROOT, ROLE_NONE, SERVE_METRICS, ROUTE_EXEMPT, show_metrics, "Health",
     "Prometheus metrics", NULL},
    {"GET", "/blockchain", BOTH, ROLE_NONE, SERVE_REST, ROUTE_CACHED, show_blockchain, "Blockchain",
     "State of the chain", NULL},
    {"GET", "/blockchain/blocks", BOTH, ROLE_NONE, SERVE_REST, ROUTE_CACHED, show_blocks, "Blockchain",
     "Blocks by page, from 0, newest first", NULL},
    {"GET", "/blockchain/blocks/latest", BOTH, ROLE_NONE, SERVE_REST, ROUTE_CACHED, show_latest_blocks,
     "Blockchain", "The newest blocks", NULL},
    {"GET", "/blockchain/blocks/{hash}", BOTH, ROLE_NONE, SERVE_REST, ROUTE_CACHED, show_block, "Blockchain",
     "One block", NULL},
    {"GET", "/transactions", BOTH, ROLE_NONE, SERVE_REST, ROUTE_CACHED, show_transactions, "Transaction",
     "Confirmed transactions by page, from 1, newest first", NULL},
    {"POST", "/transactions", PAY, ROLE_WALLET, SERVE_REST, 0, send_payment, "Transaction",
     "Pay from a wallet of this server",
     "\"from_address\":{\"type\":\"string\"},\"to_address\":{\"type\":\"string\"},\"amount\":{\"type\":"
     "\"integer\",\"format\":\"int64\",\"minimum\":1}"},
    {"GET", "/transactions/mempool", BOTH, ROLE_NONE, SERVE_REST, ROUTE_CACHED, show_mempool, "Transaction",
     "Transactions that no block has yet", NULL},
    {"GET", "/transactions/mempool/{txid}", BOTH, ROLE_NONE, SERVE_REST, 0, show_mempool_tx, "Transaction",
     "One of them", NULL},
    {"GET", "/transactions/address/{address}", BOTH, ROLE_NONE, SERVE_REST, 0, show_address_transactions,
     "Transaction", "History of an address by page, from 1", NULL},
    {"POST", "/wallet", PAY, ROLE_WALLET, SERVE_REST, 0, create_wallet, "Wallet", "A new wallet",
     "\"name\":{\"type\":\"string\",\"maxLength\":100}"},
    {"GET", "/wallet/addresses", BOTH, ROLE_NONE, SERVE_REST, 0, list_wallets, "Wallet",
     "Addresses of all wallets", NULL},
    {"GET", "/wallet/{address}", BOTH, ROLE_NONE, SERVE_REST, 0, show_wallet, "Wallet", "One wallet", NULL},
    {"GET", "/wallet/{address}/balance", BOTH, ROLE_NONE, SERVE_REST, 0, show_balance, "Wallet",
     "What an address owns", NULL},
    {"GET", "/mining/info", BOTH, ROLE_NONE, SERVE_REST, ROUTE_CACHED, show_mining, "Mining",
     "State of mining", NULL},
    {"POST", "/mining/generatetoaddress", BOTH, ROLE_ADMIN, SERVE_REST, 0, generate_blocks, "Mining",
     "Mine blocks to an address",
     "\"nblocks\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000},\"address\":{\"type\":\"string\"},"
     "\"maxtries\":{\"type\":\"integer\"}"},
    {"POST", "/faucet", BOTH, ROLE_WALLET, SERVE_REST, ROUTE_FAUCET, pay_from_faucet, "Wallet",
     "Development: coins from the purse",
     "\"address\":{\"type\":\"string\"},\"amount\":{\"type\":\"integer\",\"format\":\"int64\"}"},
    {"GET", "/api-docs/openapi.json", AREA_ROOT, ROLE_NONE, SERVE_REST, 0, openapi, "Health",
     "This description", NULL},
    {"GET", "/", AREA_ROOT, ROLE_NONE, SERVE_WEB, 0, show_page, "Health", "The page", NULL},
    {"GET", "/assets/{name}", AREA_ROOT, ROLE_NONE, SERVE_WEB, 0, show_page, "Health", "Files of the page",
     NULL},
    {0},
};

static const struct {
    const char *prefix;
    enum area area;
} areas[] = {{"/api/v1", AREA_V1},
             {"/api/admin", AREA_ADMIN},
             {"/api/wallet", AREA_WALLET},
             {"/api", AREA_API},
             {"", AREA_ROOT}};

/* Whether the rest of a path is this pattern; the {name} segment's text goes to param. */
static bool matches(const char *pattern, const char *path, size_t len, char param[128])
{
    size_t at = 0;
    *param = 0;
    for (; *pattern; pattern++) {
        if (*pattern == '{') {
            size_t start = at;
            while (at < len && path[at] != '/') {
                at++;
            }
            if (at == start || at - start > 127) {
                return false;
            }
            snprintf(param, 128, "%.*s", (int)(at - start), path + start);
            pattern = strchr(pattern, '}');
        } else if (at >= len || path[at++] != *pattern) {
            return false;
        }
    }
    return at == len;
}

const struct route *route_find(const char *method, size_t method_len, const char *path, size_t path_len,
                               enum area *area, char param[128], char allow[64])
{
    size_t prefix_len = 0;
    *allow = 0;
    for (size_t i = 0; i < ARRAY_COUNT(areas); i++) {
        prefix_len = strlen(areas[i].prefix);
        *area = areas[i].area;
        if (path_len >= prefix_len && memcmp(path, areas[i].prefix, prefix_len) == 0 &&
            (path_len == prefix_len || path[prefix_len] == '/' || !prefix_len)) {
            break;
        }
    }
    bool head = method_len == 4 && memcmp(method, "HEAD", 4) == 0;
    for (const struct route *r = routes; r->method; r++) {
        if (!(r->areas & *area) || !matches(r->path, path + prefix_len, path_len - prefix_len, param)) {
            continue;
        }
        bool get = strcmp(r->method, "GET") == 0;
        if ((head && get) ||
            (strlen(r->method) == method_len && memcmp(method, r->method, method_len) == 0)) {
            return r;
        }
        size_t used = strlen(allow);
        snprintf(allow + used, 64 - used, "%s%s", used ? ", " : "", get ? "GET, HEAD" : r->method);
    }
    return NULL;
}

void openapi(struct exchange *x)
{
    struct buf out = {0};
    buf_printf(&out, "{\"openapi\":\"3.0.3\",\"info\":{\"title\":\"Blockchain API\",\"version\":\"0.1.0\"},"
                     "\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"apiKey\",\"in\":\"header\","
                     "\"name\":\"X-API-Key\"}}},"
                     "\"paths\":{");
    const char *comma = "";
    for (const struct route *r = routes; r->method; r++) {
        const char *prefix = r->areas & AREA_ROOT ? "" : "/api/v1";
        bool again = r > routes && strcmp(r[-1].path, r->path) == 0;
        if (again) { /* the other method of the same path */
            out.len--;
            buf_printf(&out, ",");
        } else {
            buf_printf(&out, "%s\"%s%s\":{", comma, prefix, r->path);
        }
        buf_printf(&out, "\"%s\":{\"tags\":[\"%s\"],\"summary\":\"%s\"",
                   strcmp(r->method, "GET") == 0 ? "get" : "post", r->tag, r->summary);
        const char *brace = strchr(r->path, '{');
        if (brace) {
            buf_printf(&out,
                       ",\"parameters\":[{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{"
                       "\"type\":\"string\"}}]",
                       (int)strcspn(brace + 1, "}"), brace + 1);
        }
        if (r->role != ROLE_NONE) {
            buf_printf(&out, ",\"security\":[{\"key\":[]}]");
        }
        if (r->body) {
            buf_printf(&out,
                       ",\"requestBody\":{\"required\":true,\"content\":{\"application/"
                       "json\":{\"schema\":{\"type\":\"object\","
                       "\"properties\":{%s}}}}}",
                       r->body);
        }
        buf_printf(&out, ",\"responses\":{\"200\":{\"description\":\"the envelope with data\"},"
                         "\"default\":{\"description\":\"the envelope with error and code\"}}}}");
        comma = ",";
    }
    buf_printf(&out, "}}");
    reply_text(x, 200, "application/json", out.data, out.len);
    buf_free(&out);
}
