"""Data reconciliation: worked figures, textbook formulas, properties over random networks, and networks that make no sense."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_apps.client import Refused
from hefa_apps.material.network import Network, NetworkError, Node, Stream
from hefa_apps.material.question import AskedNetwork, judged
from hefa_apps.material.reconcile import chi2_limit, reconcile, sidak

NAMES = ("feed", "LaCe", "PrNd", "oxide", "loss")
VALUES = (1262.0, 935.0, 296.0, 283.0, 5.0)
SDS = (12.6, 18.7, 5.9, 2.8, 1.0)
NODES = (("extraction", ("feed",), ("LaCe", "PrNd")), ("calcination", ("PrNd",), ("oxide", "loss")))


def network(values: Any = VALUES, sds: Any = SDS, names: Any = NAMES, nodes: Any = NODES) -> Network:
    streams = tuple(Stream(n, v, s) for n, v, s in zip(names, values, sds, strict=True))
    return Network(streams, tuple(Node(*node) for node in nodes))


def listed(found: dict[str, float | None]) -> list[float | None]:
    return list(found.values())


def test_worked_example() -> None:
    found = reconcile(network())
    assert listed(found.value) == pytest.approx([1250.488, 960.357, 290.131, 284.890, 5.241], abs=5e-4)
    assert (found.chi2, found.chi2_limit) == pytest.approx((4.177, 5.991), abs=5e-4)
    assert listed(found.z) == pytest.approx([1.646, 1.646, 1.112, 1.552, 1.552], abs=5e-4)
    assert found.z_limit == pytest.approx(2.569, abs=5e-4)
    assert found.accepted
    assert found.freedom == 2
    assert not found.suspects
    assert not found.beyond
    assert found.equivalent == (("feed", "LaCe"), ("oxide", "loss"))
    assert [b.residual for b in found.balances] == pytest.approx([31, 8])
    assert [b.closed for b in found.balances] == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("off", ["feed", "LaCe"])
def test_streams_of_one_node_are_suspected_together(off: str) -> None:
    values = [v + (150 if n == off else 0) for n, v in zip(NAMES, VALUES, strict=True)]
    found = reconcile(network(values))
    assert not found.accepted
    assert [set(group.streams) for group in found.suspects] == [{"feed", "LaCe"}]
    (group,) = found.suspects
    assert group.drop == pytest.approx(group.z**2)
    assert group.without == pytest.approx(
        reconcile(network([v if n != off else None for n, v in zip(NAMES, values, strict=True)])).chi2
    )
    assert [b.suspect for b in found.balances] == [True, False]


def test_two_errors_are_found_one_after_the_other() -> None:
    """A chain of four nodes with two meters off: each is named, and what is left is accepted."""
    names = ("s0", "s1", "s2", "s3", "s4")
    nodes = tuple((f"n{i}", (f"s{i}",), (f"s{i + 1}",)) for i in range(4))
    found = reconcile(network([100, 130, 100, 80, 100], [1, 1, 1, 1, 1], names, nodes))
    assert [group.streams for group in found.suspects] == [("s1",), ("s3",)]
    assert found.suspects[-1].without <= found.suspects[-1].limit


def test_unmeasured_streams() -> None:
    """What one balance gives is estimated with its deviation; what two unknowns share is not."""
    streams = (Stream("a", 100, 3), Stream("b", 60, 4), Stream("c", None), Stream("d", None), Stream("e", None))
    found = reconcile(Network(streams, (Node("n1", ("a",), ("b", "c")), Node("n2", ("c",), ("d", "e")))))
    assert found.value == {"a": 100, "b": 60, "c": pytest.approx(40), "d": None, "e": None}
    assert found.sd["c"] == pytest.approx(5)
    assert found.status == {
        "a": "nonredundant", "b": "nonredundant", "c": "observable", "d": "unobservable", "e": "unobservable",
    }  # fmt: skip
    assert (found.freedom, found.chi2, found.chi2_limit, found.accepted, found.z_limit) == (0, 0, 0, True, None)
    assert set(found.z.values()) == {None}
    assert [b.closed for b in found.balances] == [pytest.approx(0, abs=1e-9), None]


def test_an_unmeasured_stream_joins_two_nodes() -> None:
    """Its two nodes check as one: the same as the network where they are one node."""
    streams = (Stream("a", 100, 2), Stream("b", 55, 1), Stream("c", 40, 1))
    apart = reconcile(
        Network((*streams, Stream("x", None)), (Node("n1", ("a",), ("b", "x")), Node("n2", ("x",), ("c",))))
    )
    one = reconcile(Network(streams, (Node("n", ("a",), ("b", "c")),)))
    assert apart.chi2 == pytest.approx(one.chi2)
    assert {n: apart.value[n] for n in "abc"} == pytest.approx(one.value)
    assert apart.value["x"] == pytest.approx(apart.value["c"])


def test_exact_streams_are_constants() -> None:
    found = reconcile(network(sds=(0, *SDS[1:])))
    assert found.value["feed"] == 1262
    assert found.z["feed"] is None
    assert found.status["feed"] == "exact"
    assert sum(found.value[n] or 0 for n in ("LaCe", "oxide", "loss")) == pytest.approx(1262)
    assert reconcile(network([10, 6, 4, 3, 1], [0] * 5)).accepted  # all known, and it closes
    with pytest.raises(NetworkError, match="'PrNd', 'oxide', 'loss'"):
        reconcile(network([10, 6, 4, 3, 2], [1, 1, 0, 0, 0]))


def test_dependent_balances_count_once() -> None:
    """The whole site as a third node says nothing new."""
    site = ("site", ("feed",), ("LaCe", "oxide", "loss"))
    once, twice = reconcile(network()), reconcile(network(nodes=(*NODES, site)))
    assert twice.freedom == once.freedom
    assert twice.chi2 == pytest.approx(once.chi2)
    assert listed(twice.value) == pytest.approx(listed(once.value))
    assert [b.residual for b in twice.balances] == pytest.approx([31, 8, 39])


def test_networks_apart_and_streams_outside() -> None:
    """Two plants in one request are two plants; a stream at no node stays as it was."""
    other = reconcile(network([50, 44], [1, 2], ("p", "q"), (("m", ("p",), ("q",)),)))
    both = reconcile(
        network((*VALUES, 50, 44, 7), (*SDS, 1, 2, 1), (*NAMES, "p", "q", "alone"), (*NODES, ("m", ("p",), ("q",))))
    )
    assert both.chi2 == pytest.approx(reconcile(network()).chi2 + other.chi2)
    assert both.value["p"] == pytest.approx(other.value["p"])
    assert both.value["alone"] == 7
    assert both.z["alone"] is None
    assert both.status["alone"] == "nonredundant"
    assert both.z_limit == sidak(7, 0.95)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
def test_deviations_may_differ_by_any_factor(scale: float) -> None:
    """z does not lose its figures: against the same network reckoned with exact fractions."""
    from fractions import Fraction as F

    sds = [12.6, 18.7 * scale, 5.9]
    found = reconcile(network([100, 70, 31], sds, ("a", "b", "c"), (("n", ("a",), ("b", "c")),)))
    chi2 = F(1) / sum(F(sd) ** 2 for sd in sds)
    assert found.chi2 == pytest.approx(float(chi2), rel=1e-9)
    assert listed(found.z) == pytest.approx([float(chi2) ** 0.5] * 3, rel=1e-9)
    assert found.value["b"] == pytest.approx(float(70 - F(sds[1]) ** 2 * chi2), rel=1e-12)


def test_limits_are_the_tables() -> None:
    from scipy import stats

    for freedom in (1, 2, 7, 40):
        assert chi2_limit(freedom, 0.95) == pytest.approx(stats.chi2.ppf(0.95, freedom))
    assert sidak(1, 0.95) == pytest.approx(1.959964)
    assert sidak(0, 0.95) is None


@st.composite
def plants(draw: st.DrawFn) -> Network:
    """A random network with a true balance, noise, unmeasured and exact streams, nodes that overlap."""
    count, joined = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    ends = [
        draw(st.tuples(st.integers(0, count), st.integers(0, count)).filter(lambda e: e[0] != e[1]))
        for _ in range(joined)
    ]
    sides = [
        ([f"s{k}" for k, e in enumerate(ends) if e[1] == i], [f"s{k}" for k, e in enumerate(ends) if e[0] == i])
        for i in range(1, count + 1)
    ]
    nodes = [Node(f"n{i}", tuple(a), tuple(b)) for i, (a, b) in enumerate(sides) if a and b]
    if not nodes:
        ends = [(0, 1), (1, 0), *ends[2:]]
        nodes = [Node("n", ("s0",), ("s1",))]
    number = st.floats(-1e3, 1e3).map(lambda v: round(v, 3))
    streams = []
    for k in range(len(ends)):
        sd = draw(st.sampled_from([0.01, 0.5, 1.0, 30.0, None]))
        streams.append(Stream(f"s{k}", draw(number) if sd else None, sd))
    return Network(tuple(streams), tuple(nodes))


@settings(max_examples=60, deadline=None)
@given(plants(), st.randoms(use_true_random=False))
def test_any_network(plant: Network, chance: Any) -> None:
    found = reconcile(plant)
    largest = max([abs(s.value or 0.0) for s in plant.streams] + [1.0])
    for balance in found.balances:  # every balance that can be told closes
        assert balance.closed is None or abs(balance.closed) <= 1e-9 * largest
    # as the textbook writes it, on what is measured, the rest projected out by the null space
    a = plant.matrix
    at = [i for i, s in enumerate(plant.streams) if s.measured]
    rest = [i for i in range(len(plant.streams)) if i not in at]
    w, s, _ = np.linalg.svd(a[:, rest]) if rest else (np.eye(len(a)), np.zeros(0), None)
    g = w[:, int((s > 1e-9).sum()) :].T @ a[:, at]
    g[np.abs(g) < 1e-12] = 0.0  # rounding of the decomposition, which a pseudo-inverse would blow up
    x = np.array([plant.streams[i].value for i in at], float)
    v = np.diag([(plant.streams[i].sd or 0.0) ** 2 for i in at])
    inverse = np.linalg.pinv(g @ v @ g.T, rcond=1e-10, hermitian=True) if g.size else np.zeros((len(g), len(g)))
    assert found.chi2 == pytest.approx(float(x @ g.T @ inverse @ g @ x), rel=1e-5, abs=1e-6)
    expected = x - v @ g.T @ inverse @ g @ x
    assert [found.value[plant.streams[i].name] for i in at] == pytest.approx(expected, rel=1e-5, abs=1e-4)
    # the statistic never exceeds the whole, whose own is the least: nothing feasible lies nearer
    assert all(z is None or z**2 <= found.chi2 * (1 + 1e-9) + 1e-12 for z in found.z.values())
    # no suspect without a rejection, and what is left after the last is accepted
    assert found.accepted == (found.chi2 <= found.chi2_limit) == (not found.suspects)
    assert found.accepted or found.suspects[-1].without <= found.suspects[-1].limit
    # the order of streams and nodes says nothing
    streams, nodes = list(plant.streams), list(plant.nodes)
    chance.shuffle(streams)
    chance.shuffle(nodes)
    mixed = reconcile(Network(tuple(streams), tuple(nodes)))
    assert mixed.chi2 == pytest.approx(found.chi2, rel=1e-9, abs=1e-9)
    assert mixed.status == found.status
    for name, value in found.value.items():
        assert mixed.value[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-7))


A, B = {"name": "a", "value": 10, "sd": 1}, {"name": "b", "value": 9, "sd": 1}
ONE = {"name": "n", "in": ["a"], "out": ["b"]}


@pytest.mark.parametrize(
    ("streams", "nodes", "says"),
    [
        ([], [], "at least one"),
        ([A, B], [], "at least one"),
        ([A, A], [ONE], "two streams are called 'a'"),
        ([A, B], [ONE, ONE], "two nodes are called 'n'"),
        ([A, B], [{"name": "n", "in": ["a"], "out": ["c"]}], "no stream 'c'"),
        ([A, B], [{"name": "n", "in": ["a", "b"], "out": ["b"]}], "'b' goes in and out"),
        ([A, B], [{"name": "n", "in": ["a", "a"], "out": ["b"]}], "twice"),
        ([A, B], [{"name": "n", "in": ["a"], "out": []}], "nothing under 'out'"),
        ([A, B], [{"name": "n", "in": [], "out": []}], "nothing under 'in'"),
        ([A, {"name": "b", "value": 9}], [ONE], "'b': a measured value needs sd"),
        ([A, {"name": "b", "value": 9, "sd": -1}], [ONE], "'b': sd is 0"),
        ([A, {"name": "b", "value": 1e300, "sd": 1}], [ONE], "beyond"),
        ([A | {"sd": 0}, B | {"sd": 0}], [ONE], "do not balance"),
        ([A | {"sd": 1e-300}, B | {"sd": 1e-300}], [ONE], "too much in size"),
    ],
)
def test_networks_that_make_no_sense(streams: list[Any], nodes: list[Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        judged(AskedNetwork.model_validate({"streams": streams, "nodes": nodes}))


def test_the_largest_network_is_quick() -> None:
    import time

    names = tuple(f"s{i}" for i in range(500))
    nodes = tuple((f"n{i}", (f"s{i}",), (f"s{i + 1}",)) for i in range(299))
    begun = time.process_time()
    reconcile(network([100.0 + 50 * (i % 7) for i in range(500)], [1.0] * 500, names, nodes))
    assert time.process_time() - begun < 10
