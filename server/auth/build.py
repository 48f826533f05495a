"""Everything about sign-in, put together from the settings and a database."""

import hmac
from dataclasses import dataclass

from server.auth.accounts import Accounts
from server.auth.development import DevelopmentProvider
from server.auth.development_people import ADMIN
from server.auth.guards import Guards
from server.auth.keys import KeyRing
from server.auth.links import Links
from server.auth.login_throttle import LoginThrottle, Tries
from server.auth.openid import OpenIDClient
from server.auth.origins import Origins
from server.auth.passwords import Passwords
from server.auth.people import People
from server.auth.sessions import Sessions
from server.auth.signin import SignIn
from server.auth.tickets import Tickets
from server.auth.tokens import AccessTokens
from server.repo.accounts import AccountRepo
from server.repo.identities import Identities
from server.repo.mongo import Database
from server.repo.outbox import Outbox
from server.repo.people import PeopleRepo
from server.repo.sessions import SessionRepo
from server.repo.signins import SignInRepo
from server.repo.tickets import TicketRepo
from server.repo.users import Users
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Auth:
    keys: KeyRing
    origins: Origins
    guards: Guards
    signin: SignIn
    sessions: Sessions
    accounts: Accounts
    people: People
    tickets: Tickets
    provider: DevelopmentProvider | None
    """The built-in provider, where it is the one that people sign in at."""


def build_auth(
    settings: Settings,
    database: Database,
    provider: DevelopmentProvider | None = None,
    *,
    tries: Tries | None = None,
    passwords: Passwords | None = None,
) -> Auth:
    """Compose sign-in. `provider` replaces the built-in provider that would be made otherwise.

    Without `tries` passwords may be tried as often as one likes.
    """
    origins = Origins(settings)
    admin_emails = set(settings.admin_emails)
    if settings.uses_development_provider:
        provider = provider or DevelopmentProvider(settings, origins)
        admin_emails.add(ADMIN.email)
    client = provider.client() if provider else OpenIDClient.from_settings(settings)

    keys, users, outbox = KeyRing.from_settings(settings), Users(database), Outbox(database)
    tokens = AccessTokens(settings, keys)
    sessions = Sessions(SessionRepo(database), users, tokens, outbox, settings.secrets)
    signin = SignIn(
        client,
        SignInRepo(database),
        users,
        sessions,
        Links(Identities(database), sessions, outbox),
        outbox,
        admin_emails=admin_emails,
        redirect_uri=settings.google_redirect_url,
    )
    key = hmac.digest(settings.secrets[0].encode(), b"rowlock accounts", "sha256")
    accounts = Accounts(
        AccountRepo(database),
        passwords or Passwords(),
        sessions,
        LoginThrottle(tries, key),
        outbox,
        key,
    )
    tickets = Tickets(TicketRepo(database))
    people = People(PeopleRepo(database, outbox, admin_emails), users, sessions)
    return Auth(
        keys,
        origins,
        Guards(tokens, sessions),
        signin,
        sessions,
        accounts,
        people,
        tickets,
        provider,
    )
