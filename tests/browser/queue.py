"""Pushes the messages of the command line into a queue: queue.py ENDPOINT MESSAGE..."""

import sys

import zmq

context = zmq.Context()
queue = context.socket(zmq.PUSH)
queue.setsockopt(zmq.LINGER, 5000)
queue.connect(sys.argv[1])
for message in sys.argv[2:]:
    queue.send_string(message)
queue.close()
context.term()
