"""Many people at their terminals, in one process: each has a client of its own in a pseudo-terminal.

    standard input    start ID COMMAND | enter ID | kill ID         a line each; COMMAND goes to sh
    standard output   {"id": …, "at": MS, "code": "ABCD-EFGH"}      once, when the whole dialogue is there
                      {"id": …, "at": MS, "ended": STATUS, "said": TEXT}   signal n as 128 + n
"""
import json
import os
import pty
import re
import select
import signal
import sys
import time

dialogue = re.compile(rb"code  ([A-Z]{4}-[A-Z]{4})[\s\S]*(?:: ?$|Waiting for)")
people = {}  # descriptor of the terminal -> [id, pid, what it has shown, whether a code was told]
ids = {}


def tell(name, **what):
    print(json.dumps({"id": name, "at": time.monotonic() * 1000, **what}), flush=True)


def obey(line):
    verb, name, *rest = line.split(" ", 2)
    if verb == "start":
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvp("sh", ["sh", "-c", "exec " + rest[0]])
        people[terminal] = [name, pid, b"", False]
        ids[name] = terminal
        poll.register(terminal, select.POLLIN | select.POLLHUP)
    elif name in ids:
        if verb == "enter":
            os.write(ids[name], b"\r")
        else:
            os.kill(people[ids[name]][1], signal.SIGKILL)


def hear(terminal):
    person = people[terminal]
    try:
        text = os.read(terminal, 65536)
    except OSError:
        text = b""
    if text:
        person[2] += text
        code = None if person[3] else dialogue.search(person[2])
        if code:
            person[3] = True
            tell(person[0], code=code.group(1).decode())
        return
    poll.unregister(terminal)
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(person[1], 0)[1])
    del people[terminal], ids[person[0]]
    tell(person[0], ended=status if status >= 0 else 128 - status, said=person[2][-500:].decode(errors="replace"))


poll = select.poll()
poll.register(0, select.POLLIN | select.POLLHUP)
orders = b""
while True:
    for descriptor, _ in poll.poll():
        if descriptor != 0:
            hear(descriptor)
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            for _, pid, *_ in people.values():
                os.kill(pid, signal.SIGKILL)
            sys.exit()
        *lines, orders = (orders + chunk).split(b"\n")
        for line in lines:
            obey(line.decode())
