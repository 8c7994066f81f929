"""Executes the very WorkflowTemplate: DAGs, fan-out, recursion, retries, exit handler, as Argo documents them.

Kinds of templates, fields and expressions that the workflow does not use are not known here and end the test.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from tests.kubernetes.expressions import depends_on, evaluated, filled, holds, satisfied
from tests.kubernetes.pods import Node, Pod

_SPEC = {
    "entrypoint", "onExit", "parallelism", "serviceAccountName", "automountServiceAccountToken", "executor", "podGC",
    "ttlStrategy", "securityContext", "podSpecPatch", "arguments", "volumes", "templates", "artifactRepositoryRef",
}  # fmt: skip
_TEMPLATE = {
    "name", "dag", "inputs", "outputs", "metadata", "activeDeadlineSeconds", "retryStrategy", "podSpecPatch",
    "container",
}  # fmt: skip
_TASK = {"name", "template", "depends", "when", "withParam", "arguments"}


class Workflow:
    """A workflow of a WorkflowTemplate.

    Args:
        template: the WorkflowTemplate.
        node: runs its pods.
        name: of the workflow.
        arguments: of its parameters.
    """

    def __init__(self, template: Mapping[str, Any], node: Node, name: str, arguments: Mapping[str, str]) -> None:
        self._spec, self.node = template["spec"], node
        assert set(self._spec) <= _SPEC, set(self._spec) - _SPEC
        declared = {one["name"]: one.get("value") for one in self._spec["arguments"]["parameters"]}
        assert set(arguments) <= set(declared)
        self._globals = {"workflow.name": name} | {
            f"workflow.parameters.{key}": value for key, value in {**declared, **arguments}.items()
        }
        self._templates = {one["name"]: one for one in self._spec["templates"]}
        self._pods = threading.Semaphore(self._spec["parallelism"])
        self.retries: list[tuple[str, str, int | None]] = []  # template, phase, exit status of what was tried again
        self.status = ""

    def run(self) -> str:
        """Run it, then its exit handler; the phase of the workflow."""
        self.status, _ = self._template(self._spec["entrypoint"], {})
        self._globals["workflow.status"] = self.status
        handled, _ = self._template(self._spec["onExit"], {})
        return self.status if handled == "Succeeded" else handled

    def template(self, name: str) -> dict[str, Any]:
        """A template, as it will be run."""
        return self._templates[name]

    def _template(self, name: str, arguments: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Run a template: its phase and output parameters."""
        template = self._templates[name]
        assert set(template) <= _TEMPLATE, set(template) - _TEMPLATE
        wanted = {one["name"] for one in template.get("inputs", {}).get("parameters", ())}
        assert wanted == set(arguments), f"{name} wants {wanted} and gets {set(arguments)}"
        scope = {**self._globals, **{f"inputs.parameters.{key}": value for key, value in arguments.items()}}
        ready = filled(template, scope, ("workflow.", "inputs."))
        if "dag" in ready:
            return self._dag(ready["dag"]["tasks"]), {}
        return self._retried(ready, arguments)

    def _dag(self, tasks: list[dict[str, Any]]) -> str:
        results: dict[str, str] = {}
        scope: dict[str, str] = {}
        running: dict[Future[tuple[str, dict[str, str]]], str] = {}
        left = {task["name"]: task for task in tasks}
        with ThreadPoolExecutor(len(tasks)) as threads:
            while left or running:
                failed = any(result in ("Failed", "Error") for result in results.values())
                for name, task in list(left.items()):
                    assert set(task) <= _TASK, set(task) - _TASK
                    needs = task.get("depends", "")
                    if not depends_on(needs) <= set(results):
                        continue
                    del left[name]
                    if failed or (needs and not satisfied(needs, results)):  # failFast: nothing new is begun
                        results[name] = "Omitted"
                    else:
                        running[threads.submit(self._task, filled(task, scope, ("tasks.",)))] = name
                if running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        name = running.pop(future)
                        results[name], outputs = future.result()
                        scope |= {f"tasks.{name}.outputs.parameters.{key}": value for key, value in outputs.items()}
        for phase in ("Error", "Failed"):
            if phase in results.values():
                return phase
        return "Succeeded"

    def _task(self, task: dict[str, Any]) -> tuple[str, dict[str, str]]:
        if "when" in task and not holds(task["when"]):
            return "Skipped", {}
        if "withParam" not in task:
            return self._template(task["template"], _arguments(task))
        items = json.loads(task["withParam"])
        if not items:
            return "Skipped", {}
        each = [
            filled(task["arguments"], {f"item.{key}": value for key, value in item.items()}, ("item",))
            for item in items
        ]
        with ThreadPoolExecutor(len(items)) as threads:
            found = list(
                threads.map(lambda one: self._template(task["template"], _arguments({"arguments": one})), each)
            )
        phases = [phase for phase, _ in found]
        return next((phase for phase in ("Error", "Failed") if phase in phases), "Succeeded"), {}

    def _retried(self, template: dict[str, Any], arguments: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        strategy = template["retryStrategy"]
        assert set(strategy) == {"limit", "expression", "backoff"}
        assert "{{" not in json.dumps(template), f"unresolved: {template}"
        for tried in range(int(strategy["limit"]) + 1):
            with self._pods:
                phase, pod = self.node.run(self._spec, template, arguments)
            if phase == "Succeeded":
                return phase, _outputs(template, pod)
            last = {"status": phase, "exitCode": "-1" if phase == "Error" else str(pod.exit_code)}
            if tried == int(strategy["limit"]) or not evaluated(strategy["expression"], {"lastRetry": last}):
                break
            self.retries.append((template["name"], phase, pod.exit_code))
        return phase, {}


def _arguments(task: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in task.get("arguments", {}).get("parameters", ())}


def _outputs(template: Mapping[str, Any], pod: Pod) -> dict[str, str]:
    return {
        one["name"]: open(pod.here(one["valueFrom"]["path"])).read()
        for one in template.get("outputs", {}).get("parameters", ())
    }
