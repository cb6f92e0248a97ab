"""What operators do with peers: IPv6, bans and addresses across a restart, permissions, the network switch; in Bitcoin Core's words."""

import json
import os
import re
import subprocess

import quarry
from quarry import MAGIC, Node, RawPeer, RpcError, Skip, wait_until

ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"

# Of getpeerinfo of Bitcoin Core 28; addrbind, addrlocal and mapped_as are not told.
PEER_FIELDS = {
    "id", "addr", "network", "services", "servicesnames", "relaytxes", "lastsend", "lastrecv", "last_transaction", "last_block", "bytessent",
    "bytesrecv", "conntime", "timeoffset", "pingtime", "minping", "version", "subver", "inbound", "bip152_hb_to", "bip152_hb_from",
    "startingheight", "presynced_headers", "synced_headers", "synced_blocks", "inflight", "addr_relay_enabled", "addr_processed",
    "addr_rate_limited", "permissions", "minfeefilter", "bytessent_per_msg", "bytesrecv_per_msg", "connection_type",
    "transport_protocol_type", "session_id"}


def fails(node, code, method, *params):
    try:
        node.rpc(method, *params)
    except RpcError as error:
        assert error.code == code, (method, params, error)
        return error.message
    raise AssertionError(f"{method} {params} did not fail")


def port_v6(node):
    found = wait_until(lambda: re.search(r"listening on \[::1\]:(\d+)", node.log()), what="listening on [::1]")
    return int(found.group(1))


def test_ipv6_from_end_to_end():
    if not os.path.exists("/proc/net/if_inet6") or "00000000000000000000000000000001" not in open("/proc/net/if_inet6", encoding="ascii").read():
        raise Skip("this machine has no ::1")
    first = Node("--mine=no", "--listen=[::1]:0")
    port = port_v6(first)
    first.rpc("generatetoaddress", 5, ADDRESS)
    second = Node("--mine=no", f"--connect=[::1]:{port}", listen=False)
    wait_until(lambda: second.rpc("getblockcount") == 5, what="synchronising over IPv6")
    peer = second.rpc("getpeerinfo")[0]
    assert peer["addr"] == f"[::1]:{port}" and peer["network"] == "not_publicly_routable", peer
    assert first.rpc("getpeerinfo")[0]["addr"].startswith("[::1]:")
    assert second.rpc("getaddednodeinfo")[0]["addresses"][0]["address"] == f"[::1]:{port}"
    third = Node("--mine=no", listen=False)
    third.rpc("addnode", f"[::1]:{port}", "onetry")
    wait_until(lambda: third.rpc("getblockcount") == 5, what="addnode onetry over IPv6")
    second.rpc("setban", "::1", "add")
    wait_until(lambda: not second.rpc("getpeerinfo"), what="the banned address to be let go")
    for node in (third, second, first):
        node.stop()


def test_bans_and_addresses_survive_a_restart():
    node = Node("--mine=no")
    node.rpc("setban", "10.1.2.3/16", "add", 1000)
    node.rpc("setban", "2001:db8::/32", "add", 4102444800, True)
    node.rpc("setban", "127.0.0.77", "add")
    node.rpc("setban", "127.0.0.77", "remove")
    assert node.rpc("addpeeraddress", "8.8.8.8", 8333)["success"]
    assert not node.rpc("addpeeraddress", "8.8.8.8", 8333)["success"], "it is known"
    assert node.rpc("addpeeraddress", "2a01::7", 18444, True)["success"]
    saved = os.path.join(node.datadir, "regtest", "banlist.json")

    def nets_on_disk():  # soon after the answer; the addresses with a clean stop
        with open(saved, encoding="utf-8") as file:
            return json.load(file)["banned_nets"]

    wait_until(lambda: os.path.exists(saved) and len(nets_on_disk()) == 2, what="the list of bans on disk")
    node.kill()
    nets = nets_on_disk()
    assert [(net["address"], net["version"]) for net in nets] == [("10.1.0.0/16", 1), ("2001:db8::/32", 1)], nets
    node.start()
    listed = node.rpc("listbanned")
    assert [ban["address"] for ban in listed] == ["10.1.0.0/16", "2001:db8::/32"], listed
    assert listed[0]["ban_duration"] == 1000 and listed[1]["banned_until"] == 4102444800, listed
    assert node.rpc("addpeeraddress", "8.8.8.8", 8333)["success"]
    assert node.rpc("addpeeraddress", "2a01::7", 18444, True)["success"]
    node.stop()
    node.start()
    known = node.rpc("getnodeaddresses", 0)
    assert {(a["address"], a["port"], a["network"]) for a in known} == {("8.8.8.8", 8333, "ipv4"), ("2a01::7", 18444, "ipv6")}, known
    assert [a["address"] for a in node.rpc("getnodeaddresses", 0, "ipv6")] == ["2a01::7"]
    assert len(node.rpc("getnodeaddresses")) == 1
    assert fails(node, -8, "getnodeaddresses", -1) == "Address count out of range"
    assert fails(node, -8, "getnodeaddresses", 1, "carrier pigeon") == "Network not recognized: carrier pigeon"
    node.rpc("clearbanned")
    node.stop()
    for name, bad in (("peers.dat", b"QPEERS but not really"), ("banlist.json", b'{"banned_nets": [17')):
        with open(os.path.join(node.datadir, "regtest", name), "wb") as file:
            file.write(bad)
    node.start()
    assert node.rpc("getnodeaddresses", 0) == [] and node.rpc("listbanned") == []
    assert re.search(r"peers\.dat is damaged", node.log()) and re.search(r"banlist\.json cannot be read", node.log()), node.log()
    node.stop()


