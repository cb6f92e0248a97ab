/*
 * Admission: rules that need nothing, then coins, then rules that need coins, then scripts; one transaction
 * at a time, in order of arrival. When the chain's tip moves while coins or scripts are out, it starts over.
 */
#include <inttypes.h>

#include "core/mempool/mempool_private.h"

#define TX_STRIPPED_BYTES_MIN 65u /* 64 bytes could pass for a merkle node */
#define TX_SIGOPS_COST_MAX    (BLOCK_SIGOPS_COST_MAX / 5)
#define FAMILY_VSIZE_MAX      101000u /* with all unconfirmed ancestors, or descendants */
#define CARVE_OUT_VSIZE_MAX   10000u
#define SHARERS               16u /* of the bytes that may wait */

static void begin(struct admission *a);
static void work(struct mempool *pool);

static void admission_free(struct admission *a)
{
    coins_view_free(a->view);
    tx_unref(a->tx);
    package_free(a->package);
    arena_free(&a->arena);
    mem_free(a);
}

static void finish(struct admission *a, const struct error *error)
{
    struct mempool *pool = a->pool;
    list_remove(&a->link);
    pool->queued--;
    pool->again_count -= a->quiet;
    pool->queued_bytes -= a->bytes;
    if (error && error->kind != ERROR_DUPLICATE) {
        char text[HASH256_TEXT];
        log_debug(LOG_MEMPOOL, "transaction %s not taken: %s (%s)", hash256_text(text, &a->tx->txid),
                  error->word, error->text);
    }
    if (a->package) {
        a->package->members[a->package->at].error = error ? *error : (struct error){0};
        if (pool->events.package) {
            pool->events.package(pool->events.context, a->source, a->package->members, a->package->count);
        }
    } else if (a->test) {
        pool->events.tested(pool->events.context, a->tx, a->source, a->fee, error);
    } else if (!a->quiet) {
        pool->events.result(pool->events.context, a->tx, a->source, error);
    }
    if (pool->current == a) {
        pool->current = NULL;
    }
    admission_free(a);
    work(pool);
}

static void finish_with(struct admission *a, enum error_kind kind, const char *word, const char *text)
{
    struct error error = {0};
    error_set(&error, kind, word, "%s", text);
    finish(a, &error);
}

static int64_t median_before(void *context, uint32_t height)
{
    const struct block_entry *tip = context;
    return block_median_time(block_ancestor(tip, height ? height - 1 : 0));
}

const struct tx *admission_parent(const struct admission *a, const struct hash256 *txid)
{
    const struct mempool_entry *entry = pool_find(a->pool, txid);
    return entry ? entry->tx : a->package ? package_find(a->package, txid) : NULL;
}

/* One coin per input, from the pool, the package or the chain. */
static bool gather_coins(struct admission *a, struct error *error)
{
    const struct tx *tx = a->tx;
    a->spent = arena_alloc(&a->arena, tx->input_count * sizeof *a->spent);
    for (uint32_t i = 0; i < tx->input_count; i++) {
        const struct outpoint *prevout = &tx->inputs[i].prevout;
        const struct tx *parent = admission_parent(a, &prevout->txid);
        const struct coin *coin = coins_view_get(a->view, i);
        if (parent && prevout->index < parent->output_count) {
            const struct tx_output *out = &parent->outputs[prevout->index];
            uint8_t *script =
                arena_alloc(&a->arena, out->script.len); /* the parent may go while scripts are checked */
            memcpy(script, out->script.data, out->script.len);
            a->spent[i] =
                (struct coin){out->value, span_of(script, out->script.len), a->tip->height + 1, false};
        } else if (coin) {
            a->spent[i] = *coin;
        } else {
            return error_set(error, ERROR_MISSING, "missing-inputs", "bad-txns-inputs-missingorspent");
        }
    }
    return true;
}

