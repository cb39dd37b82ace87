"""The whole product on this host: aigw-sim, aigw-ctld and aigw-agentd of one build tree, in a folder that goes away again.

    with Stack(policy=POLICY) as stack:
        key = stack.make_key("search")
        answer = stack.chat("small", "hello", key=key)
        records = stack.wait_records(1)

The policy is text with $SIM (base URL of the simulator's plain port, with /v1), $SIM_TLS, $CA (its certificate), $UID and $HOME.
At the end every program has to stop by itself with code 0, without a sanitizer's report or a line of level=error in its log,
unless the test said that it expects one. Nothing waits for a fixed time: programs tell by a line, an answer or their end.
"""
import atexit
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
import urllib.parse

from wire import Wire, call as http_call

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error: |SUMMARY: \w+Sanitizer|Assertion .* failed")
START_S, STOP_S, SETTLE_S = 60, 60, 60  # generous: a sanitized build on a busy host

POLICY = """\
apiVersion: aigw/v1
settings: {currency: USD}
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, cached_input: 0.5, output: 2}
models:
  - {name: small, aliases: [tiny], targets: [{provider: sim, model: sim-small}]}
customers:
  - name: acme
    projects: [{name: search}, {name: playground}]
identities:
  - {uid: $UID, project: playground}
"""


def on_sigterm(*_):
    raise KeyboardInterrupt  # unittest ends at once, and what is registered for the end runs


signal.signal(signal.SIGTERM, on_sigterm)


class Failure(AssertionError):
    """A program of the stack did not do what it has to do."""


def build_root(argv=sys.argv):
    """The build tree: the first argument of the program if it is a folder (then it is taken off), else $AIGW_BUILD."""
    if len(argv) > 1 and os.path.isdir(argv[1]):
        return os.path.abspath(argv.pop(1))
    root = os.environ.get("AIGW_BUILD")
    if not root:
        sys.exit("usage: AIGW_BUILD=BUILD_ROOT or the build tree as first argument")
    return os.path.abspath(root)


def wait_for(met, what, seconds=SETTLE_S, pause=0.002):
    """The first true value of met(); for what other processes do."""
    until = time.monotonic() + seconds
    while not (got := met()):
        if time.monotonic() > until:
            raise Failure(f"not within {seconds} s: {what() if callable(what) else what}")
        select.select([], [], [], pause)
        pause = min(pause * 1.5, 0.05)
    return got


