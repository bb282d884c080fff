"""How fuzz tests damage files."""


def damaged(data: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    """The bytes after each edit: where (as a share), how many go, and what comes in their place."""
    for share, length, piece in damage:
        at = int(share * len(data))
        data = data[:at] + piece + data[at + length :]
    return data
