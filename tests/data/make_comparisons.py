"""Golden statistics of paired differences, from SciPy.

    pip install scipy==1.17.1 numpy==2.4.6
    python make_comparisons.py

Writes comparisons.json beside itself: samples of differences with the mean, its 95 % interval by Student's
distribution, and the two-sided p value of Wilcoxon's signed-rank test. Up to 50 differences without ties it is exact;
with ties, it is the exact permutation test of the ranks' sum over all signs, for as many differences as can be
enumerated; beyond 50, it is the normal one. Then p values with corrections: Benjamini and Hochberg's by SciPy, Holm's
by its definition.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats

HERE = Path(__file__).parent
random = np.random.default_rng(0)


def permuted(differences):
    """The two-sided p value over all signs of the shared ranks."""
    found = differences[differences != 0]
    ranks = stats.rankdata(np.abs(found))
    test = stats.permutation_test(
        (ranks * np.sign(found),),
        lambda x, axis: np.sum(np.where(x > 0, x, 0), axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    return test.pvalue


def sample(n, kind):
    x = random.normal(0.3, 1.0, n)
    if kind == "tied":
        x = np.round(2 * x) / 2
    if kind == "skewed":
        x = np.exp(x) - 1.0
    return x


samples = []
for n, kind in [
    (8, "normal"),
    (9, "tied"),
    (12, "tied"),
    (21, "normal"),
    (50, "skewed"),
    (51, "normal"),
    (90, "tied"),
    (300, "skewed"),
]:
    x = sample(n, kind)
    interval = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    if kind == "tied" and n <= 12:
        p = permuted(x)
    else:
        method = "exact" if n <= 50 else "asymptotic"
        p = stats.wilcoxon(x, zero_method="wilcox", correction=False, method=method).pvalue
    samples.append(
        {"differences": x.tolist(), "mean": x.mean(), "low": interval.low, "high": interval.high, "p": float(p)}
    )

p = np.concatenate([random.uniform(0, 1, 12), random.uniform(0, 0.01, 5), [0.5, 0.5]])
order = np.argsort(p)
holm = np.empty_like(p)
holm[order] = np.minimum(1.0, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
bh = stats.false_discovery_control(p, method="bh")
corrected = {"p": p.tolist(), "holm": holm.tolist(), "bh": bh.tolist()}
(HERE / "comparisons.json").write_text(json.dumps({"samples": samples, "corrected": corrected}) + "\n")
