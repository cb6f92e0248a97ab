"""Conversations with a node as peers of other programs hold them: what is announced how, which blocks are asked for and taken, what
becomes of transactions. What is expected is what Bitcoin Core 28 does on the wire."""

import os
import struct
import threading
import time

from blocks import Block, Reader, Tx, compact, merkle, sha256d
from quarry import MAGIC, Node, RawPeer, wait_until
from test_mempool import ADDRESS, spend

COIN = 100_000_000
TX, BLOCK, WTX, WITNESS = 1, 2, 5, 0x40000000


class Peer(RawPeer):
    """Shakes hands, answers pings, and keeps what it hears."""

    def __init__(self, node, services=9, version=70016, relay=1, before_verack=()):
        super().__init__(node.wait_port(), MAGIC["regtest"])
        self.heard, self.open, self.change = [], True, threading.Condition()
        address = struct.pack("<Q", services) + b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1]) + struct.pack(">H", 1)
        self.send("version", struct.pack("<iQq", version, services, int(time.time())) + address + address + os.urandom(8)
                  + b"\x06/test/" + struct.pack("<i", 0) + bytes([relay]))
        while (got := self.receive()) and got[0] != "verack":
            self.heard.append(got)
        self.open = got is not None
        if self.open:
            for command in before_verack:
                self.send(command)
            self.send("verack")
            threading.Thread(target=self.listen, daemon=True).start()
            self.sync()

    def listen(self):
        while got := self.receive():
            if got[0] == "ping":
                self.send("pong", got[1])
            with self.change:
                self.heard.append(got)
                self.change.notify_all()
        with self.change:
            self.open = False
            self.change.notify_all()

    def wait(self, condition, what):
        with self.change:
            assert self.change.wait_for(condition, 60), (what, [command for command, _ in self.heard])

    def sync(self):
        """The node has dealt with everything that was sent."""
        nonce = os.urandom(8)
        self.send("ping", nonce)
        self.wait(lambda: ("pong", nonce) in self.heard or not self.open, "a pong")

    def closed(self):
        with self.change:
            return self.change.wait_for(lambda: not self.open, 60)

    def clear(self):
        with self.change:
            self.heard.clear()

    def all(self, command):
        with self.change:
            return [payload for heard, payload in self.heard if heard == command]

    def next(self, command):
        """The payload of the next one of these since clear."""
        self.wait(lambda: any(heard == command for heard, _ in self.heard), command)
        return self.all(command)[0]


def inventory(*items):
    return compact(len(items)) + b"".join(struct.pack("<I", kind) + bytes.fromhex(digest)[::-1] for kind, digest in items)


def items_of(payload):
    r = Reader(payload)
    return [(r.number(4), r.take(32)[::-1].hex()) for _ in range(r.compact())]


def headers(*blocks):
    return compact(len(blocks)) + b"".join(bytes(block.header) + b"\0" for block in blocks)


def hashes_of(payload):
    r = Reader(payload)
    return [sha256d(r.take(81)[:80])[::-1].hex() for _ in range(r.compact())]


def hash_of(block):
    return sha256d(bytes(block.header))[::-1].hex()


def getheaders(*locator, stop=None):
    return (struct.pack("<I", 70016) + compact(len(locator)) + b"".join(bytes.fromhex(digest)[::-1] for digest in locator)
            + (bytes.fromhex(stop)[::-1] if stop else bytes(32)))


