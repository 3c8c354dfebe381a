"""gunicorn's settings for the browser tests: gevent patches before anything else is imported."""

from gevent import monkey

monkey.patch_all()

worker_class = "gevent"
graceful_timeout = 3
control_socket_disable = True
