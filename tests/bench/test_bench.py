"""Is the benchmark's own arithmetic right? No run here is timed, and no speed is judged.

usage: test_bench.py BUILD_DIR
"""
import copy
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import figures
import procs
import report
import targets

BUILD = sys.argv.pop(1) if len(sys.argv) > 1 else "."
CPUS = os.sched_getaffinity(0)


class Statistics(unittest.TestCase):
  def test_median_leaves_out_what_is_missing(self):
    for values, want in (([], None), ([None], None), ([3], 3), ([3, None, 1], 2), ([5, 1, 9], 5)):
      self.assertEqual(figures.median(values), want)

  def test_percentile_is_nearest_rank(self):
    for permille, want in ((0, 1), (10, 1), (11, 2), (500, 50), (990, 99), (991, 100), (1000, 100)):
      self.assertEqual(figures.percentile(range(1, 101), permille), want)
    self.assertIsNone(figures.percentile([], 500))
    self.assertEqual(figures.percentile([7], 990), 7)

  def test_mean_interval(self):
    self.assertIsNone(figures.mean_interval([4.2]))
    self.assertEqual(figures.mean_interval([2, 2, 2]), (2, 2, 2))
    mean, low, high = figures.mean_interval([1, 2, 3, 4, 5])  # s = 1.5811, t(4) = 2.776: +- 1.963
    self.assertAlmostEqual(mean, 3)
    self.assertAlmostEqual(low, 1.0371, 3)
    self.assertAlmostEqual(high, 4.9629, 3)

  def test_many_values_use_the_normal_distribution(self):
    values = [0, 1] * 200
    _, low, high = figures.mean_interval(values)
    self.assertAlmostEqual(high - low, 2 * 1.96 * 0.50063 / 20, 3)

  def test_ratio_of_pairs_that_agree_has_no_width(self):
    for interval in (figures.ratio_log_t, figures.ratio_bootstrap):
      for got in interval([(2, 1), (4, 2), (20, 10)]):
        self.assertAlmostEqual(got, 2)

  def test_ratio_log_t(self):
    # logarithms of 0.5, 1, 2: mean 0, s = ln 2, t(2) = 4.303
    ratio, low, high = figures.ratio_log_t([(1, 2), (1, 1), (2, 1)])
    half = 4.303 * math.log(2) / math.sqrt(3)
    self.assertAlmostEqual(ratio, 1)
    self.assertAlmostEqual(low, math.exp(-half), 3)
    self.assertAlmostEqual(high, math.exp(half), 3)

  def test_ratio_without_a_logarithm_takes_the_bootstrap(self):
    pairs = [(-1, 10), (12, 10), (11, 10), (10, 10)]
    self.assertIsNone(figures.ratio_log_t(pairs))
    got, how = figures.ratio_interval(pairs)
    self.assertEqual(how, "bootstrap")
    self.assertAlmostEqual(got[0], 0.8)
    self.assertLess(got[1], got[0])
    self.assertGreater(got[2], got[0])
    self.assertEqual(got, figures.ratio_bootstrap(pairs))  # the same draw every time

  def test_one_pair_or_no_floor_is_no_interval(self):
    for pairs in ([], [(1, 2)], [(1, -1), (1, -2)], [(1, 1), (1, -2)]):
      self.assertIsNone(figures.ratio_interval(pairs)[0])

  def test_cost_and_share(self):
    self.assertAlmostEqual(figures.cpu_us_per_call(1.5, 100000), 15)
    self.assertIsNone(figures.cpu_us_per_call(1.5, 0))
    for share, want in ((None, False), (0.949, False), (0.95, True), (1.0, True)):
      self.assertEqual(figures.is_saturated(share), want)
    self.assertEqual(figures.kib_each(1000, 6000, 5000), 1)
    self.assertIsNone(figures.kib_each(1, 2, 0))


