"""What the provider saw, read from the simulator's log while it grows; and money as whole nano-units."""
import json
from decimal import Decimal


class SimLog:
    """`received`: the first recv line of each call by our request id (a replaced connection sends a call twice);
    `ended`: its end line, the complete one if there is one."""

    def __init__(self, path):
        self.received, self.ended = {}, {}
        self._path, self._at, self._rest = path, 0, ""
        self._running = set()

    def _read(self):
        with open(self._path, encoding="utf-8") as f:
            f.seek(self._at)
            text = self._rest + f.read()
            self._at = f.tell()
        *lines, self._rest = text.split("\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, line):
        ours = line.get("client_request_id")
        if line["event"] == "recv" and ours:
            self.received.setdefault(ours, line)
            self._running.add(line["seq"])
        elif line["event"] == "end" and ours:
            self._running.discard(line["seq"])
            if not self.ended.get(ours, {}).get("complete"):
                self.ended[ours] = line

    def in_flight(self):
        self._read()
        return len(self._running)

    def in_flight_at(self, wall_us):
        """Calls that had come and not ended at that time, by the simulator's clock."""
        self._read()
        return sum(r["time_us"] <= wall_us and self.ended.get(i, {"time_us": wall_us + 1})["time_us"] > wall_us
                   for i, r in self.received.items())


def nano(text):
    return int(Decimal(text).scaleb(9))


def money(n):
    """As the admin API writes it."""
    sign, n = "-" if n < 0 else "", abs(n)
    return f"{sign}{n // 10**9}.{n % 10**9:09d}"
