/* One bcoin full node on regtest in memory, driven by JSON lines: {"id", "do", ...} on standard input, answers and
 * {"listening": PORT} on standard output. It ends when its input does. */
'use strict';

const readline = require('readline');
const FullNode = require('bcoin/lib/node/fullnode');
const Chain = require('bcoin/lib/blockchain/chain');
const Pool = require('bcoin/lib/net/pool');
const MTX = require('bcoin/lib/primitives/mtx');
const TX = require('bcoin/lib/primitives/tx');
const Coin = require('bcoin/lib/primitives/coin');
const KeyRing = require('bcoin/lib/primitives/keyring');

// Bitcoin's regtest has these from the first block on; bcoin waits for a vote of miners.
const getState = Chain.prototype.getState;
Chain.prototype.getState = function(prev, deployment) {
  if (deployment.name === 'csv' || deployment.name === 'segwit')
    return 3;
  return getState.call(this, prev, deployment);
};
Pool.prototype.discoverExternal = async () => {}; // nobody outside is asked for our address

require('bcoin/lib/protocol/network').get('regtest').addressPrefix.bech32 = 'bcrt'; // it predates BIP173's last word

const [port, peer] = process.argv.slice(2);
const node = new FullNode({
  network: 'regtest', memory: true, listen: true, host: '127.0.0.1', port: Number(port), httpPort: Number(port) + 1,
  noAuth: true, workers: false, maxOutbound: 1, only: peer ? [peer] : [], blockMode: 1, persistent: false, logLevel: 'none'
});
const counts = {};
node.pool.on('packet', (packet) => {
  const name = packet.constructor.name;
  counts[name] = (counts[name] || 0) + 1;
});

const ring = KeyRing.fromPrivate(Buffer.alloc(32, 7), true);
ring.witness = true;
const spendable = []; // coinbases of ours, oldest first

const commands = {
  info: () => ({height: node.chain.height, tip: node.chain.tip.rhash(), mempool: node.mempool.map.size, counts,
    peers: node.pool.peers.size()}),
  mine: async ({count}) => {
    const hashes = [];
    for (let i = 0; i < count; i++) {
      const block = await node.miner.mineBlock(node.chain.tip, ring.getAddress());
      if (!await node.chain.add(block))
        throw new Error('bcoin refuses its own block');
      spendable.push(Coin.fromTX(block.txs[0], 0, node.chain.height));
      hashes.push(block.rhash());
    }
    return {hashes};
  },
  // Unmakes the last blocks and builds a longer branch from there.
  fork: async ({depth, count}) => {
    let parent = node.chain.tip;
    for (let i = 0; i < depth; i++)
      parent = await node.chain.getPrevious(parent);
    for (let i = 0; i < count; i++) {
      const block = await node.miner.mineBlock(parent, ring.getAddress());
      parent = await node.chain.add(block);
    }
    return {height: node.chain.height, tip: node.chain.tip.rhash()};
  },
  spend: async ({fee}) => {
    const coin = spendable.shift();
    const mtx = new MTX();
    mtx.addCoin(coin);
    mtx.addOutput({address: ring.getAddress(), value: coin.value - fee});
    mtx.sign(ring);
    const tx = mtx.toTX();
    await node.sendTX(tx);
    return {txid: tx.txid(), hex: tx.toRaw().toString('hex')};
  },
  make: ({hex, index, fee}) => { // a spend of a foreign-made output to our key, not sent
    const parent = TX.fromRaw(hex, 'hex');
    const mtx = new MTX();
    mtx.addTX(parent, index);
    mtx.addOutput({address: ring.getAddress(), value: parent.outputs[index].value - fee});
    mtx.sign(ring);
    const tx = mtx.toTX();
    return {txid: tx.txid(), hex: tx.toRaw().toString('hex')};
  },
  has: ({txid}) => ({yes: node.mempool.has(Buffer.from(txid, 'hex').reverse().toString('hex'))}),
  address: () => ({address: ring.getAddress('string', 'regtest')})
};

async function main() {
  await node.open();
  await node.connect();
  node.startSync();
  console.log(JSON.stringify({listening: Number(port)}));
  for await (const line of readline.createInterface({input: process.stdin})) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = await commands[request.do](request);
    } catch (problem) {
      answer = {error: String(problem.stack)};
    }
    console.log(JSON.stringify({id: request.id, ...answer}));
  }
  await node.close();
  process.exit(0);
}

process.on('unhandledRejection', (problem) => { console.error(problem); process.exit(1); });
main();
