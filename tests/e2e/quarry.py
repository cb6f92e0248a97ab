"""What the end-to-end tests stand on: starting real quarryd processes on free loopback ports, talking to them over
their Unix sockets and over raw Bitcoin P2P, and ending every process that was started, by its own pid."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

BIN = None  # folder of the programs under test (sanitized build)
RELEASE_BIN = None  # folder of the plain build, for tests that measure memory
VECTORS = os.environ.get("QUARRY_VECTORS", "")


class Skip(Exception):
    """Raised by a test that cannot run here; the reason is printed and counted."""


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code = error.get("code")
        self.message = error.get("message")


def wait_until(condition, seconds=60, what="condition"):
    """Polls with a growing interval; the time limit only bounds a failing test."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting after {seconds} s for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


class Node:
    """One quarryd. Its lines on both outputs are collected; stop() ends it and checks how it ended."""

    all = []

    def __init__(self, *flags, chain="regtest", datadir=None, binary=None, listen=True, env=None, under=()):
        self.own_datadir = datadir is None
        self.datadir = datadir or tempfile.mkdtemp(prefix="node.")
        self.chain = chain
        self.flags = [f"--chain={chain}", f"--datadir={self.datadir}", *flags]
        self.flags.append("--listen=127.0.0.1:0" if listen else "--listen=none")
        self.command = [*under, os.path.join(binary or BIN, "quarryd")]  # under: a program that becomes it
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        self.lines = []
        self.port = None
        Node.all.append(self)
        self.start()

    def start(self):
        self.lines = []
        self.port = None
        self.process = subprocess.Popen([*self.command, *self.flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, errors="replace", env=self.env, start_new_session=True)
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()

    def _read(self, process):
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))
            found = re.search(r"[Ll]istening on 127\.0\.0\.1:(\d+)", line)
            if found and self.port is None:
                self.port = int(found.group(1))

    def log(self):
        return "\n".join(self.lines)

    def wait_port(self):
        wait_until(lambda: self.port or self.process.poll() is not None, what=f"a listening port\n{self.log()}")
        assert self.port, f"quarryd ended: {self.log()}"
        return self.port

    def socket_path(self):
        return os.path.join(self.datadir, self.chain, "node.sock")

    def rpc(self, method, *params, timeout=60):
        """One call over the Unix socket; waits for the socket to be there."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    s.settimeout(timeout)
                    s.connect(self.socket_path())
                    s.sendall(json.dumps({"id": 1, "method": method, "params": list(params)}).encode() + b"\n")
                    data = b""
                    while not data.endswith(b"\n"):
                        more = s.recv(1 << 20)
                        if not more:
                            raise ConnectionError("closed")
                        data += more
            except (FileNotFoundError, ConnectionError) as problem:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError(f"{method}: {problem}; log:\n{self.log()[-4000:]}") from problem
                time.sleep(0.02)
                continue
            reply = json.loads(data)
            if reply.get("error"):
                if reply["error"].get("code") == -28 and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                raise RpcError(reply["error"])
            return reply["result"]

    def stop(self, expect=0):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.reader.join(timeout=10)
        assert code == expect, f"quarryd ended with {code}, expected {expect}:\n{self.log()[-4000:]}"

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=60)
        self.reader.join(timeout=10)

    def wait_exit(self, seconds=120):
        code = self.process.wait(timeout=seconds)
        self.reader.join(timeout=10)
        return code

    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @classmethod
    def end_all(cls):
        for node in cls.all:
            if node.process and node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.process.kill()
                node.process.wait()
            if node.own_datadir:
                shutil.rmtree(node.datadir, ignore_errors=True)
        cls.all = []


def cli(node, *arguments, expect=0):
    done = subprocess.run([os.path.join(BIN, "quarry"), f"--datadir={node.datadir}", f"--chain={node.chain}", *arguments],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == expect, f"quarry {arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.rstrip("\n") if expect == 0 else done.stdout + done.stderr


def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


class RawPeer:
    """A bare P2P connection for tests that misbehave on purpose."""

    def __init__(self, port, magic):
        self.magic = magic
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.buffer = b""

    def message(self, command, payload=b"", checksum=None, length=None):
        return (self.magic + command.encode().ljust(12, b"\0") + struct.pack("<I", len(payload) if length is None else length)
                + (sha256d(payload)[:4] if checksum is None else checksum) + payload)

    def send(self, command, payload=b"", **spoil):
        self.sock.sendall(self.message(command, payload, **spoil))

    def receive(self):
        """The next message as (command, payload); None when the node closed the connection."""
        while len(self.buffer) < 24 or len(self.buffer) < 24 + struct.unpack("<I", self.buffer[16:20])[0]:
            try:
                more = self.sock.recv(1 << 16)
            except ConnectionError:
                return None
            if not more:
                return None
            self.buffer += more
        length = struct.unpack("<I", self.buffer[16:20])[0]
        command = self.buffer[4:16].rstrip(b"\0").decode()
        payload, self.buffer = self.buffer[24:24 + length], self.buffer[24 + length:]
        return command, payload

    def handshake(self):
        address = struct.pack("<Q", 9) + b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 0, 1]) + struct.pack(">H", 1)
        self.send("version", struct.pack("<iQq", 70016, 9, int(time.time())) + address + address
                  + os.urandom(8) + b"\x06/test/" + struct.pack("<i", 0) + b"\x01")
        while True:
            got = self.receive()
            assert got, "the node closed the connection during the handshake"
            if got[0] == "verack":
                self.send("verack")
                return self

    def closed_by_node(self):
        """Reads on until the node closes; True when it does (False: still open after the socket's time limit)."""
        try:
            while True:
                if not self.sock.recv(1 << 16):
                    return True
        except ConnectionError:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.sock.close()


MAGIC = {"regtest": bytes.fromhex("fabfb5da"), "main": bytes.fromhex("f9beb4d9")}
