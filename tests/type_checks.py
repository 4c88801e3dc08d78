"""Annotations are checked in every test: shapes by jaxtyping, types by beartype."""

from beartype import BeartypeConf, beartype

# An int is good where a float is asked for, as PEP 484 has it.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
