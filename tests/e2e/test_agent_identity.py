"""Who calls, and with which credential a provider is called: virtual keys in all their forms, callers on the unix socket as the kernel knows
them, credentials that must never get further, and where a provider's own comes from.

Usage: test_agent_identity.py [BUILD_ROOT] [unittest arguments]
"""
import grp
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from fails import expect  # noqa: E402
from harness import Stack, bearer, build_root, wait_for  # noqa: E402
from wire import call as http_call  # noqa: E402

BUILD = build_root()
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")
CHAT = "/v1/chat/completions"
SECRET = "sk-provider-CANARY-0123456789"
STRANGER, MEMBER, BOTH = 54321, 54322, 54323  # uids that no host has
DAEMON, GAMES = "daemon", "games"             # a user and a group that every Debian has

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: free, type: openai-compatible, base_url: $SIM}
models:
  - {name: small, targets: [{provider: sim, model: sim-small}]}
  - {name: open, targets: [{provider: free, model: sim-small}]}
customers:
  - name: acme
    projects: [{name: by-uid}, {name: by-user}, {name: by-group}, {name: by-unit}, {name: by-key}, {name: own}]
identities:
  - {uid: 54323, project: by-uid}
  - {group: games, project: by-group}
  - {user: daemon, project: by-user}
  - {uid: 54321, project: by-uid}
  - {unit: no-such-unit.service, project: by-unit}
  - {uid: $UID, project: own}
