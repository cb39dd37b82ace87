"""The daemons as services: sockets that the service manager opened, what it is told, the watchdog, the hand-over of the stats mount.

The test is the service manager. Usage: test_service.py [BUILD_ROOT] [unittest arguments]
"""
import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Program, Stack, build_root, free_port, wait_for  # noqa: E402

BUILD = build_root()
HELPER = os.path.join(BUILD, "agentd/aigw-statsfs-mount")
NOT_ROOT = None if os.geteuid() == 0 else "not root: neither mounts nor other users can be tried"
NO_FUSE = NOT_ROOT or (None if os.path.exists("/dev/fuse") else "no /dev/fuse: the stats mount can't be tried")
PTRACE_INTERRUPT, PTRACE_DETACH, PTRACE_SEIZE, WALL = 0x4207, 17, 0x4206, 0x40000000

# Takes the descriptors from 3 on as sd_listen_fds(3) has it, and becomes the program.
LAUNCH = """\
import os, sys
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
fds = [int(x) for x in sys.argv[1].split(",") if x]
for i, fd in enumerate(os.dup(fd) for fd in fds):
    os.dup2(fd, 100 + i)
for i in range(len(fds)):
    os.dup2(100 + i, 3 + i)
    os.close(100 + i)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """The service manager's side: sockets by name, and what the service tells."""

    def __init__(self, folder):
        self.folder, self.sockets = folder, []
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(folder, "notify"))
        self.said = []

    def listen(self, name, where, kind=socket.SOCK_STREAM):
        s = socket.socket(socket.AF_INET if isinstance(where, tuple) else socket.AF_UNIX, kind)
        s.bind(where)
        if not isinstance(where, tuple):
            os.chmod(where, 0o666)
        s.listen(64)
        self.sockets.append((name, s))
        return s

    def launcher(self, args, **environment):
        fds = ",".join(str(s.fileno()) for _, s in self.sockets)
        environment = {"NOTIFY_SOCKET": os.path.join(self.folder, "notify"), "LISTEN_FDS": str(len(self.sockets)),
                       "LISTEN_FDNAMES": ":".join(n for n, _ in self.sockets), **environment}
        return ["env", *(f"{k}={v}" for k, v in environment.items()), sys.executable, "-c", LAUNCH, fds, *args]

    def inherit(self, yes):
        for _, s in self.sockets:
            os.set_inheritable(s.fileno(), yes)

    def hear(self, line, seconds=60):
        """Waits for a message with that line; gives all lines since the last one that was heard."""
        heard = []

        def met():
            while select.select([self.notify], [], [], 0)[0]:
                heard.extend(self.notify.recv(4096).decode().splitlines())
            return line in heard
        wait_for(met, lambda: f"{line}; heard: {heard}", seconds)
        return heard

    def silent(self, line, seconds):
        """No message with that line for so long."""
        while select.select([self.notify], [], [], seconds)[0]:
            if line in self.notify.recv(4096).decode().splitlines():
                return False
        return True

    def close(self):
        for _, s in self.sockets:
            s.close()
        self.notify.close()


class ManagedStack(Stack):
    """A stack whose agent is started by a manager."""

    manager = None
    environment = {}

    def program(self, name, args, *rest, **more):
        if name == "agentd" and self.manager:
            args = self.manager.launcher([a for a in args if a != "--die-with-parent"], **self.environment)
            self.manager.inherit(True)
            env = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")}
            p = Program.__new__(Program)
            p.name, p.log = name, self.path(name + ".log")
            with open(p.log, "ab") as err:
                p.proc = subprocess.Popen(args, env=env, stdin=subprocess.DEVNULL, stdout=err, stderr=err, close_fds=False)
            p.pid = p.proc.pid
            self.manager.inherit(False)
            self.programs.append(p)
            return p
        return super().program(name, args, *rest, **more)


