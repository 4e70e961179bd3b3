import os


class current_platform:
    device_type = os.environ.get("STAND_IN_DEVICE", "cpu")