"""

def ask(model="small", **members):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}


def log_of(stack):
    with open(stack.path("agentd.log"), encoding="utf-8", errors="replace") as f:
        return f.read()


class Case(unittest.TestCase):
    def everywhere(self, text):
        """Files of the stack that hold it: logs, stores, caches, sockets aside."""
        found = []
        for folder, _, names in os.walk(self.stack.home):
            for name in names:
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    with open(path, "rb") as f:
                        if text.encode() in f.read():
                            found.append(os.path.relpath(path, self.stack.home))
        return sorted(found)


class Keys(Case):
    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, POLICY, sim=["--log-headers"], secrets={"sim": SECRET}, agent={"log": "debug"}))
        cls.key, cls.other = cls.stack.make_key("by-key"), cls.stack.make_key("by-key", "other")

    def last_authorization(self):
        line = [l for l in self.stack.sim_log() if l["event"] == "recv"][-1]
        headers = line["headers"].items() if isinstance(line["headers"], dict) else line["headers"]
        return [v for n, v in headers if n.lower() in ("authorization", "x-api-key", "api-key", "x-goog-api-key")]

    def test_four_forms(self):
        forms = [("Authorization", f"Bearer {self.key}"), ("authorization", f"bearer   {self.key}"), ("Authorization", self.key),
                 ("x-api-key", self.key), ("X-API-KEY", self.key), ("api-key", self.key), ("x-goog-api-key", self.key)]
        for way in ("tcp", "unix"):
            for form in forms:
                a = self.stack.call(CHAT, ask(), way=way, headers=[form])
                self.assertEqual(a.status, 200, (way, form[0]))
                self.assertEqual(len(self.last_authorization()), 1)  # ours, and only that
                self.assertTrue(self.last_authorization()[0].endswith(SECRET[-4:]))
        records = {r["request_id"]: r for r in self.stack.records()}
        wait_for(lambda: a.header("x-request-id") in {r["request_id"] for r in self.stack.records()}, "the last record")
        record = next(r for r in self.stack.records() if r["request_id"] == a.header("x-request-id"))
        self.assertEqual((record["project"], record["uid"], len(record["key_id"])), ("by-key", os.getuid(), 16))  # the key wins over the peer
        self.assertIsNotNone(records)

    def test_over_tcp_it_has_to_be_one_of_ours(self):
        says = expect(self, self.stack.call(CHAT, ask(), way="tcp"), "invalid_api_key")
        self.assertIn("No key was sent", says)
        for value in ("Bearer sk-proj-abcdef", "Bearer unused", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer " + self.key[:-1], "Bearer " + self.key + "A"):
            expect(self, self.stack.call(CHAT, ask(), way="tcp", headers=[("Authorization", value)]), "invalid_api_key")
        typo = self.key[:30] + ("a" if self.key[30] != "a" else "b") + self.key[31:]
        says = expect(self, self.stack.call(CHAT, ask(), key=typo), "invalid_api_key")
        self.assertIn("mistyped", says)
        self.assertNotIn(typo, says)

    def test_two_different_ones(self):
        both = [*bearer(self.key), ("x-api-key", self.other)]
        for way in ("tcp", "unix"):
            expect(self, self.stack.call(CHAT, ask(), way=way, headers=both), "ambiguous_credential")
            same = [*bearer(self.key), ("x-api-key", self.key), ("api-key", self.key)]
            self.assertEqual(self.stack.call(CHAT, ask(), way=way, headers=same).status, 200)
        # On TCP a foreign one is one too; on the unix socket it counts as none.
        foreign = [*bearer(self.key), ("x-api-key", "sk-ant-foreign")]
        expect(self, self.stack.call(CHAT, ask(), way="tcp", headers=foreign), "ambiguous_credential")
        self.assertEqual(self.stack.call(CHAT, ask(), way="unix", headers=foreign).status, 200)

    def test_dummy_credentials_on_the_unix_socket(self):
        """SDKs insist on one: it counts as none, is logged nowhere and never forwarded."""
        for name, value in (("Authorization", "Bearer sk-DUMMY-canary-1"), ("Authorization", "Bearer unused"), ("x-api-key", "DUMMY-canary-2"),
                            ("api-key", "DUMMY-canary-3"), ("x-goog-api-key", "DUMMY-canary-4"), ("Authorization", "Basic RFVNTVktY2FuYXJ5")):
            for model in ("small", "open"):
                a = self.stack.call(CHAT, ask(model), way="unix", headers=[(name, value)])
                self.assertEqual(a.status, 200)
                got = self.last_authorization()
                self.assertEqual(len(got), 1 if model == "small" else 0, (name, model))
                if got:
                    self.assertTrue(got[0].endswith(SECRET[-4:]))
        wait_for(lambda: a.header("x-request-id") in {r["request_id"] for r in self.stack.records()}, "the last record")
        record = next(r for r in self.stack.records() if r["request_id"] == a.header("x-request-id"))
        self.assertEqual((record["project"], record["key_id"], record["uid"]), ("own", "", os.getuid()))
        for canary in ("DUMMY-canary", "RFVNTVktY2FuYXJ5"):
            self.assertEqual(self.everywhere(canary), [])

    def test_one_of_ours_on_the_unix_socket_is_checked(self):
        expect(self, self.stack.call(CHAT, ask(), way="unix", headers=bearer("sk-aigw-nonsense")), "invalid_api_key")
        expect(self, self.stack.call(CHAT, ask(), way="unix", headers=bearer(self.key[:-4] + "AAAA")), "invalid_api_key")

    def test_nobodys_key(self):
        gone = self.stack.make_key("by-key", "gone")
        key_id = next(k["id"] for k in self.stack.api("GET", "/api/v1/keys")["keys"] if k["name"] == "gone")
        with self.stack.connect() as wire:
            self.assertEqual(wire.call(CHAT, ask(), bearer(gone)).status, 200)
            self.stack.api("POST", f"/api/v1/keys/{key_id}/revoke", {"timeout_ms": 60000})
            expect(self, wire.call(CHAT, ask(), bearer(gone)), "invalid_api_key")  # on the kept connection too

    def test_secrets_stand_nowhere(self):
        """Also not with log: debug and after errors of all kinds; a key's text is stored by nobody."""
        for key in (self.key, "sk-aigw-nonsense-CANARY"):
            for model in ("small", "nobody"):
                self.stack.call(CHAT, ask(model), key=key)
            self.stack.call(CHAT, b"{", key=key)
            self.stack.call("/nowhere", key=key)
        self.assertEqual(self.everywhere(self.key), [])
        self.assertEqual(self.everywhere("nonsense-CANARY"), [])
        kept = self.everywhere(SECRET)
        self.assertTrue(all(name.startswith(("ctld/", "agent/secrets/")) for name in kept), kept)
        self.assertIn("agent/secrets/sim", kept)
        for path, mode in (("agent/secrets", 0o700), ("agent/secrets/sim", 0o600), ("ctld", 0o700)):
            self.assertEqual(stat.S_IMODE(os.stat(self.stack.path(path)).st_mode), mode, path)


