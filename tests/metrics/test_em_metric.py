"""The membrane scores as metrics of an evaluator: three verbs, a bundle's wiring, one scoring a slice, two ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn

from pipeline.errors import ConfigError, ImageError, LabelError, PipelineError
from pipeline.metrics import EMCurves, EMScores, EMSlices, em_metric, em_scores, em_stack_scores

ROOT = Path(__file__).resolve().parents[2]

WIRING = """
validate:
  em_slices: {_target_: pipeline.metrics.EMSlices}
  key_metric:
    v_rand: {_target_: pipeline.metrics.EMScores, slices: '@validate::em_slices', score: v_rand}
  additional_metrics:
    v_info: {_target_: pipeline.metrics.EMScores, slices: '@validate::em_slices', score: v_info}
    pixel_error: {_target_: pipeline.metrics.EMScores, slices: '@validate::em_slices', score: pixel_error}
    v_rand_threshold:
      {_target_: pipeline.metrics.EMScores, slices: '@validate::em_slices', score: v_rand, report: threshold}
"""

RANK = """
import json, sys
import torch
import torch.distributed as dist
from ignite.exceptions import NotComputableError
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch.utils.data.distributed import DistributedSampler
from pipeline.errors import LabelError
from pipeline.metrics import EMScores, EMSlices

rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
items = torch.load(f"{folder}/items.pt", weights_only=True)
sampler = DistributedSampler(Dataset(items), shuffle=True, seed=3)
loader = DataLoader(Dataset(items), batch_size=2, sampler=sampler, num_workers=0)
slices = EMSlices()
names = ("v_rand", "v_info", "pixel_error")
metrics = {name: EMScores(slices, name) for name in names}
evaluator = SupervisedEvaluator(
    device=torch.device("cpu"), val_data_loader=loader, network=torch.nn.Identity(),
    inferer=lambda image, network: torch.cat([network(image), 1 - image], 1),
    key_val_metric={"v_rand": metrics["v_rand"]},
    additional_metrics={name: metrics[name] for name in names[1:]},
)
evaluator.run()
seen = [items[index]["case"] for index in sampler]

alone = EMSlices()
try:
    alone.compute()
    empty = "computed"
except NotComputableError:
    empty = "not computable"
if rank == 0:
    alone.update(([torch.zeros(2, 2, 2)], [torch.ones(1, 2, 2)], ["only"]))
one_rank_only = alone.compute().v_rand

clash = EMSlices()
clash.update(([torch.zeros(2, 1, 2)], [torch.tensor([[[1.0, float(rank)]]])], ["same"]))
try:
    clash.compute()
    told = ""
except LabelError as error:
    told = str(error)

result = {"metrics": evaluator.state.metrics, "details": evaluator.state.metric_details, "seen": seen,
          "empty": empty, "one_rank_only": one_rank_only, "told": told}
with open(f"{folder}/rank{rank}.json", "w") as file:
    json.dump(result, file)
dist.destroy_process_group()
"""


def items(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return slices of unlike difficulty: membrane probability as the image, class indices as the label."""
    rng = np.random.default_rng(seed)
    drawn = []
    for number in range(count):
        label = np.ones((1, 24, 30), np.int64)
        label[0, 6 + number] = label[0, :, 9] = label[0, :, 20] = 0
        noise = rng.normal(0, 0.1 + 0.04 * number, label.shape)
        probability = np.clip(0.7 * (label == 0) + 0.15 + noise, 0, 1).astype(np.float32)
        drawn.append({"image": torch.tensor(probability), "label": torch.tensor(label), "case": f"slice_{number:02d}"})
    return drawn


def expected(of: list[dict[str, Any]], warping: bool = False) -> EMCurves:
    return em_stack_scores(
        em_scores(item["image"][0].numpy(), item["label"][0].numpy(), warping=warping) for item in of
    )


def both_classes(image: Tensor, network: nn.Module) -> Tensor:
    """Stand in for an inferer: the image is the membrane probability."""
    return torch.cat([image, 1 - image], 1)


def evaluator_of(of: list[dict[str, Any]], key: dict[str, Any], more: dict[str, Any] | None) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(of), batch_size=2, num_workers=0),
        network=nn.Identity(),
        inferer=both_classes,
        key_val_metric=key,
        additional_metrics=more,
    )


def batch(of: list[dict[str, Any]]) -> tuple[list[Tensor], list[Tensor], list[str]]:
    """Return what `EMSlices.update` takes."""
    preds = [torch.cat([item["image"], 1 - item["image"]]) for item in of]
    return preds, [item["label"] for item in of], [item["case"] for item in of]


