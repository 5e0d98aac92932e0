"""The command line: --config, --config.FIELD, --workdir, --force, --reestimate. Every mistake becomes one line."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from landscape.files import UserError
from landscape.presets import paths
from landscape.presets.names import did_you_mean

flags.DEFINE_string("workdir", None, "Directory of the run; by default runs/EXPERIMENT/DATASET-HASH.")
flags.DEFINE_boolean("force", False, "Compute the run anew; trained models are kept.")
flags.DEFINE_boolean("reestimate", False, "Estimate a finished run anew from its arrays.nc, and report it.")
CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, as configs/flatness.py[:DATASET[,smoke]].")
EXPECTED = {  # by how a message of Python or absl about a value begins
    "could not convert": "a number, such as 0.0314 for 8/255",
    "invalid literal for int": "a whole number, such as 8",
    "Non-boolean": "true or false",
}
KNOWN = ("--config", "--workdir", "--force", "--reestimate", "--help")


class Command(NamedTuple):
    """What was asked for."""

    config: ConfigDict
    workdir: str  # empty: the default
    force: bool
    reestimate: bool


def parse() -> Command:
    """Reads sys.argv. Paths come out with `~` expanded.

    Raises:
      UserError: an unknown flag, config file, data set or field, a value of the wrong type, a section in the place of
        its fields, gs://.. for a path, or --force with --reestimate.
      SystemExit: of --help.
    """
    app.define_help_flags()
    try:
        rest = flags.FLAGS(sys.argv)[1:]
        config = CONFIG.value
        if config is not None:
            config.keys()  # a file that could not be read raises when it is touched
        if section := re.search(r"^--?config\.((?!claims)[\w.]+)[=\n]\{", "\n".join(sys.argv), re.MULTILINE):
            raise UserError(_section_error(section[1]))  # fields that it leaves out would be gone
    except SystemExit:  # absl has shown the help, and ends with status 1
        sys.exit(0)
    except flags.UnrecognizedFlagError as error:
        raise UserError(_unknown_flag(error.flagname)) from error
    except flags.Error as error:
        raise UserError(_flag_error(str(error))) from error
    except (AttributeError, KeyError) as error:  # KeyError: of a misspelt section
        raise UserError(_field_error(str(error))) from error
    except OSError as error:
        raise UserError(f"--config={_config_argument()}: no such config file; {_known_configs()}") from error
    if rest:
        raise UserError(
            f"{rest[0]!r}: unexpected word; expected flags only; write --NAME=VALUE with no spaces around ="
        )
    if config is None:
        raise UserError(f"no --config came; {_known_configs()}")
    if flags.FLAGS.force and flags.FLAGS.reestimate:
        raise UserError("--force --reestimate: expected one of them, since --force clears what the other reads")
    paths.set_local(config)
    workdir = paths.local("--workdir", flags.FLAGS.workdir or "")
    return Command(config, workdir, flags.FLAGS.force, flags.FLAGS.reestimate)


def _flag_error(message: str) -> str:
    """absl's message in one line; of an error inside a config file, what the file said."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        return re.sub(r"^(landscape\.files\.UserError|ValueError): ", "", lines[-1])
    text = " ".join(lines)
    if section := re.match(r"flag --config\.([\w.]+)=.* as a ConfigDict", text):
        return _section_error(section[1])
    for problem, expected in EXPECTED.items():
        if typed := re.match(rf"flag (--.*): \W*{problem}", text):
            return f"{typed[1]}: expected {expected}"
    return f"{text}; expected --NAME=VALUE"


def _section_error(section: str) -> str:
    """What to type in the place of a whole section of the config."""
    expected = f"expected one of its fields, --config.{section}.FIELD=VALUE"
    return f"--config.{section} is a section; {expected}; {_config_argument().split(':')[0]} lists them"


def _unknown_flag(name: str) -> str:
    """What to type in the place of a flag that there is none of."""
    if name.startswith("config."):
        return f"--{name}: expected --config=FILE before it; {_known_configs()}"
    return f"--{name}: unknown flag; expected one of {', '.join(KNOWN)}{did_you_mean(f'--{name}', KNOWN)}"


def _field_error(message: str) -> str:
    """ml_collections' message about a misspelt field, in one line."""
    name = re.search(r"\w+", message)
    typed = re.search(rf"--?config\.([\w.]*\b{name[0]})\b", "\n".join(sys.argv)) if name else None
    close = re.search(r'Did you mean "(\w+)"', message)
    field = typed[1] if typed else name[0] if name else message
    section = field.rpartition(".")[0]
    hint = f"{_config_argument().split(':')[0]} lists them"
    if close:
        hint = f"did you mean {section + '.' * bool(section)}{close[1]}?"
    return f"config field {field!r}: expected a field of the config; {hint}"


def _config_argument() -> str:
    """What --config was given, as typed."""
    found = re.search(r"(?:^|\n)--?config[=\n]([^\n]*)", "\n".join(sys.argv))
    return found[1] if found else ""


def _known_configs() -> str:
    names = sorted(str(path) for path in Path("configs").glob("*.py"))
    return f"expected one of {', '.join(names)}" if names else "expected a path such as configs/flatness.py"
