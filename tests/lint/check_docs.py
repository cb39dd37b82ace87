#!/usr/bin/env python3
"""The manual pages' lists of settings, policy keys, errors, counters and files are made from the tables.

A page holds the lines of each between  .\\" BEGIN name  and  .\\" END name ; this checks that they are what the
tables give now, --write (./dev fmt) makes them so. It also checks that each program's page knows its options.
"""
import os
import re
import sys

from lintlib import Tree, main
from tables import rows



def roff(s):
  """Text as one line of roff: backslashes, and a control character at its start."""
  s = s.replace("\\", "\\e")
  return "\\&" + s if s[:1] in (".", "'") else s


def sentences(s):
  """A sentence a line, as mdoc wants it."""
  return [roff(x) for x in re.sub(r"(?<=[.;]) (?=[A-Z])", "\n", s.strip()).split("\n")]


def size(n):
  for unit in ("", "KiB", "MiB", "GiB", "TiB"):
    if n % 1024 or unit == "TiB" or n == 0:
      return f"{n}{unit}"
    n //= 1024


def duration(us):
  for unit, n in (("h", 3600000000), ("m", 60000000), ("s", 1000000), ("ms", 1000)):
    if us and us % n == 0:
      return f"{us // n}{unit}"
  return f"{us}us" if us else "0s"


def value_text(row):
  kind, _, preset, low, high, choices, reload = row.args[:7]
  show = {"SIZE": size, "DURATION": duration}.get(kind, str)
  out = []
  if choices:
    out.append("one of " + ", ".join(choices.split("|")))
  elif int(high):
    out.append(f"{show(int(low))} to {show(int(high))}")
  if preset:
    out.append(f"default {preset}")
  out.append("read again on SIGHUP" if reload == "true" else "needs a restart")
  return "; ".join(out)


def settings(tree, table):
  for row in rows(tree, table):
    yield f".It Ic {row.args[1]}"
    yield from sentences(row.args[-1])
    yield f"({value_text(row)})"


def fails(tree):
  retry = {"YES": "SDKs try again.", "NO": "SDKs are told not to try again.", "ANY": ""}
  for row in rows(tree, "fail"):
    name, status, kind, again, text = row.args
    if name != "none":
      yield f".It Er {name} Pq {status} , {kind}"
      yield from sentences(text)
      if retry[again]:
        yield retry[again]


def policy(tree):
  seen = None
  for row in rows(tree, "policy_fields"):
    if row.macro != "POLICY_FIELD":
      continue
    what, key, doc = row.args
    if what != seen:
      if seen:
        yield ".El"
      yield f".Ss {what}"
      yield ".Bl -tag -width cached_input"
      seen = what
    yield f".It Ic {key}"
    yield from sentences(doc)
  yield ".El"


def policy_later(tree):
  later = {}
  for row in rows(tree, "policy_fields"):
    if row.macro == "POLICY_LATER":
      later.setdefault(row.args[0], []).append(row.args[1])
  for what, keys in later.items():
    yield f".It {what}"
    yield ", ".join(keys)


def counters(tree):
  for row in rows(tree, "counters"):
    yield f".It Ic {row.args[0]} Pq {row.args[1]}"
    yield from sentences(row.args[-1])


def nodes(tree):
  for row in rows(tree, "stat_nodes"):
    if row.args[-1].strip():
      yield f".It Pa {row.args[1]}"
      yield from sentences(row.args[-1])


def provider_errors(tree):
  for row in rows(tree, "provider_errors"):
    yield f".It Ic {row.args[0]}"
    yield from sentences(row.args[-1])


def error_classes(tree):
  for row in rows(tree, "error_classes"):
    yield f".It Ic {row.args[0]}"
    yield from sentences(row.args[-1])


def capabilities(tree):
  for row in rows(tree, "capabilities"):
    yield f".It Ic {row.args[0]}"
    yield from sentences(row.args[-1])


def metrics(tree):
  where = {"OPEN": "", "SUMS": "Over TCP and agent.sock without the label project, summed over projects.", "CLOSED": "Not over TCP and agent.sock."}
  for row in rows(tree, "metrics"):
    _, name, kind, labels, scope, doc = row.args
    yield f".It Ic {name}" + (f" Pq {kind}" if kind else "")
    yield from sentences(doc)
    if labels:
      yield f"Labels: {labels}."
    if where[scope]:
      yield where[scope]


def admin_errors(tree):
  where = {"both": "", "admin": "", "control": "Only on control.sock."}
  again = {"NO": "", "LATER": "The same request may do later."}
  for row in rows(tree, "admin_errors"):
    name, status, sock, retry, text = row.args
    yield f".It Ic {name} Pq {status}"
    yield from sentences(text)
    yield from (x for x in (where[sock], again[retry]) if x)


