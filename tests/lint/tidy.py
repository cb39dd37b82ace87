#!/usr/bin/env python3
"""clang-tidy over every C file of a build tree whose text, headers or settings changed since it was looked at.

  tidy.py BUILD     BUILD/tidy holds one stamp per file: what it was when it was looked at and fine

Findings that stand in `tidy` (FILE:CHECK NUMBER) are known, most of them what the analyzer can't see from one file
alone. The list may only get shorter: a finding more is a failure, and one less has to be struck there.
"""
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

import shrinking
from lintlib import ROOT, Tree

KNOWN = "tests/lint/tidy"
FINDING = re.compile(r"^(\S+:\d+:\d+): (?:error|warning): .*\[([^\],]+)[^\]]*\]$", re.M)


def dependencies(build):
  """{object: files it was made from}, as ninja saw them."""
  out, now = {}, None
  for line in subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True, check=True).stdout.splitlines():
    if line and not line[0].isspace():
      now = out.setdefault(line.split(":")[0], [])
    elif line.strip():
      now.append(os.path.normpath(os.path.join(build, line.strip())))
  return out


def stamp(entry, files):
  h = hashlib.sha256(entry["command"].encode())
  for path in [os.path.join(ROOT, ".clang-tidy")] + sorted(f for f in files if f.startswith(ROOT + os.sep)):
    with open(path, "rb") as f:
      h.update(hashlib.sha256(f.read()).digest())
  return h.hexdigest()


def read(path):
  try:
    with open(path, encoding="utf-8") as f:
      return f.read()
  except OSError:
    return ""


def tidy(build, path):
  """({check: number of findings}, what it printed)."""
  command = ["clang-tidy", "-p", build, "--quiet", path]
  r = subprocess.run(command, capture_output=True, text=True)
  counts = {}
  for _, check in set(FINDING.findall(r.stdout)):
    counts[check] = counts.get(check, 0) + 1
  if r.returncode and not counts:
    counts["clang-tidy"] = 1
  return counts, r.stdout or r.stderr


def judge(name, counts, known):
  """Lines about what is more, or less, than the list says."""
  mine = {k.split(":")[1]: n for k, n in known.items() if k.split(":")[0] == name}
  for check in sorted(set(counts) | set(mine)):
    now, then = counts.get(check, 0), mine.get(check, 0)
    if now > then:
      yield f"{name}:{check}: {now} findings, {then} are known"
    elif now < then:
      yield f"{KNOWN}: {name}:{check}: " + (f"now {now}, lower it" if now else "strike it")


def main():
  build = os.path.abspath(sys.argv[1])
  folder = os.path.join(build, "tidy")
  os.makedirs(folder, exist_ok=True)
  deps, tree = dependencies(build), Tree()
  known = shrinking.rows(tree, KNOWN)
  with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
    entries = {os.path.normpath(os.path.join(e["directory"], e["file"])): e for e in json.load(f)}
  entries = {p: e for p, e in entries.items() if p.startswith(ROOT + os.sep)}
  todo = {}
  for path, e in sorted(entries.items()):
    name = os.path.relpath(path, ROOT)
    now = stamp(e, deps.get(e["output"], [path])) + str(sorted(x for x in known.items() if x[0].startswith(name + ":")))
    mark = os.path.join(folder, name.replace(os.sep, "__"))
    if read(mark) != now:
      todo[path] = (name, mark, now)
  bad = shrinking.grown(tree, KNOWN) + [f"{KNOWN}: {k}: no such file; strike it" for k in known if not tree.exists(k.split(":")[0])]
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for path, (counts, text) in zip(todo, pool.map(lambda p: tidy(build, p), todo)):
      name, mark, now = todo[path]
      lines = list(judge(name, counts, known))
      if lines:
        bad += lines
        print(text)
      else:
        with open(mark, "w", encoding="utf-8") as f:
          f.write(now)
  for line in bad:
    print(line)
  print(f"clang-tidy: {len(entries)} files, {len(todo)} looked at, {len(bad)} findings")
  sys.exit(1 if bad else 0)


if __name__ == "__main__":
  main()
