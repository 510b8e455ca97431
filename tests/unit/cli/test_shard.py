"""`cxrfast-shard`: what it imports, what its options mean, what it says."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cxrfast.cli.shard import shard
from cxrfast.errors import CxrfastError
from cxrfast.packing.recipe import Recipe


def invoke(*arguments):
    return CliRunner().invoke(shard, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in sorted(shard.commands))]
)
def test_help_imports_nothing_heavy(arguments):
    """It answers at once because the heavy packages are not loaded; seen in sys.modules, not on a clock."""
    program = (
        f"import sys; sys.argv = ['cxrfast-shard', *{arguments!r}]\n"
        "from cxrfast.cli.shard import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 0, ended.code\n"
        "heavy = {'torch', 'cv2', 'pandas', 'numpy', 'pyarrow', 'pydicom', 'rich', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_option_is_explained_in_a_sentence():
    """Help texts begin with a capital and end with a full stop; every command has one."""
    for command in shard.commands.values():
        assert command.help.split("\n\n")[0].strip().endswith(".")
        for option in command.params:
            if option.param_type_name == "option":
                assert option.help[0].isupper(), option.name
                assert option.help.endswith("."), option.name


def test_the_defaults_are_the_recipes():
    """What the command does without options is what Recipe does without arguments."""
    recipe = Recipe("any")
    defaults = {option.name: option.default for option in shard.commands["pack"].params}
    for name in ("long_side", "codec", "quality", "stretch", "samples_per_shard", "seed", "max_pixels"):
        assert defaults[name] == getattr(recipe, name), name


@pytest.mark.parametrize("text", ["2.5", "-1", "101%", "-1%", "nan%", "many", "%", ""])
def test_a_reject_limit_that_means_nothing_is_refused(text):
    """A share needs its %, a count is whole."""
    result = invoke("pack", "kermany", "nowhere", f"--max-rejects={text}")
    assert result.exit_code == 2
    assert "--max-rejects" in result.output


@pytest.mark.parametrize(("text", "number"), [("1%", 0.01), ("0.5%", 0.005), ("100%", 1.0), ("0", 0), ("20", 20)])
def test_a_reject_limit_is_a_share_or_a_count(text, number):
    """Kept apart by type, since 1 is one image and 100 % is all."""
    option = next(option for option in shard.commands["pack"].params if option.name == "max_rejects")
    parsed = option.type.convert(text, None, None)
    assert parsed == number
    assert type(parsed) is type(number)


def test_an_unknown_set_and_a_wrong_folder_are_errors_for_the_user(tmp_path):
    """Every command raises what `main` turns into one message and status 2."""
    for command in ("doctor", "pack"):
        assert isinstance(invoke(command, "chexprt", tmp_path).exception, CxrfastError)
        assert isinstance(invoke(command, "chexpert", tmp_path).exception, CxrfastError)
    assert isinstance(invoke("phantom", tmp_path / "out", "--datasets", "nonsense").exception, CxrfastError)
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_prints_json_alone(tmp_path):
    """Programs parse all of stdout."""
    (tmp_path / "train" / "NORMAL").mkdir(parents=True)
    (tmp_path / "train" / "NORMAL" / "IM-0115-0001.jpeg").touch()
    result = invoke("doctor", "kermany", tmp_path, "--json")
    assert result.exit_code == 0
    seen = json.loads(result.stdout)
    assert seen["images"] == 1
    assert seen["counts"][0] == {"split": "train", "what": "frontal", "found": 1, "released": 5216}
