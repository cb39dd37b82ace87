#!/usr/bin/env python3
"""Sizes and banned functions. What is over a limit stands in `exceptions`, a list that may only get shorter.

A row of it: SUBJECT NUMBER, where SUBJECT is a file, or file:function, and NUMBER is its size now. A row that is
needed no more, or that says more than is true, has to be struck or lowered.
"""
import re

import shrinking
from lintlib import PRODUCT, main

FILE_LINES, HEADER_LINES, FUNCTION_LINES = 800, 300, 80
EXCEPTIONS = "tests/lint/exceptions"

# Function: why not.
BANNED = {
  "no bound": "strcpy strcat stpcpy wcscpy wcscat gets sprintf vsprintf alloca strdupa strndupa",
  "silently cuts or does not end its result": "strncpy strncat strlcpy strlcat",
  "no way to report an error": "atoi atol atoll atof",
  "not safe among threads": "strtok strerror_l gmtime localtime ctime asctime readdir_r rand srand random",
  "not safe among threads; ask the _r form": "getpwnam getpwuid getgrnam getgrgid",
  "a name that another may take first": "tmpnam tempnam mktemp",
  "waits for time instead of an event": "sleep usleep",
  "jumps over clean-up": "setjmp longjmp sigsetjmp siglongjmp",
  "runs a shell": "system popen",
}
ONE_THREAD = ("ctl/",) # the programs here have one: they may use LOOK_UPS
LOOK_UPS = ("getpwnam", "getpwuid", "getgrnam", "getgrgid")
BANNED_IN_TESTS = ("strcpy", "strcat", "gets", "sprintf", "vsprintf", "alloca", "sleep", "usleep", "mktemp", "tmpnam")


def measure(tree):
  """(subject, size, limit, where) of everything that is over a limit."""
  for path in tree.paths:
    code = path.endswith((".c", ".h", ".py", ".mjs", ".js", ".sh")) or path == "dev"
    if not code or path.startswith("include/aigw/tbl/"):
      continue
    n = len(tree.source(path).lines)
    limit = HEADER_LINES if path.endswith(".h") else FILE_LINES
    if n > limit:
      yield path, n, limit, f"{path}:1"
  for s in tree.c_sources():
    for f in s.functions:
      if f.body > FUNCTION_LINES:
        yield f"{s.path}:{f.name}", f.body, FUNCTION_LINES, f"{s.path}:{f.first}"


def sizes(tree):
  rows = shrinking.rows(tree, EXCEPTIONS)
  out, over = [], {}
  for subject, n, limit, where in measure(tree):
    over[subject] = n
    if n > rows.get(subject, limit):
      out.append(f"{where}: {subject} has {n} lines, {rows.get(subject, limit)} are allowed; split it by noun")
  for subject, n in rows.items():
    if over.get(subject, 0) < n:
      out.append(f"{EXCEPTIONS}: {subject}: " + (f"now {over[subject]}, lower it" if subject in over else "strike it"))
  return out + shrinking.grown(tree, EXCEPTIONS)


def banned(tree):
  why = {f: reason for reason, names in BANNED.items() for f in names.split()}
  product = re.compile(r"(?<![\w.>])(" + "|".join(why) + r")\s*\(")
  tests = re.compile(r"(?<![\w.>])(" + "|".join(BANNED_IN_TESTS) + r")\s*\(")
  out = []
  for s in tree.c_sources():
    for m in (product if s.path.startswith(PRODUCT) else tests).finditer(s.plain):
      if not (m[1] in LOOK_UPS and s.path.startswith(ONE_THREAD)):
        out.append(f"{s.path}:{s.line_of(m.start())}: {m[1]}() is banned: {why[m[1]]}")
  return out


def heads(tree):
  """A header, and a .c file of the product, first says in a sentence what it is; `#pragma once` is not our guard."""
  out = []
  for s in tree.c_sources(PRODUCT):
    if s.path.endswith(".h") and not s.text.startswith("/*"):
      out.append(f"{s.path}:1: a header opens with what it owns, which thread it runs on, who may call it")
    if s.path.endswith(".h") and "/tbl/" not in s.path and not re.search(r"^#ifndef \w+_H\n#define \w+_H$", s.text, re.M):
      out.append(f"{s.path}:1: no include guard")
  return out


def check(tree):
  return sizes(tree) + banned(tree) + heads(tree)


if __name__ == "__main__":
  main(check)
