"""What a stranger can ask and say on the wire, one situation after the other, and what Bitcoin Core 28 does then: who looks at the
node from outside shall not be able to tell the two apart."""

import os
import socket
import struct
import time

from blocks import Tx, Reader, compact, sha256d
from quarry import MAGIC, Node, RawPeer, wait_until
from test_conversations import BLOCK, TX, WITNESS, WTX, Peer, block_on, chain_on, getheaders, hash_of, hashes_of, headers, inventory, items_of
from test_mempool import ADDRESS, spend

COMPACT, FILTERED = 4, 3
COIN = 100_000_000


def version_of(services=9, version=70016, stamp=None, upto="relay", agent=b"/test/"):
    address = struct.pack("<Q", services) + b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1]) + struct.pack(">H", 1)
    parts = {"them": struct.pack("<iQq", version, services, int(time.time()) if stamp is None else stamp) + address,
             "nonce": address + os.urandom(8), "agent": compact(len(agent)) + agent, "height": struct.pack("<i", 0), "relay": b"\x01"}
    names = list(parts)
    return b"".join(parts[name] for name in names[:names.index(upto) + 1])


def hear_until(peer, last):
    heard = []
    while got := peer.receive():
        heard.append(got)
        if got == last or got[0] == last:
            return heard
    raise AssertionError(("closed", heard))


def silent(peer):
    peer.sock.settimeout(0.3)
    try:
        assert peer.sock.recv(1) is None, "something was said"
    except socket.timeout:
        pass
    peer.sock.settimeout(60)


def test_how_it_shakes_hands():
    node = Node("--mine=no")
    tip = node.rpc("generatetoaddress", 3, ADDRESS)
    peer = RawPeer(node.wait_port(), MAGIC["regtest"])
    for command in ("verack", "wtxidrelay", "ping", "getaddr", "inv", "tx", "filterload", "fromlater"):
        peer.send(command, bytes(9))
    peer.send("version", b"\0" * 30)  # cannot be read, and may be said again
    silent(peer)
    peer.send("version", version_of(stamp=2 ** 50))
    heard = hear_until(peer, "verack")
    assert [command for command, _ in heard] == ["version", "wtxidrelay", "sendaddrv2", "verack"]
    number, services = struct.unpack("<iQ", heard[0][1][:12])
    assert number == 70016 and services == 0x409, "what is not public is not told:"
    assert heard[0][1][28:46] == heard[0][1][54:72] == bytes(18)
    peer.send("ping", b"too soon")
    peer.send("version", version_of())
    peer.send("verack")
    for command in ("verack", "sendheaders", "sendheaders", "reject", "alert", "sendtxrcncl", "checkorder", "merkleblock", "sendpackages"):
        peer.send(command, b"\1\2\3")
    peer.send("ping", b"question")
    heard = hear_until(peer, ("pong", b"question"))
    names = [command for command, _ in heard]
    assert names.count("pong") == 1 and "version" not in names
    assert dict(heard)["sendcmpct"] == struct.pack("<BQ", 0, 2) and names.count("sendcmpct") == 1
    assert dict(heard)["getheaders"][5:37][::-1].hex() == tip[1], "from the block below the tip on"
    assert {"ping", "feefilter"} <= set(names)
    for upto, known in (("them", True), ("nonce", True), ("agent", True), ("height", True)):
        peer = RawPeer(node.wait_port(), MAGIC["regtest"])
        peer.send("version", version_of(upto=upto))
        assert bool(hear_until(peer, "verack")) == known, upto
    peer = RawPeer(node.wait_port(), MAGIC["regtest"])
    peer.send("version", version_of(agent=b"a" * 257))
    silent(peer)
    assert len(Peer(node, relay=0).all("feefilter")) == 1, "also where no transactions are wanted"
    node.stop()


