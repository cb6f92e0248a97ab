"""Peers that stop, never read, or send garbage: memory stays within the printed budget, others keep synchronising,
the log says what happened."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading

import quarry
from quarry import MAGIC, Node, RawPeer, wait_until

ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"


def measured(*flags, **options):
    """A node of the plain build where there is one (the sanitizers' own memory says nothing about ours)."""
    return Node(*flags, binary=quarry.RELEASE_BIN, **options)


def budget_bytes(node):
    found = re.search(r"memory budget.*?total (\d+) MB", node.log())
    assert found, node.log()
    return int(found.group(1)) * 1000 * 1000


def within_budget(node):
    if quarry.RELEASE_BIN:
        assert node.peak_bytes() <= budget_bytes(node), (node.peak_bytes(), budget_bytes(node))


def still_synchronises(node, seconds=60):
    """An honest node can still fetch the whole chain from this one."""
    honest = Node("--mine=no", f"--connect=127.0.0.1:{node.port}")
    wait_until(lambda: honest.rpc("getbestblockhash") == node.rpc("getbestblockhash"), seconds, "an honest node to synchronise")
    honest.stop()


def serving_node():
    node = measured("--mine=no")
    node.wait_port()
    node.rpc("generatetoaddress", 50, ADDRESS)
    return node


class Crowd:
    """attacks.py beside a node, until it is told to stop."""

    def __init__(self, node, connections, kinds=None, seed=1):
        tip = node.rpc("getblockheader", node.rpc("getbestblockhash"))
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attacks.py")
        command = [sys.executable, script, str(node.wait_port()), tip["hash"], str(tip["time"]), "--genesis", node.rpc("getblockhash", 0),
                   "--connections", str(connections), "--seed", str(seed)] + (["--kinds", ",".join(kinds)] if kinds else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.heard("ready")

    def heard(self, word):
        line = self.process.stdout.readline()
        assert line.startswith(word), f"the attackers say {line!r}, not {word}"
        return line.strip()

    def begin(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.heard("connected")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        said = self.heard("sent")
        self.process.wait(timeout=30)
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def test_a_crowd_of_attackers():
    """The small version of tools/soak attacks: more connections than places, every kind of flood at once."""
    node = serving_node()
    friend = Node("--mine=no", f"--connect=127.0.0.1:{node.port}")
    wait_until(lambda: friend.rpc("getblockcount") == 50, what="a peer from before the attack")
    with Crowd(node, 300) as crowd:
        crowd.begin()
        still_synchronises(node, seconds=240)
        node.rpc("generatetoaddress", 5, ADDRESS)
        wait_until(lambda: friend.rpc("getblockcount") == 55, seconds=240,
                   what="the peer from before the attack to hear of new blocks")
        still_synchronises(node, seconds=240)
        crowd.end()
    assert friend.rpc("getconnectioncount") == 1, friend.log()
    assert not re.search(r"no answer|closed the connection", friend.log()), friend.log()
    within_budget(node)
    friend.stop()
    node.stop()


def test_http_on_the_p2p_port():
    node = serving_node()
    with socket.create_connection(("127.0.0.1", node.port), timeout=60) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while more := s.recv(4096):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    assert b"regtest" in body and b"50" in body and body.count(b"\n") <= 1, answer
    node.stop()


def test_bip324_dial_is_closed_quietly():
    node = serving_node()
    peer = RawPeer(node.port, MAGIC["regtest"])
    peer.sock.sendall(bytes((i * 37 + 11) & 0xFF for i in range(64)))
    assert peer.closed_by_node()
    again = RawPeer(node.port, MAGIC["regtest"]).handshake()
    again.close()
    assert not re.search(r"misbehav", node.log()), node.log()
    node.stop()


def test_spoiled_messages():
    node = serving_node()
    magic = MAGIC["regtest"]
    peer = RawPeer(node.port, magic).handshake()
    peer.send("ping", b"spoiled.", checksum=b"\0\0\0\0")
    peer.send("ping", b"12345678")
    while (got := peer.receive())[0] != "pong":
        pass
    assert got[1] == b"12345678", got  # the spoiled one is passed over
    wait_until(lambda: re.search(r"checksum", node.log()), what="the log to say checksum")
    peer = RawPeer(node.port, magic).handshake()
    peer.send("block", b"", length=0x7FFFFFFF)
    assert peer.closed_by_node()
    wait_until(lambda: re.search(r"oversized|too large|length", node.log()), what="the log to say oversized")
    peer = RawPeer(node.port, magic).handshake()
    peer.sock.sendall(peer.message("headers", b"\0" * 1000)[:500])  # half a message, then gone
    peer.close()
    wait_until(lambda: node.rpc("getconnectioncount") == 0, what="the half message's peer to be gone")
    peer = RawPeer(node.port, magic).handshake()
    peer.sock.sendall(b"\xff" * 100)
    assert peer.closed_by_node()
    still_synchronises(node)
    within_budget(node)
    node.stop()


def test_a_gigabyte_of_garbage():
    node = serving_node()
    peer = RawPeer(node.port, MAGIC["regtest"]).handshake()
    message = peer.message("nonsense", os.urandom(1 << 20) * 3)
    sent, reader = 0, b""
    peer.sock.settimeout(120)
    try:
        while sent < 1 << 30:
            peer.sock.sendall(message)
            sent += len(message)
    except (BrokenPipeError, ConnectionResetError):
        pass  # closing on such a peer is right as well
    still_synchronises(node)
    within_budget(node)
    peer.close()
    del reader
    # The same without any framing, over fresh connections, each as long as the node lets it.
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", node.port), timeout=60) as s:
            try:
                for _ in range(16):
                    s.sendall(message)
            except (BrokenPipeError, ConnectionResetError):
                pass
    still_synchronises(node)
    within_budget(node)
    node.stop()


def test_a_peer_that_never_reads():
    node = serving_node()
    best = bytes.fromhex(node.rpc("getbestblockhash"))[::-1]
    peer = RawPeer(node.port, MAGIC["regtest"])
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.handshake()
    request = b"\xfd" + struct.pack("<H", 500) + (struct.pack("<I", 0x40000002) + best) * 500
    message = peer.message("getdata", request)
    peer.sock.settimeout(5)
    try:
        for _ in range(2000):
            peer.sock.sendall(message)
    except (socket.timeout, BrokenPipeError, ConnectionResetError):
        pass
    still_synchronises(node)
    within_budget(node)
    peer.close()
    node.stop()


def test_a_stopped_peer():
    source = serving_node()
    stopped = Node("--mine=no", f"--connect=127.0.0.1:{source.port}")
    stopped.wait_port()
    wait_until(lambda: stopped.rpc("getblockcount") == 50, what="the second source to synchronise")
    stopped.process.send_signal(signal.SIGSTOP)
    # One source answers, the other is frozen: the newcomer must finish from the one that answers.
    late = Node("--mine=no", f"--connect=127.0.0.1:{stopped.port}", f"--connect=127.0.0.1:{source.port}")
    wait_until(lambda: late.rpc("getblockcount") == 50, what="synchronising beside a frozen peer")
    source.rpc("generatetoaddress", 5, ADDRESS)
    wait_until(lambda: late.rpc("getblockcount") == 55, what="going on beside a frozen peer")
    stopped.process.send_signal(signal.SIGCONT)
    wait_until(lambda: stopped.rpc("getblockcount") == 55, what="the frozen peer to catch up")
    for node in (late, stopped, source):
        node.stop()


def test_an_rpc_client_that_does_not_read():
    """Requests with much larger answers, one behind the other: they wait until the answers are read."""
    node = serving_node()
    calls = 1000
    text = json.dumps([{"id": i, "method": "help"} for i in range(50)]).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(120)
        s.connect(node.socket_path())
        s.sendall(text * calls)
        spent = [-1.0]

        def is_at_rest():
            spent.append(node.cpu_seconds())
            return spent[-1] == spent[-2]

        wait_until(is_at_rest, what="the node to be at rest")
        assert node.rpc("getblockcount") == 50  # others are answered
        if quarry.RELEASE_BIN:
            assert node.peak_bytes() < 120 << 20, node.peak_bytes()
        lines = 0
        while lines < calls:
            more = s.recv(1 << 20)
            assert more, node.log()
            lines += more.count(b"\n")
        assert lines == calls
    node.stop()


def test_a_crowd_where_descriptors_are_few():
    """Whoever comes, the store can open its files."""
    node = measured("--mine=no", under=("prlimit", "--nofile=256:256"))
    node.wait_port()

    def come():
        crowd = []
        for _ in range(900):
            sock = socket.socket()
            sock.settimeout(0.5)  # the backlog may be full
            try:
                sock.connect(("127.0.0.1", node.port))
            except OSError:
                pass
            crowd.append(sock)  # kept for a while: who is put out is on its way for a second
            if len(crowd) > 400:
                crowd.pop(0).close()
        for sock in crowd:
            sock.close()

    comers = [threading.Thread(target=come) for _ in range(2)]
    for comer in comers:
        comer.start()
    while any(comer.is_alive() for comer in comers):
        node.rpc("generatetoaddress", 20, ADDRESS)
    for comer in comers:
        comer.join()
    assert "Too many open files" not in node.log(), node.log()
    node.stop()
