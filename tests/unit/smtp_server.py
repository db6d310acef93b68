"""A real SMTP server (aiosmtpd) in a process of its own, for test_mail.py.

Prints its port, then one JSON object per event: {"event": "HELO"|"EHLO"|"RCPT"|"MAIL"|"DATA", ...}. Arguments are
answers of the DATA step, one for each mail, then always 250.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiosmtpd.smtp import SMTP


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


class Handler:
    def __init__(self, answers: list[str]) -> None:
        self.answers = answers

    async def handle_HELO(self, server: Any, session: Any, envelope: Any, name: str) -> str:
        session.host_name = name
        say(event="HELO", name=name)
        return "250 here"

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, name: str, responses: list[str]) -> list[str]:
        session.host_name = name
        say(event="EHLO", name=name)
        return responses

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("refused"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        say(
            event="DATA",
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            content=envelope.original_content.decode(),
        )
        return self.answers.pop(0) if self.answers else "250 OK"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        say(event="QUIT")
        return "221 bye"


async def main() -> None:
    handler = Handler(sys.argv[1:])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, loop=loop, hostname="mx.example.net"), "127.0.0.1", 0)
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
