"""Data sets: manifests with their cases and splits, generated phantoms, and the data sets that training draws from."""

from .digests import content_sha256 as content_sha256
from .digests import folder_sha256 as folder_sha256
from .manifest import Manifest as Manifest
from .manifest_entries import Archive as Archive
from .manifest_entries import Case as Case
from .manifest_entries import Code as Code
from .manifest_entries import Deidentification as Deidentification
from .manifest_entries import Folds as Folds
from .manifest_entries import GeneratedSource as GeneratedSource
from .manifest_entries import LabelClass as LabelClass
from .manifest_entries import Licence as Licence
from .manifest_entries import PublishedSource as PublishedSource
from .manifest_schema import MANIFEST_SCHEMA as MANIFEST_SCHEMA
from .phantom_em import PhantomSlice as PhantomSlice
from .phantom_em import generate_phantom_em as generate_phantom_em
from .phantom_em import phantom_em_slice as phantom_em_slice
from .prepare import prepare_data_set as prepare_data_set
from .tile_dataset import ExplainedTile as ExplainedTile
from .tile_dataset import TileDataset as TileDataset
from .tile_dataset import TileSampler as TileSampler
from .tile_dataset import tile_loader as tile_loader
