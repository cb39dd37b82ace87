"""/metrics of the agent: every row of the table, from the start, with the right numbers, and to nobody more than he may see.

Usage: test_agent_metrics.py [BUILD_ROOT] [unittest arguments]
"""
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from exposition import Text  # noqa: E402
from harness import Failure, Stack, bearer, build_root, wait_for  # noqa: E402
from provider import ANSWER, Provider  # noqa: E402
from streams import Streams  # noqa: E402
from wire import Wire  # noqa: E402

BUILD = build_root()
TABLE = os.path.join(HERE, "../../include/aigw/tbl/metrics.h")
CHAT = "/v1/chat/completions"

POLICY = """\
apiVersion: aigw/v1
settings: {currency: EUR}
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: unused, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, cached_input: 0.5, output: 2}
models:
  - {name: small, targets: [{provider: sim, model: sim-small}]}
  - {name: 'a/{b}=c,%2F', targets: [{provider: sim, model: sim-small}]}
  - {name: idle, targets: [{provider: sim, model: sim-small}]}
  - {name: held, targets: [{provider: sim, model: sim+tokens-3+hold-open}]}
  - {name: broken, targets: [{provider: sim, model: sim+fail-500}]}
  - {name: limited, targets: [{provider: sim, model: sim+fail-429}]}
  - {name: mute, targets: [{provider: sim, model: sim+no-usage}]}
  - {name: roomy, strategy: headroom, targets: [{provider: sim, model: sim-small}, {provider: sim, model: sim-roomy}]}
customers:
  - name: acme
    projects: [{name: search}, {name: playground, models: [small]}]
identities:
  - {uid: $UID, project: playground}
"""


def table():
    """Rows of the table: name, type, labels, scope."""
    with open(TABLE, encoding="utf-8") as f:
        return re.findall(r'^METRIC\(\w+, +"([^"]+)", +"([^"]*)", +"([^"]*)", +(\w+), ', f.read(), re.M)


