"""A mail server for the tests: smtp.py PORT none|starttls|tls CERTIFICATE KEY FOLDER. Keeps what it takes in FOLDER, a Maildir."""

import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import AuthResult

port, mode, certificate, key, folder = sys.argv[1:]
tls = None
if mode != "none":
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)


def authenticate(_server, _session, _envelope, _mechanism, data):
    right = (data.login, data.password) == (b"backup", b"mArKeDs3cretMail")
    # Not handled: the server is to say so.
    return AuthResult(success=right, handled=right)


server = Controller(
    Mailbox(folder),
    hostname="127.0.0.1",
    port=int(port),
    authenticator=authenticate,
    auth_required=mode != "none",
    auth_require_tls=mode == "starttls",
    ssl_context=tls if mode == "tls" else None,
    tls_context=tls if mode == "starttls" else None,
    require_starttls=mode == "starttls",
)
server.start()
signal.pause()
