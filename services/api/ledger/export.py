"""Print the effects of a ledger on a server, as JSON lines, to account for every write.

    python -m services.api.ledger.export URL [PASSWORD_FILE]               {"last": 4711}
    python -m services.api.ledger.export URL [PASSWORD_FILE] --after 4711  every later effect

With `--after`: a line {"effect": {...}} for each, then a line {"entry": {...}} for each entry that
they touched, as the ledger holds it now, then {"effects": N, "entries": M}: an export without that
line is not whole. All of it is of one moment. Exit code 1, with one line, if the server cannot be
asked.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec
from sqlalchemy import inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from services.api.ledger.server import make_engine, reason

LAST = text("SELECT coalesce(max(seq), 0) FROM effects")
APPLIED = text("SELECT * FROM effects WHERE seq > :after ORDER BY seq")
TOUCHED = "IN (SELECT entry_id FROM effects WHERE seq > :after)"
HELD = text(
    f"SELECT id, version, 0, amount FROM entries WHERE id {TOUCHED}"
    f" UNION ALL SELECT entry_id, version, 1, NULL FROM deleted WHERE entry_id {TOUCHED}"
)


async def export(url: str, password: str, after: int | None) -> None:
    """Print the lines of an export; the number of the last effect alone when `after` is None.

    SQLAlchemyError, OSError, TimeoutError if the server cannot be asked.
    """
    # A streamed result is one statement, however slowly its reader takes it.
    engine = make_engine(url, password, "export", statement_ms=0)
    counts = {"effects": 0, "entries": 0}
    try:
        async with engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="REPEATABLE READ")
            # Whether an instance has ever reached this database.
            used = await connection.run_sync(lambda on: inspect(on).has_table("effects"))
            if after is None:
                _print({"last": await connection.scalar(LAST) if used else 0})
                return
            if used:
                values = {"after": after}
                async for row in await connection.stream(APPLIED, values):
                    counts["effects"] += 1
                    _print({"effect": row._asdict()})
                async for id_, version, gone, amount in await connection.stream(HELD, values):
                    counts["entries"] += 1
                    entry = {"id": id_, "version": version, "deleted": bool(gone), "amount": amount}
                    _print({"entry": entry})
            _print(counts)
    finally:
        await engine.dispose()


def _print(line: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")


if __name__ == "__main__":
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m services.api.ledger.export",
        description=summary,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="postgresql://USER@HOST:PORT/NAME, or mariadb:")
    parser.add_argument("password_file", metavar="PASSWORD_FILE", type=Path, nargs="?")
    parser.add_argument("--after", type=int, metavar="N", help="the number of an effect")
    given = parser.parse_args()
    try:
        password = given.password_file.read_text().strip() if given.password_file else ""
        asyncio.run(export(given.url, password, given.after))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        sys.exit(f"{make_url(given.url).render_as_string()}: {reason(error)}")