static bool check_alone(struct admission *a, struct error *error)
{
    const struct tx *tx = a->tx;
    const struct mempool *pool = a->pool;
    if (!tx_check(tx, error)) {
        return false;
    }
    if (tx_is_coinbase(tx)) {
        return error_set(error, ERROR_INVALID, "coinbase", "a coinbase outside of a block");
    }
    if (pool->config.require_standard && !policy_standard(tx, error)) {
        return false;
    }
    if (tx->stripped_bytes < TX_STRIPPED_BYTES_MIN) {
        return error_set(error, ERROR_POLICY, "tx-size-small", "smaller than %u bytes",
                         TX_STRIPPED_BYTES_MIN);
    }
    if (!tx_is_final(tx, a->tip->height + 1, block_median_time(a->tip))) {
        return error_set(error, ERROR_POLICY, "non-final", "not final in the next block");
    }
    const struct mempool_entry *same = pool_find(pool, &tx->txid);
    if (same) {
        bool identical = hash256_equal(&same->tx->wtxid, &tx->wtxid);
        return error_set(error, ERROR_DUPLICATE,
                         identical ? "txn-already-in-mempool" : "txn-same-nonwitness-data-in-mempool",
                         "already in mempool");
    }
    bool may_replace = !a->quiet && (!a->package || a->package->how == PACKAGE_SUBMIT);
    if (!may_replace && replace_count(a->pool, tx)) {
        return error_set(error, ERROR_POLICY,
                         a->quiet ? "txn-mempool-conflict" : "bip125-replacement-disallowed",
                         "an input is spent by another transaction in the mempool");
    }
    return true;
}

struct limits {
    uint32_t ancestors, descendants; /* with the transaction itself */
    uint64_t descendants_vsize;
};

struct newcomer { /* one transaction, or a package as if each of it spent all others */
    uint32_t count;
    uint64_t vsize;
    const char *word; /* for what exceeds a limit */
};

static bool is_within(const struct newcomer *own, struct mempool_entry *const *ancestors, size_t count,
                      const struct limits *limits, struct error *error)
{
    const char *word = own->word;
    uint64_t vsize = own->vsize;
    char txid[HASH256_TEXT];
    for (size_t i = 0; i < count; i++) {
        const struct mempool_entry *entry = ancestors[i];
        hash256_text(txid, &entry->tx->txid);
        vsize += entry->vsize;
        if (entry->descendant_vsize + own->vsize > limits->descendants_vsize) {
            return error_set(error, ERROR_POLICY, word,
                             "exceeds descendant size limit for tx %s [limit: %" PRIu64 "]", txid,
                             limits->descendants_vsize);
        }
        if (entry->descendant_count + own->count > limits->descendants) {
            return error_set(error, ERROR_POLICY, word, "too many descendants for tx %s [limit: %u]", txid,
                             limits->descendants);
        }
        if (vsize > FAMILY_VSIZE_MAX) {
            return error_set(error, ERROR_POLICY, word, "exceeds ancestor size limit [limit: %u]",
                             FAMILY_VSIZE_MAX);
        }
    }
    return count + own->count <= limits->ancestors ||
           error_set(error, ERROR_POLICY, word, "too many unconfirmed ancestors [limit: %u]",
                     limits->ancestors);
}

/* One more small child than the limit may hang on a single unconfirmed parent, so that the second of two
 * parties can raise the fee too (Core's carve-out). */
static bool check_limits(struct admission *a, struct error *error)
{
    struct mempool *pool = a->pool;
    struct limits limits = {pool->config.ancestors_max, pool->config.descendants_max, FAMILY_VSIZE_MAX};
    const struct newcomer own = {1, a->vsize, "too-long-mempool-chain"};
    const struct mempool_entry *replaced = replace_only(pool, a->tx);
    if (replaced) { /* its place below the same ancestors becomes free */
        limits.descendants++;
        limits.descendants_vsize += replaced->descendant_vsize;
    }
    size_t count;
    struct mempool_entry **ancestors = pool_ancestors_of(pool, a->tx, &count);
    bool ok = is_within(&own, ancestors, count, &limits, error);
    if (!ok && a->vsize <= CARVE_OUT_VSIZE_MAX) {
        const struct limits carved = {MIN(limits.ancestors, 2u), limits.descendants + 1,
                                      limits.descendants_vsize + CARVE_OUT_VSIZE_MAX};
        struct error second = {0};
        ok = is_within(&own, ancestors, count, &carved, &second);
    }
    mem_free(ancestors);
    return ok;
}

