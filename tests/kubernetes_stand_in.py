"""What answers here in place of Kubernetes and of an object store; the clients that call them are the real ones.

Jobs are taken as Kubernetes takes them. They either fail at once, or are run as a node would run them: the container's
command in an empty folder, with the variables that its secret holds.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import yaml
from moto.server import ThreadedMotoServer


class StandIn:
    """A Kubernetes that has one node, which is this machine, and remembers what it was asked for.

    Attributes:
        jobs: specification of each job, as it was sent.
        folder: a job's own folder lies in it; None: every job fails.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.jobs: list[dict[str, Any]] = []
        self.secrets: dict[str, dict[str, str]] = {}
        self.status: dict[str, dict[str, int]] = {}

    def create(self, kind: str, body: dict[str, Any]) -> None:
        """Take in a secret or a job."""
        name = body["metadata"]["name"]
        if kind == "secrets":
            self.secrets[name] = {key: base64.b64decode(value).decode() for key, value in body["data"].items()}
        else:
            self.jobs.append(body)
            self.status[name] = {"active": 1} if self.folder else {"failed": 1}
            if self.folder:
                threading.Thread(target=self.run, args=(name, body)).start()

    def run(self, name: str, body: dict[str, Any]) -> None:
        """Run a job's container as a process."""
        (container,) = body["spec"]["template"]["spec"]["containers"]
        workdir = Path(str(self.folder), name)
        workdir.mkdir()
        given = {
            variable["name"]: self.secrets[variable["valueFrom"]["secretKeyRef"]["name"]][
                variable["valueFrom"]["secretKeyRef"]["key"]
            ]
            for variable in container["env"]
        }
        kept = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
        # What envs/Dockerfile sets, with the packages of this Python in place of those of the image.
        paths = [f"{workdir}/src", *filter(None, sys.path[1:])]
        image = {
            "PYTHONPATH": os.pathsep.join(paths),
            "PATH": f"{self.folder}/bin{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            [*container["command"], *container["args"]],
            cwd=workdir, env=kept | image | given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        (workdir / "terminal.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        self.status[name] = {"succeeded": 1} if done.returncode == 0 else {"failed": 1}

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return what Kubernetes answers to a request."""
        parts = re.fullmatch(r"/(?:api|apis/batch)/v1/namespaces/[\w-]+/(\w+)/?([\w-]*).*", path)
        if parts is None:
            raise ValueError(f"{method} {path} is not known")
        kind, name = parts.groups()
        if method == "POST":
            self.create(kind, body)
            return body
        if method == "GET" and kind == "jobs":
            return {"metadata": {"name": name}, "status": self.status[name]}
        return {"items": []} if method == "GET" else {"status": "Success"}


@contextmanager
def kubernetes(folder: Path, runs_jobs: bool) -> Iterator[tuple[StandIn, dict[str, str]]]:
    """Start a stand-in; yield it and the environment in which clients find it."""
    folder.mkdir()
    stand_in = StandIn(folder if runs_jobs else None)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            answer = json.dumps(stand_in.answer(self.command, self.path.partition("?")[0], body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - names that the standard library calls

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    # A job begins with the installation of the storage plugin, which is there.
    (folder / "bin").mkdir()
    (folder / "bin" / "pip").write_text("#!/bin/sh\n")
    (folder / "bin" / "pip").chmod(0o755)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = {"name": "here", "context": {"cluster": "here", "user": "nobody"}}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here", "contexts": [context],
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "nobody", "user": {}}],
    }  # fmt: skip
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    try:
        yield stand_in, {"KUBECONFIG": str(folder / "kubeconfig")}
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def object_store(bucket: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """Start an object store with one bucket; yield a client and the environment in which Snakemake finds it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url, key, secret = f"http://{host}:{port}", "key-of-the-test", "secret-of-the-test"
    try:
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1"
        )
        client.create_bucket(Bucket=bucket)
        yield client, {
            "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": url, "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": key,
            "SNAKEMAKE_STORAGE_S3_SECRET_KEY": secret,
        }  # fmt: skip
    finally:
        server.stop()
