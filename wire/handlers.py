"""Wraps the behaviour of a gRPC method, whichever of the four shapes it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

OneAnswer = Callable[[Any, Any], Awaitable[Any]]
ManyAnswers = Callable[[Any, Any], Any]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


def wrapped(
    handler: Any,
    one: Callable[[OneAnswer], OneAnswer],
    many: Callable[[ManyAnswers], ManyAnswers],
) -> Any:
    """The same method with `one` around a single answer, or `many` around a stream of them."""
    codec = (handler.request_deserializer, handler.response_serializer)
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(one(handler.unary_unary), *codec)
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(one(handler.stream_unary), *codec)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(many(handler.unary_stream), *codec)
    return grpc.stream_stream_rpc_method_handler(many(handler.stream_stream), *codec)
