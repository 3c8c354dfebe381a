"""The app of streaming.py behind gevent's own server: python -m tests.apps.greenlets PORT PATCHED.

PATCHED is "yes", as whoever runs it has it, or "no".
"""

import sys

from gevent import monkey

if sys.argv[2] == "yes":
    monkey.patch_all()

from gevent.pywsgi import WSGIServer

from .streaming import app

WSGIServer(("127.0.0.1", int(sys.argv[1])), app).serve_forever()
