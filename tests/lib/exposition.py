"""Prometheus text, parsed strictly."""
import re

SAMPLE = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?[0-9.]+|\+Inf)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"')


class Text:
    """An exposition, parsed strictly: (name, labels) -> value."""

    def __init__(self, text):
        self.text, self.samples, self.types = text, {}, {}
        family = None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                assert family not in self.types, f"{family} stands twice"
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name == family, line
                self.types[name] = kind
            else:
                m = SAMPLE.fullmatch(line)
                assert m, line
                name = m[1]
                base = re.sub(r"_(bucket|sum|count)$", "", name) if self.types.get(family) == "histogram" else name
                assert base == family, f"{line} stands under {family}"
                key = name, tuple(sorted(LABEL.findall(m[2] or "")))
                assert key not in self.samples, f"{line} stands twice"
                self.samples[key] = float(m[3])
                if self.types[family] == "counter":
                    assert float(m[3]) >= 0, line

    def get(self, name, **labels):
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def sum(self, name, **labels):
        return sum(v for (n, have), v in self.samples.items() if n == name and set(labels.items()) <= set(have))

    def labels(self):
        return {k for _, have in self.samples for k, _ in have}
