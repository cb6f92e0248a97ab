/* RPC methods about proofs that a block holds transactions: BIP37's partial merkle trees behind a header. Not
 * here: serving merkleblock to peers. */
#include <stdlib.h>

#include "core/node/rpc_private.h"

#include "hashing/kernels/kernels.h"

#define PROOF_TXIDS_MAX 10000u
#define TX_BYTES_MIN    60u /* of any transaction: bounds how many a proof may claim */

struct partial_tree {
    uint32_t leaf_count;
    struct buf hashes; /* 32 bytes each, depth first */
    uint8_t *bits;     /* one byte for each bit, depth first */
    size_t bit_count, bit_capacity;
    size_t hash_at, bit_at; /* reading */
    bool bad;
};

static uint32_t width(const struct partial_tree *tree, unsigned level)
{
    return (uint32_t)(((uint64_t)tree->leaf_count + (UINT64_C(1) << level) - 1) >> level);
}

static unsigned top_level(const struct partial_tree *tree)
{
    unsigned level = 0;
    while (width(tree, level) > 1) {
        level++;
    }
    return level;
}

static void hash_pair(struct hash256 *out, const struct hash256 *left, const struct hash256 *right)
{
    uint8_t pair[64];
    memcpy(pair, left->b, 32);
    memcpy(pair + 32, right->b, 32);
    sha256d(out->b, pair, sizeof pair);
}

/* ---- Making ------------------------------------------------------------------------------------------- */

struct marked_block { /* level by level from the txids up: hashes, and whether a wanted one is below */
    struct hash256 *nodes[33];
    bool *wanted[33];
};

static void mark_levels(struct marked_block *marked, const struct partial_tree *tree, unsigned top)
{
    for (unsigned level = 1; level <= top; level++) {
        uint32_t count = width(tree, level), below = width(tree, level - 1);
        marked->nodes[level] = mem_alloc(count * sizeof(struct hash256));
        marked->wanted[level] = mem_alloc(count * sizeof(bool));
        for (uint32_t i = 0; i < count; i++) {
            uint32_t left = 2 * i, right = MIN(2 * i + 1, below - 1);
            hash_pair(&marked->nodes[level][i], &marked->nodes[level - 1][left],
                      &marked->nodes[level - 1][right]);
            marked->wanted[level][i] = marked->wanted[level - 1][left] || marked->wanted[level - 1][right];
        }
    }
}

static void walk_down(struct partial_tree *tree, const struct marked_block *marked, unsigned level,
                      uint32_t at)
{
    bool wanted = marked->wanted[level][at];
    tree->bits[tree->bit_count++] = wanted;
    if (level == 0 || !wanted) {
        buf_bytes(&tree->hashes, marked->nodes[level][at].b, 32);
        return;
    }
    walk_down(tree, marked, level - 1, 2 * at);
    if (2 * at + 1 < width(tree, level - 1)) {
        walk_down(tree, marked, level - 1, 2 * at + 1);
    }
}

static void tree_write(struct buf *out, const struct partial_tree *tree)
{
    size_t bytes = (tree->bit_count + 7) / 8;
    buf_u32(out, tree->leaf_count);
    buf_compact_size(out, tree->hashes.len / 32);
    buf_bytes(out, tree->hashes.data, tree->hashes.len);
    buf_compact_size(out, bytes);
    uint8_t *packed = buf_extend(out, bytes);
    for (size_t i = 0; i < tree->bit_count; i++) {
        packed[i / 8] |= (uint8_t)(tree->bits[i] << i % 8);
    }
}

