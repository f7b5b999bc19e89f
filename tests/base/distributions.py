"""p-value of samples under a distribution: distributions.py NAME A B FILE, raw float64.

Kolmogorov-Smirnov for continuous ones; for counts a chi-square over bins of at least 50 expected, and over
the moments where the mean is large.
"""
import sys

import numpy as np
import scipy.stats as st

name, a, b = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
x = np.fromfile(sys.argv[4], "f8")


def counts_p(law):
    low, high = int(law.ppf(1e-9)), int(law.ppf(1 - 1e-9)) + 1
    step = max(1, (high - low) // 400)
    edges = np.arange(low, high + step, step)
    expected = np.diff(np.concatenate([[0], law.cdf(edges), [1]])) * len(x)
    seen = np.histogram(x, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0].astype(float)
    # Merge neighbours until every bin expects enough.
    merged, total = [], [0.0, 0.0]
    for e, s in zip(expected, seen):
        total = [total[0] + e, total[1] + s]
        if total[0] >= 50:
            merged.append(total)
            total = [0.0, 0.0]
    merged[-1] = [merged[-1][0] + total[0], merged[-1][1] + total[1]]
    e, s = np.array(merged).T
    chi2 = ((s - e) ** 2 / e).sum()
    return st.chi2.sf(chi2, len(e) - 1) if len(e) > 1 else 1.0


if name == "poisson":
    law = st.poisson(a)
    z = (x.mean() - a) / np.sqrt(a / len(x))
    print(min(counts_p(law), 2 * st.norm.sf(abs(z))))
else:
    law = {"uniform": lambda: st.uniform(a, b), "norm": lambda: st.norm(a, b), "gamma": lambda: st.gamma(a),
           "beta": lambda: st.beta(a, b)}[name]()
    ks = st.kstest(x, law.cdf).pvalue
    z = (x.mean() - law.mean()) / (law.std() / np.sqrt(len(x)))
    # Central moments to the fourth: the variance has its own standard error.
    m4 = float(law.stats("k")) + 3
    zv = (((x - law.mean()) ** 2).mean() / law.var() - 1) / np.sqrt((m4 - 1) / len(x))
    print(min(ks, 2 * st.norm.sf(abs(z)), 2 * st.norm.sf(abs(zv))))
