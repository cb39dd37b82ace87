"""Arithmetic of the benchmark: percentiles, intervals of a ratio, what a call cost. Pure functions."""
import math
import random
import statistics

SATURATED = 0.95  # below this share of its core, a target was not at its limit

# 97.5 % quantiles of Student's t by degrees of freedom
T975 = [None, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052,
        2.048, 2.045, 2.042]


def median(values):
  """None for nothing, so that a missing run shows as a gap and not as a number."""
  values = [v for v in values if v is not None]
  return statistics.median(values) if values else None


def percentile(values, permille):
  """The smallest value that at least permille thousandths of all do not exceed (nearest rank)."""
  values = sorted(values)
  if not values:
    return None
  rank = max(1, -(-len(values) * permille // 1000))
  return values[rank - 1]


def mean_interval(values):
  """(mean, low, high): 95 % interval by Student's t. One value alone says nothing: None."""
  n = len(values)
  if n < 2:
    return None
  mean = statistics.fmean(values)
  t = T975[n - 1] if n <= len(T975) else statistics.NormalDist().inv_cdf(0.975)
  half = t * statistics.stdev(values) / math.sqrt(n)
  return mean, mean - half, mean + half


def ratio_log_t(pairs):
  """(ratio, low, high) of numerator to denominator over pairs: the t interval on the logarithms,
  which one disturbed pair cannot dominate. None where a pair has no ratio (not both positive)."""
  if len(pairs) < 2 or any(a <= 0 or b <= 0 for a, b in pairs):
    return None
  return tuple(math.exp(v) for v in mean_interval([math.log(a / b) for a, b in pairs]))


def ratio_bootstrap(pairs, rounds=10000, seed=1):
  """(ratio, low, high) of the sums, pairs drawn with replacement: needs no positive pairs, only a
  positive sum below the line. A draw without one counts as infinite."""
  if len(pairs) < 2 or sum(b for _, b in pairs) <= 0:
    return None
  draw = random.Random(seed)
  ratios = []
  for _ in range(rounds):
    some = draw.choices(pairs, k=len(pairs))
    below = sum(b for _, b in some)
    ratios.append(sum(a for a, _ in some) / below if below > 0 else math.inf)
  whole = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
  return whole, percentile(ratios, 25), percentile(ratios, 975)


def ratio_interval(pairs):
  """The interval that decides, and its name: log t where every pair has a ratio, else bootstrap."""
  got = ratio_log_t(pairs)
  return (got, "t on logarithms") if got else (ratio_bootstrap(pairs), "bootstrap")


def cpu_us_per_call(cpu_seconds, calls):
  return cpu_seconds / calls * 1e6 if calls > 0 else None


def core_share(cpu_seconds, wall_seconds):
  return cpu_seconds / wall_seconds if wall_seconds > 0 else None


def is_saturated(share):
  return share is not None and share >= SATURATED


def ratio(a, b):
  return a / b if a is not None and b else None


def minus(a, b):
  return a - b if a is not None and b is not None else None


def kib_each(before_kib, after_kib, count):
  return (after_kib - before_kib) / count if count > 0 else None
