"""Runs `bulkhead` once for each JSON list of words on standard input, each in a process of its own.

What is no character of a text comes and goes as a lone surrogate. For each it prints a line of
JSON: exit code, standard output, standard error. To fork is what makes hundreds of them cheap.
"""

import json
import os
import sys
from tempfile import TemporaryFile

import bulkhead.drill.closed_load
import bulkhead.drill.run
import bulkhead.operate.reload  # noqa: F401 - what a verb imports when it runs is imported once
from bulkhead import cli


def one(words: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    with TemporaryFile() as out, TemporaryFile() as err:
        if not (pid := os.fork()):
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv[1:] = words
            os._exit(_run(words))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
    return code, texts[0], texts[1]


def _run(words: list[str]) -> int:
    try:
        return cli.main(words)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def main() -> None:
    """Run them all."""
    for line in sys.stdin:
        print(json.dumps(one(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
