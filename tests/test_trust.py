"""How likely a lead is read well: what speaks for it, and what against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from digitizer.trust import EVIDENCE, confidence, einthoven, evidence
from ecg_image_kit import Layout, open_source, render
from ecg_image_kit.page import Trace

D = NDArray[np.float64]
SPEED = 25.0


@pytest.fixture(scope="module")
def traces() -> tuple[Trace, ...]:
    """The truth of a page of three rows and a rhythm strip."""
    record = open_source("samples").load("00003")
    return render(record, Layout.for_record(record, "3x4+1R"), dpi=50).traces


def of(traces: tuple[Trace, ...], residual: float = 0.6) -> dict[str, float]:
    return confidence(traces, [residual] * len(traces), SPEED)


def changed(traces: tuple[Trace, ...], lead: str, mv: D) -> tuple[Trace, ...]:
    """Another signal in a lead's cell."""
    return tuple(replace(t, mv=mv) if t.strip.lead == lead and not t.strip.rhythm else t for t in traces)


def column(traces: tuple[Trace, ...], lead: str, name: str) -> float:
    return float(evidence(traces, [0.05] * len(traces), SPEED)[lead][EVIDENCE.index(name)])


def test_true_limb_leads_obey_the_law_and_unrelated_ones_do_not(traces: tuple[Trace, ...]) -> None:
    first, second = einthoven(traces)
    assert set(first.leads) == {"I", "II", "III"} and set(second.leads) == {"aVR", "aVL", "aVF"}
    assert max(first.law, second.law) < 1e-4
    rng = np.random.default_rng(1)
    noise = tuple(replace(t, mv=rng.normal(size=t.mv.size).astype(np.float32)) for t in traces)
    assert all(0.9 < each.law < 1.1 for each in einthoven(noise))


def test_a_lead_that_was_read_upside_down_is_found_out(traces: tuple[Trace, ...]) -> None:
    """All three of the column are under suspicion, and the page is."""
    own = next(t for t in traces if t.strip.lead == "III")
    wrong = changed(traces, "III", -own.mv)
    before, after = of(traces), of(wrong)
    assert before["III"] > 0.7 > 0.5 > after["III"]
    assert after["V4"] < before["V4"]
    assert einthoven(tuple(t for t in wrong if t.strip.lead in ("II", "III"))) == []  # two leads may be any


def test_minus_avr_is_avr_turned_over(traces: tuple[Trace, ...]) -> None:
    turned = tuple(
        replace(t, strip=replace(t.strip, lead="-aVR"), mv=-t.mv) if t.strip.lead == "aVR" else t for t in traces
    )
    assert einthoven(turned)[1].law < 1e-4
    assert of(turned) == of(traces)


def test_ink_that_is_not_reproduced_gaps_and_small_leads_make_unsure(traces: tuple[Trace, ...]) -> None:
    sure, blurred = of(traces), of(traces, 1.2)
    assert all(blurred[lead] < sure[lead] for lead in sure)
    own = next(t for t in traces if t.strip.lead == "V5")
    gap = own.mv.copy()
    gap[100:500] = np.nan
    assert of(changed(traces, "V5", gap))["V5"] < sure["V5"] - 0.2
    assert of(changed(traces, "V5", 0.1 * own.mv))["V5"] < sure["V5"]
    assert of(changed(traces, "V5", np.full_like(own.mv, np.nan)))["V5"] == 0


def test_rows_that_run_into_each_other(traces: tuple[Trace, ...]) -> None:
    assert np.exp(column(traces, "V2", "shared")) < 0.2
    own = next(t for t in traces if t.strip.lead == "V2")
    above = next(t for t in traces if t.strip.lead == "V1")
    on_it = changed(traces, "V2", (own.strip.y - above.strip.y + above.strip.gain * above.mv) / own.strip.gain)
    assert np.exp(column(on_it, "V2", "shared")) > 0.95
    assert of(on_it)["V2"] < of(traces)["V2"]
    # Half as fast, everything is at the same place again.
    slow = tuple(replace(t, strip=replace(t.strip, x=t.strip.x / 2)) for t in on_it)
    half = evidence(slow, [0.05] * len(slow), SPEED / 2)["V2"]
    assert np.exp(half[EVIDENCE.index("shared")]) > 0.95


def test_of_two_strips_the_longer_one_counts(traces: tuple[Trace, ...]) -> None:
    """It is most of the lead's record."""
    rhythm = [k for k, t in enumerate(traces) if t.strip.rhythm]
    lead = traces[rhythm[0]].strip.lead
    residuals = [0.3] * len(traces)
    before = confidence(traces, residuals, SPEED)
    residuals[next(k for k, t in enumerate(traces) if t.strip.lead == lead)] = 0.05
    assert confidence(traces, residuals, SPEED) == before
    residuals[rhythm[0]] = 0.05
    after = confidence(traces, residuals, SPEED)
    assert after[lead] > before[lead]
    assert {k: v for k, v in after.items() if k != lead} == {k: v for k, v in before.items() if k != lead}


def test_nothing_read_and_nothing_to_judge_by(traces: tuple[Trace, ...]) -> None:
    assert confidence((), (), SPEED) == {}
    nothing = tuple(replace(t, mv=np.full_like(t.mv, np.nan)) for t in traces)
    assert set(of(nothing).values()) == {0.0}
    empty = tuple(replace(t, mv=t.mv[:0]) for t in traces)
    assert set(of(empty).values()) == {0.0}
    flat = tuple(replace(t, mv=np.zeros_like(t.mv)) for t in traces)
    assert einthoven(flat)[0].law == 0 and max(of(flat).values()) < max(of(traces).values())
    assert max(of(traces, 0.0).values()) < min(of(traces, 0.05).values())  # no pixel was looked at


def test_columns_that_begin_at_different_times_are_not_compared(traces: tuple[Trace, ...]) -> None:
    late = tuple(
        replace(t, strip=replace(t.strip, start=1.0, stop=3.5)) if t.strip.lead == "III" else t for t in traces
    )
    assert [set(c.leads) for c in einthoven(late)] == [{"aVR", "aVL", "aVF"}]
