"""A frame that was built once is what a WebSocket library reads, and what it would have written."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from server.realtime import frames

SIZES = (0, 1, 125, 126, 127, 200, 65535, 65536, 65537, 300_000)
"""Payloads around the borders of the three ways in which a length is written (RFC 6455, 5.2)."""


def read(data: bytes) -> Frame:
    """Return the one frame that a client's parser finds in `data`."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    (frame,) = client.events_received()
    assert isinstance(frame, Frame)
    return frame


@pytest.mark.parametrize("size", SIZES)
def test_a_client_reads_what_was_written(size: int) -> None:
    text = "x" * size
    frame = read(frames.websocket(text))
    assert (frame.opcode, frame.fin, frame.rsv1) == (Opcode.TEXT, True, False)
    assert bytes(frame.data).decode() == text


@pytest.mark.parametrize("size", SIZES)
def test_it_is_to_the_byte_what_the_library_writes(size: int) -> None:
    server = ServerProtocol(state=State.OPEN)
    server.send_text(b"x" * size)
    assert frames.websocket("x" * size) == b"".join(server.data_to_send())


@pytest.mark.parametrize("size", [62, 63, 32767, 32768])
def test_the_length_is_that_of_the_bytes(size: int) -> None:
    """Two bytes a letter: a border that counts characters would be met too late."""
    assert bytes(read(frames.websocket("é" * size)).data).decode() == "é" * size


def test_a_step_says_the_same_in_both_ways() -> None:
    step = frames.step(frames.heartbeat(7, 1), "e1", 7)
    assert bytes(read(step.wire).data).decode() == step.frame
