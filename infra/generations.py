"""Generations: which changes make new machines (design decision 1).

A node group is never updated in place. What is declared of its machines is hashed into the generation in its name, so
that any change of it declares a new group beside the old. Tags and capacity are no part of it, by construction: they
are not in what is hashed.
"""

import hashlib
import json
from collections.abc import Mapping

from infra.naming import GENERATION_DIGITS


def generation(declared: Mapping[str, object]) -> str:
    """Give the generation of what is declared: the first digits of a hash over its canonical JSON.

    The same declaration gives the same generation on every machine and in every run, whatever the order of its keys.
    """
    text = json.dumps(declared, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:GENERATION_DIGITS]
