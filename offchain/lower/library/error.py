"""The error function."""

from __future__ import annotations

from typing import Final

from offchain.lower.library.basic import clamp, horner, with_sign_of
from offchain.lower.library.exponential import exp_small
from offchain.lower.program import Value

# erf(x)/x − 1 in x² on |x| ≤ 0.93:
_ERF: Final = (
    0.12837916612625122,
    -0.37612634897232056,
    0.11283691227436066,
    -0.026859119534492493,
    0.0052002607844769955,
    -8.133216178975999e-4,
    8.327489194925874e-05,
)
# ln(erfc(x)) on 0.93 ≤ x ≤ 4:
_LN_ERFC: Final = (
    -2.2278774122241884e-4,
    -1.1275627613067627,
    -0.6373738646507263,
    -0.10376222431659698,
    0.02214471995830536,
    -0.0030224670190364122,
    1.938098284881562e-4,
)


def erf(x: Value) -> Value:
    """Error function; 2 ulp."""
    size = clamp(x.abs(), None, 4.0)
    near = size * horner(size * size, _ERF) + size
    far = 1.0 - exp_small(horner(size, _LN_ERFC))
    return with_sign_of(x, size.gt(0.93).where(far, near))
