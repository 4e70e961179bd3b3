"""`python -m genac_bridge`; see `worker.py`."""

from .worker import main

if __name__ == "__main__":
    main()