/* wanted: one for each transaction of the block. */
static void proof_write(struct buf *out, const struct block *block, const bool *wanted)
{
    struct partial_tree tree = {.leaf_count = block->tx_count};
    struct marked_block marked = {.wanted[0] = mem_dup(wanted, block->tx_count * sizeof *wanted)};
    unsigned top = top_level(&tree);
    marked.nodes[0] = mem_alloc(block->tx_count * sizeof(struct hash256));
    for (uint32_t t = 0; t < block->tx_count; t++) {
        marked.nodes[0][t] = block->txs[t].txid;
    }
    mark_levels(&marked, &tree, top);
    tree.bits = mem_alloc(2 * (size_t)block->tx_count + 64);
    walk_down(&tree, &marked, top, 0);
    header_encode(buf_extend(out, HEADER_BYTES), &block->header);
    tree_write(out, &tree);
    for (unsigned level = 0; level <= top; level++) {
        mem_free(marked.nodes[level]);
        mem_free(marked.wanted[level]);
    }
    mem_free(tree.bits);
    buf_free(&tree.hashes);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

/* The wanted ids, sorted, as the arguments have them; false after the call was failed. */
static bool arg_txids(struct rpc_call *call, struct buf *sorted)
{
    const json_t *ids = arg_any(call, 0), *item;
    size_t i;
    if (!json_is_array(ids)) {
        rpc_fail(call, RPC_TYPE_ERROR, "JSON value is not of expected type array");
        return false;
    }
    if (!json_array_size(ids) || json_array_size(ids) > PROOF_TXIDS_MAX) {
        rpc_fail(call, RPC_INVALID_PARAMETER, "Parameter 'txids' cannot be empty or longer than %u",
                 PROOF_TXIDS_MAX);
        return false;
    }
    json_array_foreach(ids, i, item)
    {
        struct hash256 txid;
        const char *text = json_is_string(item) ? json_string_value(item) : "";
        if (strlen(text) != 64 || !hash256_parse(&txid, text)) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "txid must be of length 64 (not %zu, for '%.100s')",
                     strlen(text), text);
            return false;
        }
        buf_bytes(sorted, txid.b, 32);
    }
    CHECK(sorted->data); /* the list was not empty */
    qsort(sorted->data, sorted->len / 32, 32, by_bytes);
    for (size_t at = 32; at < sorted->len; at += 32) {
        if (memcmp(sorted->data + at - 32, sorted->data + at, 32) == 0) {
            rpc_fail(call, RPC_INVALID_PARAMETER, "Invalid parameter, duplicated txid");
            return false;
        }
    }
    return true;
}

static void proof_block_is_read(void *context, struct block *block)
{
    struct rpc_call *call = context;
    struct buf ids = {0}, proof = {0};
    if (!block) {
        rpc_fail(call, RPC_MISC_ERROR, "Can't read block from disk");
        return;
    }
    if (arg_txids(call, &ids)) {
        bool *wanted = mem_alloc(block->tx_count * sizeof *wanted);
        size_t found = 0;
        for (uint32_t t = 0; t < block->tx_count; t++) {
            wanted[t] = bsearch(block->txs[t].txid.b, ids.data, ids.len / 32, 32, by_bytes) != NULL;
            found += wanted[t];
        }
        if (found == ids.len / 32) {
            proof_write(&proof, block, wanted);
            put_hex(&call->out, NULL, buf_span(&proof));
            rpc_ok(call);
        } else {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY,
                     "Not all transactions found in specified or retrieved block");
        }
        mem_free(wanted);
    }
    buf_free(&ids);
    buf_free(&proof);
    block_unref(block);
}

static void read_for_proof(struct rpc_call *call, const struct block_entry *entry)
{
    if (entry->status & BLOCK_HAVE_DATA) {
        chain_read_block(call->node->chain, entry, proof_block_is_read, call);
    } else {
        rpc_fail(call, RPC_MISC_ERROR, "Block not available (not fully downloaded)");
    }
}

static void proof_tx_is_found(void *context, struct tx *tx, const struct block_entry *entry)
{
    struct rpc_call *call = context;
    if (tx && entry) {
        read_for_proof(call, entry);
    } else {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Transaction not yet in block");
    }
    tx_unref(tx);
}

RPC_HANDLER(gettxoutproof)
{
    struct buf ids = {0};
    struct hash256 first;
    if (arg_any(call, 1) && !arg_hash(call, 1, "blockhash", &call->hash)) {
        return;
    }
    bool usable = arg_txids(call, &ids);
    if (usable) {
        memcpy(first.b, ids.data, 32);
    }
    buf_free(&ids);
    if (!usable) {
        return;
    }
    if (!arg_any(call, 1)) {
        chain_read_tx(call->node->chain, &first, proof_tx_is_found, call);
        return;
    }
    const struct block_entry *entry = chain_find(call->node->chain, &call->hash);
    if (entry) {
        read_for_proof(call, entry);
    } else {
        rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Block not found");
    }
}

/* ---- Checking ----------------------------------------------------------------------------------------- */

