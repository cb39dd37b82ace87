"""Reads the tables of include/aigw/tbl: rows of macros, MACRO(word, "text" "more text", 12, …)."""
import os
import re

from lintlib import NOISE, blank

FOLDER = "include/aigw/tbl/"
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[(),]|[^\s"(),][^"(),]*', re.S)
ROW = re.compile(r"^([A-Z_]+)\(", re.M)
ESCAPE = {"n": "\n", "t": "\t"}


class Row:
  """args: the text of each argument, strings joined and without their quotes."""

  def __init__(self, table, macro, line, args):
    self.table, self.macro, self.line, self.args = table, macro, line, args

  @property
  def where(self):
    return f"{FOLDER}{self.table}.h:{self.line}"


def unquote(s):
  return re.sub(r"\\(.)", lambda m: ESCAPE.get(m[1], m[1]), s[1:-1], flags=re.S)


def arguments(text, at):
  """Arguments of the call whose parenthesis opens before `at`."""
  args, now, depth = [], [], 0
  for m in TOKEN.finditer(text, at):
    t = m[0]
    if t == ")" and depth == 0:
      return args + ["".join(now).strip()]
    if t == "," and depth == 0:
      args.append("".join(now).strip())
      now = []
      continue
    depth += (t == "(") - (t == ")")
    now.append(unquote(t) if t[0] == '"' else t)
  raise ValueError("a row without an end")


def rows(tree, table):
  text = NOISE.sub(lambda m: blank(m[0]) if m[0][0] == "/" else m[0], tree.read(FOLDER + table + ".h"))
  return [Row(table, m[1], text.count("\n", 0, m.start()) + 1, arguments(text, m.end())) for m in ROW.finditer(text)]


def tables(tree):
  return [os.path.basename(p)[:-2] for p in tree.paths if p.startswith(FOLDER) and p.endswith(".h")]
