"""Blocks as Python objects: parsed, changed, and made consistent again (ids, commitment, merkle root, nonce)."""

import hashlib
import struct


def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def compact(n):
    if n < 0xfd:
        return bytes([n])
    return b"\xfd" + struct.pack("<H", n) if n <= 0xffff else b"\xfe" + struct.pack("<I", n)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        assert self.at <= len(self.data)
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "little")

    def compact(self):
        first = self.number(1)
        return first if first < 0xfd else self.number({0xfd: 2, 0xfe: 4, 0xff: 8}[first])

    def bytes(self):
        return self.take(self.compact())


class Tx:
    def __init__(self, r):
        self.version = r.number(4)
        self.segwit = r.data[r.at:r.at + 2] == b"\0\1"
        r.take(2 if self.segwit else 0)
        self.inputs = [[r.take(36), r.bytes(), r.number(4)] for _ in range(r.compact())]
        self.outputs = [[r.number(8), r.bytes()] for _ in range(r.compact())]
        self.witness = [[r.bytes() for _ in range(r.compact())] if self.segwit else [] for _ in self.inputs]
        self.locktime = r.number(4)

    def raw(self, with_witness=True):
        segwit = with_witness and any(self.witness)
        out = struct.pack("<I", self.version) + (b"\0\1" if segwit else b"") + compact(len(self.inputs))
        for prevout, script, sequence in self.inputs:
            out += prevout + compact(len(script)) + script + struct.pack("<I", sequence)
        out += compact(len(self.outputs))
        for value, script in self.outputs:
            out += struct.pack("<Q", value) + compact(len(script)) + script
        if segwit:
            for items in self.witness:
                out += compact(len(items)) + b"".join(compact(len(i)) + i for i in items)
        return out + struct.pack("<I", self.locktime)


def merkle(hashes):
    while len(hashes) > 1:
        hashes = hashes + hashes[-1:] if len(hashes) % 2 else hashes
        hashes = [sha256d(a + b) for a, b in zip(hashes[::2], hashes[1::2])]
    return hashes[0]


class Block:
    """A block of regtest."""

    def __init__(self, raw):
        r = Reader(raw)
        self.header = bytearray(r.take(80))
        self.txs = [Tx(r) for _ in range(r.compact())]
        assert r.at == len(raw)

    def raw(self):
        return bytes(self.header) + compact(len(self.txs)) + b"".join(tx.raw() for tx in self.txs)

    def rebuild(self):
        root = merkle([bytes(32)] + [sha256d(tx.raw()) for tx in self.txs[1:]])
        for output in self.txs[0].outputs:
            if output[1][:6] == bytes.fromhex("6a24aa21a9ed"):
                output[1] = output[1][:6] + sha256d(root + self.txs[0].witness[0][0]) + output[1][38:]
        self.header[36:68] = merkle([sha256d(tx.raw(False)) for tx in self.txs])
        for nonce in range(1 << 20):
            self.header[76:80] = struct.pack("<I", nonce)
            if sha256d(bytes(self.header))[31] < 0x7f:
                return self
        raise AssertionError("no nonce")
