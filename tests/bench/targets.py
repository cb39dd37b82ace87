"""What is measured: the bare upstream, the relay, nginx and aigw, each started on the target's core."""
import http.client
import json
import os
import shutil
import socket
import subprocess

from procs import Child, Failed, answers_port, anonymous_kib, cpu_seconds, free_port, minor_faults, wait_until

START_S = 20  # a program that does not answer by then is broken
CHAT = "/v1/chat/completions"


class UnixConnection(http.client.HTTPConnection):
  def __init__(self, path, timeout=30):
    super().__init__("localhost", timeout=timeout)
    self.socket_path = path

  def connect(self):
    self.sock = socket.socket(socket.AF_UNIX)
    self.sock.settimeout(self.timeout)
    self.sock.connect(self.socket_path)


def ask(to, method, path, body=None, headers=None):
  """(status, text) of one call to 127.0.0.1:PORT or unix:PATH."""
  if to.startswith("unix:"):
    conn = UnixConnection(to[5:])
  else:
    conn = http.client.HTTPConnection(to, timeout=30)
  try:
    conn.request(method, path, body, headers or {})
    answer = conn.getresponse()
    return answer.status, answer.read().decode(errors="replace")
  finally:
    conn.close()


class Place:
  """Where a run has its files, programs and cores."""

  def __init__(self, build, run_dir, state_dir, load_cpus, target_cpus):
    self.build, self.run_dir, self.state_dir = build, run_dir, state_dir
    self.load_cpus, self.target_cpus = load_cpus, target_cpus

  def program(self, name):
    """Our own programs lie in the folder of their sources in the build tree."""
    for folder in ("tests/bench", "agentd", "ctl/ctld", "ctl/aigwctl", "tests/sim"):
      path = os.path.join(self.build, folder, name)
      if os.path.isfile(path) and os.access(path, os.X_OK):
        return path
    raise Failed(f"{name}: not built in {self.build}")

  def log(self, name):
    return os.path.join(self.run_dir, name + ".log")

  def write(self, folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
      f.write(text)
    return path


class Upstream:
  """bench-upstream, on the load's core."""

  def __init__(self, place):
    self.place, self.port, self.child = place, free_port(), None

  def start(self):
    self.child = Child([self.place.program("bench-upstream"), str(self.port)], self.place.load_cpus,
                       self.place.log("upstream"))
    wait_until("bench-upstream", lambda: answers_port(self.port), START_S, self.child)

  def stats(self):
    return json.loads(ask(f"127.0.0.1:{self.port}", "GET", "/-/stats")[1])

  def stop(self):
    if self.child:
      self.child.stop()


class Target:
  """A way from the load to the upstream. `child` is what is measured; the bare upstream has none."""

  def __init__(self, name, place, upstream):
    self.name, self.place, self.upstream = name, place, upstream
    self.child, self.to, self.headers = None, None, {}
    self.last_answer = "none"

  def start(self):
    """Starts and waits until a call is answered with 200."""
    self.launch()
    try:
      wait_until(self.name, self.serves, START_S, self.child)
    except Failed as e:
      raise Failed(f"{e}; last answer: {self.last_answer}") from None

  def launch(self):
    raise NotImplementedError

  def serves(self):
    body = json.dumps({"model": "mock-gpt", "messages": [{"role": "user", "content": "hello"}]})
    try:
      status, text = ask(self.to, "POST", CHAT, body, {"content-type": "application/json", **self.headers})
    except OSError as e:
      status, text = 0, str(e)
    self.last_answer = f"{status} {text[:300]}"
    return status == 200

  def cpu_seconds(self):
    return cpu_seconds(self.child.pid) if self.child else 0.0

  def minor_faults(self):
    return minor_faults(self.child.pid) if self.child else 0

  def anonymous_kib(self):
    return anonymous_kib(self.child.pid)

  def stop(self):
    if self.child:
      self.child.stop()
    self.child = None


class Direct(Target):
  """No target at all: what the load and the upstream cost by themselves."""

  def launch(self):
    self.to = f"127.0.0.1:{self.upstream.port}"


class Relay(Target):
  def launch(self):
    port = free_port()
    self.to = f"127.0.0.1:{port}"
    self.child = Child([self.place.program("bench-relay"), str(port), str(self.upstream.port)],
                       self.place.target_cpus, self.place.log("relay"))


NGINX = """
daemon off;
{user}
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile {files};
events {{ worker_connections {files}; multi_accept on; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  keepalive_timeout 1h; keepalive_requests 1000000000;
  client_header_buffer_size 4k; client_body_buffer_size 512k; client_max_body_size 32m;
  upstream provider {{
    server 127.0.0.1:{upstream};
    keepalive 256; keepalive_timeout 1h; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 1h;
    }}
  }}
}}
"""


def nginx_program():
  return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Nginx(Target):
  """proxy_pass with upstream keep-alive, one worker, answers not buffered (streams would stand still).
  The header buffer holds a whole 1 KB call, so that it takes one read as it does in aigw; with nginx's
  own 1 KB a small call costs about 15 % more.

  What nginx pays for a large call depends on what it served before: after small calls nothing lies above
  a body at the end of its heap, so glibc gives the body's pages back with each call and takes them anew
  with the next: up to eight page faults for 32 KB, half of the call's cost. See the faults beside the ratio."""

  files = 30000
  env = {}

  def launch(self):
    folder, port = os.path.join(self.place.run_dir, self.name), free_port()
    os.makedirs(folder, exist_ok=True)
    conf = self.place.write(folder, "nginx.conf", NGINX.format(
      dir=folder, port=port, upstream=self.upstream.port, files=self.files,
      user="user root;" if os.geteuid() == 0 else ""))
    self.to = f"127.0.0.1:{port}"
    self.child = Child([nginx_program(), "-p", folder, "-c", conf], self.place.target_cpus, self.place.log(self.name),
                       env=self.env)


class NginxKept(Nginx):
  """nginx whose heap never shrinks: what its copies and its parsing cost, without the page faults."""

  env = {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1073741824:glibc.malloc.mmap_threshold=33554432"}


AGENTD = """
listen: 127.0.0.1:{port}
socket: {dir}/agent.sock
controller: unix:{dir}/agents.sock
agent_id: bench
state_dir: {state}/agent
runtime_dir: {dir}/runtime
stats: {stats}
secrets_dir: off
workers: 1
durability: {durability}
spool_size: 2GiB
log: warning
"""

CTLD = """
admin_socket: {dir}/admin.sock
agents_socket: {dir}/agents.sock
state_dir: {state}/ctl
log: warning
"""

POLICY = """
apiVersion: aigw/v1
settings:
  currency: USD
providers:
  - name: bench
    type: openai-compatible
    base_url: {base_url}
    timeouts: {{connect: 2s, first_byte: 30s, idle: 60s, total: 10m}}
{options}
{others}
prices:
  - {{provider: bench, model: "*", from: 2026-01-01, input: 0.15, output: 0.60}}
models:
{models}
customers:
  - name: bench
    projects:
      - name: bench
"""


class Aigw(Target):
  """aigw-agentd with one worker. The controller gives it policy and key and is then stopped, unless it
  is to stay: what is measured is the agent, which serves from its caches either way."""

  models = {"mock-gpt": "mock-gpt", "mock-held": "mock-held"}

  def __init__(self, name, place, upstream, durability="relaxed", keep_controller=False, stats="off"):
    super().__init__(name, place, upstream)
    self.durability, self.keep_controller, self.stats = durability, keep_controller, stats
    self.controller, self.state = None, None
    self.others = {}  # further providers: name and port; model mock-NAME
    self.clients = 0  # connections of clients at once; 0: as the agent has it

  def provider(self):
    """(base_url, lines of the provider's options)"""
    return f"http://127.0.0.1:{self.upstream.port}/v1", ""

  def aigwctl(self, folder, *args):
    argv = [self.place.program("aigwctl"), "--ctl", f"unix:{folder}/admin.sock", *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=START_S, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
      raise Failed(f"{' '.join(argv[3:])}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout.strip()

  def launch(self):
    folder = os.path.join(self.place.run_dir, self.name)
    self.state, port = os.path.join(self.place.state_dir, self.name), free_port()
    for fresh in (folder, self.state):
      shutil.rmtree(fresh, ignore_errors=True)
    for path in (folder, f"{folder}/runtime", f"{self.state}/agent", f"{self.state}/ctl"):
      os.makedirs(path, mode=0o700)
    names = {"dir": folder, "state": self.state, "port": port, "durability": self.durability, "stats": self.stats}
    ctld = self.place.write(folder, "ctld.yaml", CTLD.format(**names))
    agentd = self.place.write(folder, "agentd.yaml", AGENTD.format(**names) + (f"max_connections: {self.clients}\n" if self.clients else ""))
    base_url, options = self.provider()
    others = "".join(f'  - {{name: {n}, type: openai-compatible, base_url: "http://127.0.0.1:{p}/v1"}}\n' for n, p in self.others.items())
    routes = {n: ("bench", m) for n, m in self.models.items()} | {f"mock-{n}": (n, "x") for n in self.others}
    policy = self.place.write(folder, "policy.yaml", POLICY.format(
      base_url=base_url, options=options, others=others, models="\n".join(
        f"  - {{name: {name}, targets: [{{provider: {provider}, model: \"{model}\"}}]}}"
        for name, (provider, model) in routes.items())))
    self.controller = Child([self.place.program("aigw-ctld"), "--config", ctld], self.place.load_cpus,
                            self.place.log(self.name + "-ctld"))
    wait_until("aigw-ctld", lambda: os.path.exists(f"{folder}/admin.sock"), START_S, self.controller)
    self.child = Child([self.place.program("aigw-agentd"), "--config", agentd], self.place.target_cpus,
                       self.place.log(self.name))
    self.to = f"127.0.0.1:{port}"
    wait_until("aigw-agentd", lambda: answers_port(port), START_S, self.child)
    self.aigwctl(folder, "apply", "-y", "-f", policy)
    key = self.aigwctl(folder, "key", "create", "bench", "--project", "bench")
    self.headers = {"Authorization": "Bearer " + key}

  def start(self):
    super().start()
    if not self.keep_controller:
      self.controller.stop()

  def stop(self):
    super().stop()
    if self.controller:
      self.controller.stop()
    if self.state:
      shutil.rmtree(self.state, ignore_errors=True)


class AigwUnix(Target):
  """The same process again, its clients on the unix socket."""

  def __init__(self, aigw):
    super().__init__(aigw.name + "-unix", aigw.place, aigw.upstream)
    self.aigw = aigw

  def launch(self):
    self.to = f"unix:{self.place.run_dir}/{self.aigw.name}/agent.sock"
    self.headers, self.child = self.aigw.headers, self.aigw.child

  def stop(self):
    self.child = None


class Sim:
  """aigw-sim with TLS and session tickets, on the load's core: a provider for held streams."""

  def __init__(self, place):
    self.place, self.port, self.child = place, free_port(), None
    self.folder = os.path.join(place.run_dir, "sim")

  def start(self):
    os.makedirs(self.folder, exist_ok=True)
    self.child = Child([self.place.program("aigw-sim"), "--tls-listen", f"127.0.0.1:{self.port}",
                        "--tls-self-signed", self.folder, "--tls-tickets", "2", "--calls", "0"],
                       self.place.load_cpus, self.place.log("sim"))
    wait_until("aigw-sim", lambda: answers_port(self.port), START_S, self.child)

  def stop(self):
    if self.child:
      self.child.stop()


class AigwTls(Aigw):
  """aigw with aigw-sim over TLS as its provider."""

  models = {"mock-gpt": "sim-small", "mock-held": "sim-held+tokens-600+pace-1000000"}

  def __init__(self, name, place, upstream):
    super().__init__(name, place, upstream)
    self.sim = Sim(place)

  def provider(self):
    return (f"https://127.0.0.1:{self.sim.port}/v1",
            f"    options: {{ca_file: {self.sim.folder}/ca.pem}}")

  def launch(self):
    self.sim.start()
    super().launch()

  def stop(self):
    super().stop()
    self.sim.stop()
