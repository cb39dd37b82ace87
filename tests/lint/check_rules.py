#!/usr/bin/env python3
"""The alerts and the dashboard that we ship name metrics that there are, and promtool, where it is installed, finds nothing."""
import json
import os
import re
import shutil
import subprocess

from lintlib import main
from tables import rows

RULES = "systemd/aigw.rules.yml"
DASHBOARD = "systemd/aigw.dashboard.json"


def known(tree):
  for table in "metrics", "ctld_metrics":
    for row in rows(tree, table):
      yield row.args[1]
      if row.args[2] == "histogram":
        yield from (row.args[1] + end for end in ("_bucket", "_sum", "_count"))


def check(tree):
  names, out = set(known(tree)), []
  for path in RULES, DASHBOARD:
    for i, line in enumerate(tree.read(path).splitlines(), 1):
      out += [f"{path}:{i}: there is no metric {n}" for n in re.findall(r"\baigw_\w+", line.split("# ")[0]) if n not in names]
  try:
    json.loads(tree.read(DASHBOARD))
  except ValueError as e:
    out.append(f"{DASHBOARD}:1: {e}")
  promtool = shutil.which("promtool")
  if promtool:
    got = subprocess.run([promtool, "check", "rules", os.path.join(tree.root, RULES)], capture_output=True, text=True, timeout=60, check=False)
    if got.returncode:
      out.append(f"{RULES}:1: promtool: {' '.join((got.stdout + got.stderr).split())}")
  return out


if __name__ == "__main__":
  main(check)