# Three verbs.


def test_update_and_compute_give_the_score_of_the_stack() -> None:
    slices = EMSlices()
    slices.update(batch(items(2)))
    slices.update(batch(items(5)[2:4]))
    assert slices.compute() == slices.compute() == expected(items(2) + items(5)[2:4])


def test_compute_before_the_first_slice_and_after_a_reset_is_an_error() -> None:
    slices = EMSlices()
    with pytest.raises(NotComputableError, match="at least one slice"):
        slices.compute()
    slices.update(batch(items(1)))
    slices.reset()
    with pytest.raises(NotComputableError, match="at least one slice"):
        EMScores(slices, "v_rand").compute()


def test_a_score_without_an_engine_follows_its_slices() -> None:
    slices = EMSlices()
    v_info = EMScores(slices, "v_info")
    slices.update(batch(items(3)))
    assert v_info.compute() == expected(items(3)).v_info
    slices.update(batch(items(4)[3:]))
    assert v_info.compute() == expected(items(4)).v_info


def test_a_case_that_comes_twice_counts_once() -> None:
    slices = EMSlices()
    slices.update(batch(items(3)))
    slices.update(batch(items(1)))
    assert slices.compute() == expected(items(3))
    assert list(slices.by_case()) == ["slice_00", "slice_01", "slice_02"]


def test_the_warping_error_is_computed_where_it_is_asked_for() -> None:
    slices = EMSlices(warping=True)
    error, at = EMScores(slices, "warping_error"), EMScores(slices, "warping_error", report="threshold")
    rand_error = EMScores(slices, "rand_error")
    slices.update(batch(items(4)))
    stack = expected(items(4), warping=True)
    assert slices.compute() == stack
    assert error.compute() == stack.warping_error
    assert at.compute() == stack.warping_error_threshold
    assert rand_error.compute() == expected(items(4)).rand_error
    with pytest.raises(ConfigError, match="give EMSlices warping=True"):
        EMScores(EMSlices(), "warping_error")


def test_thresholds_are_those_asked_for() -> None:
    slices = EMSlices(thresholds=(0.5,))
    slices.update(batch(items(2)))
    assert slices.compute().thresholds == (0.5,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_probabilities_of_any_precision_are_scored(dtype: torch.dtype) -> None:
    preds, labels, cases = batch(items(1))
    slices = EMSlices()
    slices.update(([MetaTensor(preds[0].to(dtype))], [MetaTensor(labels[0].float())], cases))
    assert slices.compute().v_rand == pytest.approx(expected(items(1)).v_rand, abs=0.05)


# In an engine.


def test_a_bundle_wires_four_metrics_to_one_scoring_of_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any, **options: Any) -> EMCurves:
        calls.append(arguments)
        return em_scores(*arguments, **options)

    monkeypatch.setattr(em_metric, "em_scores", counted)
    parser = ConfigParser(yaml.safe_load(WIRING))
    key = parser.get_parsed_content("validate::key_metric")
    more = parser.get_parsed_content("validate::additional_metrics")
    evaluator = evaluator_of(items(5), key, more)
    evaluator.run()
    stack = expected(items(5))
    assert evaluator.state.metrics == {
        "v_rand": stack.v_rand,
        "v_info": stack.v_info,
        "pixel_error": stack.pixel_error,
        "v_rand_threshold": stack.v_rand_threshold,
    }
    assert evaluator.state.best_metric == stack.v_rand
    assert set(evaluator.state.metric_details) == {"v_rand", "v_info", "pixel_error"}
    assert len(calls) == 5


def test_details_list_each_case_at_the_threshold_of_the_stack_so_that_their_mean_is_the_score() -> None:
    slices = EMSlices()
    evaluator = evaluator_of(
        items(5), {"v_rand": EMScores(slices, "v_rand")}, {"pixel_error": EMScores(slices, "pixel_error")}
    )
    evaluator.run()
    for name in ("v_rand", "pixel_error"):
        details = evaluator.state.metric_details[name]
        assert list(details) == [f"slice_{number:02d}" for number in range(5)]
        assert np.mean(list(details.values())) == pytest.approx(evaluator.state.metrics[name])
    at = expected(items(5)).index_of_best("v_rand")
    third = items(5)[3]
    alone = em_scores(third["image"][0].numpy(), third["label"][0].numpy())
    assert evaluator.state.metric_details["v_rand"]["slice_03"] == alone.v_rand_curve[at]
    json.dumps(evaluator.state.metric_details)


