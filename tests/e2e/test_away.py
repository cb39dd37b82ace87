"""The controller is away: agents go on, start again from their caches, and tell it everything when it is back.

Usage: test_away.py BUILD_ROOT [unittest arguments]
"""
import os
import select
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import POLICY, Stack, bearer, build_root, wait_for  # noqa: E402

BUILD = build_root()
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
SPOOL_BYTES = 1 << 20


class Away(unittest.TestCase):
    def stack(self, **options):
        return self.enterContext(Stack(build=BUILD, **options))

    def call(self, stack, key=None, **members):
        """A call that has to be served; its request id."""
        a = stack.chat("small", key=key, **members)
        self.assertEqual(a.status, 200, a.body)
        self.assertTrue(a.whole)
        return a.header("x-request-id")

    def some(self, stack, key, n=5):
        """Plain and streamed, with the key and by the socket's peer."""
        return [self.call(stack, key=key if i % 2 else None, stream=i % 3 == 0) for i in range(n)]

    def check_ledger(self, stack, ids):
        records = stack.wait_records(len(ids))
        self.assertEqual(sorted(r["request_id"] for r in records), sorted(ids))
        self.assertEqual([r["seq"] for r in records], list(range(1, len(ids) + 1)))
        self.assertEqual({r["outcome"] for r in records}, {"ok"})

    def test_calls_go_on_and_all_records_arrive(self):
        stack = self.stack()
        key = stack.make_key("search")
        ids = self.some(stack, key)
        stack.wait_records(len(ids))
        for stop in (stack.end, stack.kill):
            stop(stack.ctld)
            ids += self.some(stack, key, 20)
            stack.start_ctld()
            self.check_ledger(stack, ids)

    def test_an_agent_that_starts_alone_serves_at_once(self):
        stack = self.stack()
        key, gone = stack.make_key("search"), stack.make_key("search", "gone")
        stack.api("POST", f"/api/v1/keys/{self.key_id(stack, 'gone')}/revoke", {"timeout_ms": 20000})
        ids = self.some(stack, key)
        stack.wait_records(len(ids))
        stack.end(stack.ctld)
        for stop in (stack.end, stack.kill):
            ids += self.some(stack, key)
            stop(stack.agent)
            began = time.monotonic()
            stack.start_agent(ready=False)
            ids += self.some(stack, key)  # the very first after its start, without a word to the controller
            print(f"\n  {stop.__name__}, start, 5 calls: {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
            self.assertEqual(stack.call("/readyz", way="tcp").status, 200)
            a = stack.chat("small", key=gone)
            self.assertEqual((a.status, a.json()["error"]["code"]), (401, "invalid_api_key"))
        stack.start_ctld()
        self.check_ledger(stack, ids)

    def test_a_first_start_alone_waits_for_a_policy(self):
        stack = self.stack()
        stack.end(stack.ctld)
        stack.end(stack.agent)
        stack.agent_settings.update(state_dir=stack.path("agent2"), runtime_dir=stack.path("run2"), agent_id="a2")
        stack.start_agent(ready=False)
        a = stack.chat("small")
        self.assertEqual((a.status, a.json()["error"]["code"]), (503, "no_policy"))
        self.assertEqual(stack.call("/readyz", way="tcp").status, 503)
        stack.start_ctld()
        stack.wait_ready()
        stack.wait_agent()
        wait_for(lambda: stack.chat("small").status == 200, "the policy and the secret are there")

    def test_an_idle_agent_ends_at_once(self):
        stack, took = self.stack(), []
        for _ in range(3):
            self.some(stack, None)
            began = time.monotonic()
            stack.end(stack.agent)
            took.append(time.monotonic() - began)
            stack.start_agent()
        self.assertLess(min(took), 0.9, took)  # no timer holds it

    def test_an_agent_may_be_told_to_end_at_any_moment_of_its_start(self):
        stack = self.stack()
        stack.make_key("search")
        for i in range(12):
            stack.end(stack.agent)
            # Something new waits for it, so that it has keys, a policy and a secret to take while it ends.
            stack.api("PUT", "/api/v1/secrets/sim", {"value": f"sk-provider-{i}", "timeout_ms": 1})
            stack.api("POST", "/api/v1/keys", {"name": f"k{i}", "project": "search"})
            stack.api("POST", "/api/v1/policy", {"files": [{"name": "p", "text": stack.expand(POLICY + f"# {i}\n")}]})
            at = os.path.getsize(stack.agent.log)
            stack.launch_agent()
            wait_for(lambda at=at: "event=agent.ready" in self.log(stack.agent, at), "the agent is ready")
            select.select([], [], [], i * 0.002)
        stack.end(stack.agent)
        stack.start_agent()

    @staticmethod
    def log(program, at):
        with open(program.log, encoding="utf-8") as f:
            f.seek(at)
            return f.read()

    @staticmethod
    def key_id(stack, name):
        return next(k["id"] for k in stack.api("GET", "/api/v1/keys")["keys"] if k["name"] == name)

    def fill(self, stack, key):
        """Calls by four clients until each is refused; the ids of those served, and the answers of refusal."""
        ids, refusals = [], []

        def client(way):
            with stack.connect(way) as wire:
                for _ in range(20000):
                    a = wire.call("/v1/chat/completions", CHAT, bearer(key) if way == "tcp" else ())
                    if a.status != 200:
                        refusals.append(a)
                        return
                    ids.append(a.header("x-request-id"))
        threads = [threading.Thread(target=client, args=(way,)) for way in ("tcp", "unix", "tcp", "unix")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return ids, refusals

    def test_a_full_spool_refuses_and_goes_on_when_it_is_taken(self):
        # The agent logs no error: a spool at its limit is a state, and its readers see it.
        stack = self.stack(agent={"spool_size": "1MiB"})
        key = stack.make_key("search")
        ids = [self.call(stack, key)]
        stack.wait_records(1)
        stack.end(stack.ctld)
        served, refusals = self.fill(stack, key)
        ids += served
        self.assertEqual(len(refusals), 4)
        for a in refusals:
            self.assertEqual((a.status, a.json()["error"]["code"]), (503, "spool_full"))
        used = os.stat(stack.path("agent/spool.mdb")).st_size / SPOOL_BYTES
        print(f"\n  {len(served)} calls fill {used:.0%} of {SPOOL_BYTES >> 10} KiB", flush=True)
        self.assertTrue(0.75 <= used <= 0.9, used)
        # What costs nothing is still answered, and a new start makes no room.
        self.assertEqual(stack.call("/v1/models", key=key).status, 200)
        stack.kill(stack.agent)
        stack.start_agent(ready=False)
        self.assertEqual(stack.chat("small", key=key).json()["error"]["code"], "spool_full")
        self.assertEqual(stack.call("/v1/models", key=key).status, 200)

        stack.start_ctld()
        stack.wait_records(len(ids))
        got = wait_for(lambda: self.served(stack, key), "calls are served again")
        ids.append(got)
        ids += self.some(stack, key)
        self.check_ledger(stack, ids)

    @staticmethod
    def served(stack, key):
        a = stack.chat("small", key=key)
        return a.header("x-request-id") if a.status == 200 else None


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
