"""Ids that nothing uses, that do not exist, or that a component does not know: refused, with what was meant."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from pipeline.bundle_config import parse_bundle
from pipeline.engines import check_config, check_running_config, override
from pipeline.engines.knobs import switch
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "bundles" / "em_membrane_segmentation" / "configs"
OVERLAYS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in ("train", "inference"))


def shipped(*names: str) -> list[Path]:
    return [CONFIGS / f"{name}.yaml" for name in names]


def small_config() -> dict[str, Any]:
    """A config in which every id is used."""
    return {
        "max_epochs": 3,
        "side_px": 4,
        "train": {
            "sizes": ["@side_px"],
            "loader": {"_target_": "torch.utils.data.DataLoader", "dataset": "@train::sizes", "batch_size": 1},
            "trainer": {"max_epochs": "@max_epochs", "steps": "$len(@train::loader)"},
        },
        "run": ["$@train::loader"],
    }


def test_a_config_in_which_every_id_is_used_passes() -> None:
    check_config(small_config())


@pytest.mark.parametrize(
    "overlays",
    [
        combination
        for count in range(4)
        for combination in itertools.combinations(OVERLAYS, count)
        # Evaluating on several processes is laid over evaluating, and isbi2012 over demo.
        if ("multi_gpu_evaluate" not in combination or "evaluate" in combination)
        and not {"evaluate", "multi_gpu_train"} <= set(combination)
        and not {"multi_gpu_train", "multi_gpu_evaluate"} <= set(combination)
        and ("isbi2012" not in combination or "demo" in combination)
    ],
    ids="+".join,
)
def test_every_shipped_combination_passes(overlays: tuple[str, ...]) -> None:
    parse_bundle(shipped("train", *sorted(overlays, key=lambda name: ("evaluate" in name, "multi" in name))), {})


def test_the_shipped_inference_config_passes() -> None:
    parse_bundle(shipped("inference"), {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_epohcs": 3}, r"config id 'max_epohcs' is used by nothing in this run; did you mean 'max_epochs'\?"),
        ({"quux": 3}, r"config id 'quux' is used by nothing in this run; see the ids in the bundle's configs"),
        ({"tarin": {"trainer": 1}}, r"config id 'tarin' is used by nothing in this run; did you mean 'train'\?"),
        ({"train::laoder": 3}, r"config id 'train::laoder' is used by nothing in this run; did you mean 'loader'\?"),
        (
            {"train::loader::batchsize": 3},
            r"config id 'train::loader::batchsize' is no argument of torch\.utils\.data\.DataLoader; "
            r"did you mean 'batch_size'\?",
        ),
        (
            {"train::trainer::max_epochs": "@max_epoch"},
            r"config id 'train::trainer::max_epochs' refers to '@max_epoch', which does not exist; "
            r"did you mean 'max_epochs'\?",
        ),
        (
            {"train::trainer::steps": "$len(@train::laoder) + 1"},
            r"refers to '@train::laoder', which does not exist; did you mean 'loader'\?",
        ),
        ({"device": "gpu"}, r"device 'gpu' is not known; pass cpu, cuda or cuda:N"),
        ({"device": "cuda:99"}, r"device cuda:99 does not exist: this machine shows \d+ GPUs"),
    ],
    ids=[
        *("top level", "nothing near", "section", "inside a section", "argument"),
        *("reference", "reference in an expression", "device name", "device number"),
    ],
)
def test_a_mistyped_id_is_refused_with_what_was_meant(changes: dict[str, Any], message: str) -> None:
    parser = ConfigParser(small_config())
    for name, value in changes.items():
        override(parser, name, value)
    with pytest.raises(ConfigError, match=message):
        check_config(parser.get())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epohcs", 3),
        ("train::dataloader::num_wrokers", 1),
        ("train::preprocesing", {}),
        ("network_def::chanels", [4, 8]),
        ("validate::evaluator::key_val_metrics", None),
        ("train::preprocessing::transforms::7::sigma", 3.0),
        ("train#trainer#max_epoch", 3),
    ],
)
def test_a_mistyped_id_of_the_shipped_bundle_is_refused(name: str, value: Any) -> None:
    last = name.replace("#", "::").split("::")[-1]
    with pytest.raises(ConfigError, match=rf"{last}' is (used by nothing in this run|no argument of .*); did you mean"):
        parse_bundle(shipped("train"), {name: value})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian::dataloader::num_workers", r"lies in no section of the config; did you mean 'train'\?"),
        ("train::dataloadr::num_workers", r"lies in no section of the config; did you mean 'dataloader'\?"),
        ("seed::value", "lies in no section of the config"),
        ("train::handlers::99::interval", "lies in no section of the config"),
        ("train::handlers::99", r"must end in the number of an item of 'train::handlers'"),
        ("train::handlers::first", r"must end in the number of an item of 'train::handlers'"),
    ],
)
def test_an_id_in_a_section_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"config id '{name}' {message}"):
        parse_bundle(shipped("train"), {name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epochs", 3),
        ("train::trainer::epoch_length", 7),
        ("train#dataset#seed", 3),
        ("train::handlers::1::name", "rate"),
        ("optimizer::nesterov", True),
        ("validate::inferer::batch_size", 4),
        ("device", "cpu"),
        ("network_def::channels", [8, 16]),
        ("network_def::variant", "release"),
    ],
)
def test_a_right_id_passes(name: str, value: Any) -> None:
    parser = parse_bundle(shipped("train"), {name: value})
    assert parser.get(name) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_epochs", "ten", "a whole number"),
        ("max_epochs", 1.5, "a whole number"),
        ("max_epochs", True, "a whole number"),
        ("max_epochs", 0, "a whole number of at least 1; write for example 20"),
        ("val_interval", -1, "a whole number of at least 1"),
        ("warmup_steps", -5, "a whole number of at least 0"),
        ("seed", -1, "a whole number of at least 0"),
        ("tile_px", "abc", r"a whole number"),
        ("max_memory_mb", "500MB", r"a whole number of at least 1; write for example 500"),
        ("learning_rate", "fast", "a number"),
        ("learning_rate", -1, "a number of at least 0; write for example 0.001"),
        ("resume", "no", "True or False"),
        ("resume", 1, "True or False"),
        ("dataset_dir", 2024, "a path"),
        ("network_def::channels", 5, r"a list such as \[8,16\], as in the bundle \(\[64, 128"),
        ("network_def::channels", "[8,16", "a list"),
        ("loss", 3, "a section"),
        ("lr_scheduler::warmup_steps", "@learning_rat", "refers to '@learning_rat', which does not exist"),
    ],
)
def test_a_value_of_another_kind_or_out_of_range_is_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"config id '{name}.*{expected}"):
        parse_bundle(shipped("train"), {name: value})


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), ("true", True), ("false", False)])
def test_a_switch_may_come_as_text_from_a_command_line(value: bool | str, expected: bool) -> None:
    check_config(small_config() | {"resume": value, "run": ["@resume", "$@train::loader"]})
    assert switch("resume", value) is expected


@pytest.mark.parametrize("value", ["no", "True ", 1, None])
def test_a_switch_is_nothing_else(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"resume is .*; expected True or False"):
        switch("resume", value)


def test_a_target_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"config id 'optimizer' names torch\.optim\.AdaW, which does not exist"):
        parse_bundle(shipped("train"), {"optimizer::_target_": "torch.optim.AdaW"})


def test_overlays_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"configs inference \+ demo do not go together: .*train"):
        parse_bundle(shipped("inference", "demo"), {})


def test_a_disabled_or_documented_component_passes() -> None:
    config = small_config()
    config["train"]["loader"] |= {"_disabled_": False, "_desc_": "batches", "_requires_": "$@max_epochs"}
    check_config(config)


def test_metadata_is_free() -> None:
    check_config(small_config() | {"_meta_": {"authors": "someone@example.org", "anything": "$@nothing"}})


def workflow(folder: Path, config: dict[str, Any], **changes: Any) -> ConfigWorkflow:
    """A run of MONAI of which the check is the first step."""
    (folder / "configs").mkdir(exist_ok=True)
    file = folder / "configs" / "train.yaml"
    initialize = {"initialize": [{"_target_": "pipeline.engines.check_running_config"}]}
    file.write_text(yaml.safe_dump(config | initialize), encoding="utf-8")
    return ConfigWorkflow(config_file=str(file), logging_file=False, meta_file=None, **changes)


def cause_of(error: BaseException | None) -> BaseException | None:
    """The error of ours that MONAI wrapped."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__cause__
    return error