static int64_t fee_at(int64_t per_kvb_sat, uint64_t vsize)
{
    return (per_kvb_sat * (int64_t)vsize + 999) / 1000;
}

bool mempool_fee_too_high(struct amount fee, uint32_t vsize, int64_t max_fee_per_kvb_sat)
{
    return max_fee_per_kvb_sat && fee.sat > fee_at(max_fee_per_kvb_sat, vsize);
}

static bool meets_floor(const struct admission *a, int64_t fee_sat, uint64_t vsize, struct error *error)
{
    int64_t floor = fee_at(a->pool->config.min_fee_per_kvb_sat, vsize);
    return fee_sat >= floor || error_set(error, ERROR_POLICY, "min relay fee not met", "%lld < %lld",
                                         (long long)fee_sat, (long long)floor);
}

static bool check_fee(const struct admission *a, int64_t fee_sat, uint64_t vsize, struct error *error)
{
    int64_t wanted = fee_at(pool_min_fee(a->pool), vsize);
    if (!meets_floor(a, fee_sat, vsize, error)) {
        return false;
    }
    return fee_sat >= wanted || error_set(error, ERROR_POLICY, "mempool min fee not met", "%lld < %lld",
                                          (long long)fee_sat, (long long)wanted);
}

/* What its members together have to keep to, looked at with the last of them. */
static bool check_package(struct admission *a, struct error *error)
{
    struct tx_package *package = a->package;
    const struct mempool_config *config = &a->pool->config;
    const struct limits limits = {config->ancestors_max, config->descendants_max, FAMILY_VSIZE_MAX};
    if (mempool_fee_too_high(a->fee, a->vsize, package->max_fee_per_kvb_sat)) {
        return error_set(error, ERROR_POLICY, "max feerate exceeded", "%lld for %u virtual bytes",
                         (long long)a->fee.sat, a->vsize);
    }
    if (package->at + 1 < package->count) {
        return true;
    }
    const struct newcomer all = {(uint32_t)package->count, package->vsize, "package-mempool-limits"};
    size_t count;
    struct mempool_entry **ancestors = pool_ancestors_of_package(a->pool, package, &count);
    bool ok = is_within(&all, ancestors, count, &limits, error);
    mem_free(ancestors);
    return ok && (package->how == PACKAGE_TEST || (check_fee(a, package->fee_sat, package->vsize, error) &&
                                                   package_may_replace(a->pool, package, error)));
}

static struct mempool_entry *sibling_of(const struct admission *a)
{
    return a->has_sibling ? pool_find(a->pool, &a->sibling) : NULL;
}

static bool check_with_coins(struct admission *a, struct error *error)
{
    struct mempool *pool = a->pool;
    const struct tx *tx = a->tx;
    uint32_t height = a->tip->height + 1;
    if (!gather_coins(a, error)) {
        return false;
    }
    if (!tx_sequence_locks(tx, a->spent, height, block_median_time(a->tip), median_before,
                           (void *)(uintptr_t)a->tip)) {
        return error_set(error, ERROR_POLICY, "non-BIP68-final", "a relative lock time is not reached");
    }
    if (!tx_check_inputs(tx, a->spent, height, chain_parameters(pool->chain), &a->fee, error)) {
        return false;
    }
    if (pool->config.require_standard &&
        (!policy_standard_inputs(tx, a->spent, error) || !policy_standard_witness(tx, a->spent, error))) {
        return false;
    }
    a->sigop_cost = tx_sigop_cost(tx, a->spent, SCRIPT_STANDARD_FLAGS);
    if (a->sigop_cost > TX_SIGOPS_COST_MAX) {
        return error_set(error, ERROR_POLICY, "bad-txns-too-many-sigops", "%u signature operations",
                         a->sigop_cost);
    }
    a->vsize = policy_vsize(tx, a->sigop_cost);
    int64_t fee_sat = a->fee.sat + pool_priority(pool, &tx->txid);
    bool by_sum = a->package && a->package->how == PACKAGE_SUBMIT;
    if (!a->quiet && !by_sum && !check_fee(a, fee_sat, a->vsize, error)) {
        return false;
    }
    if (by_sum && tx->version != TRUC_VERSION && !meets_floor(a, fee_sat, a->vsize, error)) {
        return false; /* its child could be replaced alone, and it would stay for nothing */
    }
    if (!a->quiet && !truc_check(a, error)) {
        return false;
    }
    if (a->package) {
        a->package->fee_sat += fee_sat;
        a->package->vsize += a->vsize;
        return check_package(a, error);
    }
    return check_limits(a, error) && replace_check(pool, tx, sibling_of(a), fee_sat, a->vsize, error);
}

