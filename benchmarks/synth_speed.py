"""How fast ECGs are generated: our models in batches, against Pulse2Pulse as it is published.

python benchmarks/synth_speed.py                all cores, as torch takes them by itself
python benchmarks/synth_speed.py --cores 1

The published generator is rebuilt from its description (Thambawita et al., Sci Rep 11:21896, 2021): eager torch, whole
samples repeated before each convolution, one ECG at a time, written to no file. Both take the same number of cores of
the same machine in turns: torch as threads, ours as worker processes like those of ecg-image-gen. Figures are the best
of several rounds, in ECGs per second. Ours goes all the way from the seed to 12-lead records. Loading is not counted,
nor that workers start. The time to the first page is that of a fresh process, from its start until the page and its
truth lie on the disk.
Exit status: 0 all targets met, 1 some missed. Needs the train extra.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RATIO, FIRST_S = 5.0, 3.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Libraries that are loaded here, and processes that are started, keep to so many."""
    before = {name: os.environ.pop(name, None) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def published(cores: int) -> Callable[[int], None]:
    """Makes so many ECGs, one after the other."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(cores)

    class Published(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            down, up = (8, 10, 25, 50, 150, 250, 250), ((250, 250), (500, 150), (300, 50), (100, 25), (50, 10), (10, 8))
            strides = (2, 5, 2, 5, 5, 5)
            self.down = nn.ModuleList(nn.Conv1d(down[k], down[k + 1], 25, strides[k], 12) for k in range(6))
            self.up = nn.ModuleList(nn.Conv1d(a, b, 25, padding=12) for a, b in up)

        def forward(self, x: Any) -> Any:
            skips = []
            for layer in self.down:
                x = F.leaky_relu(layer(x))
                skips.append(x)
            for k, (layer, factor) in enumerate(zip(self.up, (5, 5, 5, 2, 5, 2), strict=True)):
                x = torch.cat([x, skips[5 - k]], dim=1) if 1 <= k <= 4 else x
                x = layer(F.interpolate(x, scale_factor=factor, mode="nearest"))
                x = F.relu(x) if k < 5 else torch.tanh(x)
            return x

    net = Published().eval()

    def make(count: int) -> None:
        with torch.no_grad():  # kinder to it than its own loop may be
            for _ in range(count):
                x = net(torch.rand(1, 8, 5000) * 2 - 1) * 6000
                x.squeeze().numpy().T.astype(int)  # microvolts, samples by leads

    return make


def ours(model: str, cores: int, stack: contextlib.ExitStack) -> Callable[[int], None]:
    """The same; its workers live as long as ``stack``."""
    pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for _ in range(cores)]

    def make(count: int) -> None:
        for done in [pool.submit(_make, model, k, -(-count // cores)) for k, pool in enumerate(pools)]:
            done.result()

    with threads(1):  # as workers of the command do; the first task starts them
        make(cores)
    return make


def _make(model: str, seed: int, count: int) -> None:
    from synth.generate import generate

    for _ in generate(count, model, seed):
        pass


def rates(makers: dict[str, Callable[[int], None]], count: int, rounds: int) -> dict[str, float]:
    """ECGs per second of each, the best of so many rounds taken in turns."""
    best = dict.fromkeys(makers, 0.0)
    for make in makers.values():
        make(16)
    for _ in range(rounds):
        for name, make in makers.items():
            begin = time.perf_counter()
            make(count)
            best[name] = max(best[name], count / (time.perf_counter() - begin))
    return best


def first_page(model: str) -> float:
    """s from the start of a process to its first page."""
    code = "import sys; from ecg_image_kit.cli import main; sys.exit(main(sys.argv[1:]))"
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", code, "--src", f"gan:{model}", "-n", "1", "--quiet", "--out", f"{folder}/pages"]
        begin = time.perf_counter()
        subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": paths})
        return time.perf_counter() - begin


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=128, help="ECGs of a round (default: 128)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="(default: all)")
    args = parser.parse_args(argv)
    with threads(args.cores), contextlib.ExitStack() as stack:
        from synth.generate import shipped

        models = shipped()
        makers = {"published, eager, one at a time": published(args.cores)}
        makers |= {model: ours(model, args.cores, stack) for model in models}
        found = rates(makers, args.n, args.rounds)
    base = found["published, eager, one at a time"]
    print(f"ECGs of 10 s per second, {args.cores} core{'s' if args.cores > 1 else ''}")
    for name, rate in found.items():
        print(f"  {name:32} {rate:7.1f}   {rate / base:5.1f} times")
    seconds = {model: min(first_page(model) for _ in range(3)) for model in models}
    for model, value in seconds.items():
        print(f"  first page of gan:{model:14} {value:7.2f} s")
    # The same network as the published one, and the default: these have targets.
    wanted = [model for model in ("pulse2pulse", "beats") if model in models]
    missed = [f"{m} {found[m] / base:.1f} times, asked {RATIO:g}" for m in wanted if found[m] < RATIO * base]
    missed += [f"first page of {m} {s:.2f} s, asked {FIRST_S:g}" for m, s in seconds.items() if s > FIRST_S]
    print("missed: " + "; ".join(missed) if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
