"""Measures that compare two states of aigw in interleaved pairs: this build with an older one, and the
agent with and without readers of its stats mount. Records go to Bench.results like all others."""
import os
import subprocess
import sys

from measures import RATE, SHAPES, Started, line_read, load_run, load_start, rotated, times
from procs import Failed, LIBC, PR_SET_PDEATHSIG, wait_until
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


PAIRS = {"readers": measure_readers, "against": measure_against}
