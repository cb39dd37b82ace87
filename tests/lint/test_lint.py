#!/usr/bin/env python3
"""The lints are seen to fail: each gets a copy of the tree with one violation planted and has to name that line."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import check_choke_points
import check_docs
import check_events
import check_fails
import check_layers
import check_ratchet
import check_rules
import check_tables
import check_words
import tidy
from lintlib import ROOT, Source, Tree

sys.path.insert(0, os.path.join(ROOT, "tests"))
import tally # noqa: E402  (beside this folder)

PARTS = ("agentd", "ctl", "include", "libshared", "systemd", "tests")


class Planted(unittest.TestCase):
  @classmethod
  def setUpClass(cls):
    cls.home = tempfile.mkdtemp(prefix="aigw-lint-")
    cls.addClassCleanup(shutil.rmtree, cls.home)
    for part in PARTS:
      shutil.copytree(os.path.join(ROOT, part), os.path.join(cls.home, part), symlinks=True,
                      ignore=shutil.ignore_patterns("build*", "__pycache__", "node_modules", "corpus"))
    cls.tree = Tree(cls.home)
    cls.before = {}

  def planted(self, check, path, text):
    """What the check says with the text at the end of the file, and does not say without."""
    if check not in self.before:
      self.before[check] = check(self.tree)
    full = os.path.join(self.home, path)
    old = self.tree.read(path) if self.tree.exists(path) else None
    try:
      self.write(path, (old or "") + text)
      return [x for x in check(self.tree.after_change_of(path)) if x not in self.before[check]]
    finally:
      if old is None:
        os.unlink(full)
      else:
        self.write(path, old)

  def write(self, path, text):
    with open(os.path.join(self.home, path), "w", encoding="utf-8", newline="") as f:
      f.write(text)

  def assertFound(self, findings, path, *words):
    """One finding, at that file, which says these words."""
    self.assertEqual(len(findings), 1, findings)
    self.assertTrue(findings[0].startswith(path), findings)
    for w in words:
      self.assertIn(w, findings[0])


class Layers(Planted):
  CASES = (
    # file, include, what the finding says
    ("libshared/base/buf.c", "<aigw/text.h>", "base may not use codec"),
    ("libshared/codec/sse.c", "<aigw/usage.h>", "codec may not use data"),
    ("libshared/codec/sse.c", "<uv.h>", "only for"),
    ("libshared/data/price.c", "<aigw/loop.h>", "data may not use net"),
    ("libshared/data/price.c", "<aigw/log.h>", "only for"),
    ("libshared/data/price.c", "<jansson.h>", "include/aigw/json.h"),
    ("libshared/data/wire.c", "<yaml.h>", "libshared/data/yaml.c"),
    ("agentd/dialect/openai.c", '"policy/policy.h"', "agentd/dialect may not use agentd/policy"),
    ("agentd/stats/stats.c", '"request/request.h"', "agentd/stats may not use agentd/request"),
    ("agentd/upstream/pool.c", '"dialect/openai.h"', "agentd/upstream may not use agentd/dialect"),
    ("agentd/request/relay.c", "<openssl/ssl.h>", "only for"),
    ("agentd/request/relay.c", "<lmdb.h>", "only for"),
    ("agentd/request/relay.c", '"agent.h"', "agentd/request may not use agentd"),
    ("agentd/request/relay.c", "<glib.h>", "no row"),
    ("agentd/policy/policy.c", '"../../ctl/ctld/store/store.h"', "may not use ctl/ctld/store"),
    ("ctl/ctld/policy/publish.c", '"store/store_lmdb.h"', "only for ctl/ctld/store/"),
    ("ctl/aigwctl/client.c", '"../ctld/store/store.h"', "ctl/aigwctl may not use ctl/ctld/store"),
    ("include/aigw/buf.h", "<aigw/json.h>", "base may not use codec"),
    ("include/aigw/buf.h", "<uv.h>", "only for"),
    ("tests/sim/answer.h", "<aigw/text.h>", "tests/sim may not use codec"),
  )

  def test_each_include_that_goes_up_is_named(self):
    for path, include, says in self.CASES:
      with self.subTest(path=path, include=include):
        self.assertFound(self.planted(check_layers.check, path, f"#include {include}\n"), path, "includes", says)

  def test_a_new_header_needs_a_module(self):
    self.assertFound(self.planted(check_layers.check, "include/aigw/fresh.h", "#include <aigw/base.h>\n"),
                     "include/aigw/fresh.h:1", "add this header to a module")

  def test_an_include_in_a_comment_is_none(self):
    self.assertEqual(self.planted(check_layers.check, "libshared/base/buf.c", "/*\n#include <uv.h>\n*/\n"), [])

  def test_includes_that_go_down_are_fine(self):
    self.assertEqual(self.planted(check_layers.check, "agentd/request/relay.c", '#include "policy/policy.h"\n#include <aigw/url.h>\n'), [])


class ChokePoints(Planted):
  def test_each_planted_violation_is_named(self):
    for p in check_choke_points.load():
      with self.subTest(point=p.name):
        found = self.planted(p.check, p.plant_in, f"\nstatic void planted(void)\n{{\n\t{p.plant}\n}}\n")
        self.assertFound(found, p.plant_in, "planted()", p.rule)
        self.assertEqual(self.planted(p.check, p.plant_in, f"\n/* {p.plant} */\n"), [], "in a comment")

  def test_a_row_that_is_needed_no_more_is_named(self):
    for p in check_choke_points.load()[:3]:
      p.only.append("agentd/request/relay.c:long_gone")
      self.assertIn("long_gone", " ".join(p.check(self.tree)))


class Ratchet(Planted):
  def test_sizes(self):
    body = "\tx();\n" * 81
    for path, text, says in (
        ("agentd/fresh.c", "/* x */\n" * 801, "801 lines, 800 are allowed"),
        ("tests/unit/fresh.py", "x = 1\n" * 801, "801 lines, 800 are allowed"),
        ("include/aigw/fresh.h", "/* x */\n#ifndef X_H\n#define X_H\n" + "\n" * 298, "301 lines, 300 are allowed"),
        ("agentd/fresh.c", f"static int fresh(\n\tint a)\n{{\n{body}}}\n", "fresh.c:fresh has 81 lines, 80 are allowed")):
      with self.subTest(says=says):
        self.assertFound(self.planted(check_ratchet.check, path, text), path, says)

  def test_sizes_at_the_limit(self):
    body = "\tx();\n" * 80
    self.assertEqual(self.planted(check_ratchet.check, "agentd/fresh.c", f"int fresh(void)\n{{\n{body}}}\n"), [])

  def test_banned_functions(self):
    for path, call, says in (
        ("agentd/fresh.c", "strcpy(a, b)", "strcpy() is banned"),
        ("agentd/fresh.c", "getpwuid(0)", "_r form"),
        ("libshared/fresh.c", "atoi (s)", "no way to report an error"),
        ("ctl/fresh.c", "strtok(a, b)", "strtok() is banned"),
        ("tests/fresh.c", "usleep(1)", "instead of an event")):
      with self.subTest(call=call):
        self.assertFound(self.planted(check_ratchet.check, path, f"int f(void)\n{{\n\t{call};\n}}\n"), path, says)

  def test_names_that_only_look_banned(self):
    for call in ("my_strcpy(a)", "o->gets(a)", "getpwuid_r(a)"):
      self.assertEqual(self.planted(check_ratchet.check, "agentd/fresh.c", f"int f(void)\n{{\n\t{call};\n}}\n"), [], call)
    self.assertEqual(self.planted(check_ratchet.check, "ctl/fresh.c", "int f(void)\n{\n\tgetpwuid(0);\n}\n"), [])

  def test_headers_say_what_they_own(self):
    found = self.planted(check_ratchet.check, "agentd/fresh.h", "#ifndef FRESH_H\n#define FRESH_H\n#endif\n")
    self.assertFound(found, "agentd/fresh.h:1", "opens with what it owns")
    found = self.planted(check_ratchet.check, "agentd/fresh.h", "/* Fresh. */\n#pragma once\n")
    self.assertFound(found, "agentd/fresh.h:1", "no include guard")


@unittest.skipUnless(shutil.which("git"), "git is not installed")
class OnlyShorter(unittest.TestCase):
  """The list of exceptions against the first commit that has it."""

  def setUp(self):
    self.home = tempfile.mkdtemp(prefix="aigw-lint-")
    self.addCleanup(shutil.rmtree, self.home)
    self.git("init", "-q")
    os.makedirs(os.path.join(self.home, "agentd"))
    self.write("agentd/a.c", "/* x */\n" * 900)
    self.write("agentd/b.c", "/* x */\n" * 900)
    self.list("agentd/a.c 900\n")
    self.git("add", "-A")
    self.git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "x")

  def git(self, *args):
    subprocess.run(["git", "-C", self.home, *args], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"})

  def write(self, path, text):
    os.makedirs(os.path.dirname(os.path.join(self.home, path)), exist_ok=True)
    with open(os.path.join(self.home, path), "w", encoding="utf-8") as f:
      f.write(text)

  def list(self, text):
    self.write(check_ratchet.EXCEPTIONS, text)

  def test_a_row_more_or_a_larger_number_is_refused(self):
    self.list("agentd/a.c 900\nagentd/b.c 900\n")
    self.assertEqual(check_ratchet.sizes(Tree(self.home)), ["tests/lint/exceptions: agentd/b.c 900: the list may only get shorter"])
    self.write("agentd/b.c", "")
    self.write("agentd/a.c", "/* x */\n" * 901)
    self.list("agentd/a.c 901\n")
    self.assertEqual(check_ratchet.sizes(Tree(self.home)), ["tests/lint/exceptions: agentd/a.c 901: the list may only get shorter"])

  def test_a_row_allows_its_number_and_no_line_more(self):
    for lines, says in ((900, None), (901, "901 lines, 900 are allowed"), (850, "now 850, lower it"), (700, "strike it")):
      with self.subTest(lines=lines):
        self.write("agentd/a.c", "/* x */\n" * lines)
        self.write("agentd/b.c", "")
        found = check_ratchet.sizes(Tree(self.home))
        self.assertEqual(len(found), 0 if says is None else 1, found)
        self.assertIn(says or "", "".join(found))

  def test_a_row_less_is_fine(self):
    self.write("agentd/a.c", "")
    self.write("agentd/b.c", "")
    self.list("")
    self.assertEqual(check_ratchet.sizes(Tree(self.home)), [])


class Tables(Planted):
  def test_rows(self):
    for table, row, says in (
        ("fail", 'FAIL(fresh_fail, 503, "server_error", YES, "Sentence.")', "no test names fail:fresh_fail"),
        ("fail", 'FAIL(no_policy, 503, "server_error", YES, "Sentence.")', "also in line"),
        ("fail", 'FAIL(draining2, 503, "server_error", YES, "")', None),
        ("counters", 'COUNTER(requests, "count", "Again.")', "also in line"),
        ("agent_config", 'CONFIG(STR, listen, "", 0, 0, "", false, "Again.")', "also in line"),
        ("agent_config", 'PLAN(STR, listen)', "does not know this kind of row")):
      with self.subTest(row=row):
        found = self.planted(check_tables.check, f"include/aigw/tbl/{table}.h", row + "\n")
        if says is None:
          self.assertEqual(len(found), 2, found)
          self.assertIn("no sentence", " ".join(found))
        else:
          self.assertFound(found, f"include/aigw/tbl/{table}.h", says)


class Fails(Planted):
  def test_rows(self):
    path = "tests/lint/fails"
    for row, says in (("no_policy : - again", "stands in line"), ("nonsense : - why", "no row of tbl/fail.h"), ("draining", "neither"),
                      ("none : tests/e2e/none.py:test_x", "no test_x in")):
      with self.subTest(row=row):
        found = [x for x in self.planted(check_fails.check, path, row + "\n") if says in x]
        self.assertFound(found, path, says)
    found = self.planted(check_fails.check, "include/aigw/tbl/fail.h", 'FAIL(fresh_fail, 503, "server_error", YES, "Sentence.")\n')
    self.assertFound(found, "include/aigw/tbl/fail.h", "which test produces fresh_fail")
    table = "include/aigw/tbl/admin_errors.h"
    self.assertFound(self.planted(check_fails.check, table, 'ADMIN_ERROR(fresh_error, 503, admin, NO, "Sentence.")\n'), table, "which test produces fresh_error")
    table = "include/aigw/tbl/admin_api.h"
    row = 'API(fresh, "GET", "/api/v1/fresh", 200, "Doc.", "", "", "conflict no_such_code")\n'
    self.assertFound(self.planted(check_fails.check, table, row), table, "no_such_code is no row")

  def test_a_test_that_names_another(self):
    text = "class C:\n  def test_a(self):\n    x = 1\n    expect('spool_full')\n\n  def test_b(self):\n    expect(\"draining\")\n"
    self.assertNotIn('"draining"', check_fails.body_of(text, "test_a"))
    self.assertIn('"draining"', check_fails.body_of(text, "test_b"))
    self.assertIsNone(check_fails.body_of(text, "test_c"))


class Rules(Planted):
  def test_a_metric_that_is_none(self):
    found = self.planted(check_rules.check, check_rules.RULES, "      - alert: X\n        expr: aigw_requestz_total > 1\n")
    self.assertFound(found, check_rules.RULES, "no metric aigw_requestz_total")
    found = self.planted(check_rules.check, check_rules.DASHBOARD, '"aigw_nothing_total"\n')
    self.assertFound(found[:1], check_rules.DASHBOARD, "no metric aigw_nothing_total")
    self.assertFound(found[1:], check_rules.DASHBOARD, "Extra data")  # it is no JSON any more


class Events(Planted):
  def test_both_ways(self):
    self.assertFound(self.planted(check_events.check, "agentd/main.c", '\nvoid x(void)\n{\n\tlog_event(LOG_INFO, "agent", "agent.fresh", "");\n}\n'),
                     "agentd/main.c", "agent.fresh")
    self.assertFound(self.planted(check_events.check, "agentd/main.c", '\nvoid x(const char *e)\n{\n\tlog_event(LOG_INFO, "agent", e, "");\n}\n'),
                     "agentd/main.c", "has to stand in the call")
    table = "include/aigw/tbl/log_events.h"
    self.assertFound(self.planted(check_events.check, table, f'LOG_EVENT("agent.fresh", "{"a" * 32}", "Doc.", "Remedy.")\n'), table, "no program logs it")
    found = self.planted(check_events.check, table, 'LOG_EVENT("agent.fresh", "12", "Doc.", "Remedy.")\n')
    self.assertIn("32 hexadecimal digits", found[0])


class Words(Planted):
  def test_each_is_named(self):
    for path, text, says in (
        ("agentd/fresh.c", "/* TO" + "DO: more */\n", "open an issue"),
        ("agentd/fresh.md", "see /ho" + "me/ann/aigw\n", "one machine's"),
        ("agentd/fresh.py", "p = '.." + "/shared'\n", "one machine's"),
        ("tests/package.json", '"https://registry.' + 'example.org/x.tgz"\n', "one machine's"),
        ("agentd/fresh.c", "int x; \n", "white space"),
        ("agentd/fresh.c", "int x;\r\n", "carriage return"),
        ("agentd/fresh.c", "int x;", "no newline")):
      with self.subTest(text=text):
        found = self.planted(check_words.check, path, text)
        self.assertGreaterEqual(len(found), 1)
        self.assertIn(says, " ".join(found))
        self.assertTrue(found[0].startswith(path))


class Docs(Planted):
  def test_a_setting_without_its_text_in_the_page_is_named(self):
    found = self.planted(check_docs.check, "include/aigw/tbl/agent_config.h",
                         'CONFIG(STR, fresh_setting, "", 0, 0, "", false, "Sentence.")\n')
    self.assertFound(found, "agentd/aigw-agentd.yaml.5", "./dev fmt")


class Tidy(unittest.TestCase):
  def test_known_findings_may_only_get_fewer(self):
    known = {"a.c:bugprone-x": 2, "b.c:bugprone-x": 1}
    self.assertEqual(list(tidy.judge("a.c", {"bugprone-x": 2}, known)), [])
    self.assertEqual(list(tidy.judge("a.c", {"bugprone-x": 3}, known)), ["a.c:bugprone-x: 3 findings, 2 are known"])
    self.assertEqual(list(tidy.judge("a.c", {"bugprone-x": 1}, known)), ["tests/lint/tidy: a.c:bugprone-x: now 1, lower it"])
    self.assertEqual(list(tidy.judge("b.c", {}, known)), ["tests/lint/tidy: b.c:bugprone-x: strike it"])
    self.assertEqual(list(tidy.judge("c.c", {"cert-y": 1}, known)), ["c.c:cert-y: 1 findings, 0 are known"])

  def test_findings_are_read_from_its_output(self):
    text = ("../x/a.c:12:3: error: Null pointer [clang-analyzer-core.NullDereference,-warnings-as-errors]\n"
            "../x/a.c:10:3: note: here\n../x/b.h:1:1: warning: two names [bugprone-x]\n")
    self.assertEqual([c for _, c in tidy.FINDING.findall(text)], ["clang-analyzer-core.NullDereference", "bugprone-x"])


class Tally(unittest.TestCase):
  CASES = (
    # result, output, [passed, failed, skipped]
    ("OK", "", [1, 0, 0]),
    ("FAIL", "", [0, 1, 0]),
    ("TIMEOUT", "", [0, 1, 0]),
    ("SKIP", "no /dev/fuse", [0, 0, 1]),
    ("OK", "[==========] Running 2 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[  SKIPPED ] b\n"
     "[==========] 2 test(s) run.\n[  PASSED  ] 1 test(s).\n", [1, 0, 1]),
    ("FAIL", "[==========] Running 2 test(s).\n[       OK ] a\n[  FAILED  ] b\n[==========] 2 test(s) run.\n"
     "[  PASSED  ] 1 test(s).\n[  FAILED  ] tests: 1 test(s), listed below:\n[  FAILED  ] b\n", [1, 1, 0]),
    ("FAIL", "[==========] Running 3 test(s).\n[       OK ] a\n", [1, 1, 0]),
    ("OK", "....\nRan 4 tests in 0.1s\n\nOK (skipped=1)\n", [3, 0, 1]),
    ("FAIL", "Ran 4 tests in 0.1s\n\nFAILED (failures=1, errors=1, skipped=1)\n", [1, 2, 1]),
    ("OK", "TAP version 13\n1..3\nok 1 - a\nok 2 - b # SKIP no such thing\nnot ok 3 - c # Todo later\n", [1, 0, 2]),
    ("FAIL", "1..2\nok 1\nnot ok 2 - b\n", [1, 1, 0]),
    ("FAIL", "Ran 2 tests in 0.1s\n\nOK\n==1==ERROR: LeakSanitizer\n", [2, 1, 0]),
  )

  def test_each_kind_of_program(self):
    for result, output, want in self.CASES:
      with self.subTest(output=output):
        self.assertEqual(tally.count({"result": result, "stdout": "", "stderr": output}), want)


class Reader(unittest.TestCase):
  def test_functions(self):
    s = Source("x.c", "struct a {\n\tint b;\n};\n\nstatic int one(int a)\n{\n}\n\nconst struct b *\ntwo(\n\tint a,\n\tint b)\n{\n"
               "\tif (a) {\n\t}\n}\n\nstatic const int t[] =\n{\n\t1,\n};\nvoid three(void) PRINTF_LIKE(1, 2);\n")
    self.assertEqual([(f.name, f.first, f.last) for f in s.functions], [("one", 5, 7), ("two", 9, 16)])
    self.assertEqual([s.function_at(n) for n in (2, 6, 14, 18)], ["", "one", "two", ""])

  def test_comments_and_strings(self):
    s = Source("x.c", 'f("/* a */ \\" b"); /* g("c") */ h(\'"\', "d"); // e\n')
    self.assertEqual(s.plain.split(), ['f("', '");', "h('", "',", '"', '");'])
    self.assertEqual(len(s.plain), len(s.text))
    self.assertIn('"/* a */ \\" b"', s.code)


if __name__ == "__main__":
  unittest.main()
