"""--loadblock: the first 255 blocks of Bitcoin's main chain, and Bitcoin Core's regtest chain, whole and spoiled."""

import json
import os
import struct
import tempfile

import quarry
from blocks import Block
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


# ---- A regtest chain that Bitcoin Core made ----------------------------------------------------------------

FALSE_TOP = "Script evaluated without error but finished with a false/empty top stack element"


def mixed(suffix):
    path = os.path.join(quarry.VECTORS, f"regtest_mixed_a.{suffix}")
    if not os.path.exists(path):
        raise Skip(f"no vectors at {path}")
    return path


def same_as_core(node, expected):
    for kind, value in (("hash_serialized_3", expected["utxo"]["hash_serialized_3"]), ("muhash", expected["muhash"])):
        info = node.rpc("gettxoutsetinfo", kind)
        assert info["bestblock"] == expected["tip"] and info[kind] == value, (kind, info)
        for field in ("height", "txouts", "bogosize", "total_amount", "transactions"):
            assert info[field] == expected["utxo"][field], (field, info)


def test_load_mixed_equals_core():
    """Tip and both UTXO set hashes are Core's: loaded, and built anew from coins and from nothing."""
    path = mixed("dat")
    with open(mixed("json"), encoding="utf-8") as file:
        expected = json.load(file)
    datadir = None
    for how in (f"--loadblock={path}", "--reindex-chainstate", "--reindex"):
        where = {} if datadir is None else {"datadir": datadir}
        node = Node(how, "--mine=no", "--exit-when=loaded", chain="regtest", listen=False, **where)
        assert node.wait_exit() == 0, node.log()
        datadir = node.datadir
        node = Node("--mine=no", chain="regtest", datadir=datadir, listen=False)
        same_as_core(node, expected)
        assert node.rpc("verifychain", 4, 0) is True
        node.stop()


def mixed_blocks():
    with open(mixed("dat"), "rb") as file:
        data = file.read()
    return data, records(data)


def find_spend(wanted):
    """(index of the block, of the transaction) of the first that has one input and is wanted(tx)."""
    data, places = mixed_blocks()
    for b, (_, at, length) in enumerate(places):
        for t, tx in enumerate(Block(data[at:at + length]).txs[1:], 1):
            if len(tx.inputs) == 1 and wanted(tx):
                return b, t
    raise AssertionError("no such spend in the vectors")


def is_p2wpkh(tx):
    return not tx.inputs[0][1] and len(tx.witness[0]) == 2 and len(tx.witness[0][1]) == 33


def is_taproot_key(tx):
    return not tx.inputs[0][1] and [len(item) for item in tx.witness[0]] in ([64], [65])


def is_p2pkh(tx):
    return not tx.witness[0] and 100 < len(tx.inputs[0][1]) < 110


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def spoil_witness_signature(tx):
    tx.witness[0][0] = flipped(tx.witness[0][0], 45)


def spoil_script_signature(tx):
    tx.inputs[0][1] = flipped(tx.inputs[0][1], 46)


def spoil_amount(tx):
    tx.outputs[0][0] -= 1


def spoil_locktime(tx):
    tx.locktime = 0 if tx.locktime else 1


def spoil_sequence(tx):
    tx.inputs[0][2] ^= 1


def spoil_witness_count(tx):
    tx.witness[0].pop()


def refused_with(wanted, spoil, word):
    data, places = mixed_blocks()
    b, t = find_spend(wanted)
    start, at, length = places[b]
    block = Block(data[at:at + length])
    assert block.raw() == data[at:at + length]
    spoil(block.txs[t])
    raw = block.rebuild().raw()
    with tempfile.NamedTemporaryFile(suffix=".dat") as file:
        file.write(data[:start + 4] + struct.pack("<I", len(raw)) + raw)
        file.flush()
        node = Node(f"--loadblock={file.name}", "--mine=no", "--exit-when=loaded", chain="regtest", listen=False)
        assert node.wait_exit() == 1, node.log()
    word = f"refused: mandatory-script-verify-flag-failed ({word})"
    assert word in node.log(), (spoil.__name__, word, node.log())


def test_load_spoiled_spends():
    """Every change breaks exactly the script it should, with Core's word for it."""
    schnorr = "Invalid Schnorr signature"
    for wanted, spoil, word in (
        (is_p2wpkh, spoil_witness_signature, FALSE_TOP),
        (is_p2wpkh, spoil_amount, FALSE_TOP),
        (is_p2wpkh, spoil_locktime, FALSE_TOP),
        (is_p2wpkh, spoil_sequence, FALSE_TOP),
        (is_p2wpkh, spoil_witness_count, "Witness program hash mismatch"),
        (is_taproot_key, spoil_witness_signature, schnorr),
        (is_taproot_key, spoil_amount, schnorr),
        (is_taproot_key, spoil_locktime, schnorr),
        (is_taproot_key, spoil_sequence, schnorr),
        (is_taproot_key, spoil_witness_count, "Witness program was passed an empty witness"),
        (is_p2pkh, spoil_script_signature, FALSE_TOP),
        (is_p2pkh, spoil_amount, FALSE_TOP),
        (is_p2pkh, spoil_locktime, FALSE_TOP),
        (is_p2pkh, spoil_sequence, FALSE_TOP),
    ):
        refused_with(wanted, spoil, word)