class Accounting(unittest.TestCase):
  STAT = "42 (a) (b c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 77 0 0"

  def test_stat_survives_any_program_name(self):
    self.assertEqual(procs.stat_parent(self.STAT), 7)
    self.assertAlmostEqual(procs.stat_cpu_seconds(self.STAT, hz=100), 2.0)

  def test_page_faults(self):
    self.assertEqual(procs.stat_minor_faults(self.STAT), 1)
    before = procs.minor_faults(os.getpid())
    kept = bytearray(os.urandom(1 << 20)) * 32
    self.assertGreater(procs.minor_faults(os.getpid()), before)
    del kept

  def test_rollup(self):
    text = "55d0-7ffe ---p 0 00:00 0 [rollup]\nRss:  900 kB\nAnonymous:       123 kB\nLazyFree:  5 kB\n"
    self.assertEqual(procs.rollup_kib(text, "Anonymous"), 123)
    self.assertIsNone(procs.rollup_kib(text, "Swap"))

  def test_busy_is_all_but_idle_and_waiting(self):
    self.assertAlmostEqual(procs.busy_seconds("cpu 100 20 30 4000 500 6 7 8 0 0\ncpu0 1", hz=100), 1.71)

  def test_family_is_children_of_children_too(self):
    self.assertEqual(procs.family(1, {2: 1, 3: 2, 4: 9, 9: 8, 1: 0}), {1, 2, 3})

  def test_cpu_of_a_process_grows_with_its_work(self):
    before, own = procs.cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.1:
      pass
    self.assertGreaterEqual(procs.cpu_seconds(os.getpid()) - before, 0.1 - 2 / procs.HZ)

  def test_memory_is_seen(self):
    before = procs.anonymous_kib(os.getpid())
    kept = bytearray(os.urandom(1 << 20)) * 32
    self.assertGreaterEqual(procs.anonymous_kib(os.getpid()) - before, 30 * 1024)
    del kept

  def test_synced_writes_leave_nothing(self):
    with tempfile.TemporaryDirectory() as folder:
      self.assertEqual(len(procs.sync_us(folder, 5)), 5)
      self.assertEqual(os.listdir(folder), [])

  def test_file_system_of_a_memory_folder(self):
    self.assertEqual(procs.filesystem("/proc/self"), "proc")


def good_run():
  """Records in which every floor holds, some only just."""
  calls = [dict(target=t, shape=s, rep=r, cpu_us=cpu, calls_per_s=5e4, core=0.99, faults=0.0, p50=1.0, p99=2.0, opened=0,
                failures=0, others=0.0)
           for r in range(3)
           for s, costs in {"1 KB": (10.0, 10.0), "32 KB": (20.0, 14.0), "50-event stream": (40.0, 20.0)}.items()
           for t, cpu in zip(("nginx", "aigw"), costs)]
  latency = [dict(target=t, rep=r, p50=50.0, p90=60.0, p99=p99 + r, p999=900.0, cpu_us=50.0, failures=0, others=0.0)
             for r in range(9) for t, p99 in (("direct", 100.0), ("relay", 200.0), ("nginx", 220.0), ("aigw", 219.0))]
  held = [dict(target="aigw", upstream=kind, streams=5000, held=5000, idle_kib=8191, held_kib=8191 + 5000 * each,
               cpu_us_event=None, delay_p50=1.0, delay_p99=2.0, left=0) for kind, each in (("plain", 3), ("tls", 48))]
  strict = [dict(durability=d, shape=s, rep=r, p50=100.0 + h50, p99=200.0 + h99, hold_p50=h50, hold_p99=h99,
                 first_p50=90.0, first_p99=190.0, failures=0)
            for r in range(3) for s in ("1 KB", "50-event stream")
            for d, h50, h99 in (("relaxed", 0.0, 0.0), ("strict", 500.0, 1500.0))]
  common = dict(failures=0, others=0.0)
  readers = [dict(rep=r, reading=on, turns=7 * on, p99=115.0 if on else 100.0, **common)
             for r in range(9) for on in (False, True)]
  slow = [dict(rep=r, slow=on, count=5000 * on, kib=64.0 * on, p99=115.0 if on else 100.0, **common)
          for r in range(9) for on in (False, True)]
  against = [dict(target=t, shape=s, rep=r, cpu_us=cpu, **common)
             for r in range(9) for s in report.CPU_FLOORS for t, cpu in (("aigw", 10.5), ("aigw-old", 10.0))]
  return {"calls": calls, "latency": latency, "held": held, "strict": strict, "readers": readers, "slow": slow, "against": against,
          "sync": [dict(rep=r, p50=100.0, p99=300.0) for r in range(3)]}


def spoil(results, measure, changes, **which):
  out = copy.deepcopy(results)
  for record in report.pick(out[measure], **which):
    for field, change in changes.items():
      record[field] = change(record[field])
  return out


