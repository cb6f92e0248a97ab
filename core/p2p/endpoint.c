/* Where somebody is: an IP address and a port, as text and back; subnets; and which addresses are likely to
 * be in one hand (netgroups). Places in overlays (Tor, I2P, CJDNS) as text. No names: those are resolved by
 * the host. */
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/p2p/p2p_private.h"

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ip_is_v4(const uint8_t ip[16])
{
    return memcmp(ip, mapped, sizeof mapped) == 0;
}

void ip_from_v4(uint8_t ip[16], const uint8_t v4[4])
{
    memcpy(ip, mapped, sizeof mapped);
    memcpy(ip + 12, v4, 4);
}

bool ip_parse(uint8_t ip[16], const char *text)
{
    char plain[IP_TEXT];
    size_t len = strcspn(text, "%"); /* fe80::1%eth0 */
    if (len >= sizeof plain) {
        return false;
    }
    snprintf(plain, sizeof plain, "%.*s", (int)len, text);
    memcpy(ip, mapped, sizeof mapped);
    return inet_pton(AF_INET, plain, ip + 12) == 1 || inet_pton(AF_INET6, plain, ip) == 1;
}

void ip_text(char out[IP_TEXT], const uint8_t ip[16])
{
    bool v4 = ip_is_v4(ip);
    *out = 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, ip + (v4 ? 12 : 0), out, IP_TEXT);
}

bool endpoint_parse(struct endpoint *out, const char *text)
{
    char ip[80];
    bool bracket = *text == '[';
    const char *colon = strrchr(text, ':'), *end = bracket ? strchr(text, ']') : colon;
    *out = (struct endpoint){0};
    if (!end || !colon || (bracket ? end + 1 != colon : strchr(text, ':') != colon) ||
        (size_t)(end - text) >= sizeof ip) {
        return false;
    }
    snprintf(ip, sizeof ip, "%.*s", (int)(end - text - bracket), text + bracket);
    char *rest;
    unsigned long port = strtoul(colon + 1, &rest, 10);
    out->port = (uint16_t)port;
    return colon[1] >= '0' && colon[1] <= '9' && !*rest && port <= UINT16_MAX && ip_parse(out->ip, ip);
}

void endpoint_text(char out[ENDPOINT_TEXT], const struct endpoint *endpoint)
{
    char ip[IP_TEXT];
    ip_text(ip, endpoint->ip);
    snprintf(out, ENDPOINT_TEXT, ip_is_v4(endpoint->ip) ? "%s:%u" : "[%s]:%u", ip, endpoint->port);
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    return memcmp(a->ip, b->ip, 16) == 0 && a->port == b->port;
}

/* ---- Subnets ------------------------------------------------------------------------------------------- */

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
        return ip_parse(mask, text) && ip_is_v4(mask) && mask_bits(bits, mask);
    }
    unsigned long number = strtoul(text, &end, 10);
    *bits = (uint32_t)MIN(number, 1000ul) + (ipv4 ? 96 : 0);
    return *text >= '0' && *text <= '9' && !*end && *bits <= 128;
}

