/* quarry-bench merkle: 64-byte nodes, merkle roots and single messages, each beside OpenSSL. */
#include <openssl/evp.h>
#include <stdio.h>

#include "bench/bench.h"
#include "hashing/kernels/kernels.h"

#define NODES        1024
#define LEAVES       2048
#define WINDOW_NS    1500000
#define KERNELS      16
#define TRANSACTIONS 512

static int64_t windows = 60;
static const struct bench_option options[] = {
    BENCH_NUMBER("windows", "N", "of each contender", windows, 1, 10000),
    {0},
};

static uint8_t nodes[NODES * 64], hashes[NODES * 32], leaves[LEAVES * 32];
static EVP_MD_CTX *evp;
static EVP_MD *digest;

/* Fetched digest, reused context: OpenSSL's fast way. */
static void evp_sha256(uint8_t *out, const uint8_t *in, size_t len)
{
    EVP_DigestInit_ex2(evp, digest, NULL);
    EVP_DigestUpdate(evp, in, len);
    EVP_DigestFinal_ex(evp, out, NULL);
}

static void run_evp_nodes(void *context, uint64_t times)
{
    (void)context;
    for (; times; times--) {
        for (size_t i = 0; i < NODES; i++) {
            evp_sha256(hashes + 32 * i, nodes + 64 * i, 64);
            evp_sha256(hashes + 32 * i, hashes + 32 * i, 32);
        }
    }
}

static void run_nodes(void *context, uint64_t times)
{
    const struct sha256_kernel *kernel = context;
    for (; times; times--) {
        kernel->double_64(hashes, nodes, NODES);
    }
}

static void run_root(void *context, uint64_t times)
{
    uint8_t root[32];
    (void)context;
    for (; times; times--) { /* the root destroys its leaves: hashes are as good */
        merkle_root(root, leaves, LEAVES, NULL);
    }
}

static void run_ours(void *context, uint64_t times)
{
    size_t len = *(const size_t *)context;
    for (; times; times--) {
        sha256(hashes, nodes, len);
    }
}

static void run_evp(void *context, uint64_t times)
{
    size_t len = *(const size_t *)context;
    for (; times; times--) {
        evp_sha256(hashes, nodes, len);
    }
}

static void run_evp_once(void *context, uint64_t times)
{
    size_t len = *(const size_t *)context;
    for (; times; times--) {
        EVP_Digest(nodes, len, hashes, NULL, EVP_sha256(), NULL);
    }
}

/* Transactions as they are: version, body and lock time of each, 190 to 700 bytes, some of them long. */
struct transactions {
    const struct sha256_kernel *kernel;
    size_t given;
};

static size_t transaction_bytes(size_t i)
{
    return i % 50 == 0 ? 5000 : 190 + i * 97 % 510;
}

static bool next_transaction(void *context, struct sha256_message *out)
{
    struct transactions *t = context;
    if (t->given == TRANSACTIONS) {
        return false;
    }
    size_t i = t->given++, len = transaction_bytes(i);
    const uint8_t *at = nodes + i * 32;
    *out = (struct sha256_message){{{at, 4}, {at + 6, len}, {at + 6 + len, 4}}, hashes + 32 * i};
    return true;
}

static void run_transactions(void *context, uint64_t times)
{
    struct transactions *t = context;
    for (; times; times--) {
        t->given = 0;
        sha256d_many_with(t->kernel, next_transaction, t);
    }
}

static void run_evp_transactions(void *context, uint64_t times)
{
    struct sha256_message m;
    for (; times; times--) {
        struct transactions *t = context;
        t->given = 0;
        while (next_transaction(t, &m)) {
            EVP_DigestInit_ex2(evp, digest, NULL);
            for (size_t p = 0; p < SHA256_PARTS; p++) {
                EVP_DigestUpdate(evp, m.parts[p].data, m.parts[p].len);
            }
            EVP_DigestFinal_ex(evp, m.hash, NULL);
            evp_sha256(m.hash, m.hash, 32);
        }
    }
}

static void free_samples(struct contender *c, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        samples_free(&c[i].ns);
        samples_free(&c[i].cycles);
    }
}

/* Every different way to hash nodes, by the name of its first kernel. */
static void bench_nodes(struct report *report)
{
    struct contender c[KERNELS + 2] = {{.name = "OpenSSL EVP, reused context", .run = run_evp_nodes}};
    size_t count = 1;
    for (size_t i = 0; sha256_kernels[i] && count < KERNELS; i++) {
        const struct sha256_kernel *kernel = sha256_kernels[i];
        bool known = !kernel->double_64 || !sha256_kernel_ready(kernel);
        for (size_t j = 1; j < count && !known; j++) {
            known = ((const struct sha256_kernel *)c[j].context)->double_64 == kernel->double_64;
        }
        if (!known) {
            c[count++] = (struct contender){
                .name = kernel->name, .run = run_nodes, .context = (void *)(uintptr_t)kernel};
        }
    }
    measure(c, count, WINDOW_NS, (unsigned)windows);
    double base = samples_quantile(&c[0].ns, 0), base_median = samples_quantile(&c[0].ns, 0.5);
    for (size_t i = 0; i < count; i++) {
        double best = samples_quantile(&c[i].ns, 0), median = samples_quantile(&c[i].ns, 0.5);
        double ghz = samples_quantile(&c[i].cycles, 0.5) / median;
        const struct report_cell cells[] = {{"name", c[i].name, 0, 0},
                                            {"ns_per_node", NULL, best / NODES, 1},
                                            {"ns_median", NULL, median / NODES, 1},
                                            {"cycles_per_node", NULL, best * ghz / NODES, 0},
                                            {"times_evp", NULL, base / best, 2},
                                            {"times_evp_median", NULL, base_median / median, 2}};
        report_row(report, "nodes", cells, ARRAY_COUNT(cells));
    }
    free_samples(c, count);
}

