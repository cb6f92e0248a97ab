"""The mempool at the socket: replacement by fee, and what is left of it after a restart. Coins are anyone's (P2WSH of OP_TRUE): nothing is signed."""

import os
import re
import struct

from blocks import Reader, Tx, sha256d
from quarry import Node, wait_until

OP_TRUE = b"\x51"
ADDRESS = "bcrt1qft5p2uhsdcdc3l2ua4ap5qqfg4pjaqlp250x7us7a8qqhrxrxfsqseac85"  # of sha256(OP_TRUE)
PROGRAM = bytes.fromhex("00204ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260")


def spend(coins, fee, outputs=1, version=2):
    """coins: (txid, index, sat) each. Raw hex."""
    tx = Tx(Reader(struct.pack("<I", version) + b"\0\0" + bytes(4)))
    tx.inputs = [[bytes.fromhex(txid)[::-1] + struct.pack("<I", n), b"", 0xffffffff] for txid, n, _ in coins]
    tx.witness = [[OP_TRUE] for _ in coins]
    total = sum(sat for _, _, sat in coins) - fee
    tx.outputs = [[total // outputs, PROGRAM] for _ in range(outputs)]
    return tx.raw().hex()


def refused(node, raw, word):
    try:
        node.rpc("sendrawtransaction", raw)
    except Exception as error:
        assert word in str(error), (word, str(error))
    else:
        raise AssertionError(f"not refused with {word}")


def test_mempool_replacement():
    node = Node("--mine=no", chain="regtest", listen=False)
    blocks = node.rpc("generatetoaddress", 103, ADDRESS)
    coins = [(node.rpc("getblock", blocks[i])["tx"][0], 0, 5_000_000_000) for i in range(2)]
    first = node.rpc("sendrawtransaction", spend(coins[:1], 1000, 2))
    child = node.rpc("sendrawtransaction", spend([(first, 0, (5_000_000_000 - 1000) // 2)], 5000))
    refused(node, spend(coins[:1], 1000, 1)[:-8] + "01000000", "insufficient fee")  # fee rate above, fee equal
    refused(node, spend(coins[:1], 5999), "insufficient fee")  # less than what goes
    refused(node, spend(coins[:1], 6050), "insufficient fee")  # not for its own relay
    refused(node, spend([coins[0], (first, 1, (5_000_000_000 - 1000) // 2)], 20000), "bad-txns-spends-conflicting-tx")
    other = node.rpc("sendrawtransaction", spend(coins[1:], 1000))
    refused(node, spend([coins[0], (other, 0, 5_000_000_000 - 1000)], 20000), "replacement-adds-unconfirmed")
    assert set(node.rpc("getrawmempool")) == {first, child, other}
    better = node.rpc("sendrawtransaction", spend(coins[:1], 10000))
    assert set(node.rpc("getrawmempool")) == {better, other}
    block = node.rpc("generatetoaddress", 1, ADDRESS)[0]
    assert {better, other} <= set(node.rpc("getblock", block)["tx"])
    node.stop()


def test_mempool_packages():
    node = Node("--mine=no", chain="regtest", listen=False)
    blocks = node.rpc("generatetoaddress", 103, ADDRESS)
    coins = [(node.rpc("getblock", blocks[i])["tx"][0], 0, 5_000_000_000) for i in range(2)]

    def family(coin, version, parent_fee, child_fee):
        parent = spend([coin], parent_fee, version=version)
        txid = sha256d(Tx(Reader(bytes.fromhex(parent))).raw(with_witness=False))[::-1].hex()
        return [parent, spend([(txid, 0, 5_000_000_000 - parent_fee)], child_fee, version=version)]

    # Below the relay floor a child pays only for version 3 (BIP431).
    answer = node.rpc("submitpackage", family(coins[0], 2, 0, 5000))
    assert answer["package_msg"] == "transaction failed" and node.rpc("getrawmempool") == [], answer
    assert {result["error"].split(",")[0] for result in answer["tx-results"].values()} == {
        "min relay fee not met", "bad-txns-inputs-missingorspent"}, answer
    answer = node.rpc("submitpackage", family(coins[0], 3, 0, 5000))
    assert answer["package_msg"] == "success" and len(node.rpc("getrawmempool")) == 2, answer
    # Another such family replaces it when it pays for that.
    before = set(node.rpc("getrawmempool"))
    answer = node.rpc("submitpackage", family(coins[0], 3, 10, 5001))
    assert answer["package_msg"].startswith("package RBF failed: insufficient anti-DoS fees"), answer
    answer = node.rpc("submitpackage", family(coins[0], 3, 10, 6000))
    assert answer["package_msg"] == "success" and set(answer["replaced-transactions"]) == before, answer
    assert not before & set(node.rpc("getrawmempool"))
    node.stop()


def mempool_dat(path):
    """What a mempool.dat of version 1 or 2 says, read as Bitcoin Core does: [(txid, time, delta)], {txid: delta}, {txid}."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    version, = struct.unpack_from("<Q", data)
    at = 8
    if version == 2:
        assert data[8] == 8, data[8]
        key, at = bytes(data[9:17]), 17
        for i in range(at, len(data)):
            data[i] ^= key[i % 8]
    count, = struct.unpack_from("<Q", data, at)
    reader = Reader(bytes(data[at + 8:]))
    txs = []
    for _ in range(count):
        tx = Tx(reader)
        txs.append((sha256d(tx.raw(with_witness=False))[::-1].hex(), *struct.unpack("<qq", reader.take(16))))
    deltas = {reader.take(32)[::-1].hex(): struct.unpack("<q", reader.take(8))[0] for _ in range(reader.compact())}
    unbroadcast = {reader.take(32)[::-1].hex() for _ in range(reader.compact())}
    return version, txs, deltas, unbroadcast


def test_mempool_survives_a_restart():
    node = Node("--mine=no", chain="regtest")
    path = os.path.join(node.datadir, "regtest", "mempool.dat")
    blocks = node.rpc("generatetoaddress", 102, ADDRESS)
    coinbase = node.rpc("getblock", blocks[0])["tx"][0]
    fan = node.rpc("sendrawtransaction", spend([(coinbase, 0, 5_000_000_000)], 50000, 400))
    node.rpc("generatetoaddress", 1, ADDRESS)
    sat = (5_000_000_000 - 50000) // 400
    sent = {node.rpc("sendrawtransaction", spend([(fan, i, sat)], 1000 + i)) for i in range(400)}
    parent = node.rpc("sendrawtransaction", spend([(node.rpc("getblock", blocks[1])["tx"][0], 0, 5_000_000_000)], 1000))
    child = node.rpc("sendrawtransaction", spend([(parent, 0, 5_000_000_000 - 1000)], 3000))
    node.rpc("prioritisetransaction", child, 0, 777)
    node.rpc("prioritisetransaction", "aa" * 32, 0, -5)
    before = node.rpc("getrawmempool", True)
    assert set(before) == sent | {parent, child} and all(tx["unbroadcast"] for tx in before.values())
    assert node.rpc("savemempool") == {"filename": path} and os.stat(path).st_mode & 0o777 == 0o600
    version, txs, deltas, unbroadcast = mempool_dat(path)
    assert version == 2 and [tx[0] for tx in txs].index(parent) < [tx[0] for tx in txs].index(child)
    assert {txid: time for txid, time, _ in txs} == {txid: tx["time"] for txid, tx in before.items()}
    assert [tx[2] for tx in txs if tx[2]] == [777] and deltas == {"aa" * 32: -5} and unbroadcast == set(before)
    for _ in range(2):  # what is loaded is saved again
        node.stop()
        node.start()
        wait_until(lambda: node.rpc("getmempoolinfo")["loaded"], what="the mempool")
        assert node.rpc("getrawmempool", True) == before
        assert node.rpc("getprioritisedtransactions")[child]["fee_delta"] == 777
    wait_until(lambda: "402 transactions taken, 0 refused, 0 expired, 0 there already, 402 not broadcast yet" in node.log(), what="its line")
    for _ in range(3):  # a stop while it is being read, or before, loses nothing
        node.stop()
        node.start()
        wait_until(lambda: "opened at height" in node.log(), what="the chain")
    node.stop()
    assert {txid for txid, _, _ in mempool_dat(path)[1]} == set(before) and mempool_dat(path)[3] == set(before)
    node.start()
    wait_until(lambda: node.rpc("getmempoolinfo")["loaded"], what="the mempool")
    assert node.rpc("getrawmempool", True) == before
    os.rename(path, path + ".kept")
    assert node.rpc("importmempool", path + ".kept") == {}
    wait_until(lambda: "0 transactions taken, 0 refused, 0 expired, 402 there already" in node.log(), what="its line")

    # A peer fetches them: nobody need be told again.
    other = Node("--mine=no", f"--connect=127.0.0.1:{node.wait_port()}", listen=False)
    wait_until(lambda: other.rpc("getblockcount") == 103, what="synchronising")
    assert node.rpc("sendrawtransaction", node.rpc("getrawtransaction", parent)) == parent
    wait_until(lambda: parent in other.rpc("getrawmempool"), what="the transaction that was sent again")
    wait_until(lambda: not node.rpc("getmempoolentry", parent)["unbroadcast"], what="unbroadcast to end")
    assert node.rpc("getmempoolinfo")["unbroadcastcount"] == 401
    other.stop()
    node.stop()

    # Not kept where that is not wanted; a damaged file costs a warning and what stands behind the damage.
    node.flags.append("--persistmempool=no")
    kept = os.stat(path).st_mtime_ns
    node.start()
    assert node.rpc("getmempoolinfo")["loaded"] and node.rpc("getrawmempool") == []
    node.stop()
    assert os.stat(path).st_mtime_ns == kept
    node.flags.pop()
    with open(path, "rb+") as file:
        file.truncate(20000)
    node.start()
    wait_until(lambda: node.rpc("getmempoolinfo")["loaded"], what="the mempool")
    wait_until(lambda: "of 402" in node.log(), what="a warning")
    warnings = [line for line in node.lines if "mempool.dat" in line and "warn" in line]
    assert len(warnings) == 1 and re.search(r"inside, or is damaged in transaction \d+ of 402", warnings[0]), node.log()
    assert 0 < node.rpc("getmempoolinfo")["size"] < 402
    node.stop()
