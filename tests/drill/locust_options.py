"""What Locust reads from a user's environment, asked of Locust's own parser in its own process.

Standard output: a line of JSON about each option: its name in a configuration file, its variable
("" for none), a value that is not its default, and whether Locust obeys the variable alone.
"""

import json
from collections.abc import Mapping
from typing import Any

from locust.argument_parser import get_parser


def parsed(environment: Mapping[str, str]) -> dict[str, Any]:
    """All options; a value that Locust refuses is also one that it obeys."""
    try:
        parser = get_parser(default_config_files=[])
        found: dict[str, Any] = vars(parser.parse_args([], env_vars=dict(environment)))
    except SystemExit as refused:
        return {"refused": refused.code}
    return found


def harmful(action: Any) -> str:
    """A value that is not the default."""
    if action.choices:
        return str(next(one for one in action.choices if one != action.default))
    if action.nargs == 0:
        return "true"
    return {"LOCUST_RUN_TIME": "7h"}.get(action.env_var, "97")


def main() -> None:
    """Print what the module's docstring says."""
    plain = parsed({})
    for action in get_parser(default_config_files=[])._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        if not names:
            continue
        variable, value = action.env_var or "", harmful(action)
        obeyed = bool(variable) and parsed({variable: value}) != plain
        print(json.dumps([names[0].lstrip("-"), variable, value, obeyed]))


if __name__ == "__main__":
    main()
