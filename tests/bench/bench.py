#!/usr/bin/env python3
"""Measures aigw beside a blind relay and nginx's proxy_pass, interleaved, on one core.

The target has one core; the load and the upstream share another. Every measure visits its targets in
rotation, and figures are medians over the rotations. CPU per call is the CPU time of the target's
process tree over a run divided by the calls that the upstream answered in it: the steadiest figure.
Compare ratios; absolute numbers of two machines do not compare.

Measures (--only): calls, latency, held, tls, strict, readers, slow, against. Targets: direct, relay, nginx, aigw
(nginx brings nginx-kept along, aigw its unix socket).
Exit code: 0 every floor holds (always with --quick), 1 one does not, 2 the benchmark could not run.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
import time

import report
from measures import MEASURES, Bench
from pairs import PAIRS
from procs import Failed, filesystem, private_network, raise_files
from targets import Nginx, Place, Upstream, nginx_program

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_FILESYSTEMS = ("tmpfs", "ramfs", "devtmpfs")
TARGETS = ("direct", "relay", "nginx", "aigw")
ALL = {**MEASURES, **PAIRS}


def arguments(argv):
  ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  ap.add_argument("--build", required=True, metavar="DIR", help="build tree, without sanitizers")
  ap.add_argument("--quick", action="store_true", help="a smoke run of about a minute; judges nothing")
  ap.add_argument("--only", metavar="MEASURE,…", help="only these measures")
  ap.add_argument("--targets", metavar="NAME,…", help="only these targets")
  ap.add_argument("--json", metavar="FILE", help="write all records to FILE")
  ap.add_argument("--report", metavar="FILE", help="print the report of such a file and end")
  ap.add_argument("--state-root", metavar="DIR", help="where stores lie; must be a disk for `strict` (/var/tmp)")
  ap.add_argument("--against", metavar="DIR", help="build tree of an older aigw, for `against`")
  ap.add_argument("--controller", action="store_true", help="keep the controller: records are shipped meanwhile")
  ap.add_argument("--load-cpu", type=int, default=0)
  ap.add_argument("--target-cpu", type=int, default=1)
  o = ap.parse_args(argv)
  o.measures = choice(ap, "--only", o.only, ALL)
  o.targets = choice(ap, "--targets", o.targets, TARGETS)
  return o


def choice(ap, flag, text, known):
  names = text.split(",") if text else list(known)
  for n in names:
    if n not in known:
      ap.error(f"{flag}: {n}: not one of {', '.join(known)}")
  return names


def settings(o, files):
  """How long and how often. A proxied stream takes two descriptors."""
  o.streams = min(500 if o.quick else 5000, (files - 1000) // 2)
  o.slow = min(100 if o.quick else 5000, (files - 1000) // 3)  # two descriptors of each reader, one of each sender
  o.reps, o.pairs, o.strict_reps = (1, 2, 2) if o.quick else (5, 9, 7)
  o.seconds, o.settle, o.patience = (1.0, 1.0, 0.5) if o.quick else (4.0, 3.0, 10.0)


def build_check(build):
  """(buildtype, sanitizers) of the build tree; sanitized programs are refused: they tell nothing."""
  path = os.path.join(build, "meson-info", "intro-buildoptions.json")
  try:
    with open(path, encoding="utf-8") as f:
      options = {x["name"]: x["value"] for x in json.load(f)}
  except OSError:
    raise Failed(f"{build}: not a build tree of meson") from None
  if options.get("b_sanitize", "none") != "none":
    raise Failed(f"{build}: built with -Db_sanitize={options['b_sanitize']}; its figures would say nothing")
  return options["buildtype"]


def memory_dir():
  for folder in ("/dev/shm", tempfile.gettempdir()):
    if os.access(folder, os.W_OK):
      return folder
  raise Failed("neither /dev/shm nor a temporary folder is writable")


def state_root(o):
  root = o.state_root or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
  if "strict" in o.measures and filesystem(root) in MEMORY_FILESYSTEMS:
    print(f"# {root} is in memory, where a synced write costs nothing: `strict` left out; see --state-root",
          file=sys.stderr)
    o.measures = [m for m in o.measures if m != "strict"]
  return root


def cpus(o):
  have = os.sched_getaffinity(0)
  if not {o.load_cpu, o.target_cpu} <= have or o.load_cpu == o.target_cpu:
    raise Failed(f"two cores are needed, --load-cpu and --target-cpu of {sorted(have)}")
  return {o.load_cpu}, {o.target_cpu}


def missing_left_out(o, place):
  for target, program in (("nginx", nginx_program()), ("aigw", None)):
    if target not in o.targets:
      continue
    try:
      if target == "aigw":
        program = place.program("aigw-agentd")
    except Failed as e:
      print(f"# {e}", file=sys.stderr)
    if not program:
      print(f"# {target} is left out: no such program", file=sys.stderr)
      o.targets.remove(target)


def run(o):
  buildtype = build_check(o.build)
  if o.against:
    build_check(o.against)
  load_cpus, target_cpus = cpus(o)
  own_network = private_network()
  files = raise_files()
  settings(o, files)
  Nginx.files = min(files, 32768)  # it has memory for each from the start
  run_dir = tempfile.mkdtemp(prefix="aigw-bench-", dir=memory_dir())
  state_dir = None
  upstream = None
  try:
    state_dir = tempfile.mkdtemp(prefix="aigw-bench-", dir=state_root(o))
    place = Place(o.build, run_dir, state_dir, load_cpus, target_cpus)
    missing_left_out(o, place)
    upstream = Upstream(place)
    upstream.start()
    bench = Bench(place, o, upstream)
    meta = {"when": time.strftime("%F %T"), "kernel": os.uname().release, "build": buildtype,
            "cores": f"load {o.load_cpu}, target {o.target_cpu}",
            "network": "own namespace" if own_network else "the host's loopback", "state": filesystem(state_dir),
            "controller": "running" if o.controller else "stopped", "quick": o.quick}
    for name in o.measures:
      ALL[name](bench)
    return {"meta": meta, "results": bench.results}
  finally:
    if upstream:
      upstream.stop()
    for folder in (run_dir, state_dir):
      if folder:
        shutil.rmtree(folder, ignore_errors=True)


def main(argv):
  o = arguments(argv)
  try:
    if o.report:
      with open(o.report, encoding="utf-8") as f:
        done = json.load(f)
    else:
      done = run(o)
      if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
          json.dump(done, f, indent=1)
  except (Failed, OSError) as e:
    print(f"bench: {e}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    return 130
  print(report.render(done))
  return 1 if report.failed(done["results"]) and not done["meta"]["quick"] else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