def free_port():
    """A port that nobody has, below those that outgoing connections take."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("no free port")


class Program:
    """One child process whose log is a file; its end is an event."""

    def __init__(self, name, args, log, stdout=None, more_env=None):
        env = {**os.environ, **(more_env or {})}
        env.setdefault("ASAN_OPTIONS", "halt_on_error=1:detect_stack_use_after_return=1")
        env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
        self.name, self.log = name, log
        with open(log, "ab") as err:
            self.proc = subprocess.Popen(args, env=env, stdin=subprocess.DEVNULL, stdout=stdout or err, stderr=err)
        self.pid = self.proc.pid

    def running(self):
        return self.proc.poll() is None

    def wait(self, seconds=STOP_S):
        try:
            return self.proc.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise Failure(f"{self.name} did not end within {seconds} s\n{self.tail()}") from None

    def tail(self, lines=30):
        with open(self.log, errors="replace") as f:
            return "".join(f"  {self.name}: {line}" for line in f.readlines()[-lines:])


class Stack:
    """Everything that it starts it stops. Keyword arguments:
    build      the build tree (default: $AIGW_BUILD)
    policy     text, applied when all run; None: none
    sim        options for aigw-sim
    agent      settings of aigw-agentd beside those of the test
    secrets    provider credentials, set through the admin API
    expected   regular expressions: lines of level=error that may stand in a log
    base       the folder for its folder (default: in memory); on a disk commits take as long as they do in earnest
    """

    def __init__(self, build=None, policy=POLICY, sim=(), agent=None, secrets=None, expected=(), base=None):
        self.build = build or build_root(["-"])
        self.policy, self.expected = policy, [re.compile(e) for e in expected]
        self.sim_options, self.agent_settings, self.agent_options = list(sim), dict(agent or {}), []
        self.agent_env = {}  # from the agent's next start on
        self.secrets = {"sim": "sk-provider-0123456789"} if secrets is None else dict(secrets)
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
        self.home = tempfile.mkdtemp(prefix="aigw-", dir=base or memory)
        self.sim = self.ctld = self.agent = None
        self.sim_at, self.killed, self.programs, self.stopped = {}, set(), [], False
        self.port = free_port()
        self.unix, self.admin = self.path("agent.sock"), self.path("admin.sock")
        atexit.register(self.stop, checks=False)  # if the test is ended

    def path(self, *names):
        return os.path.join(self.home, *names)

    def __enter__(self):
        try:
            self.start_sim()
            self.start_ctld()
            for name, value in self.secrets.items():
                self.api("PUT", "/api/v1/secrets/" + name, {"value": value})
            self.start_agent(ready=False)
            if self.policy is not None:
                self.apply(self.policy)
                self.wait_ready()
        except BaseException:
            self.stop(checks=False)
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind and not issubclass(kind, KeyboardInterrupt):
            print(self.logs(), file=sys.stderr)
        self.stop(checks=kind is None)

    # --- programs ------------------------------------------------------------------------------------------------------

    def program(self, name, args, stdout=None, more_env=None):
        p = Program(name, args, self.path(name + ".log"), stdout, more_env)
        self.programs.append(p)
        return p

    def start_sim(self):
        """Started anew it listens where it did before."""
        at = self.sim_at.get("http", "127.0.0.1:0")
        tls = self.sim_at.get("tls", "127.0.0.1:0")
        certs = self.path("tls")
        os.makedirs(certs, exist_ok=True)
        binary = os.path.join(self.build, "tests/sim/aigw-sim")
        p = self.program("sim", [binary, "--listen", at, "--tls-listen", tls, "--tls-self-signed", certs, "--log", self.path("calls.log"),
                                 "--die-with-parent", *self.sim_options], subprocess.PIPE)
        line = p.proc.stdout.readline().decode()
        if not line.startswith("ready"):
            raise Failure(f"aigw-sim did not start: {line!r}\n{p.tail()}")
        self.sim_at = dict(word.split("=", 1) for word in line.split()[1:])
        self.sim = p

    def settings(self, name, values):
        path = self.path(name)
        with open(path, "w") as f:
            f.writelines(f"{k}: {v}\n" for k, v in values.items())
        return path

    def launch_ctld(self):
        """Started; it need not be ready yet."""
        config = self.settings("ctld.yaml", {"admin_socket": self.admin, "agents_socket": self.path("agents.sock"),
                                             "state_dir": self.path("ctld")})
        os.makedirs(self.path("ctld"), mode=0o700, exist_ok=True)
        self.ctld = self.program("ctld", [os.path.join(self.build, "ctl/ctld/aigw-ctld"), "--config", config, "--die-with-parent"])

    def start_ctld(self):
        self.launch_ctld()
        wait_for(self.probe(self.ctld, lambda: self.api("GET", "/api/v1/version")), "the admin API answers", START_S)

    def write_agent_settings(self):
        values = {"listen": f"127.0.0.1:{self.port}", "socket": self.unix, "controller": "unix:" + self.path("agents.sock"),
                  "agent_id": "a1", "state_dir": self.path("agent"), "runtime_dir": self.path("run"), "stats": "off", "control_socket": self.path("control.sock"),
                  "secrets_dir": "off", "workers": 2, "drain_timeout": "20s", "spool_size": "64MiB"}
        values.update(self.agent_settings)
        return self.settings("agentd.yaml", values)

    def launch_agent(self):
        """Started; it need not be ready yet."""
        config = self.write_agent_settings()
        self.agent = self.program("agentd", [os.path.join(self.build, "agentd/aigw-agentd"), "--config", config, "--die-with-parent", *self.agent_options],
                                  more_env=self.agent_env)

    def preload(self, library, **env):
        """From its next start on the agent has this library of tests/lib in front of all others."""
        self.agent_env = {"LD_PRELOAD": library, "ASAN_OPTIONS": "halt_on_error=1:detect_stack_use_after_return=1:verify_asan_link_order=0", **env}

    def start_agent(self, ready=True):
        self.launch_agent()
        wait_for(self.probe(self.agent, lambda: http_call(self.where("tcp"), "/healthz").status == 200), "the agent answers", START_S)
        if ready:
            self.wait_ready()

    def probe(self, program, ask):
        def met():
            if not program.running():
                raise Failure(f"{program.name} ended with {program.proc.returncode} at its start\n{program.tail()}")
            try:
                return ask()
            except OSError:
                return None
        return met

    def wait_ready(self):
        seen = []

        def ready():
            seen[:] = [http_call(self.where("tcp"), "/readyz")]
            return seen[0].status == 200
        wait_for(self.probe(self.agent, ready), lambda: f"the agent is ready: {seen and seen[0].body}", START_S)

    def kill(self, program):
        """SIGKILL, as a crash."""
        self.killed.add(program.pid)
        program.proc.kill()
        program.proc.wait()

    def end(self, program):
        """SIGTERM; it has to end by itself and well."""
        if program is None or program.pid in self.killed:
            return
        if program.running():
            program.proc.send_signal(signal.SIGTERM)
        code = program.wait()
        self.killed.add(program.pid)
        if code != 0:
            raise Failure(f"{program.name} ended with {code}\n{program.tail()}")

    def logs(self):
        return "".join(p.tail() for p in {p.name: p for p in self.programs}.values())

    def complaints(self):
        """What no log may hold."""
        found = []
        for name in sorted({p.name for p in self.programs}):
            with open(self.path(name + ".log"), errors="replace") as f:
                for line in f:
                    bad = SANITIZER.search(line) or (" level=error " in line and not any(e.search(line) for e in self.expected))
                    if bad:
                        found.append(f"{name}: {line.rstrip()}")
        return found

    def stop(self, checks=True):
        """The agent first: what it still has to tell finds somebody to listen. Once."""
        if self.stopped:
            return
        self.stopped = True
        atexit.unregister(self.stop)
        trouble = []
        for program in (self.agent, self.ctld, self.sim):
            try:
                self.end(program)
            except Failure as e:
                trouble.append(str(e))
        for program in self.programs:
            if program.running():
                self.kill(program)
            if program.proc.stdout:
                program.proc.stdout.close()
        trouble += self.complaints()
        if trouble and checks and not os.environ.get("AIGW_KEEP"):
            trouble.append(self.logs())
        if os.environ.get("AIGW_KEEP"):
            print(f"kept: {self.home}", file=sys.stderr)
        else:
            mount = self.agent_settings.get("stats", "off")
            if mount != "off" and shutil.which("fusermount3"):  # one whose agent was killed is still there
                subprocess.run(["fusermount3", "-u", "-z", "-q", mount], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(self.home, ignore_errors=True)
        if trouble and checks:
            raise Failure("\n".join(trouble))
        if trouble:
            print("\n".join(trouble), file=sys.stderr)

    # --- the controller ------------------------------------------------------------------------------------------------

    def ask(self, method, path, body=None, **query):
        """(status, answer) of the admin API."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        with Wire(self.admin, timeout=START_S) as wire:
            a = wire.call(path, body, method=method)
        if a is None or not a.whole:
            raise ConnectionError("the admin API broke off")
        return a.status, a.json()

    def api(self, method, path, body=None, **query):
        status, answer = self.ask(method, path, body, **query)
        if status not in (200, 201):
            raise Failure(f"{method} {path}: {status} {json.dumps(answer)}")
        return answer

    def expand(self, text):
        at = self.sim_at
        return string.Template(text).substitute(SIM=f"http://{at['http']}/v1", SIM_TLS=f"https://{at.get('tls', '-')}/v1",
                                                CA=self.path("tls/ca.pem"), UID=os.getuid(), HOME=self.home)

    def apply(self, text, **more):
        """Applies and waits until the agent has it."""
        answer = self.api("POST", "/api/v1/policy", {"files": [{"name": "policy.yaml", "text": self.expand(text)}], "wait": True,
                                                     "timeout_ms": START_S * 1000, **more})
        states = {a["state"] for a in answer["agents"]} or {"offline"}
        if states - {"applied", "offline"}:
            raise Failure(f"the policy did not reach every agent: {json.dumps(answer['agents'])}")
        if "offline" in states:  # it has just been started, and takes it when it comes
            self.wait_agent()
        return answer

    def wait_agent(self):
        """Until the agent is connected and has the policy in force."""
        def met():
            revision = self.api("GET", "/api/v1/status")["revision"]
            agents = self.api("GET", "/api/v1/agents")["agents"]
            return any(a["state"] == "up" and a["revision"] == revision for a in agents)
        return wait_for(met, lambda: f"the agent has the policy: {json.dumps(self.api('GET', '/api/v1/agents'))}", START_S)

    def make_key(self, project, name="test", **more):
        """A key's text, known to the agent."""
        return self.api("POST", "/api/v1/keys", {"name": name, "project": project, "wait": True, "timeout_ms": START_S * 1000, **more})["key"]

    def booked(self):
        """Records in the ledger, by the heads of all stores."""
        return sum(a["records"] for a in self.api("GET", "/api/v1/agents")["agents"])

    def records(self):
        """All records, in the order of store and sequence."""
        out, query = [], {"limit": 1000}
        while True:
            page = self.api("GET", "/api/v1/records", **query)
            out += page["records"]
            if page["next"] is None:
                return out
            query["after"] = page["next"]

    def wait_records(self, count):
        """All records, once there are so many; more than that fail."""
        seen = [0]

        def met():
            seen[0] = self.booked()
            return seen[0] >= count
        wait_for(met, lambda: f"{count} records, {seen[0]} are there")
        got = self.records()
        if len(got) != count:
            raise Failure(f"{len(got)} records, not {count}")
        return got

    def check_ledger(self, unmetered=()):
        """The simulator's log is the oracle: every call that reached it has exactly one record, and a complete one its numbers, but
        for models whose usage the gateway can't see. Gives all records by request id."""
        def met():
            seen = {line["client_request_id"] for line in self.sim_log() if line["event"] == "recv"}
            records = self.records()
            return seen <= {r["request_id"] for r in records} and (seen, records)
        seen, records = wait_for(met, "a record for each call in the simulator's log")
        by_id = {r["request_id"]: r for r in records}
        if len(by_id) != len(records):
            raise Failure(f"{len(records) - len(by_id)} calls have a second record")
        ends = {line["client_request_id"]: line for line in self.sim_log() if line["event"] == "end" and line["complete"]}
        for request_id, end in ends.items():
            r = by_id[request_id]
            if end["usage_sent"] and r["outcome"] == "ok" and not r["usage_seen"] and r["model"] not in unmetered:
                raise Failure(f"usage was not seen: {end} {r}")
            if r["usage_seen"] and (r["input_tokens"], r["output_tokens"]) != (end["input_tokens"], end["output_tokens"]):
                raise Failure(f"other numbers: {end} {r}")
        served = [r["request_id"] for r in records if r["outcome"] == "ok" and r["request_id"] not in seen]
        if served:
            raise Failure(f"booked as ok, but the provider never saw them: {served}")
        return by_id

    # --- clients -------------------------------------------------------------------------------------------------------

    def where(self, way):
        return self.unix if way == "unix" else ("127.0.0.1", self.port)

    def connect(self, way="tcp", timeout=START_S):
        return Wire(self.where(way), timeout)

    def call(self, path, body=None, key=None, way=None, headers=(), method=None):
        """One call on a connection of its own: over TCP with a key, else over the unix socket."""
        headers = [*headers, *bearer(key)]
        return http_call(self.where(way or ("tcp" if key else "unix")), path, body, headers, method)

    def chat(self, model, text="hello", key=None, way=None, headers=(), **members):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **members}
        return self.call("/v1/chat/completions", body, key, way, headers)

    # --- the simulator -------------------------------------------------------------------------------------------------

    def sim_where(self):
        host, port = self.sim_at["http"].rsplit(":", 1)
        return host, int(port)

    def sim_stats(self):
        return http_call(self.sim_where(), "/__stats").json()

    def agent_stat(self, path):
        """A file of the agent's stats."""
        with Wire(self.path("control.sock")) as wire:
            a = wire.call("/v1/stats/" + path, method="GET")
        if a.status != 200:
            raise Failure(f"{path}: {a.status} {a.body}")
        return a.body.decode()

    def agent_log(self):
        with open(self.agent.log, errors="replace") as f:
            return f.read()

    def script(self, behaviours):
        """{model: behaviours} from now on; None forgets."""
        a = http_call(self.sim_where(), "/__script", behaviours, method="PUT")
        if a.status != 200:
            raise Failure(a.body.decode())

    def sim_log(self):
        """All lines of the simulator's log: what reached the provider."""
        with open(self.path("calls.log"), encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def wait_sim(self, met, what="a line in the simulator's log"):
        """The log once `met` holds for one of its lines."""
        def seen():
            lines = self.sim_log()
            return any(met(line) for line in lines) and lines
        return wait_for(seen, what)


def bearer(key):
    return [("Authorization", f"Bearer {key}")] if key else []
