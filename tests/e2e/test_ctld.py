"""The real aigw-ctld, driven over admin.sock and agents.sock.

Usage: test_ctld.py AIGW_CTLD [unittest arguments]
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from exposition import Text  # noqa: E402
from aigw_wire import TRACE, TRACE_ID, Agent, Spool, key_fields, pack, record  # noqa: E402

CTLD = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "aigw-ctld"

POLICY = """apiVersion: aigw/v1
settings: {currency: USD}
providers:
  - {name: openai, type: openai, credential: openai}
models:
  - {name: fast, targets: [{provider: openai, model: m}]}
customers:
  - {name: acme, projects: [{name: search}, {name: batch}]}
"""
HOUR = 3600 * 1000000
DAY = 1795392000 * 1000000  # 2026-11-23


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Ctld:
    def __init__(self, where):
        self.where = where
        self.admin, self.agents = where + "/admin.sock", where + "/agents.sock"
        self.log_path = where + "/log"
        with open(where + "/ctld.yaml", "w") as f:
            f.write(f"admin_socket: {self.admin}\nagents_socket: {self.agents}\nstate_dir: {where}/state\nlog: debug\n")
        self.process = None

    def start(self):
        self.log = open(self.log_path, "ab")
        at = self.log.tell()
        self.process = subprocess.Popen([CTLD, "--config", self.where + "/ctld.yaml", "--die-with-parent"], stderr=self.log)
        deadline = time.monotonic() + 20
        while b"event=ctld.ready" not in self.read_log(at):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.read_log(0).decode())
            time.sleep(0.01)
        return self

    def read_log(self, at=0):
        with open(self.log_path, "rb") as f:
            f.seek(at)
            return f.read()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(20)
        self.log.close()
        return code

    def api(self, method, path, body=None):
        c = UnixHTTP(self.admin)
        c.request(method, "/api/v1/" + path, json.dumps(body) if body is not None else None)
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, json.loads(text)

    def get(self, path):
        status, answer = self.api("GET", path)
        assert status == 200, (status, answer)
        return answer


def call_record(n, **other):
    fields = {"op_id": struct.pack(">QQ", 7, n), "start_us": DAY + n * 60 * 1000000, "duration_us": 1000000,
              "customer": "acme", "project": "search" if n % 2 else "batch", "model": "fast", "provider": "openai",
              "endpoint": 1, "status": 200, "outcome": 1, "input_tokens": 10 + n, "output_tokens": n, "priced": 1,
              "cost_nano": 1000 + n, "charge_nano": 2000 + n}
    fields.update(other)
    return record(**fields)


class CtldTest(unittest.TestCase):
    def setUp(self):
        self.where = tempfile.mkdtemp(prefix="aigw-ctld-")
        self.ctld = Ctld(self.where).start()
        self.agents = []

    def tearDown(self):
        for a in self.agents:
            a.close()
        code = self.ctld.stop() if self.ctld.process.poll() is None else None
        log = self.ctld.read_log()
        shutil.rmtree(self.where, ignore_errors=True)
        self.assertIn(code, (0, None), log.decode())
        self.assertNotIn(b"Sanitizer", log, log.decode())

    def agent(self, **options):
        a = Agent(self.ctld.agents, **options)
        self.agents.append(a)
        return a

    def apply(self, text=POLICY, **options):
        return self.ctld.api("POST", "policy", dict({"files": [{"name": "policy.yaml", "text": text}]}, **options))

    def applied(self, text=POLICY, **options):
        status, answer = self.apply(text, **options)
        self.assertEqual(status, 200, answer)
        return answer


class Api(CtldTest):
    def test_routes_methods_and_errors(self):
        self.assertEqual(self.ctld.get("version")["wire_version"], 1)
        for method, path, status in (("GET", "nowhere", 404), ("DELETE", "keys", 405), ("POST", "status", 405),
                                     ("GET", "agents/nobody", 404), ("GET", "keys/key_nope", 404),
                                     ("GET", "policy", 404), ("POST", "keys", 400), ("GET", "usage?by=weather", 400),
                                     ("GET", "usage?since=yesterday", 400), ("GET", "records?limit=0", 400),
                                     ("GET", "records?after=x", 400), ("PUT", "secrets/bad%20name", 400)):
            got, answer = self.ctld.api(method, path, {} if method in ("POST", "PUT") else None)
            self.assertEqual(got, status, (method, path, answer))
            self.assertTrue(answer["error"]["message"])

    def test_every_error_code(self):
        """Each code that the description knows, with the status of its row; those that need more have tests of their own."""
        self.applied()
        self.assertEqual(self.ctld.api("POST", "keys", {"name": "ci", "project": "search"})[0], 201)
        bad = {"files": [{"name": "p.yaml", "text": "apiVersion: aigw/v2\n"}]}
        for code, status, method, path, body in (
                ("usage", 400, "GET", "prices?at=soon", None), ("not_found", 404, "GET", "keys/key_nope", None),
                ("method_not_allowed", 405, "PUT", "status", {}), ("conflict", 409, "POST", "keys", {"name": "ci", "project": "search"}),
                ("policy_invalid", 422, "POST", "policy", bad)):
            with self.subTest(code):
                got, answer = self.ctld.api(method, path, body)
                self.assertEqual((got, answer["error"]["code"]), (status, code))
        subprocess.run(["prlimit", f"--pid={self.ctld.process.pid}", "--fsize=0:"], check=True)
        got, answer = self.ctld.api("POST", "keys", {"name": "later", "project": "search"})
        self.assertEqual((got, answer["error"]["code"]), (503, "store_unavailable"))
        subprocess.run(["prlimit", f"--pid={self.ctld.process.pid}", "--fsize=unlimited:"], check=True)
        deadline = time.monotonic() + 20  # it opens the store anew after a while; nothing was left of the failed key
        while (got := self.ctld.api("POST", "keys", {"name": "later", "project": "search"})[0]) == 503:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(got, 201)
        described = self.ctld.get("openapi.json")["components"]["schemas"]["error_detail"]["properties"]["code"]["enum"]
        here = {"usage", "not_found", "method_not_allowed", "conflict", "policy_invalid", "store_unavailable"}
        self.assertEqual(set(described) - here, {"not_permitted", "too_many_groups", "internal"})

    def test_body_that_is_not_an_object_is_refused(self):
        for body in ([], "x", 5):
            self.assertEqual(self.ctld.api("POST", "keys", body)[0], 400)
        c = UnixHTTP(self.ctld.admin)
        c.request("POST", "/api/v1/keys", "{\"name\":")
        r = c.getresponse()
        self.assertEqual(r.status, 400)
        self.assertIn("not JSON", json.loads(r.read())["error"]["message"])
        c.close()

    def test_description_covers_every_route_and_its_references_resolve(self):
        api = self.ctld.get("openapi.json")
        self.assertIn("/api/v1/keys/{id}/revoke", api["paths"])
        routes = {f"{method.upper()} {path}" for path, methods in api["paths"].items() for method in methods}
        self.assertEqual(routes, {
            "GET /api/v1/openapi.json", "GET /api/v1/version", "GET /api/v1/status", "POST /api/v1/policy/validate",
            "POST /api/v1/policy", "GET /api/v1/policy", "GET /api/v1/revisions", "POST /api/v1/policy/rollback",
            "POST /api/v1/policy/diff", "GET /api/v1/providers", "GET /api/v1/models", "GET /api/v1/projects", "GET /api/v1/prices", "GET /api/v1/keys", "POST /api/v1/keys",
            "GET /api/v1/keys/{id}", "POST /api/v1/keys/{id}/revoke", "GET /api/v1/agents", "GET /api/v1/agents/{name}",
            "GET /api/v1/secrets", "PUT /api/v1/secrets/{name}", "GET /api/v1/drains", "POST /api/v1/drains", "POST /api/v1/drains/resume", "GET /api/v1/traces/{request}", "GET /api/v1/usage", "GET /api/v1/records",
            "POST /api/v1/rollups/rebuild", "GET /api/v1/audit"})
        schemas = api["components"]["schemas"]

        def walk(v):
            if isinstance(v, dict):
                if "$ref" in v:
                    self.assertIn(v["$ref"].rsplit("/", 1)[1], schemas)
                for x in v.values():
                    walk(x)
            elif isinstance(v, list):
                for x in v:
                    walk(x)
        walk(api)

    def check(self, v, schema, schemas, where):
        """v against the subset of JSON schema that the description uses."""
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
        if v is None:
            return
        kind = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}[schema["type"]]
        self.assertIsInstance(v, kind, where)
        if kind is list:
            for x in v:
                self.check(x, schema["items"], schemas, where + "[]")
        for name in schema.get("required", []):
            self.assertIn(name, v, where)
        for name, sub in schema.get("properties", {}).items():
            if name in v:
                self.check(v[name], sub, schemas, where + "." + name)

    def test_answers_are_as_described(self):
        self.agent()
        self.applied(wait=True)
        self.ctld.api("PUT", "secrets/openai", {"value": "sk-secret"})
        key = self.ctld.api("POST", "keys", {"name": "ci", "project": "search"})[1]
        a = self.agents[0]
        a.note("call.traces", {"ids": [bytes(15) + b"\x01"], "texts": [json.dumps(TRACE)]})
        a.usage([call_record(1), b"\x09garbage"])
        api = self.ctld.get("openapi.json")
        schemas = api["components"]["schemas"]
        for path, methods in api["paths"].items():
            if "get" not in methods or path.endswith("openapi.json"):
                continue
            real = path.replace("{id}", key["id"]).replace("{name}", "web-01").replace("{request}", TRACE_ID)
            answer = self.ctld.get(real[len("/api/v1/"):])
            schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            self.check(answer, schema, schemas, path)


class Metrics(CtldTest):
    TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../include/aigw/tbl/ctld_metrics.h")

    def fetch(self):
        c = UnixHTTP(self.ctld.admin)
        c.request("GET", "/metrics")
        r = c.getresponse()
        text = r.read().decode()
        self.assertEqual((r.status, r.getheader("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"))
        c.close()
        return Text(text)

    def test_every_row_from_the_start(self):
        got = self.fetch()
        with open(self.TABLE, encoding="utf-8") as f:
            rows = re.findall(r'^CTLD_METRIC\(\w+, +"([^"]+)", +"([^"]*)", +"([^"]*)", ', f.read(), re.M)
        self.assertGreater(len(rows), 10)
        for name, kind, labels in rows:
            if name.endswith("*"):
                self.assertIn("process_resident_memory_bytes", got.types)
                continue
            self.assertEqual(got.types.pop(name), kind)
            shown = {k for (n, have), _ in got.samples.items() if n.startswith(name) for k, _ in have} - {"le"}
            self.assertEqual(shown, {labels} - {""}, name)
        self.assertEqual([t for t in got.types if not t.startswith("process_")], [], "not in the table")

    def test_what_is_counted(self):
        a = self.agent()
        self.applied(wait=True)
        self.applied(wait=True)
        self.assertEqual(self.apply("nonsense")[0], 422)
        self.assertEqual(self.apply(POLICY.replace("model: m}", "model: n}"), if_revision=7)[0], 409)
        for name in "one", "two":
            key = self.ctld.api("POST", "keys", {"name": name, "project": "search"})[1]
        self.ctld.api("POST", f"keys/{key['id']}/revoke", {})
        a.usage([call_record(n) for n in range(1, 6)])
        a.spool.batch([call_record(6)])
        a.usage([call_record(7)])
        self.ctld.get("usage")
        got = self.fetch()
        for name, labels, value in (
                ("aigw_ctld_policy_revision", {}, 1), ("aigw_ctld_applies_total", {"result": "applied"}, 1),
                ("aigw_ctld_applies_total", {"result": "unchanged"}, 1), ("aigw_ctld_applies_total", {"result": "refused"}, 2),
                ("aigw_ctld_keys", {"state": "active"}, 1), ("aigw_ctld_keys", {"state": "revoked"}, 1),
                ("aigw_ctld_usage_records_total", {}, 5), ("aigw_ctld_usage_batches_total", {"result": "booked"}, 1),
                ("aigw_ctld_usage_batches_total", {"result": "gap"}, 1), ("aigw_ctld_agents", {"state": "quarantined"}, 1),
                ("aigw_ctld_agents", {"state": "up"}, 0), ("aigw_ctld_store_up", {}, 1), ("aigw_ctld_ingest_seconds_count", {}, 2),
                ("aigw_ctld_store_query_seconds_count", {}, 1), ("aigw_ctld_ledger_lag_seconds", {}, 0)):
            with self.subTest(name=name, labels=labels):
                self.assertEqual(got.get(name, **labels), value)
        self.assertGreater(got.get("aigw_ctld_store_bytes"), 0)
        self.assertTrue(0 < got.get("aigw_ctld_disk_used_ratio") <= 1)
        self.assertEqual(got.sum("aigw_ctld_build_info"), 1)
        self.assertTrue(any(n.startswith("process_") for n, _ in got.samples))  # process_*
        a.close()
        wait_until = time.monotonic() + 20
        while self.fetch().get("aigw_ctld_agents", state="down") != 1:
            self.assertLess(time.monotonic(), wait_until)
            time.sleep(0.02)

    def test_a_store_that_can_not_be_read(self):
        subprocess.run(["prlimit", f"--pid={self.ctld.process.pid}", "--fsize=0:"], check=True)
        self.ctld.api("POST", "policy", {"files": [{"name": "policy.yaml", "text": POLICY}]})
        got = self.fetch()
        self.assertEqual(got.get("aigw_ctld_store_up"), 0)
        self.assertIsNone(got.get("aigw_ctld_keys", state="active"))

    @unittest.skipUnless(shutil.which("promtool"), "there is no promtool here")
    def test_promtool_finds_nothing(self):
        self.applied()
        got = subprocess.run(["promtool", "check", "metrics"], input=self.fetch().text, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((got.returncode, got.stdout + got.stderr), (0, ""))


class Policy(CtldTest):
    def test_validate_finds_places(self):
        status, answer = self.ctld.api("POST", "policy/validate", {"files": [{"name": "p.yaml", "text": POLICY}]})
        self.assertEqual((status, answer["valid"]), (200, True))
        bad = POLICY.replace("provider: openai, model: m", "provider: opnai, model: m")
        status, answer = self.ctld.api("POST", "policy/validate", {"files": [{"name": "p.yaml", "text": bad}]})
        self.assertEqual((status, answer["error"]["code"]), (422, "policy_invalid"))
        self.assertRegex(answer["findings"][0], r"^p\.yaml:6:\d+: .*opnai.*openai")

    def test_apply_numbers_pushes_and_plans(self):
        a = self.agent()
        first = self.applied(message="first", wait=True)
        self.assertEqual((first["revision"], first["unchanged"]), (1, False))
        self.assertEqual(first["agents"], [{"name": "web-01", "state": "applied"}])
        self.assertIn("models.fast", first["plan"]["added"])
        again = self.applied(wait=True)
        self.assertEqual((again["revision"], again["unchanged"]), (1, True))
        other = POLICY.replace("model: m}", "model: m2}")
        self.assertEqual(self.applied(other, dry_run=True)["plan"]["changed"], ["models.fast"])
        self.assertEqual(self.ctld.get("policy")["revision"], 1)
        second = self.applied(other, wait=True, if_revision=1)
        self.assertEqual(second["revision"], 2)
        self.assertEqual(a.revision, 2)
        status, answer = self.apply(if_revision=1)
        self.assertEqual((status, answer["error"]["code"]), (409, "conflict"))
        self.assertEqual(self.ctld.get("policy?revision=1")["files"], [{"name": "policy.yaml", "text": POLICY}])
        self.assertEqual([r["revision"] for r in self.ctld.get("revisions")["revisions"]], [2, 1])
        self.assertEqual(self.ctld.get("audit")["entries"][0]["action"], "policy.apply")

    def test_an_invalid_policy_leaves_the_running_one(self):
        self.applied()
        self.assertEqual(self.apply("apiVersion: aigw/v1\nmodels: 5\n")[0], 422)
        self.assertEqual(self.apply(message="x" * 1001)[0], 400)
        self.assertEqual(self.ctld.get("status")["revision"], 1)

    def test_an_agent_that_was_away_gets_what_it_lacks(self):
        self.applied()
        a = self.agent()
        a.wait_for("policy.part")
        b = self.agent(name="b")
        digest = bytes.fromhex(self.ctld.get("policy")["digest"])
        b.close()
        c = self.agent(name="b", spool=b.spool, revision=1, digest=digest, realm=a.keys_realm, keys_seq=a.keys_seq)
        self.ctld.api("POST", "keys", {"name": "k", "project": "search"})
        c.wait_for("keys.change")
        self.assertEqual([m for m, _ in c.seen], ["keys.change"])
        self.assertEqual(self.ctld.get("agents/b")["revision"], 1)

    def test_refusals_are_told(self):
        lacks = self.agent(name="old", features=[])
        refuses = self.agent(name="picky", ack=("keys",))

        def refuse():
            p = refuses.wait_for("policy.part")
            refuses.note("policy.result", {"revision": p["revision"], "ok": 0, "reason": "no such ca_file"})
        t = threading.Thread(target=refuse)
        t.start()
        answer = self.applied(wait=True)
        t.join()
        states = {a["name"]: a for a in answer["agents"]}
        self.assertEqual(states["old"]["state"], "refused")
        self.assertRegex(states["old"]["reason"], "lacks feature core")
        self.assertEqual(states["picky"], {"name": "picky", "state": "refused", "reason": "no such ca_file"})
        self.assertNotIn("policy.part", [m for m, _ in lacks.seen])
        self.assertEqual(self.ctld.get("agents/picky")["state"], "refused")

    def test_the_wait_ends_at_its_time(self):
        self.agent(ack=())
        answer = self.applied(wait=True, timeout_ms=200)
        self.assertEqual(answer["agents"], [{"name": "web-01", "state": "pending"}])

    def test_the_currency_stays_once_something_is_booked(self):
        a = self.agent()
        self.applied()
        a.usage([call_record(1)])
        status, answer = self.apply(POLICY.replace("USD", "EUR"))
        self.assertEqual((status, answer["error"]["code"]), (409, "conflict"))


class Keys(CtldTest):
    def setUp(self):
        super().setUp()
        self.applied()

    def create(self, name="ci", **options):
        return self.ctld.api("POST", "keys", dict({"name": name, "project": "search"}, **options))

    def test_life_of_a_key(self):
        a = self.agent()
        status, key = self.create(wait=True, expires="90d")
        self.assertEqual(status, 201)
        self.assertRegex(key["key"], "^sk-aigw-[0-9A-Za-z]{12}-[0-9A-Za-z]{46}$")
        self.assertEqual(key["customer"], "acme")
        self.assertEqual(key["agents"], [{"name": "web-01", "state": "confirmed"}])
        self.assertEqual(key_fields(a.keys[key["id"]])[3], 1)
        self.assertNotIn(key["key"], json.dumps(self.ctld.get("keys")))
        self.assertEqual(self.create()[0], 409)
        self.assertEqual(self.create(project="nowhere")[0], 404)
        self.assertEqual(self.create("x", expires="soon")[0], 400)
        for name in ("", "a\n", "a\x7f", "evil\u202egpj", "x" * 64):
            self.assertEqual(self.create(name)[0], 400, name)
        status, gone = self.ctld.api("POST", f"keys/{key['id']}/revoke")
        self.assertEqual((status, gone["state"], gone["agents"][0]["state"]), (200, "revoked", "confirmed"))
        self.assertEqual(key_fields(a.keys[key["id"]])[3], 3)
        status, again = self.ctld.api("POST", f"keys/{key['id']}/revoke")
        self.assertEqual((status, again["seq"]), (200, gone["seq"]))
        self.assertEqual(self.create()[0], 201)
        self.assertEqual(self.ctld.api("POST", "keys/key_000000000000/revoke")[0], 404)
        states = [k["state"] for k in self.ctld.get("keys?project=search")["keys"]]
        self.assertEqual(sorted(states), ["active", "revoked"])
        self.assertEqual(self.ctld.get("keys?project=batch")["keys"], [])
        log = self.ctld.read_log()
        self.assertNotIn(key["key"].encode()[-20:], log)

    def test_revocation_names_who_has_not_confirmed(self):
        self.agent(name="good")
        self.agent(name="silent", ack=("policy",))
        away = self.agent(name="away")
        away.close()
        _, key = self.create()
        t = time.monotonic()
        _, gone = self.ctld.api("POST", f"keys/{key['id']}/revoke", {"timeout_ms": 300})
        self.assertGreaterEqual(time.monotonic() - t, 0.25)
        self.assertEqual({a["name"]: a["state"] for a in gone["agents"]},
                         {"good": "confirmed", "silent": "pending", "away": "offline"})

    def test_changes_or_a_snapshot(self):
        a = self.agent()
        a.wait_for("keys.snapshot")
        for i in range(3):
            self.create(f"k{i}", wait=True)
        a.close()
        for i in range(3, 6):
            self.create(f"k{i}")
        b = self.agent(spool=a.spool, realm=a.keys_realm, keys_seq=a.keys_seq)
        b.wait_until(lambda: b.keys_seq == 6)
        self.assertEqual([m for m, _ in b.seen if m.startswith("keys")], ["keys.change"] * 3)
        b.close()
        c = self.agent(spool=a.spool, realm=bytes(16), keys_seq=6)  # of another controller's store
        c.wait_for("keys.snapshot")
        self.assertEqual((c.keys_seq, len(c.keys)), (6, 6))
        c.note("keys.resync", {"seq": 6})
        c.wait_for("keys.snapshot")

    def test_a_revocation_overtakes_a_policy(self):
        _, key = self.create()
        a = self.agent(ack=("keys",))
        a.wait_for("policy.part")
        models = "".join(f"  - {{name: model-{i}-with-a-name-that-fills-the-document-{'x' * 60}, "
                         f"targets: [{{provider: openai, model: m}}]}}\n" for i in range(9000))
        big = POLICY.replace("customers:", models + "customers:")
        a.seen.clear()
        a.reading.clear()  # an agent that is slow to read: the policy stays on its way
        self.assertEqual(self.applied(big)["revision"], 2)
        self.ctld.api("POST", f"keys/{key['id']}/revoke", {"timeout_ms": 0})
        a.reading.set()
        a.wait_until(lambda: a.revision == 2 and a.seen[-1][0] == "policy.part")
        methods = [m for m, _ in a.seen]
        self.assertGreater(methods.count("policy.part"), 5)
        # behind the part that the kernel had, and the one that it was taking
        self.assertLessEqual(methods.index("keys.change"), 2, methods)

    def test_survives_the_controllers_death(self):
        a = self.agent()
        _, key = self.create(wait=True)
        self.ctld.api("POST", f"keys/{key['id']}/revoke")
        self.ctld.stop(signal.SIGKILL)
        self.ctld.start()
        self.assertEqual(self.ctld.get("keys/" + key["id"])["state"], "revoked")
        b = self.agent(spool=a.spool, realm=a.keys_realm, keys_seq=a.keys_seq)
        self.create("next", wait=True)
        self.assertEqual([m for m, _ in b.seen if m.startswith("keys")], ["keys.change"])


class Drains(CtldTest):
    def test_the_whole_list_goes_to_every_agent(self):
        """WIRE drains_put and drains_ack: confirmed, or named; one that comes later gets it, too."""
        self.agent(name="a")
        self.agent(name="c", ack=())  # an older one skips what it does not know
        self.applied()
        provider = self.ctld.get("providers")["providers"][0]["name"]
        status, answer = self.ctld.api("POST", "drains", {"provider": provider, "timeout_ms": 300})
        self.assertEqual((status, answer["changed"], [(x["name"], x["state"]) for x in answer["agents"]]), (200, True, [("a", "confirmed"), ("c", "pending")]))
        got = self.agents[0].wait_for("drains.put")
        self.assertEqual(got["version"], 1)
        (line,) = got["lines"]
        self.assertRegex(line if isinstance(line, str) else line.decode(), rf"^provider \d{{16}} {provider}$")
        self.ctld.stop(signal.SIGKILL)
        self.ctld.start()
        late = self.agent(name="d")
        self.assertEqual(len(late.wait_for("drains.put")["lines"]), 1)
        self.assertEqual(self.ctld.api("POST", "drains/resume", {"provider": provider, "timeout_ms": 300})[1]["changed"], True)
        self.assertEqual(late.wait_for("drains.put")["lines"], [])
        self.assertEqual([r["action"] for r in self.ctld.get("audit")["entries"] if r["action"].startswith("drain")][:2], ["drain.resumed", "drain.set"])
        for bad in ({}, {"provider": "x", "model": "y"}, {"provider": provider, "target": "a/b"}, {"provider": provider, "for_s": 0}, {"model": "m", "target": "x"}):
            self.assertEqual(self.ctld.api("POST", "drains", bad)[0], 400, bad)
        self.assertEqual(self.ctld.api("POST", "drains", {"provider": "nobody"})[0], 404)


class Secrets(CtldTest):
    def test_pushed_and_never_told(self):
        self.agent(name="a")
        self.agent(name="b", source="secrets_dir")
        self.agent(name="c", ack=())
        self.applied()
        status, answer = self.ctld.api("PUT", "secrets/openai", {"value": "sk-very-secret-1", "timeout_ms": 300})
        self.assertEqual((status, answer["version"]), (200, 1))
        self.assertEqual([(x["name"], x["state"], x["source"]) for x in answer["agents"]],
                         [("a", "confirmed", "cache"), ("b", "shadowed", "secrets_dir"), ("c", "pending", None)])
        self.assertEqual(self.agents[0].wait_for("secrets.put")["bytes"], b"sk-very-secret-1")
        late = self.agent(name="d")
        self.assertEqual(late.wait_for("secrets.put")["version"], 1)
        for path in ("secrets", "status", "agents", "audit"):
            self.assertNotIn("sk-very-secret", json.dumps(self.ctld.get(path)))
        secret = self.ctld.get("secrets")["secrets"][0]
        self.assertEqual((secret["name"], secret["version"], secret["agents"]["a"]), ("openai", 1, "cache"))
        provider = self.ctld.get("status")["providers"][0]
        self.assertEqual(provider["credentials"][0]["stored"], True)
        self.assertEqual(provider["credentials"][0]["sources"]["b"], "secrets_dir")
        self.assertNotIn(b"sk-very-secret", self.ctld.read_log())
        for bad in ("", "two\nlines", 5, "x" * 9000):
            self.assertEqual(self.ctld.api("PUT", "secrets/openai", {"value": bad})[0], 400)


class Agents(CtldTest):
    def test_a_second_live_connection_of_a_name_is_refused_and_shown(self):
        a = self.agent()
        b = self.agent()
        self.assertEqual(b.welcome[0]["code"], "duplicate_agent")
        self.assertTrue(b.closed.wait(5))
        shown = self.ctld.get("agents/web-01")
        self.assertEqual((shown["state"], shown["duplicate"]), ("up", True))
        self.assertTrue(any("second connection" in w for w in self.ctld.get("status")["warnings"]))
        a.close()
        c = self.agent()
        self.assertIsNone(c.welcome[0])

    @unittest.skipUnless(os.geteuid() == 0, "needs root to be another user")
    def test_a_name_belongs_to_the_user_who_took_it(self):
        self.agent().close()
        os.chmod(self.where, 0o755)
        os.chmod(self.ctld.agents, 0o777)
        pid = os.fork()
        if pid == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                a = Agent(self.ctld.agents)
                error = a.welcome[0]
                os._exit(0 if error["code"] == "refused" and "belongs to uid 0" in error["message"] else 1)
            except BaseException:
                os._exit(2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        shown = self.ctld.get("agents/web-01")
        self.assertEqual(shown["state"], "refused")
        self.assertIn("belongs to uid 0, not 65534", shown["reason"])

    @unittest.skipUnless(os.geteuid() == 0, "needs root to be another user")
    def test_strangers_have_no_access_to_the_admin_api(self):
        os.chmod(self.where, 0o755)
        os.chmod(self.ctld.admin, 0o777)
        pid = os.fork()
        if pid == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                status, answer = self.ctld.api("GET", "status")
                os._exit(0 if status == 403 and answer["error"]["code"] == "not_permitted" else 1)
            except BaseException:
                os._exit(2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def test_another_wire_version_is_refused(self):
        a = self.agent(wire_version=2)
        self.assertEqual(a.welcome[0]["code"], "refused")
        self.assertIn("wire version 2", a.welcome[0]["message"])

    def test_broken_frames_end_the_connection_and_nothing_else(self):
        good = self.agent(name="good")
        for payload in (b"\xdd\xff\xff\xff\xff", b"\x93\x02\xa5nopes", pack([2, "keys.ack", {"seq": 1}]), b"\xc1",
                        pack([0, 1, "usage.batch", {}]), b"\x91" * 40, b""):
            a = self.agent(hello=False)
            a.send_raw(payload)
            self.assertTrue(a.closed.wait(5), payload)
        a = self.agent(hello=False)
        a.sock.sendall(struct.pack(">I", (64 << 10) + 1))
        self.assertTrue(a.closed.wait(5))
        bad_names = ("", "a b", "x" * 64, "../etc")
        for name in bad_names:
            self.assertEqual(self.agent(name=name).welcome[0]["code"], "refused", name)
        self.assertEqual(good.call("no.such.method", {})[0]["code"], "unknown_method")
        good.note("some.news", {"x": 1})
        self.assertIsNone(good.usage([call_record(1)])[0])
        self.assertEqual([a["name"] for a in self.ctld.get("agents")["agents"]], ["good"])

    def test_status_is_shown(self):
        a = self.agent()
        a.note("agent.status", {"uptime_s": 5, "requests": 7, "inflight": 2, "spool_records": 3,
                                "spool_oldest_us": int((time.time() - 10) * 1e6), "wall_us": int((time.time() + 60) * 1e6),
                                "durability": "strict", "secrets": ["openai secrets_dir 0", "nonsense"],
                                "warnings": ["clock jumped"]})
        a.call("no.such.method", {})
        shown = self.ctld.get("agents/web-01")
        self.assertEqual((shown["requests"], shown["inflight"], shown["spool_records"]), (7, 2, 3))
        self.assertIn(shown["spool_lag_s"], range(9, 15))
        self.assertIn(shown["clock_diff_ms"], range(59000, 61000))
        self.assertEqual(shown["secrets"], [{"name": "openai", "source": "secrets_dir", "version": 0}])
        self.assertEqual(shown["warnings"], ["clock jumped"])
        a.close()
        self.assertEqual(self.wait_state("web-01", "down")["pid"], None)

    def test_status_may_say_anything(self):
        a = self.agent()
        for n in (0, 2**63 - 1, 2**63, 2**64 - 1):
            a.note("agent.status", {"uptime_s": n, "requests": n, "inflight": n, "spool_records": n, "spool_oldest_us": n, "wall_us": n,
                                    "durability": "\u00e9" * 100, "secrets": ["x y 99999999999999999999"], "warnings": ["\x1b]0;\x07"]})
            a.call("no.such.method", {})
            shown = self.ctld.get("agents/web-01")
            self.assertEqual((shown["spool_lag_s"] >= 0, shown["clock_diff_ms"] > 0), (True, n > 0))
            self.assertEqual(shown["durability"].strip("\u00e9"), "")

    def wait_state(self, name, state):
        for _ in range(200):
            shown = self.ctld.get("agents/" + name)
            if shown["state"] == state:
                return shown
            time.sleep(0.02)
        self.fail(shown)


class Usage(CtldTest):
    def setUp(self):
        super().setUp()
        self.applied()

    def test_booked_once_and_summed_exactly(self):
        a = self.agent()
        records = [call_record(n) for n in range(100)]
        first = a.spool.batch(records[:60])
        error, done = a.call("usage.batch", first)
        self.assertIsNone(error)
        self.assertEqual((done["high_water"], done["chain"]), (60, a.spool.chain))
        error, done = a.call("usage.batch", first)
        self.assertEqual((error, done["high_water"]), (None, 60))
        ids = [a.post("usage.batch", a.spool.batch(records[n:n + 10])) for n in range(60, 100, 10)]
        self.assertEqual([a.answer(i)[1]["high_water"] for i in ids], [70, 80, 90, 100])
        total = self.ctld.get("usage")["total"]
        self.assertEqual((total["requests"], total["ok"], total["input_tokens"]), (100, 100, sum(range(10, 110))))
        self.assertEqual(total["cost"], "0.000%06d" % sum(1000 + n for n in range(100)))
        groups = self.ctld.get("usage?by=project,hour")["groups"]
        self.assertEqual(sum(g["requests"] for g in groups), 100)
        self.assertEqual({g["project"] for g in groups}, {"search", "batch"})
        only = self.ctld.get("usage?by=project&project=batch&since=2026-11-23T00:00:00Z&until=2026-11-23T01:00:00Z")
        self.assertEqual(only["groups"][0]["requests"], 30)
        self.assertEqual(self.ctld.get("usage?since=2026-11-24T00:00:00Z&until=2026-11-25T00:00:00Z")["groups"], [])

    def test_records_page_by_page(self):
        a = self.agent()
        b = self.agent(name="b")
        a.usage([call_record(n) for n in range(25)])
        b.usage([call_record(n) for n in range(5)])
        got, after = [], ""
        while True:
            page = self.ctld.get("records?limit=7" + after)
            got += page["records"]
            if page["next"] is None:
                break
            after = "&after=" + page["next"]
        self.assertEqual([(r["agent"], r["seq"]) for r in got],
                         [("web-01", n + 1) for n in range(25)] + [("b", n + 1) for n in range(5)])
        self.assertEqual(got[3]["project"], "search")
        self.assertEqual(got[3]["store_id"], a.spool.store_id.hex())

    def test_unpriced_is_none_and_not_zero(self):
        a = self.agent()
        a.usage([call_record(1, priced=0, cost_nano=0, charge_nano=0, model="new"), call_record(2),
                 call_record(3, priced=0, outcome=6, cost_nano=0, charge_nano=0, model="refused")])
        groups = {g["model"]: g for g in self.ctld.get("usage?by=model")["groups"]}
        self.assertEqual((groups["new"]["cost"], groups["new"]["unpriced"]), (None, 1))
        self.assertEqual((groups["fast"]["cost"], groups["fast"]["unpriced"]), ("0.000001002", 0))
        self.assertEqual((groups["refused"]["cost"], groups["refused"]["unpriced"]), ("0.000000000", 0))
        self.assertEqual(self.ctld.get("usage")["total"]["unpriced"], 1)

    def test_more_groups_than_can_be_answered(self):
        a, n = self.agent(), 200001
        for first in range(0, n, 1000):
            self.assertIsNone(a.usage([call_record(1, op_id=struct.pack(">QQ", 7, u), uid=u) for u in range(first, min(n, first + 1000))])[0])
        status, answer = self.ctld.api("GET", "usage?by=uid")
        self.assertEqual((status, answer["error"]["code"]), (400, "too_many_groups"))
        self.assertIn("more than 200000 groups", answer["error"]["message"])
        self.assertEqual(self.ctld.get("usage?by=project")["total"]["requests"], n)

    def test_gap_and_fork_quarantine(self):
        a = self.agent()
        a.usage([call_record(1)])
        a.spool.batch([call_record(2)])
        self.assertEqual(a.usage([call_record(3)])[0]["code"], "gap")
        self.assertEqual(a.usage([call_record(4)])[0]["code"], "quarantined")
        shown = self.ctld.get("agents/web-01")
        self.assertEqual((shown["state"], shown["reason"], shown["records"]), ("quarantined", "record 2 is missing", 1))
        self.assertTrue(any("quarantined (gap)" in w for w in self.ctld.get("status")["warnings"]))
        self.assertIn(b"event=ledger.quarantined", self.ctld.read_log())
        b = self.agent(name="b")
        b.usage([call_record(1), call_record(2)])
        rolled = Spool(b.spool.store_id)
        rolled.batch([call_record(1)])
        self.assertEqual(b.call("usage.batch", rolled.batch([call_record(9)]))[0]["code"], "fork")
        a.close()
        c = self.agent()  # a new store of the same agent is fine
        self.assertIsNone(c.usage([call_record(1)])[0])

    def test_a_batch_of_another_store_is_refused(self):
        a = self.agent()
        self.assertEqual(a.call("usage.batch", Spool().batch([call_record(1)]))[0]["code"], "refused")

    def test_rebuilding_finds_nothing_wrong(self):
        a = self.agent()
        a.usage([call_record(n) for n in range(50)])
        self.assertEqual(self.ctld.api("POST", "rollups/rebuild"), (200, {"records": 50, "differences": 0}))

    def test_what_was_acknowledged_survives_kill_9(self):
        spool, sent = Spool(), 0
        for kill in range(5):
            a = self.agent(spool=spool)
            high, chain = a.welcome[1]["high_water"], a.welcome[1]["chain"]
            self.assertGreaterEqual(high, sent)
            spool.seq, spool.chain = high, chain
            sent = high
            for _ in range(3 + kill):
                error, done = a.usage([call_record(n) for n in range(20)])
                self.assertIsNone(error)
                sent = done["high_water"]
            a.post("usage.batch", spool.batch([call_record(1)]))
            self.ctld.stop(signal.SIGKILL)
            a.close()
            self.ctld.start()
        total = self.ctld.get("usage")["total"]["requests"]
        self.assertIn(total, range(sent, sent + 6))
        self.assertEqual(self.ctld.api("POST", "rollups/rebuild")[1], {"records": total, "differences": 0})


class Daemon(CtldTest):
    def test_a_second_one_is_turned_away(self):
        r = subprocess.run([CTLD, "--config", self.where + "/ctld.yaml"], capture_output=True, timeout=20)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"held by another aigw-ctld", r.stderr)

    def test_reload_names_what_needs_a_restart(self):
        with open(self.where + "/ctld.yaml", "w") as f:
            f.write(f"admin_socket: {self.where}/other.sock\nagents_socket: {self.ctld.agents}\n"
                    f"state_dir: {self.where}/state\nlog: warning\n")
        self.ctld.process.send_signal(signal.SIGHUP)
        for _ in range(200):
            if b"config.reloaded" in self.ctld.read_log():
                break
            time.sleep(0.02)
        self.assertIn(b"needs_restart=admin_socket", self.ctld.read_log())
        self.ctld.get("version")

    def test_a_wrong_setting_is_named_with_its_place(self):
        with open(self.where + "/bad.yaml", "w") as f:
            f.write("state_dri: /tmp\n")
        r = subprocess.run([CTLD, "--check-config", "--config", self.where + "/bad.yaml"], capture_output=True, timeout=20)
        self.assertEqual(r.returncode, 2)
        self.assertRegex(r.stderr.decode(), r"bad\.yaml:1:1: .*state_dri.*state_dir")

    def test_sigterm_ends_waits_and_leaves_no_socket(self):
        self.applied()
        self.agent(ack=())
        got = []
        t = threading.Thread(target=lambda: got.append(self.apply(POLICY.replace("model: m}", "model: n}"), wait=True)))
        t.start()
        self.agents[0].wait_for("policy.part")
        self.agents[0].wait_for("policy.part")
        self.assertEqual(self.ctld.stop(), 0)
        t.join()
        self.assertEqual(got[0][1]["agents"][0]["state"], "pending")
        self.assertFalse(os.path.exists(self.ctld.admin) or os.path.exists(self.ctld.agents))


if __name__ == "__main__":
    unittest.main()
