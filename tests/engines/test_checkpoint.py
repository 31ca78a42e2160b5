"""Checkpoints: whole or not at all, refused where they do not fit, and a resume that repeats a run to the last bit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import nn

from pipeline.engines import TrainingCheckpoint, load_network, read_checkpoint, save_whole
from pipeline.errors import CheckpointError, MissingFileError, OutputError, TrainingError
from pipeline.networks import ValidUNet

SMALL = (2, 3)


def small_network(**changes: Any) -> ValidUNet:
    return ValidUNet(**{"channels": SMALL, **changes})


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- writing ---------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    network = small_network()
    save_whole(network.state_dict(), tmp_path / "models" / "model.pt")
    torch.testing.assert_close(
        read_checkpoint(tmp_path / "models" / "model.pt"), dict(network.state_dict()), rtol=0, atol=0
    )
    assert entries(tmp_path / "models") == ["model.pt"]


def test_a_checkpoint_that_cannot_be_written_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*model\.pt: it is a folder"):
        save_whole({"weight": torch.zeros(3)}, tmp_path / "model.pt")
    assert entries(tmp_path) == ["model.pt"]


def test_a_kill_in_the_middle_of_saving_leaves_the_old_checkpoint(tmp_path: Path, processes: Any) -> None:
    path = tmp_path / "model.pt"
    save_whole({"weight": torch.arange(1000)}, path)
    (tmp_path / "save_for_ever.py").write_text(
        """
import sys
import torch
from pipeline.engines import save_whole

for number in range(1_000_000):
    save_whole({"weight": torch.full((1_000_000,), number)}, sys.argv[1])
    print(number, flush=True)
