"""How the key of a node becomes the name of its weights, the same in every backend.

A key `c[1].s[2].linear` is the path `c.1.s.2.linear` of the `state_dict`. Two exceptions:

1. A name that torch's modules or networks use themselves (`type`, `half`, `weight`), or a keyword
   of Python, gets an underscore: `type` becomes `type_`, and so that no two meet, `type_` becomes
   `type__`.
2. A key that is not made of plain names and numbers is one name: `esc_` and the key, with `__`
   for `_` and `_hex_` for any other sign that is neither a letter nor a digit.
"""

from __future__ import annotations

import re
from functools import lru_cache
from keyword import kwlist

TORCH_NAMES = frozenset(
    """
    T_destination add_module affine apply bfloat16 bias buffers call_super_init children compile
    cpu cuda dilation double dump_patches elementwise_affine embedding_dim eps eval extra_repr
    float forward from_pretrained get_buffer get_extra_state get_parameter get_submodule groups
    half in_channels in_features inplace ipu kernel_size load_state_dict max_norm modules momentum
    mtia named_buffers named_children named_modules named_parameters norm_type normalized_shape
    num_batches_tracked num_channels num_embeddings num_features num_groups out_channels
    out_features output_padding p padding padding_idx padding_mode parameters
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ reset_parameters
    reset_running_stats running_mean running_var scale_grad_by_freq set_extra_state set_submodule
    share_memory sparse state_dict stride to to_empty track_running_stats train training
    transposed type weight xpu zero_grad
    """.split()  # noqa: SIM905  (one sorted paragraph)
)
"""What torch's modules call their own attributes."""

OWN_NAMES = frozenset({"graph", "parameter_names", "program", "run", "source"})
"""What a network of the torch backend calls its own."""

RESERVED = TORCH_NAMES | OWN_NAMES | frozenset(kwlist)
"""Names that cannot be those of a submodule: attributes of torch's modules and of networks."""

_PLAIN = re.compile(r"[A-Za-z]\w*(\[(0|[1-9]\d*)\])*(\.[A-Za-z]\w*(\[(0|[1-9]\d*)\])*)*", re.ASCII)


def state_name(key: str) -> str:
    """The path of the module that holds the weights of `key`: `h[1].linear` is `h.1.linear`.

    Different keys have different paths.
    """
    return ".".join(path_of(key))


def weight_name(key: str, weight: str) -> str:
    """The name of a weight in the `state_dict`: `h.1.linear.weight`."""
    return f"{state_name(key)}.{weight}"


@lru_cache(maxsize=65_536)
def path_of(key: str) -> tuple[str, ...]:
    """The names of the modules from the root down to the one that this key owns."""
    if not _PLAIN.fullmatch(key):
        return (_escaped(key),)
    return tuple([_free(part) for part in key.replace("[", ".").replace("]", "").split(".")])


def _escaped(text: str) -> str:
    signs = [
        c if c.isascii() and c.isalnum() else "__" if c == "_" else f"_{ord(c):x}_" for c in text
    ]
    return "esc_" + "".join(signs)


def _free(name: str) -> str:
    if name.startswith("esc_"):
        return _escaped(name)
    # Underscores are looked through, so that what got one meets no other name.
    ends = range(len(name.rstrip("_")), len(name) + 1)
    return f"{name}_" if any(name[:end] in RESERVED for end in ends) else name
