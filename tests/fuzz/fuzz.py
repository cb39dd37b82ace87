#!/usr/bin/env python3
"""Runs the libFuzzer targets of a build tree, two at a time.

  fuzz.py BUILD [--seconds N] [TARGET]...

What a target learns stays in BUILD/corpus/TARGET and is where the next run goes on. An input that breaks a promise
is written to BUILD/found/, and the exit code is 1: mend the code, then put the input into tests/fuzz/corpus.
"""
import argparse
import concurrent.futures
import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "fuzz-"


def fuzz(build, target, seconds):
  found, learnt = os.path.join(build, "found"), os.path.join(build, "corpus", target)
  for folder in (found, learnt):
    os.makedirs(folder, exist_ok=True)
  program = os.path.join(build, "tests", "fuzz", PREFIX + target)
  return subprocess.run(
    [program, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1",
     f"-artifact_prefix={found}/{target}-", learnt, os.path.join(HERE, "corpus", target)],
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def runs(text):
  return next((x.split()[-1] for x in text.splitlines() if x.startswith("stat::number_of_executed_units")), "?")


def main():
  ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  ap.add_argument("build")
  ap.add_argument("--seconds", type=int, default=60)
  ap.add_argument("targets", nargs="*", metavar="TARGET")
  o = ap.parse_intermixed_args()
  build = os.path.abspath(o.build)
  known = sorted(os.path.basename(p)[5:-2] for p in glob.glob(os.path.join(HERE, "fuzz_*.c")))
  for t in o.targets:
    if t not in known:
      ap.error(f"{t}: not one of {', '.join(known)}")
  targets = o.targets or known
  subprocess.run(["ninja", "--quiet", "-C", build] + [f"tests/fuzz/{PREFIX}{t}" for t in targets], check=True)
  bad = 0
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for target, r in zip(targets, pool.map(lambda t: fuzz(build, t, o.seconds), targets)):
      print(f"{target}: {runs(r.stdout)} inputs" + (f", BROKEN (exit {r.returncode})" if r.returncode else ""), flush=True)
      if r.returncode:
        bad += 1
        print("\n".join(r.stdout.splitlines()[-60:]))
  print(f"{len(targets) - bad} targets held, {bad} broken")
  sys.exit(1 if bad else 0)


if __name__ == "__main__":
  main()