"""
    )
    # Killed at five different moments: most of the time of saving goes into writing and syncing.
    for _ in range(5):
        process = processes.start("save_for_ever", [path], tmp_path)
        process.wait_for(lambda said=process.stdout: said.exists() and said.read_text().count("\n") >= 2)
        process.kill()
        assert process.wait().status == -9
        weight = read_checkpoint(path)["weight"]
        assert weight.shape == (1_000_000,)
        assert (weight == weight[0]).all()
    assert all(name.startswith(".partial-") for name in set(entries(tmp_path)) - {"model.pt", "save_for_ever.py"})


# --- reading ---------------------------------------------------------------------------------------------------------


class Attack:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"model\.pt not found; train first, or pass --checkpoint"):
        read_checkpoint(tmp_path / "model.pt")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="not found"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"ab", b"a", b"s", b"u", b".", b"a text\n", b"\x80\x02}."], ids=repr)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pt (is not a checkpoint that can be read safely|holds a)"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99], ids=lambda kept: f"{kept}")
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "model.pt"
    save_whole(small_network().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(
        CheckpointError, match=r"model\.pt is not a checkpoint that can be read safely: .+; expected"
    ) as e:
        read_checkpoint(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "content",
    [b"weights\n", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04" + bytes(100), b"\x80\x04"],
    ids=["text", "png", "zip", "pickle"],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pt is not a checkpoint"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, writer: str) -> None:
    path, made = tmp_path / "model.pt", tmp_path / "made by the attack"
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"weight": Attack(made)}))
    else:
        torch.save({"weight": Attack(made)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint that can be read safely"):
        read_checkpoint(path)
    assert not made.exists()


def test_a_tensor_alone_is_no_state_dict(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="holds a Tensor; expected a state dict"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("wrapped", [False, True], ids=["model.pt", "last.pt"])
def test_both_kinds_of_checkpoints_load(tmp_path: Path, wrapped: bool) -> None:
    trained, fresh = small_network(), small_network()
    content = trained.state_dict()
    save_whole({"network": content, "epoch": 3} if wrapped else content, tmp_path / "some.pt")
    assert load_network(fresh, tmp_path / "some.pt") is fresh
    torch.testing.assert_close(dict(fresh.state_dict()), dict(content), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"channels": (2, 5)}, r"bottom\.0\.weight is \(5, 2, 3, 3\), expected \(3, 2, 3, 3\)"),
        ({"channels": (2,) * 3}, r"bottom\.0\.weight is \(2, 2, 3, 3\), expected \(3, 2, 3, 3\)"),
        ({"out_channels": 4}, r"head\.weight is \(4, 2, 1, 1\), expected \(2, 2, 1, 1\)"),
        ({"convs_per_block": 3}, r"it also has contract\.0\.4\.weight"),
        ({"convs_per_block": 1}, r"it has no contract\.0\.2\.weight"),
    ],
    ids=["channels", "depth", "classes", "extra", "missing"],
)
def test_another_network_is_refused_by_its_first_difference(
    tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    save_whole(small_network(**changes).state_dict(), tmp_path / "model.pt")
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"model\.pt belongs to another network: {difference}; use the network"):
        load_network(network, tmp_path / "model.pt")
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


def test_an_entry_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    save_whole(dict(small_network().state_dict()) | {"head.bias": 3}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"head\.bias is int, expected \(2,\)"):
        load_network(small_network(), tmp_path / "model.pt")


# --- training --------------------------------------------------------------------------------------------------------


def checkpoint_of(training: Any, folder: Path, **changes: Any) -> TrainingCheckpoint:
    checkpoint = TrainingCheckpoint(
        folder,
        training.network,
        training.optimizer,
        training.lr_scheduler,
        training.evaluator,
        average=training.weight_average,
        **changes,
    )
    checkpoint.attach(training.trainer)
    return checkpoint


@pytest.mark.parametrize("average", ["none", "averaged"])
def test_model_pt_is_the_best_network_and_last_pt_the_last(
    tmp_path: Path, small_training: Callable[..., Any], average: str
) -> None:
    training = small_training(scores=(0.1, 0.9, 0.5), average=average)
    shown = training.network if training.weight_average is None else training.weight_average.network
    seen: list[dict[str, torch.Tensor]] = []
    training.evaluator.add_event_handler(
        Events.COMPLETED, lambda _: seen.append({name: tensor.clone() for name, tensor in shown.state_dict().items()})
    )
    checkpoint = checkpoint_of(training, tmp_path)
    training.run()
    torch.testing.assert_close(dict(read_checkpoint(checkpoint.best_path)), seen[1], rtol=0, atol=0)
    last = read_checkpoint(checkpoint.last_path)
    torch.testing.assert_close(dict(last["network"]), dict(training.network.state_dict()), rtol=0, atol=0)
    assert (last["epoch"], last["best_metric"], last["best_metric_epoch"]) == (3, 0.9, 2)
    assert entries(tmp_path) == ["last.pt", "model.pt"]


def test_last_pt_is_written_at_the_interval_and_after_the_last_epoch(
    tmp_path: Path, small_training: Callable[..., Any]
) -> None:
    training = small_training(scores=(0.1,) * 5)
    checkpoint = checkpoint_of(training, tmp_path, every_epochs=2)
    written: list[int | None] = []

    def note(_: Any) -> None:
        written.append(read_checkpoint(checkpoint.last_path)["epoch"] if checkpoint.last_path.exists() else None)

    training.trainer.add_event_handler(Events.EPOCH_COMPLETED, note)
    training.run()
    assert written == [None, 2, 2, 4, 4]
    assert read_checkpoint(checkpoint.last_path)["epoch"] == 5


@pytest.mark.parametrize("average", ["none", "averaged"])
@pytest.mark.parametrize("broken_in", [1, 2, 4])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    tmp_path: Path, small_training: Callable[..., Any], average: str, broken_in: int
) -> None:
    scores = (0.3, 0.1, 0.4, 0.2)
    whole = small_training(scores=scores, average=average)
    wanted = checkpoint_of(whole, tmp_path / "whole")
    whole.run()

    broken = small_training(scores=scores, average=average)
    checkpoint_of(broken, tmp_path / "broken")
    broken.fail_in(broken_in, RuntimeError("power cut"))
    with pytest.raises(RuntimeError, match="power cut"):
        broken.run()
    if broken_in == 1:  # nothing to resume from yet
        return
    resumed = small_training(scores=scores, average=average)
    torch.manual_seed(99)
    with torch.no_grad():
        for parameter in resumed.network.parameters():
            parameter.normal_()
    found = checkpoint_of(resumed, tmp_path / "broken", resume=True)
    resumed.run()
    torch.testing.assert_close(read_checkpoint(found.last_path), read_checkpoint(wanted.last_path), rtol=0, atol=0)
    torch.testing.assert_close(read_checkpoint(found.best_path), read_checkpoint(wanted.best_path), rtol=0, atol=0)


def test_a_run_that_was_complete_stays_as_it_is(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    first = small_training()
    checkpoint = checkpoint_of(first, tmp_path)
    first.run()
    before = read_checkpoint(checkpoint.last_path)
    again = small_training()
    checkpoint_of(again, tmp_path, resume=True)
    again.run()
    assert again.trainer.state.iteration == first.trainer.state.iteration
    torch.testing.assert_close(read_checkpoint(checkpoint.last_path), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps_per_epoch": 4}, r"a run of steps an epoch 3, this one has 4; resume with the same data"),
        ({"scores": (0.1,) * 3}, r"a run of max_epochs 2, this one has 3; resume with the same .*max_epochs"),
        ({"learning_rate": 0.01}, r"a run of learning rates \[0\.1\], this one has \[0\.01\]"),
        ({"average": "averaged"}, r"another averaging of weights"),
    ],
    ids=["steps", "epochs", "learning rate", "average"],
)
def test_a_run_with_another_schedule_is_not_resumed(
    tmp_path: Path, small_training: Callable[..., Any], changes: dict[str, Any], message: str
) -> None:
    first = small_training()
    checkpoint_of(first, tmp_path)
    first.run()
    other = small_training(**changes)
    checkpoint_of(other, tmp_path, resume=True)
    with pytest.raises(CheckpointError, match=message):
        other.run()


def test_there_is_no_resuming_without_last_pt(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    training = small_training()
    checkpoint_of(training, tmp_path, resume=True)
    with pytest.raises(MissingFileError, match=r"last\.pt not found"):
        training.run()


def test_there_is_no_resuming_from_bare_weights(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    training = small_training()
    save_whole(training.network.state_dict(), tmp_path / "last.pt")
    checkpoint_of(training, tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="holds no state of a training"):
        training.run()


def test_a_network_of_another_kind_is_not_resumed(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    first = small_training()
    checkpoint_of(first, tmp_path)
    first.run()
    other = small_training()
    other.network[0] = nn.Conv2d(1, 7, 3, padding=1)
    checkpoint_of(other, tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        other.run()


def test_a_new_run_removes_the_best_of_an_earlier_one_before_it_saves(
    tmp_path: Path, small_training: Callable[..., Any]
) -> None:
    (tmp_path / "model.pt").write_bytes(b"of an earlier run")
    training = small_training()
    training.evaluator.run = lambda epoch: None  # nothing is validated in these epochs
    checkpoint_of(training, tmp_path)
    training.run()
    assert (tmp_path / "last.pt").exists()
    assert not (tmp_path / "model.pt").exists()


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, small_training: Callable[..., Any]) -> None:
    training = small_training()
    checkpoint_of(training, tmp_path)

    def spoil(trainer: Any) -> None:
        with torch.no_grad():
            training.network[0].weight[0, 0, 0, 0] = float("nan")

    training.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), spoil)
    with pytest.raises(
        TrainingError, match=r"training diverged in epoch 1: 0\.weight holds values that are not finite"
    ):
        training.run()
    assert not (tmp_path / "last.pt").exists()
