#!/usr/bin/env python3
"""Words that tell of unfinished work or of one developer's machine have no place in the tree; nor do stray bytes."""
import os
import re

from lintlib import main

UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|WI" r"P)\b")
# Absolute paths of somebody's home, folders beside the clone, addresses of package mirrors.
MACHINE = re.compile(r"(/home/\w+/|/work/|\.\./shared|/Users/\w+/|(?:registry|mirror|proxy|artifactory|nexus)[.-][a-z0-9.-]+\.[a-z]{2,})")
BINARY = (".mdb", ".png", ".gz", ".der", ".bin", ".fuzz")
SELF = "tests/lint/check_words.py"


def check(tree):
  out = []
  for path in tree.paths:
    if path.endswith(BINARY) or "/corpus/" in path or "/corpora/" in path or path == SELF:
      continue
    try:
      lines = tree.source(path).lines
    except UnicodeDecodeError:
      out.append(f"{path}:1: not UTF-8")
      continue
    if tree.source(path).text and not tree.source(path).text.endswith("\n"):
      out.append(f"{path}:{len(lines)}: no newline at the end")
    for i, line in enumerate(lines, 1):
      for pattern, why in ((UNFINISHED, "finish it, or open an issue"), (MACHINE, "that is one machine's, not the project's")):
        m = pattern.search(line)
        if m:
          out.append(f"{path}:{i}: {m[0]}: {why}")
      if line != line.rstrip() and path.endswith((".c", ".h", ".py", ".build", ".md", ".yaml", ".mjs")):
        out.append(f"{path}:{i}: white space at the end")
      if "\r" in line:
        out.append(f"{path}:{i}: carriage return")
    if path.endswith((".sh", ".py")) and tree.source(path).text.startswith("#!") and not os.access(
        os.path.join(tree.root, path), os.X_OK):
      out.append(f"{path}:1: has a #! line but may not be executed")
  return out


if __name__ == "__main__":
  main(check)
