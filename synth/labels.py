"""Which of CLASSES a record belongs to, by what its ``meta`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .condition import CLASSES

# PTB-XL's diagnostic statements by superclass (Wagner et al., Sci Data 7:154, 2020, Table 5 and scp_statements.csv),
# and its two statements of atrial fibrillation and flutter, which are rhythms there.
STATEMENTS: Mapping[str, tuple[str, ...]] = {
    "NORM": ("NORM",),
    "MI": ("IMI", "ASMI", "ILMI", "AMI", "ALMI", "INJAS", "LMI", "INJAL", "IPLMI", "IPMI", "INJIN", "INJLA", "PMI",
           "INJIL"),
    "STTC": ("NDT", "NST_", "DIG", "LNGQT", "ISC_", "ISCAL", "ISCIN", "ISCIL", "ISCAS", "ISCLA", "ANEUR", "EL",
             "ISCAN"),
    "CD": ("LAFB", "IRBBB", "1AVB", "IVCD", "CRBBB", "CLBBB", "LPFB", "WPW", "ILBBB", "3AVB", "2AVB"),
    "HYP": ("LVH", "LAO/LAE", "RVH", "RAO/RAE", "SEHYP"),
    "AF": ("AFIB", "AFLT"),
}  # fmt: skip
_CLASS_OF = {code: name for name, codes in STATEMENTS.items() for code in codes}


def classes_of(meta: Mapping[str, Any]) -> frozenset[str]:
    """The classes that a record's ``label``, ``superclasses`` or ``scp_codes`` name; empty if it is not labelled.

    A statement counts whatever its likelihood, as in PTB-XL's own benchmark (Strodthoff et al., JBHI 2021).
    """
    label = meta.get("label")
    named = [label] if isinstance(label, str) else list(label or ())
    named += meta.get("superclasses") or ()
    named += [_CLASS_OF.get(code, "") for code in meta.get("scp_codes") or {}]
    return frozenset(name for name in named if name in CLASSES)
