"""Why a sign-in ended without anybody signed in."""

from typing import Literal

HOME = "/"
ACCOUNT = "/account"

Reason = Literal[
    "access_denied",  # the person said no
    "state_invalid",  # the way back does not belong to a sign-in that this browser began
    "issuer_invalid",  # another provider answers than the one that was asked
    "provider_refused",  # the provider reported an error or refused the code
    "provider_unavailable",  # the provider does not answer, or not sensibly
    "identity_invalid",  # the ID token does not prove who this is
    "domain_not_allowed",  # the person does not belong to the organisation that may sign in here
    "account_blocked",
    "store_unavailable",
    "too_often",  # so many sign-ins were begun from this address
    # Linking an identity to an account that exists already:
    "session_ended",  # nobody is signed in to that account any more
    "email_unverified",
    "email_mismatch",  # the provider's address is not the account's
    "identity_taken",  # it belongs to another account
    "already_linked",  # the account has another identity
]


class SignInFailed(Exception):
    """Nobody was signed in. `page` is the path that tells the person."""

    def __init__(self, reason: Reason, page: str = HOME) -> None:
        super().__init__(reason)
        self.reason = reason
        self.page = page

    @property
    def location(self) -> str:
        return f"{self.page}?auth_error={self.reason}"
