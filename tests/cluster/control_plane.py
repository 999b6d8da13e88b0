"""A real control plane on the loopback: etcd and kube-apiserver, for the tests of whatever talks to Kubernetes.

Owns the two processes, their configuration and their start and stop order; on top of that a few operations that write
what a scheduler, a kubelet or an administrator would. There is no scheduler, no kubelet and no controller: a pod is
bound to its node by whoever creates it, has the status that a test gives it, and is gone when it is deleted; a
namespace stays, and nobody collects garbage. (tests/kubelet has all of these, for tests that need a whole cluster.)

    with ControlPlane() as cluster:
        cluster.create_pod("default", "a", "node-1", annotations={"plimsoll.io/priority": "low"})
        cluster.set_pod_status("default", "a")
        agent_reads(cluster.kubeconfig(folder / "kubeconfig", user="limited"))
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
import shutil
import ssl
import tempfile
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.cluster import pods
from tests.cluster.api import APPLY, JSON, MERGE_PATCH, Api, ApiError, Json, Watch
from tests.cluster.build import build_each
from tests.cluster.certificates import Authority, signing_key
from tests.cluster.port import LOOPBACK, Port
from tests.process import Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

# Deadlines are for a busy machine of two cores; each wait ends with its condition, so a long one costs nothing.
START_SECONDS = 300.0
STOP_SECONDS = 120.0
EFFECT_SECONDS = 120.0

LIMITED = ("default", "limited")
LIMITED_RULES: list[Json] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]

PROGRAMS = ("etcd", "kube-apiserver")

# Without controllers there are no service accounts that would be mounted into pods, and this plugin would wait for one.
DISABLED_ADMISSION = ("ServiceAccount",)


class ControlPlane:
    """etcd and kube-apiserver; a context manager, started inside `with`.

    `folder` keeps data, keys and logs and is left to the caller. Without one, a temporary folder is used; it is removed
    at the end unless an exception ends the `with` block, which then carries the folder's name in a note.

    Every operation raises ApiError when the server refuses, OSError when it cannot be reached, ProcessError (with the
    end of the log) when a program does not start. Start it in a thread that outlives it: see process.py.

    ``hosts``: more names and addresses that the API server is reached by.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        disabled_admission: Sequence[str] = DISABLED_ADMISSION,
        apiserver_flags: Sequence[str] = (),
        hosts: Sequence[str] = (),
    ) -> None:
        programs = build_each(*PROGRAMS)
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="plimsoll-cluster-")) if folder is None else folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.admin_token = secrets.token_hex(16)
        self._ports = {name: Port() for name in ("apiserver", "etcd", "etcd-peer")}
        self.authority = Authority(self.folder)
        self.ca_file = self.authority.ca_file
        self.url = self._ports["apiserver"].url("https")
        self.etcd_url = self._ports["etcd"].url("http")
        self.api = Api(self.url, self.admin_token, self.ca_file)
        self._etcd_api = Api(self.etcd_url)
        self.etcd = Process("etcd", self._etcd_command(programs["etcd"]), self.folder / "etcd.log")
        self.apiserver = Process(
            "kube-apiserver",
            [*self._apiserver_command(programs["kube-apiserver"], disabled_admission, hosts), *apiserver_flags],
            self.folder / "kube-apiserver.log",
        )

    # Life

    def __enter__(self) -> Self:
        try:
            self.start_etcd()
            self.start_apiserver()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    def start_etcd(self) -> None:
        self.etcd.start()
        self.etcd.wait_until(lambda: self._ready(self._etcd_api), "ready", START_SECONDS)

    def start_apiserver(self) -> None:
        """Starts the API server, on the same port and with the same data as before; returns when it is ready."""
        self.apiserver.start()
        self.apiserver.wait_until(lambda: self._ready(self.api), "ready", START_SECONDS)
        # The namespace comes from a controller that readiness does not wait for.
        self.apiserver.wait_until(self._has_default_namespace, "serving namespace default", START_SECONDS)

    def stop_apiserver(self) -> None:
        """Stops the API server as an upgrade would: watches end, then connections are refused."""
        self.apiserver.stop(STOP_SECONDS)

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    def logs(self) -> str:
        """The end of both programs' logs."""
        return f"{self.etcd.tail()}\n{self.apiserver.tail()}"

    # Access

    def request(
        self, method: str, path: str, body: Json | None = None, *, token: str | None = None, content_type: str = JSON
    ) -> Json:
        """One request as the administrator, or with another bearer token (empty: anonymous)."""
        return self.api.request(method, path, body, token=token, content_type=content_type)

    def watch(
        self, path: str, resource_version: str, *, token: str | None = None, seconds: float = 30.0, **query: str
    ) -> Watch:
        """A raw watch: see Api.watch."""
        return self.api.watch(path, resource_version, token=token, seconds=seconds, **query)

    def kubeconfig(self, path: Path, user: str = "admin", *, seconds: int = 3600, token: str = "") -> Path:
        """Writes a kubeconfig for ``admin``, ``limited`` (may list and watch pods, no more) or ``namespace/name``.

        The last is an existing service account. Both kinds of service account get a token valid for `seconds`, if none
        is given.
        """
        if token:
            pass
        elif user == "admin":
            token = self.admin_token
        elif user == "limited":
            self.service_account(*LIMITED, LIMITED_RULES)
            token = self.token(*LIMITED, seconds)
        else:
            namespace, _, name = user.partition("/")
            token = self.token(namespace, name, seconds)
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")  # JSON is YAML
        return path

    # Pods

    def create_pod(
        self,
        namespace: str,
        name: str,
        node: str,
        *,
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        priority_class: str | None = None,
        qos: pods.QosClass = "BestEffort",
        containers: Sequence[str] = ("main",),
    ) -> Json:
        """Creates a pod on a node, which need not exist. Its phase is Pending until set_pod_status.

        A priority class other than the built-in ``system-...-critical`` must exist: see priority_class().
        """
        pod = pods.manifest(
            namespace,
            name,
            node,
            annotations=annotations,
            labels=labels,
            priority_class=priority_class,
            qos=qos,
            containers=containers,
        )
        return self.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)

    def set_pod_status(
        self,
        namespace: str,
        name: str,
        phase: pods.Phase = "Running",
        container_ids: Mapping[str, str] | None = None,
    ) -> Json:
        """Writes the status that a kubelet would: see pods.status."""
        path = _pod(namespace, name)
        now = dt.datetime.now(dt.UTC)
        body = {"status": pods.status(self.request("GET", path), phase, now, container_ids)}
        return self.request("PATCH", f"{path}/status", body, content_type=MERGE_PATCH)

    def annotate_pod(self, namespace: str, name: str, annotations: Mapping[str, str | None]) -> Json:
        """Sets annotations; None removes one."""
        body = {"metadata": {"annotations": dict(annotations)}}
        return self.request("PATCH", _pod(namespace, name), body, content_type=MERGE_PATCH)

    def delete_pod(self, namespace: str, name: str) -> None:
        """Deletes at once: with no kubelet to confirm, a grace period would never end."""
        self.request("DELETE", _pod(namespace, name), {"gracePeriodSeconds": 0})

    def priority_class(self, name: str, value: int, **more: object) -> None:
        """Creates or changes it; pods may be of it when this returns. ``more``: what else the object says."""
        kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
        self.apply(
            "/apis/scheduling.k8s.io/v1/priorityclasses", {**more, **kind, "metadata": {"name": name}, "value": value}
        )
        # Who decides on pods learns of classes by a watch, a moment after they are written.
        self.apiserver.wait_until(lambda: self._pods_may_be(name), f"taking pods of {name}", EFFECT_SECONDS)

    def namespace(self, name: str) -> None:
        self.apply("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def apply(self, collection: str, item: Json) -> Json:
        """Creates or changes an object (server-side apply), so that a test may say a thing twice."""
        path = f"{collection}/{item['metadata']['name']}?fieldManager=plimsoll-tests&force=true"
        return self.request("PATCH", path, item, content_type=APPLY)

    # Service accounts

    def service_account(self, namespace: str, name: str, rules: Sequence[Json]) -> None:
        """A service account with these rules in the whole cluster; returns when they are in force.

        Rules are those of a ClusterRole: ``{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}``.
        """
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        self.apply(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        group = "rbac.authorization.k8s.io"
        role = f"{namespace}:{name}"
        self.apply(
            f"/apis/{group}/v1/clusterroles",
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRole",
                "metadata": {"name": role},
                "rules": list(rules),
            },
        )
        self.apply(
            f"/apis/{group}/v1/clusterrolebindings",
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": role},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
            },
        )
        # The authorizer learns of roles by a watch of its own, a moment after they are written.
        user = f"system:serviceaccount:{namespace}:{name}"
        wanted = [attributes for rule in rules for attributes in _attributes(rule)]
        self.apiserver.wait_until(
            lambda: all(self._allowed(user, attributes) for attributes in wanted),
            f"granting {user} its rules",
            EFFECT_SECONDS,
        )

    def token(self, namespace: str, name: str, seconds: int = 3600) -> str:
        """A bound token of a service account (TokenRequest). The API server grants no less than 600 seconds."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        token: str = self.request("POST", path, body)["status"]["token"]
        return token

    # History

    def compact_etcd(self) -> int:
        """Makes etcd forget all revisions before now; the first revision it still has.

        The API server's watch cache may still serve older ones from memory: see expire_resource_versions.
        """
        # A write of our own gives a revision that is newer than every object's, and not yet compacted.
        key = base64.b64encode(b"plimsoll/compaction").decode()
        put = self._etcd_api.request("POST", "/v3/kv/put", {"key": key, "value": key})
        revision = int(put["header"]["revision"])
        self._etcd_api.request("POST", "/v3/kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def expire_resource_versions(self) -> int:
        """Makes every resource version known so far too old to watch from: the next such watch gets a 410.

        The compaction takes them from etcd, the restart takes them from the API server's watch cache.
        """
        revision = self.compact_etcd()
        self.restart_apiserver()
        return revision

    # Inside

    def _etcd_command(self, program: Path) -> list[str]:
        peer = self._ports["etcd-peer"].url("http")
        return [
            str(program),
            "--name=test",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}",
            "--socket-reuse-port",  # see port.py
            "--unsafe-no-fsync",  # a test's data need not survive the machine
        ]

    def _apiserver_command(self, program: Path, disabled_admission: Sequence[str], hosts: Sequence[str]) -> list[str]:
        names = [LOOPBACK, "localhost", "kubernetes.default.svc", *hosts]
        certificate, key = self.authority.serving("kube-apiserver", names)
        account_key = signing_key(self.folder / "service-account.key")
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        # system:masters is above RBAC, which lets the administrator in before the roles are there.
        tokens.write_text(f"{self.admin_token},admin,admin,system:masters\n", encoding="utf-8")
        return [
            str(program),
            f"--etcd-servers={self.etcd_url}",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            f"--secure-port={self._ports['apiserver'].number}",
            "--permit-port-sharing",  # see port.py
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--token-auth-file={tokens}",
            f"--client-ca-file={self.ca_file}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",  # as every distribution has it; Pod Security is what says no
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={account_key}",
            f"--service-account-key-file={account_key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # The service "kubernetes" may not point at a loopback address: its reconciler would complain for ever.
            "--endpoint-reconciler-type=none",
            f"--disable-admission-plugins={','.join(disabled_admission)}",
            "--etcd-compaction-interval=0",  # history ends when a test says so
        ]

    def _ready(self, api: Api) -> bool:
        """True once /readyz says ok. No server yet, or one that says "not yet", is False."""
        try:
            api.request("GET", "/readyz")
        except ApiError as error:
            # Before its roles and token are loaded the server answers 401 or 403, while it is starting 500 or 503.
            if error.status in (401, 403, 500, 503):
                return False
            raise
        except ConnectionError:
            return False
        except urllib.error.URLError as error:
            # Nobody listens yet, or hangs up while starting; a certificate that does not fit is no matter of time.
            if isinstance(error.reason, (ConnectionError, ssl.SSLEOFError)):
                return False
            raise
        return True

    def _has_default_namespace(self) -> bool:
        try:
            self.request("GET", "/api/v1/namespaces/default")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _pods_may_be(self, priority_class: str) -> bool:
        """Whether pods of this class are taken. Creates nothing."""
        pod = pods.manifest("default", f"of-{priority_class}", "", priority_class=priority_class)
        try:
            self.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", pod)
        except ApiError as error:
            if error.status != 403:
                raise
            return False
        return True

    def _allowed(self, user: str, attributes: Json) -> bool:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, **attributes},
        }
        answer = self.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def _end(self, error: BaseException | None) -> None:
        # The data is thrown away, so neither program is asked to end well: a graceful end takes seconds.
        self.apiserver.kill()
        self.etcd.kill()
        for port in self._ports.values():
            port.close()
        if error is not None:
            error.add_note(f"logs of the control plane: {self.folder}")
        elif self._temporary:
            shutil.rmtree(self.folder)


def _pod(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def _attributes(rule: Json) -> list[Json]:
    """What a rule allows, as the questions that a SubjectAccessReview can ask: one of each kind."""
    verbs = rule["verbs"]
    questions = [
        {"nonResourceAttributes": {"path": path, "verb": verb}}
        for path in rule.get("nonResourceURLs", ())
        for verb in verbs
    ]
    for group in rule.get("apiGroups", ()):
        for whole in rule.get("resources", ()):
            resource, _, subresource = whole.partition("/")
            names = rule.get("resourceNames") or [""]
            questions += [
                {
                    "resourceAttributes": {
                        "group": group,
                        "resource": resource,
                        "subresource": subresource,
                        "verb": verb,
                        "name": name,
                    }
                }
                for verb in verbs
                for name in names
            ]
    return questions
