"""Integer arithmetic of a U-Net of unpadded ("valid") convolutions: which sides fit, what is lost, Figure 1 as a table.

All sides are in pixels and hold for rows and columns alike. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from .errors import TileSizeError


@runtime_checkable
class TileGeometry(Protocol):
    """What tiles need to know of a network: which sides fit, what is lost, and with which shifts it commutes."""

    @property
    def margin_px(self) -> int:
        """Pixels of the input tile that the output tile lacks at each side."""

    @property
    def stride_px(self) -> int:
        """Shift with which the network commutes."""

    def output_px(self, input_px: int) -> int:
        """Return the side of the output tile; refuse an input side that does not fit."""

    def input_px(self, output_px: int) -> int:
        """Return the smallest legal input side whose output is at least `output_px`."""


@dataclass(frozen=True)
class Layer:
    """One row of Figure 1 of the paper.

    Attributes:
        stage: `"input"`, `"contract 1"`, ..., `"bottom"`, ..., `"expand 1"` or `"output"`; 1 is the finest resolution.
        operation: What gives the row, for example `"conv 3x3"` or `"up-conv 2x2"`.
        side_px: Side of the square feature map that comes out, in pixels.
    """

    stage: str
    operation: str
    side_px: int


@dataclass(frozen=True)
class ValidGeometry:
    """The sizes of a U-Net with `depth` poolings and `convs_per_block` valid convolutions a block.

    Args:
        depth: Number of 2 by 2 poolings, at least 1 (the paper: 4).
        convs_per_block: Convolutions in each block, at least 1 (the paper: 2).
        kernel_px: Side of the convolution kernels, odd (the paper: 3).

    Raises:
        TileSizeError: If an argument is out of range.

    Examples:
        >>> geometry = ValidGeometry()
        >>> geometry.output_px(572), geometry.margin_px, geometry.min_input_px
        (388, 92, 188)

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), figure 1.
    """

    depth: int = 4
    convs_per_block: int = 2
    kernel_px: int = 3

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise TileSizeError(f"depth must be at least 1, got {self.depth}; the paper's network has 4")
        if self.convs_per_block < 1:
            raise TileSizeError(f"convs_per_block must be at least 1, got {self.convs_per_block}; the paper's is 2")
        if self.kernel_px < 1 or self.kernel_px % 2 == 0:
            raise TileSizeError(f"kernel_px must be odd and positive, got {self.kernel_px}; the paper's is 3")

    @property
    def block_loss_px(self) -> int:
        """Pixels that one block takes off a side, at its own resolution."""
        return self.convs_per_block * (self.kernel_px - 1)

    @property
    def stride_px(self) -> int:
        """Shift with which the network commutes, 2**depth: tiles are seamless only at multiples of it."""
        return 1 << self.depth

    @property
    def margin_px(self) -> int:
        """Pixels that the network takes off at each side of the image."""
        return self.block_loss_px * (3 * self.stride_px - 2) // 2

    @property
    def residue_px(self) -> int:
        """What a legal input side leaves when divided by `stride_px`."""
        return -self.block_loss_px % self.stride_px

    @property
    def min_input_px(self) -> int:
        """Smallest legal input side."""
        smallest = 2 * self.margin_px + 1
        return smallest + (self.residue_px - smallest) % self.stride_px

    @cached_property
    def receptive_field_px(self) -> int:
        """Side of the input window that can change one output pixel, the widest over the phases of the pooling grid."""
        widest = 0
        for phase in range(self.stride_px):
            first, last = phase, phase
            for _ in range(self.depth):
                last += self.block_loss_px
                first, last = first // 2, last // 2
            last += self.block_loss_px
            for _ in range(self.depth):
                first, last = 2 * first, 2 * last + 1
                last += self.block_loss_px
            widest = max(widest, last - first + 1)
        return widest

    def is_legal(self, input_px: int) -> bool:
        """Tell whether `input_px` halves evenly at each pooling and leaves something at the end."""
        return input_px >= self.min_input_px and input_px % self.stride_px == self.residue_px

    def output_px(self, input_px: int) -> int:
        """Return the side of the output for an input of side `input_px`.

        Raises:
            TileSizeError: If the side is not legal; the message names the nearest legal sides.

        Examples:
            >>> ValidGeometry().output_px(188)
            4
        """
        if not self.is_legal(input_px):
            raise TileSizeError(self._refusal(input_px))
        return input_px - 2 * self.margin_px

    def input_px(self, output_px: int) -> int:
        """Return the smallest legal input side whose output is at least `output_px`.

        Raises:
            TileSizeError: If `output_px` is not positive.

        Examples:
            >>> ValidGeometry().input_px(388), ValidGeometry().input_px(389)
            (572, 588)
        """
        if output_px < 1:
            raise TileSizeError(f"output side must be at least 1 px, got {output_px}")
        smallest = output_px + 2 * self.margin_px
        return smallest + (self.residue_px - smallest) % self.stride_px

    def layers(self, input_px: int) -> tuple[Layer, ...]:
        """Return Figure 1 for an input of side `input_px`: the side after every operation, from input to output.

        Raises:
            TileSizeError: If the side is not legal.
        """
        self.output_px(input_px)
        conv = f"conv {self.kernel_px}x{self.kernel_px}"
        side = input_px
        rows = [Layer("input", "image", side)]

        def block(stage: str) -> None:
            nonlocal side
            for _ in range(self.convs_per_block):
                side -= self.kernel_px - 1
                rows.append(Layer(stage, conv, side))

        for level in range(1, self.depth + 1):
            block(f"contract {level}")
            side //= 2
            rows.append(Layer(f"contract {level}", "max pool 2x2", side))
        block("bottom")
        for level in range(self.depth, 0, -1):
            side *= 2
            rows.append(Layer(f"expand {level}", "up-conv 2x2", side))
            block(f"expand {level}")
        rows.append(Layer("output", "conv 1x1", side))
        return tuple(rows)

    def _refusal(self, input_px: int) -> str:
        below = max(input_px - (input_px - self.residue_px) % self.stride_px, self.min_input_px)
        return (
            f"tile side {input_px} px does not fit a depth-{self.depth} valid U-Net: it must be "
            f"{self._rule()}, and at least {self.min_input_px}; try {below} or {below + self.stride_px}"
        )

    def _rule(self) -> str:
        less = (self.stride_px - self.residue_px) % self.stride_px
        return f"{less} less than a multiple of {self.stride_px}" if less else f"a multiple of {self.stride_px}"


@dataclass(frozen=True)
class PaddedGeometry:
    """The sizes of a padded network, whose output is as large as its input, when its outer `margin_px` are cut off.

    Tiles are exact where the margin is at least the radius of the receptive field and no layer looks at the whole tile,
    as instance normalisation does.

    Args:
        margin_px: Pixels cut off at each side of the output, at least 0.
        stride_px: Shift with which the network commutes, 2**depth for `depth` poolings.

    Raises:
        TileSizeError: If an argument is out of range.

    Examples:
        >>> PaddedGeometry(margin_px=92, stride_px=16).output_px(576)
        392
    """

    margin_px: int
    stride_px: int

    def __post_init__(self) -> None:
        if self.margin_px < 0 or self.stride_px < 1:
            raise TileSizeError(
                f"margin_px must be at least 0 and stride_px at least 1, got {self.margin_px} and {self.stride_px}"
            )

    def output_px(self, input_px: int) -> int:
        """Return what is left of a side of `input_px`.

        Raises:
            TileSizeError: If the side is no multiple of the stride, or nothing is left.
        """
        if input_px % self.stride_px or input_px <= 2 * self.margin_px:
            nearest = self.input_px(max(input_px - 2 * self.margin_px, 1))
            raise TileSizeError(
                f"tile side {input_px} px does not fit a padded network with margin {self.margin_px} px: it must be a "
                f"multiple of {self.stride_px}, and more than {2 * self.margin_px}; try {nearest}"
            )
        return input_px - 2 * self.margin_px

    def input_px(self, output_px: int) -> int:
        """Return the smallest legal input side of which at least `output_px` are left.

        Raises:
            TileSizeError: If `output_px` is not positive.
        """
        if output_px < 1:
            raise TileSizeError(f"output side must be at least 1 px, got {output_px}")
        return -(-(output_px + 2 * self.margin_px) // self.stride_px) * self.stride_px