def test_permissions_of_known_peers():
    node = Node("--mine=no", "--whitelist=noban,addr@127.0.0.0/8", "--whitelist=mempool@10.0.0.0/8", "--p2p-allow=10.0.0.0/8")
    peer = RawPeer(node.wait_port(), MAGIC["regtest"]).handshake()
    wait_until(lambda: node.rpc("getpeerinfo"), what="the peer")
    assert node.rpc("getpeerinfo")[0]["permissions"] == ["noban", "download", "addr"], node.rpc("getpeerinfo")
    peer.send("headers", b"\x01" + b"\xff" * 80 + b"\0")  # no proof of work: others would be let go
    peer.send("ping", b"12345678")
    while (got := peer.receive()) is not None and got != ("pong", b"12345678"):
        pass
    assert got, "it was let go"
    peer.close()
    node.stop()
    for flag in ("--whitelist=fly@127.0.0.1", "--whitelist=noban@localhost", "--p2p-allow=everywhere"):
        wrong = subprocess.run([os.path.join(quarry.BIN, "quarryd"), "--chain=regtest", f"--datadir={node.datadir}", flag],
                               capture_output=True, text=True, timeout=60, check=False)
        assert wrong.returncode == 2 and flag[2:].split("=")[0] in wrong.stderr, wrong


def test_fields_and_words_of_core():
    first = Node("--mine=no")
    second = Node("--mine=no", f"--connect=127.0.0.1:{first.wait_port()}")
    wait_until(lambda: second.rpc("getpeerinfo") and second.rpc("getpeerinfo")[0].get("pingtime") is not None, what="a peer")
    peer, back = second.rpc("getpeerinfo")[0], first.rpc("getpeerinfo")[0]
    assert not PEER_FIELDS - set(peer), PEER_FIELDS - set(peer)
    assert (peer["connection_type"], back["connection_type"]) == ("manual", "inbound")
    assert peer["bytessent_per_msg"]["version"] > 100 and "verack" in back["bytesrecv_per_msg"], peer
    assert sum(peer["bytessent_per_msg"].values()) == peer["bytessent"], peer
    info = second.rpc("getnetworkinfo")
    assert [network["name"] for network in info["networks"]] == ["ipv4", "ipv6", "onion", "i2p", "cjdns"]
    assert info["version"] >= 280000 and info["connections_out"] == 1 and info["networkactive"] is True
    node = f"127.0.0.1:{first.port}"
    assert second.rpc("getaddednodeinfo") == [{"addednode": node, "connected": True, "addresses": [{"address": node, "connected": "outbound"}]}]
    assert fails(second, -23, "addnode", node, "add") == "Error: Node already added"
    fails(second, -24, "addnode", "127.0.0.1:1", "remove")
    fails(second, -24, "getaddednodeinfo", "127.0.0.1:1")
    fails(second, -29, "disconnectnode", "127.0.0.1:1")
    assert second.rpc("setnetworkactive", False) is False
    wait_until(lambda: second.rpc("getconnectioncount") == 0 and first.rpc("getconnectioncount") == 0, what="all connections to end")
    assert second.rpc("getnetworkinfo")["networkactive"] is False
    assert second.rpc("setnetworkactive", True) is True
    wait_until(lambda: second.rpc("getconnectioncount") == 1, what="the peer to be back")
    second.rpc("disconnectnode", "", second.rpc("getpeerinfo")[0]["id"])
    wait_until(lambda: second.rpc("getconnectioncount") == 1 and first.rpc("getconnectioncount") == 1, what="the peer to be dialled again")
    totals = second.rpc("getnettotals")
    assert totals["totalbytessent"] > 0 and totals["uploadtarget"]["target"] == 0
    second.stop()
    first.stop()
