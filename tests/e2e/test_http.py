"""quarry-api against clients that are slow, greedy or many, and its JSON-RPC face with Core's statuses."""

import base64
import gzip
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import socket
import tempfile
import threading

from quarry import Node, wait_until
from test_api import ADDRESS, KEYS, WALLET, Api, Pair


# ---- Bounds ------------------------------------------------------------------------------------------------------------


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def read_all(sock):
    data = b""
    try:
        while True:
            more = sock.recv(1 << 16)
            if not more:
                return data
            data += more
    except ConnectionError:
        return data


def status_of(data):
    return int(data.split(b" ")[1]) if data.startswith(b"HTTP/1.1 ") else None


def test_slow_requests_are_cut_with_a_word():
    """A head, and a body, that never end: 408 each, while others are served."""
    with Pair(*KEYS) as (_, api):
        head, body = connect(api.port), connect(api.port)
        head.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Drip: ")
        body.sendall(b"POST /api/v1/wallet HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        api.data("GET", "/health")
        for sock in (head, body):
            answer = read_all(sock)
            assert status_of(answer) == 408 and b'"error":"The request takes too long to come."' in answer, answer
        api.data("GET", "/health")


def test_a_body_has_one_length():
    """Where two lengths are given, whoever stands before this server may have heeded the other one."""
    head = b"POST /api/v1/wallet HTTP/1.1\r\nHost: a\r\nX-API-Key: wallet\r\nContent-Type: application/json\r\n"
    good = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    chunks = b"\r\n2\r\n{}\r\n0\r\n\r\n"
    with Pair(*KEYS) as (_, api):
        for lengths in (b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}", b"content-length: 2\ncontent-length: 2\n\n{}",
                        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + chunks, b"Transfer-Encoding: chunked\r\nContent-Length: 40\r\n" + chunks):
            sock = connect(api.port)
            sock.sendall(good + b"\r\n" + head + lengths + good)
            answer = read_all(sock)
            assert answer.count(b"HTTP/1.1 200 ") == 1 and answer.count(b"HTTP/1.1 ") == 2 and b'"code":"body_length"' in answer, (lengths, answer)


