"""Providers behind an HTTP proxy: who is asked of it, what it sees, and what its refusals come to.

Usage: test_agent_proxy.py [BUILD_ROOT] [unittest arguments]
"""
import base64
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from fails import expect  # noqa: E402
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, Provider  # noqa: E402

BUILD = build_root()
AGENTD = os.path.join(BUILD, "agentd/aigw-agentd")
NAMES = "provider.test", "sub.inner.test", "inner.test", "10.1.2.3", "fd00::1"
CREDENTIAL = "anna:a secret of hers"

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: far, type: openai-compatible, base_url: "https://provider.test/v1", credential: sim, options: {ca_file: $CERT}, timeouts: {connect: 2s}}
  - {name: port, type: openai-compatible, base_url: "https://10.1.2.3:8443/v1", options: {ca_file: $CERT}}
  - {name: six, type: openai-compatible, base_url: "https://[fd00::1]:8443/v1", options: {ca_file: $CERT}}
  - {name: inner, type: openai-compatible, base_url: "https://inner.test/v1", options: {ca_file: $CERT}, timeouts: {connect: 1s}}
  - {name: sub, type: openai-compatible, base_url: "https://sub.inner.test/v1", options: {ca_file: $CERT}, timeouts: {connect: 1s}}
  - {name: local, type: openai-compatible, base_url: "https://localhost:$TLS/v1", options: {ca_file: $CERT}}
  - {name: address, type: openai-compatible, base_url: "https://127.0.0.1:$TLS/v1", options: {ca_file: $CERT}}
  - {name: plain, type: openai-compatible, base_url: "http://127.0.0.1:$PLAIN/v1"}
  - {name: other, type: openai-compatible, base_url: "https://wrong.test/v1", options: {ca_file: $CERT}}