/* The hash of a node from what the proof holds; what it proves goes to matches. Equal children would let a
 * proof be bent (CVE-2012-2459). */
static void walk_up(struct hash256 *out, struct partial_tree *tree, unsigned level, uint32_t at,
                    struct buf *matches)
{
    memset(out, 0, sizeof *out);
    if (tree->bad || tree->bit_at >= tree->bit_count) {
        tree->bad = true;
        return;
    }
    bool wanted = tree->bits[tree->bit_at++];
    if (level == 0 || !wanted) {
        if (tree->hash_at + 32 > tree->hashes.len) {
            tree->bad = true;
            return;
        }
        memcpy(out->b, tree->hashes.data + tree->hash_at, 32);
        tree->hash_at += 32;
        if (wanted) {
            buf_bytes(matches, out->b, 32);
        }
        return;
    }
    struct hash256 left, right;
    walk_up(&left, tree, level - 1, 2 * at, matches);
    right = left;
    if (2 * at + 1 < width(tree, level - 1)) {
        walk_up(&right, tree, level - 1, 2 * at + 1, matches);
        tree->bad |= hash256_equal(&left, &right);
    }
    hash_pair(out, &left, &right);
}

/* header and tree of a proof; false: not one. */
static bool proof_read(struct block_header *header, struct partial_tree *tree, struct span bytes)
{
    struct cursor c = cursor_of(bytes.data, bytes.len);
    header_read(header, &c);
    tree->leaf_count = cursor_u32(&c);
    struct span hashes = cursor_span(&c, 32 * cursor_count(&c, 32)), packed = cursor_var_span(&c);
    if (!cursor_done(&c)) {
        return false;
    }
    buf_bytes(&tree->hashes, hashes.data, hashes.len);
    tree->bit_count = packed.len * 8;
    tree->bits = mem_alloc(tree->bit_count + 1);
    for (size_t i = 0; i < tree->bit_count; i++) {
        tree->bits[i] = packed.data[i / 8] >> i % 8 & 1;
    }
    return tree->leaf_count && tree->leaf_count <= BLOCK_WEIGHT_MAX / (WITNESS_SCALE * TX_BYTES_MIN) &&
           tree->hashes.len / 32 <= tree->leaf_count && tree->bit_count >= tree->hashes.len / 32;
}

/* All of it was used, and it leads to the header's root. */
static bool proof_holds(struct partial_tree *tree, const struct block_header *header, struct buf *matches)
{
    struct hash256 root;
    walk_up(&root, tree, top_level(tree), 0, matches);
    return !tree->bad && tree->hash_at == tree->hashes.len && (tree->bit_at + 7) / 8 == tree->bit_count / 8 &&
           hash256_equal(&root, &header->merkle_root);
}

RPC_HANDLER(verifytxoutproof)
{
    const char *hex = "";
    struct buf raw = {0}, matches = {0};
    struct partial_tree tree = {0};
    struct block_header header = {0};
    struct hash256 hash;
    const struct chain *chain = call->node->chain;
    if (!arg_text(call, 0, &hex)) {
        return;
    }
    if (!hex_decode_buf(&raw, hex, BLOCK_SERIALIZED_MAX) || !proof_read(&header, &tree, buf_span(&raw))) {
        rpc_fail(call, RPC_DESERIALIZATION_ERROR, "Proof decode failed");
    } else if (!proof_holds(&tree, &header, &matches)) {
        put_open(&call->out, NULL, '[');
        put_close(&call->out, '[');
        rpc_ok(call);
    } else {
        header_hash(&hash, &header);
        const struct block_entry *entry = chain_find(chain, &hash);
        if (!entry || !chain_contains(chain, entry)) {
            rpc_fail(call, RPC_INVALID_ADDRESS_OR_KEY, "Block not found in chain");
        } else {
            put_open(&call->out, NULL, '[');
            for (size_t at = 0; entry->tx_count == tree.leaf_count && at < matches.len; at += 32) {
                struct hash256 txid;
                memcpy(txid.b, matches.data + at, 32);
                put_hash(&call->out, NULL, &txid);
            }
            put_close(&call->out, '[');
            rpc_ok(call);
        }
    }
    buf_free(&raw);
    buf_free(&matches);
    buf_free(&tree.hashes);
    mem_free(tree.bits);
}
