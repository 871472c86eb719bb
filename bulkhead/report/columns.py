"""Text in columns for a terminal, and bytes from outside made safe to print."""

from collections.abc import Container, Sequence

GREEN, YELLOW, RED, BOLD, DIM = 32, 33, 31, 1, 2


def table(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """Lines with the columns two spaces apart; those numbered in `left` to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def paint(words: str, code: int, colour: bool) -> str:
    """`words` in an ANSI style; unchanged without `colour`, or with code 0."""
    return f"\x1b[{code}m{words}\x1b[0m" if colour and words and code else words


def plain(words: str) -> str:
    """`words` with every control character shown as an escape: a request's bytes are hostile."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)


def shortened(words: str, most: int) -> str:
    """`words`, cut with an ellipsis where it is longer than `most` characters."""
    return words if len(words) <= most else words[: most - 1] + "…"


def ms(seconds: float | None) -> str:
    """Milliseconds with one decimal below a second, whole ones from there on; `-` for None."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:,.1f}" if abs(seconds) < 1 else f"{seconds * 1000:,.0f}"


def offset(seconds: float | None) -> str:
    """Milliseconds with one decimal always: moments are told apart by them; `-` for None."""
    return "-" if seconds is None else f"{seconds * 1000:,.1f}"


def share(part: float) -> str:
    """A share from 0 to 1 in percent; a small one never reads as none, nor most as all."""
    if 0 < part < 0.0005:
        return "<0.1%"
    if 0.9995 <= part < 1:
        return ">99.9%"
    return f"{part:.1%}"
