"""What people look at: the page, under every address that it shows, and these documents."""

from pydantic import BaseModel, ConfigDict

from server.api.frontend import ADDRESSES
from server.api.openapi import Answer, Operation

_HTML = "text/html"


class OpenApi(BaseModel):
    """An OpenAPI 3.1 document: this one."""

    model_config = ConfigDict(extra="allow")
    openapi: str


class AsyncApi(BaseModel):
    """An AsyncAPI 3.0 document."""

    model_config = ConfigDict(extra="allow")
    asyncapi: str


def _name(address: str) -> str:
    words = [word.strip("{}") for word in address.replace("-", "/").split("/") if word]
    return "page" + "".join(word.title() for word in words)


OPERATIONS = [
    *(
        Operation(
            "GET",
            address,
            _name(address),
            "The page",
            {200: Answer("One document for all addresses.", media_type=_HTML)},
        )
        for address in ADDRESSES
    ),
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "This document",
        {200: Answer("It.", OpenApi, headers=("ETag",)), 304: Answer("It.", headers=("ETag",))},
        reads=("If-None-Match",),
    ),
    Operation(
        "GET",
        "/asyncapi.json",
        "asyncapi",
        "The document of the WebSockets",
        {200: Answer("It.", AsyncApi, headers=("ETag",)), 304: Answer("It.", headers=("ETag",))},
        reads=("If-None-Match",),
    ),
    Operation(
        "GET",
        "/docs",
        "docs",
        "This document to look at, and to try out",
        {200: Answer("A page.", media_type=_HTML)},
    ),
    Operation(
        "GET",
        "/docs/problems",
        "docsProblems",
        "What each `code` of a refusal means",
        {200: Answer("A page.", media_type=_HTML)},
    ),
]
