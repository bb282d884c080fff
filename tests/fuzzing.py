"""What fuzz tests share: how files are damaged, and how often that is tried."""

from hypothesis import HealthCheck, settings


def damaged(data: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    """The bytes after each edit: where (as a share), how many go, and what comes in their place."""
    for share, length, piece in damage:
        at = int(share * len(data))
        data = data[:at] + piece + data[at + length :]
    return data


def fuzz(examples: int) -> settings:
    """So many examples, however long one takes: machines are busy."""
    return settings(
        max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
