"""Volumes that a bundle segments: which are meant, what is checked before the first result, and what is written."""

from .checks import after_loading as after_loading
from .checks import check_volumes as check_volumes
from .checks import prepared as prepared
from .checks import read_checked as read_checked
from .inputs import NiftiInput as NiftiInput
from .inputs import SeriesChoice as SeriesChoice
from .inputs import SeriesInput as SeriesInput
from .inputs import Volume as Volume
from .inputs import VolumeInput as VolumeInput
from .inputs import check_not_volumes as check_not_volumes
from .inputs import find_series as find_series
from .inputs import find_volumes as find_volumes
from .inputs import input_of as input_of
from .results import VolumeFormat as VolumeFormat
from .results import VolumeResults as VolumeResults
from .results import plan_volume_results as plan_volume_results
from .writer import VolumeWriter as VolumeWriter
from .writer import on_grid as on_grid
