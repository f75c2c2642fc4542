"""python3-paramiko as its users have it: SSHClient, which asks on the terminal what the server asks beside the key.

    paramiko-login.py PORT SOURCE USER KEY COMMAND
"""
import socket
import sys

import paramiko

port, source, user, key, command = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
try:
    client.connect(
        "127.0.0.1",
        sock=socket.create_connection(("127.0.0.1", int(port)), source_address=(source, 0)),
        username=user,
        key_filename=key,
        allow_agent=False,
        look_for_keys=False,
        auth_timeout=60,
    )
except paramiko.AuthenticationException as error:
    sys.exit(f"refused: {error}")
_, output, _ = client.exec_command(command)
print(output.read().decode(), end="")
client.close()
