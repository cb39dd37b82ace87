#!/usr/bin/env python3
"""Every row of tbl/fail.h and tbl/admin_errors.h is produced by a test, which the lists `fails` and `admin_errors` name, or the list says
why none can. What the admin API says of a route's errors are such rows."""
import re

from lintlib import main
from tables import rows

LISTS = (("tests/lint/fails", "fail", "FAIL"), ("tests/lint/admin_errors", "admin_errors", "ADMIN_ERROR"))
ENTRY = re.compile(r"(\w+)\s*:\s*(?:(\S+):(\w+)|- (\S.*))$")


def body_of(text, test):
  """The test's own lines: of Python up to the next line that is not further in, of C up to the brace in the first column."""
  m = re.search(rf"^( *)def {test}\(.*?$(?:\n(?:\1 +.*)?)*", text, re.M) or re.search(rf"^[\w ]*\b{test}\(.*?^}}", text, re.M | re.S)
  return m and m[0]


def entries(tree, path):
  """(line, name, file, test, reason)"""
  for i, line in enumerate(tree.read(path).splitlines(), 1):
    line = line.split("#")[0].strip()
    if line:
      m = ENTRY.match(line)
      yield (i, *(m.groups() if m else (None, None, None, None)))


def check_list(tree, path, table_name, macro):
  out, seen = [], {}
  table = {row.args[0]: row for row in rows(tree, table_name) if row.macro == macro}
  for line, name, test_path, test, reason in entries(tree, path):
    where = f"{path}:{line}"
    if name is None:
      out.append(f"{where}: neither NAME : FILE:TEST nor NAME : - REASON")
      continue
    if name not in table:
      out.append(f"{where}: {name} is no row of tbl/{table_name}.h")
    if seen.setdefault(name, line) != line:
      out.append(f"{where}: {name} stands in line {seen[name]} already")
    if reason:
      continue
    body = body_of(tree.read(test_path), test) if tree.exists(test_path) else None
    if body is None:
      out.append(f"{where}: there is no {test} in {test_path}")
    elif not re.search(rf"(\"|{macro}_){name}\b", body):
      out.append(f"{where}: {test} does not name {name}")
  return out + [f"{row.where}: {path} does not say which test produces {name}" for name, row in table.items() if name not in seen]


def check(tree):
  out = [finding for one in LISTS for finding in check_list(tree, *one)]
  known = {row.args[0] for row in rows(tree, "admin_errors")}
  for row in rows(tree, "admin_api"):
    if row.macro == "API":
      out += [f"{row.where}: {code} is no row of tbl/admin_errors.h" for code in row.args[7].split() if code not in known]
  return out


if __name__ == "__main__":
  main(check)
