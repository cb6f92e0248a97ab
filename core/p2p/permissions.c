/* What the operator lets known peers do (--whitelist), and from where peers may connect at all (--p2p-allow).
 */
#include <stdio.h>

#include "core/p2p/p2p_private.h"

static const struct {
    const char *name;
    uint32_t flags;
} names[] = {
    {"noban", P2P_PERMIT_NOBAN | P2P_PERMIT_DOWNLOAD},
    {"forcerelay", P2P_PERMIT_FORCERELAY | P2P_PERMIT_RELAY},
    {"relay", P2P_PERMIT_RELAY},
    {"mempool", P2P_PERMIT_MEMPOOL},
    {"download", P2P_PERMIT_DOWNLOAD},
    {"addr", P2P_PERMIT_ADDR},
    {"all", P2P_PERMIT_ALL},
};
#define IMPLICIT (P2P_PERMIT_NOBAN | P2P_PERMIT_RELAY | P2P_PERMIT_MEMPOOL | P2P_PERMIT_DOWNLOAD)

static bool add_word(struct permit *permit, const char *word, size_t len, struct error *error)
{
    if (len == 2 && memcmp(word, "in", 2) == 0) {
        permit->inbound = true;
        return true;
    }
    if (len == 3 && memcmp(word, "out", 3) == 0) {
        permit->outbound = true;
        return true;
    }
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strlen(names[i].name) == len && memcmp(word, names[i].name, len) == 0) {
            permit->permissions |= names[i].flags;
            return true;
        }
    }
    return error_set(error, ERROR_USAGE, NULL,
                     "whitelist: '%.*s' is no permission: allowed are noban, forcerelay, relay, mempool, "
                     "download, addr, all, in, out",
                     (int)MIN(len, (size_t)60), word);
}

bool p2p_whitelist(struct p2p *p2p, const char *text, struct error *error)
{
    struct permit permit = {0};
    const char *at = strchr(text, '@'), *net = at ? at + 1 : text;
    for (const char *word = text; at && word < at;) {
        size_t len = strcspn(word, ",@");
        if (len && !add_word(&permit, word, len, error)) {
            return false;
        }
        word += len + 1;
    }
    permit.permissions = at ? permit.permissions : IMPLICIT;
    permit.inbound |= !permit.outbound;
    if (!subnet_parse(&permit.subnet, net)) {
        return error_set(error, ERROR_USAGE, NULL,
                         "whitelist: '%.80s' is not [PERMISSIONS@]IP or [PERMISSIONS@]IP/BITS", text);
    }
    if (p2p->permit_count == PERMITS_MAX) {
        return error_set(error, ERROR_USAGE, NULL, "whitelist: more than %u", PERMITS_MAX);
    }
    p2p->permits[p2p->permit_count++] = permit;
    return true;
}

bool p2p_allow(struct p2p *p2p, const char *text, struct error *error)
{
    struct subnet subnet;
    if (!subnet_parse(&subnet, text)) {
        return error_set(error, ERROR_USAGE, NULL, "p2p-allow is '%.80s': IP or IP/BITS is wanted", text);
    }
    if (p2p->allowed_count == P2P_ALLOWED_MAX) {
        return error_set(error, ERROR_USAGE, NULL, "p2p-allow: more than %u", P2P_ALLOWED_MAX);
    }
    p2p->allowed[p2p->allowed_count++] = subnet;
    return true;
}

void permissions_give(const struct p2p *p2p, struct peer *peer)
{
    peer->permissions = 0;
    for (size_t i = 0; peer->has_endpoint && i < p2p->permit_count; i++) {
        const struct permit *permit = &p2p->permits[i];
        if ((peer->inbound ? permit->inbound : permit->outbound) &&
            subnet_covers(&permit->subnet, peer->endpoint.ip)) {
            peer->permissions |= permit->permissions;
        }
    }
}

bool permissions_allow(const struct p2p *p2p, const struct peer *peer)
{
    if (!p2p->allowed_count || ip_is_loopback(peer->endpoint.ip)) {
        return true;
    }
    for (size_t i = 0; peer->has_endpoint && i < p2p->allowed_count; i++) {
        if (subnet_covers(&p2p->allowed[i], peer->endpoint.ip)) {
            return true;
        }
    }
    return false;
}

const char *p2p_permission_name(uint32_t flag)
{
    switch (flag) {
    case P2P_PERMIT_NOBAN: return "noban";
    case P2P_PERMIT_FORCERELAY: return "forcerelay";
    case P2P_PERMIT_RELAY: return "relay";
    case P2P_PERMIT_MEMPOOL: return "mempool";
    case P2P_PERMIT_DOWNLOAD: return "download";
    case P2P_PERMIT_ADDR: return "addr";
    default: return "";
    }
}
