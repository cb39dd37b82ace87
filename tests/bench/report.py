"""Tables and verdicts from the records of a run. Pure: the same records give the same text."""
from figures import (SATURATED, is_saturated, kib_each, mean_interval, median, minus, ratio, ratio_bootstrap,
                     ratio_interval)

CPU_FLOORS = {"1 KB": 1.0, "32 KB": 0.7, "50-event stream": 0.5}  # times nginx
P99_FLOOR = 1.2  # times the relay's added p99
READERS_FLOOR = 1.15  # times the p99 without readers of the mount
SLOW_FLOOR = 1.15  # times the p99 without slow clients
SLOW_KIB = 64  # of each of them
AGAINST_FLOOR = 1.05  # times the older build's CPU per call
HELD_KIB = {"plain": 3, "tls": 48}
IDLE_KIB = 8 * 1024
HOLD_P50, HOLD_P99 = 5, 15  # times the median synced write
# A first token that waited for a commit would come later by one synced write at least.
FIRST_TOKEN = 0.25
TARGETS = ("direct", "relay", "nginx", "nginx-kept", "aigw", "aigw-unix")


def number(v, digits=1):
  return "-" if v is None else f"{v:,.{digits}f}"


def table(title, head, rows):
  lines = ["", f"### {title}", "", f"| {' | '.join(head)} |", f"|{'|'.join(['---'] + ['--:'] * (len(head) - 1))}|"]
  return lines + [f"| {' | '.join(row)} |" for row in rows]


def pick(records, **want):
  return [r for r in records if all(r.get(k) == v for k, v in want.items())]


def mid(records, field):
  return median([r[field] for r in records])


def names(records):
  have = {r["target"] for r in records}
  return [n for n in TARGETS if n in have]


def by_rep(records, field):
  return {r["rep"]: r[field] for r in records}


# ---- tables

def calls_tables(results):
  out, records = [], results.get("calls", [])
  for shape in dict.fromkeys(r["shape"] for r in records):
    rows = []
    nginx = mid(pick(records, shape=shape, target="nginx"), "cpu_us")
    relay = mid(pick(records, shape=shape, target="relay"), "cpu_us")
    for name in names(pick(records, shape=shape)):
      rs = pick(records, shape=shape, target=name)
      cpu, core = mid(rs, "cpu_us"), mid(rs, "core")
      limit = "-" if core is None else "yes" if is_saturated(core) else "no"
      rows.append([name, number(cpu, 2), number(ratio(cpu, nginx), 2), number(ratio(cpu, relay), 2),
                   number(mid(rs, "calls_per_s"), 0), number(100 * core if core is not None else None, 0), limit,
                   number(mid(rs, "faults"), 2), number(mid(rs, "p50"), 0), number(mid(rs, "p99"), 0),
                   number(mid(rs, "opened"), 0),
                   str(sum(r["failures"] for r in rs)), number(100 * max(r["others"] for r in rs), 0)])
    if rows:
      out += table(f"{shape}: closed loop, 64 connections",
                   ["target", "CPU us/call", "to nginx", "to relay", "calls/s", "core %", "saturated",
                    "page faults/call", "p50 us", "p99 us", "upstream opened", "failures", "others %"], rows)
  if out:
    out += ["", f"Calls/s is a target's own limit only where it is saturated (at least {SATURATED:.0%} of its core)."]
    if pick(records, target="nginx-kept"):
      out += ["", "nginx-kept is nginx whose heap never shrinks: without the page faults that a large call costs nginx",
              "as it is after small ones. Floors are of nginx as it is."]
  return out


def added(records, name, field):
  """Per rotation: the target's figure less the median of direct's. Not direct's of the same rotation:
  they run seconds apart, so its disturbances say nothing about the target's."""
  direct = mid(pick(records, target="direct"), field)
  return {rep: minus(v, direct) for rep, v in by_rep(pick(records, target=name), field).items()}


def p99_pairs(results):
  """[(aigw's added p99, relay's)] of the rotations that have both."""
  records = results.get("latency", [])
  ours, floor = added(records, "aigw", "p99"), added(records, "relay", "p99")
  return [(ours[r], floor[r]) for r in sorted(ours) if ours[r] is not None and floor.get(r) is not None]


