"""--loadblock: the first 255 blocks of Bitcoin's main chain, whole and spoiled."""

import os
import struct
import tempfile

import quarry
from quarry import Node, Skip

TIP_255 = "00000000d0a75c861fabf9ff7b92022f60e4afeed9331fe5aa073d8e4706fe3c"


def mainnet_blocks():
    path = os.path.join(quarry.VECTORS, "mainnet_blocks_1_255.dat")
    if not os.path.exists(path):
        raise Skip(f"no vectors at {path}")
    with open(path, "rb") as file:
        return path, file.read()


def records(data):
    """(offset of the record, offset of the block, length) of each block."""
    at, out = 0, []
    while at < len(data):
        length = struct.unpack("<I", data[at + 4:at + 8])[0]
        out.append((at, at + 8, length))
        at += 8 + length
    return out


def load(data):
    with tempfile.NamedTemporaryFile(suffix=".dat") as file:
        file.write(data)
        file.flush()
        node = Node(f"--loadblock={file.name}", "--exit-when=loaded", chain="main", listen=False)
        code = node.wait_exit()
    reader = Node("--mine=no", chain="main", datadir=node.datadir, listen=False)
    height, best = reader.rpc("getblockcount"), reader.rpc("getbestblockhash")
    reader.stop()
    return code, height, best, node.log()


def test_load_main_255():
    path, _ = mainnet_blocks()
    node = Node(f"--loadblock={path}", "--exit-when=loaded", chain="main", listen=False)
    assert node.wait_exit() == 0, node.log()
    node = Node("--mine=no", chain="main", datadir=node.datadir, listen=False)
    assert node.rpc("getblockcount") == 255
    assert node.rpc("getbestblockhash") == TIP_255
    # Height 170 holds the first payment: its signature was checked on the way.
    block = node.rpc("getblock", node.rpc("getblockhash", 170))
    assert len(block["tx"]) == 2
    node.stop()


def test_load_xor():
    _, data = mainnet_blocks()
    key = bytes(range(0x31, 0x39))
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "blk00000.dat"), "wb") as file:
            file.write(bytes(b ^ key[i % 8] for i, b in enumerate(data)))
        with open(os.path.join(folder, "xor.dat"), "wb") as file:
            file.write(key)
        node = Node(f"--loadblock={folder}/blk00000.dat", "--exit-when=loaded", chain="main", listen=False)
        assert node.wait_exit() == 0, node.log()
    assert TIP_255 in node.log() or "255" in node.log()


def spoiled(block_number, byte_in_record, by=0x01):
    _, data = mainnet_blocks()
    record = records(data)[block_number - 1]
    changed = bytearray(data)
    changed[record[0] + byte_in_record] ^= by
    return (*load(bytes(changed)), record)


def test_load_flipped_nonce():
    code, height, _, log, _ = spoiled(100, 8 + 76)
    assert code == 1 and height == 99, (code, height, log)
    assert "high-hash" in log and "100" in log, log


def test_load_flipped_previous_hash():
    code, height, _, log, record = spoiled(100, 8 + 4)
    assert code == 1 and height == 99, (code, height, log)
    assert str(record[0]) in log or str(record[1]) in log, log


def test_load_flipped_body():
    code, height, _, log, _ = spoiled(170, 8 + 80 + 60)
    assert code == 1 and height == 169, (code, height, log)
    assert "bad-txnmrklroot" in log and "170" in log, log


def test_load_flipped_magic():
    code, height, _, log, record = spoiled(50, 1)
    assert code == 1 and height == 49, (code, height, log)
    assert str(record[0]) in log, log


def test_load_flipped_length():
    code, height, _, log, record = spoiled(50, 4)
    assert code == 1 and height == 49, (code, height, log)
    assert str(record[0]) in log, log


def test_load_huge_length():
    code, height, _, log, record = spoiled(50, 7, by=0x80)
    assert code == 1 and height == 49, (code, height, log)
    assert str(record[0]) in log, log


def test_load_missing_file():
    node = Node("--loadblock=/nowhere/blk00000.dat", "--exit-when=loaded", chain="main", listen=False)
    assert node.wait_exit() == 1
    assert "/nowhere/blk00000.dat" in node.log()
