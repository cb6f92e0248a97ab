/* Addresses and subnets that an operator does not want to hear from (setban). Misbehaviour is no ban: it ends
 * the connection and no more. core/node keeps the list on disk. */
#include <stdlib.h>

#include "core/p2p/p2p_private.h"

/* IPv4 first, then by address, the wider subnet first: the order in which Bitcoin Core lists them. */
static int by_subnet(const void *a, const void *b)
{
    const struct subnet *x = &((const struct ban *)a)->subnet, *y = &((const struct ban *)b)->subnet;
    if (ip_is_v4(x->ip) != ip_is_v4(y->ip)) {
        return ip_is_v4(x->ip) ? -1 : 1;
    }
    int order = memcmp(x->ip, y->ip, sizeof x->ip);
    return order ? order : (x->bits > y->bits) - (x->bits < y->bits);
}

static void drop_past(struct p2p *p2p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p2p->ban_count; i++) {
        if (p2p->bans[i].until_unix_s > moment_unix_s(p2p->now)) {
            p2p->bans[kept++] = p2p->bans[i];
        }
    }
    p2p->ban_count = kept;
}

bool ban_covers(const struct p2p *p2p, const uint8_t ip[16])
{
    for (size_t i = 0; i < p2p->ban_count; i++) {
        if (p2p->bans[i].until_unix_s > moment_unix_s(p2p->now) && subnet_covers(&p2p->bans[i].subnet, ip)) {
            return true;
        }
    }
    return false;
}

static struct ban *find(struct p2p *p2p, const struct subnet *subnet)
{
    for (size_t i = 0; i < p2p->ban_count; i++) {
        const struct subnet *known = &p2p->bans[i].subnet;
        if (known->bits == subnet->bits && memcmp(known->ip, subnet->ip, 16) == 0) {
            return &p2p->bans[i];
        }
    }
    return NULL;
}

static bool add(struct p2p *p2p, const struct ban *ban, struct error *error)
{
    if (p2p->ban_count == P2P_BANS_MAX) {
        return error_set(error, ERROR_LIMIT, NULL, "Error: more than %u bans", P2P_BANS_MAX);
    }
    p2p->bans[p2p->ban_count++] = *ban;
    return true;
}

bool p2p_ban(struct p2p *p2p, const char *subnet, int64_t until_unix_s, struct moment now,
             struct error *error)
{
    struct ban ban = {.created_unix_s = moment_unix_s(now), .until_unix_s = until_unix_s};
    p2p->now = now;
    drop_past(p2p);
    if (!subnet_parse(&ban.subnet, subnet)) {
        return error_set(error, ERROR_PARSE, NULL, "Error: Invalid IP/Subnet");
    }
    if (find(p2p, &ban.subnet) || (!strchr(subnet, '/') && ban_covers(p2p, ban.subnet.ip))) {
        return error_set(error, ERROR_DUPLICATE, NULL, "Error: IP/Subnet already banned");
    }
    if (!add(p2p, &ban, error)) {
        return false;
    }
    LIST_EACH_SAFE(at, following, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->open && peer->has_endpoint && subnet_covers(&ban.subnet, peer->endpoint.ip)) {
            peer_close(p2p, peer, LOG_INFO, "banned by setban");
        }
    }
    return true;
}

bool p2p_restore_ban(struct p2p *p2p, const struct p2p_ban_info *info)
{
    struct ban ban = {.created_unix_s = info->created_unix_s, .until_unix_s = info->until_unix_s};
    return subnet_parse(&ban.subnet, info->subnet) && !find(p2p, &ban.subnet) && add(p2p, &ban, NULL);
}

bool p2p_unban(struct p2p *p2p, const char *subnet, struct error *error)
{
    struct subnet wanted;
    if (!subnet_parse(&wanted, subnet)) {
        return error_set(error, ERROR_PARSE, NULL, "Error: Invalid IP/Subnet");
    }
    struct ban *ban = find(p2p, &wanted);
    if (!ban) {
        return error_set(error, ERROR_MISSING, NULL,
                         "Error: Unban failed. Requested address/subnet was not previously manually banned.");
    }
    *ban = p2p->bans[--p2p->ban_count];
    return true;
}

void p2p_unban_all(struct p2p *p2p)
{
    p2p->ban_count = 0;
}

size_t p2p_bans(struct p2p *p2p, struct p2p_ban_info *out, size_t max, struct moment now)
{
    p2p->now = now;
    drop_past(p2p);
    qsort(p2p->bans, p2p->ban_count, sizeof *p2p->bans, by_subnet);
    size_t count = MIN(p2p->ban_count, max);
    for (size_t i = 0; i < count; i++) {
        subnet_text(out[i].subnet, &p2p->bans[i].subnet);
        out[i].created_unix_s = p2p->bans[i].created_unix_s;
        out[i].until_unix_s = p2p->bans[i].until_unix_s;
    }
    return count;
}
