"""Names: keys as paths of modules, and whatever a file calls things as Python identifiers.

A key `c[1].s[2].linear` is the path `c.1.s.2.linear` of the `state_dict`. Two exceptions:

1. A name that torch's modules use themselves (`type`, `half`, `weight`), or a keyword of Python,
   gets an underscore: `type` becomes `type_`, and so that no two meet, `type_` becomes `type__`.
2. A key that is not made of plain names and numbers is one name: `esc_` and the key, with `__`
   for `_` and `_hex_` for any other sign that is neither a letter nor a digit.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable
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
    register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    reset_parameters reset_running_stats running_mean running_var scale_grad_by_freq
    set_extra_state set_submodule share_memory sparse state_dict stride to to_empty
    track_running_stats train training transposed type weight xpu zero_grad
    """.split()  # noqa: SIM905  (one sorted paragraph)
)
"""What torch's modules call their own attributes."""

OWN_NAMES = frozenset({"graph", "parameter_names", "program", "run", "source"})
"""What `Network` calls its own."""

_RESERVED = TORCH_NAMES | OWN_NAMES | frozenset(kwlist)

_PLAIN = re.compile(r"[A-Za-z]\w*(\[(0|[1-9]\d*)\])*(\.[A-Za-z]\w*(\[(0|[1-9]\d*)\])*)*", re.ASCII)
_LONGEST = 48


def _escaped(text: str) -> str:
    signs = [
        c if c.isascii() and c.isalnum() else "__" if c == "_" else f"_{ord(c):x}_" for c in text
    ]
    return "esc_" + "".join(signs)


def _segment(name: str) -> str:
    if name.startswith("esc_"):
        return _escaped(name)
    return f"{name}_" if name.rstrip("_") in _RESERVED or name in _RESERVED else name


@lru_cache(maxsize=65_536)
def path_of(key: str) -> tuple[str, ...]:
    """The names of the modules from the root down to the one that this key owns."""
    if not _PLAIN.fullmatch(key):
        return (_escaped(key),)
    return tuple([_segment(s) for s in key.replace("[", ".").replace("]", "").split(".")])


def module_name(key: str) -> str:
    """The name under which `get_submodule` and the `state_dict` know the owner of this key."""
    return ".".join(path_of(key))


@lru_cache(maxsize=65_536)
def identifier(text: str) -> str:
    """Some plain name that reminds of `text`; `image[1]` gives `image_1`."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:_LONGEST]
    return name if name and not name[0].isdigit() else f"x{name}"


def class_name(text: str) -> str:
    """`mfas_ntu` as the name of a class, `MfasNtu`."""
    words = [word for word in identifier(text).split("_") if word]
    name = "".join([word[0].upper() + word[1:] for word in words])
    return f"{name}Network" if name in {"False", "None", "True", "Tensor", *HELPERS} else name


HELPERS = ("Scope", "Pointwise", "Learned", "DropPath", "round8")
"""What generated code may define beside the network."""

_USED = frozenset(
    {"self", "torch", "nn", "F", "math", "functools", "Tensor", "Network", *HELPERS, *kwlist}
)
_CALLED = frozenset({"abs", "dict", "getattr", "int", "max", "min", "str", "super"})
_BUILTIN = frozenset(dir(builtins))


class Namer:
    """Hands out identifiers, each once: `h_1`, `h_1_2`, `h_1_3`."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def parameter(self, text: str) -> str:
        """A name for a parameter; it may hide a builtin that generated code does not call."""
        name = identifier(text)
        return self._new(f"{name}_" if name in _USED or name in _CALLED else name)

    def variable(self, text: str) -> str:
        """A name for a variable."""
        name = identifier(text)
        return self._new(f"{name}_" if name in _USED or name in _BUILTIN else name)

    def _new(self, name: str) -> str:
        chosen = name
        while chosen in self._taken:
            count = self._next[name] = self._next.get(name, 1) + 1
            chosen = f"{name}_{count}"
        self._taken.add(chosen)
        return chosen
