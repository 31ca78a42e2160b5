"""Image files in and segmentations out. Axis order is (row, column)."""

from .inputs import Inputs as Inputs
from .inputs import ResultKind as ResultKind
from .inputs import ResultPaths as ResultPaths
from .inputs import find_inputs as find_inputs
from .inputs import image_records as image_records
from .inputs import plan_results as plan_results
from .masks import write_instances as write_instances
from .masks import write_mask as write_mask
from .masks import write_probability as write_probability
from .raster import RASTER_SUFFIXES as RASTER_SUFFIXES
from .raster import RasterImage as RasterImage
from .raster import read_image as read_image
from .raster_reader import RasterReader as RasterReader
from .raw_pixels import RawPixels as RawPixels
from .stored_image import StoredImage as StoredImage
from .stored_image import StoredPage as StoredPage
from .stored_image import is_streamed as is_streamed
from .stored_image import open_image as open_image
from .tiled_tiff import TILE_PX as TILE_PX
from .tiled_tiff import write_strips as write_strips
from .whole_file import checked_target as checked_target
from .whole_file import whole_file as whole_file
