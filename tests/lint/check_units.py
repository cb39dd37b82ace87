#!/usr/bin/env python3
"""The systemd units as they are installed: `systemd-analyze verify` finds nothing in them, and their exposure stays below what is promised.

Usage: check_units.py FOLDER; one with the units made by meson. Without systemd-analyze: skipped.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

LIMITS = {"aigw-agentd.service": 16, "aigw-ctld.service": 16, "aigw-statsfs.service": 42}  # tenths
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../systemd")


def main(made):
    if not shutil.which("systemd-analyze"):
        print("no systemd-analyze (package systemd): skipped")
        return 77
    bad = 0
    with tempfile.TemporaryDirectory(prefix="aigw-units-") as at:
        names = []
        for folder, end in ((made, ".service"), (SOURCES, ".socket")):
            for name in sorted(os.listdir(folder)):
                if name.endswith(end):
                    with open(os.path.join(folder, name), encoding="utf-8") as f:
                        text = f.read()
                    # The programs are not installed here: what stands for them is.
                    text = re.sub(r"^(Exec\w+=-?)/\S*/(aigw-\S+)", r"\1/bin/true", text, flags=re.M)
                    with open(os.path.join(at, name), "w", encoding="utf-8") as f:
                        f.write(text)
                    names.append(name)
        assert len(names) == 8, names
        got = subprocess.run(["systemd-analyze", "verify", "--man=no", *(os.path.join(at, n) for n in names)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, check=False)
        said = [line for line in got.stdout.splitlines() if "aigw" in line]
        if said:
            bad += 1
            print("\n".join(said))
        for name, most in LIMITS.items():
            got = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={most}", os.path.join(at, name)], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, check=False)
            line = next((line for line in got.stdout.splitlines() if "exposure level" in line), got.stdout[-300:])
            print(f"{name}: {line.strip()}")
            bad += got.returncode != 0
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
