"""What a person reads after a run."""

from .overlay import overlay_picture as overlay_picture
from .overlay import save_picture as save_picture

__all__ = ["overlay_picture", "save_picture"]
