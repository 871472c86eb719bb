"""What a ledger on a server has applied, as JSON lines: for whoever must account for every write.

    python -m services.api.export URL [PASSWORD_FILE]               {"last": 4711}
    python -m services.api.export URL [PASSWORD_FILE] --after 4711  every effect behind that one

With `--after`: a line {"effect": {...}} for each, then a line {"entry": {...}} for each entry that
they touched, as the ledger holds it now, then {"effects": N, "entries": M}: what ends without that
line is not whole. All of it is of one moment. Exit code 1, with one line, if the server cannot be
asked.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, func, inspect, literal, select, union_all
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api.sql_server import make_engine, reason, shown_url
from services.api.sql_tables import deleted, effects, entries

LAST = select(func.coalesce(func.max(effects.c.seq), 0))


async def lines(url: str, password: str, after: int | None) -> AsyncIterator[dict[str, Any]]:
    """The lines of an export; of the last effect's number alone when `after` is None.

    Raises:
        SQLAlchemyError, OSError, TimeoutError: the server cannot be asked.
    """
    # To stream a result is one statement, however long whoever reads it takes.
    engine = make_engine(url, password, "export", statement_ms=0)
    try:
        async with engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="REPEATABLE READ")
            used = await connection.run_sync(_used)
            if after is None:
                yield {"last": await connection.scalar(LAST) if used else 0}
            elif used:
                async for line in _since(connection, after):
                    yield line
            else:
                yield {"effects": 0, "entries": 0}
    finally:
        await engine.dispose()


def _used(connection: Connection) -> bool:
    """Whether an instance has ever reached this database."""
    return inspect(connection).has_table(effects.name)


async def _since(connection: AsyncConnection, after: int) -> AsyncIterator[dict[str, Any]]:
    counts = {"effects": 0, "entries": 0}
    applied = select(effects).where(effects.c.seq > after).order_by(effects.c.seq)
    async for row in await connection.stream(applied):
        counts["effects"] += 1
        yield {"effect": row._asdict()}
    touched = select(effects.c.entry_id).where(effects.c.seq > after)
    held = union_all(
        select(entries.c.id, entries.c.version, literal(0)).where(entries.c.id.in_(touched)),
        select(deleted.c.entry_id, deleted.c.version, literal(1)).where(
            deleted.c.entry_id.in_(touched)
        ),
    )
    async for id_, version, gone in await connection.stream(held):
        counts["entries"] += 1
        yield {"entry": {"id": id_, "version": version, "deleted": bool(gone)}}
    yield counts


async def main(arguments: argparse.Namespace) -> None:
    """Print the export."""
    file = arguments.password_file
    password = file.read_text().strip() if file else ""
    write = sys.stdout.buffer.write
    async for line in lines(arguments.url, password, arguments.after):
        write(msgspec.json.encode(line) + b"\n")


if __name__ == "__main__":
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m services.api.export",
        description=summary,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="postgresql://USER@HOST:PORT/NAME, or mariadb:")
    parser.add_argument("password_file", metavar="PASSWORD_FILE", type=Path, nargs="?")
    parser.add_argument("--after", type=int, metavar="N", help="the number of an effect")
    given = parser.parse_args()
    try:
        asyncio.run(main(given))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        sys.exit(f"{shown_url(given.url)}: {reason(error)}")
