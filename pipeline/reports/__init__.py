"""What a person reads after a run."""

from .overlay import arranged_pictures as arranged_pictures
from .overlay import check_picture_name as check_picture_name
from .overlay import overlay_picture as overlay_picture
from .overlay import save_picture as save_picture

__all__ = ["arranged_pictures", "check_picture_name", "overlay_picture", "save_picture"]