/* On a check worker. */
static bool check_script(void *batch, size_t index)
{
    const struct admission *a = batch;
    return script_verify_input(a->tx, (uint32_t)index, a->spent, &a->cache, a->script_flags, NULL);
}

/* On a check worker: once more, for the reason, and whether a block with it would be refused too. A script
 * may take a second. */
static bool say_why(void *batch, size_t index)
{
    struct admission *a = batch;
    struct error block = {0};
    (void)index;
    if (script_verify_input(a->tx, a->failed_input, a->spent, &a->cache, a->script_flags, &a->why)) {
        return true;
    }
    if (a->why.kind == ERROR_INVALID &&
        script_verify_input(a->tx, a->failed_input, a->spent, &a->cache, a->block_flags, &block)) {
        char word[128];
        const char *reason = strchr(a->why.word, '(');
        struct buf text = {0};
        buf_printf(&text, "non-mandatory-script-verify-flag %s%c", reason ? reason : "", 0);
        memcpy(word, text.data, MIN(text.len, sizeof word));
        word[sizeof word - 1] = 0;
        buf_free(&text);
        error_set(&a->why, ERROR_POLICY, word, "input %u", a->failed_input);
    }
    return false;
}

static void why_is_known(void *context, struct job *job)
{
    struct admission *a = context;
    bool passed = job->check.failed_index == SIZE_MAX, broken = job->failed;
    job_free(job);
    if (broken) {
        finish_with(a, ERROR_BUSY, "stopping", "the node is stopping");
    } else {
        CHECK(!passed);
        struct error why = a->why;
        finish(a, &why);
    }
}

static void submit_check(struct admission *a, bool (*check)(void *batch, size_t index), size_t count,
                         void (*done)(void *context, struct job *job))
{
    struct job *job = job_new(JOB_CHECK_SCRIPTS, done, a);
    job->check.check = check;
    job->check.batch = a;
    job->check.count = count;
    job->check.failed_index = SIZE_MAX;
    a->pool->submit(a->pool->submit_context, job);
}

/* Whether the coins may be others than those that the admission began with. */
static bool has_moved(const struct admission *a)
{
    return a->pool->reorganised || a->tip != chain_tip(a->pool->chain);
}

static void start_over(struct admission *a)
{
    if (a->package) {
        package_restart(a->package);
        tx_unref(a->tx);
        a->tx = tx_ref(a->package->members[0].tx);
    }
    a->pool->current = NULL; /* its place in the queue is kept */
    work(a->pool);
}

static void take_in(struct admission *a, struct tx *tx, struct amount fee, uint32_t sigop_cost)
{
    chain_scripts_passed(a->pool->chain, tx, a->script_flags);
    replace_conflicts(a->pool, tx);
    struct mempool_entry *sibling = sibling_of(a);
    if (sibling) {
        pool_remove_with_descendants(a->pool, sibling, "replaced");
    }
    pool_add(a, tx, fee, sigop_cost);
}

/* One member of a package has passed: the next one's turn, or all are taken in. */
static void package_goes_on(struct admission *a)
{
    struct tx_package *package = a->package;
    struct package_member *member = &package->members[package->at];
    member->judged = true;
    member->fee = a->fee;
    member->vsize = a->vsize;
    member->sigop_cost = a->sigop_cost;
    if (package->at + 1 < package->count) {
        tx_unref(a->tx);
        a->tx = tx_ref(package->members[++package->at].tx);
        begin(a);
        return;
    }
    for (size_t i = 0; package->how == PACKAGE_SUBMIT && i < package->count; i++) {
        take_in(a, package->members[i].tx, package->members[i].fee, package->members[i].sigop_cost);
    }
    pool_trim(a->pool);
    if (package->how == PACKAGE_SUBMIT && !pool_find(a->pool, &a->tx->txid)) {
        finish_with(a, ERROR_POLICY, "mempool full", "they pay less than what is in the full mempool");
    } else {
        finish(a, NULL);
    }
}

