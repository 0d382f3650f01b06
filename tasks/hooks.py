"""Data from a Python function that a task file names. Code, so only where it was allowed.

```python
def batches(split: str, seed: int | None) -> Iterable[Mapping[str, Tensor]]:
    '''Batches of `split`: shuffled by `seed`, or in the data's order where it is None.'''
    yield {"image[1]": ..., "audio[1]": ..., "labels": ...}
```
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor

from ..ir.diagnostics import Diagnostic, FusegraphError
from ..training.batches import Batch
from .problems import nearest

Hook = Callable[[str, int | None], Iterable[Mapping[str, Any]]]


def load_hook(reference: str, *, allow: bool, folder: Path, section: str = "data") -> Hook:
    """Imports `module:function`; the task file's folder comes first on the import path. `section`
    is that of the task file which names it.

    Raises:
        FusegraphError: E604 where hooks were not allowed, E605 where there is no such module or
            function, or where importing it fails.
    """
    if not allow:
        raise FusegraphError(
            Diagnostic(
                code="E604",
                message=f"this task runs code, `{reference}`, and that was not allowed",
                place=f"{section}.hook",
                help="read that module first; then give `--allow-hook` (or `allow_hooks=True`)",
            )
        )
    name, _, function = reference.partition(":")
    sys.path.insert(0, str(folder.resolve()))
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever a stranger's module raises while it is imported
        what = f"importing it raised {type(error).__name__}: {error}"
        raise _broken(section, reference, what) from error
    finally:
        sys.path.remove(str(folder.resolve()))
    found = getattr(module, function, None)
    if not callable(found):
        what = "has no such function" if found is None else f"is {type(found).__name__}"
        known = [n for n in dir(module) if not n.startswith("_")]
        raise _broken(section, reference, what, nearest(function, known))
    return cast("Hook", found)


def called(hook: Callable[..., Any], *arguments: object) -> Any:
    """What a hook answers. Raises FusegraphError E605 where its own code fails, with its line."""
    try:
        return hook(*arguments)
    except FusegraphError:
        raise
    except Exception as error:  # whatever a stranger's function raises
        raise _failed(hook, arguments, error) from error


def pulled(hook: Hook, split: str, seed: int | None, section: str = "data") -> Iterator[object]:
    """What a hook yields, one by one. Raises FusegraphError E605 where its own code fails."""
    batches = called(hook, split, seed)
    if not isinstance(batches, Iterable):
        raise _wrong(section, split, 1, f"expected batches, found {type(batches).__name__}")
    iterator = called(cast("Iterable[object]", batches).__iter__)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except FusegraphError:
            raise
        except Exception as error:  # as in `called`
            raise _failed(hook, (split, seed), error) from error
        yield batch


@dataclass(slots=True)
class HookBatches:
    """A `BatchSource` over a hook's split."""

    hook: Hook
    split: str
    inputs: tuple[str, ...]
    device: torch.device
    section: str = "data"
    """Of the task file, that names the hook."""
    _length: int | None = field(default=None, init=False)

    def __len__(self) -> int:
        """As many as the hook's answer says it has; else they are counted once."""
        if self._length is None:
            batches = called(self.hook, self.split, None)
            counted: int
            if isinstance(batches, Sized):
                counted = called(batches.__len__)
            else:
                counted = sum(1 for _ in self._pulled(None))
            if not counted:
                raise self._wrong(1, "expected batches, found none")
            self._length = counted
        return self._length

    def epoch(self, generator: Generator | None) -> Iterator[Batch]:
        """One pass; the hook shuffles, by a seed that the generator draws."""
        seed = (
            None
            if generator is None
            else int(torch.randint(2**31, (1,), generator=generator).item())
        )
        for number, batch in enumerate(self._pulled(seed), start=1):
            yield self._checked(number, batch)

    def _pulled(self, seed: int | None) -> Iterator[object]:
        return pulled(self.hook, self.split, seed, self.section)

    def _wrong(self, batch: int, what: str, advice: str = "") -> FusegraphError:
        return _wrong(self.section, self.split, batch, what, advice)

    def _checked(self, number: int, batch: object) -> Batch:
        if not isinstance(batch, Mapping):
            found = type(batch).__name__
            raise self._wrong(number, f"expected a mapping of tensors, found {found}")
        values = cast("Mapping[str, object]", batch)
        tensors: dict[str, Tensor] = {}
        for name in (*self.inputs, "labels"):
            value = values.get(name)
            if value is None:
                advice = nearest(name, values)
                raise self._wrong(number, f"expected `{name}`, found {list(values)}", advice)
            if isinstance(value, np.ndarray):
                value = torch.from_numpy(np.array(value))
            if not isinstance(value, Tensor):
                found = type(value).__name__
                raise self._wrong(number, f"expected a tensor as `{name}`, found {found}")
            tensors[name] = value.to(self.device)
        samples = {name: len(value) if value.ndim else 0 for name, value in tensors.items()}
        if len(set(samples.values())) != 1:
            raise self._wrong(number, f"expected one number of samples, found {samples}")
        labels = tensors.pop("labels")
        return Batch(tensors, labels.long())


def _broken(section: str, reference: str, what: str, advice: str = "") -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E605",
            message=f"the hook `{reference}` cannot be used: {what}",
            place=f"{section}.hook",
            help=advice or "give `module:function`, importable or beside the task file",
        )
    )


def _failed(
    hook: Callable[..., Any], arguments: tuple[object, ...], error: Exception
) -> FusegraphError:
    frames = extract_tb(error.__traceback__)
    code = getattr(hook, "__code__", None)
    # The last line of the hook's own file: beneath it are libraries.
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    at = (own or frames)[-1]
    name = f"{hook.__module__}:{getattr(hook, '__name__', type(hook).__name__)}"
    given = ", ".join(map(repr, arguments))
    notes = (f"the line is `{at.line}`",) if at.line else ()
    if len(arguments) == 2 and arguments[1] is None:
        notes = (*notes, "`seed` is None where the data's own order is asked for")
    return FusegraphError(
        Diagnostic(
            code="E605",
            message=f"the hook `{name}` failed, called as `({given})`: "
            f"{type(error).__name__}: {error}",
            place=f"{at.filename}:{at.lineno}",
            notes=notes,
            help="mend that line of your code",
        )
    )


def _wrong(section: str, split: str, batch: int, what: str, advice: str = "") -> FusegraphError:
    return FusegraphError(
        Diagnostic(
            code="E606",
            message=f"the hook yields something else than batches of named tensors: {what}",
            place=f"{section}.hook: {split}, batch {batch}",
            help=advice or "yield mappings of the space's inputs and `labels`, samples first",
        )
    )
