"""Numpy columns go to the server as arrays, and arrays of a result become numpy columns."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from hefa_platform.store.columns import as_columns, as_parameters


@pytest.fixture(scope="module")
def cursor(site: Any) -> Iterator[psycopg.Cursor[Any]]:
    with psycopg.connect(site.admin, autocommit=True) as connection:
        as_parameters(connection)
        with connection.cursor(binary=True) as cursor:
            as_columns(cursor)
            yield cursor


def test_a_column_has_the_numbers_and_the_type_of_the_array(cursor: psycopg.Cursor[Any]) -> None:
    row = cursor.execute("SELECT '{-1,0,2147483647}'::int[], '{NaN,-0.5,1e300}'::float8[], '{}'::float8[]").fetchone()
    assert row is not None
    whole, real, none = row
    assert (whole.dtype, real.dtype, none.dtype) == (np.int32, np.float64, np.float64)
    assert whole.tolist() == [-1, 0, 2**31 - 1]
    assert np.isnan(real[0])
    assert real[1:].tolist() == [-0.5, 1e300]
    assert none.tolist() == []


@pytest.mark.parametrize("array", ["{1,NULL}", "{{1,2},{3,4}}"])
def test_what_is_no_column_is_not_taken_for_one(cursor: psycopg.Cursor[Any], array: str) -> None:
    with pytest.raises(psycopg.DataError, match="one dimension without nulls"):
        cursor.execute("SELECT %s::float8[]", [array]).fetchone()


@pytest.mark.parametrize("values", [[], [1], [-(2**63), 0, 2**63 - 1]])
def test_whole_numbers_are_sent_as_they_are(cursor: psycopg.Cursor[Any], values: list[int]) -> None:
    row = cursor.execute("SELECT pg_typeof(%s)::text, %s::text[]", [np.array(values, np.int64)] * 2).fetchone()
    assert row == ("bigint[]", [str(value) for value in values])


def test_a_part_of_a_column_is_sent_too_and_nan_stays_nan(cursor: psycopg.Cursor[Any]) -> None:
    column = np.array([1.5, np.nan, 7.0, np.inf])[::-1][1:]
    row = cursor.execute("SELECT pg_typeof(%s)::text, %s::text[]", [column, column]).fetchone()
    assert row == ("double precision[]", ["7", "NaN", "1.5"])