static void scripts_checked(void *context, struct job *job)
{
    struct admission *a = context;
    size_t failed = job->check.failed_index;
    bool broken = job->failed;
    job_free(job);
    struct mempool *pool = a->pool;
    if (broken) {
        finish_with(a, ERROR_BUSY, "stopping", "the node is stopping");
    } else if (failed != SIZE_MAX) {
        a->failed_input = (uint32_t)failed;
        a->block_flags = block_script_flags(a->tip->height + 1, &a->tip->hash, chain_parameters(pool->chain));
        submit_check(a, say_why, 1, why_is_known);
    } else if (has_moved(a)) {
        start_over(a);
    } else if (a->package) {
        package_goes_on(a);
    } else if (a->test) {
        finish(a, NULL);
    } else {
        take_in(a, a->tx, a->fee, a->sigop_cost);
        pool_trim(pool);
        if (pool_find(pool, &a->tx->txid)) {
            finish(a, NULL);
        } else {
            finish_with(a, ERROR_POLICY, "mempool full", "it pays less than what is in the full mempool");
        }
    }
}

static void coins_are_here(void *context, struct coins_view *view)
{
    struct admission *a = context;
    struct mempool *pool = a->pool;
    struct error error = {0};
    a->view = view;
    if (!view) {
        finish_with(a, ERROR_BUSY, "stopping", "the node is stopping");
        return;
    }
    if (has_moved(a)) {
        start_over(a);
        return;
    }
    if (!check_with_coins(a, &error)) {
        finish(a, &error);
        return;
    }
    sighash_prepare(&a->cache, a->tx, a->spent);
    a->cache.signatures = chain_signatures(pool->chain);
    a->cache.remember = true;
    a->script_flags = SCRIPT_STANDARD_FLAGS;
    submit_check(a, check_script, a->tx->input_count, scripts_checked);
}

static void begin(struct admission *a)
{
    struct mempool *pool = a->pool;
    struct error error = {0};
    coins_view_free(a->view);
    a->view = NULL;
    arena_free(&a->arena);
    a->tip = chain_tip(pool->chain);
    if (!check_alone(a, &error)) {
        finish(a, &error);
        return;
    }
    struct outpoint *outpoints = mem_alloc(a->tx->input_count * sizeof *outpoints);
    for (uint32_t i = 0; i < a->tx->input_count; i++) {
        outpoints[i] = a->tx->inputs[i].prevout;
    }
    chain_fetch_coins(pool->chain, outpoints, a->tx->input_count, coins_are_here, a);
    mem_free(outpoints);
}

/* Starts the first of the queue when none is under way; a loop, since one may end inside its own beginning.
 * In the middle of a reorganisation the coins belong to no tip at all: then everybody waits. */
static void work(struct mempool *pool)
{
    if (pool->working) {
        return;
    }
    pool->working = true;
    while (!pool->current && !pool->reorganised && pool->queued) {
        const struct list *first = list_empty(&pool->again) ? &pool->queue : &pool->again;
        pool->current = CONTAINER_OF(first->next, struct admission, link);
        pool->place_now = MAX(pool->place_now, pool->current->place);
        begin(pool->current);
    }
    pool->working = false;
}

void admit_after_reorganisation(struct mempool *pool, size_t waiting)
{
    while (waiting--) {
        struct list *item = pool->again.next;
        list_remove(item);
        list_append(&pool->again, item);
    }
    work(pool);
}

static size_t tx_bytes(const struct tx *tx)
{
    return sizeof *tx + tx->arena.used_bytes;
}

static size_t admission_bytes(const struct admission *a)
{
    size_t bytes = a->package ? 0 : tx_bytes(a->tx);
    for (size_t i = 0; a->package && i < a->package->count; i++) {
        bytes += tx_bytes(a->package->members[i].tx);
    }
    return bytes;
}

