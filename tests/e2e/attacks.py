#!/usr/bin/env python3
"""Peers that mean harm, many at a time, in a process of their own: used by test_hostile_crowd.py and tools/soak attacks.

    attacks.py PORT TIP_HASH TIP_TIME --connections N --kinds KIND,... [--seed N]

Connects from eight loopback addresses and comes again when it is put out, until it is told to stop (SIGTERM). Everything
it says is made before it begins, so that it costs the attacker little. On regtest.
"""

import argparse
import errno
import hashlib
import heapq
import os
import random
import selectors
import signal
import socket
import struct
import sys
import time

MAGIC = bytes.fromhex("fabfb5da")
BITS = 0x207FFFFF
COME_AGAIN_S = 1.0


def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def message(command, payload=b"", length=None):
    return (MAGIC + command.encode().ljust(12, b"\0") + struct.pack("<I", len(payload) if length is None else length)
            + sha256d(payload)[:4] + payload)


def compact_size(n):
    return bytes([n]) if n < 253 else b"\xfd" + struct.pack("<H", n) if n < 65536 else b"\xfe" + struct.pack("<I", n)


def hello(rng):
    address = struct.pack("<Q", 9) + b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1]) + struct.pack(">H", 1)
    version = (struct.pack("<iQq", 70016, 9, int(time.time())) + address + address + rng.randbytes(8) + b"\x08/attack/"
               + struct.pack("<i", 0) + b"\x01")
    return message("version", version) + message("wtxidrelay") + message("verack")


def mined(rng, previous, stamp):
    """A header with regtest's proof of work."""
    head = struct.pack("<i", 0x20000000) + previous + rng.randbytes(32) + struct.pack("<II", stamp, BITS)
    for nonce in range(1 << 32):
        header = head + struct.pack("<I", nonce)
        digest = sha256d(header)
        if digest[31] < 0x80:
            return header, digest


class Arsenal:
    """Messages that are made once and sent by everybody."""

    def __init__(self, rng, tip, stamp, genesis):
        self.rng, self.tip, self.stamp, self.genesis = rng, tip, stamp, genesis
        self.made = {}

    def of(self, kind):
        if kind not in self.made:
            self.made[kind] = getattr(self, kind)()
        return self.made[kind]

    def inventory(self):
        return [message("inv", compact_size(50000) + b"".join(b"\x05\0\0\0" + self.rng.randbytes(32) for _ in range(50000))) for _ in range(4)]

    def orphans(self):
        def orphan():
            script = self.rng.randbytes(90000)
            return message("tx", struct.pack("<i", 2) + b"\x01" + self.rng.randbytes(32) + struct.pack("<I", 0) + compact_size(len(script)) + script
                           + b"\xff\xff\xff\xff" + b"\x01" + struct.pack("<q", 1000) + b"\x01\x51" + b"\0\0\0\0")
        return [orphan() for _ in range(200)]

    def headers(self):
        """Chains with little work, from genesis on; and headers that lead nowhere."""
        messages = []
        for _ in range(16):
            previous, chain = self.genesis, b""
            for height in range(2000):
                header, previous = mined(self.rng, previous, 1296688602 + height + 1)
                chain += header + b"\0"
            messages.append(message("headers", compact_size(2000) + chain))
        for _ in range(16):
            header, _ = mined(self.rng, self.rng.randbytes(32), self.stamp)
            messages.append(message("headers", b"\x01" + header + b"\0"))
        return messages

    def addresses(self):
        def addr():
            return message("addr", compact_size(1000) + b"".join(
                struct.pack("<IQ", int(time.time()), 9) + b"\0" * 10 + b"\xff\xff" + self.rng.randbytes(4) + b"\x20\x8d" for _ in range(1000)))
        return [addr() for _ in range(16)]

    def compact(self):
        """Blocks on the tip that nobody can put together: ten thousand transactions that do not exist."""
        messages = []
        coinbase = (struct.pack("<i", 2) + b"\x01" + b"\0" * 32 + b"\xff\xff\xff\xff" + b"\x02\x51\x51" + b"\xff\xff\xff\xff" + b"\x01"
                    + struct.pack("<q", 0) + b"\x01\x51" + b"\0\0\0\0")
        for _ in range(64):
            header, digest = mined(self.rng, self.tip, self.stamp + 1)
            block = header + self.rng.randbytes(8) + compact_size(10000) + self.rng.randbytes(60000) + b"\x01\0" + coinbase
            messages.append(message("cmpctblock", block))
            messages.append(message("blocktxn", digest + b"\x01" + coinbase))
        return messages

    def oversized(self):
        commands = ("version", "ping", "addr", "addrv2", "inv", "getdata", "headers", "getheaders", "block", "tx", "cmpctblock", "blocktxn",
                    "getblocktxn", "feefilter", "unheardof")
        return [message(command, b"x" * 100, length=length) for command in commands for length in (4000001, 0x7FFFFFFF, 0xFFFFFFFF)]

    def questions(self):
        """Small questions with large answers, and read answers."""
        locator = struct.pack("<I", 70016) + b"\x01" + self.genesis + b"\0" * 32
        return [message("getheaders", locator) + message("getblocks", locator) + message("ping", self.rng.randbytes(8))
                + message("getaddr") + message("getblocktxn", self.tip + b"\x01\x00")]

    def slow_reader(self):
        return [message("getdata", b"\xfd" + struct.pack("<H", 500) + (struct.pack("<I", 0x40000002) + self.tip) * 500) * 4]

    def slow_writer(self):
        return [message("block", b"x" * 3900000, length=3999999)]

    def garbage(self):
        return [message("nonsense", self.rng.randbytes(1 << 20) * 3)]

    def half(self):
        return [message("version", b"x" * 100)[:60]]


