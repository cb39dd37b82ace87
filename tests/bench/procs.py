"""Processes of a benchmark: started on a core of their own, measured from /proc, ended by pid."""
import ctypes
import fcntl
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import time

HZ = os.sysconf("SC_CLK_TCK")
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
  """Something that ends the benchmark with a sentence."""


def private_network():
  """A network namespace of our own with nothing but loopback, so that no port can clash and nothing
  can leave. False where that is not allowed; then free ports of the host's loopback do."""
  if LIBC.unshare(CLONE_NEWNET) != 0:
    return False
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP | IFF_RUNNING))
  return True


def raise_files():
  """Returns how many descriptors each program started from here may have."""
  hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
  for want in (1 << 18, hard):
    try:
      resource.setrlimit(resource.RLIMIT_NOFILE, (want, max(want, hard)))
      return want
    except (ValueError, OSError):
      continue
  return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port():
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


# ---- /proc, the text apart from the reading so that it can be tested

def stat_fields(text):
  """The fields of /proc/PID/stat behind the name, which may hold blanks and parentheses."""
  return text.rsplit(")", 1)[1].split()


def stat_parent(text):
  return int(stat_fields(text)[1])


def stat_cpu_seconds(text, hz=HZ):
  """utime + stime"""
  fields = stat_fields(text)
  return (int(fields[11]) + int(fields[12])) / hz


def stat_minor_faults(text):
  """Page faults that needed no disk."""
  return int(stat_fields(text)[7])


def family(pid, parents):
  """pid and all its descendants; parents maps a pid to its parent."""
  members = {pid}
  grown = True
  while grown:
    new = {p for p, parent in parents.items() if parent in members} - members
    members |= new
    grown = bool(new)
  return members


def rollup_kib(text, field):
  found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.M)
  return int(found.group(1)) if found else None


def busy_seconds(text, hz=HZ):
  """All but idle and iowait of the first line of /proc/stat."""
  v = [int(x) for x in text.split("\n", 1)[0].split()[1:9]]
  return (sum(v) - v[3] - v[4]) / hz


def slurp(path):
  with open(path, encoding="utf-8", errors="replace") as f:
    return f.read()


def tree(pid):
  parents = {}
  for name in filter(str.isdigit, os.listdir("/proc")):
    try:
      parents[int(name)] = stat_parent(slurp(f"/proc/{name}/stat"))
    except OSError:
      continue  # it ended meanwhile
  return family(pid, parents)


def process_cpu_seconds(pid):
  """The scheduler's nanoseconds per thread, else utime + stime, which count in steps of 10 ms."""
  try:
    return sum(int(slurp(f"/proc/{pid}/task/{t}/schedstat").split()[0])
               for t in os.listdir(f"/proc/{pid}/task")) / 1e9
  except (OSError, IndexError):
    try:
      return stat_cpu_seconds(slurp(f"/proc/{pid}/stat"))
    except OSError:
      return 0.0


def cpu_seconds(pid):
  return sum(process_cpu_seconds(p) for p in tree(pid))


def minor_faults(pid):
  total = 0
  for p in tree(pid):
    try:
      total += stat_minor_faults(slurp(f"/proc/{p}/stat"))
    except OSError:
      continue
  return total


def anonymous_kib(pid):
  total = 0
  for p in tree(pid):
    try:
      total += rollup_kib(slurp(f"/proc/{p}/smaps_rollup"), "Anonymous") or 0
    except OSError:
      continue
  return total


def machine_busy_seconds():
  return busy_seconds(slurp("/proc/stat"))


def wait_quiet(limit_s):
  """Waits until other programs leave the machine alone, at most limit_s."""
  end = time.monotonic() + limit_s
  while time.monotonic() < end:
    busy, at = machine_busy_seconds(), time.monotonic()
    time.sleep(0.25)
    if (machine_busy_seconds() - busy) / (time.monotonic() - at) < 0.2:
      return


# ---- disks

def filesystem(path):
  """Type of the file system that holds path."""
  path, best = os.path.realpath(path), ("", "unknown")
  for line in slurp("/proc/mounts").splitlines():
    _, at, kind = line.split()[:3]
    at = at.replace("\\040", " ")
    if (path == at or path.startswith(at.rstrip("/") + "/")) and len(at) >= len(best[0]):
      best = (at, kind)
  return best[1]


def sync_us(folder, count):
  """Times of count times 4 KiB appended and fdatasync'd to a new file, in microseconds."""
  path = os.path.join(folder, "sync-probe")
  fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
  times = []
  try:
    page = os.urandom(4096)
    for _ in range(count):
      at = time.perf_counter_ns()
      os.write(fd, page)
      os.fdatasync(fd)
      times.append((time.perf_counter_ns() - at) / 1e3)
  finally:
    os.close(fd)
    os.unlink(path)
  return times


# ---- children

class Child:
  """A started program. It dies with us, even if we are killed."""

  def __init__(self, argv, cpus, log, stdin=subprocess.DEVNULL, stdout=None, env=None):
    self.argv, self.log = argv, log

    def prepare():
      LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
      os.sched_setaffinity(0, cpus)
      try:
        os.setpriority(os.PRIO_PROCESS, 0, -5)
      except OSError:
        pass  # not root: at the usual priority then

    with open(log, "ab") as to:
      self.popen = subprocess.Popen(argv, stdin=stdin, stdout=stdout or to, stderr=to, preexec_fn=prepare,
                                    env={**os.environ, **(env or {})}, text=True)
    self.pid = self.popen.pid

  def check_alive(self):
    if self.popen.poll() is not None:
      raise Failed(f"{self.argv[0]} ended with {self.popen.returncode}: {log_tail(self.log)}")

  def stop(self, patience_s=10):
    if self.popen.poll() is not None:
      return
    self.popen.send_signal(signal.SIGTERM)
    try:
      self.popen.wait(patience_s)
    except subprocess.TimeoutExpired:
      self.popen.kill()
      self.popen.wait()


def log_tail(path):
  try:
    return " | ".join(slurp(path).strip().splitlines()[-5:]) or "(it said nothing)"
  except OSError:
    return "(no log)"


def wait_until(what, test, limit_s, child=None):
  end = time.monotonic() + limit_s
  while True:
    if child:
      child.check_alive()
    if test():
      return
    if time.monotonic() > end:
      raise Failed(f"{what}: not within {limit_s} s" + (f": {log_tail(child.log)}" if child else ""))
    time.sleep(0.02)


def answers_port(port):
  try:
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True
  except OSError:
    return False
