"""Texts that a person might write in a hurry: the right shape, and anything in its places."""

from collections.abc import Iterator
from itertools import count
from random import Random

from fusegraph.ir.ops import PRIMITIVES

FRAME = """fuse 1
cell f(x; out: int = 4, act: op = relu) {{ return act(linear(x, out=out)) }}
cell g(x: f32[N, C], y: f32[N, C]) -> f32[N, C] {{
  h = ?d of {{x, y}}
  return h * sigmoid(x)
}}
space s {{
  dim N, T
  let W = 3
  let V = ?v of {{4, 8}}
  input x: f32[N, 8]
  input y: f32[N, 8]
  input z: f32[N, 4, 8]
  input m: f32[N, 2, T, 4]
{body}
  output o = {output}
}}
"""
VALUES = (
    "0", "1", "2", "3", "4", "8", "-1", "2.5", "1e9", "N", "T", "2 * T", "W", "V", "V // 2",
    "8 // 3", "8 // V", "(1, 2)", "(2,)", "()", "((1, 0), 1)", "true", '"ones"', "size(x, 1)",
    "relu", "x", "(N, 8)", "?w of {2, 4}", "?k of {(1, 2), (2, 4)}", "(N, ?q of {2, 8}, 4)",
)  # fmt: skip


def random_program(seed: int) -> str:
    """A space of a few statements; about a quarter of them are right."""
    return _Program(Random(seed)).text()


class _Program:
    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.names = ["x", "y", "z", "m"]
        self.numbers: Iterator[int] = count()

    def text(self) -> str:
        body = [self.statement() for _ in range(self.draw.randint(1, 6))]
        return FRAME.format(body="\n".join(body), output=self.draw.choice(self.names))

    def statement(self) -> str:
        draw, number = self.draw, next(self.numbers)
        match draw.choices(range(5), (2, 2, 1, 1, 9))[0]:
            case 0:
                operator = draw.choice(("+", "*", "//", "%", "**", "-", "/"))
                return f"  let v{number} = {self.value()} {operator} {self.value()}"
            case 1:
                line = f"  for i in 1..{draw.choice('23W')} {{ h{number}[i] = {self.tensor(0)} }}"
                self.names += [f"h{number}[1]", f"h{number}[*]"]
                return line
            case 2:
                relation = draw.choice(("<", "<=", "==", "!="))
                right = draw.choice((self.value(), "macs", "parameters"))
                return f"  require {self.value()} {relation} {right}"
            case 3:
                op = draw.choice(("relu", "linear(out=4)", "f", "f(out=3)"))
                line = f"  share s{number} = {op}\n  u{number} = s{number}({self.tensor(0)})"
                self.names.append(f"u{number}")
                return line
            case _:
                line = f"  a{number} = {self.tensor(0)}"
                self.names.append(f"a{number}")
                return line

    def value(self) -> str:
        return self.draw.choice(VALUES).replace("?", f"?n{next(self.numbers)}_")

    def several(self, depth: int) -> str:
        return ", ".join(self.tensor(depth + 1) for _ in range(self.draw.randint(1, 3)))

    def tensor(self, depth: int) -> str:
        draw = self.draw
        if depth > 3 or draw.random() < 0.5:
            return draw.choice(self.names)
        name = f"?n{next(self.numbers)}"
        match draw.choices(range(9), (4, 2, 1, 2, 2, 2, 2, 2, 4))[0]:
            case 0:
                return f"{name} of {{{self.several(depth)}}}"
            case 1:
                other = draw.choice((self.tensor(depth + 1), self.value()))
                return f"({self.tensor(depth + 1)} {draw.choice('+-*/')} {other})"
            case 2:
                return f"-{self.tensor(depth + 1)}"
            case 3:
                return f"sum({name} some of {{{self.several(depth)}}})"
            case 4:
                repeats = draw.choice(("", " repeats"))
                return f"concat({name} 2 of {{{self.several(depth)}}}{repeats})"
            case 5:
                ops = f"relu, tanh, linear(out={self.value()}), f"
                return f"{name} of {{{ops}}}({self.tensor(depth + 1)})"
            case 6:
                more = draw.choice(("", f", out={self.value()}", f", act={name} of {{relu, tanh}}"))
                return f"f({self.tensor(depth + 1)}{more})"
            case 7:
                return f"g({self.tensor(depth + 1)}, {self.tensor(depth + 1)})"
            case _:
                return self.primitive(depth)

    def primitive(self, depth: int) -> str:
        draw = self.draw
        op = draw.choice(list(PRIMITIVES.values()))
        many = len(op.inputs) if draw.random() < 0.95 else draw.randint(0, 3)
        given = [self.tensor(depth + 1) for _ in range(many)]
        for attr in op.attrs:
            if draw.random() < (0.97 if attr.required else 0.3):
                given.append(f"{attr.name}={self.value()}")
        return f"{op.name}({', '.join(given)})"
