"""gunicorn's settings in the tests of workers without gevent: nothing of this repository's file."""

control_socket_disable = True
