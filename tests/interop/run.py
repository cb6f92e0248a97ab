#!/usr/bin/env python3
"""Interoperation: independent nodes from the npm registry as live peers of quarryd, on regtest over loopback. Ends
with "N passed, N failed, N skipped"; skipped, saying why, where node, npm or the packages cannot be had.

    tests/interop/run.py --bin build/asan/bin
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

import quarry  # noqa: E402
from quarry import Node, RpcError, wait_until  # noqa: E402


def free_port_pair():
    """A free port whose successor is free too (bcoin's own HTTP server takes it)."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            port = a.getsockname()[1]
            try:
                b.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class Bcoin:
    all = []

    def __init__(self, peer=None):
        self.port = free_port_pair()
        arguments = ["node", os.path.join(HERE, "bcoin_node.js"), str(self.port)] + ([peer] if peer else [])
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, NODE_BACKEND="js"))
        Bcoin.all.append(self)
        assert json.loads(self.process.stdout.readline())["listening"] == self.port

    def do(self, what, **arguments):
        self.process.stdin.write(json.dumps({"id": 1, "do": what, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, f"bcoin {what}: {answer['error']}"
        return answer

    @classmethod
    def end_all(cls):
        for bcoin in cls.all:
            bcoin.process.kill()
            bcoin.process.wait()
        cls.all = []


def agree(node, bcoin, height=None, seconds=60):
    def same():
        info = bcoin.do("info")
        return info["tip"] == node.rpc("getbestblockhash") and (height is None or info["height"] == height)
    wait_until(same, seconds, f"one tip: ours {node.rpc('getblockcount')}, bcoin {bcoin.do('info')}\n{node.log()[-3000:]}")


def counters(node):
    return node.rpc("getnetworkinfo")["compactblocks"]


def no_complaints(node):
    bad = [line for line in node.lines if "disconnecting" in line]
    assert not bad, "\n".join(bad)


def mixed_chain(node, bcoin):
    """500 blocks, many with payments: made by bcoin as a wallet, mined by us to its key."""
    address = bcoin.do("address")["address"]
    node.rpc("generatetoaddress", 101, address)
    height = 101
    for first in range(0, 20):
        block = node.rpc("getblock", node.rpc("getblockhash", first + 1), 1)
        parent = node.rpc("getrawtransaction", block["tx"][0])
        for _ in range(3):  # a chain of three in one block
            child = bcoin.do("make", hex=parent, index=0, fee=10000)
            assert node.rpc("sendrawtransaction", child["hex"]) == child["txid"]
            parent = child["hex"]
        height += len(node.rpc("generatetoaddress", 5, address))
    node.rpc("generatetoaddress", 500 - height, address)
    assert node.rpc("getblockcount") == 500


def test_bcoin_synchronises_from_us():
    node = Node("--mine=no")
    mixed_chain(node, Bcoin())
    bcoin = Bcoin(f"127.0.0.1:{node.wait_port()}")
    agree(node, bcoin, 500)
    no_complaints(node)


def test_we_synchronise_from_bcoin_and_follow_its_reorganisation():
    bcoin = Bcoin()
    bcoin.do("mine", count=400)
    for _ in range(50):
        for _ in range(2):
            bcoin.do("spend", fee=10000)
        bcoin.do("mine", count=2)
    node = Node("--mine=no", f"--connect=127.0.0.1:{bcoin.port}")
    agree(node, bcoin, 500)
    bcoin.do("mine", count=3)
    agree(node, bcoin, 503)
    lost = node.rpc("getbestblockhash")
    fork = bcoin.do("fork", depth=4, count=6)
    assert fork["height"] == 505
    agree(node, bcoin, 505)
    assert lost in [tip["hash"] for tip in node.rpc("getchaintips") if tip["status"] == "valid-fork"]
    no_complaints(node)


def relays(node, bcoin):
    address = bcoin.do("address")["address"]
    bcoin.do("mine", count=110)
    agree(node, bcoin, 110)
    # Their transaction to us, their block of it: compact, nothing has to be asked for.
    theirs = bcoin.do("spend", fee=20000)
    wait_until(lambda: theirs["txid"] in node.rpc("getrawmempool"), what="bcoin's transaction in our mempool")
    bcoin.do("mine", count=1)
    agree(node, bcoin, 111)
    assert not node.rpc("getrawmempool")
    # Our transaction to them, our block of it.
    ours = bcoin.do("make", hex=theirs["hex"], index=0, fee=20000)
    assert node.rpc("sendrawtransaction", ours["hex"]) == ours["txid"]
    wait_until(lambda: bcoin.do("has", txid=ours["txid"])["yes"], what="our transaction in bcoin's mempool")
    node.rpc("generatetoaddress", 1, address)
    agree(node, bcoin, 112)
    block = node.rpc("getblock", node.rpc("getbestblockhash"), 1)
    assert ours["txid"] in block["tx"]
    before = counters(node)
    for i in range(2):
        theirs = bcoin.do("spend", fee=20000 + i)
        wait_until(lambda: theirs["txid"] in node.rpc("getrawmempool"), what="bcoin's transaction in our mempool")
        bcoin.do("mine", count=1)
        agree(node, bcoin, 113 + 2 * i)
        node.rpc("generatetoaddress", 1, address)
        agree(node, bcoin, 114 + 2 * i)
    after, counts = counters(node), bcoin.do("info")["counts"]
    assert after["received"] > before["received"], f"no compact block came: {after} {counts}"
    assert after["complete"] > before["complete"], f"none was put together from our mempool: {after} {counts}"
    assert after["sent"] > before["sent"] and counts.get("CmpctBlockPacket"), f"none was sent: {after} {counts}"
    no_complaints(node)


def test_blocks_and_transactions_relay_both_ways_we_dial():
    bcoin = Bcoin()
    relays(Node("--mine=no", f"--connect=127.0.0.1:{bcoin.port}"), bcoin)


def test_blocks_and_transactions_relay_both_ways_it_dials():
    node = Node("--mine=no")
    relays(node, Bcoin(f"127.0.0.1:{node.wait_port()}"))


def packages():
    """None when everything is there, else the reason."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            return f"{program} is not installed"
    with open(os.path.join(HERE, "package-lock.json"), "rb") as file:
        lock = file.read()
    mark = os.path.join(HERE, "node_modules", ".locked")
    if os.path.exists(mark):
        with open(mark, "rb") as file:
            if file.read() == lock:
                return None
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=HERE, capture_output=True,
                          text=True, timeout=300, check=False)
    if done.returncode:
        return f"npm ci: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}"
    with open(mark, "wb") as file:
        file.write(lock)
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("names", nargs="*")
    options = arguments.parse_args()
    quarry.BIN = os.path.abspath(options.bin)
    tests = [(name, test) for name, test in sorted(globals().items()) if name.startswith("test_")
             and (not options.names or any(wanted in name for wanted in options.names))]
    missing = packages()
    if missing:
        print(f"skip  bcoin: {missing}")
        print(f"0 passed, 0 failed, {len(tests)} skipped")
        return 0
    passed = failed = 0
    for name, test in tests:
        started = time.monotonic()
        try:
            test()
            passed += 1
            print(f"ok    {name} ({time.monotonic() - started:.1f} s)", flush=True)
        except (AssertionError, RpcError, OSError, ValueError, KeyError):
            failed += 1
            print(f"FAIL  {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
        finally:
            Bcoin.end_all()
            Node.end_all()
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