models:
""" + "".join(f"  - {{name: {n}, targets: [{{provider: {n}, model: m}}]}}\n" for n in ("far", "port", "six", "inner", "sub", "local", "address", "plain", "other")) + """\
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
"""


class Proxy(Provider):
    """Tunnels whatever is asked for to one port; `say` instead of agreeing."""

    def __init__(self, to):
        self.to, self.asked, self.say, self.credential = to, [], None, None
        super().__init__(serve=self.serve)

    def serve(self, conn):
        while b"\r\n\r\n" not in conn.rest:
            if not conn._more():
                return
        head, rest = conn.rest.split(b"\r\n\r\n", 1)
        assert rest == b"", rest  # nothing before the proxy has agreed
        lines = head.decode().split("\r\n")
        self.asked.append((lines[0], dict(line.split(": ", 1) for line in lines[1:])))
        if self.say is not None:
            for piece in self.say:
                conn.send(piece)
            conn.gone()
            return
        if self.credential and self.asked[-1][1].get("Proxy-Authorization") != "Basic " + base64.b64encode(self.credential.encode()).decode():
            conn.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.to)) as there:
            for byte in b"HTTP/1.0 200 Connection established\r\nVia: x\r\nContent-Length: 99\r\n\r\n":
                conn.send(bytes([byte]))
            back = threading.Thread(target=self.copy, args=(there, conn.sock))
            back.start()
            self.copy(conn.sock, there)
            back.join()

    @staticmethod
    def copy(a, b):
        with contextlib.suppress(OSError):
            while (data := a.recv(65536)):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="aigw-proxy-"))
        cls.cert = cls.home + "/cert.pem"
        names = ",".join(f"IP:{n}" if ":" in n or n[0].isdigit() else f"DNS:{n}" for n in (*NAMES, "localhost", "127.0.0.1"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", cls.home + "/key.pem", "-out",
                        cls.cert, "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=" + names], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cls.cert, cls.home + "/key.pem")

        def serve(conn):
            with contextlib.suppress(OSError), context.wrap_socket(conn.sock, server_side=True) as tls:
                conn.sock = tls
                while (request := conn.request()):
                    cls.seen.append(request)
                    conn.send(ANSWER)
        cls.seen = []
        cls.tls = cls.enterClassContext(Provider(serve))
        cls.plain = cls.enterClassContext(Provider(lambda conn: conn.request() and conn.send(ANSWER)))

    def setUp(self):
        self.proxy = self.enterContext(Proxy(self.tls.port))
        self.seen.clear()

    def stack(self, secrets=None, **settings):
        policy = POLICY.replace("$CERT", self.cert).replace("$TLS", str(self.tls.port)).replace("$PLAIN", str(self.plain.port))
        settings.setdefault("proxy", f"http://localhost:{self.proxy.port}")
        return self.enterContext(Stack(BUILD, policy, agent=settings, secrets={"sim": "sk-provider-1", **(secrets or {})}))

    def log(self, stack):
        with open(stack.path("agentd.log"), encoding="utf-8") as f:
            return f.read()


class Ways(Case):
    def test_who_goes_through(self):
        stack = self.stack(no_proxy="other.test, .inner.test")
        for model, target in ("far", "provider.test:443"), ("port", "10.1.2.3:8443"), ("six", "[fd00::1]:8443"):
            del self.proxy.asked[:]
            a = stack.chat(model, way="unix")
            self.assertEqual(a.status, 200, a.body)
            line, fields = self.proxy.asked[0]
            self.assertEqual(line, f"CONNECT {target} HTTP/1.1")
            self.assertEqual(fields["Host"], target)
            self.assertNotIn("sk-provider-1", str(self.proxy.asked))  # that is for the provider
        self.assertEqual(self.seen[0].header("authorization"), "Bearer sk-provider-1")
        self.assertEqual(self.seen[0].header("host"), "provider.test")
        self.assertIsNone(self.seen[0].header("proxy-authorization"))
        # a kept connection is used again
        del self.proxy.asked[:]
        for _ in range(3):
            self.assertEqual(stack.chat("far", way="unix", model_again=True).status, 200)
        self.assertLessEqual(len(self.proxy.asked), 1)  # one of each worker's
        for model in "local", "address", "plain":
            self.assertEqual(stack.chat(model, way="unix").status, 200)
        for model in "inner", "sub":
            expect(self, stack.chat(model, way="unix"), "upstream_unavailable")  # no such name for us
        self.assertFalse([line for line, _ in self.proxy.asked if "inner" in line or "local" in line or "127" in line])
        # TLS is with the provider, not with the proxy
        expect(self, stack.chat("other", way="unix"), "upstream_unavailable")
        self.assertIn("reason=tls", self.log(stack))

    def test_no_proxy_for_anybody(self):
        stack = self.stack(no_proxy='"*"')
        expect(self, stack.chat("far", way="unix"), "upstream_unavailable")
        self.assertEqual(self.proxy.asked, [])

    def test_a_credential(self):
        self.proxy.credential = CREDENTIAL
        stack = self.stack(secrets={"proxy": CREDENTIAL})
        self.assertEqual(stack.chat("far", way="unix").status, 200)
        self.assertNotIn("secret of hers", self.log(stack))
        self.assertNotIn(base64.b64encode(CREDENTIAL.encode()).decode(), self.log(stack))
        # a new one is used from the next connection on
        self.proxy.credential = "anna:another"
        stack.api("PUT", "/api/v1/secrets/proxy", {"value": "anna:another", "wait": True, "timeout_ms": 10000})
        wait_for(lambda: stack.chat("port", way="unix").status == 200, "the new credential is in force")


class Refusals(Case):
    def test_what_a_proxy_may_say(self):
        stack = self.stack()
        for name, say, reason in (("forbidden", [b"HTTP/1.1 403 Forbidden\r\nx: y\r\n\r\nno"], 'reason=proxy.*why="the proxy answered 403"'),
                                  ("credential", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"], 'reason=proxy.*why="the proxy answered 407"'),
                                  ("no HTTP", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], 'reason=proxy.*why="the proxy speaks no HTTP"'),
                                  ("too much", [b"HTTP/1.1 200 OK\r\nx: " + b"y" * 9000], 'reason=proxy.*larger than 8 KiB'),
                                  ("bytes that are no TLS", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"], "reason=tls")):
            with self.subTest(name):
                self.proxy.say = say
                before = len(self.log(stack))
                expect(self, stack.chat("far", way="unix"), "upstream_unavailable")
                self.assertRegex(wait_for(lambda b=before: self.log(stack)[b:], "a line of the log"), reason)
        for name, say in ("says nothing", []), ("stops in the midst", [b"HTTP/1."]):
            with self.subTest(name):
                self.proxy.say = say
                expect(self, stack.chat("far", way="unix"), "upstream_timeout")  # connect: 2s
        self.assertEqual(self.seen, [])

    def test_nobody_there(self):
        self.proxy.close()
        stack = self.stack()
        expect(self, stack.chat("far", way="unix"), "upstream_unavailable")
        self.assertEqual(stack.chat("plain", way="unix").status, 200)

    def test_settings_that_are_wrong(self):
        for value, says in (("https://proxy.test:3128", "write http://HOST:PORT"), ("socks5://proxy.test", "write http://HOST:PORT or off"), ("proxy.test:3128", "or off"),
                            ("http://proxy.test/x", "write http://HOST:PORT"), ("http://anna:secret@proxy.test", "do not stand in the address")):
            path = self.home + "/agentd.yaml"
            with open(path, "w", encoding="utf-8") as f:
                f.write(f"proxy: '{value}'\n")
            got = subprocess.run([AGENTD, "--check-config", "--config", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            self.assertEqual(got.returncode, 1, got.stdout)
            self.assertIn(says, got.stdout)
            self.assertNotIn("secret", got.stdout.replace("secrets_dir", ""))


if __name__ == "__main__":
    unittest.main()