def test_huge_heads_and_bodies():
    with Pair(*KEYS) as (_, api):
        for finish in (b"", b"\r\n\r\n"):  # refused while it comes, and when it is there
            sock = connect(api.port)
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 40000 + finish)
            assert status_of(read_until_answer(sock)) == 431
        sock = connect(api.port)
        sock.sendall(b"POST /api/v1/wallet HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n")
        assert status_of(read_until_answer(sock)) == 413
        sock = connect(api.port)
        sock.sendall(b"POST /api/v1/wallet HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(80):
                sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except ConnectionError:
            pass  # it has heard enough
        assert status_of(read_until_answer(sock)) in (413, None)  # its answer may be overtaken by the reset
        api.data("GET", "/health")


def read_until_answer(sock):
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = sock.recv(1 << 16)
            if not more:
                break
            data += more
    except ConnectionError:
        pass
    return data


def test_idle_connections_give_way():
    """All places are held by clients that say nothing: new ones are served all the same."""
    with Pair(*KEYS, "--http-connections=20") as (_, api):
        silent = [connect(api.port) for _ in range(40)]
        for _ in range(5):  # the first may be told 503 until somebody has been silent for a second
            wait_until(lambda: api.ask("GET", "/health/live")[0] == 200, what="a place")
        assert sum(closed(sock) for sock in silent) >= 1
        metrics = api.ask("GET", "/metrics")[1]
        assert int(re.search(r"quarry_api_connections_cut_total (\d+)", metrics).group(1)) >= 1, metrics
        for sock in silent:
            sock.close()


def closed(sock):
    sock.settimeout(0)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_readers_that_take_nothing_are_cut():
    with Pair(*KEYS) as (node, api):
        node.rpc("generatetoaddress", 2000, ADDRESS)
        path = "/api/v1/blockchain/blocks?limit=100"
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", api.port))
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        sock.sendall(request * 200)  # more than the kernel's queues hold; h2o answers one after the other
        def metric(name):
            return int(re.search(rf"quarry_api_{name} (\d+)", api.ask("GET", "/metrics")[1]).group(1))
        wait_until(lambda: metric("connections_cut_total") >= 1, what="the reader to be cut")
        wait_until(lambda: metric("connections") == 1, what="its place to be free")
        sock.close()


def test_a_wallet_file_that_hangs_holds_up_nobody():
    """A read that does not return (here of a pipe that nobody writes) keeps its thread; the server answers all others."""
    folder = tempfile.mkdtemp(prefix="wallets.")
    pipe = os.path.join(folder, f"{ADDRESS}.wallet")
    os.mkfifo(pipe)
    with Pair(*KEYS, f"--wallet-dir={folder}") as (_, api):
        slow = threading.Thread(target=lambda: api.refused(404, "not_found", "GET", f"/api/v1/wallet/{ADDRESS}"))
        slow.start()
        for _ in range(5):
            assert api.data("GET", "/health/live") == "alive" and api.data("GET", "/api/v1/blockchain")["height"] == 0
        queue = [threading.Thread(target=lambda: api.ask("GET", "/api/v1/wallet/addresses")) for _ in range(20)]
        for waiting in queue:
            waiting.start()
        assert slow.is_alive() and api.data("GET", "/health/live") == "alive"
        with open(pipe, "wb"):
            pass  # the read ends: no wallet is in it
        for waiting in [slow, *queue]:
            waiting.join(timeout=60)
            assert not waiting.is_alive()
    shutil.rmtree(folder)


# ---- What browsers and scripts expect ----------------------------------------------------------------------------------


def test_keep_alive_etags_and_gzip():
    with Pair(*KEYS) as (node, api):
        connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
        connection.connect()
        local = connection.sock.getsockname()
        for _ in range(3):  # one connection
            connection.request("GET", "/api/v1/blockchain")
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read()
            assert connection.sock.getsockname() == local
        etag = answer.getheader("etag")
        assert etag.startswith('W/"') and answer.getheader("cache-control") == "no-cache"
        connection.request("GET", "/api/v1/blockchain", headers={"If-None-Match": etag})
        answer = connection.getresponse()
        assert answer.status == 304 and answer.read() == b"" and answer.getheader("etag") == etag
        connection.request("GET", "/health")  # the connection is in order after it
        assert json.loads(connection.getresponse().read())["success"]
        node.rpc("generatetoaddress", 100, ADDRESS)
        wait_until(lambda: api.data("GET", "/api/v1/blockchain")["height"] == 100, what="the new height")
        connection.request("GET", "/api/v1/blockchain", headers={"If-None-Match": etag})
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        connection.request("GET", "/api/v1/blockchain/blocks?limit=100", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.getheader("content-encoding") == "gzip" and "accept-encoding" in answer.getheader("vary", "").lower()
        assert len(json.loads(gzip.decompress(answer.read()))["data"]["items"]) == 100
        connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert b"<h1>Quarry</h1>" in gzip.decompress(answer.read()) and answer.getheader("etag")
        connection.close()


def test_cors():
    """Other sites may read; what they would write is refused before and after the browser asks."""
    with Pair(*KEYS) as (_, api):
        evil = {"Origin": "http://evil.example"}
        status, _, headers = api.ask("GET", "/api/v1/blockchain", headers=evil)
        assert status == 200 and headers["access-control-allow-origin"] == "*"
        status, _, headers = api.ask("OPTIONS", "/api/v1/transactions", headers=dict(evil, **{"Access-Control-Request-Method": "POST"}))
        assert "POST" not in headers["access-control-allow-methods"]
        for path in ("/api/v1/wallet", "/api/v1/transactions", "/api/wallet/wallet", "/api/v1/mining/generatetoaddress", "/api/admin/wallet"):
            headers = api.refused(403, "origin", "POST", path, {}, dict(WALLET, **evil))
            assert "access-control-allow-origin" not in headers
        api.refused(403, "origin", "POST", "/api/v1/wallet", {}, dict(WALLET, Origin="null"))


# ---- JSON-RPC ----------------------------------------------------------------------------------------------------------


class Rpc:
    """JSON-RPC over HTTP as Core's clients speak it."""

    def __init__(self, api, credentials):
        self.api = api
        def port():
            found = re.search(r"JSON-RPC server on 127\.0\.0\.1:(\d+)", api.log())
            return found and int(found.group(1))
        self.port = wait_until(port, what="the port of JSON-RPC")
        self.headers = {"Content-Type": "application/json"}
        if credentials:
            self.headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()

    def post(self, body, path="/", method="POST", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, text, self.headers if headers is None else headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data.startswith((b"{", b"[")) else data, answer

    def call(self, method, *params):
        status, reply, _ = self.post({"id": 1, "method": method, "params": list(params)})
        assert status == 200 and reply["error"] is None, reply
        return reply["result"]


def cookie(node):
    with open(os.path.join(node.datadir, "regtest", ".cookie"), encoding="ascii") as file:
        return file.read()


def test_rpc_statuses_are_cores():
    with Pair(*KEYS, "--rpcport=0") as (node, api):
        rpc = Rpc(api, cookie(node))
        assert os.stat(os.path.join(node.datadir, "regtest", ".cookie")).st_mode & 0o777 == 0o600
        assert rpc.call("getblockcount") == 0
        def statuses(body, status, code=None, **other):
            got, reply, answer = rpc.post(body, **other)
            assert got == status, (body, got, reply)
            if code is not None:
                assert reply["error"]["code"] == code and reply["result"] is None, reply
            return reply, answer
        reply, answer = statuses({"method": "getblockcount", "id": "x"}, 200)
        assert reply == {"result": 0, "error": None, "id": "x"} and answer.getheader("content-type") == "application/json"
        assert list(reply) == ["result", "error", "id"]
        statuses({"method": "nosuch", "id": 1}, 404, -32601)
        statuses({"id": 1}, 400, -32600)
        statuses({"method": 5, "id": 1}, 400, -32600)
        statuses({"method": "getblockhash", "params": [99], "id": 1}, 500, -8)
        statuses({"method": "getblockhash", "params": ["x"], "id": 1}, 500, -3)
        statuses({"method": "getblockcount", "params": 7, "id": 1}, 400, -32600)
        statuses("{", 500, -32700)
        statuses("", 500, -32700)
        statuses('"text"', 500, -32700)
        # Version 2: 200 whatever it says, no null members; and no answer to notifications.
        reply, _ = statuses({"jsonrpc": "2.0", "method": "nosuch", "id": 1}, 200)
        assert reply == {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": 1}
        reply, _ = statuses({"jsonrpc": "2.0", "method": "getblockcount", "id": None}, 200)
        assert reply == {"jsonrpc": "2.0", "result": 0, "id": None}
        _, answer = statuses({"jsonrpc": "2.0", "method": "getblockcount"}, 204)
        statuses({"jsonrpc": "3.0", "method": "getblockcount", "id": 1}, 400, -32600)
        statuses({"jsonrpc": 2, "method": "getblockcount", "id": 1}, 400, -32600)
        # Batches: always 200.
        reply, _ = statuses([{"method": "getblockcount", "id": 1}, {"method": "nosuch", "id": 2}, 5, {"jsonrpc": "2.0", "method": "getblockcount"}], 200)
        assert [entry["id"] for entry in reply] == [1, 2, None] and reply[1]["error"]["code"] == -32601 and reply[2]["error"]["code"] == -32600
        assert statuses([], 200)[0] == []
        statuses([{"jsonrpc": "2.0", "method": "getblockcount"}], 204)
        # Newlines between tokens, named parameters, a wallet's path, a large request.
        assert statuses('{\n"method":\r\n"getblockhash",\n"params":{"height":\n0},"id":1}\n', 200)[0]["error"] is None
        statuses('{"method":"getblock\ncount","id":1}', 500, -32700)
        assert statuses({"method": "getblockcount", "id": 1}, 200, path="/wallet/w")[0]["result"] == 0
        statuses({"method": "decoderawtransaction", "params": ["00" * 3000000], "id": 1}, 500, -22)
        # Paths, methods, who may.
        assert rpc.post({}, path="/nowhere")[0] == 404
        got, text, _ = rpc.post("", method="GET")
        assert got == 405 and text == b"JSONRPC server handles only POST requests"
        got, _, answer = rpc.post({"method": "getblockcount"}, headers={})
        assert got == 401 and answer.getheader("www-authenticate") == 'Basic realm="jsonrpc"'
        for wrong in ("__cookie__:wrong", "x", "", cookie(node) + "0", ":"):
            assert Rpc(api, None).post({"method": "getblockcount"}, headers={"Authorization": "Basic " + base64.b64encode(wrong.encode()).decode()})[0] == 401
        for wrong in ("Basic", "Basic ", "Basic !!!!", "Bearer x", "Basic " + "A" * 4000):
            assert rpc.post({"method": "getblockcount"}, headers={"Authorization": wrong})[0] == 401, wrong
        node.stop()
        wait_until(lambda: rpc.post({"method": "getblockcount", "id": 1})[1]["error"]["code"] == -28, what="warm-up")
        node.start()
        wait_until(lambda: rpc.post({"method": "getblockcount", "id": 1})[0] == 200, what="the node")
    assert not os.path.exists(os.path.join(node.datadir, "regtest", ".cookie"))


def test_rpc_passwords():
    salt, password = "5d1f", "geheim:mit Doppelpunkt"
    digest = hmac.new(salt.encode(), password.encode(), hashlib.sha256).hexdigest()
    with Pair(*KEYS, "-rpcport=0", "-rpcuser=alice", "-rpcpassword=secret", f"-rpcauth=bob:{salt}${digest}") as (node, api):
        assert Rpc(api, "alice:secret").call("getblockcount") == 0
        assert Rpc(api, "bob:" + password).call("getblockcount") == 0
        for wrong in ("alice:" + password, "bob:secret", "alice:", ":secret", "bob:" + digest):
            assert Rpc(api, wrong).post({"method": "getblockcount"})[0] == 401, wrong
        assert not os.path.exists(os.path.join(node.datadir, "regtest", ".cookie"))


def test_rpc_calls_that_wait():
    """More calls wait for a block than REST has connections to the node; one whose client leaves is dropped."""
    with Pair(*KEYS, "--rpcport=0") as (node, api):
        rpc = Rpc(api, cookie(node))
        results = []
        waiters = [threading.Thread(target=lambda: results.append(rpc.call("waitfornewblock"))) for _ in range(20)]
        for waiter in waiters:
            waiter.start()
        def waiting():
            return sum(call["method"] == "waitfornewblock" for call in node.rpc("getrpcinfo")["active_commands"])
        wait_until(lambda: waiting() == 20, what="20 waiting calls")
        sock = connect(rpc.port)
        body = json.dumps({"method": "waitfornewblock", "id": 1})
        sock.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nAuthorization: {rpc.headers['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_until(lambda: waiting() == 21, what="one more")
        sock.close()
        wait_until(lambda: waiting() == 20, what="the one that left to be dropped")
        api.data("GET", "/api/v1/blockchain")
        assert rpc.call("getblockcount") == 0
        block = node.rpc("generatetoaddress", 1, ADDRESS)[0]
        for waiter in waiters:
            waiter.join(timeout=60)
        assert [result["hash"] for result in results] == [block] * 20


def test_rpc_port_that_is_taken():
    """The chain's port taken by somebody else: said, and everything else served; a port that was chosen: an error."""
    node = Node("--mine=no")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        api = Api(node.datadir, *KEYS, f"--rpcport={port}")
        try:
            assert api.process.wait(timeout=60) == 1
            api.reader.join(timeout=10)
            assert "cannot listen" in api.log()
        finally:
            api.end()
        for flag, word in (("--rpcallowip=nonsense", "rpcallowip"), ("--rpcauth=nonsense", "rpcauth"), ("--rpcbind=a b", "rpcbind")):
            api = Api(node.datadir, *KEYS, flag)
            try:
                assert api.process.wait(timeout=60) == 2, api.log()
                api.reader.join(timeout=10)
                assert word in api.log()
            finally:
                api.end()
    node.stop()


def test_rest_as_core_has_it():
    with Pair(*KEYS, "--rest=yes", "--rpcport=0") as (node, api):
        wait_until(lambda: re.search(r"JSON-RPC server on 127\.0\.0\.1:(\d+)", api.log()), what="the port of JSON-RPC")
        port = int(re.search(r"JSON-RPC server on 127\.0\.0\.1:(\d+)", api.log()).group(1))
        def get(path, status=200):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/rest/" + path)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            assert answer.status == status, (path, answer.status, data)
            return data
        node.rpc("generatetoaddress", 3, ADDRESS)
        first, last = node.rpc("getblockhash", 1), node.rpc("getbestblockhash")
        raw = bytes.fromhex(node.rpc("getblock", last, 0))
        assert get(f"block/{last}.bin") == raw and get(f"block/{last}.hex").decode().strip() == raw.hex()
        assert json.loads(get(f"block/{last}.json"))["tx"][0]["vin"][0]["coinbase"]
        txid = json.loads(get(f"block/notxdetails/{last}.json"))["tx"][0]
        assert get(f"tx/{txid}.hex").decode().strip() == node.rpc("getrawtransaction", txid)
        assert json.loads(get(f"tx/{txid}.json"))["txid"] == txid
        assert [h["height"] for h in json.loads(get(f"headers/{first}.json?count=2"))] == [1, 2]
        assert len(get(f"headers/{first}.bin")) == 3 * 80 and len(get(f"headers/1/{first}.bin")) == 80
        assert json.loads(get("blockhashbyheight/3.json")) == {"blockhash": last}
        assert get("blockhashbyheight/3.bin")[::-1].hex() == last and get("blockhashbyheight/3.hex").decode().strip() == last
        assert json.loads(get("chaininfo.json"))["blocks"] == 3 and json.loads(get("deploymentinfo.json"))["height"] == 3
        assert json.loads(get("mempool/info.json"))["size"] == 0 and json.loads(get("mempool/contents.json")) == {}
        assert json.loads(get("mempool/contents.json?verbose=false&mempool_sequence=true"))["txids"] == []
        coins = json.loads(get(f"getutxos/checkmempool/{txid}-0/{txid}-7.json"))
        assert coins["bitmap"] == "10" and coins["utxos"][0]["value"] == 50 and coins["chainHeight"] == 3, coins
        for status, path in ((400, "block/x.json"), (404, f"block/{'00' * 32}.json"), (404, f"block/{last}.txt"), (404, f"block/{last}"), (404, "nothing.json"),
                             (404, "chaininfo.bin"), (400, "blockhashbyheight/x.json"), (404, "blockhashbyheight/9.json"), (400, f"headers/{first}.json?count=0"),
                             (400, f"headers/2001/{first}.json"), (400, "getutxos.json"), (400, f"getutxos/{txid}.json"), (400, "getutxos/" + "/".join([f"{txid}-0"] * 16) + ".json"),
                             (400, "tx/zz.hex"), (404, f"tx/{'11' * 32}.hex"), (400, "mempool/contents.json?verbose=true&mempool_sequence=true")):
            get(path, status)
        node.stop()
        assert b"temporarily unavailable" in get("chaininfo.json", 503)
        node.start()
        api.wait_ready()
    with Pair(*KEYS, "--rpcport=0") as (node, api):
        port = int(re.search(r"JSON-RPC server on 127\.0\.0\.1:(\d+)", api.log()).group(1))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/rest/chaininfo.json")
        assert connection.getresponse().status == 404, "it is off unless it was asked for"
        connection.close()
