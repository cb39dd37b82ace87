"""Agent and controller are killed with SIGKILL again and again under load, and every call is in the ledger exactly once.

Usage: test_crash.py BUILD_ROOT [unittest arguments]
AIGW_FULL=1: 10,000 calls and 50 kills of each; else 1,000 and 10. AIGW_SEED=N repeats the calls and kills of a run, not their timing.

The simulator's log is the oracle: our request id stands in it (x-client-request-id) and in the record. Stores lie on a disk, so
that commits take their time and kills fall into them; the in-flight file lies in memory, as it has to.
"""
import collections
import os
import random
import shutil
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from harness import Stack, build_root, wait_for  # noqa: E402
from load import Load  # noqa: E402
from oracle import SimLog, money, nano  # noqa: E402
from wire import call as http_call  # noqa: E402

BUILD = build_root()
FULL = bool(os.environ.get("AIGW_FULL"))
CALLS, KILLS = (10_000, 50) if FULL else (1_000, 10)
SEED = int(os.environ.get("AIGW_SEED") or int.from_bytes(os.urandom(4), "big"))
CLIENTS = 32
AT_LEAST = 20  # calls in flight at each kill of the agent

POLICY = """\
apiVersion: aigw/v1
settings: {currency: USD}
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: second, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 0.15, cached_input: 0.075, output: 0.6}
  - {provider: second, model: "*", from: 2020-01-01, input: 3, output: 15, per_request: 0.01}
models:
  - {name: small, aliases: [tiny], targets: [{provider: sim, model: sim-small}]}
  - {name: other, targets: [{provider: second, model: sim-other}]}
customers:
  - name: acme
    projects: [{name: search}, {name: playground}]
identities:
  - {uid: $UID, project: playground}
"""


class Storm:
    """The calls and the kills. Two killers take turns in one thread: each is a generator that yields while it waits."""

    def __init__(self, stack, load, sim):
        self.stack, self.load, self.sim = stack, load, sim
        self.rng = random.Random(f"{SEED}/kills")
        self.agent_kills, self.early_agent_kills, self.ctld_kills, self.early_ctld_kills = [], 0, 0, 0
        self.weak_kills = 0

    def run(self):
        self.began = time.monotonic()
        self.load.start()
        killers = [self.kill_agent(), self.kill_ctld()]
        try:
            while killers or self.load.begun < CALLS:
                killers = [k for k in killers if next(k, "over") != "over"]
                if not self.load.thread.is_alive():
                    break
                time.sleep(0.001)
        finally:
            self.load.finish()  # its error, if it has one, is the one to show
        self.took = time.monotonic() - self.began

    def until(self, met):
        deadline = time.monotonic() + 60
        while not met():
            if time.monotonic() > deadline or not self.load.thread.is_alive():
                raise AssertionError(f"waited in vain with {self.load.begun} calls and {self.sim.in_flight()} in flight")
            yield

    def moment(self, i):
        """Of kill i, in calls: anywhere in its share, but all before the calls run out."""
        return int((i + self.rng.random()) * CALLS * 0.95 / KILLS)

    def wait_write(self, seconds):
        """Until the agent writes to its spool: it is within a commit."""
        spool = self.stack.path("agent/spool.mdb")
        written, until = os.stat(spool).st_mtime_ns, time.monotonic() + seconds
        while os.stat(spool).st_mtime_ns == written and time.monotonic() < until:
            pass

    def kill_agent(self):
        i = 0
        while i < KILLS:
            at = self.moment(i)
            yield from self.until(lambda at=at: self.load.begun >= at and self.sim.in_flight() >= AT_LEAST + 4)
            if i % 2:
                self.wait_write(0.02)
            now_us = time.time_ns() // 1000
            self.stack.kill(self.stack.agent)
            self.stack.launch_agent()
            in_flight = self.sim.in_flight_at(now_us)
            if in_flight >= AT_LEAST:
                self.agent_kills.append(in_flight)
                i += 1
            else:
                self.weak_kills += 1  # some came to their end in between: it does not count
            if i % 5 in (1, 2):
                yield from self.kill_recovery(at_write=i % 5 == 1)
            yield from self.until(self.agent_answers)

    def kill_recovery(self, at_write):
        """The agent is on its start. It dies as soon as it writes what it found, or at a random moment."""
        if at_write:
            self.wait_write(self.start_s)
        else:
            until = time.monotonic() + self.rng.random() * self.start_s
            yield from self.until(lambda: time.monotonic() >= until)
        self.stack.kill(self.stack.agent)
        self.stack.launch_agent()
        self.early_agent_kills += 1

    def kill_ctld(self):
        for i in range(KILLS):
            at = self.moment(i)
            yield from self.until(lambda at=at: self.load.begun >= at)
            self.stack.kill(self.stack.ctld)
            self.stack.launch_ctld()
            self.ctld_kills += 1
            if i % 5 in (0, 3):
                until = time.monotonic() + self.rng.random() * self.start_s
                yield from self.until(lambda: time.monotonic() >= until)
                self.stack.kill(self.stack.ctld)
                self.stack.launch_ctld()
                self.early_ctld_kills += 1
            yield from self.until(self.ctld_answers)

    def agent_answers(self):
        try:
            return http_call(self.stack.where("tcp"), "/healthz").status == 200
        except (OSError, AttributeError):  # refused, or broken off without an answer
            self.alive(self.stack.agent)
            return False

    def ctld_answers(self):
        try:
            return self.stack.ask("GET", "/api/v1/version")[0] == 200
        except OSError:
            self.alive(self.stack.ctld)
            return False

    @staticmethod
    def alive(program):
        if not program.running():
            raise AssertionError(f"{program.name} ended by itself with {program.proc.returncode}\n{program.tail()}")

    def measure_start(self):
        began = time.monotonic()
        self.stack.kill(self.stack.agent)
        self.stack.start_agent()
        self.start_s = time.monotonic() - began


