"""What the lints share: the tree's files, C without comments and strings, its functions, the report.

A finding is one line, "path:line: sentence". Every lint is a function of a Tree, so that the tests of the
lints can run it on a copy of the tree with a planted violation.
"""
import bisect
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
C_FOLDERS = ("agentd/", "ctl/", "include/", "libshared/", "tests/")
PRODUCT = ("agentd/", "ctl/", "include/", "libshared/")

NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")


class Function:
  """A definition: its name, its first and last line, the lines between its braces."""

  def __init__(self, name, first, last, body):
    self.name, self.first, self.last, self.body = name, first, last, body


class Source:
  def __init__(self, path, text):
    self.path, self.text = path, text
    self.lines = text.split("\n")
    if self.lines and not self.lines[-1]:
      self.lines.pop()
    self._code = self._plain = self._functions = None

  @property
  def code(self):
    """The text with comments blanked; strings stay."""
    if self._code is None:
      self._code = NOISE.sub(lambda m: blank(m[0]) if m[0][0] == "/" else m[0], self.text)
    return self._code

  @property
  def plain(self):
    """The text with comments and the insides of strings blanked."""
    if self._plain is None:
      self._plain = NOISE.sub(lambda m: blank(m[0]) if m[0][0] == "/" else
                              m[0][0] + blank(m[0][1:-1]) + m[0][-1], self.text)
    return self._plain

  @property
  def functions(self):
    if self._functions is None:
      self._functions = list(functions_of(self.plain.split("\n")))
    return self._functions

  def function_at(self, line):
    """Name of the function that the line stands in, or ''."""
    i = bisect.bisect_right([f.first for f in self.functions], line) - 1
    return self.functions[i].name if i >= 0 and line <= self.functions[i].last else ""

  def line_of(self, offset):
    return self.text.count("\n", 0, offset) + 1


def blank(s):
  return re.sub(r"[^\n]", " ", s)


def functions_of(lines):
  """Kernel style makes this easy: the opening and the closing brace stand alone in the first column."""
  start = None
  for i, line in enumerate(lines):
    if start is None and line.startswith("{"):
      head, j = [], i - 1
      while j >= 0 and lines[j].strip() and lines[j][0] not in "}#" and not lines[j].rstrip().endswith(";"):
        head.insert(0, lines[j])
        j -= 1
      m = NAME.search(re.sub(r"__attribute__\s*\(\(.*?\)\)", "", " ".join(head)))
      if m and "=" not in " ".join(head).split("(")[0]:
        start, name, at = i, m[1], j + 2
    elif start is not None and line.startswith("}"):
      yield Function(name, at, i + 1, i - start - 1)
      start = None


class Tree:
  def __init__(self, root=ROOT):
    self.root = root
    self._sources = {}
    self._paths = None

  @property
  def paths(self):
    if self._paths is None:
      self._paths = []
      for folder, names, files in os.walk(self.root):
        here = os.path.relpath(folder, self.root)
        names[:] = sorted(n for n in names if n not in (".git", "__pycache__") and
                          not (here == "." and n.startswith("build")))
        self._paths += [os.path.normpath(os.path.join(here, f)) for f in sorted(files)]
    return self._paths

  def c_paths(self, under=C_FOLDERS):
    return [p for p in self.paths if p.endswith((".c", ".h")) and p.startswith(tuple(under))]

  def after_change_of(self, path):
    """The same tree, of which one file was written anew."""
    t = Tree(self.root)
    t._sources = {p: s for p, s in self._sources.items() if p != path}
    return t

  def source(self, path):
    if path not in self._sources:
      self._sources[path] = Source(path, self.read(path))
    return self._sources[path]

  def c_sources(self, under=C_FOLDERS):
    return [self.source(p) for p in self.c_paths(under)]

  def read(self, path):
    with open(os.path.join(self.root, path), encoding="utf-8", newline="") as f:
      return f.read()

  def exists(self, path):
    return os.path.exists(os.path.join(self.root, path))


def matches(path, pattern):
  """`pattern` is a file, a folder (ends in /) or a file name with * in it."""
  if pattern.endswith("/"):
    return path.startswith(pattern)
  if "*" in pattern:
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), path) is not None
  return path == pattern


def main(check):
  """Runs a lint on this tree, or on the one given; 1 if it found something."""
  tree = Tree(sys.argv[1] if len(sys.argv) > 1 else ROOT)
  findings = check(tree)
  for f in findings:
    print(f)
  print(f"{len(findings)} findings" if findings else "clean")
  sys.exit(1 if findings else 0)