def kind_text(kind):
  """A type of tbl/admin_api.h in words."""
  text = kind.lstrip("?")
  text = f"list of {text[1:-1]}" if text[0] == "[" else text
  return text + (", or absent" if kind[0] == "?" else "")


def routes(tree):
  table = rows(tree, "admin_api")
  for row in table:
    if row.macro != "API":
      continue
    name, method, path, status, doc, request, response, errors = row.args
    yield f".It Ic {method} {path}"
    yield from sentences(doc)
    facts = [f"Takes {request}."] if request else []
    yield from facts + [f"Answers {status}" + (f" with {response}." if response else ".")]
    if errors:
      yield f"Errors besides the usual: {errors.replace(' ', ', ')}."
    params = [p.args for p in table if p.macro == "API_PARAM" and p.args[0] == name]
    if params:
      yield ".Bl -tag -width customer -compact"
      for _, where, param, kind, text in params:
        yield f".It Ar {param} Pq {kind_text(kind)}"
        yield from sentences(text)
      yield ".El"


def objects(tree):
  table = rows(tree, "admin_api")
  for row in table:
    if row.macro == "API_OBJECT":
      yield f".Ss {row.args[0]}"
      yield from sentences(row.args[1])
      yield ".Bl -tag -width cached_input -compact"
      for f in table:
        if f.macro == "API_FIELD" and f.args[0] == row.args[0]:
          yield f".It Ic {f.args[1]} Pq {kind_text(f.args[2])}"
          yield from sentences(f.args[3])
      yield ".El"


def ctld_metrics(tree):
  for row in rows(tree, "ctld_metrics"):
    _, name, kind, labels, doc = row.args
    yield f".It Ic {name}" + (f" Pq {kind}" if kind else "")
    yield from sentences(doc)
    if labels:
      yield f"Labels: {labels}."


# page: {name of the block: its lines}
PAGES = {
  "agentd/aigw-agentd.8": {"fail": fails},
  "agentd/aigw-agentd.yaml.5": {"agent_config": lambda t: settings(t, "agent_config")},
  "agentd/aigw-metrics.7": {"metrics": metrics, "ctld_metrics": ctld_metrics},
  "agentd/aigw-policy.5": {"policy_fields": policy, "policy_later": policy_later, "error_classes": error_classes, "capabilities": capabilities},
  "agentd/aigw-stats.5": {"stat_nodes": nodes, "counters": counters, "provider_errors": provider_errors},
  "ctl/aigw-api.7": {"routes": routes, "objects": objects, "admin_errors": admin_errors},
  "ctl/aigw-ctld.yaml.5": {"ctld_config": lambda t: settings(t, "ctld_config")},
}
# page: files whose long options it has to know
OPTIONS = {"tests/sim/aigw-sim.8": ("tests/sim/main.c",), "agentd/aigw-agentd.8": ("agentd/main.c",), "ctl/aigw-ctld.8": ("ctl/ctld/main.c",)}


def block(name):
  return re.compile(rf'(?<=^\.\\" BEGIN {name}\n).*?(?=^\.\\" END {name}$)', re.M | re.S)


def filled(tree, path):
  """The page as it should be."""
  text = tree.read(path)
  for name, make in PAGES[path].items():
    if not block(name).search(text):
      raise ValueError(f"{path}: no block {name}")
    lines = "".join(x + "\n" for x in make(tree))
    text = block(name).sub(lambda m: lines, text)
  return text


def check(tree):
  out = []
  for path in PAGES:
    if not tree.exists(path):
      out.append(f"{path}:1: no such page")
      continue
    is_lines, want = tree.read(path).split("\n"), filled(tree, path).split("\n")
    at = next((i for i, (a, b) in enumerate(zip(is_lines + [""], want + [""])) if a != b), None)
    if at is not None or len(is_lines) != len(want):
      out.append(f"{path}:{(at or 0) + 1}: not what the tables say; run ./dev fmt")
  for path, programs in OPTIONS.items():
    for program in programs:
      for name in re.findall(r'^\s*\{ "([a-z-]+)", (?:no|required)_argument', tree.read(program), re.M):
        if not re.search(rf"\bFl -{name}\b", tree.read(path)):
          out.append(f"{path}:1: does not know --{name} of {program}")
  return out


def write():
  tree = Tree()
  for path in PAGES:
    text = filled(tree, path)
    if text != tree.read(path):
      with open(os.path.join(tree.root, path), "w", encoding="utf-8") as f:
        f.write(text)


if __name__ == "__main__":
  if sys.argv[1:] == ["--write"]:
    write()
  else:
    main(check)
