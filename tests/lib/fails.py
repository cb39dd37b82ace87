"""How a request may fail: the rows of tbl/fail.h, and what an answer that says so has to look like.

    expect(test, answer, "model_not_found")          # status, shape, type, code, what SDKs are told about trying again
    row("spool_full").status
"""
import os
import re

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../include/aigw/tbl/fail.h")
ROW = re.compile(r'^FAIL\((\w+),\s*(\d+), "(\w*)",\s*(ANY|NO|YES),\s*"((?:[^"\\]|\\.)*)"\)', re.M)
REQUEST_ID = re.compile(r"req_[0-9a-hjkmnp-tv-z]{26}")


class Row:
    def __init__(self, name, status, kind, retry, text):
        self.name, self.status, self.type, self.retry = name, int(status), kind, retry
        self.text = re.sub(r"\\(.)", r"\1", text)


def table():
    with open(TABLE, encoding="utf-8") as f:
        return {m[1]: Row(*m.groups()) for m in ROW.finditer(f.read())}


ROWS = table()


def row(name):
    return ROWS[name]


def expect(test, a, name, says=None):
    """The answer a is this row's, in OpenAI's shape. Returns its message."""
    want = ROWS[name]
    test.assertIsNotNone(a, f"{name}: the connection ended without an answer")
    test.assertEqual(a.status, want.status, f"{name}: {a.body[:300]}")
    test.assertEqual(a.header("content-type"), "application/json")
    test.assertEqual(a.header("x-should-retry"), {"ANY": None, "NO": "false", "YES": "true"}[want.retry])
    later = want.status == 503 and want.retry == "YES"
    test.assertEqual((a.header("retry-after"), a.header("retry-after-ms")), ("1", "1000") if later else (None, None))
    test.assertRegex(a.header("x-request-id"), REQUEST_ID)
    got = a.json()
    test.assertEqual(list(got), ["error", "request_id"])
    test.assertEqual(list(got["error"]), ["message", "type", "param", "code"])
    test.assertEqual((got["error"]["type"], got["error"]["param"], got["error"]["code"]), (want.type, None, name))
    test.assertEqual(got["request_id"], a.header("x-request-id"))
    message = got["error"]["message"]
    test.assertRegex(message, r"^[A-Z].*[.?…]$|aigwctl ", "a sentence that says what to do")
    if says:
        test.assertIn(says, message)
    return message