bool subnet_parse(struct subnet *out, const char *text)
{
    char ip[64];
    size_t len = strcspn(text, "/");
    if (len >= sizeof ip) {
        return false;
    }
    snprintf(ip, sizeof ip, "%.*s", (int)len, text);
    *out = (struct subnet){.bits = 128};
    if (!ip_parse(out->ip, ip) || (text[len] && !parse_bits(&out->bits, text + len + 1, ip_is_v4(out->ip)))) {
        return false;
    }
    for (uint32_t i = out->bits; i < 128; i++) {
        out->ip[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
    }
    return true;
}

void subnet_text(char out[SUBNET_TEXT], const struct subnet *subnet)
{
    char ip[IP_TEXT];
    bool ipv4 = subnet->bits >= 96 && ip_is_v4(subnet->ip);
    ip_text(ip, subnet->ip);
    snprintf(out, SUBNET_TEXT, "%s/%u", ip, subnet->bits - (ipv4 ? 96 : 0));
}

bool subnet_covers(const struct subnet *subnet, const uint8_t ip[16])
{
    uint32_t whole = subnet->bits / 8, rest = subnet->bits % 8;
    return memcmp(subnet->ip, ip, whole) == 0 &&
           (!rest || ((subnet->ip[whole] ^ ip[whole]) & (0xff00 >> rest) & 0xff) == 0);
}

/* ---- Kinds of addresses ------------------------------------------------------------------------------ */

static const uint8_t nowhere[16], loopback_v6[16] = {[15] = 1};
static const uint8_t onion_v6[6] = {0xfd, 0x87, 0xd8,
                                    0x7e, 0xeb, 0x43}; /* OnionCat: Tor's version 2 in addr */

bool ip_is_loopback(const uint8_t ip[16])
{
    return ip_is_v4(ip) ? ip[12] == 127 : memcmp(ip, loopback_v6, 16) == 0;
}

bool ip_is_local(const uint8_t ip[16])
{
    const uint8_t *v4 = ip + 12;
    if (ip_is_loopback(ip)) {
        return true;
    }
    if (!ip_is_v4(ip)) { /* RFC 4193, 4291 */
        return (ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
    }
    return v4[0] == 10 || (v4[0] == 172 && (v4[1] & 0xf0) == 16) || (v4[0] == 192 && v4[1] == 168) ||
           (v4[0] == 169 && v4[1] == 254) ||
           (v4[0] == 100 && (v4[1] & 0xc0) == 64); /* RFC 1918, 3927, 6598 */
}

bool ip_is_host(const uint8_t ip[16])
{
    return ip_is_v4(ip) ? ip[12] != 0 && ip[12] < 224
                        : ip[0] != 0xff && memcmp(ip, nowhere, 16) != 0 && memcmp(ip, onion_v6, 6) != 0;
}

/* What one owner is likely to have many of: IPv4 by /16, IPv6 by /32. On a network of one's own every machine
 * stands for itself. */
uint64_t netgroup_of(const struct p2p *p2p, const uint8_t ip[16])
{
    size_t len = ip_is_local(ip) ? 16 : ip_is_v4(ip) ? 14 : 4;
    return siphash_2_4(p2p->group_key, ip, len);
}

/* ---- Places, also in overlays ------------------------------------------------------------------------ */

size_t network_bytes(uint8_t network)
{
    static const uint8_t bytes[] = {[NETWORK_IPV4] = 4,
                                    [NETWORK_IPV6] = 16,
                                    [NETWORK_TOR] = 32,
                                    [NETWORK_I2P] = 32,
                                    [NETWORK_CJDNS] = 16};
    return network < ARRAY_COUNT(bytes) ? bytes[network] : 0;
}

uint8_t place_network(const struct place *place)
{
    return place->overlay ? place->overlay : ip_is_v4(place->at.ip) ? NETWORK_IPV4 : NETWORK_IPV6;
}

bool place_can_be(const struct place *place)
{
    switch (place->overlay) {
    case 0: return place->at.port && ip_is_host(place->at.ip);
    case NETWORK_TOR: return place->at.port;
    case NETWORK_I2P: return true; /* which has no ports */
    case NETWORK_CJDNS: return place->at.port && place->at.ip[0] == 0xfc;
    default: return false;
    }
}

/* RFC 4648 in small letters, without padding. Returns the end of what was written. */
static char *base32(char *out, const uint8_t *data, size_t len)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint32_t bits = 0, count = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | data[i];
        for (count += 8; count >= 5; count -= 5) {
            *out++ = digits[bits >> (count - 5) & 31];
        }
    }
    if (count) {
        *out++ = digits[bits << (5 - count) & 31];
    }
    return out;
}

/* Tor's version 3: key, two bytes of checksum, version. */
static char *onion(char *out, const uint8_t key[32])
{
    uint8_t whole[35], sum[EVP_MAX_MD_SIZE];
    struct buf summed = {0};
    buf_printf(&summed, ".onion checksum");
    buf_bytes(&summed, key, 32);
    buf_u8(&summed, 3);
    CHECK(EVP_Digest(summed.data, summed.len, sum, NULL, EVP_sha3_256(), NULL) == 1);
    buf_free(&summed);
    memcpy(whole, key, 32);
    memcpy(whole + 32, sum, 2);
    whole[34] = 3;
    return base32(out, whole, sizeof whole);
}

void place_text(char out[PLACE_TEXT], const struct place *place)
{
    uint8_t address[32];
    memcpy(address, place->at.ip, 16);
    memcpy(address + 16, place->more, 16);
    char *end = NULL;
    switch (place->overlay) {
    case NETWORK_TOR: end = onion(out, address); break;
    case NETWORK_I2P: end = base32(out, address, sizeof address); break;
    default: ip_text(out, place->at.ip); return;
    }
    snprintf(end, PLACE_TEXT - (size_t)(end - out), place->overlay == NETWORK_TOR ? ".onion" : ".b32.i2p");
}