class Verdicts(unittest.TestCase):
  def test_good_run_passes_every_floor(self):
    got = report.floors(good_run())
    self.assertEqual([f for f in got if f[3] != "PASS"], [])
    self.assertEqual(len(got), 19)

  def test_each_floor_fails_alone(self):
    aigw = {"target": "aigw"}
    cases = [
      ("CPU per call to nginx, 1 KB", "calls", {"cpu_us": lambda v: v * 1.01}, {**aigw, "shape": "1 KB"}),
      ("CPU per call to nginx, 32 KB", "calls", {"cpu_us": lambda v: v * 1.01}, {**aigw, "shape": "32 KB"}),
      ("CPU per call to nginx, 50-event stream", "calls", {"cpu_us": lambda v: v * 1.01},
       {**aigw, "shape": "50-event stream"}),
      ("added p99 at 2,000/s to relay", "latency", {"p99": lambda v: v + 5}, aigw),
      ("KiB per held stream, plain upstream", "held", {"held_kib": lambda v: v + 500}, {"upstream": "plain"}),
      ("KiB per held stream, tls upstream", "held", {"held_kib": lambda v: v + 500}, {"upstream": "tls"}),
      ("KiB anonymous when idle", "held", {"idle_kib": lambda v: v + 1, "held_kib": lambda v: v + 1},
       {"upstream": "plain"}),
      ("strict, end held at p50, synced writes, 1 KB", "strict", {"p50": lambda v: v + 1},
       {"durability": "strict", "shape": "1 KB"}),
      ("strict, end held at p99, synced writes, 50-event stream", "strict", {"p99": lambda v: v + 1},
       {"durability": "strict", "shape": "50-event stream"}),
      ("strict, first token later at p50", "strict", {"first_p50": lambda v: v + 26},
       {"durability": "strict", "shape": "50-event stream"}),
      ("p99 with readers of the mount", "readers", {"p99": lambda v: v * 1.01}, {"reading": True}),
      ("p99 beside slow clients", "slow", {"p99": lambda v: v * 1.01}, {"slow": True}),
      ("KiB per slow client", "slow", {"kib": lambda v: v + 1}, {"slow": True}),
      ("CPU per call to the older build, 32 KB", "against", {"cpu_us": lambda v: v * 1.01}, {**aigw, "shape": "32 KB"}),
      ("calls that failed, all targets", "calls", {"failures": lambda v: v + 1}, {"target": "nginx"}),
      ("calls that failed, all targets", "held", {"held": lambda v: v - 1, "held_kib": lambda v: v - 96},
       {"target": "aigw"}),
    ]
    for name, measure, changes, which in cases:
      with self.subTest(name):
        got = report.failed(spoil(good_run(), measure, changes, **which))
        self.assertEqual([f[0] for f in got], [name])

  def test_one_disturbed_rotation_does_not_fail(self):
    wide = spoil(good_run(), "latency", {"p99": lambda v: v + 150}, target="aigw", rep=4)
    ratio, low, _ = report.ratio_interval(report.p99_pairs(wide))[0]
    self.assertGreater(ratio, report.P99_FLOOR)
    self.assertLess(low, report.P99_FLOOR)
    self.assertEqual(report.failed(wide), [])

  def test_what_was_not_measured_is_not_passed(self):
    self.assertEqual({f[3] for f in report.floors({})}, {"not measured"})

  def test_report_says_when_a_core_was_not_full(self):
    run = {"meta": {"quick": False}, "results": spoil(good_run(), "calls", {"core": lambda v: 0.94}, target="nginx")}
    rows = [line for line in report.render(run).splitlines() if line.startswith(("| nginx | 10.00", "| aigw | 10.00"))]
    self.assertEqual([r.split(" | ")[6] for r in rows], ["no", "yes"])

  def test_report_shows_page_faults_and_every_shape(self):
    run = spoil(good_run(), "calls", {"faults": lambda v: v + 8.23}, target="nginx", shape="32 KB")
    run["calls"] += [dict(r, shape="256 KB", target="nginx-kept") for r in report.pick(run["calls"], target="nginx", shape="1 KB")]
    text = report.render({"meta": {}, "results": run})
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| nginx")]
    self.assertEqual([(r[0], r[7]) for r in rows if len(r) == 13],
                     [("| nginx", "0.00"), ("| nginx", "8.23"), ("| nginx", "0.00"), ("| nginx-kept", "0.00")])
    self.assertIn("### 256 KB: closed loop", text)
    self.assertEqual(len(report.floors(run)), 19)  # a shape without a floor has none

  def test_all_rotations_are_printed(self):
    text = report.render({"meta": {}, "results": good_run()})
    self.assertEqual(sum(line.startswith(f"| {n} | {n + 99} |") for n in range(1, 10) for line in text.splitlines()), 9)