QUIET = {"silent", "idle", "half", "slow_writer"}  # say their piece once; slow_writer goes on by the byte
NO_HANDSHAKE = {"silent", "half"}
DEAF = {"slow_reader"}


class Attacker:
    def __init__(self, crowd, kind, source):
        self.crowd, self.kind, self.source = crowd, kind, source
        self.sock = None
        self.begin()

    def begin(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        if self.kind in DEAF:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.out = memoryview(b"" if self.kind in NO_HANDSHAKE else hello(self.crowd.rng))
        self.turn = self.crowd.rng.randrange(1 << 16)
        self.said = False
        try:
            self.sock.bind((self.source, 0))
            self.sock.connect(("127.0.0.1", self.crowd.port))
        except BlockingIOError:
            pass
        except OSError:
            self.sock.close()
            self.crowd.later(self, COME_AGAIN_S)
            return
        self.crowd.watch(self, selectors.EVENT_WRITE | (0 if self.kind in DEAF else selectors.EVENT_READ))

    def ended(self):
        self.crowd.forget(self)
        self.sock.close()
        self.crowd.ended += 1
        self.crowd.later(self, COME_AGAIN_S)

    def next_piece(self):
        if self.kind in ("silent", "idle") or (self.said and self.kind in QUIET):
            return None
        self.said = True
        pieces = self.crowd.arsenal.of(self.kind)
        self.turn += 1
        return pieces[self.turn % len(pieces)]

    def ready(self, events):
        try:
            if events & selectors.EVENT_READ and self.kind not in DEAF:
                if not self.sock.recv(1 << 16):
                    self.ended()
                    return
            if events & selectors.EVENT_WRITE:
                if not self.out:
                    piece = self.next_piece()
                    if piece is None:
                        self.crowd.watch(self, selectors.EVENT_READ)
                        if self.kind == "slow_writer":
                            self.crowd.later(self, 0.5)
                        return
                    self.out = memoryview(piece)
                sent = self.sock.send(self.out[:1 << 18])
                self.out = self.out[sent:]
                self.crowd.sent += sent
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EINPROGRESS):
                self.ended()

    def wake(self):
        if self.sock.fileno() < 0:
            self.begin()
        else:  # slow_writer
            try:
                self.sock.send(b"x")
                self.crowd.later(self, 0.5)
            except OSError:
                self.ended()


class Crowd:
    def __init__(self, port, arsenal, rng):
        self.port, self.arsenal, self.rng = port, arsenal, rng
        self.selector = selectors.EpollSelector()
        self.timers, self.number = [], 0
        self.watched = {}
        self.sent = self.ended = 0

    def watch(self, attacker, events):
        if attacker in self.watched:
            if self.watched[attacker] != events:
                self.selector.modify(attacker.sock, events, attacker)
        else:
            self.selector.register(attacker.sock, events, attacker)
        self.watched[attacker] = events

    def forget(self, attacker):
        if self.watched.pop(attacker, None) is not None:
            self.selector.unregister(attacker.sock)

    def later(self, attacker, seconds):
        self.number += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds * self.rng.uniform(0.5, 1.5), self.number, attacker))

    def run(self, stopped):
        while not stopped():
            for key, events in self.selector.select(0.1):
                if key.data in self.watched:
                    key.data.ready(events)
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                heapq.heappop(self.timers)[2].wake()


KINDS = ("silent", "idle", "half", "slow_reader", "slow_writer", "inventory", "orphans", "headers", "addresses", "compact", "oversized", "questions",
         "garbage")
NETGROUPS = 8  # on loopback each address is one
FLOODS_OF_A_KIND = 12  # the others of the crowd hold connections


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("port", type=int)
    arguments.add_argument("tip")
    arguments.add_argument("tip_time", type=int)
    arguments.add_argument("--genesis", required=True)
    arguments.add_argument("--connections", type=int, default=200)
    arguments.add_argument("--kinds", default=",".join(KINDS))
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    rng = random.Random(options.seed)
    arsenal = Arsenal(rng, bytes.fromhex(options.tip)[::-1], options.tip_time, bytes.fromhex(options.genesis)[::-1])
    kinds = options.kinds.split(",")
    for kind in kinds:
        if kind not in ("silent", "idle"):
            arsenal.of(kind)
    crowd = Crowd(options.port, arsenal, rng)
    floods = [kind for kind in kinds if kind not in ("silent", "idle")]
    order = (floods * FLOODS_OF_A_KIND)[:options.connections]
    holders = [kind for kind in kinds if kind in ("silent", "idle")] or floods
    while len(order) < options.connections:
        order.append(holders[len(order) % len(holders)])
    print("ready", flush=True)
    sys.stdin.readline()
    for i, kind in enumerate(order):
        Attacker(crowd, kind, f"127.{1 + i % NETGROUPS}.0.1")
        if i % 100 == 99:  # while others already speak
            crowd.run(iter([False, True]).__next__)
    print("connected", flush=True)
    crowd.run(lambda: bool(stop))
    print(f"sent {crowd.sent / 1e6:.0f} MB, {crowd.ended} times put out", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
