"""Measures that compare two states of aigw in interleaved pairs: this build with an older one, and the
agent with and without readers of its stats mount, or slow clients. Records go to Bench.results like all others."""
import json
import os
import subprocess
import sys

from measures import RATE, SHAPES, Started, line_read, load_run, load_start, rotated, times
from procs import Child, Failed, LIBC, PR_SET_PDEATHSIG, free_port, wait_until
from targets import Aigw, Place

READ_STREAMS = 200
# What people do with the mount, over and over; each turn reads every file.
READERS = r'''
while :; do
	cat "$1"/stat "$1"/summary "$1"/latency "$1"/inflight
	grep -r requests "$1" --exclude=events
	awk '/^requests/ { n += $2 } END { print n }' "$1"/models/*/stat
	find "$1" -type f -name stat
	rm -rf "$2" && mkdir "$2" && cp "$1"/stat "$1"/models/*/latency "$2"
	echo turn >>"$3"
done >/dev/null 2>&1
'''


class Readers:
  """Reads the mount at the lowest priority on the load's core: what they do to the agent is measured,
  and not what they take from the load."""

  def __init__(self, bench, mount):
    self.bench, self.mount, self.popen = bench, mount, None
    self.turns_file = os.path.join(bench.place.run_dir, "reader-turns")

  def __enter__(self):
    def prepare():
      LIBC.prctl(PR_SET_PDEATHSIG, 9)
      os.sched_setaffinity(0, self.bench.place.load_cpus)
      os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
      os.setpgid(0, 0)

    open(self.turns_file, "w", encoding="utf-8").close()
    self.popen = subprocess.Popen(["sh", "-c", READERS, "readers", self.mount, os.path.join(
      self.bench.place.run_dir, "copied"), self.turns_file], preexec_fn=prepare, stdin=subprocess.DEVNULL)
    return self

  def turns(self):
    return os.path.getsize(self.turns_file) // len("turn\n")

  def __exit__(self, *_):
    os.killpg(self.popen.pid, 9)
    self.popen.wait()


def measure_readers(bench):
  """p99 of calls at a fixed rate while 200 streams run, with and without readers of the mount."""
  if "aigw" not in bench.set.targets:
    return
  mount = os.path.join(bench.place.run_dir, "stats")
  target = Aigw("aigw", bench.place, bench.upstream, stats=mount)
  with Started([target]):
    try:
      wait_until("the stats mount", lambda: os.path.exists(f"{mount}/stat"), 10, target.child)
    except Failed as e:
      print(f"# {e}: `readers` left out", file=sys.stderr)
      return
    held = load_start(bench, target, ["--hold", "--conns", READ_STREAMS, "--rate", 1000, "--model", "mock-held"],
                      stdin=subprocess.PIPE)
    try:
      if not line_read(held, 60):
        raise Failed(f"{READ_STREAMS} streams do not come to stand")
      for rep in range(bench.set.pairs):
        for reading in rotated([False, True], rep):
          pair_run(bench, target, mount, rep, reading)
      held.popen.communicate(timeout=60)
    finally:
      held.stop()


def pair_run(bench, target, mount, rep, reading):
  args = ["--rate", RATE // 2, "--conns", 128, "--size", 1024, *times(bench)]
  if not reading:
    bench.add("readers", rep=rep, reading=False, turns=0, **load_run(bench, target, args))
    return
  with Readers(bench, mount) as readers:
    wait_until("the readers", lambda: readers.turns() > 0, 60)
    before = readers.turns()
    got = load_run(bench, target, args)
    bench.add("readers", rep=rep, reading=True, turns=readers.turns() - before, **got)


class Slow:
  """slow.py at the lowest priority on the load's core."""

  def __init__(self, bench, target, provider):
    self.bench, self.count = bench, bench.set.slow
    argv = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow.py"), "--idle", "--to", target.to.rsplit(":", 1)[1],
            "--provider", str(provider), "--key", target.headers["Authorization"].removeprefix("Bearer "), "--readers", str(self.count), "--senders", str(self.count)]
    self.child = Child(argv, bench.place.load_cpus, bench.place.log("slow"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

  def __enter__(self):
    if line_read(self.child, 120).strip() != "ready":
      self.child.stop()
      raise Failed(f"{self.count} slow readers and senders do not come to stand, see {self.bench.place.log('slow')}")
    return self

  def ended(self):
    text, _ = self.child.popen.communicate(timeout=60)
    return json.loads(text.strip().splitlines()[-1])["ended"]

  def __exit__(self, *_):
    self.child.stop()


def measure_slow(bench):
  """p99 of 100 clients at a fixed rate, with and without so many who read and send slowly, and what those hold."""
  if "aigw" not in bench.set.targets:
    return
  target = Aigw("aigw", bench.place, bench.upstream)
  provider = free_port()
  target.others = {"large": provider}
  target.clients = 2 * bench.set.slow + 1000  # a sender never comes to need one upstream
  with Started([target]):
    idle = target.anonymous_kib()
    for rep in range(bench.set.pairs):
      for slow in rotated([False, True], rep):
        slow_run(bench, target, provider, rep, slow, idle)


def slow_run(bench, target, provider, rep, slow, idle):
  args = ["--rate", RATE // 2, "--conns", 100, "--size", 1024, *times(bench)]
  if not slow:
    bench.add("slow", rep=rep, slow=False, count=0, kib=0.0, ended=0, **load_run(bench, target, args))
    return
  with Slow(bench, target, provider) as clients:
    got = load_run(bench, target, args)
    kib = (target.anonymous_kib() - idle) / (2 * clients.count)
    bench.add("slow", rep=rep, slow=True, count=clients.count, kib=kib, ended=clients.ended(), **got)
  wait_until("the slow clients are gone", lambda: descriptors(target.child.pid) < 1000, 60)


def descriptors(pid):
  return len(os.listdir(f"/proc/{pid}/fd"))


def measure_against(bench):
  """CPU per call of this build and of an older one (--against), in interleaved pairs."""
  if not bench.set.against:
    return
  old = Place(bench.set.against, bench.place.run_dir, bench.place.state_dir, bench.place.load_cpus,
              bench.place.target_cpus)
  for rep in range(bench.set.pairs):
    # anew each time: nobody takes their usage records away, and the stores must not fill up
    with Started([Aigw("aigw", bench.place, bench.upstream), Aigw("aigw-old", old, bench.upstream)]) as pair:
      for shape, args in SHAPES.items():
        for t in rotated(pair, rep):
          bench.add("against", target=t.name, shape=shape, rep=rep, **load_run(bench, t, [*args, *times(bench)]))


PAIRS = {"readers": measure_readers, "slow": measure_slow, "against": measure_against}
