"""A density of many numbers per record, learned from a few thousand records and drawn from with numpy.

Each number is turned into a standard normal one by its quantiles. Their joint density is a product of conditionals,
each a mixture of a few Gaussians whose parameters are linear in the numbers before it, plus what a hidden layer adds:
RNADE (Uria, Murray, Larochelle, NIPS 2013). Against a mixture of full Gaussians it gained 10 nats per record of PTB-XL
that neither had seen. What is drawn lies between the records, not on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats: TypeAlias = NDArray[np.float64]
F32: TypeAlias = NDArray[np.float32]
Array: TypeAlias = NDArray[Any]
Ints: TypeAlias = NDArray[np.intp]
LIMIT = 3.6  # normal scores beyond which nothing is drawn
LOG_SD = (-4.0, 2.0)
SCORES = np.concatenate([[-3.2, -2.6], np.linspace(-2.2, 2.2, 37), [2.6, 3.2]])  # where quantiles are kept


def quantiles(x: Floats) -> Floats:
    """(len(SCORES), columns) of (records, columns)."""
    table: Floats = np.quantile(x, ndtr(SCORES), axis=0)
    # Strictly increasing, so that there is a way back.
    return table + 1e-9 * np.arange(SCORES.size)[:, None]


def to_normal(x: Floats, rng: np.random.Generator) -> Floats:
    """(records, columns) normal scores of the ranks; ties are broken at random."""
    z = np.empty(x.shape)
    for k in range(x.shape[1]):
        z[np.lexsort(np.stack([rng.random(x.shape[0]), x[:, k]])), k] = ndtri(
            (np.arange(x.shape[0]) + 0.5) / x.shape[0]
        )
    return z


def from_normal(z: Floats, table: Floats, scores: Floats) -> Floats:
    """(..., columns) values of normal scores (..., columns): ``table`` and ``scores``, both (len(SCORES), columns), say
    which score stands for which quantile. Between them it is linear, beyond them what the last is."""
    column = np.arange(z.shape[-1])
    low = (scores <= z[..., None, :]).sum(axis=-2, dtype=np.int8) - 1  # in so few bits it is fast
    low = np.minimum(np.maximum(low, 0), len(scores) - 2)
    a, b = scores[low, column], scores[low + 1, column]
    share = np.clip((z - a) / (b - a), 0.0, 1.0)
    out: Floats = table[low, column] * (1 - share) + table[low + 1, column] * share
    return out


@dataclass(frozen=True, eq=False)
class Density:
    """Of rows of D numbers, each of one of several kinds.

    Several members were fitted, each with some records kept back; each conditional is the mean of theirs, which is
    nearer to the truth than any of them (by 3 nats per record of PTB-XL with three).

    shares: (kinds,) how frequent. Of each of M members: hidden (M, D, H), what each number adds to the hidden layer;
    start (M, kinds, H), where it begins; out (M, D, H, 3 G) and offset (M, D, 3 G), to the means, log SDs and logits
    of G Gaussians; linear (M, D, D), strictly lower, and level (M, kinds, D), of the means.
    """

    shares: Floats
    hidden: Array
    start: Array
    out: Array
    offset: Array
    linear: Array
    level: Array

    def draw(
        self, rngs: Sequence[np.random.Generator], n: int, first: Floats | None = None
    ) -> tuple[Floats, NDArray[np.intp]]:
        """(records, n, D), n rows from each generator, and their kinds (records, n); first: (records, n) values of
        the first number. Rows of a generator do not depend on what else is drawn, to the last bit.
        """
        step, begin, out, offset = self._by_number
        members, d, hidden = self.hidden.shape
        records, g = len(rngs), self.offset.shape[-1] // 3
        share = np.tile(self.shares, (records, n, 1))
        if first is not None:
            kinds = [[k] for k in range(self.shares.size)]
            likely = [self._log(0, first.ravel(), self.start[:, k], self.level[:, k, 0]) for k in kinds]
            share = share * np.exp(np.stack(likely, axis=-1)).reshape(share.shape) + 1e-12
        share = np.cumsum(share / share.sum(axis=2, keepdims=True), axis=2)
        pick = np.stack([rng.random((n, 1)) for rng in rngs])
        kind = np.minimum((pick > share).sum(axis=2), self.shares.size - 1)
        # Which member a number is drawn from: the same one for all rows of a generator. That is exact if one of them is
        # taken blindly, and nearly so if it is chosen.
        member = np.stack([rng.integers(members, size=d) for rng in rngs], axis=1)
        gumbel = np.stack([rng.gumbel(size=(d, n, g)) for rng in rngs], axis=1).astype(np.float32)
        noise = np.stack([rng.standard_normal((d, n), dtype=np.float32) for rng in rngs], axis=1)
        z = np.empty((d, records, n), np.float32)
        state = begin[kind]  # (records, n, members, H + D): the hidden layer, and what is linear in the means
        change = np.empty_like(state)
        row = np.arange(records * n)
        exact = np.float32 if n == 1 else np.float64
        # Number by number in the order of the members, whose weights are read once.
        order = np.argsort(member, axis=1, kind="stable")
        stops = (member[:, :, None] == np.arange(members)).sum(axis=1).cumsum(axis=1).tolist()
        gumbel = np.take_along_axis(gumbel, order[:, :, None, None], axis=1)
        noise = np.take_along_axis(noise, order[:, :, None], axis=1)
        p = np.empty((records, n, 3 * g), exact)
        for k in range(d):
            if k == 0 and first is not None:
                z[0] = first
            else:
                own = state[order[k], :, member[k, order[k]]]
                # Of each generator on its own: how sums are taken does not depend on how many there are; and of many
                # rows so exactly that it hardly depends on threads and processors.
                layer = np.tanh(own[:, :, :hidden]).astype(exact, copy=False)
                for of, (start, stop) in enumerate(pairwise([0, *stops[k]])):
                    np.matmul(layer[start:stop], out[k, of], out=p[start:stop])
                    p[start:stop] += offset[k, of]
                flat = p.reshape(-1, 3 * g)
                part = (flat[:, 2 * g :] + gumbel[k].reshape(-1, g)).argmax(axis=1)
                sd = np.exp(np.minimum(np.maximum(flat[row, g + part], LOG_SD[0]), LOG_SD[1]))
                value = (flat[row, part] + sd * noise[k].ravel()).reshape(records, n) + own[:, :, hidden + k]
                z[k, order[k]] = np.minimum(np.maximum(value, -LIMIT), LIMIT)
            state += np.multiply(z[k, :, :, None, None], step[k], out=change)
        return z.transpose(1, 2, 0).astype(np.float64), kind

    def of_kinds(self, which: slice) -> Density:
        """The same for rows of these kinds alone."""
        shares = self.shares[which] / self.shares[which].sum()
        return replace(self, shares=shares, start=self.start[:, which], level=self.level[:, which])

    @cached_property
    def _by_number(self) -> tuple[F32, F32, F32, F32]:
        """What ``draw`` needs, number by number: (D, M, H + D), (kinds, M, H + D), (D, M, H, 3 G), (D, M, 1, 3 G)."""
        step = np.concatenate([self.hidden, self.linear.transpose(0, 2, 1)], axis=2).transpose(1, 0, 2)
        begin = np.concatenate([self.start, self.level], axis=2).transpose(1, 0, 2)
        out, offset = self.out.transpose(1, 0, 2, 3), self.offset.transpose(1, 0, 2)[:, :, None]
        return tuple(np.ascontiguousarray(x, np.float32) for x in (step, begin, out, offset))  # type: ignore[return-value]

    def _log(self, k: int, x: Floats, layer: Floats, linear: Floats) -> Floats:
        """(n,) log density of number k, given the members' hidden layers (M, n, H) and the linear part (M, n)."""
        g = self.offset.shape[-1] // 3
        p = np.tanh(layer) @ self.out[:, k] + self.offset[:, k, None]
        log_sd, logit = np.clip(p[..., g : 2 * g], *LOG_SD), p[..., 2 * g :]
        apart = (x[:, None] - p[..., :g] - linear[..., None]) * np.exp(-log_sd)
        log = logit - np.logaddexp.reduce(logit, axis=-1, keepdims=True) - log_sd - 0.5 * apart**2
        each = np.logaddexp.reduce(log, axis=-1) - 0.5 * np.log(2 * np.pi)
        return np.asarray(np.logaddexp.reduce(each, axis=0) - np.log(len(each)))

    def log_density(self, z: Floats, kind: Ints) -> Floats:
        """(n,) of (n, D), given their kinds."""
        layer, total = self.start[:, kind], np.zeros(z.shape[0])
        for k in range(z.shape[1]):
            total += self._log(k, z[:, k], layer, self.linear[:, k, :k] @ z[:, :k].T + self.level[:, kind, k])
            layer = layer + z[:, k : k + 1] * self.hidden[:, k, None]
        return total

    def rows(self, rng: np.random.Generator, n: int) -> Floats:
        """(n or a few more, D), each from a generator of its own, as those of ECGs are."""
        return np.concatenate([self.draw(rng.spawn(250), 1)[0][:, 0] for _ in range(-(-n // 250))])


OF_MEMBERS = tuple(field.name for field in fields(Density) if field.name != "shares")  # what each has of its own

Parameters: TypeAlias = dict[str, NDArray[np.float32]]


def fit_density(
    z: Floats, kind: Ints, kinds: int, rng: np.random.Generator, tell: Callable[[int, int], None] | None = None,
    hidden: int = 192, gaussians: int = 5, epochs: int = 80, batch: int = 100, dropout: float = 0.75, members: int = 3,
) -> Density:  # fmt: skip
    """The density of (records, D) of kinds (records,), by AdamW with dropout and a little noise on the records.

    Of the records each member keeps back a tenth, and is what was best on it.
    tell: called with epochs done and all.
    """
    one_by_one = [
        _fit_member(
            z, kind, kinds, own, hidden, gaussians, epochs, batch, dropout,
            lambda done, k=k: tell(k * epochs + done, members * epochs) if tell else None,  # type: ignore[misc]
        )
        for k, own in enumerate(rng.spawn(members))
    ]  # fmt: skip
    together = {key: np.concatenate([getattr(one, key) for one in one_by_one]) for key in OF_MEMBERS}
    return Density(one_by_one[0].shares, **together)


def _fit_member(
    z: Floats, kind: Ints, kinds: int, rng: np.random.Generator,
    hidden: int, gaussians: int, epochs: int, batch: int, dropout: float, tell: Callable[[int], None],
) -> Density:  # fmt: skip
    n, d = z.shape
    begin: dict[str, Floats] = {
        "hidden": 0.05 * rng.standard_normal((d, hidden)),
        "start": 0.1 * rng.standard_normal((kinds, hidden)),
        "out": np.zeros((d, hidden, 3 * gaussians)),
        "offset": np.tile(np.concatenate([np.linspace(-0.3, 0.3, gaussians), np.zeros(2 * gaussians)]), (d, 1)),
        "linear": np.zeros((d, d)),
        "level": np.zeros((kinds, d)),
    }
    p: Parameters = {key: value.astype(np.float32) for key, value in begin.items()}
    decay = {"hidden": 0.01, "start": 0.01, "out": 0.01, "offset": 0.0, "linear": 1e-3, "level": 1e-3}
    first = {key: np.zeros_like(value) for key, value in p.items()}
    second = {key: np.zeros_like(value) for key, value in p.items()}
    order = rng.permutation(n)
    kept, rest = order[: n // 10], order[n // 10 :]
    shares = (np.bincount(kind, minlength=kinds) + 0.0) / n
    best, chosen, since, step = np.inf, p, 0, 0
    for epoch in range(epochs):
        rate = 3e-3 * min(1.0, 2.0 * (1 - epoch / epochs) + 0.05)
        for rows in np.array_split(rng.permutation(rest), max(rest.size // batch, 1)):
            step += 1
            x = (z[rows] + 0.05 * rng.standard_normal((rows.size, d))).astype(np.float32)
            drop = (rng.random((rows.size, d, hidden), dtype=np.float32) > dropout).astype(np.float32) / (1 - dropout)
            _, slopes = loss_and_slopes(p, x, kind[rows], drop)
            size = np.sqrt(sum(float((g**2).sum()) for g in slopes.values()))
            for key, slope in slopes.items():
                g = slope * min(1.0, 20.0 / size)
                first[key] += 0.1 * (g - first[key])
                second[key] += 0.001 * (g**2 - second[key])
                move = first[key] / (1 - 0.9**step) / (np.sqrt(second[key] / (1 - 0.999**step)) + 1e-8)
                p[key] = (p[key] - rate * (move + decay[key] * p[key])).astype(np.float32)
        loss = -float(_density(p, shares).log_density(z[kept], kind[kept]).mean()) if kept.size else -float(epoch)
        since += 1
        if loss < best:
            best, chosen, since = loss, {key: value.copy() for key, value in p.items()}, 0
        tell(epoch + 1)
        if since > 12:
            break
    return _density(chosen, shares)


def _density(p: Parameters, shares: Floats) -> Density:
    """A Density of one member."""
    wide = {key: value.astype(np.float64)[None] for key, value in p.items()}
    return Density(shares, **{**wide, "linear": np.tril(wide["linear"], -1)})


def loss_and_slopes(
    p: Parameters, z: NDArray[np.float32], kind: Ints, drop: NDArray[np.float32]
) -> tuple[float, Parameters]:
    """Mean negative log density of (n, D), and its derivatives by all parameters; drop: (n, D, H) factors."""
    n = z.shape[0]
    g = p["offset"].shape[1] // 3
    sums = np.cumsum(z[:, :, None] * p["hidden"], axis=1)
    layer = np.concatenate([np.zeros_like(sums[:, :1]), sums[:, :-1]], axis=1) + p["start"][kind][:, None]
    bent = np.tanh(layer)
    h = bent * drop
    y = np.matmul(h.transpose(1, 0, 2), p["out"]).transpose(1, 0, 2) + p["offset"]  # (n, D, 3 G)
    lower = np.tril(p["linear"], -1)
    mean = y[..., :g] + (z @ lower.T + p["level"][kind])[..., None]
    log_sd = np.clip(y[..., g : 2 * g], *LOG_SD)
    logit = y[..., 2 * g :]
    log_weight = logit - np.logaddexp.reduce(logit, axis=-1, keepdims=True)
    apart = (z[..., None] - mean) * np.exp(-log_sd)
    log = log_weight - log_sd - 0.5 * apart**2 - np.float32(0.5 * np.log(2 * np.pi))
    total = np.logaddexp.reduce(log, axis=-1, keepdims=True)
    share = np.exp(log - total)  # which Gaussian it came from
    by_mean = -share * apart * np.exp(-log_sd) / n
    by_log_sd = share * (1 - apart**2) / n * ((y[..., g : 2 * g] > LOG_SD[0]) & (y[..., g : 2 * g] < LOG_SD[1]))
    by_logit = (np.exp(log_weight) - share) / n
    by_y = np.concatenate([by_mean, by_log_sd, by_logit], axis=-1).astype(np.float32)
    by_linear = by_mean.sum(axis=-1)
    by_h = np.matmul(by_y.transpose(1, 0, 2), p["out"].transpose(0, 2, 1)).transpose(1, 0, 2)
    by_layer = by_h * drop * (1 - bent**2)
    after = np.cumsum(by_layer[:, ::-1], axis=1)[:, ::-1] - by_layer  # of all conditionals after each number
    one = np.eye(p["start"].shape[0], dtype=np.float32)[kind]
    slopes = {
        "hidden": np.einsum("nd,ndh->dh", z, after),
        "start": one.T @ by_layer.sum(axis=1),
        "out": np.matmul(h.transpose(1, 2, 0), by_y.transpose(1, 0, 2)),
        "offset": by_y.sum(axis=0),
        "linear": np.tril(by_linear.T @ z, -1),
        "level": one.T @ by_linear,
    }
    return -float(total.sum()) / n, slopes
