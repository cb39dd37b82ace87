"""A host as an administrator has it: Debian with systemd as its first process, in a container of its own; aigw put on it by `meson install`,
set up by `aigwctl init`, its units killed one by one.

Usage: test_boot.py [BUILD_ROOT] [unittest arguments]. The Debian is made once, by mmdebstrap, and kept in build/boot; AIGW_BOOT names
another folder for it. What is installed comes from a build tree without sanitizers, made there as well.
"""
import contextlib
import json
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import golden  # noqa: E402
from harness import build_root, wait_for  # noqa: E402

build_root()
PLACE = os.environ.get("AIGW_BOOT") or os.path.join(TOP, "build/boot")
PACKAGES = ("systemd,systemd-sysv,dbus,libuv1,libssl3,libmsgpackc2,liblmdb0,libfuse3-3,libyaml-0-2,libjansson4,libsmartcols1,"
            "curl,procps,util-linux,passwd")
INSTALLED = ("agentd/aigw-agentd", "agentd/aigw-statsfs-mount", "ctl/ctld/aigw-ctld", "ctl/aigwctl/aigwctl", "tests/sim/aigw-sim", "systemd/aigw.catalog",
             *(f"ctl/aigwctl/{completion}" for completion in ("aigwctl.bash", "_aigwctl", "aigwctl.fish")))
BACK_S = 2.0  # what a killed unit may take until it serves again


def hindrance():
    if os.geteuid() != 0:
        return "not root: no system can be booted"
    for program in ("systemd-nspawn", "mmdebstrap"):
        if not shutil.which(program):
            return f"no {program}: no system can be booted (packages systemd-container, mmdebstrap)"
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse: the stats mount can't be tried"
    return None


WHY_NOT = hindrance()


def run(*argv, **more):
    got = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, check=False, **more)
    if got.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {got.returncode}\n{got.stdout[-3000:]}")
    return got.stdout


def debian():
    """The tar of a bare system, made if it is not there."""
    tar = os.path.join(PLACE, "debian.tar")
    if not os.path.exists(tar):
        os.makedirs(PLACE, exist_ok=True)
        sources = [p for n in ("sources.list.d/*.sources", "sources.list.d/*.list", "sources.list") for p in sorted(glob.glob("/etc/apt/" + n))]
        if not sources:
            raise unittest.SkipTest("no Debian can be made here: /etc/apt names no source of packages")
        options = [f"--aptopt=/etc/apt/apt.conf.d/{n}" for n in sorted(os.listdir("/etc/apt/apt.conf.d")) if n.startswith("99")]
        try:
            make_debian(tar, options, sources)
        except RuntimeError as e:
            raise unittest.SkipTest(f"no Debian can be made here: {str(e)[-300:]}") from None
    return tar


def make_debian(tar, options, sources):
    run("mmdebstrap", "--quiet", "--variant=minbase", *options, f"--include={PACKAGES}", "bookworm", tar + ".part.tar", sources[0])
    os.rename(tar + ".part.tar", tar)


def installed(root):
    """`meson install` into that system."""
    tree = os.path.join(PLACE, "tree")
    if not os.path.exists(os.path.join(tree, "build.ninja")):
        run("meson", "setup", tree, TOP, "--buildtype=debugoptimized", "--prefix=/usr", "-Dsystemd=enabled")
    run("ninja", "-C", tree, *INSTALLED)
    return run("meson", "install", "-C", tree, "--no-rebuild", "--destdir", root)


