import pytest
from pydantic import ValidationError

from cxrfast.learning.engine import FitSettings
from cxrfast.learning.moco import MocoSettings
from cxrfast.learning.optimisers import OptimizerSettings
from cxrfast.learning.schedules import ScheduleSettings
from cxrfast.learning.settings import differences

ALL = (FitSettings, OptimizerSettings, ScheduleSettings, MocoSettings)


@pytest.mark.parametrize("kind", ALL)
def test_settings_are_frozen_described_and_closed(kind):
    """Every field has a sentence, none can be changed once made, and an unknown one is an error."""
    made = kind()
    assert all(field.description for field in kind.model_fields.values())
    with pytest.raises(ValidationError):
        setattr(made, next(iter(kind.model_fields)), None)
    with pytest.raises(ValidationError):
        kind(no_such_field=1)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"checkpoint_minutes": 1}, False),
        ({"channels_last": True}, False),
        ({"epochs": 21}, False),
        ({"schedule": {"stop_below": 1e-9}}, False),
        ({"schedule": {"patience_stop": 4}}, False),
        ({"optimizer": {"momentum": 0.5}}, False),
        ({"optimizer": {"betas": (0.8, 0.9)}}, True),
        ({"optimizer": {"lr": 1e-4}}, True),
        ({"schedule": {"patience": 2}}, True),
        ({"precision": "bf16"}, True),
        ({"clip": 1.0}, True),
    ],
)
def test_only_what_changes_the_result_is_in_the_identity(change, counts):
    """Fields that cannot change a step of a run are left out of its identity; all others are in it."""
    assert (FitSettings(**change).identity() != FitSettings().identity()) == counts


@pytest.mark.parametrize(
    ("name", "counts"), [("constant", False), ("plateau", False), ("cosine", True), ("onecycle", True)]
)
def test_epochs_count_where_the_schedule_is_laid_out_over_them(name, counts):
    """More epochs only lengthen a constant or plateau run, and change every step of the others."""
    few, many = (FitSettings(epochs=n, schedule=ScheduleSettings(name=name)).identity() for n in (5, 6))
    assert (few != many) == counts


def test_differences_name_the_path_and_both_values():
    """What differs is told as a dotted path with the value now and the value then."""
    ours = FitSettings(optimizer=OptimizerSettings(lr=0.1)).identity()
    assert differences(ours, FitSettings().identity()) == ["optimizer.lr: 0.1, was 3e-05"]
    assert differences(ours, ours) == []
