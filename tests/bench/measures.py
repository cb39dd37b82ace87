"""The measurements. Each adds plain records to Bench.results, which report.py turns into tables."""
import json
import resource
import select
import subprocess
import sys
import time

from figures import core_share, cpu_us_per_call, percentile
from procs import Child, Failed, machine_busy_seconds, process_cpu_seconds, sync_us, wait_quiet
from targets import Aigw, AigwTls, AigwUnix, Direct, Nginx, NginxKept, Relay

OTHERS_LIMIT = 0.2  # of one core, used by programs that are not ours: the run is repeated
TRIES = 3
SHAPES = {  # of a call: arguments of bench-load
  "1 KB": ["--size", "1024"],
  "32 KB": ["--size", "32768"],
  "256 KB": ["--size", "262144"],
  "50-event stream": ["--size", "1024", "--stream"],
}
SHAPES_OF = {"aigw-unix": ["1 KB"], "nginx-kept": ["1 KB", "32 KB", "256 KB"]}  # of targets that do not take all
RATE = 2000
STRICT_RATE = 1000
PROMPT_BYTES = 65536
SYNCS = 200


class Bench:
  """A run: its place, its settings, its upstream, and the records so far."""

  def __init__(self, place, settings, upstream):
    self.place, self.set, self.upstream = place, settings, upstream
    self.results = {}

  def add(self, measure, **record):
    self.results.setdefault(measure, []).append(record)
    shown = " ".join(f"{k}={v:.2f}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items())
    print(f"# {measure}: {shown}", file=sys.stderr, flush=True)

  def targets(self, *wanted):
    """Those of `wanted` that this run has, not yet started."""
    made = {
      "direct": lambda: Direct("direct", self.place, self.upstream),
      "relay": lambda: Relay("relay", self.place, self.upstream),
      "nginx": lambda: Nginx("nginx", self.place, self.upstream),
      "aigw": lambda: Aigw("aigw", self.place, self.upstream, keep_controller=self.set.controller),
    }
    return [made[n]() for n in wanted if n in self.set.targets]


class Started:
  """Starts targets, and ends them whatever happens."""

  def __init__(self, targets):
    self.targets = targets

  def __enter__(self):
    try:
      for t in self.targets:
        t.start()
    except BaseException:
      self.__exit__()
      raise
    return self.targets

  def __exit__(self, *_):
    for t in reversed(self.targets):
      t.stop()


def rotated(items, i):
  i %= len(items) or 1
  return items[i:] + items[:i]


# ---- one run of the load

def load_start(bench, target, args, stdin=subprocess.DEVNULL):
  headers = [x for k, v in target.headers.items() for x in ("--header", f"{k}: {v}")]
  argv = [bench.place.program("bench-load"), "--to", target.to, *headers, *map(str, args)]
  return Child(argv, bench.place.load_cpus, bench.place.log("load"), stdin=stdin, stdout=subprocess.PIPE)


def load_result(bench, target, text, code):
  if code != 0 or not text.strip():
    raise Failed(f"bench-load against {target.name}: exit {code}, see {bench.place.log('load')}")
  return json.loads(text.strip().splitlines()[-1])


def failures(got):
  return got["errors"] + got["bad_status"] + got["incomplete"] + got["unanswered"]


def children_seconds():
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def load_once(bench, target, args):
  """What the load says, and what the call cost on the target's side."""
  def snapshot():
    return (target.cpu_seconds(), process_cpu_seconds(bench.upstream.child.pid), machine_busy_seconds(),
            children_seconds(), time.monotonic(), target.minor_faults(), bench.upstream.stats())

  before = snapshot()
  load = load_start(bench, target, args)
  try:
    text, _ = load.popen.communicate(timeout=bench.set.seconds + 60)
  except subprocess.TimeoutExpired:
    raise Failed(f"bench-load against {target.name} does not end") from None
  finally:
    load.stop()
  after = snapshot()
  got = load_result(bench, target, text, load.popen.returncode)
  cpu, feed, busy, own, wall, faults = (b - a for a, b in zip(before[:6], after[:6]))
  calls = after[6]["requests"] - before[6]["requests"]
  return {
    "calls_per_s": got["calls_per_s"],
    "cpu_us": cpu_us_per_call(cpu, calls) if target.child else None,
    "core": core_share(cpu, got["wall_s"]) if target.child else None,
    "faults": faults / calls if target.child and calls else None,
    "p50": got["latency"]["p50"], "p90": got["latency"]["p90"], "p99": got["latency"]["p99"],
    "p999": got["latency"]["p999"],
    "hold_p50": got["end_hold"]["p50"], "hold_p99": got["end_hold"]["p99"],
    "first_p50": got["first_event"]["p50"], "first_p99": got["first_event"]["p99"],
    "opened": after[6]["accepted"] - before[6]["accepted"],
    "failures": failures(got), "status": got["first_bad_status"],
    "others": max(0.0, busy - cpu - feed - own) / wall,
  }


def load_run(bench, target, args):
  """The least disturbed of up to TRIES runs."""
  best = None
  for _ in range(TRIES):
    wait_quiet(bench.set.patience)
    got = load_once(bench, target, args)
    if best is None or got["others"] < best["others"]:
      best = got
    if best["others"] < OTHERS_LIMIT or bench.set.quick:
      break
  return best


def times(bench):
  return ["--ms", int(bench.set.seconds * 1000), "--warm-ms", int(min(500, bench.set.seconds * 500))]


# ---- measures

def measure_calls(bench):
  """Closed loop on 64 connections: cost of a call and calls per second on one core."""
  for rep in range(bench.set.reps):
    # aigw anew each time: nobody takes its usage records away, and their store must not fill up
    targets = bench.targets("direct", "relay", "nginx", "aigw")
    targets += [AigwUnix(t) for t in targets if t.name == "aigw"]
    targets += [NginxKept("nginx-kept", bench.place, bench.upstream) for t in targets if t.name == "nginx"]
    with Started(targets):
      for shape, args in SHAPES.items():
        for t in rotated(targets, rep):
          if shape not in SHAPES_OF.get(t.name, SHAPES):
            continue
          bench.add("calls", target=t.name, shape=shape, rep=rep, **load_run(bench, t, [*args, *times(bench)]))


def measure_latency(bench):
  """Open loop at a fixed rate, every rotation visits all targets."""
  with Started(bench.targets("direct", "relay", "nginx", "aigw")) as targets:
    for rep in range(bench.set.pairs):
      for t in rotated(targets, rep):
        got = load_run(bench, t, ["--rate", RATE, "--conns", 128, "--size", 1024, *times(bench)])
        bench.add("latency", target=t.name, rep=rep, **got)


def line_read(load, limit_s):
  ready, _, _ = select.select([load.popen.stdout], [], [], limit_s)
  return load.popen.stdout.readline() if ready else ""


def hold(bench, target, upstream_kind):
  """Memory with many streams open, each begun by a large prompt, less what it was when idle."""
  time.sleep(1)
  idle_kib = target.anonymous_kib()
  open_before = bench.upstream.stats()["open"]
  load = load_start(bench, target, ["--hold", "--conns", bench.set.streams, "--rate", 1000, "--size", PROMPT_BYTES,
                                    "--model", "mock-held"], stdin=subprocess.PIPE)
  try:
    line = line_read(load, 60 + bench.set.streams / 100)
    if not line:
      raise Failed(f"{target.name}: {bench.set.streams} streams do not come to stand")
    time.sleep(bench.set.settle)
    held_kib = target.anonymous_kib()
    cpu, events = target.cpu_seconds(), bench.upstream.stats()["events"]
    time.sleep(bench.set.settle)
    cpu, events = target.cpu_seconds() - cpu, bench.upstream.stats()["events"] - events
    text, _ = load.popen.communicate(timeout=60)  # closes its stdin: that ends it
  finally:
    load.stop()
  got = load_result(bench, target, text, load.popen.returncode)
  left = None
  if upstream_kind == "plain":
    end = time.monotonic() + 10
    while (left := bench.upstream.stats()["open"] - open_before) > 1 and time.monotonic() < end:
      time.sleep(0.1)
  bench.add("held", target=target.name, upstream=upstream_kind, streams=bench.set.streams,
            held=json.loads(line)["held"], idle_kib=idle_kib, held_kib=held_kib,
            cpu_us_event=cpu_us_per_call(cpu, events) if upstream_kind == "plain" else None,
            delay_p50=got["event_delay"]["p50"], delay_p99=got["event_delay"]["p99"], left=left)


def measure_held(bench):
  for name in ("relay", "nginx", "aigw"):
    targets = bench.targets(name)
    if targets:
      with Started(targets):  # each fresh and alone
        hold(bench, targets[0], "plain")


def measure_tls(bench):
  if "aigw" in bench.set.targets:
    with Started([AigwTls("aigw", bench.place, bench.upstream)]) as targets:
      hold(bench, targets[0], "tls")


def measure_strict(bench):
  """What `durability: strict` adds to the end of an answer, and what one synced write costs here."""
  if "aigw" not in bench.set.targets:
    return
  pair = [Aigw("aigw-" + d, bench.place, bench.upstream, durability=d) for d in ("relaxed", "strict")]
  with Started(pair):
    for rep in range(bench.set.strict_reps):
      synced = sync_us(bench.place.state_dir, SYNCS)
      bench.add("sync", rep=rep, p50=percentile(synced, 500), p99=percentile(synced, 990))
      for shape in ("1 KB", "50-event stream"):
        for t in rotated(pair, rep):
          got = load_run(bench, t, ["--rate", STRICT_RATE, *SHAPES[shape], *times(bench)])
          bench.add("strict", durability=t.durability, shape=shape, rep=rep, **got)


MEASURES = {
  "calls": measure_calls,
  "latency": measure_latency,
  "held": measure_held,
  "tls": measure_tls,
  "strict": measure_strict,
}