class Host:
    """The booted system."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="aigw-boot-", dir="/var/tmp")
        self.nspawn, self.leader = None, None

    def boot(self):
        run("tar", "-xf", debian(), "-C", self.root)
        installed(self.root)
        log = open(os.path.join(self.root, "console.log"), "ab")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "-D", self.root, "--register=no", "--keep-unit", "-b", "--console=pipe", "--private-network",
             "--bind=/dev/fuse", "--capability=all", "--system-call-filter=bpf"],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self.leader = int(wait_for(self.find_leader, self.console, 60))
        wait_for(lambda: self.sh("systemctl is-system-running --wait", check=False).strip() in ("running", "degraded"), self.console, 90)

    def find_leader(self):
        if self.nspawn.poll() is not None:
            raise unittest.SkipTest(f"systemd-nspawn can't boot a system here: {self.console()[-400:]}")
        with open(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children", encoding="utf-8") as f:
            children = f.read().split()
        for pid in children:  # what is still setting up the container is no leader yet
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                if f.read().strip() == "systemd":
                    return pid
        return None

    def console(self):
        with open(os.path.join(self.root, "console.log"), errors="replace", encoding="utf-8") as f:
            return f.read()

    def sh(self, command, check=True, user=None, **more):
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        got = subprocess.run(["nsenter", "-t", str(self.leader), "-a", *who, "sh", "-c", command], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
                             env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}, **more)
        if check and got.returncode != 0:
            raise AssertionError(f"{command}: exit {got.returncode}\n{got.stdout}\n{self.journal()}")
        return got.stdout

    def journal(self):
        return self.sh("journalctl --no-pager -o short -n 60 -u 'aigw*'", check=False)

    def stop(self):
        if self.nspawn and self.nspawn.poll() is None:
            if self.leader:
                self.sh("systemctl poweroff", check=False)
            try:
                self.nspawn.wait(30)
            except subprocess.TimeoutExpired:
                self.nspawn.terminate()
                self.nspawn.wait(30)
        subprocess.run(["umount", "-l", os.path.join(self.root, "run/aigw/stats")], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.root, ignore_errors=True)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Boot(unittest.TestCase):
    """One system for all, in the order of the names."""

    @classmethod
    def setUpClass(cls):
        cls.host = Host()
        cls.addClassCleanup(cls.host.stop)
        cls.host.boot()
        cls.host.sh("useradd -m anna && useradd -m ben")
        # A provider on this host, as a unit of its own.
        cls.host.sh("systemd-run --unit=provider --collect /usr/libexec/aigw/aigw-sim --listen 127.0.0.1:2459")

    def sh(self, command, **more):
        return self.host.sh(command, **more)

    def test_1_units_are_clean(self):
        self.sh("systemd-sysusers && systemd-tmpfiles --create")
        units = "aigw-agentd.service aigw-ctld.service aigw-statsfs.service aigw-agentd.socket aigw-agentd-control.socket " \
                "aigw-agentd-mount.socket aigw-ctld.socket aigw-ctld-agents.socket"
        self.assertEqual(self.sh(f"cd /usr/lib/systemd/system && systemd-analyze verify --man=no {units} 2>&1 | grep -i aigw || true"), "")
        for unit, most in (("aigw-agentd", 16), ("aigw-ctld", 16), ("aigw-statsfs", 42)):
            self.sh(f"systemd-analyze security --offline=true --threshold={most} /usr/lib/systemd/system/{unit}.service")

    def test_1b_a_refused_init_writes_nothing(self):
        self.sh("echo precious >/etc/aigw/policy.yaml.new")
        said = self.sh("printf %s sk-provider-secret-12345 | aigwctl init --provider http://127.0.0.1:2459/v1 --secret-file - "
                       "--project 'no\twhere' --model x; test $? = 7")
        self.assertIn("nothing was written", said)
        self.assertEqual(self.sh("find /etc/aigw/secrets.d -type f; ls /etc/aigw/policy.yaml 2>/dev/null; cat /etc/aigw/policy.yaml.new; "
                                 "rm /etc/aigw/policy.yaml.new; ls -d /tmp/aigw-init* 2>/dev/null || true"), "precious\n")

    def test_2_init_gives_a_working_host(self):
        said = self.sh("printf %s sk-provider-secret-12345 | aigwctl init --provider http://127.0.0.1:2459/v1 --secret-file - "
                       "--project search --model gpt-4o-mini=sim-small --local-user anna 2>/root/said >/root/key; cat /root/said; cat /root/key")
        golden.compare(self, "init.txt", said)
        self.assertNotIn("sk-provider-secret", said)
        self.assertEqual(self.sh("stat -c '%a %U' /etc/aigw/secrets.d /etc/aigw/secrets.d/*").split("\n")[0], "700 root")
        self.assertIn("curl", said)
        # again: it says what is there, and changes nothing
        before = self.sh("sha256sum /etc/aigw/policy.yaml")
        self.sh("printf %s other | aigwctl init --provider http://127.0.0.1:2459/v1 --model x --secret-file - --yes; test $? = 5")
        self.assertEqual(self.sh("sha256sum /etc/aigw/policy.yaml"), before)

    def call(self, user=None, key="", where="--unix-socket /run/aigw/agent.sock http://localhost", check=True):
        return self.sh(f"curl -s --max-time 20 {where}/v1/chat/completions -H 'content-type: application/json' {key} "
                       "-d '{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'", user=user, check=check)

    def test_3_another_user_without_a_key(self):
        answer = json.loads(self.call(user="anna"))
        self.assertEqual(answer["object"], "chat.completion")
        own = wait_for(lambda: "ok 1" in (text := self.sh("cat /run/aigw/stats/self/stat", user="anna")) and text, "anna reads her numbers")
        self.assertIn(f"tokens_out {answer['usage']['completion_tokens']}\n", own)
        anna = self.sh("id -u anna").strip()
        self.assertNotIn("ok", self.sh(f"cat /run/aigw/stats/by-uid/{anna}/stat 2>/dev/null", user="ben", check=False))
        self.assertEqual(json.loads(self.call(user="ben"))["error"]["code"], "no_identity")
        key = self.sh("cat /root/key").strip()
        self.assertEqual(json.loads(self.call(key=f"-H 'authorization: Bearer {key}'", where="http://127.0.0.1:2449"))["object"], "chat.completion")
        wait_for(lambda: "search" in (t := self.sh("aigwctl usage show --by project -o csv")) and ",2," in t, "both are booked", 30)

    def test_4_reload(self):
        for unit in ("aigw-agentd", "aigw-ctld"):
            self.sh(f"systemctl reload {unit} && systemctl is-active {unit}")
        wait_for(lambda: "agent.reloaded" in self.host.journal(), self.host.journal, 10)
        self.assertEqual(json.loads(self.call(user="anna"))["object"], "chat.completion")

    def test_4b_the_journal_has_fields_and_explains(self):
        self.sh("mkdir -p /run/systemd/system/aigw-agentd.service.d && printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/aigw-agentd --log-requests\\n' "
                ">/run/systemd/system/aigw-agentd.service.d/log.conf && systemctl daemon-reload && systemctl restart aigw-agentd")
        answer = wait_for(lambda: (a := json.loads(self.call(user="anna", check=False) or "{}")).get("object") and a, self.host.journal, 20)
        self.assertEqual(answer["object"], "chat.completion")
        line = wait_for(lambda: self.sh("journalctl --no-pager -o json AIGW_EVENT=request.done -n 1", check=False).strip(), self.host.journal, 10)
        got = json.loads(line)
        for name, want in (("PRIORITY", "6"), ("SYSLOG_IDENTIFIER", "aigw-agentd"), ("_SYSTEMD_UNIT", "aigw-agentd.service"), ("AIGW_PROJECT", "search"),
                           ("AIGW_MODEL", "gpt-4o-mini"), ("AIGW_PROVIDER", "local"), ("AIGW_STATUS", "200"), ("AIGW_KEY_ID", "-"), ("AIGW_AREA", "request")):
            self.assertEqual(got.get(name), want, got)
        self.assertRegex(got["AIGW_REQUEST_ID"], "^req_")
        self.assertEqual(len(got["MESSAGE_ID"]), 32)
        self.assertNotIn("hello", line)
        self.assertIn("Subject: agent.ready", self.sh("journalctl --no-pager -x -u aigw-agentd AIGW_EVENT=agent.ready -n 1"))
        self.assertEqual(self.sh("journalctl --no-pager -q AIGW_EVENT=secrets.unreadable"), "")
        self.assertEqual(self.sh("journalctl --no-pager -q -u 'aigw*' | grep ' ts=20' || true"), "")  # none came as plain text
        self.sh("rm -r /run/systemd/system/aigw-agentd.service.d && systemctl daemon-reload && systemctl restart aigw-agentd")
        wait_for(lambda: json.loads(self.call(user="anna", check=False) or "{}").get("object"), self.host.journal, 20)

    def test_5_back_after_a_kill(self):
        for unit in ("aigw-agentd", "aigw-ctld", "aigw-statsfs"):
            with self.subTest(unit):
                if unit == "aigw-statsfs":
                    self.sh("systemctl restart aigw-statsfs")
                else:
                    self.sh(f"systemctl kill -s KILL {unit}")
                began = time.monotonic()
                self.wait_whole(began)
                print(f"# {unit}: back within {1000 * (time.monotonic() - began):.0f} ms", file=sys.stderr)

    def wait_whole(self, began):
        def whole():
            if time.monotonic() - began > BACK_S + 20:
                raise AssertionError(self.host.journal())
            return self.sh("cat /run/aigw/stats/health /run/aigw/stats/uptime_s >/dev/null 2>&1 && "
                           "curl -sf --max-time 1 http://127.0.0.1:2449/readyz >/dev/null && aigwctl status >/dev/null 2>&1 && echo yes",
                           check=False).strip() == "yes"
        wait_for(whole, self.host.journal, 30)
        took = time.monotonic() - began
        self.assertEqual(json.loads(self.call(user="anna"))["object"], "chat.completion")
        self.assertLess(took, BACK_S, self.host.journal())

    def test_6_stop_leaves_nothing_mounted(self):
        self.sh("systemctl stop aigw-agentd.socket aigw-agentd-control.socket aigw-agentd-mount.socket aigw-agentd aigw-ctld")
        self.assertEqual(self.sh("grep -c /run/aigw/stats /proc/self/mountinfo || true").strip(), "0")
        self.assertEqual(self.sh("systemctl list-units --failed --no-legend 'aigw*'").strip(), "")


if __name__ == "__main__":
    unittest.main()
