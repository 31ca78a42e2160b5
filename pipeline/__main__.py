"""`python -m pipeline` is `unet-pipeline`."""

from .cli import main

if __name__ == "__main__":
    main()
