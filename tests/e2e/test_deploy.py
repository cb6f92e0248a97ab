"""Deployment without an engine: the environment of containers, the supervisor, and the scripts' arguments. The same
supervisor and the same environment as in deploy/configs, each instance on a loopback address of its own."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request

import quarry
from quarry import Skip, wait_until
from test_cluster import NETWORK

CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", "configs")
WITHOUT_IO_URING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "without-io-uring")
ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"


# ---- The scripts -------------------------------------------------------------------------------------------------------


def script(*words, env=None):
    return subprocess.run([os.path.join(CONFIGS, words[0]), *words[1:]], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, **(env or {})), check=False)


def override():
    path = os.path.join(CONFIGS, "docker-compose.override.yml")
    return os.stat(path).st_mtime_ns if os.path.exists(path) else None


def test_dry_run_in_any_position():
    before = override()
    for words in (("--dry-run", "3", "2"), ("3", "--dry-run", "2"), ("3", "2", "--dry-run")):
        done = script("docker-compose.scale.sh", *words)
        assert done.returncode == 0, done
        for port in (2001, 2002, 2003, 8080, 8081, 2101, 2102):
            assert f"localhost:{port}\n" in done.stdout or f"localhost:{port}," in done.stdout, (port, done.stdout)
        assert "localhost:2004" not in done.stdout and "localhost:8082" not in done.stdout
    assert override() == before
    assert script("docker", "compose.scale.sh", "1", "3", "--dry-run").stdout.count("Web port") == 3
    moved = script("docker-compose.scale.sh", "2", "1", "--dry-run", env={"QUARRY_MINER_PORT": "12001"})
    assert "localhost:12002" in moved.stdout, moved


def test_bad_arguments_are_refused_with_a_sentence():
    for words in (("docker-compose.scale.sh", "x", "y"), ("docker-compose.scale.sh", "0", "1"), ("docker-compose.scale.sh", "-1", "1"),
                  ("docker-compose.scale.sh", "1", "2", "3"), ("docker-compose.scale.sh", "--bogus"), ("docker-compose.scale.sh", "65", "1"),
                  ("docker-compose.scale.sh", ""), ("docker-compose.scale.sh", "2", "2", "--cpus-per-miner"),
                  ("docker-compose.scale.sh", "2", "2", "--cpus-per-miner=0"), ("scale-up.sh", "redis", "1"), ("scale-up.sh", "miner", "many"),
                  ("scale-down.sh", "webserver", "1", "--dry-run"), ("generate-compose-ports.sh", "1", "1.5")):
        done = script(*words)
        assert done.returncode != 0, (words, done)
        assert done.stderr.startswith("Error: ") and len(done.stderr) > 25 and not done.stdout.endswith("✓"), (words, done)


# ---- Instances ---------------------------------------------------------------------------------------------------------


class Cluster:
    """A private piece of 127.0.0.0/8, where instance k has an address, like a container in its network."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="deploy.")
        self.network = os.path.join(self.folder, "fast.conf")
        with open(self.network, "w", encoding="ascii") as file:
            file.write(NETWORK)
        while True:
            self.net = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
            with socket.socket() as probe:
                if probe.connect_ex((f"{self.net}.1", 2001)) != 0:
                    break
        self.instances = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for instance in self.instances:
            instance.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, name, number, connect, *, web=False, wrap=(), **env):
        instance = Instance(self, name, number, connect, web, wrap, env)
        self.instances.append(instance)
        return instance


