"""What a bundle's Ignite engines need beyond what MONAI and Ignite ship."""

from .checkpoint import TrainingCheckpoint as TrainingCheckpoint
from .checkpoint import load_network as load_network
from .checkpoint import read_checkpoint as read_checkpoint
from .checkpoint import save_whole as save_whole
from .declared import declared as declared
from .evaluation_record import EvaluationRecord as EvaluationRecord
from .kept_memory import keep_freed_memory as keep_freed_memory
from .last_validation import LastValidation as LastValidation
from .mask_writer import MaskWriter as MaskWriter
from .one_line_errors import report_errors_in_one_line as report_errors_in_one_line
from .pictures import BestPicture as BestPicture
from .pictures import TilePictures as TilePictures
from .processes import check_device as check_device
from .processes import join_processes as join_processes
from .progress_bar import TrainingProgressBar as TrainingProgressBar
from .reseed import ReseedEpochs as ReseedEpochs
from .run_record import RECORD_NAME as RECORD_NAME
from .run_record import RunRecord as RunRecord
from .running_config import check_arguments as check_arguments
from .running_config import check_config as check_config
from .running_config import check_running_config as check_running_config
from .running_config import override as override
from .volume_mask_writer import VolumeMaskWriter as VolumeMaskWriter
from .weight_average import WeightAverage as WeightAverage
from .weighted_update import WeightedUpdate as WeightedUpdate
from .weighted_update import step_loss as step_loss
