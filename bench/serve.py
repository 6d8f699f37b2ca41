"""What `uvicorn service:app --workers N` does, N being the number of processors, but for one thing: each worker has a
listening socket of its own, so that the kernel spreads connections over them. Where they share one, a single worker may take
them all."""

import os
import socket
import sys

import uvicorn
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process


def listener():
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((sys.argv[1], int(sys.argv[2])))
    return listener


class Spread(Multiprocess):
    def init_processes(self):
        self.processes = [Process(self.config, [listener()]) for _ in range(self.config.workers)]
        for process in self.processes:
            process.start()


if __name__ == "__main__":
    workers = len(os.sched_getaffinity(0))
    Spread(uvicorn.Config("service:app", workers=workers, log_level="warning", access_log=False), sockets=[]).run()
