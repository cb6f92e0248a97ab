"""RPC methods that read much at once: statistics of blocks, coins by descriptor."""

from blocks import Block, merkle, sha256d
from quarry import Node, RpcError
from test_api import ADDRESS
from test_load import mixed

WIF = "cMahea7zqjxrtgAbB7LSGbcQUr1uX1ojuat9jZodMN87JcbXMTcA"  # of the secret 1
KEY = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
KEY_ADDRESSES = {"wpkh": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "pkh": "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r"}

OWN = KEY_ADDRESSES["wpkh"]


def refused(node, code, method, *params):
    try:
        node.rpc(method, *params)
    except RpcError as error:
        assert error.code == code, (method, params, error)
        return error.message
    raise AssertionError(f"{method} {params} was accepted")


def test_getblockstats_is_what_the_block_says():
    """Every figure of every block of a chain of Core's against getblock with fees and spent outputs."""
    node = Node(f"--loadblock={mixed('dat')}", "--mine=no", "--exit-when=loaded", chain="regtest", listen=False)
    assert node.wait_exit() == 0, node.log()
    node = Node("--mine=no", chain="regtest", datadir=node.datadir, listen=False)
    for height in range(0, node.rpc("getblockcount") + 1):
        stats = node.rpc("getblockstats", height)
        block = node.rpc("getblock", node.rpc("getblockhash", height), 3)
        paying = block["tx"][1:]
        fees = sorted(round(tx["fee"] * 10**8) for tx in paying)
        sizes = sorted(tx["size"] for tx in paying)
        weight = sum(tx["weight"] for tx in paying)
        witness = [tx for tx in paying if tx["txid"] != tx["hash"]]
        outputs = [output for tx in block["tx"] for output in tx["vout"]]
        def middle(values):
            return 0 if not values else values[len(values) // 2] if len(values) % 2 else (values[len(values) // 2 - 1] + values[len(values) // 2]) // 2
        expected = {
            "blockhash": block["hash"], "height": height, "time": block["time"], "mediantime": block["mediantime"], "txs": len(block["tx"]),
            "ins": sum(len(tx["vin"]) for tx in paying), "outs": len(outputs), "totalfee": sum(fees), "total_size": sum(sizes), "total_weight": weight,
            "total_out": sum(round(output["value"] * 10**8) for tx in paying for output in tx["vout"]),
            "minfee": fees[0] if fees else 0, "maxfee": fees[-1] if fees else 0, "medianfee": middle(fees), "avgfee": sum(fees) // len(fees) if fees else 0,
            "mintxsize": sizes[0] if sizes else 0, "maxtxsize": sizes[-1] if sizes else 0, "mediantxsize": middle(sizes), "avgtxsize": sum(sizes) // len(sizes) if sizes else 0,
            "avgfeerate": sum(fees) * 4 // weight if weight else 0, "swtxs": len(witness), "swtotal_size": sum(tx["size"] for tx in witness),
            "swtotal_weight": sum(tx["weight"] for tx in witness), "utxo_increase": len(outputs) - sum(len(tx["vin"]) for tx in paying)}
        for name, value in expected.items():
            assert stats[name] == value, (height, name, stats[name], value)
        rates = stats["feerate_percentiles"]
        assert len(stats) == 31 and rates == sorted(rates) and stats["minfeerate"] <= rates[0] <= rates[-1] <= stats["maxfeerate"], stats
    last = node.rpc("getblockcount")
    assert node.rpc("getblockstats", node.rpc("getbestblockhash"), ["txs", "height"]) == {"height": last, "txs": stats["txs"]}
    before, after = node.rpc("gettxoutsetinfo"), node.rpc("getblockstats", last)
    node.rpc("invalidateblock", node.rpc("getbestblockhash"))
    earlier = node.rpc("gettxoutsetinfo")
    assert before["txouts"] - earlier["txouts"] == after["utxo_increase_actual"], (before, earlier, after)
    for code, params in ((-8, [-1]), (-8, [last + 1]), (-8, ["x"]), (-5, ["00" * 32]), (-8, [1, ["nope"]]), (-8, [1, [5]]), (-3, [1, 5]), (-3, [True])):
        refused(node, code, "getblockstats", *params)
    node.stop()


def test_scantxoutset():
    node = Node("--mine=no")
    node.rpc("generatetoaddress", 3, ADDRESS)
    node.rpc("generatetodescriptor", 2, f"wpkh({KEY})")
    node.rpc("generatetodescriptor", 1, f"pkh({KEY})")
    node.rpc("generatetodescriptor", 1, f"combo({KEY})")
    node.rpc("generatetodescriptor", 1, "raw(51)")
    def scan(*objects):
        return node.rpc("scantxoutset", "start", list(objects))
    found = scan(f"addr({KEY_ADDRESSES['wpkh']})")
    assert found["success"] and found["height"] == 8 and found["bestblock"] == node.rpc("getbestblockhash") and found["txouts"] == 8
    assert sorted(coin["height"] for coin in found["unspents"]) == [4, 5, 7]
    assert found["total_amount"] == 150 and all(coin["coinbase"] and coin["amount"] == 50 for coin in found["unspents"])
    assert all(coin["desc"].startswith(f"addr({KEY_ADDRESSES['wpkh']})#") for coin in found["unspents"])
    coin = found["unspents"][0]
    assert coin["blockhash"] == node.rpc("getblockhash", coin["height"]) and coin["confirmations"] == 9 - coin["height"]
    assert node.rpc("gettxout", coin["txid"], coin["vout"])["scriptPubKey"]["hex"] == coin["scriptPubKey"]
    assert len(scan(f"combo({KEY})")["unspents"]) == 4
    assert [coin["height"] for coin in scan(f"pkh({KEY})")["unspents"]] == [6]
    assert [coin["desc"].split("#")[0] for coin in scan("raw(51)")["unspents"]] == ["raw(51)"]
    assert scan({"desc": f"addr({ADDRESS})"}, "raw(51)")["total_amount"] == 200
    assert len(scan(f"addr({ADDRESS})", f"combo({KEY})", "raw(51)")["unspents"]) == 8
    assert scan()["unspents"] == []
    assert scan("raw(deadbeef)#89f8spxm")["success"]  # BIP380's own example
    assert "checksum" in refused(node, -5, "scantxoutset", "start", ["raw(deadbeef)#89f8spxn"])
    for code, params in ((-8, ["nonsense"]), (-1, ["start"]), (-3, ["start", "x"]), (-8, ["start", [5]]), (-8, ["start", [{}]]), (-5, ["start", [KEY_ADDRESSES["pkh"]]]), (-5, ["start", ["addr(x)"]]),
                         (-5, ["start", ["raw(xyz)"]]), (-5, ["start", [f"wpkh({KEY}"]]), (-5, ["start", ["wpkh(02)"]]), (-5, ["start", ["sh()"]]),
                         (-5, ["start", ["wpkh(04" + "11" * 64 + ")"]]), (-5, ["start", [")"]]), (-5, ["start", [""]])):
        refused(node, code, "scantxoutset", *params)
    assert node.rpc("scantxoutset", "status") is None and node.rpc("scantxoutset", "abort") is False
    node.stop()


def test_prioritisetransaction():
    """A delta moves a transaction up and down in templates, lets one in that pays too little, and ends with its block."""
    node = Node("--mine=no")
    coins = []
    for _ in range(4):
        block = node.rpc("generatetoaddress", 1, OWN)[0]
        coins.append(node.rpc("getblock", block)["tx"][0])
    node.rpc("generatetoaddress", 100, ADDRESS)
    def pay(coin, fee_sat):
        raw = node.rpc("createrawtransaction", [{"txid": coin, "vout": 0}], {OWN: f"{(50 * 10**8 - fee_sat) / 10**8:.8f}"})
        return node.rpc("signrawtransactionwithkey", raw, [WIF])["hex"]
    def order():
        return [tx["txid"] for tx in node.rpc("getblocktemplate", {"rules": ["segwit"]})["transactions"]]
    rich, poor = (node.rpc("sendrawtransaction", pay(coin, fee)) for coin, fee in zip(coins, (5000, 1000)))
    assert order() == [rich, poor]
    sequence = node.rpc("getrawmempool", False, True)["mempool_sequence"]
    assert node.rpc("prioritisetransaction", poor, None, 10000) is True
    assert order() == [poor, rich] and node.rpc("getrawmempool", False, True)["mempool_sequence"] > sequence
    fees = node.rpc("getmempoolentry", poor)["fees"]
    assert (fees["base"], fees["modified"], fees["ancestor"], fees["descendant"]) == (0.00001, 0.00011, 0.00011, 0.00011), fees
    assert node.rpc("getprioritisedtransactions") == {poor: {"fee_delta": 10000, "in_mempool": True, "modified_fee": 11000}}
    assert node.rpc("prioritisetransaction", poor, 0, -10000) is True  # they add up; nothing is left of it
    assert order() == [rich, poor] and node.rpc("getprioritisedtransactions") == {}
    # A child's delta counts for its parent's package, and a parent's for its child's.
    child = node.rpc("sendrawtransaction", pay_again(node, poor, 50 * 10**8 - 1000, 1000))
    node.rpc("prioritisetransaction", child, 0.0, 100000)
    assert order() == [poor, child, rich] and node.rpc("getmempoolentry", poor)["fees"]["descendant"] == 0.00102
    node.rpc("prioritisetransaction", poor, 0, 7000)
    assert node.rpc("getmempoolentry", child)["fees"]["ancestor"] == 0.00109
    # One that pays nothing, told beforehand.
    free = pay(coins[2], 0)
    txid = node.rpc("decoderawtransaction", free)["txid"]
    assert "min relay fee not met" in refused(node, -26, "sendrawtransaction", free)
    node.rpc("prioritisetransaction", txid, 0, 2000)
    assert node.rpc("getprioritisedtransactions")[txid] == {"fee_delta": 2000, "in_mempool": False}
    assert node.rpc("sendrawtransaction", free) == txid
    # Replacement goes by it too: twice the fee is not enough against a priority.
    node.rpc("prioritisetransaction", rich, 0, 50000)
    assert "insufficient fee" in refused(node, -26, "sendrawtransaction", pay(coins[0], 10000))
    template = node.rpc("getblocktemplate", {"rules": ["segwit"]})
    assert template["coinbasevalue"] == 50 * 10**8 + 5000 + 1000 + 1000, "the block claims what is paid"
    node.rpc("generatetoaddress", 1, ADDRESS)
    assert node.rpc("getrawmempool") == [] and node.rpc("getprioritisedtransactions") == {}
    for code, params in ((-8, ["x", 0, 1]), (-8, ["00" * 32, 1, 1]), (-8, ["00" * 32, "0", 1]), (-3, ["00" * 32, 0, "1"]), (-1, ["00" * 32, 0]),
                         (-8, ["00" * 32, 0, 2**62])):
        refused(node, code, "prioritisetransaction", *params)
    node.rpc("prioritisetransaction", "00" * 32, 0, 21 * 10**14)
    refused(node, -1, "prioritisetransaction", "00" * 32, 0, 1)
    node.stop()


def pay_again(node, txid, value_sat, fee_sat):
    """The output of a transaction that is in no block yet, once more to its own key."""
    script = node.rpc("validateaddress", OWN)["scriptPubKey"]
    raw = node.rpc("createrawtransaction", [{"txid": txid, "vout": 0}], {OWN: f"{(value_sat - fee_sat) / 10**8:.8f}"})
    spent = [{"txid": txid, "vout": 0, "scriptPubKey": script, "amount": f"{value_sat / 10**8:.8f}"}]
    return node.rpc("signrawtransactionwithkey", raw, [WIF], spent)["hex"]


def test_block_proposals():
    """BIP23: a block that is valid but for its work, and every way in which it is not; nothing is kept of any."""
    node = Node("--mine=no")
    coin = node.rpc("getblock", node.rpc("generatetoaddress", 1, OWN)[0])["tx"][0]
    node.rpc("generatetoaddress", 100, ADDRESS)
    raw = node.rpc("createrawtransaction", [{"txid": coin, "vout": 0}], {OWN: "49.9999"})
    node.rpc("sendrawtransaction", node.rpc("signrawtransactionwithkey", raw, [WIF])["hex"])
    taken = node.rpc("generatetoaddress", 1, ADDRESS)[0]
    valid = node.rpc("getblock", taken, 0)
    def propose(block):
        data = block if isinstance(block, str) else block.raw().hex()
        return node.rpc("getblocktemplate", {"mode": "proposal", "data": data})
    assert propose(valid) == "duplicate"
    assert propose(node.rpc("getblock", node.rpc("getblockhash", 0), 0)) == "duplicate"
    node.rpc("invalidateblock", taken)
    assert propose(valid) == "duplicate-invalid"
    assert "proposal" in node.rpc("getblocktemplate", {"rules": ["segwit"]})["capabilities"]
    def changed(change, rebuild=True):
        block = Block(bytes.fromhex(valid))
        block.header[68:72] = (int.from_bytes(block.header[68:72], "little") + 1).to_bytes(4, "little")  # not the one that is known
        change(block)
        if rebuild:
            block.rebuild()
        block.header[76:80] = b"\xff\xff\xff\xff"  # no work
        return block
    def coinbase_value(block):
        block.txs[0].outputs[0][0] += 1
    def signature(block):
        item = block.txs[1].witness[0][0]
        block.txs[1].witness[0][0] = item[:20] + bytes([item[20] ^ 1]) + item[21:]
    def inputs(block):
        block.txs[1].inputs[0][0] = bytes(36)
    def spent_twice(block):
        block.txs.append(block.txs[1])
    def too_early(block):
        block.header[68:72] = bytes(4)
    def too_late(block):
        block.header[68:72] = b"\xff\xff\xff\xf0"
    def bits(block):
        block.header[72:76] = bytes.fromhex("1f7fff20")[::-1]
    def version(block):
        block.header[0:4] = bytes([1, 0, 0, 0])
    def parent(block):
        block.header[4:36] = bytes(32)
    def root(block):
        block.header[36:68] = bytes(32)
    def height(block):
        block.txs[0].inputs[0][1] = b"\x01\x05\x00\x00"
    def commitment(block):
        block.txs[0].outputs[-1][1] = block.txs[0].outputs[-1][1][:6] + bytes(32)
    def nothing(block):
        pass
    for change, word, rebuild in ((nothing, None, True), (coinbase_value, "bad-cb-amount", True), (inputs, "bad-txns-inputs-missingorspent", True),
                                  (too_early, "time-too-old", True), (too_late, "time-too-new", True), (bits, "bad-diffbits", False),
                                  (version, "bad-version(0x00000001)", True), (parent, "inconclusive-not-best-prevblk", True), (root, "bad-txnmrklroot", False),
                                  (height, "bad-cb-height", True), (nothing, None, True)):
        got = propose(changed(change, rebuild))
        assert got == word, (change.__name__, got)
    word = propose(changed(signature))
    assert word and word.startswith("mandatory-script-verify-flag-failed"), word
    assert propose(changed(spent_twice)) in ("bad-txns-inputs-missingorspent", "bad-txns-duplicate")
    block = changed(nothing)
    commitment(block)
    block.header[36:68] = merkle([sha256d(tx.raw(False)) for tx in block.txs])
    assert propose(block) == "bad-witness-merkle-match"
    assert node.rpc("getblockcount") == 101 and len(node.rpc("getchaintips")) == 2
    for code, request in ((-3, {"mode": "proposal"}), (-3, {"mode": "proposal", "data": 5}), (-22, {"mode": "proposal", "data": "00"}),
                          (-22, {"mode": "proposal", "data": "xyz"}), (-22, {"mode": "proposal", "data": valid + "00"}), (-8, {"mode": "other"})):
        refused(node, code, "getblocktemplate", request)
    node.rpc("generatetoaddress", 1, ADDRESS)  # the coins that proposals looked at are as they were
    assert node.rpc("getblockcount") == 102 and node.rpc("gettxout", coin, 0) is None
    before = node.rpc("gettxoutsetinfo", "muhash")
    node.stop()
    node.start()
    assert node.rpc("gettxoutsetinfo", "muhash") == before
    node.stop()
