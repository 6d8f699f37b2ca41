"""Which training ranks by what clients want? Figures of docs/position-bias.md.

A Python rendering of `ltr-trainer simulate` (the same market and clients, other random numbers), because only a
simulation knows what clients want. Trains with the project's parameters, stops by the validation part, and judges the
test part by clicks as shown, by debiased clicks and by the truth: the gains expected of clients who see every position.

    pip install lightgbm==4.7.0 numpy
    python scripts/position_study.py --falls 0.05 0.3 1.0 --seeds 1 2 3
"""
import argparse
from collections import deque

import lightgbm as lgb
import numpy as np

SET, SETS, AREAS, SHOWN = 6, 200, 8, 12
WEIGHTS = np.array([0.30, 0.25, 0.15, 0.10, 0.10, 0.05, 0.05, 0.03, 0.02, 0.02, 0.01])
WEIGHTS /= WEIGHTS.sum()
GAINS = np.array([0.0, 3.0, 6.0, 10.0])
DISCOUNT = 1 / np.log2(np.arange(2, 2 + SHOWN))
SEED_PARAMETERS = dict(learning_rate=0.05, num_leaves=48, min_data_in_leaf=20, feature_fraction=0.9, lambda_l1=0.2,
                       lambda_l2=0.2, seed=42, deterministic=True, force_row_wise=True, num_threads=1,
                       label_gain=list(GAINS), metric="None", verbosity=-1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def market(rng):
    lawyers = []
    for _ in range(SETS):
        quality, areas = rng.normal(), rng.random(AREAS) ** 2.2
        areas[rng.integers(AREAS)] = rng.uniform(0.75, 1)
        price, responsiveness = rng.random(), rng.random()
        success, review = sigmoid(0.8 * quality + 0.8 * rng.normal()), 0.55 + 0.12 * quality + 0.22 * rng.normal()
        reviewed = rng.random() >= 0.12
        near = lambda x: float(np.clip(x + 0.02 * rng.normal(), 0, 1))
        for place in range(SET):
            lawyers.append(dict(
                quality=quality, capacity=rng.integers(20, 60), other=rng.integers(4, 20), place=place, areas=areas,
                home=rng.random(2), price=price, pace=0.5 * responsiveness, success=near(success),
                qualification=rng.random(), review=near(review) if reviewed else np.nan,
                soft=np.nan if rng.random() < 0.1 else rng.random(),
                firm=np.nan if rng.random() < 0.2 else rng.random() ** 2, maturity=rng.random()))
    return lawyers


def legacy(x):
    known = ~np.isnan(x)
    return (np.where(known, x, 0) * WEIGHTS).sum(1) / (known * WEIGHTS).sum(1)


def utility(x, quality):
    known = lambda v, otherwise: np.where(np.isnan(v), otherwise, v)
    area, success, geo, urgency, review, price = (x[:, i] for i in (0, 2, 3, 5, 6, 9))
    return (-2 + (area > 0.6) * 3.4 * known(price, 0.5) + (urgency > 0.5) * 2.2 * geo + (area > 0.3) * 1.4 * success
            - (known(review, 0.6) < 0.45) * 2.2 + 0.25 * quality)


def rerank(score, load, capacity, groups, last):
    best = score.max()
    elite = score >= best - max(0.05, 0.1 * abs(best))
    equity = np.where(load >= capacity, 0.05, np.maximum(1 - load / capacity, 0.05))
    rare = np.zeros(len(score), bool)
    for group in groups:
        rare |= ((group[:, None] == group) & elite).sum(1) < 0.3 * elite.sum()
    fair = np.where(elite, 0.7 * score + 0.3 * equity + 0.05 * rare, score)
    return sorted(range(len(score)), key=lambda i: (not elite[i], -fair[i], last[i]))


def simulate(seed, fall, days=30, cases=300, taste=0.9):
    """A month of legacy traffic; a client looks at position p with probability 1 / (1 + fall * (p - 1))."""
    rng = np.random.default_rng(seed)
    lawyers = market(rng)
    practising = [[[i for i in range(p, len(lawyers), SET) if lawyers[i]["areas"][a] > 0.6] for p in range(SET)]
                  for a in range(AREAS)]
    signed, offered = [deque() for _ in lawyers], np.full(len(lawyers), -1.0)
    log = dict(x=[], grade=[], u=[], load=[], capacity=[], place=[], last=[])
    for day in range(days):
        loads = np.array([l["other"] + sum(t < day for t in signed[i]) for i, l in enumerate(lawyers)])
        before = offered.copy()
        for k in range(cases):
            area, urgent, home = rng.integers(AREAS), rng.random() < 0.4, rng.random(2)
            budget = np.nan if rng.random() < 0.08 else rng.random()
            who = []
            for place in range(SET):
                strong, anyone = practising[area][place], lambda: rng.integers(SETS) * SET + place
                first = strong[rng.integers(len(strong))] if strong else anyone()
                second = anyone()
                while second == first:
                    second = anyone()
                who += [first, second]
            who, x = np.array(who), []
            for l in (lawyers[i] for i in who):
                strength, unit = l["areas"][area], lambda v: float(np.clip(v, 0, 1))
                fit = np.nan if np.isnan(budget) else unit(1 - 1.5 * abs(l["price"] - budget))
                x.append([unit(strength + 0.05 * rng.normal()), unit(0.25 + 0.45 * strength + 0.2 * rng.normal()),
                          l["success"], np.exp(-1.6 * np.hypot(*(l["home"] - home))), l["qualification"],
                          l["pace"] + 0.5 * urgent, l["review"], l["soft"], l["firm"], fit, l["maturity"]])
            x, place = np.array(x), np.array([lawyers[i]["place"] for i in who])
            capacity = np.array([lawyers[i]["capacity"] for i in who])
            order = rerank(legacy(x), loads[who], capacity, (place % 2, place // 2), before[who])
            who, x = who[order], x[order]
            u = utility(x, np.array([lawyers[i]["quality"] for i in who]))
            looked = rng.random(SHOWN) < 1 / (1 + fall * np.arange(SHOWN))
            liking, choice = u + taste * rng.normal(size=SHOWN), u + taste * rng.gumbel(size=SHOWN)
            clicked = looked & (rng.random(SHOWN) < sigmoid(1.6 * (liking - 0.4)))
            contacted = clicked & (rng.random(SHOWN) < sigmoid(1.8 * (liking - 0.6)))
            grade = clicked.astype(int) + contacted
            if contacted.any() and rng.random() < 0.8:
                winner = np.where(contacted)[0][np.argmax(choice[contacted])]
                grade[winner] = 3
                signed[who[winner]].append(day + rng.random())
            offered[who] = day + k / cases
            for key, value in dict(x=x, grade=grade, u=u, load=loads[who], capacity=capacity[order], place=place[order],
                                   last=before[who]).items():
                log[key].append(value)
    return {key: np.array(value) for key, value in log.items()}


def dcg(score, gain, k=5):
    order = np.argsort(-score, axis=1, kind="stable")
    return (np.take_along_axis(gain, order, 1)[:, :k] * DISCOUNT[:k]).sum(1)


def ndcg(score, gain):
    best = dcg(gain, gain)
    return (dcg(score, gain)[best > 0] / best[best > 0]).mean()


def debiased(score, gain):
    return dcg(score, gain).mean() / dcg(gain, gain).mean()


def expected_gain(u):
    click = sigmoid(1.6 * (u - 0.4) / 1.2)
    chosen = np.exp(u) / (np.exp(u).sum(1, keepdims=True) + 2)
    return 3 * click + 3 * click * sigmoid(1.8 * (u - 0.6) / 1.2) + 4 * chosen


def examination(x, clicked):
    """As trainer/src/examination.rs."""
    position = np.tile(np.arange(1, SHOWN + 1), len(x))
    rows = np.column_stack([x.reshape(-1, 11), position])
    parameters = dict(objective="binary", learning_rate=0.1, num_leaves=16, min_data_in_leaf=100, seed=42,
                      monotone_constraints=[0] * 11 + [-1], deterministic=True, num_threads=1, verbosity=-1)
    model = lgb.train(parameters, lgb.Dataset(rows, clicked.ravel().astype(float)), 60)
    sample = rows[:: max(1, -(-len(rows) // 2000))].copy()
    clicks = []
    for p in range(1, SHOWN + 1):
        sample[:, 11] = p
        clicks.append(model.predict(sample).mean())
    return np.maximum(np.array(clicks) / clicks[0], 0.05)


def train(log, parts, objective, position, stop_gain, measure, extra):
    labels = GAINS[log["grade"]] / 10 if objective == "regression" else log["grade"]
    parameters = dict(SEED_PARAMETERS, objective=objective, **extra)
    sets = []
    for part in parts[:2]:
        n = part.stop - part.start
        sets.append(lgb.Dataset(log["x"][part].reshape(-1, 11), labels[part].ravel(), group=[SHOWN] * n,
                                position=np.tile(np.arange(SHOWN), n) if position and not sets else None,
                                reference=sets[0] if sets else None, params=parameters))
    if measure is None:
        parameters["metric"], judge = "l2", None
    else:
        shape = stop_gain.shape
        judge = lambda scores, _: ("judge", measure(scores.reshape(shape), stop_gain), True)
    return lgb.train(parameters, sets[0], 1000, valid_sets=[sets[1]], feval=judge,
                     callbacks=[lgb.early_stopping(100, verbose=False)])


def study(seed, fall):
    log = simulate(seed, fall)
    n = len(log["x"])
    train_part, valid, test = parts = (slice(0, round(n * 0.65)), slice(round(n * 0.65), round(n * 0.8)),
                                       slice(round(n * 0.8), n))
    shown = GAINS[log["grade"]]
    weighted = shown / examination(log["x"][train_part], log["grade"][train_part] > 0)
    truth = expected_gain(log["u"])
    for name, objective, position, gain, measure, extra in [
        ("LambdaMART, position, stopped by clicks as shown", "lambdarank", True, shown, ndcg, {}),
        ("LambdaMART, position, stopped by debiased clicks", "lambdarank", True, weighted, debiased, {}),
        ("the same with num_leaves 16", "lambdarank", True, weighted, debiased, dict(num_leaves=16)),
        ("LambdaMART without position", "lambdarank", False, shown, ndcg, {}),
        ("LightGBM regression", "regression", False, shown, None, {}),
    ]:
        model = train(log, parts, objective, position, gain[valid], measure, extra)
        score = model.predict(log["x"][test].reshape(-1, 11)).reshape(-1, SHOWN)
        yield name, (model.best_iteration, ndcg(score, shown[test]), debiased(score, weighted[test]),
                     ndcg(score, truth[test]))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--falls", type=float, nargs="+", default=[0.05, 0.3, 1.0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = arguments.parse_args()
    print("| fall | training | rounds | nDCG@5 as shown | debiased | truth |\n|---|---|---|---|---|---|")
    for fall in arguments.falls:
        rows = {}
        for seed in arguments.seeds:
            for name, figures in study(seed, fall):
                rows.setdefault(name, []).append(figures)
        for name, figures in rows.items():
            rounds = ", ".join(str(f[0]) for f in figures)
            means = " | ".join(f"{m:.4f}" for m in np.mean([f[1:] for f in figures], axis=0))
            print(f"| {fall} | {name} | {rounds} | {means} |", flush=True)