def test_what_is_asked_about_the_chain():
    node = Node("--mine=no")
    chain = [node.rpc("getblockhash", 0)] + node.rpc("generatetoaddress", 20, ADDRESS)
    peer, unknown = Peer(node), ["11" * 32, "22" * 32]

    def ask(command, payload, answer):
        peer.clear()
        peer.send(command, payload)
        peer.sync()
        return peer.all(answer)

    for locator, stop, expected in (([chain[5]], chain[9], chain[6:10]), ([chain[5]], None, chain[6:]), ([chain[5]], chain[3], chain[6:]),
                                    (unknown, None, chain[1:]), ([unknown[0], chain[18], chain[2]], None, chain[19:]), ([chain[20]], None, []),
                                    ([], chain[7], [chain[7]])):
        assert [hashes_of(payload) for payload in ask("getheaders", getheaders(*locator, stop=stop), "headers")] == [expected]
    assert ask("getheaders", getheaders(stop=unknown[0]), "headers") == []
    for locator, stop, expected in (([chain[5]], chain[9], chain[6:9]), (unknown, None, chain[1:]), ([], None, chain[1:])):
        told = [items_of(payload) for payload in ask("getblocks", getheaders(*locator, stop=stop), "inv")]
        assert told == [[(BLOCK, digest) for digest in expected]]
    assert ask("getblocks", getheaders(chain[20]), "inv") == [] and ask("getblocks", getheaders(chain[5], stop=chain[6]), "inv") == []
    plain, whole = ask("getdata", inventory((BLOCK, chain[5]), (BLOCK | WITNESS, chain[6])), "block")
    assert [sha256d(raw[:80])[::-1].hex() for raw in (plain, whole)] == chain[5:7] and len(plain) < len(whole)
    assert len(ask("getdata", inventory((COMPACT, chain[15]), (COMPACT, chain[20])), "cmpctblock")) == 2
    assert len(ask("getdata", inventory((COMPACT, chain[14])), "block")) == 1, "an older one comes whole"
    assert ask("getdata", inventory((FILTERED, chain[14]), (0x99, chain[12])), "notfound") == [] and not peer.all("block")
    asked = [(TX, unknown[0]), (WTX, unknown[1]), (TX | WITNESS, unknown[1])]
    assert [items_of(payload) for payload in ask("getdata", inventory(*asked), "notfound")] == [asked]
    assert len(ask("getblocktxn", bytes.fromhex(chain[10])[::-1] + b"\x01\x00", "blocktxn")) == 1
    assert len(ask("getblocktxn", bytes.fromhex(chain[9])[::-1] + b"\x01\x00", "block")) == 1, "an older one comes whole"
    node.stop()


def without_work(block):
    spoiled = block_on(block.header[4:36][::-1].hex(), 21, struct.unpack("<I", block.header[68:72])[0])
    while sha256d(bytes(spoiled.header))[31] < 0x80:
        spoiled.header[76] = (spoiled.header[76] + 1) % 256
    return spoiled


def compact_of(block, index=0):
    return bytes(block.header) + bytes(8) + compact(0) + compact(1) + compact(index) + block.txs[0].raw()


def test_headers_and_blocks_that_are_odd():
    node = Node("--mine=no")
    node.rpc("generatetoaddress", 20, ADDRESS)
    first, second, third = chain_on(node, 0, 3)
    bad = without_work(first)
    for command, payload in (("headers", headers(first, third)), ("headers", headers(bad)), ("cmpctblock", compact_of(bad)),
                             ("block", third.raw()), ("block", bad.raw())):
        peer = Peer(node)
        peer.send(command, payload)
        assert peer.closed(), command
    for command, payload, asked in (("headers", headers(), 0), ("headers", headers(second, third), 1), ("cmpctblock", compact_of(third), 1),
                                    ("inv", inventory((BLOCK, hash_of(third))), 1), ("inv", inventory((BLOCK | WITNESS, hash_of(third))), 0)):
        peer = Peer(node)
        peer.send("headers", headers())  # the answer to the node's first question
        peer.sync()
        peer.clear()
        peer.send(command, payload)
        peer.sync()
        assert len(peer.all("getheaders")) == asked and not peer.all("getdata") and peer.open, (command, peer.heard)
    peer.send("cmpctblock", compact_of(first, 1))
    assert peer.closed(), "an index outside of the block"
    bare = Peer(node, services=1)
    bare.send("headers", headers(first))
    bare.sync()
    assert not bare.all("getdata"), "what it has is without witnesses"
    whole = Peer(node)
    whole.send("headers", headers(first))
    assert items_of(whole.next("getdata")) == [(BLOCK | WITNESS, hash_of(first))]
    node.stop()


