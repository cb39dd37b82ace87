#!/usr/bin/env python3
"""Every row of tbl/fail.h is produced by a test, which the list `fails` names, or the list says why none can."""
import re

from lintlib import main
from tables import rows

LIST = "tests/lint/fails"
ENTRY = re.compile(r"(\w+)\s*:\s*(?:(\S+):(\w+)|- (\S.*))$")


def body_of(text, test):
  """The test's own lines: of Python up to the next line that is not further in, of C up to the brace in the first column."""
  m = re.search(rf"^( *)def {test}\(.*?$(?:\n(?:\1 +.*)?)*", text, re.M) or re.search(rf"^[\w ]*\b{test}\(.*?^}}", text, re.M | re.S)
  return m and m[0]


def entries(tree):
  """(line, name, file, test, reason)"""
  for i, line in enumerate(tree.read(LIST).splitlines(), 1):
    line = line.split("#")[0].strip()
    if line:
      m = ENTRY.match(line)
      yield (i, *(m.groups() if m else (None, None, None, None)))


def check(tree):
  out, seen = [], {}
  table = {row.args[0]: row for row in rows(tree, "fail") if row.macro == "FAIL"}
  for line, name, path, test, reason in entries(tree):
    where = f"{LIST}:{line}"
    if name is None:
      out.append(f"{where}: neither NAME : FILE:TEST nor NAME : - REASON")
      continue
    if name not in table:
      out.append(f"{where}: {name} is no row of tbl/fail.h")
    if seen.setdefault(name, line) != line:
      out.append(f"{where}: {name} stands in line {seen[name]} already")
    if reason:
      continue
    body = body_of(tree.read(path), test) if tree.exists(path) else None
    if body is None:
      out.append(f"{where}: there is no {test} in {path}")
    elif not re.search(rf"(\"|FAIL_){name}\b", body):
      out.append(f"{where}: {test} does not name {name}")
  out += [f"{row.where}: {LIST} does not say which test produces {name}" for name, row in table.items() if name not in seen]
  return out


if __name__ == "__main__":
  main(check)
