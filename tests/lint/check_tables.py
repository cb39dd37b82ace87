#!/usr/bin/env python3
"""Every row of a table has a name of its own, says what it is in a sentence, and is named by a test.

Rows that no test names yet stand in `untested`, a list that may only get shorter; --strike takes out of it what
is named by now.
"""
import os
import re
import sys

import shrinking
from lintlib import Tree, main
from tables import rows, tables

# macro: (arguments that make the name, argument with the sentence, what a test has to name: an argument or None)
SHAPES = {
  "FAIL": ((0,), 4, 0),
  "CONFIG": ((1,), -1, 1),
  "COUNTER": ((0,), -1, 0),
  "POLICY_FIELD": ((0, 1), -1, 1),
  "POLICY_LATER": ((0, 1), None, None),
  "USAGE_INT": ((1,), -1, 1),
  "USAGE_STR": ((1,), -1, 1),
  "WIRE_MESSAGE": ((0,), None, 0),
  "WIRE_FIELD": ((0, 2), None, None),
  "WIRE_END": ((0,), None, None),
  "STAT_NODE": ((0,), -1, 1),
  "LOG_EVENT": ((0,), 2, None),
  "PROVIDER_ERROR": ((0,), -1, None),
  "ERROR_CLASS": ((0,), -1, None),
  "CAPABILITY": ((0,), -1, 0),
  "PROVIDER_CODE": ((0,), None, None),
  "METRIC": ((0,), -1, 1),
  "CTLD_METRIC": ((0,), -1, 1),
  "ADMIN_ERROR": ((0,), 4, None),
  "API": ((0,), 4, 2),
  "API_PARAM": ((0, 1, 2), -1, None),
  "API_OBJECT": ((0,), -1, None),
  "API_FIELD": ((0, 1), -1, None),
}
UNTESTED = "tests/lint/untested"
NO_SENTENCE = {("FAIL", "none")}


def tested_text(tree):
  return "\n".join(tree.read(p) for p in tree.paths if p.startswith("tests/") and not p.startswith("tests/lint/") and
                   p.endswith((".c", ".h", ".py", ".mjs", ".yaml", ".txt")))


def named(text, row, at):
  name = row.args[at]
  if row.macro == "STAT_NODE":
    name = name.split("/")[-1]
    if name in ("", "NAME", "UID"):
      return True
  if row.macro == "METRIC":
    name = name.rstrip("*")
    return name in text or name.replace("_usd_", "_eur_") in text
  if row.macro == "API":
    return re.sub(r"\{\w+\}.*", "", name) in text
  return re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", text) is not None


def untested(tree):
  """{name as in the list: row}"""
  text, out = tested_text(tree), {}
  for table in tables(tree):
    for row in rows(tree, table):
      test = SHAPES.get(row.macro, (0, 0, None))[2]
      if test is not None and row.args[0] != "none" and not named(text, row, test):
        out[f"{table}:{row.args[SHAPES[row.macro][0][-1]]}"] = row
  return out


def check(tree):
  out = []
  for table in tables(tree):
    seen = {}
    for row in rows(tree, table):
      if row.macro not in SHAPES:
        out.append(f"{row.where}: {row.macro}: tests/lint/check_tables.py does not know this kind of row")
        continue
      name_at, sentence, _ = SHAPES[row.macro]
      kind = "USAGE" if row.macro.startswith("USAGE") else row.macro
      name = (kind,) + tuple(row.args[i] for i in name_at)
      if seen.setdefault(name, row) is not row:
        out.append(f"{row.where}: {' '.join(name)}: also in line {seen[name].line}")
      folder = row.macro == "STAT_NODE" and row.args[4] == "none"
      if sentence is not None and not row.args[sentence].strip() and name not in NO_SENTENCE and not folder:
        out.append(f"{row.where}: {' '.join(name)}: no sentence says what it is")
  missing, excused = untested(tree), shrinking.rows(tree, UNTESTED)
  out += [f"{row.where}: no test names {name}" for name, row in missing.items() if name not in excused]
  out += [f"{UNTESTED}: {name} is tested by now; strike it (./dev fmt)" for name in excused if name not in missing]
  return out + shrinking.grown(tree, UNTESTED)


def strike():
  tree = Tree()
  if tree.exists(UNTESTED):
    missing = untested(tree)
    lines = tree.read(UNTESTED).splitlines(keepends=True)
    with open(os.path.join(tree.root, UNTESTED), "w", encoding="utf-8") as f:
      f.writelines(x for x in lines if x.startswith("#") or not x.strip() or x.split()[0] in missing)


if __name__ == "__main__":
  if sys.argv[1:] == ["--strike"]:
    strike()
  else:
    main(check)