def latency_tables(results):
  records = results.get("latency", [])
  if not records:
    return []
  rows = []
  for name in names(records):
    rs = pick(records, target=name)
    more = [median(added(records, name, f).values()) if name != "direct" else None for f in ("p50", "p99")]
    rows.append([name, *(number(mid(rs, f), 0) for f in ("p50", "p90", "p99", "p999")), *(number(v, 0) for v in more),
                 number(mid(rs, "cpu_us"), 1), str(sum(r["failures"] for r in rs)),
                 number(100 * max(r["others"] for r in rs), 0)])
  out = table("2,000 calls/s, 1 KB: latency from the scheduled instant, us, medians of the rotations",
              ["target", "p50", "p90", "p99", "p99.9", "added p50", "added p99", "CPU us/call", "failures", "others %"],
              rows)
  rows = []
  ours, floor = added(records, "aigw", "p99"), added(records, "relay", "p99")
  for rep in sorted({r["rep"] for r in records}):
    p99 = [by_rep(pick(records, target=n), "p99").get(rep) for n in ("direct", "relay", "nginx", "aigw")]
    rows.append([str(rep + 1), *(number(v, 0) for v in p99), number(floor.get(rep), 0), number(ours.get(rep), 0),
                 number(ratio(ours.get(rep), floor.get(rep)), 2)])
  out += table("the same, p99 of each rotation, us",
               ["rotation", "direct", "relay", "nginx", "aigw", "relay adds", "aigw adds", "ratio"], rows)
  pairs = p99_pairs(results)
  interval, how = ratio_interval(pairs)
  if interval:
    out += ["", f"Added p99, aigw to relay, {len(pairs)} pairs: {interval_text(interval)} ({how}); "
                f"bootstrap of the sums: {interval_text(ratio_bootstrap(pairs))}."]
  return out


def interval_text(interval):
  if not interval:
    return "no interval"
  return f"{interval[0]:.2f}, 95 % interval {interval[1]:.2f} to {interval[2]:.2f}"


def held_each(record):
  return kib_each(record["idle_kib"], record["held_kib"], record["held"])


def held_table(results):
  rows = [[r["target"], r["upstream"], f"{r['held']} of {r['streams']}", number(r["idle_kib"] / 1024, 2),
           number(r["held_kib"] / 1024, 2), number(held_each(r), 2), number(r["cpu_us_event"], 1),
           number(r["delay_p50"], 0), number(r["delay_p99"], 0), "-" if r["left"] is None else str(max(0, r["left"]))]
          for r in results.get("held", [])]
  if not rows:
    return []
  return table("held streams, each begun by a 64 KB prompt: anonymous memory",
               ["target", "upstream", "held", "idle MiB", "MiB", "KiB/stream", "CPU us/event", "event p50 us",
                "event p99 us", "upstreams left open"], rows)


def strict_pairs(results, shape, field):
  """Per repetition: strict less relaxed."""
  records = pick(results.get("strict", []), shape=shape)
  relaxed = by_rep(pick(records, durability="relaxed"), field)
  return [minus(v, relaxed[rep]) for rep, v in by_rep(pick(records, durability="strict"), field).items()
          if rep in relaxed]


def strict_tables(results):
  records, sync = results.get("strict", []), mid(results.get("sync", []), "p50")
  if not records:
    return []
  rows = []
  for shape in ("1 KB", "50-event stream"):
    for durability in ("relaxed", "strict"):
      rs = pick(records, shape=shape, durability=durability)
      rows.append([f"{shape}, {durability}", *(number(mid(rs, f), 0) for f in
                   ("p50", "p99", "hold_p50", "hold_p99", "first_p50", "first_p99")),
                   str(sum(r["failures"] for r in rs))])
    rows.append([f"{shape}, strict adds", *(number(median(strict_pairs(results, shape, f)), 0) for f in
                 ("p50", "p99", "hold_p50", "hold_p99", "first_p50", "first_p99")), "-"])
  out = table("1,000 completions/s: until the answer's end, us, medians of the repetitions",
              ["call", "p50", "p99", "end after the rest p50", "p99", "first token p50", "p99", "failures"], rows)
  return out + ["", f"4 KiB append + fdatasync in the same run and folder: median {number(sync, 0)} us, "
                    f"p99 {number(mid(results['sync'], 'p99'), 0)} us."]


def reader_pairs(results):
  """[(p99 with readers, without)]"""
  records = results.get("readers", [])
  having, lacking = (by_rep(pick(records, reading=r), "p99") for r in (True, False))
  return [(having[r], lacking[r]) for r in sorted(having) if r in lacking]


def slow_pairs(results):
  """[(p99 with slow clients, without)]"""
  records = results.get("slow", [])
  having, lacking = (by_rep(pick(records, slow=s), "p99") for s in (True, False))
  return [(having[r], lacking[r]) for r in sorted(having) if r in lacking]


def against_pairs(results, shape):
  """[(CPU per call of this build, of the older one)]"""
  records = pick(results.get("against", []), shape=shape)
  ours, old = (by_rep(pick(records, target=t), "cpu_us") for t in ("aigw", "aigw-old"))
  return [(ours[r], old[r]) for r in sorted(ours) if r in old]


