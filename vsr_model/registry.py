"""The registry of networks, one line each. Free of torch until one is built."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from vsr_model.errors import BadField, BadInput, nearest

if TYPE_CHECKING:
    from vsr_model.network import Network

NETWORKS: Final = {
    "basicvsr": "vsr_model.networks.basicvsr:BasicVSR",
    "basicvsrpp": "vsr_model.networks.basicvsrpp:BasicVSRPlusPlus",
    "bicubic": "vsr_model.networks.interpolation:Bicubic",
    "bilinear": "vsr_model.networks.interpolation:Bilinear",
    "carn": "vsr_model.networks.carn:CARN",
    "carn_m": "vsr_model.networks.carn_m:CARNM",
    "duf": "vsr_model.networks.duf:DUF",
    "edvr": "vsr_model.networks.edvr:EDVR",
    "egvsr": "vsr_model.networks.egvsr:EGVSR",
    "espcn": "vsr_model.networks.espcn:ESPCN",
    "frvsr": "vsr_model.networks.frvsr:FRVSR",
    "iconvsr": "vsr_model.networks.iconvsr:IconVSR",
    "pfnl": "vsr_model.networks.pfnl:PFNL",
    "rbpn": "vsr_model.networks.rbpn:RBPN",
    "rfdn": "vsr_model.networks.rfdn:RFDN",
    "rlsp": "vsr_model.networks.rlsp:RLSP",
    "rrn": "vsr_model.networks.rrn:RRN",
    "rsdn": "vsr_model.networks.rsdn:RSDN",
    "sofvsr": "vsr_model.networks.sofvsr:SOFVSR",
    "sofvsr_accv": "vsr_model.networks.sofvsr_accv:SOFVSRACCV",
    "spmc": "vsr_model.networks.spmc:SPMC",
    "tdan": "vsr_model.networks.tdan:TDAN",
    "tecogan": "vsr_model.networks.tecogan:TecoGAN",
    "tga": "vsr_model.networks.tga:TGA",
    "toflow": "vsr_model.networks.toflow:TOFlow",
    "vespcn": "vsr_model.networks.vespcn:VESPCN",
    "zooming_slowmo": "vsr_model.networks.zooming_slowmo:ZoomingSlowMo",
}


def network_class(name: str) -> "type[Network]":
    """Import the class of a registered network. Raises BadInput, with the nearest name, if there is none."""
    if name not in NETWORKS:
        raise BadInput(
            f"There is no network {name!r}{nearest(name, NETWORKS)}; there are {', '.join(NETWORKS)}."
        )
    module, _, attribute = NETWORKS[name].partition(":")
    found: type[Network] = getattr(import_module(module), attribute)
    return found


def arguments_of(kind: "type[Network]") -> type[BaseModel]:
    """Describe the parameters of a network's constructor, with what is allowed, as a pydantic model."""
    hints = get_type_hints(kind.__init__, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], parameter.default) for name, parameter in signature(kind).parameters.items()
    }
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def resolve(name: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Check arguments, and fill in the published defaults. Raises BadField for what is not allowed."""
    described = arguments_of(network_class(name))
    try:
        return described.model_validate(dict(arguments)).model_dump()
    except ValidationError as error:
        # An unknown name explains the missing one that it was meant to be.
        first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
        argument = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = list(described.model_fields)
            reason = f"{name} has no such parameter{nearest(argument, known)}; it has {', '.join(known)}"
        else:
            reason = f"{first['msg'].replace('Input ', '')}, not {first['input']!r}"
        raise BadField(argument, reason) from None


def build_network(name: str, *, seed: int = 0, **arguments: object) -> "Network":
    """Build a registered network on the CPU, in float32 and eval mode, with seeded weights.

    `arguments` are those of the network's constructor; defaults are the published values. The weights are the
    same for the same seed on any machine, and torch's global random state is neither read nor advanced.
    Raises BadInput for an unknown name, and for arguments that are unknown or not allowed.
    """
    from vsr_model.weights import build_seeded  # noqa: PLC0415 - imports torch

    return build_seeded(network_class(name), resolve(name, arguments), seed)
