"""A mail server for the stories: STARTTLS and a login, or nothing; tells each mail as a JSON line.

usage: smtp.py CERTIFICATE KEY, or without arguments for one without TLS
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult


class Telling:
    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": mail["subject"],
            "text": mail.get_content(),
            "tls": session.ssl is not None,
            "login": session.auth_data,
        }
        print(json.dumps(told), flush=True)
        return "250 kept"


def check(server, session, envelope, mechanism, data):
    right = data.login == b"keyferry" and data.password == b"mail-password"
    return AuthResult(success=right, auth_data=data.login.decode())


async def main():
    settings = {}
    if len(sys.argv) == 3:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        settings = {
            "tls_context": context,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": check,
        }
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Telling(), hostname="localhost", **settings), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
