"""What agents tell the real aigw-ctld about calls that failed or fell back.

Usage: test_ctld_traces.py AIGW_CTLD [unittest arguments]
"""
import json
import re
import struct
import time
import unittest

from test_ctld import CtldTest, Text, UnixHTTP, call_record  # it also takes AIGW_CTLD
from aigw_wire import TRACE_ID


class Traces(CtldTest):
    def told(self, agent, op_id, text, lost=0):
        agent.note("call.traces", {"ids": [op_id], "texts": [text], "lost": lost})

    def found(self, request, status=200):
        deadline = time.monotonic() + 20
        while True:
            got, answer = self.ctld.api("GET", "traces/" + request)
            if got == status or time.monotonic() > deadline:
                self.assertEqual(got, status, answer)
                return answer
            time.sleep(0.01)

    def test_what_agents_tell(self):
        """WIRE welcome.traces and traces: an object comes back with who told it; what is none is that agent's trouble."""
        self.applied()
        a, b = self.agent(name="a"), self.agent(name="b")
        self.assertGreater(a.welcome[1]["traces"], 0)
        self.assertEqual(a.welcome[1]["traces"], b.welcome[1]["traces"])
        self.found(TRACE_ID, 404)
        for bad in ("x", "req_", "req_%2e%2e", TRACE_ID + "0"):
            self.assertEqual(self.ctld.api("GET", "traces/" + bad)[0], 400, bad)
        op_id, second, third = bytes(15) + b"\x01", bytes(15) + b"\x02", bytes(15) + b"\x03"
        self.told(a, op_id, json.dumps({"request": TRACE_ID, "status": 200, "agent": "nobody"}), lost=3)
        self.told(a, second, "{\"request\":")
        self.told(a, third, json.dumps({"request": TRACE_ID}))
        self.told(a, op_id + b"x", json.dumps({"request": TRACE_ID}))
        self.told(b, op_id, json.dumps({"request": TRACE_ID, "status": 500}))
        self.told(b, bytes(16), "x" * 9000)
        a.note("call.traces", {"ids": [bytes(15) + b"\x04"], "texts": []})
        for end, status in (("2", 500), ("3", 500), ("4", 404)):
            self.found(TRACE_ID[:-1] + end, status)
        self.assertEqual(self.found(TRACE_ID), {"request": TRACE_ID, "status": 200, "agent": "a", "host": "test", "currency": "USD"})
        b.usage([call_record(1)])  # behind what b told
        c = UnixHTTP(self.ctld.admin)
        c.request("GET", "/metrics")
        got = Text(c.getresponse().read().decode())
        c.close()
        self.assertEqual((got.get("aigw_ctld_traces_total", result="kept"), got.get("aigw_ctld_traces_total", result="lost")), (3, 3 + 1))

    def test_an_agent_can_not_fill_it(self):
        """4 MiB of one agent, whatever it sends; another's stays."""
        a, b = self.agent(name="a"), self.agent(name="b")
        self.told(b, bytes(15) + b"\x01", json.dumps({"request": TRACE_ID}))
        self.found(TRACE_ID)
        text = json.dumps({"x": "y" * 8000})
        for n in range(20):
            a.note("call.traces", {"ids": [struct.pack(">QQ", n + 1, i) for i in range(64)], "texts": [text] * 64})
        a.usage([call_record(1)])  # behind them
        self.found(TRACE_ID)
        rss = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.ctld.process.pid}/status", encoding="ascii").read()).group(1))
        self.assertLess(rss, 600 << 10)  # a sanitizer keeps what was freed


if __name__ == "__main__":
    unittest.main()
