"""The AsyncAPI 3.0 document: what goes over WebSockets, which OpenAPI cannot describe."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_SCHEMA, _MESSAGE, _CHANNEL = (
    "#/components/schemas/{model}",
    "#/components/messages/{name}",
    "#/channels/{name}",
)


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of frame, in JSON."""

    name: str
    payload: type[BaseModel]
    summary: str
    example: Any


@dataclass(frozen=True, slots=True)
class Channel:
    """One WebSocket: what the server sends over it, and what it receives."""

    name: str
    address: str
    title: str
    about: str
    sent: tuple[Message, ...]
    received: tuple[Message, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> tuple[Message, ...]:
        return self.sent + self.received

    def as_json(self) -> dict[str, Any]:
        """Return the Channel Object."""
        places = re.findall(r"{(\w+)}", self.address)
        described = {
            "address": self.address,
            "title": self.title,
            "description": self.about,
            "messages": {m.name: {"$ref": _MESSAGE.format(name=m.name)} for m in self.messages},
            "parameters": {place: {"description": "An id."} for place in places},
            "bindings": {"ws": {"method": "GET", "query": _texts(self.query)}},
        }
        return {name: value for name, value in described.items() if value}

    def operations(self) -> dict[str, Any]:
        """Return the Operation Objects, which say what the server does."""
        channel = _CHANNEL.format(name=self.name)
        return {
            f"{action}{self.name[0].upper()}{self.name[1:]}": {
                "action": action,
                "channel": {"$ref": channel},
                "messages": [{"$ref": f"{channel}/messages/{m.name}"} for m in messages],
            }
            for action, messages in (("send", self.sent), ("receive", self.received))
            if messages
        }


def document(channels: Iterable[Channel], origin: str) -> dict[str, Any]:
    """Return the document of these sockets of the server that browsers know as `origin`."""
    described, here = list(channels), urlsplit(origin)
    messages = [message for channel in described for message in channel.messages]
    _, schemas = models_json_schema(
        [(message.payload, "validation") for message in messages], ref_template=_SCHEMA
    )
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Rowlock, live", "version": "1", "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "here": {"host": here.netloc, "protocol": here.scheme.replace("http", "ws", 1)}
        },
        "channels": {channel.name: channel.as_json() for channel in described},
        "operations": {
            name: operation
            for channel in described
            for name, operation in channel.operations().items()
        },
        "components": {
            "messages": {message.name: _message(message) for message in messages},
            "schemas": schemas["$defs"],
        },
    }


def _message(message: Message) -> dict[str, Any]:
    return {
        "name": message.name,
        "summary": message.summary,
        "payload": {"$ref": _SCHEMA.format(model=message.payload.__name__)},
        "examples": [{"payload": message.example}],
    }


def _texts(query: Mapping[str, str]) -> dict[str, Any]:
    texts = {name: {"type": "string", "description": about} for name, about in query.items()}
    return {"type": "object", "properties": texts}


_ABOUT = "Frames are text, in JSON. Whatever is no WebSocket is in /openapi.json."
