#!/usr/bin/env python3
"""Each "only this function may …" of the program: the registry `choke_points`, held against the code."""
import configparser
import os
import re

from lintlib import HERE, PRODUCT, main, matches

KEYS = {"rule", "pattern", "in", "except", "strings", "only", "plant", "plant_in"}


class Point:
  """A row: where `pattern` stands in code of the folders `in`, it stands in one of `only`."""

  def __init__(self, name, row):
    if not {"rule", "pattern", "plant", "plant_in"} <= set(row) <= KEYS:
      raise ValueError(f"choke_points: [{name}]: rule, pattern, plant, plant_in are needed; {KEYS} are known")
    self.name, self.rule = name, " ".join(row["rule"].split())
    self.pattern = re.compile(row["pattern"])
    self.folders = tuple(row.get("in", " ".join(PRODUCT)).split())
    self.free = row.get("except", "").split()
    self.strings = row.getboolean("strings", False)
    self.only = row.get("only", "").split()
    self.plant, self.plant_in = row["plant"], row["plant_in"]

  def may(self, path, function):
    return any(matches(path, p) for p in self.free) or any(
      function == o.split(":")[1] if ":" in o and matches(path, o.split(":")[0]) else matches(path, o) for o in self.only)

  def uses(self, tree):
    """(path, line, function) of each place that holds the pattern."""
    for s in tree.c_sources(self.folders):
      if not s.path.startswith(self.folders):
        continue
      for i, line in enumerate((s.code if self.strings else s.plain).split("\n"), 1):
        if not line.lstrip().startswith("#") and self.pattern.search(line):
          yield s.path, i, s.function_at(i)

  def check(self, tree):
    seen, out = set(), []
    for path, line, function in self.uses(tree):
      if path.endswith(".h") and not function and not self.strings:
        continue # a declaration
      if self.may(path, function):
        seen.update(o for o in self.only if matches(path, o.split(":")[0]) and o.split(":")[-1] in (function, o))
      else:
        out.append(f"{path}:{line}: {function or 'here'}(): {self.rule} [{self.name}]")
    out += [f"tests/lint/choke_points: [{self.name}]: {o} needs it no more; strike it" for o in self.only if o not in seen]
    return out


def load(path=os.path.join(HERE, "choke_points")):
  ini = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=True)
  ini.optionxform = str
  with open(path, encoding="utf-8") as f:
    ini.read_file(f)
  return [Point(n, ini[n]) for n in ini.sections()]


def check(tree):
  return [finding for p in load() for finding in p.check(tree)]


if __name__ == "__main__":
  main(check)
