"""Records of the work folder come back as they were written, or as an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infer.errors import JobError
from infer.jobs.sealed import damage_of, read_sealed, sealed
from infer.model.layout import OnDemand, Tiles, Whole, parse_layout

NAMES = st.text(max_size=8)
VALUES = st.one_of(st.integers(), st.booleans(), st.text(max_size=20), st.none())
RECORDS = st.dictionaries(NAMES, VALUES, max_size=5)
LAYOUTS = st.one_of(
    st.just(Whole()),
    st.just(OnDemand()),
    st.builds(Tiles, st.integers(0, 9999), st.integers(0, 9999)),
)


@given(RECORDS)
def test_a_record_comes_back(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("work") / "job.json"
    path.write_text(sealed(record), "utf-8")
    assert read_sealed(path) == record


@given(st.data())
def test_a_record_with_one_changed_bit_is_damaged(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("work") / "job.json"
    text = bytearray(sealed({"seed": 3, "layout": "off"}).encode())
    position = data.draw(st.integers(0, len(text) - 1))
    # Any bit, in the record or in its checksum.
    text[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(text)
    with pytest.raises(JobError, match="--restart"):
        read_sealed(path)


# Cut, without a checksum, with an empty or a wrong one, and what a lost block leaves.
@pytest.mark.parametrize("text", ["", "{}", "{}\n\n", "[]\nabc\n", "\0"])
def test_anything_else_is_damaged(tmp_path, text: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(JobError, match="missing or damaged"):
        read_sealed(path)
    with pytest.raises(JobError, match="missing or damaged"):
        read_sealed(tmp_path / "absent.json")
    assert str(path) in str(damage_of(path))


@given(LAYOUTS)
def test_a_layout_is_read_from_its_text(layout):
    assert parse_layout(str(layout)) == layout


@pytest.mark.parametrize("text", ["", "on", "128", "x", "128x", "-1x3", "1x2x3"])
def test_another_text_is_no_layout(text: str) -> None:
    with pytest.raises(ValueError, match="expected off, on_demand or WIDTHxHEIGHT"):
        parse_layout(text)
