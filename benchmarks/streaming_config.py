"""gunicorn's settings in the benchmarks of the stream: gevent patches before anything else."""

from gevent import monkey

monkey.patch_all()

worker_class = "gevent"
control_socket_disable = True
