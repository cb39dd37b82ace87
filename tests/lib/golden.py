"""Output of the programs, compared with what is written down in a file. What is another one in each run is masked.

AIGW_GOLDEN=write writes the files anew; then read the difference.
"""
import os
import re

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e/golden")
WRITE = os.environ.get("AIGW_GOLDEN") == "write"

# Tables are compared with their white space, so a replacement keeps the width where it matters.
MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "CLOCK"),
    (re.compile(r"key_[0-9A-Za-z]{12}"), "key_IDIDIDIDIDID"),
    (re.compile(r"req_[0-9A-Za-z_-]{16,}"), "req_ID"),
    (re.compile(r"…[0-9A-Za-z_-]{8}"), "…REQUEST"),
    (re.compile(r"sk-aigw-[0-9A-Za-z_-]{20,}"), "sk-aigw-SECRET"),
    (re.compile(r"\b(in|after) \d+(\.\d+)? m?s\b"), r"\1 TIME"),
    (re.compile(r"(?<![\w.])\d+\.\d+m?s\b"), "SPAN"),
    (re.compile(r"127\.0\.0\.1:\d{5}"), "127.0.0.1:PORT"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "STORE"),
    (re.compile(r"\b(now|\d+s ago|\d+ms ago)\b"), "now"),
    (re.compile(r'("(?:pid|uptime_s|clock_diff_ms|spool_lag_s|keys_seq|bytes|map_bytes|uid|version|duration_us|first_byte_us)": )(?:\d+|-\d+|"[^"]*")'),
     r"\1N"),
    (re.compile(r'("(?:host|reason|started|applied_by|set_by)": )"[^"]*"'), r'\1"X"'),
)


def compare(case, name, text, masks=(), home=None):
    """text of the test case, against golden/name; masks: (pattern, replacement) before the common ones; home: a folder whose name is another one
    each time."""
    if home:
        text = text.replace(home, "HOME")
    for pattern, instead in (*masks, *MASKS):
        text = re.sub(pattern, instead, text)
    text = text.replace("\r\n", "\n")
    if name.endswith(".table"):  # what is masked decides how wide its column is
        text = re.sub(r" {2,}", "  ", text)
    path = os.path.join(FOLDER, name)
    if WRITE:
        os.makedirs(FOLDER, exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    with open(path, encoding="utf-8") as f:
        case.assertEqual(text, f.read(), name)
