"""Every verb of aigwctl against a real controller and agent: its output in table, json and csv as it is written down in golden/, its json as
openapi.json describes it, completion in a real bash, --watch on a terminal and in a pipe.

Usage: test_verbs.py [BUILD_ROOT] [unittest arguments]. AIGW_GOLDEN=write writes golden/ anew; then read the difference.
"""
import json
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import golden  # noqa: E402
from harness import Stack, build_root, wait_for  # noqa: E402

BUILD = build_root()
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")

POLICY = """\
apiVersion: aigw/v1
settings: {currency: USD}
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: spare, type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, cached_input: 0.5, output: 2}
  - {provider: sim, model: "*", from: 2100-01-01, input: 3, output: 4, per_request: 0.01}
models:
  - {name: small, aliases: [tiny, mini], targets: [{provider: sim, model: sim-small}]}
  - {name: "vendor/other", targets: [{provider: spare, model: other}]}
  - {name: two, strategy: priority, targets: [{provider: spare, model: x}, {provider: sim, model: y, weight: 0, priority: 2}]}
customers:
  - name: acme
    projects: [{name: search, models: [small]}, {name: playground}]
  - name: "zed.org"
    projects: [{name: lab, models: []}]
identities:
  - {uid: $UID, project: playground}
  - {unit: search.service, project: search}
"""

LISTS = {  # verb: the schema of its json
    ("key", "list", "--sort", "name"): "keys", ("usage", "show", "--by", "project,model"): "usage", ("history",): "revisions", ("provider", "list"): "providers",
    ("model", "list"): "models", ("model", "list", "--project", "search"): "models", ("project", "list"): "projects", ("price", "list"): "prices",
    ("price", "list", "--at", "2026-11-01"): "prices", ("price", "list", "--model", "x"): "prices", ("agent", "list"): "agents",
}
OBJECTS = {
    ("provider", "show", "sim"): "provider", ("model", "show", "mini"): "model", ("project", "show", "lab"): "project",
    ("agent", "show", "a1"): "agent", ("status",): "status", ("version",): None, ("explain", "spool_full"): None,
    ("diff", "-f", "OTHER"): "policy_differences", ("diff", "--revision", "1..2"): "policy_differences", ("rollback", "1", "-n"): "policy_applied",
    ("validate", "-f", "OTHER"): None,
}
VOLATILE = {("agent", "list"), ("agent", "show", "a1"), ("status",), ("version",)}  # only their json is compared, as its shape


