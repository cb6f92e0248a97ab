"""quarry-api over a real quarryd: every route's good and bad cases, keys and roles, payments, limits, Redis."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import quarry
from quarry import Node, Skip, wait_until
from test_cluster import Network

ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
ADMIN = {"X-API-Key": "admin-secret"}
WALLET = {"X-API-Key": "wallet-secret"}
KEYS = ("--admin-key=admin-secret", "--wallet-key=wallet-secret")


class Api:
    """One quarry-api beside a node; stop() ends it and checks how it ended."""

    def __init__(self, datadir, *flags, env=None, chain="regtest"):
        command = [os.path.join(quarry.BIN, "quarry-api"), f"--datadir={datadir}", f"--chain={chain}",
                   "--listen=127.0.0.1:0", *flags]
        # h2o keeps a list of freed blocks per thread, which the leak checker takes for a leak.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env=dict(os.environ, **(env or {})), start_new_session=True)
        self.lines = []
        self.port = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            found = re.search(r"web server on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))

    def log(self):
        return "\n".join(self.lines)

    def ask(self, method, path, body=None, headers=None, raw=None):
        """(status, parsed answer or text, headers)"""
        wait_until(lambda: self.port or self.process.poll() is not None, what="a port")
        assert self.port, self.log()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = raw if raw is not None else json.dumps(body) if body is not None else None
            sent = dict(headers or {})
            if data is not None:
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            text = answer.read()
            got = {name.lower(): value for name, value in answer.getheaders()}
            if text and got.get("content-type", "").startswith("application/json"):
                return answer.status, json.loads(text), got
            return answer.status, text.decode(errors="replace"), got
        finally:
            connection.close()

    def data(self, method, path, body=None, headers=None):
        status, answer, _ = self.ask(method, path, body, headers)
        assert status == 200 and answer["success"] is True and answer["error"] is None, (path, status, answer)
        assert list(answer) == ["success", "data", "error", "timestamp"], answer
        return answer["data"]

    def refused(self, expect, code, method, path, body=None, headers=None, raw=None):
        status, answer, got = self.ask(method, path, body, headers, raw)
        assert status == expect and answer["code"] == code, (path, status, answer)
        assert answer["success"] is False and answer["data"] is None and answer["error"], answer
        return got

    def wait_ready(self):
        wait_until(lambda: self.ask("GET", "/health/ready")[0] == 200, what=f"ready\n{self.log()}")
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.reader.join(timeout=10)
        assert code == 0, f"quarry-api ended with {code}:\n{self.log()[-4000:]}"

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Pair:
    """A node and its quarry-api; ends the latter whatever happens."""

    def __init__(self, *flags, env=None):
        self.node = Node("--mine=no")
        self.api = Api(self.node.datadir, *flags, env=env)

    def __enter__(self):
        self.api.wait_ready()
        return self.node, self.api

    def __exit__(self, kind, *rest):
        try:
            if kind is None:
                self.api.stop()
                self.node.stop()
        finally:
            self.api.end()


class RedisServer:
    """A redis-server of our own on a free loopback port, nothing kept on disk."""

    def __init__(self, *flags):
        self.flags = flags
        self.program = shutil.which("redis-server")
        if not self.program:
            raise Skip("no redis-server here")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="redis.")
        self.process = None

    def start(self):
        self.process = subprocess.Popen([self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no",
                                         "--dir", self.folder, *self.flags], stdout=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder)


def test_health_paths_and_probes_without_a_node():
    with Pair(*KEYS) as (node, api):
        for prefix in ("", "/api", "/api/v1"):
            for path in ("/health", "/health/live", "/health/liveness", "/health/ready", "/health/readiness"):
                api.data("GET", prefix + path)
        api.data("GET", "/api/admin/health/ready", headers=ADMIN)
        assert api.data("GET", "/healthz") == "alive" and api.data("GET", "/readyz") == "ready"
        node.stop()
        wait_until(lambda: api.ask("GET", "/health/ready")[0] == 503, what="not ready")
        api.refused(503, "not_ready", "GET", "/api/health/ready")
        api.refused(503, "node_unavailable", "GET", "/api/v1/blockchain")
        assert api.data("GET", "/health/live") == "alive"
        node.start()
        api.wait_ready()
        api.data("GET", "/api/v1/blockchain")


def test_chain_routes():
    with Pair(*KEYS) as (_, api):
        made = api.data("POST", "/api/v1/mining/generatetoaddress", {"nblocks": 25, "address": ADDRESS}, ADMIN)
        assert len(made["block_hashes"]) == 25 and made["message"] == f"Successfully generated 25 blocks to address {ADDRESS}"
        chain = api.data("GET", "/api/v1/blockchain")
        assert list(chain)[:7] == ["height", "difficulty", "total_blocks", "total_transactions", "mempool_size", "last_block_hash", "last_block_timestamp"]
        assert chain["height"] == 25 and chain["total_transactions"] == 26 and chain["last_block_hash"] == made["block_hashes"][-1]
        assert api.data("GET", "/api/admin/blockchain", headers=ADMIN)["height"] == 25
        seen = []
        for page in range(3):
            got = api.data("GET", f"/api/v1/blockchain/blocks?page={page}&limit=10")
            assert (got["total"], got["total_pages"], got["page"], got["limit"]) == (26, 3, page, 10), got
            assert got["has_next"] == (page < 2) and got["has_prev"] == (page > 0)
            seen += [block["height"] for block in got["items"]]
        assert seen == list(range(25, -1, -1))
        assert api.data("GET", "/api/v1/blockchain/blocks?page=3")["items"] == []
        latest = api.data("GET", "/api/v1/blockchain/blocks/latest?limit=3")
        assert [block["height"] for block in latest] == [25, 24, 23]
        assert list(latest[0]) == ["hash", "previous_hash", "timestamp", "height", "nonce", "difficulty", "transaction_count", "merkle_root", "size_bytes"]
        block = api.data("GET", "/api/v1/blockchain/blocks/" + made["block_hashes"][0])
        assert block["height"] == 1 and block["transaction_count"] == 1 and len(block["merkle_root"]) == 64 and block["size_bytes"] > 80
        assert api.data("GET", "/api/v1/blockchain/blocks/" + block["previous_hash"])["previous_hash"] == "None"
        api.refused(400, "bad_hash", "GET", "/api/v1/blockchain/blocks/xyz")
        api.refused(404, "not_found", "GET", "/api/v1/blockchain/blocks/" + "00" * 32)
        for query in ("page=-1", "limit=abc", "limit=0", "limit=101", "page="):
            api.refused(400, "bad_query", "GET", "/api/v1/blockchain/blocks?" + query)
        info = api.data("GET", "/api/v1/mining/info")
        assert list(info)[:8] == ["blocks", "currentblocksize", "currentblocktx", "difficulty", "networkhashps", "pooledtx", "chain", "warnings"]
        assert info["blocks"] == 25 and info["currentblocktx"] == 1 and info["chain"] == "regtest"
        for body, status, code in (({"nblocks": 0, "address": ADDRESS}, 400, "bad_request"), ({"nblocks": 1001, "address": ADDRESS}, 400, "bad_request"),
                                   ({"nblocks": 1, "address": "x"}, 400, "bad_address"), ({"nblocks": "1", "address": ADDRESS}, 422, "bad_body"),
                                   ({"address": ADDRESS}, 422, "bad_body")):
            api.refused(status, code, "POST", "/api/v1/mining/generatetoaddress", body, ADMIN)


def test_wallets_payments_and_faucet():
    purse = tempfile.mkdtemp(prefix="purse.")
    with Pair(*KEYS, f"--purse={purse}/mining.dat") as (_, api):
        api.refused(503, "empty_purse", "POST", "/api/v1/faucet", {"address": ADDRESS}, WALLET)
        done = subprocess.run([os.path.join(quarry.BIN, "quarry"), "--chain=regtest", "createwallet"], capture_output=True, text=True, check=True,
                              env=dict(os.environ, WALLET_FILE=f"{purse}/mining.dat"))
        miner = done.stdout.strip().split(": ")[1]
        api.data("POST", "/api/v1/mining/generatetoaddress", {"nblocks": 101, "address": miner}, ADMIN)
        one = api.data("POST", "/api/v1/wallet", {"label": "one"}, WALLET)
        two = api.data("POST", "/api/wallet/wallet", {"name": "two"}, ADMIN)
        assert one["address"].startswith("bcrt1q") and one["label"] == one["name"] == "one" and len(one["public_key"]) == 66
        assert sorted(api.data("GET", "/api/v1/wallet/addresses")) == sorted([one["address"], two["address"]])
        assert api.data("GET", "/api/v1/wallet/" + one["address"])["public_key"] == one["public_key"]
        api.refused(404, "not_found", "GET", "/api/v1/wallet/" + miner)
        api.refused(400, "bad_address", "GET", "/api/v1/wallet/nonsense/balance")
        faucet = api.data("POST", "/api/v1/faucet", {"address": one["address"], "amount": 500000}, WALLET)
        waiting = api.data("GET", "/api/v1/transactions/mempool")
        assert [entry["txid"] for entry in waiting] == [faucet["txid"]]
        entry = api.data("GET", "/api/v1/transactions/mempool/" + faucet["txid"])
        assert entry["total_input_value"] == entry["total_output_value"] + entry["fee"] and entry["fee"] > 0, entry
        api.refused(404, "not_found", "GET", "/api/v1/transactions/mempool/" + "00" * 32)
        balance = api.data("GET", f"/api/v1/wallet/{one['address']}/balance")
        assert (balance["balance"], balance["unconfirmed_balance"], balance["utxo_count"]) == (0, 500000, 1), balance
        api.data("POST", "/api/v1/mining/generatetoaddress", {"nblocks": 1, "address": ADDRESS}, ADMIN)
        assert api.data("GET", "/api/v1/transactions/mempool") == []
        paid = api.data("POST", "/api/v1/transactions", {"from_address": one["address"], "to_address": two["address"], "amount": 200000}, WALLET)
        assert list(paid) == ["txid", "timestamp"]
        # The change is not in a block yet and pays again.
        api.data("POST", "/api/wallet/transactions", {"from_address": one["address"], "to_address": two["address"], "amount": 100000}, WALLET)
        api.data("POST", "/api/v1/mining/generatetoaddress", {"nblocks": 1, "address": ADDRESS}, ADMIN)
        balance = api.data("GET", f"/api/v1/wallet/{two['address']}/balance")
        assert balance["balance"] == balance["confirmed"] == 300000 and balance["unconfirmed"] == 0, balance
        history = api.data("GET", f"/api/v1/transactions/address/{one['address']}")
        assert [item["transaction_type"] for item in history["items"]] == ["Debit", "Debit", "Credit"], history
        assert history["total"] == 3 and bytes(history["items"][2]["tx_id"]).hex() == faucet["txid"]
        assert history["items"][0]["to_wlt_addr"] == two["address"] and history["items"][0]["from_wlt_addr"] == one["address"]
        listed = api.data("GET", "/api/v1/transactions?page=1&limit=3")
        assert listed["total"] == 107 and {item["transaction_id"] for item in listed["items"][:2]} >= {paid["txid"]}, listed
        assert all(item["wlt_addr"] == one["address"] for item in listed["items"][0]["inputs"])
        pages = [item["transaction_id"] for page in range(1, 12) for item in api.data("GET", f"/api/v1/transactions?page={page}&limit=10")["items"]]
        assert len(pages) == len(set(pages)) == 107
        pay = {"from_address": one["address"], "to_address": two["address"], "amount": 10}
        for change, status, code in (({"amount": 0}, 400, "bad_amount"), ({"amount": -5}, 400, "bad_amount"), ({"amount": 1.5}, 422, "bad_body"),
                                     ({"amount": 10 ** 12}, 400, "insufficient_funds"), ({"from_address": miner}, 400, "unknown_wallet"),
                                     ({"to_address": "x"}, 400, "bad_address"), ({"to_address": None}, 422, "bad_body")):
            api.refused(status, code, "POST", "/api/v1/transactions", dict(pay, **change), WALLET)
    shutil.rmtree(purse)


def test_keys_and_roles():
    with Pair(*KEYS) as (_, api):
        assert "well-known" in api.log() and api.data("GET", "/health")["warning"]
        for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"X-API-Key": "admin-secre"}):
            for path in ("/api/admin/blockchain", "/api/admin/health"):
                api.refused(401, "unauthorized", "GET", path, headers=headers)
            for path in ("/api/v1/wallet", "/api/v1/transactions", "/api/wallet/wallet", "/api/v1/mining/generatetoaddress"):
                api.refused(401, "unauthorized", "POST", path, {}, headers)
        api.refused(403, "forbidden", "GET", "/api/admin/blockchain", headers=WALLET)
        api.refused(403, "forbidden", "POST", "/api/v1/mining/generatetoaddress", {}, WALLET)
        api.data("GET", "/api/v1/blockchain", headers={"X-API-Key": "wrong"})


def test_keys_of_its_own():
    with Pair(env={"BITCOIN_API_ADMIN_KEY": "", "BITCOIN_API_WALLET_KEY": ""}) as (node, api):
        assert "made a random one" in api.log() and not api.data("GET", "/health")["warning"]
        path = os.path.join(node.datadir, "regtest", "api-admin.key")
        assert path in api.log() and os.stat(path).st_mode & 0o777 == 0o600
        with open(path, encoding="ascii") as file:
            key = file.read()
        assert len(key) == 48
        api.refused(401, "unauthorized", "GET", "/api/admin/blockchain", headers=ADMIN)
        api.refused(401, "unauthorized", "GET", "/api/admin/blockchain", headers={"X-API-Key": ""})
        api.data("GET", "/api/admin/blockchain", headers={"X-API-Key": key})
        refused = Api(node.datadir, "--profile=production", env={"BITCOIN_API_ADMIN_KEY": "admin-secret"})
        assert refused.process.wait(timeout=60) == 2
        refused.reader.join(timeout=10)
        assert "production" in refused.log()


def test_malformed_requests():
    with Pair(*KEYS) as (_, api):
        api.refused(404, "not_found", "GET", "/api/v1/nothing")
        api.refused(404, "not_found", "GET", "/api/")
        api.refused(404, "not_found", "GET", "/nothing/here")
        assert api.refused(405, "method", "DELETE", "/api/v1/blockchain")["allow"] == "GET, HEAD"
        assert set(api.refused(405, "method", "PUT", "/api/v1/transactions")["allow"].split(", ")) == {"GET", "HEAD", "POST"}
        api.refused(400, "bad_json", "POST", "/api/v1/wallet", raw="{", headers=WALLET)
        api.refused(422, "bad_body", "POST", "/api/v1/wallet", raw="[]", headers=WALLET)
        api.refused(422, "bad_body", "POST", "/api/v1/wallet", {"name": 5}, WALLET)
        api.refused(400, "bad_request", "POST", "/api/v1/wallet", {"name": "x" * 101}, WALLET)
        for name in ("", "a\nb", "a\rb", "\x7f", "\u00e4" * 51):
            api.refused(400, "bad_request", "POST", "/api/v1/wallet", {"name": name}, WALLET)
        named = api.data("POST", "/api/v1/wallet", {"name": "\u00e4" * 50}, WALLET)
        assert api.data("GET", "/api/v1/wallet/" + named["address"])["name"] == "\u00e4" * 50
        api.refused(415, "content_type", "POST", "/api/v1/wallet", raw="{}", headers=dict(WALLET, **{"Content-Type": "text/plain"}))
        api.refused(413, "too_large", "POST", "/api/v1/wallet", raw=" " * (3 << 20), headers=WALLET)
        api.refused(403, "origin", "POST", "/api/v1/wallet", {}, dict(WALLET, Origin="http://evil.example"))
        api.data("POST", "/api/v1/wallet", {}, dict(WALLET, Origin=f"http://127.0.0.1:{api.port}"))
        status, text, headers = api.ask("HEAD", "/api/v1/blockchain")
        assert status == 200 and text == "" and int(headers["content-length"]) > 100
        status, _, headers = api.ask("OPTIONS", "/api/v1/blockchain")
        assert status == 204 and headers["access-control-allow-origin"] == "*" and "POST" not in headers["access-control-allow-methods"]
        status, text, headers = api.ask("GET", "/")
        assert status == 200 and "<h1>Quarry</h1>" in text and "default-src 'none'" in headers["content-security-policy"]
        for name in ("app.js", "style.css"):
            assert api.ask("GET", "/assets/" + name)[0] == 200
        api.refused(404, "not_found", "GET", "/assets/other.js")
        status, spec, _ = api.ask("GET", "/api-docs/openapi.json")
        assert status == 200 and spec["info"]["title"] == "Blockchain API" and "post" in spec["paths"]["/api/v1/transactions"]
        metrics = api.ask("GET", "/metrics")[1]
        assert "quarry_build_info{" in metrics and "\nquarry_height 0\n" in metrics
        assert "# TYPE quarry_hash_worker_hashes_total counter" in metrics
        with socket.create_connection(("127.0.0.1", api.port), timeout=60) as raw:
            raw.sendall(b"\x00\xff garbage\r\n\r\n")
            raw.recv(1 << 16)
        api.data("GET", "/health")


def test_metrics_of_a_miner():
    with Network() as network:
        node = Node(network, "--mine=yes", "--threads=2", "--connect=local", chain="cluster")
        api = Api(node.datadir, network, chain="cluster")
        try:
            line = re.compile(r'quarry_hash_worker_hashes_total\{worker="(\d)",mode="(rolling|plain)",kernel="([a-z0-9-]+)"\} (\d+)')
            def counted():
                found = line.findall(api.ask("GET", "/metrics")[1])
                return {row[:2]: int(row[3]) for row in found if int(row[3])}
            counts = wait_until(lambda: len(counted()) == 2 and counted(), what="both workers' hashes")
            assert set(counts) == {("0", "rolling"), ("1", "rolling")}, counts  # versions roll here: nothing is hashed plain
            info = node.rpc("getmininginfo")
            assert info["hashes"] >= sum(worker["hashesrolling"] for worker in info["workers"]) >= sum(counts.values())
            api.stop()
            node.stop()
        finally:
            api.end()


def test_rate_limit_in_memory():
    with Pair(*KEYS, "--rate-limit=1", "--rate-limit-burst=5", "--trusted-proxy=127.0.0.1") as (_, api):
        def statuses(client, count=8):
            return [api.ask("GET", "/api/v1/blockchain", headers={"X-Forwarded-For": client})[0] for _ in range(count)]
        assert statuses("10.0.0.1")[:5] == [200] * 5 and 429 in statuses("10.0.0.1")
        assert statuses("10.0.0.2", 5) == [200] * 5
        status, answer, headers = api.ask("GET", "/api/v1/blockchain", headers={"X-Forwarded-For": "10.0.0.1"})
        assert status == 429 and answer["code"] == "rate_limited" and int(headers["retry-after"]) >= 1 and headers["ratelimit-limit"] == "5"
        assert all(api.ask("GET", path)[0] == 200 for path in ("/health", "/metrics") for _ in range(10))


def test_a_proxy_of_ipv4_on_a_socket_of_ipv6():
    if not os.path.exists("/proc/net/if_inet6"):
        raise Skip("no IPv6 here")
    with Pair(*KEYS, "--rate-limit=1", "--rate-limit-burst=5", "--trusted-proxy=127.0.0.1", "--listen=[::]:0") as (_, api):
        api.port = int(re.search(r"web server on \[::\]:(\d+)", api.log()).group(1))
        for client in ("10.0.0.1", "10.0.0.2"):
            headers = api.ask("GET", "/api/v1/blockchain", headers={"X-Forwarded-For": client})[2]
            assert headers["ratelimit-remaining"] == "4", (client, headers)


def test_rate_limit_in_redis():
    other = None
    with RedisServer() as redis:
        flags = (*KEYS, "--rate-limit=1", "--rate-limit-burst=20", f"--redis=localhost:{redis.port}", "--trusted-proxy=127.0.0.1")
        try:
            with Pair(*flags) as (node, api):
                other = Api(node.datadir, *flags).wait_ready()
                def in_use(server):
                    return server.data("GET", "/health")["rate_limit"]
                for one in (api, other):
                    wait_until(lambda one=one: in_use(one) == "redis", what="Redis in use")
                def admitted(client, count, servers):
                    return sum(servers[i % len(servers)].ask("GET", "/api/v1/blockchain", headers={"X-Forwarded-For": client})[0] == 200
                               for i in range(count))
                start = time.monotonic()
                got = admitted("10.0.0.1", 60, (api, other))
                assert 20 <= got <= 21 + (time.monotonic() - start), got
                redis.freeze()
                assert admitted("10.0.0.3", 25, (api,)) >= 20  # by memory, none waits for Redis
                wait_until(lambda: in_use(api) != "redis", what="memory in use")
                redis.thaw()
                wait_until(lambda: in_use(api) == "redis", what="Redis after a stop")
                start = time.monotonic()
                assert admitted("10.0.0.5", 30, (api,)) >= 20
                redis.kill()
                wait_until(lambda: in_use(api) != "redis", what="memory in use")
                # What Redis said of a client is known: no second burst, neither from memory nor from a Redis that was restarted.
                assert admitted("10.0.0.5", 30, (api,)) <= 1 + (time.monotonic() - start)
                first = time.monotonic()
                got = admitted("10.0.0.4", 60, (api,))
                assert 20 <= got <= 21 + (time.monotonic() - first), got
                redis.start()
                wait_until(lambda: in_use(api) == "redis", what="Redis after a restart")
                assert admitted("10.0.0.5", 30, (api,)) <= 2 + (time.monotonic() - start)
                assert "limiting by memory" in api.log()
                other.stop()
        finally:
            if other:
                other.end()


def test_redis_with_a_password():
    with RedisServer("--requirepass", "s3cr:et") as redis:
        def with_redis(wanted, *flags, env=None):
            with Pair(*KEYS, *flags, env=env) as (_, api):
                if wanted:
                    wait_until(lambda: api.data("GET", "/health")["rate_limit"] == "redis", what="Redis in use")
                else:
                    wait_until(lambda: "limiting by memory" in api.log(), what="refused by Redis")
                assert "s3cr" not in api.log() and "wrong1" not in api.log(), api.log()
        with_redis(True, f"--redis=redis://:s3cr%3Aet@127.0.0.1:{redis.port}")
        with_redis(True, env={"QUARRY_REDIS": f"redis://default:s3cr%3Aet@localhost:{redis.port}"})
        with_redis(True, f"--redis=127.0.0.1:{redis.port}", env={"REDIS_PASSWORD": "s3cr:et"})
        with_redis(False, f"--redis=redis://:wrong1@127.0.0.1:{redis.port}")
        with_redis(False, f"--redis=127.0.0.1:{redis.port}")


def test_servers_that_start_together_have_one_key():
    """Nobody gave keys: of the servers on one folder that make them, all end up with the same."""
    node = Node("--mine=no")
    apis = [Api(node.datadir, "--serve=rest,health") for _ in range(4)]
    try:
        for api in apis:
            api.wait_ready()
        files = [os.path.join(root, name) for root, _, names in os.walk(node.datadir) for name in names if name.startswith("api-")]
        assert sorted(os.path.basename(file) for file in files) == ["api-admin.key", "api-wallet.key"], files
        admin = next(open(file, encoding="ascii").read() for file in files if "admin" in file)
        for api in apis:
            api.data("POST", "/api/v1/mining/generatetoaddress", {"nblocks": 1, "address": ADDRESS}, {"X-API-Key": admin})
            api.stop()
    finally:
        for api in apis:
            api.end()
    node.stop()
