"""Label values to class indices, and labels that must be refused."""

import pytest
import torch

from pipeline.errors import ConfigError, LabelError
from pipeline.transforms import ClassIndicesd


def make_sample(label: torch.Tensor) -> dict[str, object]:
    return {"image": torch.zeros(1, 2, 3), "label": label, "case": "case_07"}


def test_stored_values_become_class_indices() -> None:
    label = torch.tensor([[[0.0, 255, 255], [255, 0, 0]]])
    indices = ClassIndicesd("label", {0: 0, 255: 1})(make_sample(label))["label"]
    assert indices.dtype == torch.int64
    assert indices.tolist() == [[[0, 1, 1], [1, 0, 0]]]


def test_labels_of_volumes_become_class_indices_too() -> None:
    label = torch.zeros(1, 2, 3, 4)
    label[0, 1, 2, 3] = 7
    found = ClassIndicesd("label", {0: 0, 7: 2})({"image": torch.zeros(1, 2, 3, 4), "label": label})["label"]
    assert found.shape == (1, 2, 3, 4)
    assert found[0, 1, 2, 3] == found.sum() == 2


def test_undeclared_values_are_refused_with_the_case() -> None:
    label = torch.tensor([[[0, 1, 255], [0, 0, 0]]])
    with pytest.raises(
        LabelError, match=r"label of case 'case_07' holds values \[0, 1, 255\]; expected \[0, 255\] only"
    ):
        ClassIndicesd("label", {0: 0, 255: 1})(make_sample(label))


def test_a_label_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(LabelError, match=r"case 'case_07' is 3 by 2 px but its image is 2 by 3 px"):
        ClassIndicesd("label", {0: 0})(make_sample(torch.zeros(1, 3, 2)))


def test_a_colour_label_is_refused() -> None:
    with pytest.raises(LabelError, match=r"must have one channel, got shape \(3, 2, 3\)"):
        ClassIndicesd("label", {0: 0})(make_sample(torch.zeros(3, 2, 3)))


@pytest.mark.parametrize("values", [{}, {0: -1}], ids=str)
def test_values_that_pair_with_no_class_are_refused(values: dict[int, int]) -> None:
    with pytest.raises(ConfigError, match="class indices from 0"):
        ClassIndicesd("label", values)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_classes_that_are_not_those_of_the_network_are_refused(num_classes: int) -> None:
    with pytest.raises(ConfigError, match=rf"the labels have the classes \[0, 1\], the network has {num_classes}; set"):
        ClassIndicesd("label", {0: 0, 255: 1}, num_classes=num_classes)
