"""The chart as Helm renders it: how the engines are configured and what each process is told.

The bench takes both from here, so it measures the settings that `helm install` gives and no others;
what it changes are addresses, ports and the limiter's tier.
"""

import base64
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
_CHART: Final = ROOT / "charts" / "argus"
_KUBERNETES: Final = "1.34.0"
_TEMPLATE: Final = ("helm", "template", "argus", "--namespace", "argus")
_TIMEOUT: Final = 60

Manifest = Mapping[str, Any]
Values = Mapping[str, object]
"""Values of the chart by their paths."""


@dataclass(frozen=True, slots=True)
class Chart:
    """All manifests of a release."""

    manifests: Sequence[Manifest]

    def find(self, kind: str, component: str) -> Manifest:
        """The manifest of that kind of release `argus`; raises LookupError."""
        for manifest in self.manifests:
            if manifest["kind"] == kind and manifest["metadata"]["name"] == f"argus-{component}":
                return manifest
        raise LookupError(f"the chart renders no {kind} argus-{component}")

    def files(self, engine: str) -> dict[str, str]:
        """The engine's configuration files by name."""
        return dict(self.find("ConfigMap", engine)["data"])

    def container(self, kind: str, component: str) -> Manifest:
        """The component's container."""
        found: Manifest = self.find(kind, component)["spec"]["template"]["spec"]["containers"][0]
        return found

    def environment(self, kind: str, component: str) -> dict[str, str]:
        """The variables of the component's container, those out of Secrets in clear."""
        return {
            variable["name"]: str(variable["value"])
            if "value" in variable
            else self._secret(variable["valueFrom"]["secretKeyRef"])
            for variable in self.container(kind, component)["env"]
            if "value" in variable or "secretKeyRef" in variable["valueFrom"]
        }

    def _secret(self, reference: Mapping[str, str]) -> str:
        for manifest in self.manifests:
            if manifest["kind"] == "Secret" and manifest["metadata"]["name"] == reference["name"]:
                return base64.b64decode(manifest["data"][reference["key"]]).decode()
        raise LookupError(f"the chart renders no Secret {reference['name']}")


def render(values: Values) -> Chart:
    """The chart's default values with the built-in engines, and `values` by their paths.

    Raises RuntimeError with what Helm says where it refuses.
    """
    chosen = {"engines.enabled": True, **values}
    settings = [f"--set-json={path}={json.dumps(value)}" for path, value in chosen.items()]
    done = subprocess.run(  # noqa: S603
        [*_TEMPLATE, str(_CHART), "--kube-version", _KUBERNETES, *settings],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"helm does not render the chart: {done.stderr.strip()}")
    return Chart([manifest for manifest in yaml.safe_load_all(done.stdout) if manifest])
