"""The connection to the controller; its errors name the fields of `GenACConfig`."""

from __future__ import annotations

from genac_bridge.host.controller import Controller as HostController
from genac_bridge.host.controller import ControllerError

from .advice import ADVICE

__all__ = ["Controller", "ControllerError"]


class Controller(HostController):
    """A controller of this process: a child, or with `endpoint` one that was started by hand."""

    advice = ADVICE
