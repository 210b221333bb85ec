"""Ports: what is taken is stepped over, and what is promised is as good as taken."""

from __future__ import annotations

import socket
import sys

import pytest

from hefa_demo.ports import HOST, Claims, answers, claims, free_port


def test_what_somebody_listens_on_is_stepped_over() -> None:
    with socket.socket() as taken, claims() as ours:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert answers(HOST, port)
        assert ours.first_free(port) > port
    assert not answers(HOST, free_port())


def test_a_port_is_given_once() -> None:
    with claims() as ours:
        first = ours.first_free(free_port())
        assert ours.first_free(first) > first


@pytest.mark.skipif(sys.platform != "linux", reason="claims are seen by others on Linux only: run it there")
def test_a_claim_is_seen_by_another_demo_until_it_is_released() -> None:
    with claims() as other:
        with claims() as ours:
            port = ours.first_free(free_port())
            assert other.first_free(port) > port
        assert other.first_free(port) == port


def test_a_server_takes_its_claimed_port() -> None:
    with claims() as ours, socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((HOST, ours.first_free(free_port())))
        server.listen()


def test_there_may_be_none() -> None:
    with pytest.raises(OSError, match="no free port from 65536"):
        Claims().first_free(65536)
