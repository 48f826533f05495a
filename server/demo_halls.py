"""The rooms of the demo cinemas, drawn row by row from the screen backwards.

One letter is one seat, a dot is a free column:

    s standard    p premium    o sofa    b balcony
    w wheelchair space (standard)        a wheelchair space (balcony)
"""

from server.catalogue import Layout, Row, Seat

_CATEGORIES = {
    "s": "standard",
    "w": "standard",
    "p": "premium",
    "o": "sofa",
    "b": "balcony",
    "a": "balcony",
}


def _row(label: str, drawing: str, x: float = 0) -> Row:
    """Number the seats of a row from the left; `x` moves the whole row to the right."""
    drawn = [(x + column, letter) for column, letter in enumerate(drawing) if letter != "."]
    return Row(
        label,
        tuple(
            Seat(f"{label}{number}", column, _CATEGORIES[letter], accessible=letter in "wa")
            for number, (column, letter) in enumerate(drawn, start=1)
        ),
    )


def studio() -> Layout:
    """60 seats on the flat, one aisle, and a projection booth that bites into the last row."""
    return Layout(
        (
            _row("A", "ww..ssssss"),
            _row("B", "sss.ssssss"),
            _row("C", "sss.ssssss"),
            _row("D", "sss.ssssss"),
            _row("E", "ppp.pppppp"),
            _row("F", "ppp.pppppp"),
            _row("G", "sss.ssss"),
        )
    )


def classic() -> Layout:
    """296 seats between two aisles; the best of them are the middle of the hall."""
    wheelchairs = "ww....ssssssssss....ww"
    standard = "sssss.ssssssssss.sssss"
    premium = "sssss.pppppppppp.sssss"
    unbroken = "ssssssssssssssssssssss"
    return Layout(
        (
            _row("A", wheelchairs),
            *(_row(label, standard) for label in "BCDEF"),
            *(_row(label, premium) for label in "GHJKL"),
            *(_row(label, standard) for label in "MNP"),
            _row("Q", unbroken),
        )
    )


def fan() -> Layout:
    """155 seats in rows that widen to the back, each half a seat beside the row before it."""
    halves = [(4 + n // 2, 4 + (n + 1) // 2) for n in range(11)]
    rows = []
    for n, (left, right) in enumerate(halves):
        letter = "p" if n in (6, 7, 8) else "s"
        drawing = f"{letter * left}.{letter * right}"
        if n == 0:
            drawing = f"w{drawing[1:-1]}w"
        rows.append(_row("ABCDEFGHJKL"[n], drawing, x=(10 - n) / 2))
    return Layout((*rows, _row("M", "oo.oo.oo.oo.oo.oo", x=1)))


def grand() -> Layout:
    """1,098 seats: stalls that taper towards the stage, and a balcony."""
    stalls = []
    for n, label in enumerate("ABCDEFGHJKLMNPQRSTUVWXYZ"):
        cut = max(0, 5 - n)
        side = "s" * (8 - cut)
        middle = ("p" if label in "HJKLMN" else "s") * 16
        stalls.append(_row(label, f"{side}.{middle}.{side}", x=cut))
    stalls[-1] = _row("Z", "wwssssss.ssssssssssssssss.ssssssww")
    balcony = [
        _row(f"B{letter}", f"{'b' * 7}.{'b' * 16}.{'b' * 7}", x=1) for letter in "BCDEFGHJKLM"
    ]
    front = _row("BA", f"aa{'b' * 5}.{'p' * 16}.{'b' * 5}aa", x=1)
    return Layout((*stalls, front, *balcony))
