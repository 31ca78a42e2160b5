"""Data sets: manifests with their cases and splits, generated phantoms, and the data sets that training draws from."""

from .manifest import Case as Case
from .manifest import GeneratedSource as GeneratedSource
from .manifest import LabelClass as LabelClass
from .manifest import Licence as Licence
from .manifest import Manifest as Manifest
from .manifest import PublishedSource as PublishedSource
from .manifest_schema import MANIFEST_SCHEMA as MANIFEST_SCHEMA
from .phantom_em import PhantomSlice as PhantomSlice
from .phantom_em import generate_phantom_em as generate_phantom_em
from .phantom_em import phantom_em_slice as phantom_em_slice
from .prepare import prepare_data_set as prepare_data_set
from .tile_dataset import ExplainedTile as ExplainedTile
from .tile_dataset import TileDataset as TileDataset
from .tile_dataset import TileSampler as TileSampler
from .tile_dataset import tile_loader as tile_loader