class Service(unittest.TestCase):
    def stack(self, mount=False, environment=None, agent=None, expected=()):
        stack = ManagedStack(BUILD, agent=agent, expected=expected)
        stack.manager = Manager(stack.home)
        self.addCleanup(stack.manager.close)
        stack.environment = environment or {}
        stack.manager.listen("http", stack.unix)
        stack.manager.listen("http", ("127.0.0.1", stack.port))
        if mount:
            stack.manager.listen("mount", stack.path("mount.sock"), socket.SOCK_SEQPACKET)
        return self.enterContext(stack)

    def test_activated_sockets_and_states(self):
        """Both sockets are served and stay the manager's: who connects while the agent is started anew is served by the next process."""
        stack = self.stack(agent={"listen": "off", "socket": "off"})
        manager = stack.manager
        manager.hear("READY=1")
        for way, key in (("unix", None), ("tcp", stack.make_key("search"))):
            self.assertEqual(stack.chat("small", way=way, key=key).status, 200)
        stack.agent.proc.send_signal(signal.SIGHUP)
        heard = manager.hear("READY=1")
        self.assertLess(heard.index("RELOADING=1"), heard.index("READY=1"))
        self.assertTrue(any(h.startswith("MONOTONIC_USEC=") for h in heard))
        stack.end(stack.agent)
        manager.hear("STOPPING=1")
        with stack.connect("unix") as waiting:
            stack.launch_agent()
            manager.hear("READY=1")
            body = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
            self.assertEqual(waiting.call("/v1/chat/completions", body).status, 200)

    def test_a_foreign_address_is_refused(self):
        stack = ManagedStack(BUILD, policy=None, expected=["agent.start_failed"])
        stack.manager = Manager(stack.home)
        self.addCleanup(stack.manager.close)
        stack.manager.listen("http", ("0.0.0.0", free_port()))
        self.addCleanup(stack.stop, checks=False)
        stack.launch_agent()
        self.assertEqual(stack.agent.wait(), 1)
        self.assertIn("no loopback address", stack.agent.tail())

    def test_unknown_sockets_are_named(self):
        stack = ManagedStack(BUILD)
        stack.manager = Manager(stack.home)
        self.addCleanup(stack.manager.close)
        stack.manager.listen("http", stack.unix)
        stack.manager.listen("http", ("127.0.0.1", stack.port))
        stack.manager.listen("metrics", stack.path("other.sock"))
        self.enterContext(stack)
        self.assertIn("event=agent.sockets_unused names=metrics", stack.agent.tail(100))

    def test_watchdog_is_fed_while_all_loops_turn(self):
        if NOT_ROOT:
            self.skipTest(NOT_ROOT)
        period = 0.5
        stack = self.stack(environment={"WATCHDOG_USEC": str(int(period * 1e6))}, expected=["agent.worker_stuck"])
        stack.manager.hear("WATCHDOG=1")
        stack.manager.hear("WATCHDOG=1")
        with stopped_thread(stack.agent.pid, "worker-1"):
            wait_for(lambda: "agent.worker_stuck workers=1" in stack.agent.tail(), "the agent sees it")
            while select.select([stack.manager.notify], [], [], 0)[0]:
                stack.manager.notify.recv(4096)
            self.assertTrue(stack.manager.silent("WATCHDOG=1", 2 * period))
        stack.manager.hear("WATCHDOG=1")

    def test_the_controller_too(self):
        stack = Stack(BUILD)
        manager = Manager(stack.home)
        self.addCleanup(manager.close)
        manager.listen("admin", stack.admin)
        manager.listen("agents", stack.path("agents.sock"))
        started = []

        def launch():
            os.makedirs(stack.path("ctld"), mode=0o700, exist_ok=True)
            config = stack.settings("ctld.yaml", {"admin_socket": stack.path("not-used"), "agents_socket": stack.path("not-used-2"),
                                                  "state_dir": stack.path("ctld")})
            args = manager.launcher([os.path.join(BUILD, "ctl/ctld/aigw-ctld"), "--config", config], WATCHDOG_USEC="1000000")
            manager.inherit(True)
            with open(stack.path("ctld.log"), "ab") as err:
                proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=err, stderr=err, close_fds=False)
            manager.inherit(False)
            p = Program.__new__(Program)
            p.name, p.log, p.proc, p.pid = "ctld", stack.path("ctld.log"), proc, proc.pid
            stack.programs.append(p)
            stack.ctld = p
            started.append(p)
        stack.launch_ctld = launch
        with stack:
            manager.hear("READY=1")
            manager.hear("WATCHDOG=1")
            self.assertEqual(stack.chat("small", key=stack.make_key("search")).status, 200)
            stack.ctld.proc.send_signal(signal.SIGHUP)
            heard = manager.hear("READY=1")
            self.assertIn("RELOADING=1", heard)
            self.assertFalse(os.path.exists(stack.path("not-used")))
            stack.end(stack.ctld)
            manager.hear("STOPPING=1")
            self.assertTrue(os.path.exists(stack.admin))
            stack.start_ctld()
            stack.wait_records(1)