def test_every_run_starts_from_nothing() -> None:
    slices = EMSlices()
    evaluator = evaluator_of(items(3), {"v_rand": EMScores(slices, "v_rand")}, None)
    evaluator.run()
    first = dict(evaluator.state.metrics)
    evaluator.data_loader = DataLoader(Dataset(items(3)[2:]), batch_size=1)
    evaluator.state.epoch_length = 1
    evaluator.run()
    assert list(slices.by_case()) == ["slice_02"]
    assert evaluator.state.metrics != first


def test_a_plain_ignite_engine_gets_score_and_details() -> None:
    preds, labels, cases = batch(items(2))
    engine = Engine(lambda _, given: (given["pred"], given["label"]))
    slices = EMSlices(output_transform=tuple, batch_transform=lambda given: given["case"])
    EMScores(slices, "v_rand").attach(engine, "v_rand")
    engine.run([{"pred": preds, "label": labels, "case": cases}])
    assert engine.state.metrics["v_rand"] == expected(items(2)).v_rand
    assert list(engine.state.metric_details["v_rand"]) == cases


def test_an_engine_that_saw_nothing_has_no_score() -> None:
    engine = Engine(lambda _, given: given)
    EMScores(EMSlices(tuple, lambda _: []), "v_rand").attach(engine, "v_rand")
    with pytest.raises(NotComputableError, match="at least one slice"):
        engine.run([([], [])])


# Ranks.


def test_two_ranks_give_what_one_gives_though_slices_are_handed_out_twice(tmp_path: Path) -> None:
    torch.save(items(5), tmp_path / "items.pt")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    # As `torchrun` does it; Ignite warns where the local rank is left to it.
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), "2", str(tmp_path)],
            env={**environment, "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=180)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))

    assert len(first["seen"]) == len(second["seen"]) == 3
    assert set(first["seen"]) & set(second["seen"]), "the sampler was meant to fill up with a slice of the other rank"
    stack = expected(items(5))
    assert first["metrics"] == {"v_rand": stack.v_rand, "v_info": stack.v_info, "pixel_error": stack.pixel_error}
    assert list(first["details"]["v_rand"]) == [f"slice_{number:02d}" for number in range(5)]
    for name in ("metrics", "details", "empty", "one_rank_only", "told"):
        assert first[name] == second[name]
    assert first["empty"] == "not computable"
    assert first["one_rank_only"] == 1.0
    assert "'same' stands for two slices" in first["told"]


# Refusals.


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            {"pred": torch.zeros(1, 24, 30)}, ImageError, r"pred of case 'slice_00' .* \(2, row", id="sigmoid"
        ),
        pytest.param({"pred": torch.zeros(24, 30)}, ImageError, r"\(24, 30\); expected probabilities", id="no-channel"),
        pytest.param(
            {"pred": torch.full((2, 24, 30), 3.5)}, ImageError, "'slice_00': .* activation first", id="logits"
        ),
        pytest.param({"label": torch.ones(24, 30)}, LabelError, r"expected class indices \(1, row", id="label-shape"),
        pytest.param({"label": torch.ones(1, 24, 31)}, LabelError, "'slice_00': .* must be equal", id="label-size"),
        pytest.param({"label": torch.full((1, 24, 30), 255)}, LabelError, r"'slice_00': .*\[255\]", id="label-values"),
        pytest.param({"label": torch.zeros(1, 24, 30)}, LabelError, "'slice_00': .* no interior", id="all-membrane"),
        pytest.param({"case": 7}, ConfigError, "case id 7 must be text, is int", id="case-number"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_case(
    change: dict[str, Any], error: type[PipelineError], message: str
) -> None:
    (pred,), (label,), (case,) = batch(items(1))
    given = {"pred": pred, "label": label, "case": case, **change}
    with pytest.raises(error, match=message):
        EMSlices().update(([given["pred"]], [given["label"]], [given["case"]]))


def test_two_slices_with_one_case_id_are_refused() -> None:
    preds, labels, _ = batch(items(2))
    with pytest.raises(LabelError, match="'stack' stands for two slices with different labels"):
        EMSlices().update((preds, labels, ["stack", "stack"]))


def test_unknown_names_are_refused_when_the_metric_is_built() -> None:
    with pytest.raises(ConfigError, match="score 'vrand' is not known; expected one of v_rand, v_info, rand"):
        EMScores(EMSlices(), "vrand")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="report 'best' is not known; expected one of score, threshold"):
        EMScores(EMSlices(), "v_rand", report="best")  # type: ignore[arg-type]
