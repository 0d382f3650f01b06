"""How the key of a node becomes the name of its weights, the same in every backend.

`h[1].linear` is the module `h.1.linear`, and its weight `h.1.linear.weight`. A part that a torch
module already uses for something else, or that Python or a weight has taken, gets an underscore:
`c.values` becomes `c.values_`, and so that no two keys meet, `c.values_` becomes `c.values__`.
"""

from __future__ import annotations

import re
from keyword import iskeyword

_MODULE = """
    T_destination add_module append apply bfloat16 buffers call_super_init children clear compile
    cpu cuda double dump_patches eval extend extra_repr float forward get_buffer get_extra_state
    get_parameter get_submodule half insert ipu items keys load_state_dict modules mtia
    named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad
    set_extra_state set_submodule share_memory state_dict to to_empty train training type update
    values xpu zero_grad
"""
_WEIGHTS = frozenset(("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))
RESERVED = frozenset(_MODULE.split()) | _WEIGHTS
"""Parts that cannot name a submodule: attributes of torch's modules, and names of weights."""

_PARTS = re.compile(r"[^.\[\], ]+")


def state_name(key: str) -> str:
    """The path of the module that holds the weights of `key`: `h[1].linear` is `h.1.linear`.

    Different keys have different names.
    """
    return ".".join([_free(part) for part in _PARTS.findall(key)])


def weight_name(key: str, weight: str) -> str:
    """The name of a weight in the `state_dict`: `h.1.linear.weight`."""
    return f"{state_name(key)}.{weight}"


def _free(part: str) -> str:
    base = part.rstrip("_")
    taken = not base or base.startswith("_") or base in RESERVED or iskeyword(base)
    return f"{part}_" if taken else part
