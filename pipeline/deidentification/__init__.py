"""DICOM files without the identity of their patients: the confidentiality profile of DICOM PS3.15 Annex E."""

from .dataset import DeidentifiedInstance as DeidentifiedInstance
from .dataset import deidentify_dataset as deidentify_dataset
from .folder import DeidentificationPlan as DeidentificationPlan
from .folder import deidentify_folder as deidentify_folder
from .key import DeidentificationKey as DeidentificationKey
from .options import DeidentificationOptions as DeidentificationOptions
from .record import DeidentificationCounts as DeidentificationCounts
from .record import write_left_out as write_left_out
