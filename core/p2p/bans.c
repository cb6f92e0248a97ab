/* Addresses and subnets that an operator does not want to hear from (setban). Misbehaviour is no ban: it ends
 * the connection and no more. Kept in memory only. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/p2p/p2p_private.h"

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool parse_ip(uint8_t out[16], const char *text)
{
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, text, out + 12) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

/* The bits of a netmask; false when they are not all at its front. */
static bool mask_bits(uint32_t *bits, const uint8_t mask[16])
{
    for (*bits = 96; *bits < 128 && mask[*bits / 8] & (0x80 >> *bits % 8);) {
        ++*bits;
    }
    for (uint32_t i = *bits; i < 128; i++) {
        if (mask[i / 8] & (0x80 >> i % 8)) {
            return false;
        }
    }
    return true;
}

static bool parse_bits(uint32_t *bits, const char *text, bool ipv4)
{
    uint8_t mask[16];
    char *end;
    if (ipv4 && strchr(text, '.')) {
        return parse_ip(mask, text) && memcmp(mask, mapped, sizeof mapped) == 0 && mask_bits(bits, mask);
    }
    unsigned long number = strtoul(text, &end, 10);
    *bits = (uint32_t)MIN(number, 1000ul) + (ipv4 ? 96 : 0);
    return *text >= '0' && *text <= '9' && !*end && *bits <= 128;
}

/* ADDRESS, ADDRESS/BITS or, IPv4, ADDRESS/NETMASK. */
static bool parse_subnet(struct ban *out, const char *text)
{
    char ip[64];
    size_t len = strcspn(text, "/");
    if (len >= sizeof ip) {
        return false;
    }
    snprintf(ip, sizeof ip, "%.*s", (int)len, text);
    *out = (struct ban){.bits = 128};
    if (!parse_ip(out->ip, ip) ||
        (text[len] && !parse_bits(&out->bits, text + len + 1, !memcmp(out->ip, mapped, sizeof mapped)))) {
        return false;
    }
    for (uint32_t i = out->bits; i < 128; i++) {
        out->ip[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
    }
    return true;
}

static bool covers(const struct ban *ban, const uint8_t ip[16])
{
    for (uint32_t i = 0; i < ban->bits; i++) {
        if ((ban->ip[i / 8] ^ ip[i / 8]) & (0x80 >> i % 8)) {
            return false;
        }
    }
    return true;
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

static bool is_banned_ip(const struct p2p *p2p, const uint8_t ip[16])
{
    for (size_t i = 0; i < p2p->ban_count; i++) {
        if (p2p->bans[i].until_unix_s > moment_unix_s(p2p->now) && covers(&p2p->bans[i], ip)) {
            return true;
        }
    }
    return false;
}

/* Of "IP:PORT" or "[IP]:PORT". */
static bool parse_address(uint8_t ip[16], const char *address)
{
    char text[80];
    snprintf(text, sizeof text, "%s", address + (*address == '['));
    char *end = *address == '[' ? strchr(text, ']') : strrchr(text, ':');
    if (end) {
        *end = 0;
    }
    return parse_ip(ip, text);
}

bool ban_covers(const struct p2p *p2p, const char *address)
{
    uint8_t ip[16];
    return p2p->ban_count && parse_address(ip, address) && is_banned_ip(p2p, ip);
}

bool p2p_ban(struct p2p *p2p, const char *subnet, int64_t until_unix_s, struct moment now,
             struct error *error)
{
    struct ban ban;
    p2p->now = now;
    drop_past(p2p);
    if (!parse_subnet(&ban, subnet)) {
        return error_set(error, ERROR_PARSE, NULL, "Error: Invalid IP/Subnet");
    }
    bool known = !strchr(subnet, '/') && is_banned_ip(p2p, ban.ip);
    for (size_t i = 0; i < p2p->ban_count; i++) {
        known |= p2p->bans[i].bits == ban.bits && memcmp(p2p->bans[i].ip, ban.ip, 16) == 0;
    }
    if (known) {
        return error_set(error, ERROR_DUPLICATE, NULL, "Error: IP/Subnet already banned");
    }
    if (p2p->ban_count == P2P_BANS_MAX) {
        return error_set(error, ERROR_LIMIT, NULL, "Error: more than %u bans", P2P_BANS_MAX);
    }
    ban.created_unix_s = moment_unix_s(now);
    ban.until_unix_s = until_unix_s;
    p2p->bans[p2p->ban_count++] = ban;
    LIST_EACH_SAFE(at, following, &p2p->peers)
    {
        struct peer *peer = CONTAINER_OF(at, struct peer, link);
        if (peer->open && ban_covers(p2p, peer->address)) {
            peer_close(p2p, peer, LOG_INFO, "banned by setban");
        }
    }
    return true;
}

bool p2p_unban(struct p2p *p2p, const char *subnet, struct error *error)
{
    struct ban ban;
    if (!parse_subnet(&ban, subnet)) {
        return error_set(error, ERROR_PARSE, NULL, "Error: Invalid IP/Subnet");
    }
    for (size_t i = 0; i < p2p->ban_count; i++) {
        if (p2p->bans[i].bits == ban.bits && memcmp(p2p->bans[i].ip, ban.ip, 16) == 0) {
            p2p->bans[i] = p2p->bans[--p2p->ban_count];
            return true;
        }
    }
    return error_set(error, ERROR_MISSING, NULL,
                     "Error: Unban failed. Requested address/subnet was not previously manually banned.");
}

void p2p_unban_all(struct p2p *p2p)
{
    p2p->ban_count = 0;
}

size_t p2p_bans(struct p2p *p2p, struct p2p_ban_info *out, size_t max, struct moment now)
{
    p2p->now = now;
    drop_past(p2p);
    size_t count = MIN(p2p->ban_count, max);
    for (size_t i = 0; i < count; i++) {
        const struct ban *ban = &p2p->bans[i];
        bool ipv4 = ban->bits >= 96 && memcmp(ban->ip, mapped, sizeof mapped) == 0;
        char ip[INET6_ADDRSTRLEN] = "";
        inet_ntop(ipv4 ? AF_INET : AF_INET6, ban->ip + (ipv4 ? 12 : 0), ip, sizeof ip);
        snprintf(out[i].subnet, sizeof out->subnet, "%s/%u", ip, ban->bits - (ipv4 ? 96 : 0));
        out[i].created_unix_s = ban->created_unix_s;
        out[i].until_unix_s = ban->until_unix_s;
    }
    return count;
}
