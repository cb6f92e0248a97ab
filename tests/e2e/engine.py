"""A Docker engine for tests/e2e/compose alone: dockerd in namespaces of its own, and the images that the Compose files
name, made from Debian's packages. Nothing of the host is used or changed: no port, no firewall rule, no other engine's
containers. Whatever happens, the kernel ends every process of it with the namespace.

What is slow to make is kept in QUARRY_CACHE (default ~/.cache/quarry): the engine's images, and Compose v2."""

import ctypes
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("QUARRY_CACHE") or os.path.expanduser("~/.cache/quarry")
MIRROR = "http://deb.debian.org/debian"
BASE, REDIS, IMAGE = "debian:bookworm-slim", "redis:7-alpine", "quarry:latest"
# program, the Debian package that has it
PROGRAMS = (("dockerd", "docker.io"), ("docker", "docker.io"), ("containerd", "containerd"), ("runc", "runc"), ("docker-init", "tini"),
            ("iptables", "iptables"), ("debootstrap", "debootstrap"), ("unshare", "util-linux"), ("ip", "iproute2"))
PR_SET_PDEATHSIG = 1


class Unavailable(Exception):
    """Why there can be no engine here: the reason of a skip, not a failure."""


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin")


def check_host():
    """Raises Unavailable with the exact reason when this machine cannot run an engine."""
    if os.geteuid() != 0:
        raise Unavailable("an engine needs root")
    missing = sorted({package for name, package in PROGRAMS if not program(name)})
    if missing:
        raise Unavailable(f"not installed: {' '.join(missing)} (apt-get install {' '.join(missing)})")
    probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--net", "--mount-proc", "sh", "-c",
                            "ip link set lo up && ip link add b0 type bridge && ip link add v0 type veth peer name v1 && iptables -t nat -L -n"],
                           capture_output=True, text=True, timeout=60, check=False)
    if probe.returncode != 0:
        raise Unavailable(f"no namespaces, bridges or iptables here: {last_line(probe.stderr)}")
    if not glob.glob("/sys/fs/cgroup/*"):
        raise Unavailable("no control groups here")


def last_line(text):
    return (text.strip().splitlines() or ["(it said nothing)"])[-1][:300]


def mirror_answers():
    try:
        with urllib.request.urlopen(f"{MIRROR}/dists/bookworm/Release", timeout=20) as reply:
            return reply.status == 200
    except OSError:
        return False


# ---- Namespaces --------------------------------------------------------------------------------------------------------


def die_with_parent():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def inside(words, seconds, private_network):
    """Runs this Python program again, with other words, as what ends with all its descendants when it is over, when time
    is up, or when the caller dies. Its exit status; None when time was up."""
    # tini (docker-init) is the namespace's first process: it reaps what the engine leaves.
    command = [program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *(["--net"] if private_network else []),
               program("docker-init"), "--", sys.executable, os.path.abspath(sys.argv[0]), *words]
    with subprocess.Popen(command, preexec_fn=die_with_parent) as process:  # no threads here yet
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()


