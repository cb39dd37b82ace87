#!/usr/bin/env python3
"""Counts the single tests of a run of `meson test`: reads its testlog.json, prints `N passed, N failed[, N skipped]`.

Programs of cmocka, unittest and TAP say in their output how each of their tests went; any other program is one
test. A program that failed without a failed test in its output (a crash, a leak, a timeout) counts as one failure.
Exit code: 0 if nothing failed and something passed.
"""
import json
import re
import sys

CMOCKA = re.compile(r"^\[( +OK|  FAILED |  SKIPPED) +\] (?!tests:)\S", re.M)
CMOCKA_END = re.compile(r"^\[={10}\] .*test\(s\) run\.", re.M)
TAP = re.compile(r"^(not )?ok\b(?:.*?#\s*(skip|todo))?", re.M | re.I)
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n+(OK|FAILED|NO TESTS RAN)(?: \(([^)]*)\))?", re.M)


def of_cmocka(text):
  """Its failures are listed once more behind the end of each group."""
  counts, at = [0, 0, 0], 0
  ends = [m.end() for m in CMOCKA_END.finditer(text)] or [len(text)]
  for end in ends:
    begin = text.find("[==========] Running", at)
    for m in CMOCKA.finditer(text, max(begin, at), end):
      counts[{"OK": 0, "FAILED": 1, "SKIPPED": 2}[m[1].strip()]] += 1
    at = end
  return counts


def of_tap(text):
  counts = [0, 0, 0]
  for m in TAP.finditer(text):
    skipped = (m[2] or "").lower() == "skip" or m[1] and m[2] # a failure that is marked "todo" is not held against it
    counts[2 if skipped else 1 if m[1] else 0] += 1
  return counts


def of_unittest(text):
  counts = [0, 0, 0]
  for m in UNITTEST.finditer(text):
    extra = dict(x.split("=") for x in (m[3] or "").split(", ") if "=" in x)
    bad = int(extra.get("failures", 0)) + int(extra.get("errors", 0)) + int(extra.get("unexpected successes", 0))
    skipped = int(extra.get("skipped", 0))
    counts = [counts[0] + max(0, int(m[1]) - bad - skipped), counts[1] + bad, counts[2] + skipped]
  return counts


def count(test):
  """[passed, failed, skipped] of one line of the log."""
  text = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
  result = test["result"]
  if result == "SKIP":
    return [0, 0, 1]
  if CMOCKA_END.search(text) or "[==========] Running" in text:
    counts = of_cmocka(text)
  elif UNITTEST.search(text):
    counts = of_unittest(text)
  elif re.search(r"^(1\.\.\d+|TAP version 1\d)$", text, re.M):
    counts = of_tap(text)
  else:
    counts = [0, 0, 0]
  good = result in ("OK", "EXPECTEDFAIL")
  if good and sum(counts) == 0:
    counts[0] = 1
  if not good and counts[1] == 0:
    counts[1] = 1
  return counts


def reason(test):
  text = ((test.get("stdout") or "") + "\n" + (test.get("stderr") or "")).strip().splitlines()
  return text[-1].strip() if text else "no reason given"


def main():
  total, skips = [0, 0, 0], []
  try:
    with open(sys.argv[1], encoding="utf-8") as f:
      tests = [json.loads(line) for line in f if line.strip()]
  except OSError:
    tests = []
  for t in tests:
    total = [a + b for a, b in zip(total, count(t))]
    if t["result"] == "SKIP":
      skips.append(f"skipped {t['name']}: {reason(t)}")
  for line in skips:
    print(line)
  print(f"{total[0]} passed, {total[1]} failed" + (f", {total[2]} skipped" if total[2] else ""))
  sys.exit(1 if total[1] or not total[0] else 0)


if __name__ == "__main__":
  main()
