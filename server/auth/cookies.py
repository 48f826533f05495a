"""HttpOnly cookies whose name, path and flags follow how this server is reached."""

from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from server.auth.origins import Origins


@dataclass(frozen=True, slots=True)
class Cookie:
    """Over https the name gets the `__Host-` prefix, with which browsers let no other host and no
    plain http page set it; that prefix demands `Path=/`. Over http the path is `path`.

    Secure is left off only over http on a loopback address in development, where a browser could
    not keep the cookie otherwise.
    """

    name: str
    path: str
    same_site: Literal["lax", "strict"]
    origins: Origins

    def read(self, request: Request) -> str:
        """Return what the browser sent, or ""."""
        return request.cookies.get(self._place(request)[0], "")

    def set(self, request: Request, response: Response, value: str, max_age: int) -> None:
        """Hand `value` to the browser for `max_age` seconds."""
        name, path, secure = self._place(request)
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path=path,
            secure=secure,
            httponly=True,
            samesite=self.same_site,
        )

    def clear(self, request: Request, response: Response) -> None:
        self.set(request, response, "", 0)

    def _place(self, request: Request) -> tuple[str, str, bool]:
        """Name, path and Secure flag for this request."""
        host = request.headers.get("host", "")
        if self.origins.seen_as(request.url.scheme, host).startswith("https://"):
            return f"__Host-{self.name}", "/", True
        return self.name, self.path, not self.origins.is_local(host)
