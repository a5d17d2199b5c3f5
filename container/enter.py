"""What a container runs first: it gives up root where it was given it, and becomes the service.

Started as root (builder, scanner, operator-proxy: they reach the container engine), it goes on as the image's own user with the
group that owns the engine's socket, which is another one on every machine. With arguments it becomes what they say; `--healthy`
asks the service's /livez. Nothing but the standard library: it runs before the environment does.
"""

import http.client
import os
import sys

SOCKET = os.environ.get("KIOPS_ENGINE_SOCKET", "/var/run/docker.sock")


def healthy(service: str) -> int:
    """0 when the service's loop turns, 1 when not."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["KIOPS_PORT"]), timeout=4)
    try:
        connection.request("GET", f"/-/{service}/livez")
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1


def give_up_root() -> None:
    """Become the user `kiops` of this image, who may use the engine's socket when it is mounted."""
    import grp
    import pwd

    user = pwd.getpwnam("kiops")
    groups = {grp.getgrnam("kiops").gr_gid}
    if os.path.exists(SOCKET):
        groups.add(os.stat(SOCKET).st_gid)
    os.setgroups(sorted(groups))
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def main(arguments: list[str]) -> int:
    service = os.environ["KIOPS_SERVICE"]
    if arguments == ["--healthy"]:
        return healthy(service)
    if os.getuid() == 0 and service != "kiops":
        give_up_root()
    os.umask(0o027)
    command = arguments or ["python", "-m", service.replace("-", "_")]
    os.execvp(command[0], command)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