class Verbs(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, POLICY))
        key = cls.stack.make_key("search", name="ci")
        cls.stack.make_key("lab", name="a,b \"q\"")
        for _ in range(3):
            cls.stack.chat("small", key=key)
        cls.stack.chat("small", way="unix")
        cls.stack.wait_records(4)
        cls.other = cls.stack.path("other.yaml")
        text = cls.stack.expand(POLICY).replace("output: 2}", "output: 2.5}").replace("aliases: [tiny, ", "aliases: [wee, ")
        with open(cls.other, "w", encoding="utf-8") as f:
            f.write(text.replace("{name: playground}", "{name: playground}, {name: new}"))
        cls.run_ctl("apply", "-y", "-f", cls.other, "-m", "two changes")
        with open(cls.other, "w", encoding="utf-8") as f:  # what diff looks at: not what is in force
            f.write(cls.stack.expand(POLICY))

    @classmethod
    def run_ctl(cls, *args, code=0, **more):
        argv = [AIGWCTL, *(cls.other if a == "OTHER" else a for a in args)]
        env = {k: v for k, v in os.environ.items() if not k.startswith("AIGW_")} | {"AIGW_CTL": "unix:" + cls.stack.admin, "TZ": "UTC"}
        got = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **more)
        if code is not None and got.returncode != code:
            raise AssertionError(f"{args}: exit {got.returncode}, not {code}: {got.stdout}{got.stderr}")
        return got

    def compare(self, name, text):
        golden.compare(self, name, text, home=self.stack.home)

    def ok(self, args):
        return 1 if args[0] == "diff" else 0

    def test_golden(self):
        """One file per verb and format."""
        for args in (*LISTS, *OBJECTS):
            for fmt in ("table", "json", "csv") if args in LISTS else ("table", "json"):
                if args in VOLATILE and fmt != "json":
                    self.run_ctl(*args, "-o", fmt)
                    continue
                more = [] if args in VOLATILE else ["-o", fmt]
                if args[0] == "explain" and fmt == "csv":
                    continue
                with self.subTest(args=args, fmt=fmt):
                    name = re.sub(r"[^A-Za-z0-9]+", "-", " ".join(args)).strip("-") + "." + fmt
                    if args in VOLATILE:
                        self.compare(name, shape(json.loads(self.run_ctl(*args, "-o", "json").stdout)))
                    else:
                        self.compare(name, self.run_ctl(*args, *more, code=self.ok(args)).stdout)

    def test_json_is_as_described(self):
        api = self.stack.api("GET", "/api/v1/openapi.json")
        schemas = api["components"]["schemas"]
        for args, name in {**LISTS, **OBJECTS}.items():
            if name:
                with self.subTest(args=args):
                    self.fits(json.loads(self.run_ctl(*args, "-o", "json", code=self.ok(args)).stdout), schemas[name], schemas, name)

    def fits(self, v, schema, schemas, where):
        """v against the subset of JSON schema that the description uses; no member that it does not know."""
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
        if v is None:
            return
        kind = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}[schema["type"]]
        self.assertIsInstance(v, kind, where)
        self.assertIn(v, schema.get("enum", [v]), where)
        if kind is list:
            for x in v:
                self.fits(x, schema["items"], schemas, where + "[]")
        for member in schema.get("required", []):
            self.assertIn(member, v, where)
        properties = schema.get("properties")
        for member, x in v.items() if properties and "by" not in v and "requests" not in v else ():
            self.assertIn(member, properties, where)
            self.fits(x, properties[member], schemas, f"{where}.{member}")

    def test_rows_are_chosen_and_ordered(self):
        def names(*flags):
            return self.run_ctl("project", "list", "-o", "name", *flags).stdout.split()
        for flags, want in (
                ((), ["search", "playground", "new", "lab"]), (("--sort", "name"), ["lab", "new", "playground", "search"]),
                (("--sort", "-name", "--limit", "2"), ["search", "playground"]), (("--filter", "customer = acme"), ["search", "playground", "new"]),
                (("--filter", "customer != acme"), ["lab"]), (("--filter", "name ~ a"), ["search", "playground", "lab"]),
                (("--filter", "keys >= 1", "--sort", "name"), ["lab", "search"]), (("--filter", "keys < 1", "--filter", "name ~ new"), ["new"]),
                (("--filter", "project='lab'"), ["lab"]), (("--filter", "keys > 1"), [])):
            with self.subTest(flags=flags):
                self.assertEqual(names(*flags), want)

    def test_help_and_near_names(self):
        for args in (*LISTS, *OBJECTS, ("apply",), ("key", "create"), ("key", "revoke"), ("provider", "secret", "set"), ("init",), ("env",),
                     ("completion",), ("demo",), ("usage", "show"), ("chat",), ("tail",), ("events",), ("agent", "drain"), ("agent", "resume"),
                     ("agent", "stats", "cat"), ("agent", "stats", "ls"), ("agent", "log-level"), ("help",)):
            plain = [w for w in args if w.replace("-", "").isalpha()]
            words = plain[:3 if args[:2] in (("provider", "secret"), ("agent", "stats")) else 2]
            words = [args[0]] if args[0] in ("diff", "rollback", "explain", "validate") or args[1:2] != tuple(words[1:2]) else words
            with self.subTest(words=words):
                self.assertIn("aigwctl " + " ".join(words), self.run_ctl(*words, "-h").stdout)
                wrong = [*words[:-1], words[-1][:-1] + "x" + words[-1][-1]]
                self.assertIn("did you mean", self.run_ctl(*wrong, code=2).stderr)

    def test_rollback_revives_no_key(self):
        with Stack(BUILD, POLICY) as stack:
            key = stack.make_key("search")
            listed = stack.api("GET", "/api/v1/keys")["keys"]
            stack.apply(POLICY.replace("output: 2}", "output: 9}"))
            stack.api("POST", f"/api/v1/keys/{listed[0]['id']}/revoke", {"timeout_ms": 60000})
            env = {**os.environ, "AIGW_CTL": "unix:" + stack.admin}
            done = subprocess.run([AIGWCTL, "rollback", "-y"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertIn("revision 3 on 1/1 agents", done.stdout)
            self.assertEqual(stack.chat("small", key=key).status, 401)
            self.assertEqual(subprocess.run([AIGWCTL, "rollback", "1", "-y", "--if-revision", "1"], env=env, stdout=subprocess.PIPE,
                                            stderr=subprocess.STDOUT, timeout=60).returncode, 5)

    def test_env_is_for_eval(self):
        for shell, secret in (("bash", "sk-aigw-it's $HOME"),):
            out = self.run_ctl("env", "--secret-file", "-", "--shell", shell, input=secret + "\n").stdout
            got = subprocess.run([shell, "-c", out + '\nprintf "%s|%s" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'], stdout=subprocess.PIPE, text=True,
                                 timeout=60, check=True).stdout
            self.assertEqual(got, f"http://127.0.0.1:2449/v1|{secret}")

    def test_watch_in_a_pipe_gives_changes(self):
        env = {**os.environ, "AIGW_CTL": "unix:" + self.stack.admin}
        with subprocess.Popen([AIGWCTL, "key", "list", "-o", "jsonl", "--watch=100ms"], env=env, stdout=subprocess.PIPE, text=True) as watching:
            try:
                seen = [json.loads(watching.stdout.readline())["name"] for _ in range(2)]
                self.stack.make_key("search", name="third")
                self.assertEqual(json.loads(watching.stdout.readline())["name"], "third")
                self.assertEqual(sorted(seen), ["a,b \"q\"", "ci"])
                listed = {k["name"]: k["id"] for k in self.stack.api("GET", "/api/v1/keys")["keys"]}
                self.stack.api("POST", f"/api/v1/keys/{listed['third']}/revoke", {})
                self.assertEqual(json.loads(watching.stdout.readline())["state"], "revoked")
            finally:
                watching.terminate()


class Steps(unittest.TestCase):
    """Verbs that change something, one after another, in each form: what they print on both outputs, and their exit codes."""
    maxDiff = None
    compare, fits = Verbs.compare, Verbs.fits

    SCHEMAS = {"plan": "policy_applied", "apply": "policy_applied", "again": "policy_applied", "wrong": "error", "key-create": "key_created",
               "key-show": "key", "key-revoke-plan": "key", "key-revoke": "key_revoked", "key-revoked": "key", "secret-set": "secret_set",
               "rollback": "policy_applied"}
    STEPS = (  # name, words, exit code, standard input
        ("plan", ("apply", "-n", "-f", "OTHER"), 0, None), ("apply", ("apply", "-y", "-f", "OTHER", "-m", "two changes"), 0, None),
        ("again", ("apply", "-y", "-f", "OTHER"), 0, None), ("moved-on", ("apply", "-y", "-f", "OTHER", "--if-revision", "1"), 5, None),
        ("wrong", ("apply", "-y", "-f", "WRONG"), 7, None), ("key-create", ("key", "create", "ci", "--project", "search", "--expires", "90d"), 0, None),
        ("key-twice", ("key", "create", "ci", "--project", "search"), 5, None), ("key-nowhere", ("key", "create", "ci", "--project", "serach"), 3, None),
        ("key-show", ("key", "show", "KEY"), 0, None), ("key-revoke-plan", ("key", "revoke", "KEY", "-n"), 0, None),
        ("key-revoke", ("key", "revoke", "KEY"), 0, None), ("key-revoked", ("key", "show", "KEY"), 0, None),
        ("key-none", ("key", "show", "key_nope"), 3, None), ("secret-set", ("provider", "secret", "set", "sim", "--secret-file", "-"), 0, "sk-new\n"),
        ("rollback", ("rollback", "-y", "-m", "back"), 0, None), ("drain", ("agent", "drain", "a1"), 0, None), ("drained", ("agent", "drain", "a1"), 0, None),
        ("resume", ("agent", "resume", "a1"), 0, None), ("log-level", ("agent", "log-level", "a1", "debug"), 0, None),
    )

    def run_steps(self, fmt):
        stack = self.enterContext(Stack(BUILD, POLICY))
        self.stack = stack
        files = {"OTHER": stack.path("other.yaml"), "WRONG": stack.path("wrong.yaml")}
        text = stack.expand(POLICY).replace("output: 2}", "output: 2.5}").replace("{name: playground}", "{name: playground}, {name: new}")
        for path, content in zip(files.values(), (text, text.replace("provider: spare", "provider: spar"))):
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
        env = {k: v for k, v in os.environ.items() if not k.startswith("AIGW_")}
        env |= {"AIGW_CTL": "unix:" + stack.admin, "AIGW_AGENT": "unix:" + stack.path("control.sock"), "TZ": "UTC"}
        for name, words, code, stdin in self.STEPS:
            with self.subTest(step=name, fmt=fmt):
                if "KEY" in words:
                    files["KEY"] = stack.api("GET", "/api/v1/keys")["keys"][0]["id"]
                argv = [AIGWCTL, *(files.get(w, w) for w in words), *(["-o", fmt] if fmt != "table" else [])]
                got = subprocess.run(argv, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(got.returncode, code, got)
                self.assertNotIn("sk-new", got.stdout + got.stderr)
                if fmt == "json" and name in self.SCHEMAS:
                    schemas = stack.api("GET", "/api/v1/openapi.json")["components"]["schemas"]
                    self.fits(json.loads(got.stdout), schemas[self.SCHEMAS[name]], schemas, name)
                self.compare(f"step-{name}.{fmt}", f"{got.stdout}--- standard error\n{got.stderr}")

    def test_tables(self):
        self.run_steps("table")

    def test_json(self):
        self.run_steps("json")


class Local(unittest.TestCase):
    """Verbs that speak with this host's agent, or with nobody."""
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, POLICY, agent={"workers": 1}))
        cls.key = cls.stack.make_key("search", name="ci")
        cls.stack.chat("small", key=cls.key)
        cls.stack.chat("small", key=cls.key, stream=True)
        cls.stack.chat("small", way="unix")
        cls.stack.chat("small", key="sk-aigw-wrong")
        cls.stack.chat("smal", key=cls.key)
        cls.stack.chat("vendor/other", way="unix")
        cls.stack.wait_records(5)

    def run_ctl(self, *args, code=0, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AIGW_", "OPENAI_"))}
        env |= {"AIGW_CTL": "unix:" + self.stack.admin, "AIGW_AGENT": "unix:" + self.stack.path("control.sock"), "TZ": "UTC", **more.pop("env", {})}
        got = subprocess.run([AIGWCTL, *args], env=env, capture_output=True, text=True, timeout=60, check=False, **more)
        self.assertEqual(got.returncode, code, got)
        return got

    def compare(self, name, got, masks=()):
        golden.compare(self, name, f"{got.stdout}--- standard error\n{got.stderr}" if got.stderr else got.stdout, masks, self.stack.home)

    def test_lists(self):
        for name, words in (("tail", ("tail",)), ("tail-chosen", ("tail", "-n", "100", "--filter", "status>=400", "--sort", "-status")),
                            ("events", ("events", "--kind", "call.*")), ("stats-ls", ("agent", "stats", "ls")),
                            ("stats-ls-folder", ("agent", "stats", "ls", "models/vendor%2Fother"))):
            for fmt in ("table", "wide", "json", "jsonl", "csv", "yaml", "name"):
                with self.subTest(name=name, fmt=fmt):
                    got = self.run_ctl(*words, "-o", fmt)
                    self.compare(f"local-{name}.{'wide.table' if fmt == 'wide' else fmt}", got, self.spans(fmt))

    @staticmethod
    def spans(fmt):
        """Where times stand without a unit."""
        if fmt == "csv":
            return ((r"(?m)^([^,]*,[^,]*,[^,]*,[^,]*,[^,]*,\d*,\d*,\d*),\d*,\d*,", r"\1,US,US,"), (r"_us=\d+", "_us=N"), (r"\buid:\d+", "uid:UID"))
        return ((r"_us(\"?[:=] ?)\d+", r"_us\1N"), (r"\buid:\d+", "uid:UID"))

    def test_files_of_the_stats(self):
        for path in ("models/small/stat", "models/small/targets", "README", "health"):
            with self.subTest(path=path):
                self.compare("local-stats-cat-" + path.replace("/", "-"), self.run_ctl("agent", "stats", "cat", path),
                             ((r"(?m)^(\w*(?:_us|_ms|time|_s)\w*) \d+$", r"\1 N"),))
        self.compare("local-stats-cat-folder", self.run_ctl("agent", "stats", "cat", "models", code=2))
        self.compare("local-stats-ls-file", self.run_ctl("agent", "stats", "ls", "health", code=2))
        self.compare("local-stats-cat-none", self.run_ctl("agent", "stats", "cat", "modles", code=3))

    def test_env_and_completion_of_each_shell(self):
        for shell in ("bash", "zsh", "fish"):
            with self.subTest(shell=shell):
                self.compare(f"local-env-{shell}", self.run_ctl("env", "--secret-file", "-", "--shell", shell, input="sk-aigw-it's\n"))
                self.compare(f"local-completion-{shell}", self.run_ctl("completion", shell))
        for words, offered in ((("explain", "route", "m", "--n"), ["--needs"]), (("explain", "r"), ["request", "route"]), (("try", "m", "--show"), ["--show-route"]), (("try", "sm"), ["small"])):
            self.assertEqual(self.run_ctl("__complete", "--", *words).stdout.split(), offered)
        self.compare("local-completion-none", self.run_ctl("completion", "tcsh", code=2))
        self.compare("local-env-none", self.run_ctl("env", code=2))

    INIT = """mkdir %(tmp)s/etc && cp -a /etc/. %(tmp)s/etc && rm -rf %(tmp)s/etc/aigw && mount --bind %(tmp)s/etc /etc
printf sk-one | %(ctl)s init --no-start --secret-file - %(more)s; echo exit $?; cat /etc/aigw/policy.yaml; stat -c "%%a %%n" /etc/aigw/secrets.d /etc/aigw/secrets.d/*
%(ctl)s init --no-start --provider http://127.0.0.1:9/v1 --model a; echo exit $?"""

    def test_init(self):
        """In a mount namespace with an /etc of its own; with the units started it is in the boot test."""
        if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("not root, or no mount namespace can be made")
        for name, more in (("table", "--local-user nobody"), ("json", "-o json --project lab --model m=m-2024")):
            with self.subTest(name=name), tempfile.TemporaryDirectory() as tmp:
                got = subprocess.run(["unshare", "-m", "sh", "-c", self.INIT % {"tmp": tmp, "ctl": AIGWCTL, "more": more}], capture_output=True, text=True,
                                     timeout=60, check=False)
                self.assertNotIn("sk-one", got.stdout + got.stderr)
                self.compare(f"local-init-{name}", got)


class Asking(unittest.TestCase):
    maxDiff = None
    run_ctl, compare = Local.run_ctl, Local.compare

    def test_chat(self):
        self.stack = self.enterContext(Stack(BUILD, POLICY))
        env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{self.stack.port}/v1", "OPENAI_API_KEY": self.stack.make_key("search")}
        for name, words, code in (("text", ("hello",), 0), ("json", ("-o", "json", "hello"), 0), ("no-model", ("--model", "smal", "hello"), 3),
                                  ("csv", ("-o", "csv", "hello"), 2)):
            with self.subTest(name=name):
                self.compare(f"local-chat-{name}", self.run_ctl("chat", *words, env=env, code=code), ((r"\d+ ms", "TIME"), (r"\"created\": ?\d+", "CREATED"),
                                                                                                 (r"chatcmpl-[\w-]+", "chatcmpl-ID")))


class Terminal(unittest.TestCase):
    """A bash that a person types into."""

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, POLICY))

    def setUp(self):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ.update({"PATH": os.path.dirname(AIGWCTL) + ":" + os.environ["PATH"], "AIGW_CTL": "unix:" + self.stack.admin, "PS1": "$ ",
                               "TERM": "xterm", "COLUMNS": "200"})
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.close, self.fd)
        self.text = ""
        self.type("bind 'set enable-bracketed-paste off'; PS1='READY$ '\n", "READY$ ")
        self.type("eval \"$(aigwctl completion bash)\"\n", "READY$ ")

    def type(self, keys, until):
        self.text = ""
        os.write(self.fd, keys.encode())

        def seen():
            while select.select([self.fd], [], [], 0.02)[0]:
                self.text += os.read(self.fd, 65536).decode(errors="replace")
            return until in self.text
        wait_for(seen, lambda: f"{until!r} after {keys!r}: {self.text!r}", 30)

    def test_words_flags_and_live_names(self):
        for keys, until in (("aigwctl hist\t", "history "), ("\x15aigwctl price l\t", "list "), ("\x15aigwctl model show sm\t", "small "),
                            ("\x15aigwctl key create x --project pl\t", "playground "), ("\x15aigwctl usage show --per\t", "--period "),
                            ("\x15aigwctl usage show --period last\t", "last-month ")):
            with self.subTest(keys=keys):
                self.type(keys, until)

    def test_without_a_controller_it_does_not_hang(self):
        self.type("export AIGW_CTL=unix:/nowhere\n", "READY$ ")
        began = time.monotonic()
        self.type("aigwctl model show \t\t", "\x07")
        self.assertLess(time.monotonic() - began, 10)

    def test_watch_draws_anew(self):
        self.type("aigwctl project list --watch=100ms\n", "\x1b[H\x1b[2J")
        self.type("", "search")
        self.type("\x03", "READY$ ")


def shape(v, depth=0):
    """The members and kinds of a json value, without its values."""
    if isinstance(v, dict):
        return "".join(f"{'  ' * depth}{k}:" + (f"\n{shape(x, depth + 1)}" if isinstance(x, (dict, list)) and x else f" {type(x).__name__}\n")
                       for k, x in v.items() if k != "reason")
    if isinstance(v, list):
        return f"{'  ' * depth}-\n" + shape(v[0], depth + 1) if isinstance(v[0], (dict, list)) else f"{'  ' * depth}- {type(v[0]).__name__}\n"
    return f"{'  ' * depth}{type(v).__name__}\n"


if __name__ == "__main__":
    unittest.main()
