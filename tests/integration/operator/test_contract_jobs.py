"""What the logic relies on of Jobs: held by the unit tests' fake and a real API server."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from argus_operator import jobs
from argus_operator.adapters.jobs import ReplayJobs
from argus_operator.adapters.kubernetes import Kubernetes
from argus_operator.jobs import Phase, Run, Template
from argus_operator.models.common import Meta
from argus_operator.models.replay import ReplaySpec
from argus_operator.ports import Jobs

from tests.integration.operator.apiserver import OPERATOR, RELEASE, ApiServer
from tests.integration.operator.contracts import BOTH
from tests.integration.operator.process import JOB
from tests.unit.operator.fakes import FakeJobs

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]

SPEC = ReplaySpec.model_validate({"pipelineRef": {"name": "web"}})


def some_replay() -> Meta:
    uid = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}"
    return Meta(name="again", namespace="n", uid=uid, creation_timestamp=datetime.now(UTC))


async def of(port: Jobs, meta: Meta) -> Run | None:
    return next((run for run in await port.runs() if run.uid == meta.uid), None)


class TestJobs:
    @pytest_asyncio.fixture(loop_scope="session")
    async def port(
        self, kind: str, api: ApiServer, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Jobs]:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))
        async with Kubernetes() as cluster:
            yield FakeJobs() if kind == "fake" else ReplayJobs(cluster, RELEASE)

    @BOTH
    async def test_a_job_is_made_once_however_often_it_is_asked_for(self, port: Jobs) -> None:
        meta = some_replay()
        assert await of(port, meta) is None
        for _ in range(2):
            await port.create(Template(JOB).job(meta, SPEC))
        run = await of(port, meta)

        assert run is not None
        assert run.name == jobs.job_name(meta)
        assert (run.namespace, run.replay, run.pipeline) == ("n", "again", "web")
        assert (run.phase, run.deleting, run.failures) == (Phase.RUNNING, False, 0)
        assert run.ended is None

    @BOTH
    async def test_a_job_without_pods_says_nothing(self, port: Jobs) -> None:
        meta = some_replay()
        await port.create(Template(JOB).job(meta, SPEC))
        run = await of(port, meta)

        assert run is not None
        assert await port.word(run) == jobs.SILENT

    @BOTH
    async def test_a_deleted_job_stays_until_its_pods_have_ended(self, port: Jobs) -> None:
        meta = some_replay()
        await port.create(Template(JOB).job(meta, SPEC))
        run = await of(port, meta)
        assert run is not None
        for _ in range(2):
            await port.delete(run)

        leaving = await of(port, meta)
        assert leaving is not None
        assert leaving.deleting

    @BOTH
    async def test_deleting_what_is_gone_is_fine(self, port: Jobs) -> None:
        meta = some_replay()
        made = Template(JOB).job(meta, SPEC)
        stamp = {"creationTimestamp": "2026-01-01T00:00:00Z"}
        await port.delete(Run.parse({"metadata": made["metadata"] | stamp}))

        assert await of(port, meta) is None
