"""The HTTP server of the emulator: loopback only, keep-alive, no Nagle delay, faults on request."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from launch.emulator.faults import Faults, Rule
from launch.emulator.ibm import TokenService
from launch.emulator.jobs import Device
from launch.emulator.options import DeviceOptions
from launch.emulator.reply import Refused, Reply, Request, json_reply
from launch.emulator.services import SERVICES

HANG_SECONDS = 3600.0


class Emulator(ThreadingHTTPServer):
    """All devices of one emulator behind one port: its ``SERVICES`` and the emulator's own ``/emulator``."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, devices: list[DeviceOptions], token: str, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), _Handler)
        self.host = host
        self.faults = Faults()
        self.devices = {options.name: Device(options, self.faults) for options in devices}
        self.services: dict[str, Any] = {}
        for path, service in SERVICES.items():
            own = {name: device for name, device in self.devices.items() if device.options.kind == service.kind}
            if own:
                self.services[path] = service(own, token)
        self.requests: dict[str, int] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.server_address[1]}"

    @property
    def sessions(self) -> dict[str, dict[str, Any]]:
        """All sessions opened so far, by id; only one of the interfaces has such."""
        return self.services["ibm"].sessions if "ibm" in self.services else {}

    def expire_tokens(self) -> None:
        """Make every access token given out invalid."""
        for service in self.services.values():
            if isinstance(service, TokenService):
                service.expire_tokens()

    def state(self) -> dict[str, Any]:
        """Jobs, sessions and requests so far: what a test or a curious user may want to see. Holds no token."""
        return {
            "requests": dict(self.requests),
            "sessions": [
                {key: session[key] for key in ("id", "backend_name", "state", "accepting_jobs")}
                for session in self.sessions.values()
            ],
            "devices": {
                name: {
                    "reachable": device.reachable,
                    "most_at_once": device.most_at_once,
                    "received": device.received,
                    "jobs": [
                        {
                            "id": job.id, "status": job.status, "circuits": len(job.work), "charged": job.charged,
                            "session": job.session, "tag": job.tag, "shots": [shots for _, shots in job.work],
                        }
                        for job in list(device.jobs.values())
                    ],
                }
                for name, device in self.devices.items()
            },
        }  # fmt: skip

    def command(self, verb: str, asked: dict[str, Any]) -> Reply:
        """The emulator's own commands: state, fault, clear, calibrate, worsen, publish, expire."""
        if verb == "state":
            return json_reply(self.state())
        if verb == "fault":
            self.faults.add(Rule(**asked))
        elif verb == "clear":
            self.faults.clear()
        elif verb == "expire":
            self.expire_tokens()
        elif verb in {"calibrate", "worsen", "publish"}:
            chip = self.devices[asked["device"]].chip
            chip.worsen(float(asked["factor"])) if verb == "worsen" else getattr(chip, verb)()
        else:
            return json_reply({"message": f"no command {verb}"}, 404)
        return Reply(204)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Emulator

    def setup(self) -> None:
        super().setup()
        # Without this every keep-alive answer waits 40 ms for the other side's delayed acknowledgement.
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the state command tells what happened."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_PUT = do_GET

    def _serve(self) -> None:
        split = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        area, _, path = split.path.strip("/").partition("/")
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, "/" + path, dict(parse_qsl(split.query)), headers, body)
        if area == "emulator":
            try:
                self._send(self.server.command(path, json.loads(body) if body else {}))
            except (KeyError, TypeError, ValueError) as error:
                self._send(json_reply({"message": str(error)}, 400))
            return
        service = self.server.services.get(area)
        if service is None:
            self._send(json_reply({"message": "no such service"}, 404))
            return
        step = service.step(request)
        with self.server.lock:
            self.server.requests[step] = self.server.requests.get(step, 0) + 1
        fault = self.server.faults.at(step)
        if self._refuse(fault, request, path):
            return
        try:
            reply = service.serve(request)
        except Refused as refused:
            reply = refused.reply
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reply = json_reply({"message": f"bad request: {error}"}, 400)
        if fault is not None and fault.kind == "truncate":
            self._send(reply, cut=max(1, len(reply.body) // 2))
        elif fault is not None and fault.kind == "garbage":
            self._send(Reply(reply.status, b'{"not": what you expect', reply.content_type))
        else:
            self._send(reply)

    def _refuse(self, fault: Rule | None, request: Request, path: str) -> bool:
        if fault is None:
            dropped = [device for device in self.server.devices.values() if not device.reachable]
            if dropped and len(dropped) == len(self.server.devices):
                self._send(json_reply({"message": "service unavailable"}, 503))
                return True
            return False
        if fault.kind == "slow":
            time.sleep(fault.amount)
        elif fault.kind == "hang":
            time.sleep(HANG_SECONDS)
        elif fault.kind == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return True
        elif fault.kind in {"500", "401", "404"}:
            code = int(fault.kind)
            self._send(json_reply({"errors": [{"code": code, "message": "emulated fault"}]}, code))
            return True
        return False

    def _send(self, reply: Reply, cut: int | None = None) -> None:
        try:
            self.send_response(reply.status)
            self.send_header("content-type", reply.content_type)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body if cut is None else reply.body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
