import json

import pytest

from cxrfast.errors import StateMismatch
from cxrfast.loading.order import Block
from cxrfast.loading.sampling import Sampling
from cxrfast.loading.state import VERSION, check_state, described, fingerprint
from cxrfast.loading.views import ViewSpec

PARTS = {
    "samples": 100,
    "data": "aa",
    "targets": ["Edema"],
    "views": [described(ViewSpec.paper())],
    "size": 64,
    "order": described(Block()),
    "sampling": None,
    "batch_size": 32,
    "last": "drop",
    "seed": 1,
}


def state_of(parts):
    return {"version": VERSION, "epoch": 2, "batches": 5, "fingerprint": fingerprint(parts), "parts": parts}


def test_an_equal_state_is_taken_after_a_trip_through_json():
    """Tuples become lists in a file; that is no difference."""
    check_state(json.loads(json.dumps(state_of(PARTS))), PARTS)


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [
        ("samples", 99, "Number of samples: 100 then, 99 now"),
        ("data", "bb", r"samples \(keys, pixels or labels, in their order\) are not the same"),
        ("targets", ["Fracture"], r'Targets: \["Edema"\] then, \["Fracture"\] now'),
        ("views", [described(ViewSpec.plain())], "Views: .*rotation"),
        ("size", 224, "Size: 64 then, 224 now"),
        ("order", described(Block(lanes=4)), 'Order: .*"lanes": 8.* then, .*"lanes": 4'),
        ("sampling", described(Sampling(datasets={"kermany": 4})), 'Sampling: null then, .*"kermany": 4.0.* now'),
        ("batch_size", 64, "Batch size: 32 then, 64 now"),
        ("last", "keep", 'Last: "drop" then, "keep" now'),
        ("seed", 2, "Seed: 1 then, 2 now"),
    ],
)
def test_what_differs_is_named_and_nothing_else(name, other, words):
    """A refusal tells saved and present value of just the part that differs."""
    with pytest.raises(StateMismatch, match=words) as found:
        check_state(state_of(PARTS), PARTS | {name: other})
    assert str(found.value).count(" then, ") == (name != "data")


@pytest.mark.parametrize("state", [{}, {"version": 0}, {"version": VERSION}, {"version": VERSION, "parts": PARTS}])
def test_what_is_no_state_is_refused(state):
    """Another version, an empty mapping, or a state without its fingerprint."""
    with pytest.raises(StateMismatch, match=r"version|another loader"):
        check_state(state, PARTS)


def test_amounts_of_memory_are_compared_by_bytes():
    """An order of 256MB is one of 256000000 bytes."""
    assert described(Block(memory="256MB")) == described(Block(memory=256_000_000))
