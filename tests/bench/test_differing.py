"""What differs between runs' recorded facts, of two as of many."""

from bench.results.identity import differing_facts, facts


def test_facts_are_named_by_where_they_stand() -> None:
    values = {
        "torch": {"torch": "2.13", "devices": [{"name": "G"}]},
        "cores": [0, 1],
        "none": None,
        "x": True,
    }
    assert facts(values) == {
        "torch.torch": "2.13", "torch.devices.0.name": "G", "cores": "0, 1", "x": "True",
    }  # fmt: skip
    assert facts(values, but=("torch", "x")) == {"cores": "0, 1"}


def test_what_is_the_same_on_all_sides_is_left_out_and_what_a_side_lacks_is_none() -> None:
    sides = [{"same": "1", "a": "1"}, {"same": "1", "a": "1", "late": "3"}, {"same": "1", "a": "2"}]
    found = differing_facts(sides)
    assert found == {"a": ("1", "1", "2"), "late": (None, "3", None)}
    assert list(found) == ["a", "late"]
    assert differing_facts(sides[:1]) == differing_facts([]) == {}
