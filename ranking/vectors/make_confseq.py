"""Makes confseq.json: what confseq 0.0.11 says of three fixed sequences, one observation a day.

Only confseq's pure Python modules are used: its sources, numpy below 2, scipy, multiprocess and matplotlib are enough.
    PYTHONPATH=confseq-0.0.11/src python3 make_confseq.py > confseq.json
"""

import json

import numpy as np
from confseq.betting_strategies import lambda_aKelly
from confseq.predmix import predmix_empbern_lower_cs, predmix_empbern_twosided_cs

random = np.random.default_rng(23)
sequences = {
    "coins": random.integers(0, 2, 80) * 1.0,
    "differences": random.choice([0.0, 0.5, 1.0], 120, p=[0.1, 0.6, 0.3]),
    "fractions": np.round(random.beta(8, 3, 100), 3),
}

vectors = []
for name, x in sequences.items():
    low, high = predmix_empbern_twosided_cs(x, alpha=0.05, running_intersection=True)
    one_sided = predmix_empbern_lower_cs(x, alpha=0.05, running_intersection=True)
    bets = {}
    for m in (0.3, 0.5, 0.525):
        # One-sided: no bet on a mean below m.
        bet = np.maximum(0, lambda_aKelly(x, m, trunc_scale=0.5))
        bets[str(m)] = {"bet": bet.tolist(), "log_e": np.cumsum(np.log1p(bet * (x - m))).tolist()}
    vectors.append(
        {
            "name": name,
            "x": x.tolist(),
            "betting": bets,
            "low": low.tolist(),
            "high": high.tolist(),
            "one_sided_low": one_sided.tolist(),
        }
    )
print(json.dumps(vectors))
