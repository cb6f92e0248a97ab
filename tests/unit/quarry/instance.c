/* Which instance a container is: what it is told, what the engine's DNS calls it, what Kubernetes calls it.
 * The interfaces and the DNS are this file's: the linker takes these functions before libc's. */
#include <arpa/nameser.h>
#include <criterion/criterion.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdlib.h>
#undef MIN /* resolv.h brings sys/param.h's */
#undef MAX

#include "tools/quarry/quarry.h"

static const char *dns_name; /* of our address; NULL: nobody knows it */
static bool no_interfaces;

int getifaddrs(struct ifaddrs **out)
{
    static struct sockaddr_in loopback = {.sin_family = AF_INET}, own = {.sin_family = AF_INET};
    static struct ifaddrs list[3];
    list[0] = (struct ifaddrs){.ifa_next = &list[1]}; /* without an address */
    list[1] = (struct ifaddrs){
        .ifa_next = &list[2], .ifa_addr = (struct sockaddr *)&loopback, .ifa_flags = IFF_LOOPBACK};
    list[2] = (struct ifaddrs){.ifa_addr = (struct sockaddr *)&own};
    *out = list;
    return no_interfaces ? -1 : 0;
}

static size_t dns_len(const uint8_t *name) /* labels with their lengths, and the empty one */
{
    size_t len = 1;
    for (; name[len - 1]; len += name[len - 1] + 1u) {
    }
    return len;
}

static uint8_t *append(uint8_t *at, const uint8_t *bytes, size_t len)
{
    return (uint8_t *)memcpy(at, bytes, len) + len;
}

void freeifaddrs(struct ifaddrs *list)
{
    (void)list;
}

/* One PTR record for the question that is asked, as an engine's name service answers it. */
int res_nquery(res_state resolver, const char *name, int class, int type, unsigned char *answer, int room)
{
    uint8_t question[NS_MAXDNAME], told[NS_MAXDNAME], *at = answer;
    (void)resolver;
    cr_assert(class == ns_c_in && type == ns_t_ptr && room >= NS_PACKETSZ);
    int asked = ns_name_pton(name, question, sizeof question);
    cr_assert_geq(asked, 0, "%s", name);
    if (!dns_name || ns_name_pton(dns_name, told, sizeof told) < 0) {
        return -1;
    }
    static const uint8_t header[] = {0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, ptr_in[] = {0, 12, 0, 1};
    size_t question_len = dns_len(question), told_len = dns_len(told);
    at = append(at, header, sizeof header);
    at = append(at, question, question_len);
    at = append(at, ptr_in, sizeof ptr_in);
    at = append(at, (const uint8_t[]){0xc0, sizeof header}, 2); /* the name that was asked for, again */
    at = append(at, ptr_in, sizeof ptr_in);
    at = append(at, (const uint8_t[]){0, 0, 0, 60, (uint8_t)(told_len >> 8), (uint8_t)told_len}, 6);
    at = append(at, told, told_len);
    return (int)(at - answer);
}

static unsigned number(const char *given, const char *name, const char *pod)
{
    struct error error = {0};
    unsigned out = 0;
    unsetenv("INSTANCE_NUMBER");
    unsetenv("POD_NAME");
    if (given) {
        setenv("INSTANCE_NUMBER", given, 1);
    }
    if (pod) {
        setenv("POD_NAME", pod, 1);
    }
    dns_name = name;
    if (!instance_number(&out, &error)) {
        cr_assert_eq(error.kind, ERROR_USAGE);
        cr_assert(strstr(error.text, "INSTANCE_NUMBER"));
        return 0;
    }
    cr_assert(out >= 1);
    return out;
}

Test(instance, what_it_is_told_wins)
{
    cr_assert_eq(number("7", "net_miner_2.net", "miner-4"), 7);
    cr_assert_eq(number("10000", NULL, NULL), 10000);
    static const char *const wrong[] = {"0", "-1", "two", "1x", " 1", "10001", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_eq(number(wrong[i], "net_miner_2.net", NULL), 0, "%s", wrong[i]);
    }
    cr_assert_eq(number("", "net_miner_2.net", NULL), 2, "empty is not told");
}

Test(instance, the_engines_dns)
{
    static const struct {
        const char *name;
        unsigned number;
    } cases[] = {{"configs_miner_2_1.configs_default", 2}, /* docker-compose 1 */
                 {"configs-miner_3-1.configs_default", 3}, /* compose 2 */
                 {"configs_webserver_12_1.configs_default", 12},
                 {"blockchain_miner_2.net", 2}, /* container_name */
                 {"webserver2.net", 2},
                 {"miner-5", 5},
                 {"miner.net", 1},                /* no number */
                 {"miner_0.net", 1},              /* from 1 */
                 {"miner_10001.net", 1},          /* out of range */
                 {"a1b2c3d4e5f6.miner_4.net", 1}, /* only the first label */
                 {"redis_1.net", 1},
                 {"", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_eq(number(NULL, cases[i].name, NULL), cases[i].number, "%s", cases[i].name);
    }
    cr_assert_eq(number(NULL, NULL, NULL), 1);
    no_interfaces = true;
    cr_assert_eq(number(NULL, "miner_4", NULL), 1);
    no_interfaces = false;
}

Test(instance, kubernetes)
{
    cr_assert_eq(number(NULL, NULL, "miner-0"), 1);
    cr_assert_eq(number(NULL, "configs_miner_2_1.net", "webserver-3"), 4, "POD_NAME is asked before DNS");
    cr_assert_eq(number(NULL, NULL, "my-miner-set-11"), 12);
    cr_assert_eq(number(NULL, NULL, "miner"), 1);
    cr_assert_eq(number(NULL, NULL, "miner-x"), 1);
    cr_assert_eq(number(NULL, NULL, "miner-99999999"), 1);
    cr_assert_eq(number(NULL, "configs_miner_2_1.net", ""), 2, "empty is not set");
}