/* Every different way to hash many messages, and one after another. */
static void bench_transactions(struct report *report)
{
    struct transactions t[KERNELS + 2] = {{0}};
    struct contender c[KERNELS + 2] = {
        {.name = "OpenSSL EVP, reused context", .run = run_evp_transactions, .context = &t[0]},
        {.name = "one by one", .run = run_transactions, .context = &t[1]}};
    size_t count = 2;
    for (size_t i = 0; sha256_kernels[i] && count < KERNELS; i++) {
        const struct sha256_kernel *kernel = sha256_kernels[i];
        bool known = !kernel->compress_lanes || !sha256_kernel_ready(kernel);
        for (size_t j = 2; j < count && !known; j++) {
            known = t[j].kernel->compress_lanes == kernel->compress_lanes;
        }
        if (!known) {
            t[count].kernel = kernel;
            c[count] =
                (struct contender){.name = kernel->name, .run = run_transactions, .context = &t[count]};
            count++;
        }
    }
    measure(c, count, WINDOW_NS, (unsigned)windows);
    double base = samples_quantile(&c[0].ns, 0);
    for (size_t i = 0; i < count; i++) {
        double best = samples_quantile(&c[i].ns, 0);
        const struct report_cell cells[] = {
            {"name", c[i].name, 0, 0},
            {"ns_per_tx", NULL, best / TRANSACTIONS, 1},
            {"ns_median", NULL, samples_quantile(&c[i].ns, 0.5) / TRANSACTIONS, 1},
            {"times_evp", NULL, base / best, 2}};
        report_row(report, "transactions", cells, ARRAY_COUNT(cells));
    }
    free_samples(c, count);
}

static void bench_root(struct report *report)
{
    struct contender c = {.name = "root", .run = run_root};
    measure(&c, 1, WINDOW_NS, (unsigned)windows);
    report_value(report, "merkle root of 2048, best", "ns per leaf", samples_quantile(&c.ns, 0) / LEAVES);
    report_value(report, "merkle root of 2048, median", "ns per leaf", samples_quantile(&c.ns, 0.5) / LEAVES);
    free_samples(&c, 1);
}

static void bench_messages(struct report *report)
{
    static const size_t lengths[] = {0, 32, 55, 64, 80, 100, 119, 120, 180, 250, 300, 400, 500};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        void *len = (void *)(uintptr_t)&lengths[i];
        struct contender c[3] = {{.name = "ours", .run = run_ours, .context = len},
                                 {.name = "EVP", .run = run_evp, .context = len},
                                 {.name = "EVP_Digest", .run = run_evp_once, .context = len}};
        measure(c, 3, WINDOW_NS / 3, (unsigned)windows);
        double ours = samples_quantile(&c[0].ns, 0);
        const struct report_cell cells[] = {
            {"bytes", NULL, (double)lengths[i], 0},
            {"ns", NULL, ours, 1},
            {"evp_ns", NULL, samples_quantile(&c[1].ns, 0), 1},
            {"times_evp", NULL, samples_quantile(&c[1].ns, 0) / ours, 2},
            {"times_evp_digest", NULL, samples_quantile(&c[2].ns, 0) / ours, 2}};
        report_row(report, "messages", cells, ARRAY_COUNT(cells));
        free_samples(c, 3);
    }
}

static bool run(struct report *report, struct error *error)
{
    struct rng rng;
    rng_seed_u64(&rng, report_seed(report));
    for (size_t i = 0; i < sizeof nodes; i++) {
        nodes[i] = (uint8_t)rng_next(&rng);
        leaves[i] = (uint8_t)rng_next(&rng);
    }
    evp = EVP_MD_CTX_new();
    digest = EVP_MD_fetch(NULL, "SHA256", NULL);
    bool ok = (evp && digest) || error_set(error, ERROR_IO, NULL, "OpenSSL has no SHA256");
    if (ok) {
        bench_nodes(report);
        bench_root(report);
        bench_transactions(report);
        bench_messages(report);
    }
    EVP_MD_free(digest);
    EVP_MD_CTX_free(evp);
    return ok;
}

const struct bench_command bench_merkle = {
    .name = "merkle",
    .summary = "64-byte nodes, merkle roots and single messages, beside OpenSSL",
    .about =
        "Every kernel's double SHA-256 of 64 bytes in bulk, merkle roots, and SHA-256 of one message, in\n"
        "turns with OpenSSL's EVP (fetched digest, reused context) and, for messages, EVP_Digest; and the\n"
        "ids of 512 transactions at once.",
    .options = options,
    .run = run,
};
