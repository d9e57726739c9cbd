"""The messages of the contract, as dataclasses."""

from arw_client._generated.arw.v1 import *  # noqa: F403 - this module is that list under a public name
from arw_client._generated.google.protobuf import FieldMask as FieldMask  # noqa: PLC0414 - exported
from arw_client._generated.google.protobuf import Struct as Struct  # noqa: PLC0414 - exported
