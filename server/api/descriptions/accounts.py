"""Local accounts, and who I am."""

from server import errors
from server.api.accounts import Login, PasswordChange, Registration
from server.api.descriptions.auth import SignedIn
from server.api.descriptions.values import Person, Shape
from server.api.openapi import Answer, Operation


class Account(Shape):
    has_password: bool
    google_linked: bool
    email_verified: bool


class MeAnswer(Shape):
    user: Person
    account: Account


_EMAIL, _PASSWORD = "eve@example.com", "four quiet oars at dawn"

OPERATIONS = [
    Operation(
        "POST",
        "/api/auth/register",
        "register",
        "Make a local account and sign in to it",
        {201: Answer("Signed in.", SignedIn, headers=("Set-Cookie",))},
        body=Registration,
        example={"email": _EMAIL, "password": _PASSWORD, "name": "Eve"},
        refusals=(errors.EmailTaken, errors.WeakPassword),
    ),
    Operation(
        "POST",
        "/api/auth/login",
        "logIn",
        "Sign in to a local account",
        {200: Answer("Signed in.", SignedIn, headers=("Set-Cookie",))},
        about="Whatever is wrong, mail or password, the answer is the same.",
        body=Login,
        example={"email": _EMAIL, "password": _PASSWORD},
        refusals=(errors.Unauthenticated,),
    ),
    Operation(
        "POST",
        "/api/auth/password",
        "changePassword",
        "Change my password; all my other sessions end",
        {204: Answer("It is changed.")},
        who="signed in",
        body=PasswordChange,
        example={"current_password": _PASSWORD, "new_password": "six louder oars at noon"},
        refusals=(errors.Forbidden, errors.NoPassword, errors.WeakPassword),
    ),
    Operation(
        "GET",
        "/api/me",
        "showMe",
        "Who I am, and how I can sign in",
        {200: Answer("I.", MeAnswer)},
        who="signed in",
    ),
]
