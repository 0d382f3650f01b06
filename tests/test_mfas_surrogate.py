"""The recurrent surrogate equals the plain network that it stands for, only faster."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
import torch

from fusegraph.searchers.mfas.surrogate import RecurrentSurrogate, SurrogateOptions
from fusegraph.searchers.mfas.trie import Trie
from fusegraph.searchers.progression import Configuration

TRIPLETS = list(product(range(1, 5), range(1, 5), range(1, 4)))  # NTU: M = N = 4, P = 3


class PlainSurrogate(torch.nn.Module):
    """The release's network, from `torch.nn`."""

    def __init__(self, surrogate: RecurrentSurrogate) -> None:
        super().__init__()
        options = surrogate.options
        self.embed = torch.nn.Linear(surrogate.decisions, options.embedding)
        self.lstm = torch.nn.LSTM(options.embedding, options.hidden)
        self.value = torch.nn.Linear(options.hidden, 1)
        self.double()
        self.load_state_dict(surrogate.named_weights())

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """(batch, length, decisions) -> (batch)"""
        states, _ = self.lstm(torch.sigmoid(self.embed(levels.transpose(0, 1))))
        return torch.sigmoid(self.value(states[-1]))[:, 0]


def history(rng: Random) -> dict[Configuration, float]:
    """What a search has seen after three levels: all singles, then extensions of a few."""
    scores: dict[Configuration, float] = {(level,): rng.random() for level in TRIPLETS}
    prefixes = list(scores)
    for _ in range(2):
        prefixes = [(*rng.choice(prefixes), rng.choice(TRIPLETS)) for _ in range(15)]
        scores |= {configuration: rng.random() for configuration in prefixes}
    return scores


def test_the_surrogate_for_triplets_has_81301_parameters() -> None:
    assert RecurrentSurrogate(3, seed=0).parameters == 81_301


def test_linear_layers_start_as_in_the_release() -> None:
    weights = RecurrentSurrogate(3, seed=0).named_weights()
    for name in ("embed", "value"):
        assert weights[f"{name}.weight"].abs().max() <= 0.1
        assert (weights[f"{name}.bias"] == 1.8).all()


def test_a_trie_holds_each_prefix_once() -> None:
    trie = Trie.of([((1, 1), (2, 1)), ((1, 1), (2, 2)), ((1, 2), (2, 1)), ((1, 1), (2, 1))])
    assert trie.symbols.tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert [rank.symbol.tolist() for rank in trie.ranks] == [[0, 1], [2, 3, 2]]
    assert trie.ranks[1].parent.tolist() == [0, 0, 1]
    assert trie.leaf.tolist() == [0, 1, 2, 0]


def test_updates_equal_those_of_autograd_and_plain_adam() -> None:
    surrogate = RecurrentSurrogate(3, seed=1, options=SurrogateOptions(epochs=5))
    plain = PlainSurrogate(surrogate)
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3)
    rng = Random(0)
    for _ in range(2):  # twice: Adam's state lives on between updates
        scores = history(rng)
        surrogate.fit(scores)
        for _ in range(5):
            for length in (1, 2, 3):
                batch = [c for c in scores if len(c) == length]
                target = torch.tensor([scores[c] for c in batch], dtype=torch.float64)
                optimiser.zero_grad()
                predicted = plain(torch.tensor(batch, dtype=torch.float64))
                torch.nn.functional.mse_loss(predicted, target).backward()
                optimiser.step()
    ours = surrogate.named_weights()
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(ours[name], expected, rtol=0, atol=1e-12)


def test_an_update_lowers_the_error_and_says_so() -> None:
    surrogate = RecurrentSurrogate(3, seed=0)
    fit = surrogate.fit(history(Random(0)))
    assert fit.samples == 48 + 15 + 15
    assert 0 < fit.last_loss < fit.first_loss


def test_a_batch_scores_as_one_by_one() -> None:
    surrogate = RecurrentSurrogate(3, seed=2)
    surrogate.fit(history(Random(1)))
    plain = PlainSurrogate(surrogate)
    rng = Random(3)
    mixed = [tuple(rng.choices(TRIPLETS, k=rng.randint(1, 4))) for _ in range(60)]
    with torch.no_grad():
        expected = [float(plain(torch.tensor([c], dtype=torch.float64))) for c in mixed]
    assert surrogate.score(mixed).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("length", [0, 1, 3])
def test_unfolded_candidates_score_as_whole_sequences(length: int) -> None:
    surrogate = RecurrentSurrogate(3, seed=4)
    rng = Random(5)
    prefixes = list({tuple(rng.choices(TRIPLETS, k=length)) for _ in range(15)})
    unfolded = surrogate.score_unfolded(prefixes, TRIPLETS)
    whole = surrogate.score([(*prefix, level) for prefix in prefixes for level in TRIPLETS])
    torch.testing.assert_close(unfolded.flatten(), whole, rtol=0, atol=1e-9)


def test_a_whole_product_scores_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusegraph.searchers.mfas.unfold.UNFOLDED_ROWS", 20)
    levels = [TRIPLETS[:5], TRIPLETS[3:10], TRIPLETS[20:26]]
    surrogate = RecurrentSurrogate(3, seed=6)
    whole = surrogate.score(list(product(*levels)))
    torch.testing.assert_close(surrogate.score_all(levels).double(), whole, rtol=0, atol=1e-6)
    short = surrogate.score([(option,) for option in levels[2]])
    torch.testing.assert_close(surrogate.score_all(levels[2:]).double(), short, rtol=0, atol=1e-6)


def test_other_spaces_have_other_numbers_of_decisions_a_level() -> None:
    surrogate = RecurrentSurrogate(1, seed=0)
    assert surrogate.parameters == 81_301 - 200
    assert surrogate.score([((1,),), ((2,), (1,))]).shape == (2,)


def test_the_seed_alone_decides_the_weights() -> None:
    first, second, other = (RecurrentSurrogate(3, seed=s).named_weights() for s in (7, 7, 8))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["lstm.weight_hh_l0"], other["lstm.weight_hh_l0"])


def test_scoring_and_fitting_leave_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        surrogate = RecurrentSurrogate(3, seed=0, options=SurrogateOptions(epochs=1))
        surrogate.fit(history(Random(0)))
        surrogate.score_unfolded([(TRIPLETS[0],)], TRIPLETS)
        surrogate.score_all([TRIPLETS[:3]] * 2)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
