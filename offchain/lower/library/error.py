"""The error function, its complement and its inverse."""

from __future__ import annotations

from typing import Final

from offchain.ir.program import Value
from offchain.lower.library.basic import INF, NAN, clamp, head, horner, with_sign_of
from offchain.lower.library.exponential import exp_of_sum, exp_small
from offchain.lower.library.logarithm import log

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
# erfc(x)·e^(x²)·(1 + 2x) in (x − 2)/(x + 2) on 0.5 ≤ x ≤ 10.1, which hardly varies (Shepherd and Laframboise, 1981):
_ERFC: Final = (
    1.2769783735275269,
    -0.09276362508535385,
    -0.16603022813796997,
    0.164043128490448,
    -0.054219625890254974,
    -0.007950929924845695,
    0.00869886577129364,
    0.0009535885183140635,
    -0.0013241810956969857,
)
# erf⁻¹(x)/x in w = −ln(1 − x²), of w − 2.5 on 0 ≤ w < 5 and of √w − 3 beyond (Giles, 2012, whose variables these are):
_INVERSE: Final = (
    1.5014094114303589,
    0.24664027988910675,
    -0.004177386872470379,
    -0.0012527419418119788,
    0.00021834444487467408,
    -4.963347691955278e-06,
    -3.4627048535185168e-06,
    4.6617066118415096e-07,
    2.3232644252857426e-08,
    -8.791056771428885e-09,
)
_INVERSE_FAR: Final = (
    2.832976818084717,
    1.0016751289367676,
    0.009445684030652046,
    -0.007639409974217415,
    0.005683172028511763,
    -0.0035869874991476536,
    0.0014958580723032355,
    -7.662014104425907e-05,
    -0.0003187243710272014,
    0.0001289648498641327,
)


def _erf_near(x: Value) -> Value:
    return x * horner(x * x, _ERF) + x


def erf(x: Value) -> Value:
    """Error function; 2 ulp."""
    size = clamp(x.abs(), None, 4.0)
    near = _erf_near(size)
    far = 1.0 - exp_small(horner(size, _LN_ERFC))
    return with_sign_of(x, size.gt(0.93).where(far, near))


def erfc(x: Value) -> Value:
    """1 − erf(x); 4.5 ulp, however small."""
    size = clamp(x.abs(), None, 10.1)
    slow = horner((size - 2.0) / (size + 2.0), _ERFC) / (size + size + 1.0)
    high = head(size)
    far = exp_of_sum(-(high * high), (high - size) * (size + high), slow)
    far = x.lt(0.0).where(2.0 - far, far)
    return size.lt(0.5).where(1.0 - _erf_near(x), far)


def erfinv(x: Value) -> Value:
    """The number whose error function is x; 4 ulp. ±inf at ±1, NaN beyond."""
    w = -log((1.0 - x) * (x + 1.0))
    near = horner(w - 2.5, _INVERSE)
    far = horner(w.sqrt() - 3.0, _INVERSE_FAR)
    size = x.abs()
    value = w.lt(5.0).where(near, far) * x
    return size.lt(1.0).where(value, size.eq(1.0).where(with_sign_of(x, x.program.real(INF)), NAN))
