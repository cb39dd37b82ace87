#!/usr/bin/env python3
"""Includes only go down: every #include is held against the table `layers`."""
import os
import re

from lintlib import HERE, ROOT, Tree, main, matches

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
# What libc and the kernel offer; all else is foreign and needs a row.
LIBC = re.compile(r"(sys|linux|netinet|net|arpa|bits)/[\w/]+\.h|(assert|byteswap|ctype|dirent|dlfcn|endian|errno|execinfo|fcntl|fenv|fnmatch|"
                  r"ftw|getopt|glob|grp|ifaddrs|immintrin|emmintrin|inttypes|langinfo|libgen|limits|locale|malloc|math|"
                  r"netdb|poll|pthread|pwd|sched|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|"
                  r"stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|syslog|termios|threads|time|unistd|utime|"
                  r"wchar)\.h")


class Layers:
  def __init__(self, text):
    self.module, self.units, self.foreign, self.private = {}, {}, {}, {}
    for line in text.splitlines():
      line = line.split("#")[0].strip()
      if not line:
        continue
      kind, rest = line.split(None, 1)
      name, _, words = rest.partition(":")
      name, words = name.strip(), words.split()
      if kind == "module":
        self.module.update((h, name) for h in words)
      else:
        {"unit": self.units, "foreign": self.foreign, "private": self.private}[kind][name] = words

  def unit_of(self, path):
    """The row with the longest PATH that holds the file. A unit may be a module: PATH.c, PATH.h, PATH_x.c."""
    fit = [u for u in self.units if path.startswith((u + "/", u + ".", u + "_"))]
    return max(fit, key=len) if fit else None


def resolve(tree, path, kind, name):
  """The included file's path in the tree, or None: not ours."""
  if kind == "<":
    return "include/" + name if name.startswith("aigw/") else None
  top = {"agentd": "agentd/", "ctl": "ctl/ctld/"}.get(path.split("/")[0], "")
  for p in (os.path.join(os.path.dirname(path), name), top + name, "agentd/" + name, "ctl/ctld/" + name, "tests/" + name):
    p = os.path.normpath(p)
    if tree.exists(p):
      return p
  return os.path.normpath(os.path.join(os.path.dirname(path), name))


def allowed(tree, layers, path, target):
  """Why the file at `path` may not include ours at `target`; None: it may."""
  if path.startswith("tests/") and layers.unit_of(path) is None:
    return None # tests of the product look at whatever they test
  if target.startswith("include/aigw/tbl/"):
    return None if layers.unit_of(path) not in ("tests/sim", "tests/bench") else "it shares no code with aigw"
  if path.startswith("include/aigw/"):
    me = layers.module.get(path[len("include/aigw/"):])
    if me is None:
      return "add this header to a module in tests/lint/layers"
    if not target.startswith("include/aigw/"):
      return "a shared header includes shared headers only"
    mine, own = layers.units[f"libshared/{me}"], me
  else:
    own = layers.unit_of(path)
    if own is None:
      return "its folder has no row in tests/lint/layers"
    mine = layers.units[own]
    if own.startswith("libshared/"):
      own = own[len("libshared/"):]
  if target.startswith("include/aigw/"):
    header = target[len("include/aigw/"):]
    theirs = layers.module.get(header)
    if theirs is None:
      return "that header belongs to no module in tests/lint/layers"
    return None if theirs == own or theirs in mine or header in mine else f"{own} may not use {theirs}"
  theirs = layers.unit_of(target)
  if theirs is None:
    return "that file is in no unit of tests/lint/layers"
  if theirs.startswith("libshared/"):
    return None if theirs[len("libshared/"):] == own else f"that header is private to {theirs}"
  # A row for one module widens what that module may use; it stays a member of its folder's unit.
  home = {u: os.path.dirname(u) for u in (own, theirs) if not os.path.isdir(os.path.join(tree.root, u))}
  if theirs == own or {theirs, home.get(theirs)} & set(mine) or theirs == home.get(own):
    return None
  return f"{own} may not use {theirs}"


def foreign(layers, path, name):
  if LIBC.fullmatch(name):
    return None
  rows = [p for h, p in layers.foreign.items() if matches(name, h)]
  if not rows:
    return "no row in tests/lint/layers allows this header anywhere"
  if any(matches(path, p) for row in rows for p in row):
    return None
  return "only for " + " ".join(p for row in rows for p in row)


def check(tree):
  with open(os.path.join(HERE, "layers"), encoding="utf-8") as f:
    layers = Layers(f.read())
  out = []
  for s in tree.c_sources():
    for m in INCLUDE.finditer(s.code):
      target = resolve(tree, s.path, m[1], m[2])
      why = allowed(tree, layers, s.path, target) if target else foreign(layers, s.path, m[2])
      if not why and target:
        for name, paths in layers.private.items():
          if target.endswith("/" + name) and s.path != target[:-2] + ".c" and not any(matches(s.path, p) for p in paths):
            if not s.path.startswith("tests/"):
              why = "only for " + " ".join(paths)
      if why:
        out.append(f"{s.path}:{s.line_of(m.start())}: includes {m[2]}: {why}")
  return out


if __name__ == "__main__":
  main(check)