@unittest.skipUnless(os.geteuid() == 0, "needs root: calls as several users")
class Peers(Case):
    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, POLICY, secrets={"sim": SECRET}))
        os.chmod(cls.stack.home, 0o711)  # others get to the socket

    def call_as(self, uid, gid, groups=()):
        """One call by a process of that user: (status, answer, request id)."""
        out, end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(uid)
                a = http_call(self.stack.unix, CHAT, ask())
                os.write(end, json.dumps([a.status, a.json(), a.header("x-request-id")]).encode())
            finally:
                os._exit(0)
        os.close(end)
        with open(out, "rb") as f:
            got = f.read()
        os.waitpid(child, 0)
        return json.loads(got)

    def test_who_pays(self):
        games, daemon = grp.getgrnam(GAMES).gr_gid, pwd.getpwnam(DAEMON).pw_uid
        cases = (("uid", STRANGER, 54321, (), "by-uid"), ("user", daemon, 54321, (), "by-user"), ("group", MEMBER, games, (), "by-group"),
                 ("one of many groups", MEMBER, 54321, (7, games, 9), "by-group"), ("first in the file's order", BOTH, games, (), "by-uid"),
                 ("first in the file's order", daemon, games, (), "by-group"))
        ids = []
        for what, uid, gid, groups, _ in cases:
            status, answer, request_id = self.call_as(uid, gid, groups)
            self.assertEqual(status, 200, (what, answer))
            ids.append(request_id)
        wait_for(lambda: set(ids) <= {r["request_id"] for r in self.stack.records()}, "a record of each")
        records = {r["request_id"]: r for r in self.stack.records()}
        for request_id, (what, uid, _, _, project) in zip(ids, cases):
            r = records[request_id]
            self.assertEqual((r["project"], r["uid"], r["key_id"]), (project, uid, ""), what)

    def test_nobody_of_the_policy(self):
        status, answer, request_id = self.call_as(MEMBER, 54321)
        self.assertEqual((status, answer["error"]["code"], answer["error"]["type"]), (401, "no_identity", "authentication_error"))
        ours = self.stack.chat("small")  # and we are somebody
        self.assertEqual(ours.status, 200)
        wait_for(lambda: ours.header("x-request-id") in {r["request_id"] for r in self.stack.records()}, "our record")
        self.assertNotIn(request_id, {r["request_id"] for r in self.stack.records()})

    @unittest.skipUnless(os.path.isdir("/run/systemd/system") and shutil.which("systemd-run"), "needs systemd: an identity by unit")
    def test_by_unit(self):
        unit = f"aigw-test-{os.getpid()}.service"
        self.stack.apply(POLICY.replace("no-such-unit.service", unit).replace("  - {uid: $UID, project: own}\n", ""))
        got = subprocess.run(["systemd-run", "--quiet", "--wait", "--pipe", "--unit", unit, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                              "--unix-socket", self.stack.unix, "-H", "content-type: application/json", "-d", json.dumps(ask()), "http://aigw" + CHAT],
                             stdout=subprocess.PIPE, timeout=60, check=True)
        self.assertEqual(got.stdout, b"200")
        self.stack.apply(POLICY)

    def test_a_user_that_this_host_lacks(self):
        """Said, and no reason to refuse the policy: it may be meant for other hosts."""
        self.stack.apply(POLICY.replace("user: daemon", "user: no-such-user-here"))
        wait_for(lambda: "policy.unknown_identity" in log_of(self.stack), "the log says so")
        self.assertEqual(self.stack.chat("small").status, 200)
        self.stack.apply(POLICY)


