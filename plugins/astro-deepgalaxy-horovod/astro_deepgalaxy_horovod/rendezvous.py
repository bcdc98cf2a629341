"""Where workers of Horovod's Gloo find each other."""

import contextlib

__all__ = ["rendezvous"]


@contextlib.contextmanager
def rendezvous(slots):
    """A server at which workers meet.

    Parameters
    ----------
    slots : list of (str, int)
        Hosts and the number of workers on each.

    Yields
    ------
    port : int
        Of the server.
    variables : list of dict
        What the environment must tell each worker of its place, by rank.
    """
    from horovod.runner.common.util.hosts import HostInfo, get_host_assignments
    from horovod.runner.gloo_run import create_slot_env_vars
    from horovod.runner.http.http_server import RendezvousServer

    assigned = get_host_assignments(
        [HostInfo(host, number) for host, number in slots], sum(number for _, number in slots)
    )
    server = RendezvousServer()
    port = server.start()
    try:
        # It lets five wait, and those whom it turns away come back after seconds.
        server._httpd.socket.listen(1024)
        server.init(assigned)
        yield port, [create_slot_env_vars(slot) for slot in assigned]
    finally:
        server.stop()
        server._httpd.server_close()
