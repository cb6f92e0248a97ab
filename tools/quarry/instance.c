/* Which one of several equal containers this is: INSTANCE_NUMBER, else the name that the engine's DNS gives
 * to our own address (project_miner_2.network), else POD_NAME's ordinal plus one, else 1. */
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdlib.h>

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

static unsigned number_from_dns(void)
{
    struct ifaddrs *all = NULL;
    unsigned number = 0;
    if (getifaddrs(&all) != 0) {
        return 0;
    }
    for (const struct ifaddrs *at = all; at && !number; at = at->ifa_next) {
        char name[NI_MAXHOST];
        if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET && !(at->ifa_flags & IFF_LOOPBACK) &&
            getnameinfo(at->ifa_addr, sizeof(struct sockaddr_in), name, sizeof name, NULL, 0, NI_NAMEREQD) ==
                0) {
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