def block_on(parent, height, stamp, sat=50 * COIN, extra=[0]):  # pylint: disable=dangerous-default-value
    extra[0] += 1  # no two blocks are alike
    number = bytes([0x50 + height]) if height <= 16 else compact(height.bit_length() // 8 + 1) + height.to_bytes(height.bit_length() // 8 + 1, "little")
    coinbase = Tx(Reader(struct.pack("<I", 2) + b"\0\0" + bytes(4)))
    coinbase.inputs = [[bytes(32) + b"\xff" * 4, number + b"\x04" + struct.pack("<I", extra[0]), 0xffffffff]]
    coinbase.witness, coinbase.outputs = [[]], [[sat, b"\x51"]]
    block = Block.__new__(Block)
    block.txs = [coinbase]
    block.header = bytearray(struct.pack("<I", 0x20000000) + bytes.fromhex(parent)[::-1] + merkle([sha256d(coinbase.raw(False))])
                             + struct.pack("<III", stamp, 0x207fffff, 0))
    for nonce in range(1 << 20):
        block.header[76:80] = struct.pack("<I", nonce)
        if sha256d(bytes(block.header))[31] < 0x7f:
            return block
    raise AssertionError("no nonce")


def chain_on(node, depth, count):
    """So many blocks on the block this far below the tip."""
    height = node.rpc("getblockcount") - depth
    parent = node.rpc("getblockhash", height)
    stamp = node.rpc("getblockheader", parent)["time"] + 1000
    blocks = []
    for i in range(count):
        blocks.append(block_on(parent, height + 1 + i, stamp + i))
        parent = hash_of(blocks[-1])
    return blocks


def deliver(node, peer, blocks):
    peer.send("headers", headers(*blocks))
    for block in blocks:
        peer.send("block", block.raw())
    wait_until(lambda: node.rpc("getbestblockhash") == hash_of(blocks[-1]), what="the blocks to be connected")


def test_announcements():
    """Of BIP130: headers to who wants them and knows what is below; inventory otherwise, and when much has changed."""
    node = Node("--mine=no")
    node.rpc("generatetoaddress", 10, ADDRESS)
    plain, fond, source = Peer(node), Peer(node), Peer(node)

    def announced(peer, act):
        peer.clear()
        expected = act()
        peer.sync()
        return [command for command, _ in peer.heard if command in ("inv", "headers")], expected

    def mine():
        return node.rpc("generatetoaddress", 1, ADDRESS)[0]

    assert announced(plain, mine)[0] == ["inv"]
    fond.send("sendheaders")
    fond.sync()
    assert announced(fond, mine)[0] == ["inv"], "what it has is not known"
    fond.send("getheaders", getheaders(node.rpc("getbestblockhash")))
    fond.sync()
    assert announced(fond, mine)[0] == ["headers"]
    assert announced(plain, mine)[0] == ["inv"]
    for depth, kind, count in ((7, "headers", 8), (8, "inv", 1)):
        fond.send("getheaders", getheaders(node.rpc("getbestblockhash")))
        fond.sync()
        blocks = chain_on(node, depth, depth + 1)
        assert announced(fond, lambda blocks=blocks: deliver(node, source, blocks))[0] == [kind], depth
        payload = fond.all(kind)[0]
        told = hashes_of(payload) if kind == "headers" else [digest for _, digest in items_of(payload)]
        assert told == [hash_of(block) for block in blocks][-count:], depth
    assert announced(fond, mine)[0] == ["inv"], "until it asks for headers"
    fond.send("getheaders", getheaders(node.rpc("getblockhash", 3)))
    fond.sync()
    assert announced(fond, mine)[0] == ["headers"]
    block = chain_on(node, 0, 1)[0]
    fond.send("headers", headers())  # the answer to the node's first question
    fond.sync()
    fond.clear()
    fond.send("inv", inventory((BLOCK, hash_of(block))))
    assert fond.next("getheaders")[5:37][::-1].hex() == node.rpc("getbestblockhash") and not fond.all("getdata")
    deliver(node, fond, [block])
    assert announced(fond, mine)[0] == ["headers"], "it has shown what is below"
    node.stop()


def test_blocks_that_nobody_asked_for():
    """Stored with as much work as the tip; what is missing below is asked for; a chain with a bad block is asked for once."""
    node = Node("--mine=no")
    node.rpc("generatetoaddress", 2, ADDRESS)
    peer = Peer(node)
    first, second, third = chain_on(node, 2, 3)
    for block, known in ((first, False), (second, True), (third, True)):
        peer.send("block", block.raw())
        peer.sync()
        try:
            node.rpc("getblock", hash_of(block))
            assert known, "less work than the tip"
        except Exception as error:  # pylint: disable=broad-except
            assert not known and "Block not available" in str(error), error
    assert items_of(peer.next("getdata")) == [(BLOCK | WITNESS, hash_of(first))]
    peer.send("block", first.raw())
    wait_until(lambda: node.rpc("getbestblockhash") == hash_of(third), what="the other branch")
    good = chain_on(node, 0, 1)[0]
    stamp = struct.unpack("<I", good.header[68:72])[0]
    bad = block_on(hash_of(good), 5, stamp + 1, sat=51 * COIN)
    last = block_on(hash_of(bad), 6, stamp + 2)
    peer.send("headers", headers(good, bad, last))
    for block in (good, last, bad):
        peer.send("block", block.raw())
    assert peer.closed() and node.rpc("getbestblockhash") == hash_of(good)
    again = Peer(node)
    again.clear()
    again.send("inv", inventory((BLOCK, hash_of(last))))
    again.sync()
    assert not again.all("getdata") and not again.all("getheaders"), again.heard
    again.send("headers", headers(block_on(hash_of(last), 7, stamp + 3)))
    assert again.closed(), "what stands on a bad block is bad"
    node.stop()


def test_transactions_between_peers():
    """By wtxid and by txid, with and without witness; orphans; what was just mined; copies without their witness."""
    node = Node("--mine=no")
    blocks = node.rpc("generatetoaddress", 105, ADDRESS)
    coins = [(node.rpc("getblock", block)["tx"][0], 0, 50 * COIN) for block in blocks[:4]]
    new, old, quiet = Peer(node, before_verack=("wtxidrelay", "sendaddrv2")), Peer(node), Peer(node, relay=0)

    def ids(raw):
        tx = Tx(Reader(bytes.fromhex(raw)))
        return tx.raw(False), sha256d(tx.raw(False))[::-1].hex(), sha256d(tx.raw())[::-1].hex()

    raw = spend(coins[:1], 1000)
    stripped, txid, wtxid = ids(raw)
    for peer in (new, old, quiet):
        peer.clear()
    node.rpc("sendrawtransaction", raw)
    assert items_of(new.next("inv")) == [(WTX, wtxid)] and items_of(old.next("inv")) == [(TX, txid)]
    quiet.sync()
    assert not quiet.all("inv"), "it wants to hear of none"
    for kind, expected in ((TX | WITNESS, bytes.fromhex(raw)), (TX, stripped)):
        old.clear()
        old.send("getdata", inventory((kind, txid)))
        assert old.next("tx") == expected
    whole = spend(coins[1:2], 1000)
    stripped, txid, _ = ids(whole)
    old.clear()
    old.send("tx", stripped)
    old.send("inv", inventory((TX, txid)))
    assert items_of(old.next("getdata")) == [(TX | WITNESS, txid)], "the copy says nothing of the whole"
    old.send("tx", bytes.fromhex(whole))
    wait_until(lambda: txid in node.rpc("getrawmempool"), what="the whole transaction")
    parent = spend(coins[2:3], 1000, 2)
    child = spend([(ids(parent)[1], 0, (50 * COIN - 1000) // 2)], 2000)
    new.clear()
    new.send("tx", bytes.fromhex(child))
    assert items_of(new.next("getdata")) == [(TX | WITNESS, ids(parent)[1])]
    new.send("tx", bytes.fromhex(parent))
    wait_until(lambda: ids(child)[1] in node.rpc("getrawmempool"), what="the orphan to find its parent")
    node.rpc("generatetoaddress", 1, ADDRESS)
    for peer in (new, old):
        peer.clear()
    new.send("inv", inventory((WTX, wtxid)))
    old.send("inv", inventory((TX, ids(child)[1])))
    old.send("tx", bytes.fromhex(child))
    old.send("getdata", inventory((TX | WITNESS, ids(child)[1])))
    assert old.next("tx") == bytes.fromhex(child), "who asks now puts the block together"
    new.sync()
    assert not new.all("getdata") and not old.all("getdata"), "it was mined"
    node.stop()


def test_what_ends_a_conversation_and_what_does_not():
    node = Node("--mine=no")
    node.rpc("generatetoaddress", 20, ADDRESS)
    for command, payload in (("filterload", b"\x01\xff\x01" + bytes(6)), ("filterclear", b""), ("mempool", b""), ("wtxidrelay", b""),
                             ("sendaddrv2", b""), ("getcfcheckpt", b"\0" + bytes(32)), ("inv", compact(50001) + bytes(36 * 50001)),
                             ("headers", compact(2001) + bytes(81 * 2001)), ("getheaders", getheaders(*["11" * 32] * 102)),
                             ("getblocktxn", bytes.fromhex(node.rpc("getbestblockhash"))[::-1] + b"\x01\x05")):
        peer = Peer(node)
        peer.send(command, payload)
        assert peer.closed(), command
    peer = Peer(node)
    for command, payload in (("version", bytes(90)), ("verack", b""), ("fromlater", bytes(1000)), ("addrv2", b"\x01"), ("ping", b"\x01"),
                             ("feefilter", b""), ("sendcmpct", bytes(3)), ("notfound", inventory((TX, "11" * 32))),
                             ("getdata", inventory((3, "11" * 32), (0x12345, "22" * 32))), ("blocktxn", bytes(33)),
                             ("inv", inventory((0x777, "11" * 32)))):
        peer.send(command, payload)
    peer.sock.sendall(peer.message("ping", b"12345678", checksum=b"\0\0\0\0"))
    peer.sync()
    assert peer.open
    peer.send("getdata", inventory((TX, "11" * 32), (TX, "22" * 32)))
    assert len(items_of(peer.next("notfound"))) == 2
    for version, spoken_with in ((31799, False), (31800, True), (60001, True), (70015, True), (70999, True)):
        assert Peer(node, version=version).open == spoken_with, version
    node.stop()


def test_a_chain_with_little_work_is_neither_fetched_nor_shown():
    first = Node("--mine=no")
    first.rpc("generatetoaddress", 5, ADDRESS)
    second = Node("--mine=no", "--minimumchainwork=" + f"{2 * 8:064x}", f"--connect=127.0.0.1:{first.wait_port()}")  # genesis and seven more
    peer = Peer(second)
    wait_until(lambda: "headers" in second.rpc("getpeerinfo")[0]["bytesrecv_per_msg"], what="the headers")
    peer.send("block", bytes.fromhex(first.rpc("getblock", first.rpc("getblockhash", 1), 0)))  # unasked
    peer.sync()
    assert second.rpc("getblockchaininfo")["headers"] == 0 and len(second.rpc("getchaintips")) == 1
    peer.send("getheaders", getheaders(stop=first.rpc("getblockhash", 0)))
    assert peer.next("headers") == b"\0"
    peer.clear()
    peer.send("getheaders", getheaders(first.rpc("getblockhash", 0)))
    assert peer.next("headers") == b"\0" and second.rpc("getblockcount") == 0
    assert "getdata" not in second.rpc("getpeerinfo")[0]["bytessent_per_msg"]
    first.rpc("generatetoaddress", 2, ADDRESS)
    wait_until(lambda: second.rpc("getblockcount") == 7, what="a chain with enough work")
    peer.clear()
    peer.send("getheaders", getheaders(first.rpc("getblockhash", 0)))
    peer.wait(lambda: any(len(hashes_of(payload)) == 7 for payload in peer.all("headers")), "seven headers")
    for node in (second, first):
        node.stop()