/* With this one. */
static bool too_many_wait(const struct mempool *pool, const struct admission *newest)
{
    size_t own = 0;
    if (pool->queued > pool->config.pending_max || pool->queued_bytes > MEMPOOL_PENDING_BYTES_MAX) {
        return true;
    }
    if (pool->queued_bytes <= MEMPOOL_PENDING_BYTES_MAX / 2) {
        return false;
    }
    LIST_EACH(at, &pool->queue)
    {
        const struct admission *a = CONTAINER_OF(at, struct admission, link);
        own += a->source == newest->source ? a->bytes : 0;
    }
    return own > MEMPOOL_PENDING_BYTES_MAX / SHARERS;
}

/* Peers take turns one by one, all calls of a program together: their order is its own. */
static uint64_t party_of(const struct admission *a)
{
    return a->source >> 32 ? a->source >> 32 << 32 : a->source;
}

/* In turns by bytes (self-clocked fair queueing, Golestani 1994): a source's next begins where its last ends,
 * or where we are when it has none; so who has sent many, or ones that take long, keeps only itself waiting.
 */
static void take_place(struct mempool *pool, struct admission *a)
{
    struct list *at = pool->queue.prev;
    uint64_t begin = pool->place_now;
    for (; at != &pool->queue && begin == pool->place_now; at = at->prev) {
        const struct admission *other = CONTAINER_OF(at, struct admission, link);
        if (other->place <= pool->place_now) {
            break;
        }
        begin = party_of(other) == party_of(a) ? other->place : begin;
    }
    a->place = begin + admission_bytes(a);
    at = pool->queue.prev;
    while (at != &pool->queue && CONTAINER_OF(at, struct admission, link)->place > a->place) {
        at = at->prev;
    }
    list_append(at->next, &a->link);
}

static void enqueue(struct mempool *pool, struct admission *a)
{
    bool bounded = !a->quiet && !a->restored; /* others were in the mempool before */
    a->pool = pool;
    a->bytes = bounded ? admission_bytes(a) : 0;
    if (a->quiet) {
        list_append(&pool->again, &a->link);
        pool->again_count++;
    } else {
        take_place(pool, a);
    }
    pool->queued++;
    pool->queued_bytes += a->bytes;
    if (bounded && too_many_wait(pool, a)) {
        finish_with(a, ERROR_BUSY, "busy", "too many transactions wait to be checked");
    } else {
        work(pool);
    }
}

void admit_queue(struct mempool *pool, struct tx *tx, uint64_t source, enum admit_how how)
{
    struct admission *a = mem_alloc(sizeof *a);
    *a = (struct admission){
        .tx = tx_ref(tx), .source = source, .quiet = how == ADMIT_QUIET, .test = how == ADMIT_TEST};
    enqueue(pool, a);
}

/* entry is gone when this comes to its turn. */
void admit_again(struct mempool *pool, const struct mempool_entry *entry)
{
    struct admission *a = mem_alloc(sizeof *a);
    *a = (struct admission){.tx = tx_ref(entry->tx),
                            .quiet = true,
                            .unbroadcast = entry->unbroadcast,
                            .added_unix_s = entry->added_unix_s};
    enqueue(pool, a);
}

void admit_restore(struct mempool *pool, struct tx *tx, int64_t added_unix_s, uint64_t source)
{
    struct admission *a = mem_alloc(sizeof *a);
    *a = (struct admission){
        .tx = tx_ref(tx), .source = source, .restored = true, .added_unix_s = added_unix_s};
    enqueue(pool, a);
}

void admit_package(struct mempool *pool, struct tx_package *package, uint64_t source)
{
    struct admission *a = mem_alloc(sizeof *a);
    *a = (struct admission){.tx = tx_ref(package->members[0].tx), .source = source, .package = package};
    enqueue(pool, a);
}

static void free_list(struct list *list)
{
    LIST_EACH_SAFE(at, following, list)
    {
        list_remove(at);
        admission_free(CONTAINER_OF(at, struct admission, link));
    }
}

void admit_free_all(struct mempool *pool)
{
    free_list(&pool->again);
    free_list(&pool->queue);
}
