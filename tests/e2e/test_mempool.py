"""The mempool's policy at the socket: replacement by fee. Coins are anyone's (P2WSH of OP_TRUE): nothing is signed."""

import struct

from blocks import Reader, Tx
from quarry import Node

OP_TRUE = b"\x51"
ADDRESS = "bcrt1qft5p2uhsdcdc3l2ua4ap5qqfg4pjaqlp250x7us7a8qqhrxrxfsqseac85"  # of sha256(OP_TRUE)
PROGRAM = bytes.fromhex("00204ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260")


def spend(coins, fee, outputs=1):
    """coins: (txid, index, sat) each. Raw hex."""
    tx = Tx(Reader(struct.pack("<I", 2) + b"\0\0" + bytes(4)))
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
