"""What the disk does to a node: it is full, or the process is killed while it writes. Nothing half-written is believed,
the node says what is wrong, and when it can go on it comes to the coins of a node that nobody disturbed."""

import glob
import os
import shutil
import signal
import subprocess
import tempfile

import quarry
from quarry import Node, Skip

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
FULL = "No space left on device"
LOADED = ("--exit-when=loaded", "--mine=no", "--dbcache=1")  # next to no cache: batches all the time


def coins(datadir):
    node = Node("--mine=no", datadir=datadir, listen=False)
    info = node.rpc("gettxoutsetinfo", "muhash")
    assert node.rpc("verifychain", 4, 0) is True
    node.stop()
    return info["height"], info["bestblock"], info["muhash"], info["txouts"]


class Chain:
    """A chain file with stale branches, and the coins that an undisturbed node has behind it."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="chain.")
        self.load = f"--loadblock={os.path.join(self.folder, 'blk00000.dat')}"
        subprocess.run([os.path.join(quarry.BIN, "quarry-bench"), "connect", f"--make={self.load[12:]}", "--inputs=1500",
                        "--block-txs=30", "--fork-every=3"], check=True, stdout=subprocess.DEVNULL)
        self.datadir = os.path.join(self.folder, "undisturbed")
        node = Node(self.load, *LOADED, datadir=self.datadir, listen=False)
        assert node.wait_exit() == 0, node.log()
        self.coins = coins(self.datadir)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)


class SmallDisk:
    """A file system in memory, of a size that can be changed, which only a process of ours and who looks through its eyes
    can see: it goes when that process goes."""

    def __init__(self, kilobytes):
        self.folder = tempfile.mkdtemp(prefix="small.")
        mount = f"mount -t tmpfs quarry '{self.folder}' -o"
        private = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        self.keeper = subprocess.Popen(
            ["unshare", *private, "sh", "-c", f"{mount} size={kilobytes}k && echo ready && while read size; do {mount} remount,size=${{size}}k && echo ready; done"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.path = f"/proc/{self.keeper.pid}/root{self.folder}"

    def __enter__(self):
        if self.keeper.stdout.readline() != "ready\n":
            problem = self.keeper.communicate()[1].strip()
            os.rmdir(self.folder)
            raise Skip(f"no file system of our own here: {problem}")
        return self

    def grow(self, kilobytes):
        self.keeper.stdin.write(f"{kilobytes}\n")
        self.keeper.stdin.flush()
        assert self.keeper.stdout.readline() == "ready\n", self.keeper.communicate()[1]

    def __exit__(self, *_):
        self.keeper.communicate()
        os.rmdir(self.folder)


def stopped_because_full(node):
    code = node.wait_exit()
    assert code == 1 and FULL in node.log(), (code, node.log())


# ---- Full --------------------------------------------------------------------------------------------------------------


def test_disk_full_while_loading():
    """Sizes at which it is opening, a block file or the store that finds no room; the second start finds none either."""
    with Chain() as chain:
        for kilobytes in (8, 40, 300, 1300):
            with SmallDisk(kilobytes) as disk:
                for _ in range(2):
                    stopped_because_full(Node(chain.load, *LOADED, datadir=disk.path, listen=False))
                disk.grow(16384)
                node = Node(chain.load, *LOADED, datadir=disk.path, listen=False)
                assert node.wait_exit() == 0, node.log()
                assert coins(disk.path) == chain.coins, kilobytes


def test_disk_full_while_mining():
    """What was answered before is there afterwards, and the next block is found as soon as there is room."""
    with SmallDisk(300) as disk:
        node = Node("--mine=no", datadir=disk.path, listen=False)
        answered = 0
        try:
            while True:
                node.rpc("generatetoaddress", 5, ADDRESS)
                answered += 5
        except (AssertionError, quarry.RpcError):  # it is gone, or going
            pass
        stopped_because_full(node)
        assert answered > 0
        disk.grow(16384)
        height, best, *_ = found = coins(disk.path)
        assert height >= answered, (height, answered)
        fresh = Node(f"--loadblock={disk.path}/regtest/blocks/blk00000.dat", *LOADED, listen=False)
        assert fresh.wait_exit() == 0, fresh.log()
        assert coins(fresh.datadir) == found
        node = Node("--mine=no", datadir=disk.path, listen=False)
        assert node.rpc("generatetoaddress", 1, ADDRESS) != [best] and node.rpc("getblockcount") == height + 1
        node.stop()


# ---- Killed ------------------------------------------------------------------------------------------------------------

KILLED_AT = (40 << 10, 200 << 10, 800 << 10)  # bytes of a file, which is the store's log: the kernel kills whoever writes on


def killed(datadir, limit, *how):
    """Ends as by SIGKILL, at a certain byte instead of a certain time."""
    node = Node(*how, *LOADED, "--loop=epoll", datadir=datadir, listen=False, under=["prlimit", f"--fsize={limit}", "--core=0"])
    code = node.wait_exit()
    assert code == -signal.SIGXFSZ, (limit, code, node.log())


def rebuilt_after_kills(how):
    with Chain() as chain:
        for limit in KILLED_AT:
            killed(chain.datadir, limit, how)
            assert coins(chain.datadir) == chain.coins, limit  # by a plain start
        for limit in KILLED_AT:
            killed(chain.datadir, limit, how)
            killed(chain.datadir, limit)  # and the plain start too, on its way
        node = Node(how, *LOADED, datadir=chain.datadir, listen=False)
        assert node.wait_exit() == 0, node.log()
        assert coins(chain.datadir) == chain.coins


def test_disk_reindex_killed():
    rebuilt_after_kills("--reindex")


def test_disk_reindex_chainstate_killed():
    rebuilt_after_kills("--reindex-chainstate")


# ---- Damaged -----------------------------------------------------------------------------------------------------------


def flip_bytes(folder, pattern):
    """A bit here and there in every file of that name."""
    paths = glob.glob(os.path.join(folder, "regtest", pattern))
    assert paths, pattern
    for path in paths:
        size = os.path.getsize(path)
        with open(path, "r+b") as file:
            for at in range(size // 10, size, size // 3 + 1):
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1]))


def test_disk_damaged():
    """What is damaged is noticed, and the word that the node leaves tells how to go on."""
    with Chain() as chain:
        def damaged(pattern):
            folder = tempfile.mkdtemp(prefix="damaged.", dir=chain.folder)
            shutil.copytree(chain.datadir, folder, dirs_exist_ok=True)
            flip_bytes(folder, pattern)
            return folder

        def run(folder, *how):
            node = Node(*how, *LOADED, datadir=folder, listen=False)
            return node.wait_exit(), node.log()

        for pattern in ("chainstate/CURRENT", "chainstate/MANIFEST-*", "chainstate/*.sst"):
            folder = damaged(pattern)
            code, log = run(folder)
            assert code == 1 and "start once with --reindex" in log, (pattern, log)
            code, log = run(folder, "--reindex")
            assert code == 0, (pattern, log)
            assert coins(folder) == chain.coins, pattern
        folder = damaged("blocks/blk00000.dat")
        code, log = run(folder, "--reindex-chainstate")
        assert code == 1 and "start once with --reindex" in log, log
        code, log = run(folder, "--reindex")
        assert code == 0, log
        code, log = run(folder, chain.load)  # as from peers
        assert code == 0, log
        assert coins(folder) == chain.coins
