"""The demo catalogue: invented films in invented cinemas, with showtimes for a week to come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from server.catalogue import Auditorium, Cinema, Layout, Movie, Showtime
from server.demo_halls import classic, fan, grand, studio
from server.models import Money
from server.repo.cinemas import CinemaRepo
from server.repo.layouts import LayoutRepo
from server.repo.mongo import Database
from server.repo.movies import MovieRepo
from server.repo.showtimes import ShowtimeRepo

DAYS = 7
TRAILERS = timedelta(minutes=15)

MOVIES = (
    Movie(
        id="mov_rainmap",
        title="The Woman Who Mapped the Rain",
        synopsis=(
            "A retired surveyor draws where every drop will fall, and her village laughs, until "
            "the one dry spot on her map turns out to be a house that nobody remembers building."
        ),
        genres=("Drama", "Mystery"),
        duration_min=118,
        rating="6+",
        release_date=date(2026, 11, 13),
        accent="#2f6f8f",
        director="Ilse Marrowby",
        cast=("Tova Quillfeather", "Bram Ostendal", "Nadia Okparaeke-Lund"),
    ),
    Movie(
        id="mov_politeheist",
        title="An Extremely Polite Heist",
        synopsis=(
            "Four librarians plan to steal one painting, return it cleaned, and leave a thank-you "
            "note. The guard who catches them has only one condition: he wants to help."
        ),
        genres=("Comedy", "Crime"),
        duration_min=104,
        rating="6+",
        release_date=date(2026, 10, 30),
        accent="#c8553d",
        director="Desmond Applegarth",
        cast=("Fenella Strand", "Yusuf Harrowgate", "Mei-Lin Castellane"),
    ),
    Movie(
        id="mov_umber",
        title="Umber Station",
        synopsis=(
            "Eleven people keep a relay alive on a moon without a name. When a twelfth voice joins "
            "the evening roll call, the station has to decide who has been there longest."
        ),
        genres=("Science fiction", "Thriller"),
        duration_min=139,
        rating="12+",
        release_date=date(2026, 10, 9),
        accent="#7a4b94",
        director="Cassia Verhoeff-Nkemelu",
        cast=("Orla Tennant-Bey", "Piotr Wilkansky", "Samira Dovecote"),
    ),
    Movie(
        id="mov_gransmoon",
        title="Gran Against the Moon",
        synopsis=(
            "The moon keeps Juno's baby brother awake, so her grandmother climbs up to have a word "
            "with it. A hand-painted adventure for everyone who was ever told to go to sleep."
        ),
        genres=("Animation", "Family"),
        duration_min=87,
        rating="0+",
        release_date=date(2026, 9, 18),
        accent="#e0a526",
        director="Pim Larkenvale",
        cast=("Dame Hyacinth Rook", "Teddy Abiola-Finch"),
    ),
    Movie(
        id="mov_lasttram",
        title="The Last Tram Does Not Stop Here",
        synopsis=(
            "A night driver finds the same passenger on an empty tram, one stop further every "
            "evening. By the end of the line she will have to ask where he got on."
        ),
        genres=("Horror", "Romance"),
        duration_min=96,
        rating="16+",
        release_date=date(2026, 8, 21),
        accent="#3a7d44",
        director="Anselm Grauwald",
        cast=("Lotte Zimmerhagen", "Kofi Brandreth"),
    ),
    Movie(
        id="mov_brass",
        title="Brass, Bread and Thunder",
        synopsis=(
            "A bakery, a marching band and a thunderstorm share one small square for one long "
            "summer. A musical in which nobody can agree on the key, or on who burnt the rolls."
        ),
        genres=("Musical", "Comedy"),
        duration_min=127,
        rating="0+",
        release_date=date(2026, 7, 3),
        accent="#b5485d",
        director="Rosalind Tamburello",
        cast=("Eztli Moravec", "Jonah Pennywhistle", "Greta Sundqvist-Amadi"),
    ),
)


@dataclass(frozen=True)
class Hall:
    """An auditorium and its day: when films start, and which seats are never sold."""

    key: str
    name: str
    layout: Layout
    clocks: tuple[str, ...]
    blocked: frozenset[str]

    @property
    def auditorium(self) -> Auditorium:
        return Auditorium(f"aud_{self.key}", self.name, self.layout.id)


@dataclass(frozen=True)
class House:
    """A cinema and what it charges, in minor units by category."""

    cinema: Cinema
    halls: tuple[Hall, ...]
    currency: str
    prices: dict[str, int]


def _house(halls: tuple[Hall, ...], currency: str, prices: dict[str, int], **cinema: str) -> House:
    auditoriums = tuple(hall.auditorium for hall in halls)
    return House(Cinema(**cinema, auditoriums=auditoriums), halls, currency, prices)


def houses() -> tuple[House, ...]:
    return (
        _house(
            (
                Hall(
                    "lantern-grand",
                    "Grand Hall",
                    grand(),
                    ("12:00", "16:00", "20:00"),
                    frozenset({"Q9", "Q10", "BM1", "BM30"}),
                ),
                Hall(
                    "lantern-studio",
                    "Studio",
                    studio(),
                    ("10:30", "14:45", "18:15", "21:30"),
                    frozenset({"G7"}),
                ),
            ),
            "GBP",
            {"standard": 1250, "premium": 1650, "balcony": 990},
            id="cin_lantern",
            name="The Lantern",
            city="London",
            address="14 Wickmaker Row, London",
            time_zone="Europe/London",
        ),
        _house(
            (
                Hall(
                    "morgenrot-saal",
                    "Großer Saal",
                    classic(),
                    ("11:30", "14:30", "17:30", "20:30"),
                    frozenset({"Q11", "Q12"}),
                ),
                Hall(
                    "morgenrot-faecher",
                    "Fächer",
                    fan(),
                    ("13:00", "16:15", "19:30", "22:45"),
                    frozenset({"L1", "L18"}),
                ),
            ),
            "EUR",
            {"standard": 1150, "premium": 1390, "sofa": 1790},
            id="cin_morgenrot",
            name="Kino Morgenrot",
            city="Berlin",
            address="Lampenstraße 7, Berlin",
            time_zone="Europe/Berlin",
        ),
    )


async def seed(database: Database, today: date | None = None) -> int:
    """Store what is missing of the demo catalogue; return how many showtimes that added.

    Ids and programme follow from the date alone, and what is there stays as it is: run at each
    start, it keeps a week of showtimes ahead. `today` defaults to the date at each cinema.
    """
    theirs = houses()
    layouts = LayoutRepo(database)
    await layouts.add_missing([hall.layout for house in theirs for hall in house.halls])
    await MovieRepo(database).add_missing(list(MOVIES))
    await CinemaRepo(database).add_missing([house.cinema for house in theirs])
    planned = [showtime for house in theirs for showtime in _programme(house, today)]
    return await ShowtimeRepo(database, layouts).add_missing(planned)


def _programme(house: House, today: date | None) -> Iterator[Showtime]:
    first = today or datetime.now(ZoneInfo(house.cinema.time_zone)).date()
    for day in (first + timedelta(days=ahead) for ahead in range(DAYS)):
        for place, hall in enumerate(house.halls):
            for turn, clock in enumerate(hall.clocks):
                # Half the films in each hall, and all of them one turn further every day.
                pick = day.toordinal() + turn + place * len(MOVIES) // 2
                yield _showtime(house, hall, MOVIES[pick % len(MOVIES)], day, clock)


def _showtime(house: House, hall: Hall, movie: Movie, day: date, clock: str) -> Showtime:
    starts_at = house.cinema.local(day, time.fromisoformat(clock))
    return Showtime(
        id=f"sho_{hall.key}-{day:%Y%m%d}-{clock.replace(':', '')}",
        movie=movie,
        cinema=house.cinema,
        auditorium=hall.auditorium,
        layout=hall.layout,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(minutes=movie.duration_min) + TRAILERS,
        prices={
            category: Money(currency=house.currency, minor=house.prices[category])
            for category in sorted(hall.layout.categories)
        },
        blocked=hall.blocked,
    )
