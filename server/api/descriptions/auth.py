"""Signing in, staying signed in, signing out."""

from typing import Annotated, Literal

from pydantic import Field

from server.api.auth import LoginQuery
from server.api.descriptions.values import Person, Shape
from server.api.openapi import Answer, Operation
from server.errors import Forbidden


class SignedIn(Shape):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(description="Seconds.", examples=[900])]
    user: Person


class TicketAnswer(Shape):
    ticket: str
    expires_in: Annotated[int, Field(description="Seconds.", examples=[30])]


class LinkAnswer(Shape):
    location: Annotated[str, Field(description="Where the browser is to go.")]


OPERATIONS = [
    Operation(
        "GET",
        "/api/auth/google/login",
        "signIn",
        "Go to the sign-in provider",
        {
            302: Answer("To the provider.", headers=("Location", "Set-Cookie")),
            303: Answer("To `/?auth_error=…`: it cannot be asked.", headers=("Location",)),
        },
        query=LoginQuery,
        refusals=(Forbidden,),
        about="A place to go to: `forbidden` to what a page loads by the way, such as an image.",
    ),
    Operation(
        "GET",
        "/api/auth/google/callback",
        "comeBack",
        "Come back from the sign-in provider",
        {303: Answer("To the page; `?auth_error=…` says why not.", headers=("Location",))},
        free_query={
            "state": "What the provider was given.",
            "code": "The authorization code.",
            "error": "Why there is none.",
            "iss": "Who sends it.",
        },
    ),
    Operation(
        "POST",
        "/api/auth/link",
        "linkGoogle",
        "Link a Google identity to my account",
        {200: Answer("Where to go on.", LinkAnswer, headers=("Set-Cookie",))},
        who="signed in",
        about="What became of it shows at `/account`; `?auth_error=…` says why not.",
    ),
    Operation(
        "POST",
        "/api/auth/refresh",
        "refresh",
        "Trade the refresh cookie for the next one and an access token",
        {200: Answer("Signed in.", SignedIn, headers=("Set-Cookie",))},
        who="session",
        about="A refresh token is good for one use; one that comes back ends its session.",
    ),
    Operation(
        "POST",
        "/api/auth/logout",
        "signOut",
        "End this session",
        {204: Answer("There is none any more.", headers=("Set-Cookie",))},
        who="maybe a session",
    ),
    Operation(
        "POST",
        "/api/auth/ticket",
        "issueTicket",
        "A single-use ticket for a WebSocket that needs to know who comes",
        {200: Answer("The ticket.", TicketAnswer)},
        who="signed in",
    ),
]