class Programs(unittest.TestCase):
  """The three programs work together: what was asked for is what is counted."""

  def setUp(self):
    self.dir = tempfile.TemporaryDirectory()
    self.place = targets.Place(BUILD, self.dir.name, self.dir.name, CPUS, CPUS)
    self.upstream = targets.Upstream(self.place)
    self.upstream.start()
    self.relay = targets.Relay("relay", self.place, self.upstream)
    self.relay.start()

  def tearDown(self):
    self.relay.stop()
    self.upstream.stop()
    self.dir.cleanup()

  def load(self, *args, to=None):
    argv = [self.place.program("bench-load"), "--to", to or self.relay.to, *args]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout)

  def test_closed_loop_counts_every_call(self):
    before = self.upstream.stats()["requests"]
    got = self.load("--calls", "300", "--conns", "7", "--warm-ms", "0", "--size", "32768")
    self.assertEqual((got["ok"], got["latency"]["n"], got["errors"], got["unanswered"]), (300, 300, 0, 0))
    self.assertEqual(self.upstream.stats()["requests"] - before, 300)

  def test_streams_are_read_to_their_end(self):
    got = self.load("--calls", "20", "--conns", "2", "--warm-ms", "0", "--stream")
    self.assertEqual((got["ok"], got["incomplete"]), (20, 0))
    self.assertEqual((got["first_event"]["n"], got["event_delay"]["n"]), (20, 20 * 50))

  def test_open_loop_leaves_nothing_out(self):
    """An upstream that stands still: every call that was due counts, not only those that got through."""
    os.kill(self.upstream.child.pid, signal.SIGSTOP)
    try:
      got = self.load("--rate", "100", "--ms", "250", "--warm-ms", "0", "--conns", "4")
    finally:
      os.kill(self.upstream.child.pid, signal.SIGCONT)
    self.assertEqual((got["begun"], got["answered"], got["unanswered"]), (4, 0, 25))

  def test_other_status_is_a_failure(self):
    got = self.load("--calls", "3", "--conns", "1", "--warm-ms", "0", "--path", "/v1/nothing")
    self.assertEqual((got["ok"], got["bad_status"], got["first_bad_status"]), (0, 3, 404))

  def test_streams_are_held_until_told(self):
    argv = [self.place.program("bench-load"), "--to", self.relay.to, "--hold", "--conns", "30", "--size", "65536",
            "--model", "mock-held"]
    load = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with load:
      self.assertEqual(json.loads(load.stdout.readline()), {"held": 30})
      self.assertGreaterEqual(self.upstream.stats()["open"], 30)
      text, _ = load.communicate()
    self.assertEqual(json.loads(text)["ok"], 30)
    procs.wait_until("streams closed", lambda: self.upstream.stats()["open"] <= 2, 60)

  def test_load_goes_nowhere_but_to_loopback(self):
    for to in ("192.0.2.1:80", "example.com:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "unix:", ""):
      done = subprocess.run([self.place.program("bench-load"), "--to", to], capture_output=True, check=False)
      self.assertEqual(done.returncode, 2, to)


class Training(unittest.TestCase):
  """What ./dev release lets a build do between its two halves."""

  def train(self, *argv):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "train.py")
    return subprocess.run([sys.executable, script, *argv], capture_output=True, text=True, check=False)

  def test_each_shape_by_each_way(self):
    done = self.train(BUILD, "0.1")
    self.assertEqual((done.returncode, len(done.stderr.splitlines())), (0, 3 * 4), done.stderr)
    for line in done.stderr.splitlines():
      self.assertRegex(line, r"^# aigw(-unix|-tls)?, .*: [1-9][0-9]* calls/s$")

  def test_a_build_that_does_not_serve(self):
    with tempfile.TemporaryDirectory() as empty:
      done = self.train(empty)
    self.assertEqual(done.returncode, 2)
    self.assertIn("bench-upstream: not built in", done.stderr)


if __name__ == "__main__":
  unittest.main()
