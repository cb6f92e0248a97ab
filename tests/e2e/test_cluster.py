"""Several nodes on one fast cluster network: they agree, go on agreeing, and relay."""

import os
import random
import socket
import tempfile

import quarry
from quarry import Node, Skip, wait_until

NETWORK = """
name = e2e-fast
spacing = 1
window = 30
first-target-bits = 240
maturity = 2
halving = 210000
future-limit = 60
"""


class Network:
    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "fast.conf")
        with open(self.path, "w", encoding="ascii") as file:
            file.write(NETWORK)
        return f"--network={self.path}"

    def __exit__(self, *_):
        self.folder.cleanup()


def one_tip(nodes):
    tips = {node.rpc("getbestblockhash") for node in nodes}
    return tips.pop() if len(tips) == 1 else None


def chain_of_three(network):
    first = Node(network, "--mine=yes", "--threads=1", "--connect=local", chain="cluster")
    second = Node(network, "--mine=yes", "--threads=1", f"--connect=127.0.0.1:{first.wait_port()}", chain="cluster")
    third = Node(network, "--mine=no", f"--connect=127.0.0.1:{second.wait_port()}", chain="cluster")
    return [first, second, third]


def test_three_agree_and_go_on():
    with Network() as network:
        nodes = chain_of_three(network)
        for height in (3, 6, 10):
            wait_until(lambda h=height: nodes[2].rpc("getblockcount") >= h, what=f"height {height}\n" + nodes[2].log()[-2000:])
            wait_until(lambda: one_tip(nodes), what="one tip")
        assert any("connected to" in line for line in nodes[2].lines)
        for node in nodes:
            node.stop()


def test_a_narrower_mask_is_followed():
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skip("one CPU only")
    with Network() as network:
        node = Node(network, "--mine=yes", "--connect=local", chain="cluster")
        wait_until(lambda: node.rpc("getmininginfo")["threads"] == len(cpus), what="a worker for every CPU")
        for task in os.listdir(f"/proc/{node.process.pid}/task"):
            os.sched_setaffinity(int(task), cpus[:1])
        wait_until(lambda: node.rpc("getmininginfo")["threads"] == 1, what="one worker")
        counted = node.rpc("getmininginfo")["workers"][1]["hashes"]
        wait_until(lambda: node.rpc("getmininginfo")["workers"][0]["hashes"] > counted, what="the other one hashing on")
        assert any("the limits have changed: 1 hash workers" in line for line in node.lines), node.log()
        node.stop()


def test_waiting_for_is_said():
    with Network() as network:
        follower = Node(network, "--mine=no", "--connect=127.0.0.1:1", chain="cluster")
        wait_until(lambda: any("waiting for 127.0.0.1:1" in line for line in follower.lines), what="the promised line")
        follower.stop()


def test_a_silent_name_service_delays_no_end():
    if os.geteuid() != 0:
        raise Skip("needs root, for a mount namespace with a resolv.conf of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, tempfile.TemporaryDirectory() as folder:
        silent.bind((f"127.53.{random.randrange(256)}.{random.randrange(1, 255)}", 53))
        resolver, wrapper = os.path.join(folder, "resolv.conf"), os.path.join(folder, "quarryd")
        with open(resolver, "w", encoding="ascii") as file:
            file.write(f"nameserver {silent.getsockname()[0]}\noptions timeout:30 attempts:5\n")
        with open(wrapper, "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\nexec unshare --mount sh -c \'mount --bind {resolver} /etc/resolv.conf && exec "$0" "$@"\' "{quarry.BIN}/quarryd" "$@"\n')
        os.chmod(wrapper, 0o755)
        follower = Node("--mine=no", "--connect=nobody.example:1", binary=folder)
        silent.settimeout(60)
        assert silent.recv(512), "the name is asked for"
        follower.stop()


def test_restart_of_the_middle():
    with Network() as network:
        nodes = chain_of_three(network)
        wait_until(lambda: nodes[2].rpc("getblockcount") >= 3, what="height 3")
        port = nodes[1].port
        nodes[1].kill()
        nodes[1].flags = [f for f in nodes[1].flags if not f.startswith("--listen")] + [f"--listen=127.0.0.1:{port}"]
        nodes[1].start()
        height = nodes[0].rpc("getblockcount")
        wait_until(lambda: nodes[2].rpc("getblockcount") >= height + 2, what="the far node goes on\n" + nodes[2].log()[-2000:])
        wait_until(lambda: one_tip(nodes), what="one tip")
        for node in nodes:
            node.stop()


def test_a_learned_address_stands_in_for_a_peer_that_is_down():
    first = Node("--mine=no")
    middle = Node("--mine=no", f"--connect=127.0.0.1:{first.wait_port()}")
    drawn = f"127.0.0.1:{middle.wait_port()}"
    last = Node("--mine=no", f"--connect={drawn}")
    last.wait_port()
    dialled = lambda node: [peer["addr"] for peer in node.rpc("getpeerinfo") if not peer["inbound"]]
    wait_until(lambda: dialled(middle) and dialled(last) == [drawn] and last.rpc("getpeerinfo")[0].get("pingtime") is not None,
               what="the drawn chain")  # a pong comes after the addresses that were asked for before
    middle.stop()
    wait_until(lambda: dialled(last) == [f"127.0.0.1:{first.port}"], what="the substitute")
    middle.flags[-1] = f"--listen={drawn}"
    middle.start()
    wait_until(lambda: dialled(last) == [drawn], what="the drawn peer again")
