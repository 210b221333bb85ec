import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_contract.plant import Plant
from hefa_contract.units import KNOWN, IncompatibleUnits, compatible, conversion, convert, label


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        (1500, "kW.h", "MW.h", 1.5),
        (1, "kW.h", "MJ", 3.6),
        (1, "GJ", "kW.h", 1000 / 3.6),
        (2, "m3", "L", 2000),
        (1, "t", "kg", 1000),
        (1, "kg", "g", 1000),
        (20, "Cel", "K", 293.15),
        (0, "K", "Cel", -273.15),
        (100, "Cel", "[degF]", 212),
        (-40, "[degF]", "Cel", -40),
        (250, "kPa", "bar", 2.5),
        (1, "bar", "Pa", 100_000),
        (90, "min", "h", 1.5),
        (1, "h", "s", 3600),
        (1.45, "t/h", "kg/h", 1450),
        (60, "L/min", "m3/h", 3.6),
        (8, "m3{n}/min", "m3{n}/h", 480),
        (50, "Hz", "/min", 3000),
        (1, "%", "1", 0.01),
        (1, "g/L", "mg/L", 1000),
        (1, "mg/m3", "kg/m3", 1e-6),
        (1, "mS/cm", "uS/cm", 1000),
        (400, "kV.A.h{reactive}", "MV.A.h{reactive}", 0.4),
        (1.2, "mol/L", "kmol/m3", 1.2),
        (7, "[pH]", "[pH]", 7),
    ],
)
def test_convert(value: float, source: str, target: str, result: float) -> None:
    assert convert(value, source, target) == pytest.approx(result, rel=1e-12)


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        # A normal cubic metre is no cubic metre, reactive energy is no energy.
        ("m3{n}", "m3", "'m3{n}' measures normal volume and 'm3' measures volume"),
        ("kV.A.h{reactive}", "kW.h", "measures reactive energy and 'kW.h' measures energy"),
        ("kW.h", "kW", "can be converted to: J, kJ, MJ, GJ"),
        ("kW.h", "kWh", "'kWh' is not a known UCUM code; 'kW.h' can be converted to: J"),
        ("[pH]", "1", "can be converted to: nothing else"),
        ("furlong", "m", "'furlong' is not known"),
        ("{count}", "{NTU}", "measures count"),
    ],
)
def test_units_that_do_not_measure_the_same(source: str, target: str, told: str) -> None:
    with pytest.raises(IncompatibleUnits) as caught:
        convert(1.0, source, target)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("kW.h", "kWh"),
        ("m3", "m³"),
        ("m3{n}", "Nm³"),
        ("m3{n}/h", "Nm³/h"),
        ("Cel", "°C"),
        ("kV.A{reactive}", "kvar"),
        ("1", ""),
        ("uS/cm", "µS/cm"),
        ("furlong", "furlong"),
    ],
)
def test_label(code: str, text: str) -> None:
    assert label(code) == text


PAIRS = [(a, b) for a in KNOWN for b in compatible(a)]


@given(st.sampled_from(PAIRS), st.floats(-1e9, 1e9))
def test_there_and_back(pair: tuple[str, str], value: float) -> None:
    source, target = pair
    back = convert(convert(value, source, target), target, source)
    # Offsets of temperatures cost absolute digits, factors cost relative ones.
    assert math.isclose(back, value, rel_tol=1e-9, abs_tol=1e-6)


@given(st.sampled_from(PAIRS), st.floats(-1e6, 1e6))
def test_a_column_converts_as_its_values_do(pair: tuple[str, str], value: float) -> None:
    scale, shift = conversion(*pair)
    assert value * scale + shift == convert(value, *pair)


def test_the_model_uses_known_units_only(plant: Plant) -> None:
    assert {tag.ucum for tag in plant.tags.values()} <= set(KNOWN)
    assert {meter.unit for meter in plant.meters.values()} <= set(KNOWN)
