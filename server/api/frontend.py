"""The page: one HTML document under every address that it shows, and its files under /static."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

_IN_WHEEL = Path(__file__).parent.parent / "frontend"
_IN_REPOSITORY = Path(__file__).parent.parent.parent / "frontend"
FOLDER = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_REPOSITORY

ADDRESSES = (
    "/",
    "/showtimes/{id}",
    "/sign-in",
    "/bookings",
    "/account",
    "/admin/audit",
    "/admin/bookings",
    "/admin/people",
)


class _Revalidated(StaticFiles):
    """Modules change together: browsers ask each time, and mostly hear 304."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


def page_routes(folder: Path = FOLDER) -> list[BaseRoute]:
    async def index(request: Request) -> Response:
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})

    return [
        *(Route(address, index, methods=["GET"]) for address in ADDRESSES),
        Mount("/static", _Revalidated(directory=folder, check_dir=False)),
    ]