def test_who_is_told_of_blocks_how():
    node = Node("--mine=no")
    node.rpc("generatetoaddress", 5, ADDRESS)
    peer = Peer(node)
    for flag, number, expected in ((1, 1, "inv"), (1, 2, "cmpctblock"), (7, 2, "cmpctblock"), (0, 2, "inv"), (1, 3, "inv")):
        peer.send("sendcmpct", struct.pack("<BQ", flag, number))
        peer.send("getheaders", getheaders(node.rpc("getbestblockhash")))
        peer.sync()
        peer.clear()
        node.rpc("generatetoaddress", 1, ADDRESS)
        peer.sync()
        assert [command for command, _ in peer.heard if command in ("inv", "headers", "cmpctblock")] == [expected], (flag, number)
    node.stop()


def of_version_3(raw):
    """Whose child may pay for it even where it pays nothing itself (BIP431)."""
    return "03" + raw[2:]


def test_transactions_that_are_odd():
    """What no block may hold, and what is announced to whom by which name."""
    node = Node("--mine=no")
    blocks = node.rpc("generatetoaddress", 105, ADDRESS)
    coins = [(node.rpc("getblock", block)["tx"][0], 0, 50 * COIN) for block in blocks]
    greedy, early, poor = spend(coins[:1], -1), spend(coins[100:101], 1000), of_version_3(spend(coins[1:2], 0))
    twice = spend([coins[2], coins[2]], 1000)
    for raw, closed in ((greedy, True), (twice, True), (early, False), (poor, False), (spend(coins[3:4], 1000) + "00", False)):
        peer = Peer(node)
        peer.send("tx", bytes.fromhex(raw))
        peer.sync()
        assert (peer.closed() if closed else peer.open), raw
    wait_until(lambda: len(node.rpc("getrawmempool")) == 1, what="the good one, with a byte behind its end")
    ids = {True: "78" * 32, False: "79" * 32}
    for options, expected in (({}, [(TX | WITNESS, ids[False])]), ({"services": 1}, [(TX, ids[False])]),
                              ({"before_verack": ("wtxidrelay",)}, [(WTX, ids[True])]),
                              ({"before_verack": ("wtxidrelay",), "version": 70015}, [(TX | WITNESS, ids[False])])):
        peer = Peer(node, **options)
        peer.clear()
        peer.send("inv", inventory((WTX, ids[True]), (TX, ids[False])))
        peer.sync()
        assert [items_of(payload) for payload in peer.all("getdata")] == [expected], options
        peer.send("notfound", inventory(*expected))
        peer.sync()
    quiet = Peer(node, relay=0)
    quiet.clear()
    quiet.send("getdata", inventory((TX, ids[True])))
    quiet.sync()
    assert not quiet.all("notfound"), "it has said that it is not interested"
    child = of_version_3(spend([(sha256d(Tx(Reader(bytes.fromhex(poor))).raw(False))[::-1].hex(), 0, 50 * COIN)], 10_000))
    peer = Peer(node)
    peer.send("tx", bytes.fromhex(child))
    assert items_of(peer.next("getdata"))[0][0] == TX | WITNESS, "the parent, though it was refused for its fee"
    peer.send("tx", bytes.fromhex(poor))
    wait_until(lambda: len(node.rpc("getrawmempool")) == 3, what="a child that pays for its parent")
    node.stop()


def test_frames():
    node = Node("--mine=no")
    for data in (MAGIC["regtest"] + b"ping".ljust(12, b"\0") + struct.pack("<I", 4_000_001) + bytes(4), b"\1\2\3\4" + bytes(20)):
        peer = Peer(node)
        peer.sock.sendall(data)
        assert peer.closed()
    peer = Peer(node)
    peer.clear()
    peer.sock.sendall(peer.message("ping", b"spoiled.", checksum=b"\0\0\0\0"))
    peer.send("ping", b"12345678" + bytes(3_999_992))  # as much as a message may hold
    peer.sync()
    assert len(peer.all("pong")) == 2 and ("pong", b"spoiled.") not in peer.heard
    node.stop()
