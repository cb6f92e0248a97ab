/* Blocks and transactions for `quarry-bench net`: see net.h. Keys and signatures are not what is measured, so
 * there are none. */
#include "bench/net.h"

#include "hashing/kernels/kernels.h"

#define FEE_SAT     1000
#define FUND_BLOCKS 2u /* before the first coinbase may be spent: the network's maturity is 1 */

static const uint8_t op_true[1] = {0x51};

static void script_of_all(uint8_t out[34])
{
    out[0] = 0x00;
    out[1] = 32;
    sha256(out + 2, op_true, sizeof op_true);
}

bool net_chain_init(struct net_chain *chain, const struct chain_params *params, uint32_t first_time,
                    uint32_t tx_count)
{
    *chain = (struct net_chain){
        .params = params, .tip = params->genesis_hash, .time = first_time, .tx_count = tx_count};
    chain->coins = mem_alloc((2 * (size_t)tx_count + 1) * sizeof *chain->coins);
    chain->ids = mem_alloc(((size_t)tx_count + 2) * sizeof *chain->ids);
    chain->ends = mem_alloc(((size_t)tx_count + 1) * sizeof *chain->ends);
    return true;
}

void net_chain_free(struct net_chain *chain)
{
    mem_free(chain->coins);
    mem_free(chain->ids);
    mem_free(chain->ends);
    buf_free(&chain->txs);
}

static void take_ids(struct tx *ids, const struct tx *tx, struct span raw)
{
    struct buf stripped = {0};
    tx_write(&stripped, tx, false);
    sha256d(ids->txid.b, stripped.data, stripped.len);
    sha256d(ids->wtxid.b, raw.data, raw.len);
    buf_free(&stripped);
}

/* Appends a transaction to the next block. */
static void add_tx(struct net_chain *chain, size_t slot, const struct tx *tx)
{
    size_t begin = chain->txs.len;
    tx_write(&chain->txs, tx, true);
    chain->ends[slot] = chain->txs.len;
    take_ids(&chain->ids[slot + 1], tx, span_of(chain->txs.data + begin, chain->txs.len - begin));
}

void net_chain_txs(struct net_chain *chain, size_t bytes_each)
{
    uint8_t script[34], padding[1024] = {0x6a, 0x4d};
    const struct span witness = span_of(op_true, sizeof op_true);
    size_t pad = MIN(bytes_each > 240 ? bytes_each - 220 : 20, sizeof padding);
    script_of_all(script);
    padding[2] = (uint8_t)(pad - 4);
    padding[3] = (uint8_t)((pad - 4) >> 8);
    buf_clear(&chain->txs);
    chain->coin_sat -= FEE_SAT / 2;
    for (uint32_t i = 0; i < chain->tx_count; i++) {
        struct tx_input inputs[2] = {{.prevout = chain->coins[2 * i],
                                      .sequence = SEQUENCE_FINAL,
                                      .witness_count = 1,
                                      .witness = &witness},
                                     {.prevout = chain->coins[2 * i + 1],
                                      .sequence = SEQUENCE_FINAL,
                                      .witness_count = 1,
                                      .witness = &witness}};
        struct tx_output outputs[3] = {{{chain->coin_sat}, span_of(script, sizeof script)},
                                       {{chain->coin_sat}, span_of(script, sizeof script)},
                                       {{0}, span_of(padding, pad)}};
        const struct tx tx = {.version = 2,
                              .input_count = 2,
                              .output_count = 3,
                              .inputs = inputs,
                              .outputs = outputs,
                              .has_witness = true};
        add_tx(chain, i, &tx);
        chain->coins[2 * i] = (struct outpoint){chain->ids[i + 1].txid, 0};
        chain->coins[2 * i + 1] = (struct outpoint){chain->ids[i + 1].txid, 1};
    }
}

static void write_coinbase(struct net_chain *chain, size_t count, struct buf *out)
{
    static const uint8_t reserved[32];
    const struct span witness = span_of(reserved, sizeof reserved);
    uint8_t all[34], commitment[38] = {0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed}, pair[64] = {0};
    struct buf script = {0};
    struct hash256 root;
    script_of_all(all);
    script_push_height(&script, chain->height);
    buf_u8(&script, 0x00);
    chain->ids[0] = (struct tx){0};
    CHECK(!merkle_root_of_txids(&root, chain->ids, count, true));
    memcpy(pair, root.b, 32);
    sha256d(commitment + 6, pair, sizeof pair);
    struct tx_input in = {.prevout.index = UINT32_MAX,
                          .script = buf_span(&script),
                          .sequence = SEQUENCE_FINAL,
                          .witness_count = 1,
                          .witness = &witness};
    struct tx_output outputs[2] = {{block_subsidy(chain->height, chain->params), span_of(all, sizeof all)},
                                   {{0}, span_of(commitment, sizeof commitment)}};
    const struct tx tx = {.version = 2,
                          .input_count = 1,
                          .output_count = 2,
                          .inputs = &in,
                          .outputs = outputs,
                          .has_witness = true};
    size_t begin = out->len;
    tx_write(out, &tx, true);
    take_ids(&chain->ids[0], &tx, span_of(out->data + begin, out->len - begin));
    buf_free(&script);
}

