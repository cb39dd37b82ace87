#!/usr/bin/env python3
"""Every event that a program logs has a row in tbl/log_events.h, and every row is logged by some program."""
import re

from lintlib import main
from tables import rows

TABLE = "log_events"
CALL = re.compile(r"\blog_event(?:_each)?\((.*?)\);", re.S)
NAME = re.compile(r'"([a-z]+\.[a-z_]+)"')


def logged(tree):
  """(name, path, line) of each call."""
  for path in tree.paths:
    if not path.endswith(".c") or path.startswith("tests/") or path.endswith("libshared/base/log.c"):
      continue
    text = tree.read(path)
    for call in CALL.finditer(text):
      line = text.count("\n", 0, call.start()) + 1
      names = NAME.findall(call[1])
      for name in names or [None]:
        yield name, path, line


def check(tree):
  out, seen = [], set()
  known = {row.args[0]: row for row in rows(tree, TABLE)}
  ids = {}
  for name, row in known.items():
    if not re.fullmatch("[0-9a-f]{32}", row.args[1]):
      out.append(f"{row.where}: {name}: a MESSAGE_ID has 32 hexadecimal digits")
    if ids.setdefault(row.args[1], name) != name:
      out.append(f"{row.where}: {name}: has the MESSAGE_ID of {ids[row.args[1]]}")
  for name, path, line in logged(tree):
    if name is None:
      out.append(f"{path}:{line}: the event's name has to stand in the call")
    elif name not in known:
      out.append(f"{path}:{line}: {name} is not in include/aigw/tbl/{TABLE}.h")
    seen.add(name)
  out.extend(f"{row.where}: {name}: no program logs it" for name, row in known.items() if name not in seen)
  return out


if __name__ == "__main__":
  main(check)
