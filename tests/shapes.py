"""The run-time checker of shapes and types, as people write: an int may stand for a float."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
