"""Names that tables give to spans of a call which are no stage of a network. Pure."""

from typing import Final

FORWARD: Final = "forward"  # one call of the network, input and output on the device
FORWARD_UNPROBED: Final = "forward_unprobed"  # the plain call that alternates with a probed one
OTHER: Final = "other"  # the part of a probed forward that no stage claims
TOTAL: Final = "total"  # host to device, forward, device to host
HOST_TO_DEVICE: Final = "host_to_device"
DEVICE_TO_HOST: Final = "device_to_host"

SPANS: Final = (OTHER, FORWARD, FORWARD_UNPROBED, HOST_TO_DEVICE, DEVICE_TO_HOST, TOTAL)
"""Stages of samples beside the network's own, in the order of tables."""
