#!/usr/bin/env python3
"""End-to-end tests: real quarryd and quarry processes on loopback. Ends with "N passed, N failed, N skipped".

    tests/e2e/run.py --bin build/asan/bin [--release-bin build/release/bin] [NAME...]
"""

import argparse
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import quarry  # noqa: E402
import test_cluster  # noqa: E402
import test_conversations  # noqa: E402
import test_deploy  # noqa: E402
import test_disk  # noqa: E402
import test_faces  # noqa: E402
import test_hostile  # noqa: E402
import test_http  # noqa: E402
import test_load  # noqa: E402
import test_api  # noqa: E402
import test_mempool  # noqa: E402
import test_peers  # noqa: E402
import test_rpc  # noqa: E402
import test_wire  # noqa: E402


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--release-bin")
    arguments.add_argument("names", nargs="*")
    options = arguments.parse_args()
    quarry.BIN = os.path.abspath(options.bin)
    quarry.RELEASE_BIN = os.path.abspath(options.release_bin) if options.release_bin else None

    passed = failed = skipped = 0
    for module in (test_load, test_disk, test_mempool, test_faces, test_deploy, test_cluster, test_conversations, test_wire, test_hostile, test_peers,
                   test_api, test_http, test_rpc):
        for name, test in sorted(vars(module).items()):
            if not name.startswith("test_") or not callable(test):
                continue
            if options.names and not any(wanted in name for wanted in options.names):
                continue
            started = time.monotonic()
            try:
                test()
                passed += 1
                print(f"ok    {name} ({time.monotonic() - started:.1f} s)", flush=True)
            except quarry.Skip as reason:
                skipped += 1
                print(f"skip  {name}: {reason}", flush=True)
            except Exception:  # the report of any failure is the trace
                failed += 1
                print(f"FAIL  {name}", flush=True)
                traceback.print_exc(file=sys.stdout)
            finally:
                quarry.Node.end_all()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
