"""Calls for a build that counts its own branches (-Db_pgo=generate), for the build after it to be laid out by.

Each shape of the benchmark for a moment: over TCP, over the unix socket, and to a provider with TLS. Nothing is
measured. Exit code: 0 all calls were answered, 2 they were not.

usage: train.py BUILD_DIR [SECONDS of each]
"""
import os
import shutil
import subprocess
import sys
import tempfile
import types

from measures import SHAPES, Bench, Started, failures, load_result, load_start
from procs import Failed, raise_files
from targets import Aigw, AigwTls, AigwUnix, Place, Upstream


def load(bench, target, shape, seconds):
  run = load_start(bench, target, ["--ms", int(seconds * 1000), "--warm-ms", 0, "--conns", 64, *SHAPES[shape]])
  try:
    text, _ = run.popen.communicate(timeout=seconds + 60)
  except subprocess.TimeoutExpired:
    raise Failed(f"bench-load against {target.name} does not end") from None
  finally:
    run.stop()
  got = load_result(bench, target, text, run.popen.returncode)
  if failures(got) or not got["calls_per_s"]:
    raise Failed(f"{target.name}, {shape}: {failures(got)} calls failed")
  return got["calls_per_s"]


def train(build, seconds):
  """Lines that say how many calls each shape made."""
  run_dir = tempfile.mkdtemp(prefix="aigw-train-")
  every = os.sched_getaffinity(0)
  place = Place(build, run_dir, os.path.join(run_dir, "state"), every, every)
  upstream = Upstream(place)
  try:
    upstream.start()
    bench = Bench(place, types.SimpleNamespace(seconds=seconds), upstream)
    plain, tls = Aigw("aigw", place, upstream), AigwTls("aigw-tls", place, upstream)
    with Started([plain, AigwUnix(plain), tls]) as targets:
      for target in targets:
        for shape in SHAPES:
          yield f"{target.name}, {shape}: {load(bench, target, shape, seconds):.0f} calls/s"
  finally:
    upstream.stop()
    shutil.rmtree(run_dir, ignore_errors=True)


def main(argv):
  if not 1 <= len(argv) <= 2:
    print(__doc__.strip().splitlines()[-1], file=sys.stderr)
    return 2
  raise_files()
  try:
    for line in train(argv[0], float(argv[1]) if len(argv) > 1 else 1.5):
      print(f"# {line}", file=sys.stderr)
  except (Failed, OSError) as e:
    print(f"train: {e}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
