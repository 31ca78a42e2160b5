"""Dictionary transforms, one concept a file."""

from .border_weights import BorderWeightsd as BorderWeightsd
from .border_weights import border_weight_map as border_weight_map
from .border_weights import class_balance_map as class_balance_map
from .class_indices import ClassIndicesd as ClassIndicesd
from .elastic import RandGridElasticd as RandGridElasticd
from .elastic import interpolate_displacement as interpolate_displacement
from .instances import InteriorInstancesd as InteriorInstancesd
from .instances import interior_instances as interior_instances
from .resample import mirrored_index as mirrored_index
from .resample import resample as resample
from .separate import SeparateInstancesd as SeparateInstancesd
from .separate import separate_touching_instances as separate_touching_instances
from .strip_instances import StripInstances as StripInstances
from .tile import RandTiled as RandTiled
from .tile import TileDraw as TileDraw
