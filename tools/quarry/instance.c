/* Which one of several equal containers this is: INSTANCE_NUMBER, else the name that the engine's DNS gives
 * to our own address (project_miner_2.network), else POD_NAME's ordinal plus one, else 1. */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdlib.h>
#undef MIN /* resolv.h brings sys/param.h's */
#undef MAX

#include "tools/quarry/quarry.h"

#define INSTANCE_MAX 10000

/* The number behind "miner" or "webserver" in a container's name; 0 when there is none. */
static unsigned number_in_name(const char *name)
{
    static const char *const roles[] = {"webserver", "miner"};
    size_t label = strcspn(name, ".");
    for (size_t i = 0; i < ARRAY_COUNT(roles); i++) {
        const char *at = strstr(name, roles[i]);
        if (!at || at >= name + label) {
            continue;
        }
        at += strlen(roles[i]);
        at += *at == '_' || *at == '-';
        unsigned long number = isdigit((unsigned char)*at) ? strtoul(at, NULL, 10) : 0;
        return number <= INSTANCE_MAX ? (unsigned)number : 0;
    }
    return 0;
}

/*
 * The name of an address, from the name service alone: getnameinfo would look into /etc/hosts first, where an
 * engine writes the container's random host name for the same address.
 */
static bool name_of(char out[NS_MAXDNAME], struct in_addr address)
{
    struct __res_state resolver = {0};
    uint8_t answer[NS_PACKETSZ];
    char question[sizeof "255.255.255.255.in-addr.arpa"];
    uint32_t bits = ntohl(address.s_addr);
    ns_msg message;
    ns_rr record;
    snprintf(question, sizeof question, "%u.%u.%u.%u.in-addr.arpa", bits & 255, bits >> 8 & 255,
             bits >> 16 & 255, bits >> 24);
    if (res_ninit(&resolver) != 0) {
        return false;
    }
    resolver.retrans = 1; /* s; the engine's own service answers at once */
    resolver.retry = 2;
    int len = res_nquery(&resolver, question, ns_c_in, ns_t_ptr, answer, sizeof answer);
    res_nclose(&resolver);
    if (len <= 0 || ns_initparse(answer, MIN(len, (int)sizeof answer), &message) != 0) {
        return false;
    }
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        if (ns_parserr(&message, ns_s_an, i, &record) == 0 && ns_rr_type(record) == ns_t_ptr &&
            ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), ns_rr_rdata(record), out,
                               NS_MAXDNAME) >= 0) {
            return true;
        }
    }
    return false;
}

static unsigned number_from_dns(void)
{
    struct ifaddrs *all = NULL;
    unsigned number = 0;
    if (getifaddrs(&all) != 0) {
        return 0;
    }
    for (const struct ifaddrs *at = all; at && !number; at = at->ifa_next) {
        char name[NS_MAXDNAME];
        if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET && !(at->ifa_flags & IFF_LOOPBACK) &&
            name_of(name, ((const struct sockaddr_in *)(const void *)at->ifa_addr)->sin_addr)) {
            number = number_in_name(name);
        }
    }
    freeifaddrs(all);
    return number;
}

bool instance_number(unsigned *out, struct error *error)
{
    const char *given = getenv("INSTANCE_NUMBER"), *pod = getenv("POD_NAME");
    if (given && *given) {
        char *end;
        unsigned long number = strtoul(given, &end, 10);
        *out = (unsigned)number;
        return (isdigit((unsigned char)*given) && !*end && number >= 1 && number <= INSTANCE_MAX) ||
               error_set(error, ERROR_USAGE, NULL, "INSTANCE_NUMBER is '%.40s': 1 to %d is allowed", given,
                         INSTANCE_MAX);
    }
    *out = 0;
    if (!pod || !*pod) {
        *out = number_from_dns();
    } else if (strrchr(pod, '-') && isdigit((unsigned char)strrchr(pod, '-')[1])) {
        unsigned long ordinal = strtoul(strrchr(pod, '-') + 1, NULL, 10);
        *out = ordinal < INSTANCE_MAX ? (unsigned)ordinal + 1 : 0;
    }
    *out = *out ? *out : 1;
    return true;
}
