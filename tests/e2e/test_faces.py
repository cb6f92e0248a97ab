"""What people type: flags, exit codes, the command line, clean stops."""

import json
import os
import signal
import subprocess
import tempfile

import quarry
from quarry import Node, RpcError, cli, wait_until

ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"


def run(program, *arguments, env=None):
    return subprocess.run([os.path.join(quarry.BIN, program), *arguments], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, **(env or {})), check=False)


def test_help_and_version():
    for program in ("quarryd", "quarry", "quarry-bench"):
        done = run(program, "--help")
        assert done.returncode == 0 and len(done.stdout) > 200, (program, done)
        done = run(program, "--version")
        assert done.returncode == 0 and "0.1.0" in done.stdout, (program, done)


def test_wrong_settings_say_what_is_allowed():
    for flag, name in (("--chain=moon", "chain"), ("--dbcache=-4", "dbcache"), ("--listen=nonsense:port", "listen"),
                       ("--log-level=loud", "log-level"), ("--no-such-flag", "no-such-flag"), ("--exit-when=never-ever", "exit-when")):
        with tempfile.TemporaryDirectory() as datadir:
            done = run("quarryd", f"--datadir={datadir}", flag)
        assert done.returncode == 2, (flag, done)
        assert name in done.stderr, (flag, done.stderr)


def test_second_process_is_refused():
    node = Node()
    node.rpc("getblockcount")
    second = Node(datadir=node.datadir)
    assert second.wait_exit() == 3, second.log()
    assert node.datadir in second.log()
    node.stop()


def test_generate_and_cli_output():
    node = Node("--mine=no")
    address = node.rpc("validateaddress", ADDRESS)
    assert address["isvalid"], address
    hashes = json.loads(cli(node, "generatetoaddress", "3", ADDRESS))
    assert len(hashes) == 3
    assert cli(node, "getblockcount") == "3"
    assert cli(node, "getbestblockhash") == hashes[2]
    assert cli(node, "getblockhash", "1") == hashes[0]
    assert json.loads(cli(node, "getblock", hashes[0]))["height"] == 1
    assert "Block height out of range" in cli(node, "getblockhash", "99", expect=8)
    assert "ethod not found" in cli(node, "nosuchmethod", expect=89)
    assert "cannot" in cli(node, "--datadir=/nonexistent", "getblockcount", expect=1).lower()
    info = node.rpc("getblockchaininfo")
    assert info["chain"] == "regtest" and info["blocks"] == 3 and info["bestblockhash"] == hashes[2]
    node.rpc("stop")
    assert node.wait_exit() == 0


def test_restart_keeps_everything():
    node = Node("--mine=no")
    node.rpc("generatetoaddress", 20, ADDRESS)
    before = node.rpc("gettxoutsetinfo")
    node.stop()
    node.start()
    after = node.rpc("gettxoutsetinfo")
    assert before["hash_serialized_3"] == after["hash_serialized_3"] and before["bestblock"] == after["bestblock"]
    node.stop()


def test_kill_keeps_what_was_acknowledged():
    node = Node("--mine=no")
    for _ in range(4):
        best = node.rpc("generatetoaddress", 5, ADDRESS)[-1]
        node.kill()
        node.start()
        assert node.rpc("getbestblockhash") == best, node.log()
    node.stop()


def test_invalidate_and_reconsider():
    node = Node("--mine=no")
    hashes = node.rpc("generatetoaddress", 10, ADDRESS)
    node.rpc("invalidateblock", hashes[4])
    assert node.rpc("getblockcount") == 4
    tips = {tip["status"] for tip in node.rpc("getchaintips")}
    assert "invalid" in tips and "active" in tips, tips
    node.rpc("reconsiderblock", hashes[4])
    assert node.rpc("getbestblockhash") == hashes[9]
    node.stop()


def test_error_codes():
    node = Node("--mine=no")
    for method, params, code in (("getblock", ["00" * 32], -5), ("getblockhash", [5], -8), ("sendrawtransaction", ["zz"], -22),
                                 ("generatetoaddress", [1, "nonsense"], -5), ("getblockhash", ["x"], -3), ("nothing", [], -32601),
                                 ("submitblock", ["00"], -22)):
        try:
            node.rpc(method, *params)
        except RpcError as error:
            assert error.code == code, (method, error.code, error.message)
        else:
            raise AssertionError(f"{method} {params} was accepted")
    node.stop()


def test_interrupt_stops_cleanly():
    node = Node("--mine=yes", "--threads=1", "--connect=local", "--block-interval=1")
    wait_until(lambda: node.rpc("getblockcount") >= 1, what="a block")
    node.process.send_signal(signal.SIGINT)
    assert node.wait_exit() == 0, node.log()


def test_both_loops():
    for loop in ("epoll", "auto"):
        node = Node("--mine=no", f"--loop={loop}")
        node.rpc("generatetoaddress", 2, ADDRESS)
        assert node.rpc("getblockcount") == 2
        node.stop()


def test_createwallet_prints_the_promised_line():
    with tempfile.TemporaryDirectory() as folder:
        env = {"WALLET_FILE": os.path.join(folder, "wallets.dat")}
        done = run("quarry", "createwallet", env=env)
        assert done.returncode == 0 and done.stdout.startswith("Your new address: bcrt1"), done
        address = done.stdout.split(": ")[1].strip()
        assert address in run("quarry", "listaddresses", env=env).stdout
        assert os.stat(env["WALLET_FILE"]).st_mode & 0o777 == 0o600


def test_startnode_and_printchain():
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([os.path.join(quarry.BIN, "quarry"), f"--datadir={folder}", "--chain=regtest", "startnode", "no", "no", "local", "--", ADDRESS],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, NODE_ADDR="127.0.0.1:0"))
        try:
            sock = os.path.join(folder, "regtest", "node.sock")
            wait_until(lambda: os.path.exists(sock) or process.poll() is not None, what="the socket")
            assert process.poll() is None, process.stdout.read()
            done = run("quarry", f"--datadir={folder}", "--chain=regtest", "generatetoaddress", "1", ADDRESS)
            assert done.returncode == 0, done
            shown = run("quarry", f"--datadir={folder}", "--chain=regtest", "printchain").stdout
            for words in ("Pre block hash:", "Cur block hash:", "Cur block Timestamp:", "- Transaction txid_hex:", "-- Input txid =", "-- Output value ="):
                assert words in shown, (words, shown)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
            process.stdout.close()
