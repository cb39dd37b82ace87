#!/usr/bin/env python3
"""The journal's catalogue (systemd.io/CATALOG, 2026) out of include/aigw/tbl/log_events.h: what `journalctl -x` says of our events.

Usage: make_catalog.py TABLE
"""
import re
import sys

ROW = re.compile(r'^LOG_EVENT\("([^"]+)",\s+"([0-9a-f]{32})", "([^"]+)", "([^"]+)"\)$', re.M)

with open(sys.argv[1], encoding="utf-8") as f:
    for name, message_id, doc, remedy in ROW.findall(f.read()):
        print(f"-- {message_id}\nSubject: {name}\nDefined-By: aigw\nDocumentation: man:aigw-agentd(8) man:aigw-ctld(8)\n\n{doc}\n\n{remedy}\n")
