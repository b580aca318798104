"""The run-time type checker of the tests: beartype, with int taken where float is written, as every type checker does."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