class Workshop:
    """The scratch folder of one run, with a copy of the sources in a path with spaces, and the lock on the cache."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="quarry-compose.", dir="/tmp")  # a short path: sockets lie in it
        self.group = f"quarry-compose-{os.getpid()}"
        os.makedirs(os.path.join(CACHE, "docker"), mode=0o700, exist_ok=True)
        self.lock = open(os.path.join(CACHE, "docker.lock"), "w", encoding="ascii")  # held as long as we live

    def __enter__(self):
        deadline = time.monotonic() + 900
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as busy:
                if time.monotonic() > deadline:
                    raise Unavailable("another run uses the engine's cache") from busy
                time.sleep(1)
        copy_sources(sources_in(self.folder))
        return self

    def __exit__(self, *_):
        self.lock.close()
        for path in glob.glob(f"/sys/fs/cgroup/{self.group}") + glob.glob(f"/sys/fs/cgroup/*/{self.group}"):
            for folder, _, _ in os.walk(path, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass  # a group that the kernel has not emptied yet: it holds nothing
        shutil.rmtree(self.folder, ignore_errors=True)


def sources_in(folder):
    return os.path.join(folder, "a copy/quarry")


def copy_sources(target):
    """What git knows here, as it stands now."""
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        source, copy = os.path.join(ROOT, name), os.path.join(target, name)
        if os.path.exists(source):
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copy2(source, copy)


# ---- The engine --------------------------------------------------------------------------------------------------------


class Engine:
    """dockerd, from here until the namespace ends. DOCKER_HOST leads to it."""

    def __init__(self, folder, group, private_network):
        state = os.path.join(CACHE, "docker")
        for left in ("containers", "volumes", "network", "image/overlay2/layerdb/mounts"):  # of a run that was killed
            shutil.rmtree(os.path.join(state, left), ignore_errors=True)
        self.run = tempfile.mkdtemp(prefix="engine.", dir=folder)
        self.log = os.path.join(self.run, "log")
        with open(os.path.join(self.run, "daemon.json"), "w", encoding="ascii") as file:
            file.write("{}\n")
        os.environ["DOCKER_HOST"] = f"unix://{self.run}/docker.sock"
        os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin"
        quiet = [] if private_network else ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        if private_network:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=30)
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["dockerd", f"--data-root={state}", f"--exec-root={self.run}/exec", f"--pidfile={self.run}/pid", f"--host={os.environ['DOCKER_HOST']}",
                 f"--config-file={self.run}/daemon.json", "--exec-opt=native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{group}", *quiet],
                stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    raise Unavailable(f"dockerd does not run here: {last_line(log.read())}")
            time.sleep(0.2)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- The images --------------------------------------------------------------------------------------------------------


def has_image(name):
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, timeout=60, check=False).returncode == 0


def make_base():
    """Debian 12 as small as debootstrap makes it, under the name of the Dockerfile's base."""
    root = tempfile.mkdtemp(prefix="base.")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=0755", "base", root], check=True, timeout=30)  # dies with the namespace
    done = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root, MIRROR], capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise Unavailable(f"debootstrap cannot make the base image: {last_line(done.stdout + done.stderr)}")
    for pattern in ("var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*", "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*"):
        for path in glob.glob(os.path.join(root, pattern)):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", "--change", 'CMD ["bash"]', "-", BASE], stdin=tar.stdout, check=True, capture_output=True, timeout=300)
    subprocess.run(["umount", root], check=True, timeout=60)
    os.rmdir(root)


def build_image(*words, dockerfile=None, seconds=1500):
    """docker build on the host's network: the classic builder, which every engine has."""
    done = subprocess.run(["docker", "build", "--network=host", *words], input=dockerfile, capture_output=True, text=True, timeout=seconds,
                          env=dict(os.environ, DOCKER_BUILDKIT="0"), check=False)
    if done.returncode != 0:
        if not mirror_answers():
            raise Unavailable(f"the images need Debian's packages, and {MIRROR} does not answer")
        raise AssertionError(f"docker build {' '.join(words)}:\n{done.stdout[-6000:]}{done.stderr[-3000:]}")


def make_images(sources):
    for name, make in ((BASE, make_base),
                       (REDIS, lambda: build_image("-t", REDIS, "-", dockerfile=f"FROM {BASE}\nRUN apt-get update && apt-get install -y --no-install-recommends redis-server\n"))):
        if not has_image(name):
            if not mirror_answers():
                raise Unavailable(f"the image {name} is not there, and {MIRROR} does not answer")
            started = time.monotonic()
            make()
            print(f"      made {name} ({time.monotonic() - started:.0f} s)", flush=True)
    started = time.monotonic()
    # The first stage has a name too, so that what it stands on is kept for the next run.
    build_image("-t", "quarry-build", "--target", "build", "-f", os.path.join(sources, "deploy/Dockerfile"), sources)
    build_image("-t", IMAGE, "-f", os.path.join(sources, "deploy/Dockerfile"), sources)
    print(f"      made {IMAGE} ({time.monotonic() - started:.0f} s)", flush=True)
    subprocess.run(["docker", "image", "prune", "-f"], capture_output=True, timeout=120, check=False)


def compose_v2():
    """The path of a Compose v2 binary: Debian 13 has it, 12 has 1.29. None, with a note, where it cannot be had."""
    kept = os.path.join(CACHE, "compose-v2/docker-compose")
    if os.path.exists(kept):
        return kept
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lists/partial", "archives/partial"):
            os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, "sources.list"), "w", encoding="ascii") as file:
            file.write(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {MIRROR} trixie main\n")
        options = ["-o", f"Dir::Etc::SourceList={folder}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null", "-o", f"Dir::State::Lists={folder}/lists",
                   "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User=root"]
        try:
            for words in (["update", "-qq"], ["download", "-qq", "docker-compose"]):
                subprocess.run(["apt-get", *options, *words], cwd=folder, check=True, capture_output=True, timeout=180)
            (package,) = glob.glob(os.path.join(folder, "docker-compose_2*.deb"))
            subprocess.run(["dpkg", "-x", package, os.path.join(folder, "unpacked")], check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        shutil.copy(os.path.join(folder, "unpacked/usr/libexec/docker/cli-plugins/docker-compose"), kept)
    return kept
