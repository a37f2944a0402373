"""Phrases: what people note on an ECG. Made up, every word of it."""

from __future__ import annotations

import numpy as np

NAMES = (
    "Quibble", "Plonk", "Zorb", "Wibble", "Mumble", "Snorp", "Blotch", "Squiggle", "Inkwell", "Doodle", "Smudge",
    "Scrawl", "Fizzle", "Bumbleby", "Twaddle", "Pumpernick",
)  # fmt: skip

PLACES = ("INKWELL CLINIC", "SMUDGE HOSPITAL", "DOODLE INFIRMARY", "BLOTCH HEART UNIT", "PLONK MEDICAL CENTRE")
_FINDINGS = (
    "NSR", "SR", "sinus tachy", "sinus brady", "AF", "fast AF", "A flutter?", "SVT", "LVH", "LVH?", "RVH", "RBBB",
    "LBBB", "incomp RBBB", "LAFB", "1st deg AVB", "2:1 block", "CHB", "paced", "PVCs", "PACs", "bigeminy", "LAD", "RAD",
    "old inf MI", "ant MI ?age", "inf STEMI", "ST elev II III aVF", "ST dep V4-6", "TWI V1-V3", "flat T", "tall T",
    "poor R prog", "Q in III", "long QT", "short PR", "WPW?", "delta wave", "early repol", "pericarditis?",
    "strain", "artefact", "leads swapped?", "low volts", "J point", "U waves", "nil acute", "normal", "NAD", "abn",
)  # fmt: skip

_STORIES = (
    "chest pain", "CP x {n} h", "CP {n}/10", "pain free", "SOB", "palps", "syncope", "collapse", "dizzy", "pre op",
    "post op", "post cardiov", "on digoxin", "on amio", "routine", "after GTN", "at rest", "exercise {n} min", "fever",
    "r/o MI", "?PE", "DM, HT", "ex smoker", "fall", "for clinic",
)  # fmt: skip

_CHANGES = (
    "no change", "no change cf {date}", "same as prev", "new", "NEW!", "old", "cf {date}", "better", "worse",
    "unchanged", "prev ECG n/a", "resolved",
)  # fmt: skip

_TASKS = (
    "d/w Dr {name}", "seen Dr {name}", "Dr {name} aware", "r/v {time}", "rpt {n} h", "rpt ECG {time}", "for echo",
    "trop {n} h", "copy to GP", "file", "to CCU", "bed {bed}", "Rm {room}", "ward {bed}", "ECG {k}/3", "# {k}",
    "p. {k}", "call back", "24h tape", "show cons",
)  # fmt: skip

_VALUES = (
    "K {k}.{d}", "BP {sys}/{dia}", "HR {hr}", "Hb {hb}.{d}", "trop {hr}", "trop neg", "Mg .{d}", "SpO2 9{d}%",
    "T 3{k}.{d}", "QTc 4{d}0", "PR .{d}6", "QRS 1{d}0", "{hr}/min", "INR {k}.{d}", "{hb}0 kg", "{hr} bpm", "pH 7.{d}",
)  # fmt: skip

_SHORT = (
    "?",
    "??",
    "!",
    "NB",
    "OK",
    "ok",
    "{initials}",
    "{date}",
    "{time}",
    "{k}",
    "A",
    "B",
    "*",
    "x",
    "+",
    "see over",
)

_PATTERNS = (
    (5, "{finding}"), (3, "{finding}, {finding}"), (2, "{finding} - {change}"), (2, "? {finding}"), (3, "{change}"),
    (4, "{value}"), (2, "BP {sys}/{dia}  HR {hr}"), (3, "{story}"), (4, "{task}"), (3, "{date}"), (3, "{date} {time}"),
    (2, "{initials}"), (3, "{short}"), (2, "{initials} {time}"), (2, "{story}\n{finding}"), (2, "{date}\n{initials}"),
    (2, "{finding}\n{finding}\n{change}"), (1, "{finding}\n{value}\n{task}\n{initials} {date}"),
    (1, "{time} {story}\n{value}\n{task}"), (1, "{story} - {task}"),
)  # fmt: skip


def phrase(rng: np.random.Generator, longest: int = 99, lines: int = 9) -> str:
    """Something that people note on an ECG: lines of at most ``longest`` characters if that can be."""
    weights = np.array([weight for weight, _ in _PATTERNS], float)
    best = "?"
    for _ in range(12):
        pattern = _PATTERNS[int(rng.choice(len(_PATTERNS), p=weights / weights.sum()))][1]
        text = _filled(pattern, rng)
        if max(map(len, text.split("\n"))) <= longest and text.count("\n") < lines:
            return text
    return best


def date(rng: np.random.Generator) -> str:
    """A date between 1995 and 2026, in one of the ways in which people write it."""
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(1, 13)), int(rng.integers(1995, 2027))
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    forms = (
        f"{day}/{month}/{year % 100:02d}", f"{day:02d}.{month:02d}.{year}", f"{day} {names[month - 1]} {year}",
        f"{day}-{month}-{year % 100:02d}", f"{year}-{month:02d}-{day:02d}", f"{day}/{month}",
    )  # fmt: skip
    return forms[int(rng.integers(len(forms)))]


def initials(rng: np.random.Generator) -> str:
    """Two or three letters, with or without stops."""
    letters = rng.choice(list("ABCDEFGHJKLMNPRSTVWZ"), int(rng.integers(2, 4)))
    return "".join(letters) if rng.random() < 0.6 else ".".join(letters) + "."


def _filled(pattern: str, rng: np.random.Generator) -> str:
    """The pattern with every ``{slot}`` filled, slots within what fills them too."""
    words = {
        "finding": _FINDINGS, "story": _STORIES, "change": _CHANGES, "task": _TASKS, "value": _VALUES, "short": _SHORT,
        "name": NAMES,
    }  # fmt: skip
    ranges = {"n": (1, 10), "k": (1, 7), "d": (0, 10), "hr": (45, 150), "sys": (90, 200), "dia": (50, 110),
              "hb": (7, 17), "bed": (1, 40), "room": (101, 560)}  # fmt: skip
    while "{" in pattern:
        before, slot = pattern.split("{", 1)
        slot, after = slot.split("}", 1)
        if slot in words:
            value = words[slot][int(rng.integers(len(words[slot])))]
        elif slot in ranges:
            value = str(int(rng.integers(*ranges[slot])))
        elif slot == "time":
            value = f"{rng.integers(24):02d}{':' if rng.random() < 0.7 else ''}{rng.integers(60):02d}"
        else:
            value = {"date": date, "initials": initials}[slot](rng)
        pattern = before + value + after
    return pattern