class Metrics(unittest.TestCase):
    def stack(self, policy=POLICY, expected=(), **settings):
        stack = Stack(BUILD, policy, agent=settings, expected=expected)
        stack.agent_settings["control_socket"] = stack.path("control.sock")
        return self.enterContext(stack)

    def fetch(self, stack, way):
        if way == "control":
            with Wire(stack.agent_settings["control_socket"]) as wire:
                answer = wire.call("/metrics", method="GET")
        else:
            answer = stack.call("/metrics", way=way, method="GET")
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8")
        return Text(answer.body.decode())

    def test_every_row_from_the_start_everywhere(self):
        stack = self.stack()
        for way in "tcp", "unix", "control":
            got = self.fetch(stack, way)
            for name, kind, labels, scope in table():
                name = name.replace("_usd_", "_eur_")
                if name.endswith("*"):
                    self.assertIn("process_resident_memory_bytes", got.types)
                elif scope == "CLOSED" and way != "control":
                    self.assertNotIn(name, got.types)
                else:
                    self.assertEqual(got.types.pop(name), kind)
                    shown = {k for (n, have), _ in got.samples.items() if n.startswith(name) for k, _ in have} - {"le"}
                    wanted = {label.strip() for label in labels.split(",") if label}
                    self.assertEqual(shown, wanted - (set() if way == "control" else {"project"}), name)
            self.assertEqual([t for t in got.types if not t.startswith("process_")], [], "not in the table")
            self.assertEqual(got.sum("aigw_tokens_total"), 0)
            self.assertEqual(got.get("aigw_request_duration_seconds_count", model="idle", provider="sim"), 0)
        self.assertEqual(got.get("aigw_requests_total", model="small", provider="sim", project="playground", code="2xx"), 0)
        self.assertIsNone(got.get("aigw_requests_total", model="idle", provider="sim", project="playground", code="2xx"))
        self.assertEqual(got.get("aigw_provider_up", provider="unused"), 1)
        self.assertEqual(got.get("aigw_requests_in_flight", model="a/{b}=c,%2F"), 0)
        self.assertEqual(got.get("aigw_provider_ratelimit_remaining_ratio", provider="sim"), 1)
        self.assertIsNone(got.get("aigw_provider_ratelimit_remaining_ratio", provider="unused"))  # no model asks

    def test_nobody_sees_more_than_he_may(self):
        stack = self.stack()
        key = stack.make_key("search")
        stack.chat("small", key=key)
        for way in "tcp", "unix":
            text = "\n".join(line for line in self.fetch(stack, way).text.splitlines() if not line.startswith("#"))
            for secret in "search", "playground", "acme", "cost", "_eur", "key_":
                self.assertNotIn(secret, text)

    @unittest.skipUnless(shutil.which("promtool"), "no promtool (package prometheus): the text is only parsed here")
    def test_promtool(self):
        stack = self.stack()
        stack.chat("small", key=stack.make_key("search"))
        for way in "tcp", "control":
            got = subprocess.run(["promtool", "check", "metrics"], input=self.fetch(stack, way).text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, check=False)
            self.assertEqual((got.returncode, got.stdout), (0, ""))

    def test_numbers_are_those_of_the_ledger(self):
        stack = self.stack()
        key = stack.make_key("search")
        for _ in range(3):
            self.assertEqual(stack.chat("small", key=key).status, 200)
        self.assertEqual(stack.chat("small", way="unix").status, 200)
        stack.script({"sim-small": "pace-1000"})  # not all in one event, within which time stands still
        self.assertEqual(stack.chat("small", key=key, stream=True).status, 200)
        stack.script({"sim-small": None})
        stack.chat("broken", key=key)
        self.assertEqual(stack.chat("limited", key=key).status, 429)
        self.assertEqual(stack.chat("mute", key=key).status, 200)
        self.assertEqual(stack.chat("nowhere", key=key).status, 404)
        self.assertEqual(stack.chat("idle", way="unix").status, 403)
        self.assertEqual(stack.chat("small", key="sk-aigw-wrong").status, 401)
        self.assertEqual(stack.call(CHAT, b"{", key=key).status, 400)
        records = stack.wait_records(11)
        got = wait_for(lambda: (t := self.fetch(stack, "control")).sum("aigw_requests_total") >= 12 and t, "all have ended")
        code = collections.Counter()
        for (name, labels), value in got.samples.items():
            if name == "aigw_requests_total":
                code[dict(labels)["code"]] += value
        self.assertEqual(code, {"2xx": 6, "4xx": 4, "429": 1, "5xx": 1, "cut": 0})
        self.assertEqual(got.get("aigw_requests_total", model="small", provider="sim", project="search", code="2xx"), 4)
        self.assertEqual(got.get("aigw_requests_total", project="search", code="4xx"), 2)  # no model: not routed
        self.assertEqual(got.get("aigw_requests_total", model="idle", project="playground", code="4xx"), 1)
        self.assertEqual(got.get("aigw_requests_total", code="4xx"), 1)
        of = collections.Counter()
        for r in records:
            of["in"] += r["input_tokens"]
            of["cached"] += r["cached_input_tokens"]
            of["out"] += r["output_tokens"]
            of["cost"] += round(float(r.get("cost") or 0) * 1e9)
        self.assertGreater(of["out"], 0)
        self.assertEqual(got.sum("aigw_tokens_total", type="input") + got.sum("aigw_tokens_total", type="cached_input"), of["in"])
        self.assertEqual(got.sum("aigw_tokens_total", type="output") + got.sum("aigw_tokens_total", type="reasoning"), of["out"])
        self.assertEqual(round(got.sum("aigw_cost_eur_total") * 1e9), of["cost"])
        self.assertEqual(got.get("aigw_rejected_total", reason="auth"), 1)
        self.assertEqual(got.get("aigw_rejected_total", project="search", reason="model"), 1)
        self.assertEqual(got.get("aigw_rejected_total", project="playground", reason="model"), 1)
        self.assertEqual(got.get("aigw_rejected_total", project="search", reason="invalid"), 1)
        self.assertEqual(got.get("aigw_usage_missing_total", model="mute", provider="sim"), 1)
        self.assertEqual(got.get("aigw_policy_revision"), 1)
        self.assertEqual(got.get("aigw_control_connected"), 1)
        for name in "aigw_request_duration_seconds", "aigw_time_to_first_token_seconds", "aigw_time_per_output_token_seconds":
            streams = 5 if "duration" in name else 1
            self.assertEqual(got.get(name + "_count", model="small", provider="sim"), streams)
            self.assertEqual(got.get(name + "_bucket", model="small", provider="sim", le="+Inf"), streams)
            self.assertGreater(got.get(name + "_sum", model="small", provider="sim"), 0)
        self.assertEqual(got.get("aigw_gateway_overhead_seconds_count"), 6)
        # summed over projects for who may not see them
        self.assertEqual(self.fetch(stack, "tcp").get("aigw_requests_total", model="small", provider="sim", code="2xx"), 5)
        self.assertEqual(self.fetch(stack, "tcp").get("aigw_rejected_total", reason="model"), 2)

    def test_in_flight_and_cut(self):
        stack = self.stack()
        key = stack.make_key("search")
        with Streams() as streams:
            for _ in range(5):
                streams.begin(stack.where("tcp"), {"model": "held", "messages": [{"role": "user", "content": "x"}]}, bearer(key))
            streams.wait(lambda held: held.status == 200 and held.events > 1)
            got = self.fetch(stack, "tcp")
            self.assertEqual(got.get("aigw_requests_in_flight", model="held"), 5)
            self.assertEqual(got.get("aigw_requests_in_flight", model="small"), 0)
            self.assertEqual(got.get("aigw_provider_connections", provider="sim", state="active"), 5)
        got = wait_for(lambda: (t := self.fetch(stack, "tcp")).get("aigw_requests_total", model="held", provider="sim", code="cut") == 5 and t, "they are settled")
        self.assertEqual(got.get("aigw_requests_in_flight", model="held"), 0)
        self.assertEqual(got.get("aigw_streams_cut_total", provider="sim", side="client"), 5)

    def test_what_waits_for_the_controller(self):
        stack = self.stack()
        stack.end(stack.ctld)
        for _ in range(4):
            self.assertEqual(stack.chat("small", way="unix").status, 200)
        got = wait_for(lambda: (t := self.fetch(stack, "tcp")).get("aigw_spool_records") == 4 and t.get("aigw_control_connected") == 0 and t, "they wait")
        self.assertGreater(got.get("aigw_spool_oldest_seconds"), 0)
        self.assertGreater(got.get("aigw_spool_bytes"), 0)
        self.assertEqual(got.get("aigw_spool_limit_bytes"), 64 << 20)
        stack.start_ctld()
        wait_for(lambda: (t := self.fetch(stack, "tcp")).get("aigw_spool_records") == 0 and t.get("aigw_spool_oldest_seconds") == 0, "they are booked")

    def test_a_replaced_connection_is_a_retry(self):
        provider = self.enterContext(Provider())
        stack = self.stack(POLICY.replace("base_url: $SIM", f"base_url: 'http://127.0.0.1:{provider.port}/v1'", 1))
        with stack.connect("unix") as wire:
            for _ in range(2):
                wire.send(CHAT, {"model": "small", "messages": []})
            with provider.accept() as conn:
                conn.request()
                conn.send(ANSWER)
                self.assertEqual(wire.answer().status, 200)
                conn.request()
                conn.reset()
            with provider.accept() as conn:
                conn.request()
                conn.send(ANSWER)
            self.assertEqual(wire.answer().status, 200)
        wait_for(lambda: self.fetch(stack, "tcp").get("aigw_retries_total", provider="sim", reason="stale") == 1, "it is counted")
        self.assertEqual(stack.call("/metrics", way="tcp", method="HEAD").status, 200)

    def test_a_refused_policy_is_counted(self):
        stack = self.stack(expected=(r"event=policy\.refused",))
        with self.assertRaisesRegex(Failure, "/nonexistent.pem"):
            stack.apply(POLICY.replace("name: unused, type: openai-compatible, base_url: $SIM", "name: unused, type: openai, options: {ca_file: /nonexistent.pem}"))
        wait_for(lambda: self.fetch(stack, "tcp").get("aigw_policy_errors_total") == 1, "it is counted")
        self.assertEqual(self.fetch(stack, "tcp").get("aigw_policy_revision"), 1)

    def test_a_failing_provider_is_down(self):
        stack = self.stack()
        key = stack.make_key("search")
        for _ in range(4):
            stack.chat("broken", key=key)
        wait_for(lambda: self.fetch(stack, "tcp").get("aigw_provider_up", provider="sim") == 0, "it is known to be down", 30)
        stack.chat("small", key=key)
        wait_for(lambda: self.fetch(stack, "tcp").get("aigw_provider_up", provider="sim") == 1, "it is known to be up", 30)
        with Wire(stack.agent_settings["control_socket"]) as wire:
            lines = [json.loads(line) for line in wire.call("/v1/events?kind=provider.*", method="GET").body.splitlines()]
        said = [(e["event"], e["provider"]) for e in lines if e["event"] in ("provider.down", "provider.up")]
        self.assertEqual(said, [("provider.down", "sim"), ("provider.up", "sim")])

    def test_how_targets_stand(self):
        """The state that routing goes by, one of them 1, as models/NAME/targets has it; and until when."""
        targets = {"ok": "sim sim-small", "open": "frail sim-1+fail-503", "probing": "shaky sim-2", "rate_limited": "sim sim-3+fail-429+retry-after-60",
                   "no_credential": "locked sim-4", "provider_quota": "poor sim-5+fail-402", "drained": "sim sim-6", "at_capacity": "narrow sim+tokens-3+hold-open"}
        more = {"frail": "credential: sim, health: {open_after: 1, half_open_after: 1h}", "shaky": "credential: sim, health: {open_after: 1, half_open_after: 1s}",
                "locked": "credential: nobody", "poor": "credential: sim", "narrow": "credential: sim, limits: {concurrency: 1}"}
        policy = POLICY[:POLICY.index("models:")].replace("prices:", "".join(
            f"  - {{name: {name}, type: openai-compatible, base_url: $SIM, {what}}}\n" for name, what in more.items()) + "prices:")
        policy += "models:\n" + "".join("  - {{name: {}, targets: [{{provider: {}, model: {}}}], retry: {{attempts: 1}}}}\n".format(name, *t.split()) for name, t in targets.items())
        stack = self.stack(policy + POLICY[POLICY.index("customers:"):].replace("[small]", '["*"]'), expected=["event=provider.quota"])

        def now(name, model, **labels):
            provider, target = targets[model].split()
            return self.fetch(stack, "tcp").get(name, model=model, provider=provider, target=target, **labels)
        drained = subprocess.run([os.path.join(BUILD, "ctl/aigwctl/aigwctl"), "--agent", stack.path("control.sock"), "model", "disable", "drained", "--for", "2h"],
                                 capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(drained.returncode, 0, drained)
        stack.script({"sim-2": "fail-503"})
        for model in "open", "probing", "rate_limited", "provider_quota":
            self.assertNotEqual(stack.chat(model, way="unix").status, 200)
        self.assertEqual(now("aigw_target_state", "probing", state="open"), 1)
        wait_for(lambda: now("aigw_target_recover_seconds", "probing") == 0, "it may be tried")
        stack.script({"sim-2": "fail-hang"})
        with stack.connect("unix") as probe, stack.connect("unix") as held:
            probe.send(CHAT, {"model": "probing", "messages": []})
            wait_for(lambda: now("aigw_target_state", "probing", state="probing") == 1, "a call tries it")
            held.send(CHAT, {"model": "at_capacity", "stream": True, "messages": []})
            self.assertEqual(held.head().status, 200)
            got = self.fetch(stack, "tcp")
            for model, target in targets.items():
                labels = {"model": model, "provider": target.split()[0], "target": target.split()[1]}
                with self.subTest(model):
                    self.assertIn(f" state={model} ", stack.agent_stat(f"models/{model}/targets"))
                    self.assertEqual({s: got.get("aigw_target_state", state=s, **labels) for s in targets}, {s: int(s == model) for s in targets})
                    recover = got.get("aigw_target_recover_seconds", **labels)
                    low, high = {"ok": (0, 0), "open": (3000, 3600), "rate_limited": (1, 60), "no_credential": (float("inf"),) * 2, "provider_quota": (1000, 1800),
                                 "drained": (7000, 7200)}.get(model, (0, 3600))
                    self.assertTrue(low <= recover <= high, recover)
            probe.reset()
            held.reset()

    def test_a_line_for_each_call_where_asked_for(self):
        stack = Stack(BUILD, POLICY, agent={"log": "error"})
        stack.agent_options = ["--log-requests"]
        self.enterContext(stack)
        key = stack.make_key("search")
        ids = [stack.chat(model, "the prompt", key=key).header("x-request-id") for model in ["small"] * 15 + ["limited", "nowhere"]]
        ids.append(stack.chat("small", way="unix").header("x-request-id"))

        def lines():
            with open(stack.path("agentd.log"), encoding="utf-8") as f:
                got = [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)) for line in f if "event=request.done" in line]
            return len(got) >= len(ids) and got
        got = wait_for(lines, "a line for each call")
        self.assertEqual([line["request_id"] for line in got], ids)  # none is kept back by the limit on repetition
        self.assertEqual((got[0]["project"], got[0]["model"], got[0]["provider"], got[0]["status"]), ("search", "small", "sim", "200"))
        self.assertEqual((got[0]["level"], got[0]["outcome"], got[0]["fail"], got[0]["uid"]), ("info", "ok", '""', "-1"))
        self.assertRegex(got[0]["cost"], r"^0\.0000\d+$")
        self.assertTrue(key.startswith("sk-aigw-" + got[0]["key_id"].removeprefix("key_")), got[0])
        self.assertEqual((got[16]["status"], got[16]["outcome"], got[16]["fail"]), ("404", "refused", "model_not_found"))
        self.assertEqual((got[17]["key_id"], got[17]["uid"], got[17]["project"]), ("-", str(os.getuid()), "playground"))
        with open(stack.path("agentd.log"), encoding="utf-8") as f:
            text = f.read()
        self.assertNotIn("the prompt", text)
        self.assertNotIn(key, text)
        self.assertNotIn("agent.ready", text)  # the level is what it was

    def test_loop_lag_is_measured_while_there_is_traffic(self):
        stack = self.stack(workers=2)
        key = stack.make_key("search")

        def measured():
            stack.chat("small", key=key)
            return self.fetch(stack, "tcp").get("aigw_loop_lag_seconds_count") >= 2
        wait_for(measured, "each worker was asked", 30, 0.05)

    def test_max_series(self):
        """Whoever comes after the last place is counted as _other; nothing is lost."""
        projects = ", ".join(f"{{name: p{i}}}" for i in range(40))
        stack = self.stack(POLICY.replace("{name: search}", "{name: search}, " + projects), metrics_max_series=16)
        keys = [stack.make_key(f"p{i}") for i in range(20)]
        for key in keys:
            self.assertEqual(stack.chat("small", key=key).status, 200)
        got = wait_for(lambda: (t := self.fetch(stack, "control")).sum("aigw_requests_total", code="2xx") == 20 and t, "all are counted")
        self.assertEqual(got.get("aigw_requests_total", model="_other", provider="_other", project="_other", code="2xx"), 4)
        self.assertEqual(sum(1 for (n, have) in got.samples if n == "aigw_requests_total" and ("code", "2xx") in have), 17)
        # two places for histograms, and for targets: of nine
        self.assertEqual((got.sum("aigw_target_state"), got.sum("aigw_target_state", state="ok", model="_other", provider="_other", target="_other")), (9, 7))
        self.assertEqual(sum(1 for n, _ in got.samples if n == "aigw_target_recover_seconds"), 2)
        self.assertLessEqual(sum(1 for n, _ in got.samples if n == "aigw_request_duration_seconds_count"), 3)
        self.assertEqual(got.sum("aigw_request_duration_seconds_count"), 20)
        self.assertEqual(self.fetch(stack, "tcp").sum("aigw_requests_total", code="2xx"), 20)

    def test_scrapers_that_leave_or_come_at_once(self):
        stack = self.stack(workers=1)
        wires = [self.enterContext(stack.connect("tcp")) for _ in range(50)]
        for i, wire in enumerate(wires):
            wire.send("/metrics", method="GET")
            if i % 2:
                wire.reset()
        for wire in wires[::2]:
            self.assertIn(b"aigw_build_info", wire.answer().body)
        answer = stack.call("/metrics", method="POST", body={})
        self.assertEqual((answer.status, answer.header("allow")), (405, "GET, HEAD"))


if __name__ == "__main__":
    unittest.main()
