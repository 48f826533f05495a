"""Everything about sign-in, put together from the settings and a database."""

from dataclasses import dataclass

from server.auth.development import DevelopmentProvider
from server.auth.development_people import ADMIN
from server.auth.guards import Guards
from server.auth.openid import OpenIDClient
from server.auth.origins import Origins
from server.auth.sessions import Sessions
from server.auth.signin import SignIn
from server.auth.tickets import Tickets
from server.auth.tokens import AccessTokens
from server.repo.mongo import Database
from server.repo.outbox import Outbox
from server.repo.sessions import SessionRepo
from server.repo.signins import SignInRepo
from server.repo.tickets import TicketRepo
from server.repo.users import Users
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Auth:
    origins: Origins
    guards: Guards
    signin: SignIn
    sessions: Sessions
    tickets: Tickets
    provider: DevelopmentProvider | None
    """The built-in provider, where it is the one that people sign in at."""


def build_auth(
    settings: Settings, database: Database, provider: DevelopmentProvider | None = None
) -> Auth:
    """Compose sign-in. `provider` replaces the built-in provider that would be made otherwise."""
    origins = Origins(settings)
    admin_emails = set(settings.admin_emails)
    if settings.uses_development_provider:
        provider = provider or DevelopmentProvider(settings, origins)
        admin_emails.add(ADMIN.email)
    client = provider.client() if provider else OpenIDClient.from_settings(settings)

    tokens, users, outbox = AccessTokens(settings), Users(database), Outbox(database)
    key = settings.jwt_secret.get_secret_value().encode()
    sessions = Sessions(SessionRepo(database), users, tokens, outbox, key)
    signin = SignIn(
        client,
        SignInRepo(database),
        users,
        sessions,
        outbox,
        admin_emails=admin_emails,
        redirect_uri=settings.google_redirect_url,
    )
    tickets = Tickets(TicketRepo(database))
    return Auth(origins, Guards(tokens), signin, sessions, tickets, provider)
