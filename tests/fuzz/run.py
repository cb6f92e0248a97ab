#!/usr/bin/env python3
"""Runs every fuzz target over its corpus, then over fresh inputs for a while; "N passed, N failed, N skipped".

    tests/fuzz/run.py --bin build/fuzz/bin [--seconds 4] [--seed N] [--targets tx,block]

The corpus in the repository is only read. What a run finds interesting is kept in the folder "grown" beside --bin, and
the next one goes on from there (--fresh: from the repository's corpus alone); an input that fails is kept in "findings".
"""

import argparse
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTHS = {"script": 4096, "block": 8192, "conversation": 8192, "message": 65536, "import": 2048}  # inputs of at most so many bytes


def run(program, seconds, seed, fresh):
    name = os.path.basename(program).removeprefix("fuzz-")
    build = os.path.dirname(os.path.dirname(os.path.abspath(program)))
    found = os.path.join(build, "findings", name)
    grown = tempfile.mkdtemp(prefix=f"quarry-fuzz-{name}.") if fresh else os.path.join(build, "grown", name)
    os.makedirs(found, exist_ok=True)
    os.makedirs(grown, exist_ok=True)
    corpus = os.path.join(HERE, "corpus", name)
    command = [program, f"-seed={seed}", f"-max_total_time={seconds}", f"-max_len={LENGTHS.get(name, 2048)}", "-timeout=10",
               "-rss_limit_mb=2048", f"-artifact_prefix={found}/", "-print_final_stats=1", grown]
    if os.path.isdir(corpus):
        command.append(corpus)
    environment = dict(os.environ)
    environment.pop("ASAN_OPTIONS", None)  # reports belong on this run's own output
    environment.pop("UBSAN_OPTIONS", None)
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                            timeout=seconds + 120, env=environment)
    inputs = re.search(r"stat::number_of_executed_units: (\d+)", result.stdout)
    passed = result.returncode == 0 and inputs is not None and int(inputs.group(1)) > 0
    if fresh:
        shutil.rmtree(grown)
    if passed:
        print(f"ok    {name}: {inputs.group(1)} inputs", flush=True)
    else:
        print(f"{result.stdout[-6000:]}\nFAIL  {name}: seed {seed}, status {result.returncode}, input in {found}", flush=True)
    return passed


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    arguments.add_argument("--targets", help="some of them, with commas; default: all")
    arguments.add_argument("--fresh", action="store_true")
    options = arguments.parse_args()
    print(f"seed {options.seed}", flush=True)
    there = {os.path.splitext(os.path.basename(source))[0] for source in glob.glob(os.path.join(HERE, "*.c"))}
    wanted = set(options.targets.split(",")) if options.targets else there
    results = {}
    for name in sorted(wanted):
        program = os.path.join(options.bin, f"fuzz-{name}")
        if os.path.exists(program):
            results[name] = run(program, options.seconds, options.seed, options.fresh)
        else:
            print(f"FAIL  {name}: {program} was not built", flush=True)
            results[name] = False
    passed = sum(results.values())
    print(f"{passed} passed, {len(results) - passed} failed, 0 skipped")
    return 0 if passed == len(results) and results else 1


if __name__ == "__main__":
    sys.exit(main())