def test_the_check_finds_the_config_of_the_run_it_is_part_of(tmp_path: Path) -> None:
    workflow(tmp_path, small_config()).initialize()
    with pytest.raises(RuntimeError) as caught:
        workflow(tmp_path, small_config(), max_epohcs=3).initialize()
    assert "did you mean 'max_epochs'?" in str(cause_of(caught.value))


def test_a_mistyped_run_id_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        workflow(tmp_path, small_config(), run_id="rnu").initialize()
    assert str(cause_of(caught.value)) == "run id 'rnu' is not in the config; did you mean 'run'?"


def test_outside_a_run_there_is_nothing_to_check() -> None:
    check_running_config()


@pytest.mark.parametrize("text", ["false", "true", "False", "no", "off", "YES"])
def test_a_switch_given_as_text_is_refused_where_nothing_reads_it(text: str) -> None:
    config = small_config()
    config["train"]["loader"]["drop_last"] = text
    with pytest.raises(
        ConfigError, match=rf"'train::loader::drop_last' is the text '{text}', which counts as true .*; write True or"
    ):
        check_config(config)
    config["train"]["loader"]["drop_last"] = text.lower() in ("true", "yes")
    check_config(config)


def test_monai_reads_a_disabled_component_as_text() -> None:
    config = small_config()
    config["train"]["loader"]["_disabled_"] = "false"
    check_config(config)
    assert ConfigParser(config).get_parsed_content("train::loader") is not None


@pytest.mark.parametrize(
    ("base", "run_id", "name"),
    [
        ("train", "training", "train::dataset::progress"),
        ("train", "training", "train::trainer::decollate"),
        ("inference", "inferring", "dataset::progress"),
    ],
)
def test_a_nested_switch_as_text_is_refused_before_a_run_of_monai(
    processes: Any, tmp_path: Path, base: str, run_id: str, name: str
) -> None:
    words = ["run", run_id, "--config_file", str(CONFIGS / f"{base}.yaml"), "--bundle_root", str(CONFIGS.parent)]
    words += ["--output_dir", str(tmp_path / "out"), f"--{name}", "false"]
    finished = processes.start("monai.bundle", words, tmp_path).wait()
    assert finished.status == 2
    assert f"config id '{name}' is the text 'false', which counts as true whatever it says" in finished.last_line
    assert not (tmp_path / "out").exists()