def comm(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as f:
        return f.read().strip()


@contextlib.contextmanager
def stopped_thread(pid, name):
    """That thread of the process does not run, all others do."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    tid = next(int(t) for t in os.listdir(f"/proc/{pid}/task") if comm(pid, t) == name)
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, tid, None, None) != 0:
            raise unittest.SkipTest(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")
    os.waitpid(tid, WALL)
    try:
        yield
    finally:
        libc.ptrace(PTRACE_DETACH, tid, None, None)


@unittest.skipIf(NO_FUSE, NO_FUSE)
class HandOver(unittest.TestCase):
    def setUp(self):
        self.stack = Service.stack(self, mount=True, agent={"stats": "/run/not-mounted-here"})
        self.at = self.stack.path("stats")
        self.addCleanup(subprocess.run, ["umount", "-l", self.at], stderr=subprocess.DEVNULL, check=False)

    def helper(self, status=0, wrap=(), mount=None):
        got = subprocess.run([*wrap, HELPER, "--socket", self.stack.path("mount.sock"), "--user", "root", mount or self.at],
                             stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(got.returncode, status, got.stderr)
        return got.stderr

    def read(self, name):
        with open(os.path.join(self.at, name), encoding="utf-8") as f:
            return f.read()

    def test_mounts_and_survives_either_side(self):
        self.helper()
        self.stack.chat("small", way="unix")
        wait_for(lambda: "\nok 1\n" in self.read("stat"), "the call is counted")
        held = open(os.path.join(self.at, "stat"), "rb")
        self.addCleanup(held.close)
        # the helper once more, as after `systemctl restart`: what is there is replaced
        self.helper()
        self.assertIn("\nok 1\n", self.read("stat"))
        # the agent is killed: dead until the helper has run again
        self.stack.kill(self.stack.agent)
        with self.assertRaises(OSError):
            self.read("stat")
        self.stack.launch_agent()
        self.stack.manager.hear("READY=1")
        self.helper()
        self.assertIn("uptime", "uptime_s " + self.read("uptime_s"))
        os.chmod(self.stack.home, 0o711)
        self.assertEqual(subprocess.run(["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "cat", os.path.join(self.at, "version")],
                                        stdout=subprocess.DEVNULL, check=False).returncode, 0)

    def test_only_root_and_only_fuse(self):
        os.chmod(self.stack.home, 0o711)
        for what in ("another user", "another descriptor", "no descriptor", "silence"):
            with self.subTest(what):
                if what == "another user":
                    who = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
                    code = f"import socket; s = socket.socket(1, 5); s.connect({self.stack.path('mount.sock')!r}); s.settimeout(60); " \
                           "socket.send_fds(s, [b'm'], [0]); print(s.recv(100))"
                    got = subprocess.run([*who, sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         stdin=subprocess.DEVNULL, timeout=60)
                    self.assertNotIn("b'ok'", got.stdout)
                    wait_for(lambda: "statfs.visitor_refused uid=54321" in self.stack.agent.tail(100), "the agent says whom it refused")
                    continue
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s, open("/dev/null", "rb") as null:
                    s.settimeout(60)
                    s.connect(self.stack.path("mount.sock"))
                    if what == "another descriptor":
                        socket.send_fds(s, [b"m"], [null.fileno()])
                    elif what == "no descriptor":
                        s.send(b"m")
                    self.assertEqual(s.recv(100), b"" if what == "silence" else b"this is no descriptor of /dev/fuse")
        self.helper()  # and it is open for whoever comes next
        self.assertTrue(self.read("version").startswith("aigw-agentd "))

    def test_the_helper_says_what_is_wrong(self):
        self.assertIn("nobody listens on", subprocess.run(
            [HELPER, "--socket", self.stack.home, "--user", "root", self.at], stderr=subprocess.PIPE, text=True, timeout=60).stderr)
        self.assertIn("no user nobody-here", subprocess.run(
            [HELPER, "--socket", "/x", "--user", "nobody-here", self.at], stderr=subprocess.PIPE, text=True, timeout=60).stderr)
        self.assertEqual(subprocess.run([HELPER, "relative"], stderr=subprocess.PIPE, timeout=60).returncode, 2)
        with open(self.stack.path("file"), "w", encoding="utf-8"):
            pass
        self.assertIn("is no folder", self.helper(1, mount=self.stack.path("file")))


if __name__ == "__main__":
    unittest.main()
