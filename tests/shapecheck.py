"""The run-time type checker of the tests: beartype with two hints taken as static type checkers take them."""

from typing import TextIO

from beartype import BeartypeConf, FrozenDict, beartype

check = beartype(
    conf=BeartypeConf(
        is_pep484_tower=True,  # an int is good where float is written
        hint_overrides=FrozenDict({TextIO: object}),  # pytest's captured streams lack some of its members
    )
)