/* With the first tx_count of chain->txs. */
static void write_block(struct net_chain *chain, size_t tx_count, struct buf *out)
{
    struct buf coinbase = {0};
    chain->height++;
    chain->time++;
    write_coinbase(chain, tx_count + 1, &coinbase);
    struct block_header header = {.version = 0x20000000,
                                  .prev_hash = chain->tip,
                                  .time = chain->time,
                                  .bits = chain->params->genesis.bits};
    CHECK(!merkle_root_of_txids(&header.merkle_root, chain->ids, tx_count + 1, false));
    do {
        header.nonce++;
        header_hash(&chain->tip, &header);
    } while (!pow_check(&chain->tip, header.bits, chain->params));
    header_encode(buf_extend(out, HEADER_BYTES), &header);
    buf_compact_size(out, tx_count + 1);
    buf_bytes(out, coinbase.data, coinbase.len);
    if (tx_count) {
        buf_bytes(out, chain->txs.data, chain->txs.len);
    }
    buf_free(&coinbase);
}

void net_chain_block(struct net_chain *chain, bool with_txs, struct buf *out)
{
    write_block(chain, with_txs ? chain->tx_count : 0, out);
}

bool net_chain_fund(struct net_chain *chain, bool (*sink)(void *context, struct span block), void *context)
{
    uint8_t script[34];
    const struct span witness = span_of(op_true, sizeof op_true);
    struct buf block = {0};
    bool ok = true;
    struct outpoint first = {0};
    script_of_all(script);
    for (uint32_t i = 0; ok && i < FUND_BLOCKS; i++) {
        buf_clear(&block);
        write_block(chain, 0, &block);
        ok = sink(context, buf_span(&block));
        first = i ? first : (struct outpoint){chain->ids[0].txid, 0};
    }
    uint32_t count = MAX(2 * chain->tx_count, 1u);
    struct tx_output *outputs = mem_alloc(count * sizeof *outputs);
    chain->coin_sat = block_subsidy(1, chain->params).sat / count;
    for (uint32_t i = 0; i < count; i++) {
        outputs[i] = (struct tx_output){{chain->coin_sat}, span_of(script, sizeof script)};
    }
    struct tx_input in = {
        .prevout = first, .sequence = SEQUENCE_FINAL, .witness_count = 1, .witness = &witness};
    const struct tx tx = {.version = 2,
                          .input_count = 1,
                          .output_count = count,
                          .inputs = &in,
                          .outputs = outputs,
                          .has_witness = true};
    buf_clear(&chain->txs);
    add_tx(chain, 0, &tx);
    for (uint32_t i = 0; i < 2 * chain->tx_count; i++) {
        chain->coins[i] = (struct outpoint){chain->ids[1].txid, i};
    }
    buf_clear(&block);
    write_block(chain, 1, &block);
    ok = ok && sink(context, buf_span(&block));
    mem_free(outputs);
    buf_free(&block);
    return ok;
}

void net_chain_compact(const struct net_chain *chain, struct span block, bool with_txs, struct buf *out)
{
    uint8_t digest[32], id[8];
    size_t count = with_txs ? chain->tx_count : 0;
    size_t coinbase_at = HEADER_BYTES + compact_size_len(count + 1);
    size_t coinbase_len = block.len - coinbase_at - (with_txs ? chain->txs.len : 0);
    size_t begin = out->len;
    buf_bytes(out, block.data, HEADER_BYTES);
    buf_u64(out, chain->height);
    sha256(digest, out->data + begin, HEADER_BYTES + 8);
    const uint64_t key[2] = {load_le64(digest), load_le64(digest + 8)};
    buf_compact_size(out, count);
    for (size_t i = 0; i < count; i++) {
        store_le64(id, siphash_2_4(key, chain->ids[i + 1].wtxid.b, 32));
        buf_bytes(out, id, 6);
    }
    buf_compact_size(out, 1);
    buf_compact_size(out, 0);
    buf_bytes(out, block.data + coinbase_at, coinbase_len);
}