def pair_tables(results):
  out = []
  if results.get("readers"):
    turns = mid(pick(results["readers"], reading=True), "turns")
    out += table(f"1,000 calls/s beside 200 streams: p99, us; readers went through the mount {number(turns, 0)} times a run",
                 ["pair", "with readers", "without", "ratio"],
                 [[str(i + 1), number(a, 0), number(b, 0), number(ratio(a, b), 2)]
                  for i, (a, b) in enumerate(reader_pairs(results))])
  if results.get("slow"):
    beside = pick(results["slow"], slow=True)
    out += table(f"1,000 calls/s of 100 clients beside {number(mid(beside, 'count'), 0)} slow readers and as many slow senders, who hold "
                 f"{number(mid(beside, 'kib'), 1)} KiB each: p99, us", ["pair", "beside them", "without", "ratio"],
                 [[str(i + 1), number(a, 0), number(b, 0), number(ratio(a, b), 2)] for i, (a, b) in enumerate(slow_pairs(results))])
  for shape in CPU_FLOORS if results.get("against") else ():
    out += table(f"{shape}: CPU us per call of this build and the older one", ["pair", "this", "older", "ratio"],
                 [[str(i + 1), number(a, 2), number(b, 2), number(ratio(a, b), 3)]
                  for i, (a, b) in enumerate(against_pairs(results, shape))])
  return out


# ---- verdicts

def floor(name, got, limit, good, digits=2):
  """(name, measured, floor, PASS | FAIL | not measured)"""
  verdict = "not measured" if got is None else "PASS" if good else "FAIL"
  return [name, number(got, digits) if not isinstance(got, str) else got, limit, verdict]


def at_most(name, got, limit, unit=""):
  return floor(name, got, f"at most {limit:g}{unit}", got is not None and got <= limit)


def cpu_floors(results):
  records, out = results.get("calls", []), []
  for shape, limit in CPU_FLOORS.items():
    ours, nginx = (mid(pick(records, shape=shape, target=n), "cpu_us") for n in ("aigw", "nginx"))
    out.append(at_most(f"CPU per call to nginx, {shape}", ratio(ours, nginx), limit))
  return out


def interval_floor(name, pairs, limit):
  interval, _ = ratio_interval(pairs)
  return floor(name, interval_text(interval) if interval else None, f"interval not above {limit:g}",
               interval is not None and interval[1] <= limit)


def pair_floors(results):
  out = [interval_floor("p99 with readers of the mount", reader_pairs(results), READERS_FLOOR),
         interval_floor("p99 beside slow clients", slow_pairs(results), SLOW_FLOOR),
         at_most("KiB per slow client", mid(pick(results.get("slow", []), slow=True), "kib"), SLOW_KIB)]
  for shape in CPU_FLOORS if results.get("against") else ():
    out.append(interval_floor(f"CPU per call to the older build, {shape}", against_pairs(results, shape), AGAINST_FLOOR))
  return out


def memory_floors(results):
  records, out = pick(results.get("held", []), target="aigw"), []
  for kind, limit in HELD_KIB.items():
    each = median([held_each(r) for r in pick(records, upstream=kind)])
    out.append(at_most(f"KiB per held stream, {kind} upstream", each, limit))
  idle = median([r["idle_kib"] for r in pick(records, upstream="plain")])
  out.append(floor("KiB anonymous when idle", idle, f"under {IDLE_KIB}", idle is not None and idle < IDLE_KIB, 0))
  return out


def strict_floors(results):
  sync, out = mid(results.get("sync", []), "p50"), []
  for shape in ("1 KB", "50-event stream"):
    for field, limit in (("p50", HOLD_P50), ("p99", HOLD_P99)):
      held = median(strict_pairs(results, shape, field))
      out.append(at_most(f"strict, end held at {field}, synced writes, {shape}", ratio(held, sync), limit))
  later = mean_interval(strict_pairs(results, "50-event stream", "first_p50"))
  got = f"{later[0]:.0f} us, {later[1]:.0f} to {later[2]:.0f}" if later and sync else None
  limit = FIRST_TOKEN * sync if sync else None
  out.append(floor("strict, first token later at p50", got, f"interval not above {number(limit, 0)} us",
                   got is not None and later[1] <= limit))
  return out


def failure_floor(results):
  runs = [r for m in ("calls", "latency", "strict", "readers", "slow", "against") for r in results.get(m, [])]
  lost = sum(r["failures"] for r in runs) + sum(r["streams"] - r["held"] for r in results.get("held", []))
  return floor("calls that failed, all targets", lost if runs or results.get("held") else None, "0", lost == 0, 0)


def floors(results):
  return [*cpu_floors(results), interval_floor("added p99 at 2,000/s to relay", p99_pairs(results), P99_FLOOR),
          *memory_floors(results), *strict_floors(results), *pair_floors(results), failure_floor(results)]


def failed(results):
  return [f for f in floors(results) if f[3] == "FAIL"]


def render(run):
  """The whole report of {"meta": …, "results": …} as Markdown."""
  meta, results = run["meta"], run["results"]
  out = ["## aigw benchmark", "", ", ".join(f"{k} {v}" for k, v in meta.items())]
  out += calls_tables(results) + latency_tables(results) + held_table(results) + strict_tables(results)
  out += pair_tables(results)
  title = "floors" + (" (a smoke run: too short to judge by)" if meta.get("quick") else "")
  return "\n".join(out + table(title, ["floor", "measured", "wanted", "verdict"], floors(results))) + "\n"