class Credentials(Case):
    """$CREDENTIALS_DIRECTORY, then secrets_dir, then what the controller sent."""

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, POLICY, sim=["--log-headers"], secrets={}))
        os.mkdir(self.stack.path("secrets.d"))
        os.mkdir(self.stack.path("credentials"))

    def used(self):
        """The credential that the provider saw, by its last four characters; None: the call was not sent."""
        a = self.stack.chat("small")
        if a.status != 200:
            expect(self, a, "upstream_no_credential", "aigwctl provider secret set")
            return None
        line = next(l for l in self.stack.sim_log() if l["event"] == "recv" and l["client_request_id"] == a.header("x-request-id"))
        headers = dict(line["headers"].items() if isinstance(line["headers"], dict) else line["headers"])
        return {n.lower(): v for n, v in headers.items()}["authorization"][-4:]

    def wait_source(self, source):
        def met():
            agent = self.stack.api("GET", "/api/v1/agents")["agents"][0]
            return [s["source"] for s in agent["secrets"] if s["name"] == "sim"] == [source]
        wait_for(met, lambda: f"source {source}: {self.stack.api('GET', '/api/v1/agents')['agents'][0]['secrets']}")
        provider = next(p for p in self.stack.api("GET", "/api/v1/status")["providers"] if p["name"] == "sim")
        self.assertEqual(provider["credentials"][0]["sources"], {"a1": source})

    def aigwctl(self, *args, data=None):
        return subprocess.run([AIGWCTL, "--ctl", "unix:" + self.stack.admin, *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60)

    def put_file(self, *path, text):
        with open(self.stack.path(*path), "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(text + "\n")

    def hang_up(self):
        before = log_of(self.stack).count("agent.reloaded")
        self.stack.agent.proc.send_signal(signal.SIGHUP)
        wait_for(lambda: log_of(self.stack).count("agent.reloaded") > before, "the agent has reloaded")

    def restart(self, **env):
        self.stack.end(self.stack.agent)
        os.environ.update(env)
        try:
            self.stack.start_agent()
        finally:
            for name in env:
                del os.environ[name]

    def test_precedence(self):
        self.assertIsNone(self.used())
        self.wait_source("none")
        # 1. From the controller: pushed, cached, still there after a restart without it.
        got = self.aigwctl("provider", "secret", "set", "sim", "--secret-file", "-", data="sk-from-the-controller-CCCC\n")
        self.assertEqual(got.returncode, 0, got.stdout)
        self.assertEqual(self.used(), "CCCC")
        self.wait_source("cache")
        self.stack.end(self.stack.ctld)
        self.restart()
        self.assertEqual(self.used(), "CCCC")
        self.stack.start_ctld()
        # 2. A file in secrets_dir, read again at SIGHUP, stands above it; a new one from the controller is kept and said to be shadowed.
        self.put_file("secrets.d", "sim", text="sk-from-a-file-FFFF")
        self.stack.agent_settings["secrets_dir"] = self.stack.path("secrets.d")
        self.stack.write_agent_settings()
        self.hang_up()
        wait_for(lambda: self.used() == "FFFF", "the file's credential")
        self.wait_source("secrets_dir")
        answer = self.stack.api("PUT", "/api/v1/secrets/sim", {"value": "sk-from-the-controller-DDDD"})
        self.assertEqual([(a["name"], a["state"], a["source"]) for a in answer["agents"]], [("a1", "shadowed", "secrets_dir")])
        self.assertEqual(self.used(), "FFFF")
        # 3. systemd's folder stands above both.
        self.put_file("credentials", "provider_sim", text="sk-from-systemd-SSSS")
        self.restart(CREDENTIALS_DIRECTORY=self.stack.path("credentials"))
        self.assertEqual(self.used(), "SSSS")
        self.wait_source("credentials_directory")
        self.assertRegex(self.aigwctl("status").stdout, r"sim\b.*credentials.directory")
        # Without them the newest that the controller sent.
        os.unlink(self.stack.path("secrets.d", "sim"))
        self.restart()
        wait_for(lambda: self.used() == "DDDD", "the newest of the controller's")
        self.wait_source("cache")

    def test_a_changed_file_is_read_at_sighup(self):
        self.stack.agent_settings["secrets_dir"] = self.stack.path("secrets.d")
        self.put_file("secrets.d", "sim", text="sk-1111")
        self.restart()
        self.assertEqual(self.used(), "1111")
        self.put_file("secrets.d", "sim", text="sk-2222")
        self.assertEqual(self.used(), "1111")
        self.hang_up()
        wait_for(lambda: self.used() == "2222", "the new credential")

    def test_files_that_are_none(self):
        """Refused with a warning that names the file, never its content; the others count."""
        self.stack.agent_settings["secrets_dir"] = self.stack.path("secrets.d")
        self.put_file("secrets.d", "sim", text="two\nlines-CANARY")
        self.put_file("secrets.d", "other", text="fine")
        self.restart()
        self.assertIsNone(self.used())
        log = log_of(self.stack)
        self.assertRegex(log, r"level=warning area=secrets event=secrets.unreadable .*secrets\.d/sim")
        self.assertNotIn("CANARY", log)

    def test_refused_by_the_provider(self):
        """Its 401 is ours to explain, not the client's: 502 without a word of its text."""
        stack = self.enterContext(Stack(BUILD, POLICY, sim=["--require-key", "sk-the-right-one"], secrets={"sim": "sk-the-wrong-one"}))
        a = stack.chat("small")
        expect(self, a, "upstream_auth_failed", "aigwctl provider secret set")
        for word in (b"the-wrong-one", b"Incorrect", b"incorrect", b"sk-"):
            self.assertNotIn(word, a.body)
        a = stack.chat("small", stream=True)
        expect(self, a, "upstream_auth_failed")
        records = stack.wait_records(2)
        self.assertEqual({(r["outcome"], r["fail"], r["status"], r["cost"]) for r in records}, {("failed", "upstream_auth_failed", 502, None)})
        self.assertIn("event=provider.auth_failed provider=sim credential=sim status=401", log_of(stack))
        stack.api("PUT", "/api/v1/secrets/sim", {"value": "sk-the-right-one"})
        self.assertEqual(stack.chat("small").status, 200)


if __name__ == "__main__":
    unittest.main()