class Instance:
    """One `quarry startnode` under the environment that deploy/configs gives a container."""

    def __init__(self, cluster, name, number, connect, web, wrap, env):
        self.host = f"{cluster.net}.{number + (100 if web else 0)}"
        self.folder = os.path.join(cluster.folder, name)
        os.makedirs(self.folder)
        self.log_path = os.path.join(self.folder, "log")
        self.socket = os.path.join(self.folder, "node.sock")
        env = {"INSTANCE_NUMBER": str(number), "NODE_IS_MINER": "no" if web else "yes", "NODE_IS_WEB_SERVER": "yes" if web else "no",
               "NODE_CONNECT_NODES": connect, "NODE_ADDR": f"{self.host}:2001", "QUARRY_NETWORK": cluster.network,
               "QUARRY_RPC_SOCKET": self.socket, "QUARRY_THREADS": "1", "BITCOIN_API_ADMIN_KEY": "admin-secret",
               "BITCOIN_API_WALLET_KEY": "wallet-secret", **env}
        if web:
            env["QUARRY_WALLET_DIR"] = os.path.join(cluster.folder, "shared-wallets")
            env["QUARRY_PURSE"] = os.path.join(cluster.folder, "miner_1", "wallets/wallets1/wallets.dat")
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([*wrap, os.path.join(quarry.BIN, "quarry"), "startnode"], cwd=self.folder, stdout=log, stderr=log,
                                            env=dict(os.environ, **env), start_new_session=True)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def cli(self, *words):
        done = subprocess.run([os.path.join(quarry.BIN, "quarry"), f"--rpc-socket={self.socket}", *words], capture_output=True, text=True,
                              timeout=60, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def answers(self, port):
        with socket.socket() as s:
            return s.connect_ex((self.host, port)) == 0

    def peers(self):
        """Where this node has connected to, as HOST:PORT."""
        return {peer["addr"] for peer in json.loads(self.cli("getpeerinfo") or "[]") if not peer["inbound"]}

    def children(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0, self.log()[-4000:]

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.host}:8080{path}", timeout=20) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code
        except (ConnectionError, urllib.error.URLError):
            return 0


def agree(instances, height):
    def condition():
        tips = {i.cli("getbestblockhash") for i in instances}
        return len(tips) == 1 and None not in tips and int(instances[0].cli("getblockcount")) >= height
    wait_until(condition, what=f"one tip from height {height}\n" + "\n".join(i.log()[-1500:] for i in instances))


def chain_of_miners(cluster, count, **how):
    miners = [cluster.start("miner_1", 1, "local", **how)]
    for k in range(2, count + 1):
        port = 2000 + k - 1
        miners.append(cluster.start(f"miner_{k}", k, f"{cluster.net}.{k - 1}:{port}", **how))
    return miners


def web_servers(cluster, count, **how):
    return [cluster.start(f"webserver_{k}", k, f"{cluster.net}.1:2001", web=True, **how) for k in range(1, count + 1)]


# ---- The scenarios -----------------------------------------------------------------------------------------------------


def test_miners_form_the_drawn_chain():
    with Cluster() as cluster:
        miners = chain_of_miners(cluster, 3)
        agree(miners, 3)
        for k, miner in enumerate(miners, 1):
            assert miner.answers(2001) and miner.answers(2000 + k), f"miner_{k}"
            assert os.path.exists(os.path.join(miner.folder, f"data/data{k}")), miner.log()
            assert os.stat(os.path.join(miner.folder, f"wallets/wallets{k}/wallets.dat")).st_mode & 0o777 == 0o600
        assert miners[0].peers() == set()
        assert miners[1].peers() == {f"{cluster.net}.1:2001"}, miners[1].peers()
        assert miners[2].peers() == {f"{cluster.net}.2:2002"}, miners[2].peers()
        assert "wait" in miners[1].log() and "connect" in miners[1].log()
        for miner in miners:
            miner.stop()


def pay_through(web, far):
    """Money sent at a web server is mined, and seen at the other end of the chain of miners."""
    agree([far, web], 6)  # the purse holds mature coins
    address = json.loads(far.cli("getstatus"))["mining_address"]
    done = subprocess.run([os.path.join(quarry.BIN, "quarry"), "faucet", address, f"{web.host}:8080"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, (done, web.log()[-2000:])
    txid = json.loads(done.stdout)["txid"]
    wait_until(lambda: json.loads(far.cli("getrawtransaction", txid, "1") or "{}").get("confirmations", 0) > 0, what="the payment")


def twin(miner_count, web_count, loop=None, **how):
    """loop: what every node must say, exactly once, that it runs on."""
    with Cluster() as cluster:
        if not os.path.exists(os.path.join(quarry.BIN, "quarry-api")):
            raise Skip("quarry-api is not built")
        miners = chain_of_miners(cluster, miner_count, **how)
        webs = web_servers(cluster, web_count, **how)
        agree(miners + webs, 3)
        for k, web in enumerate(webs, 1):
            wait_until(lambda w=web: w.http("/api/health/ready") == 200, what="ready\n" + web.log()[-3000:])
            assert web.http("/health/ready") == 200 and web.answers(8079 + k)
            assert web.peers() == {f"{cluster.net}.1:2001"}, web.peers()
        pay_through(webs[-1], miners[-1])
        for instance in miners + webs:
            instance.stop()
            if loop:
                assert instance.log().count(loop) == 1 and f"the loop runs on {loop}" in instance.log(), instance.log()


def test_twin_of_scenario_1():
    twin(1, 1)


def test_twin_of_scenario_1_where_io_uring_is_forbidden():
    twin(1, 1, loop="epoll", wrap=[WITHOUT_IO_URING])


def test_twin_of_scenario_3():
    twin(3, 1)


def test_twin_of_scenario_4():
    twin(3, 2)


# ---- The supervisor ----------------------------------------------------------------------------------------------------


def test_death_of_the_node_ends_the_container():
    with Cluster() as cluster:
        miner = cluster.start("miner_1", 1, "local")
        wait_until(lambda: miner.cli("getblockcount"), what="the node\n" + miner.log())
        (child,) = miner.children()
        os.kill(child, signal.SIGKILL)
        assert miner.process.wait(timeout=60) == 137, miner.log()
        assert "quarryd ended by itself" in miner.log()


def test_environment_is_checked():
    for env, words in (({"INSTANCE_NUMBER": "two"}, "INSTANCE_NUMBER"), ({"NODE_IS_MINER": "maybe"}, "NODE_IS_MINER"),
                       ({"NODE_ADDR": "nowhere"}, "NODE_ADDR"), ({"INSTANCE_NUMBER": "3", "WALLET_ADDRESS_POOL": ADDRESS}, "WALLET_ADDRESS_POOL")):
        with Cluster() as cluster:
            miner = cluster.start("miner", 1, "local", **env)
            assert miner.process.wait(timeout=60) != 0 and words in miner.log(), (env, miner.log())
