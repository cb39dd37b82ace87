"""A list of exceptions that may only get shorter: rows `SUBJECT NUMBER` or `SUBJECT`; # begins a comment.

The first commit that has the file says what it may hold at most; without git that part is not looked at.
"""
import subprocess


def parse(text):
  out = {}
  for line in text.splitlines():
    words = line.split("#")[0].split()
    if words:
      out[words[0]] = int(words[1]) if len(words) > 1 else 1
  return out


def rows(tree, path):
  return parse(tree.read(path)) if tree.exists(path) else {}


def git(tree, *args):
  try:
    return subprocess.run(["git", "-C", tree.root, *args], capture_output=True, text=True, check=True).stdout
  except (OSError, subprocess.CalledProcessError):
    return ""


def grown(tree, path):
  commits = git(tree, "log", "--format=%H", "--diff-filter=A", "--", path).split()
  if not commits:
    return []
  first = parse(git(tree, "show", f"{commits[-1]}:{path}"))
  return [f"{path}: {s} {n}: the list may only get shorter" for s, n in rows(tree, path).items() if n > first.get(s, 0)]
