"""The wire between emulated hosts: carries packets at a given rate and after a given delay.

``python -m astro_deepgalaxy_horovod.scale.wire FD...`` relays packets between TUN devices, one for
each host, that its parent opened. Host number i has the address 198.18.0.(i + 1), of the block that
RFC 2544 sets aside for benchmarks. Each host is joined to one ideal switch by a full-duplex cable.
Every line of the standard input sets the wire, as JSON ``[BITS PER SECOND, SECONDS]``, and is
answered by an empty line; at its end the wire stops. The rate of zero is as fast as it goes.
"""

import contextlib
import heapq
import json
import os
import select
import sys
import time

_PACKET = 65536
_BURST = 64  # packets taken from one host before the others have their turn


def main():
    """Relay until the standard input ends."""
    os.nice(-10)  # a late packet is a slower wire
    cables = [int(fd) for fd in sys.argv[1:]]
    for fd in cables:
        os.set_blocking(fd, False)
    host_of = {fd: i for i, fd in enumerate(cables)}
    sent, received = [0.0] * len(cables), [0.0] * len(cables)  # when each cable is free again
    under_way = []
    rate, delay, number = 0.0, 0.0, 0
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        # Not poll: it waits for whole milliseconds.
        for fd in select.select([0, *cables], [], [], wait)[0]:
            if fd == 0:
                line = os.read(0, 4096)
                if not line:
                    return
                rate, delay = json.loads(line.splitlines()[-1])
                os.write(1, b"\n")
                continue
            here = host_of[fd]
            for _ in range(_BURST):
                try:
                    packet = os.read(fd, _PACKET)
                except BlockingIOError:
                    break
                there = packet[19] - 1 if packet[0] >> 4 == 4 else -1
                if not 0 <= there < len(cables):
                    continue
                now = time.monotonic()
                duration = 8 * len(packet) / rate if rate else 0.0
                sent[here] = max(now, sent[here]) + duration
                number += 1
                heapq.heappush(under_way, (sent[here], number, there, packet, duration))
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            when, _, there, packet, duration = heapq.heappop(under_way)
            if duration is not None:  # it is at the switch
                # That forwards while it receives: an idle cable adds no second duration.
                received[there] = max(when, received[there] + duration)
                number += 1
                heapq.heappush(under_way, (received[there] + delay, number, there, packet, None))
                continue
            # What finds no room is lost, as on a real wire; TCP sends it again.
            with contextlib.suppress(BlockingIOError):
                os.write(cables[there], packet)


if __name__ == "__main__":
    main()
