#!/usr/bin/env python3
"""clang-tidy over every C file of a build tree whose text, headers or settings changed since it was found clean.

  tidy.py BUILD     BUILD/tidy holds one stamp per file: what it was when it was clean
"""
import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys

from lintlib import ROOT


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
  r = subprocess.run(["clang-tidy", "-p", build, "--quiet", path], capture_output=True, text=True)
  return r.returncode == 0 and "warning:" not in r.stdout and "error:" not in r.stdout, r.stdout


def main():
  build = os.path.abspath(sys.argv[1])
  folder = os.path.join(build, "tidy")
  os.makedirs(folder, exist_ok=True)
  deps = dependencies(build)
  with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
    entries = {os.path.normpath(os.path.join(e["directory"], e["file"])): e for e in json.load(f)}
  todo = {}
  for path, e in sorted(entries.items()):
    mark = os.path.join(folder, os.path.relpath(path, ROOT).replace(os.sep, "__"))
    now = stamp(e, deps.get(e["output"], [path]))
    if not path.startswith(ROOT + os.sep) or read(mark) == now:
      continue
    todo[path] = (mark, now)
  bad = 0
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for path, (clean, text) in zip(todo, pool.map(lambda p: tidy(build, p), todo)):
      if clean:
        with open(todo[path][0], "w", encoding="utf-8") as f:
          f.write(todo[path][1])
      else:
        bad += 1
        print(text)
  print(f"clang-tidy: {len(entries)} files, {len(todo)} looked at, {bad} with findings")
  sys.exit(1 if bad else 0)


if __name__ == "__main__":
  main()