def settle(stack, sim):
    """Every call at the simulator has ended, and the agent has nothing left to tell."""
    wait_for(lambda: sim.in_flight() == 0, "the simulator's calls have ended")

    def drained():
        agent = stack.api("GET", "/api/v1/agents/a1")
        return agent["state"] != "up" or (agent["pid"] == stack.agent.pid and agent["inflight"] == 0 and agent["spool_records"] == 0)
    for program in (stack.agent, stack.ctld):
        stack.end(program)
    stack.start_ctld()
    stack.start_agent()
    stack.wait_agent()
    wait_for(lambda: stack.api("GET", "/api/v1/agents/a1")["pid"] == stack.agent.pid, "the agent of the last start is known")
    wait_for(drained, lambda: f"the spool is empty: {stack.api('GET', '/api/v1/agents/a1')}")


class Crash(unittest.TestCase):
    """One storm; each test is one sentence about what it left."""

    @classmethod
    def setUpClass(cls):
        cls.folders = [tempfile.mkdtemp(prefix="aigw-crash-run-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)]
        cls.addClassCleanup(lambda: [shutil.rmtree(f, ignore_errors=True) for f in cls.folders])
        cls.stack = Stack(build=BUILD, policy=POLICY, base=tempfile.gettempdir(),
                          agent={"durability": "strict", "runtime_dir": cls.folders[0]})
        cls.enterClassContext(cls.stack)
        stack, sim = cls.stack, SimLog(cls.stack.path("calls.log"))
        load = Load(SEED, CLIENTS, stack.where("tcp"), stack.unix, stack.make_key("search"))
        storm = Storm(stack, load, sim)
        storm.measure_start()
        storm.run()
        settle(stack, sim)
        cls.storm, cls.calls, cls.sim = storm, load.calls, sim
        cls.records = stack.records()
        cls.by_id = collections.defaultdict(list)
        for r in cls.records:
            cls.by_id[r["request_id"]].append(r)
        cls.complete = [c for c in load.calls if c.is_complete]
        cls.ghosts = [r for r in cls.records if r["request_id"] not in sim.received and
                      (r["outcome"] == "unknown" or nano(r["charge"] or "0"))]
        cls.show()

    @classmethod
    def show(cls):
        s, ends = cls.storm, collections.Counter(c.end for c in cls.calls)
        outcomes = collections.Counter(f"{r['outcome']}:{r['fail']}" if r["fail"] else r["outcome"] for r in cls.records)
        rows = [
            ("calls", f"{len(cls.calls)} in {s.took:.1f} s, {len(cls.calls) / s.took:.0f} per second, seed {SEED}"),
            ("of these streams", sum(c.stream for c in cls.calls)),
            ("clients went away", sum(c.abort_s is not None or c.abort_at is not None for c in cls.calls)),
            ("ends seen by clients", ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))),
            ("reached the provider", len(cls.sim.received)),
            ("kills of the agent", f"{len(s.agent_kills)} with {min(s.agent_kills)} to {max(s.agent_kills)} calls in flight, "
                                   f"{s.early_agent_kills} at its start, {s.weak_kills} with fewer than {AT_LEAST}"),
            ("kills of the controller", f"{s.ctld_kills}, {s.early_ctld_kills} at its start"),
            ("records", ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))),
            ("charged, never at the provider", f"{len(cls.ghosts)}, at most {max(cls.per_kill().values(), default=0)} of one kill"),
            ("sum of cost", money(sum(nano(r["cost"]) for r in cls.records if r["cost"]))),
        ]
        print("\n".join(f"  {name:32} {value}" for name, value in rows), flush=True)

    @classmethod
    def per_kill(cls):
        """What a recovery books is one group of the spool."""
        return collections.Counter((r["store_id"], r["group_no"]) for r in cls.ghosts)

    def none(self, bad, what):
        self.assertTrue(not bad, f"{len(bad)} {what}: {bad[:3]}")

    def test_storm_was_one(self):
        self.assertGreaterEqual(len(self.calls), CALLS)
        self.assertEqual((len(self.storm.agent_kills), self.storm.ctld_kills), (KILLS, KILLS))
        self.assertGreaterEqual(min(self.storm.agent_kills), AT_LEAST)
        self.assertGreater(self.storm.early_agent_kills, 0)
        share = sum(c.stream for c in self.calls) / len(self.calls)
        self.assertTrue(0.27 < share < 0.4, share)
        self.assertGreater(len(self.complete), len(self.calls) / 4)

    def test_no_call_hung_or_was_refused(self):
        self.none([vars(c) for c in self.calls if c.end == "hung"], "calls hung")
        self.none([(c.status, c.body) for c in self.complete if c.status != 200], "calls were refused")

    def test_every_call_at_the_provider_has_one_record(self):
        self.none([i for i in self.sim.received if len(self.by_id[i]) == 0], "calls without a record")
        self.none([i for i in self.sim.received if len(self.by_id[i]) > 1], "calls with several records")

    def test_every_end_that_a_client_saw_has_one_record(self):
        self.none([c.n for c in self.complete if not c.id], "answers without a request id")
        self.none([c.id for c in self.complete if len(self.by_id[c.id]) != 1], "complete answers without their one record")

    def test_no_operation_is_booked_twice(self):
        self.none([i for i, found in self.by_id.items() if len(found) > 1], "operations with several records")

    def test_complete_answers_are_ok_with_the_providers_numbers(self):
        for c in self.complete:
            record, end = self.by_id[c.id][0], self.sim.ended[c.id]
            self.assertEqual(record["outcome"], "ok", record)
            self.assertTrue(end["complete"], end)
            self.assertEqual((record["input_tokens"], record["output_tokens"], record["estimated"]),
                             (end["input_tokens"], end["output_tokens"], False), record)
            if c.usage:
                self.assertEqual((c.usage["prompt_tokens"], c.usage.get("completion_tokens", 0)),
                                 (record["input_tokens"], record["output_tokens"]), record)

    def test_killed_calls_are_unknown_or_better(self):
        self.none([r for r in self.records if r["request_id"] in self.sim.received and
                   r["outcome"] not in ("ok", "client_gone", "cut", "unknown")], "records deny a call that the provider served")

    def test_unknown_calls_are_estimated_and_charged(self):
        unknown = [r for r in self.records if r["outcome"] == "unknown"]
        self.assertTrue(unknown)
        self.none([r for r in unknown if not r["charge"] or not nano(r["charge"])], "unknown calls cost nothing")
        self.none([r for r in unknown if nano(r["reserved"]) <= 0], "unknown calls without their reservation")

    def test_at_most_two_records_of_a_kill_charge_what_the_provider_never_saw(self):
        self.none([k for k, n in self.per_kill().items() if n > 2], "kills charge more than two")
        self.none([r for r in self.ghosts if r["outcome"] != "unknown"], "records of calls that no kill explains")

    def test_what_never_left_costs_nothing(self):
        refused = [r for r in self.records if r["outcome"] == "refused"]
        self.none([r for r in refused if r["fail"] != "restart" or nano(r["charge"] or "0") or nano(r["cost"] or "0")],
                  "refused calls that cost something, or were refused by other than the restart")

    def test_sequence_is_dense_and_the_store_is_one(self):
        stores = collections.defaultdict(list)
        for r in self.records:
            stores[r["agent"], r["store_id"]].append(r["seq"])
        self.assertEqual(len(stores), 1)
        for seqs in stores.values():
            self.assertEqual(seqs, list(range(1, len(seqs) + 1)))

    def test_both_stores_are_open_and_the_chain_holds(self):
        agent = self.stack.api("GET", "/api/v1/agents/a1")
        self.assertEqual((agent["state"], agent["undecodable"]), ("up", 0), agent)
        self.assertEqual(agent["high_water"], len(self.records))
        before = len(self.records)
        self.assertEqual(self.stack.chat("small", "the last").status, 200)
        self.assertEqual(self.stack.wait_records(before + 1)[-1]["seq"], before + 1)

    def test_usage_is_the_sum_of_the_records(self):
        records = self.stack.records()
        numbers = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
        usage = self.stack.api("GET", "/api/v1/usage", by="outcome", since="1970-01-01T00:00:00Z")

        def sums(rows):
            return {"requests": len(rows), "cost": money(sum(nano(r["cost"]) for r in rows if r["cost"])),
                    "charge": money(sum(nano(r["charge"]) for r in rows if r["charge"])),
                    "unpriced": sum(not r["priced"] for r in rows), "estimated": sum(r["estimated"] for r in rows),
                    **{n: sum(r[n] for r in rows) for n in numbers}}

        def shown(group):
            return {name: group[name] for name in sums([])}
        self.assertEqual(shown(usage["total"]), sums(records))
        for name, member in (("outcome", "outcome"), ("model", "model"), ("provider", "provider"), ("key", "key_id"),
                             ("endpoint", "endpoint"), ("project", "project"), ("agent", "agent")):
            usage = self.stack.api("GET", "/api/v1/usage", by=name, since="1970-01-01T00:00:00Z")
            groups = {g[name] or "": shown(g) for g in usage["groups"]}
            want = {v: sums([r for r in records if r[member] == v]) for v in {r[member] for r in records}}
            self.assertEqual(groups, want, name)
        self.assertEqual(self.stack.api("POST", "/api/v1/rollups/rebuild", {})["differences"], 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
