"""gunicorn's settings in the tests: gevent patches before anything else is imported."""

from gevent import monkey

monkey.patch_all()

control_socket_disable = True
