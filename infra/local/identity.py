"""Where tokens come from: the sign-in service (HTTPS), and the metadata services of the user and of each instance.

The user's endpoint is the App Service one (IDENTITY_ENDPOINT), guarded by a secret header. Each instance has a
metadata service below a secret path of its own, which knows its identities alone.
"""

import hmac
import json
import time
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.arm.addresses import segments
from infra.local.arm.errors import ArmError
from infra.local.arm.store import Resource, Store
from infra.local.services.access.authorization import Authorization
from infra.local.services.compute.instances import Instances
from infra.local.services.compute.machine_power import is_windows, node_id_of
from infra.local.tokens import LIFE_SECONDS, AccessToken, Principal, TokenIssuer

Json = dict[str, Any]

_SIGN_IN_SCOPES = frozenset({"openid", "offline_access", "profile", "email"})


class SignIn:
    """The sign-in service and the description of the cloud, on the resource manager's own address."""

    def __init__(
        self, issuer: TokenIssuer, authorization: Authorization, deployer: Principal, tenant_id: str, secret: str
    ) -> None:
        self._issuer = issuer
        self._authorization = authorization
        self._deployer = deployer
        self._tenant_id = tenant_id
        self._secret = secret

    def routes(self) -> list[Route]:
        """Return the routes; they come before the resource manager's."""
        return [
            Route("/metadata/endpoints", self.describe),
            Route("/{tenant}/.well-known/openid-configuration", self.configure),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self.configure),
            Route("/{tenant}/oauth2/token", self.sign_in, methods=["POST"]),
            Route("/{tenant}/oauth2/v2.0/token", self.sign_in, methods=["POST"]),
        ]

    def describe(self, request: Request) -> Response:
        """Tell clients where everything is."""
        url = _own_url(request)
        cloud = {
            "name": "MillpondLocal",
            "resourceManager": url,
            "authentication": {
                "loginEndpoint": url,
                "audiences": [url],
                "tenant": self._tenant_id,
                "identityProvider": "AAD",
            },
            "graph": url,
            "graphAudience": url,
            "microsoftGraphResourceId": url,
            "portal": url,
            "gallery": url,
            "batch": url,
            "media": url,
            "suffixes": {"storage": "storage.local", "keyVaultDns": "vault.local", "acrLoginServer": "registry.local"},
        }
        # Clients of the old form expect a list of clouds.
        old_form = request.query_params.get("api-version", "") < "2022"
        return JSONResponse([cloud] if old_form else cloud)

    def configure(self, request: Request) -> Response:
        """Describe the sign-in service (OpenID Connect discovery)."""
        base = f"{_own_url(request)}/{request.path_params['tenant']}"
        return JSONResponse(
            {
                "issuer": f"https://sts.windows.net/{self._tenant_id}/",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["code", "token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["HS256"],
                "tenant_region_scope": None,
                "cloud_instance_name": "local",
            }
        )

    async def sign_in(self, request: Request) -> Response:
        """Exchange a client's secret for a token: the deployer's client id, or an identity's, and the local secret."""
        form = dict(urllib.parse.parse_qsl((await request.body()).decode()))
        if form.get("grant_type") != "client_credentials":
            return _refused(HTTPStatus.BAD_REQUEST, "unsupported_grant_type", "Only client_credentials is supported.")
        if not hmac.compare_digest(form.get("client_secret", ""), self._secret):
            return _refused(HTTPStatus.UNAUTHORIZED, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
        principal: Principal | None = self._deployer
        if form.get("client_id", "").lower() != self._deployer.client_id:
            identity = self._authorization.identity_of(form.get("client_id", ""))
            principal = self._authorization.principal(identity) if identity else None
        if principal is None:
            message = f"AADSTS700016: Application '{form.get('client_id')}' was not found; see `millpond local env`."
            return _refused(HTTPStatus.BAD_REQUEST, "unauthorized_client", message)
        token = self._issuer.issue(principal, _wanted(form))
        return JSONResponse({"token_type": "Bearer", "expires_in": LIFE_SECONDS, "access_token": token.text})


class Metadata:
    """The user's identity endpoint and the metadata services of instances, over plain HTTP on loopback."""

    def __init__(
        self,
        store: Store,
        issuer: TokenIssuer,
        authorization: Authorization,
        instances: Instances,
        deployer: Principal,
        header: str,
        batch_node: Callable[[str], Resource | None] = lambda _nonce: None,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._authorization = authorization
        self._instances = instances
        self._batch_node = batch_node
        self._deployer = deployer
        self._header = header

    def routes(self) -> list[Route]:
        """Return the routes."""
        machine = "/vm/{nonce}/metadata"
        return [
            Route("/msi/token", self.user_token),
            Route(f"{machine}/identity/oauth2/token", self._for_machine(self._machine_token)),
            Route(f"{machine}/instance", self._for_machine(self._instance)),
            Route(f"{machine}/instance/compute", self._for_machine(self._compute)),
            Route(f"{machine}/scheduledevents", self._events, methods=["GET", "POST"]),
        ]

    def user_token(self, request: Request) -> Response:
        """Give the user's own token, or that of the identity which `client_id` names."""
        if not hmac.compare_digest(request.headers.get("x-identity-header", ""), self._header):
            return _refused(HTTPStatus.UNAUTHORIZED, "invalid_request", "The X-IDENTITY-HEADER header is wrong.")
        principal = self._deployer
        if client_id := request.query_params.get("client_id", ""):
            identity = self._authorization.identity_of(client_id)
            if identity is None and client_id.lower() != self._deployer.client_id:
                return _refused(HTTPStatus.BAD_REQUEST, "invalid_request", f"No identity has client id '{client_id}'.")
            principal = self._authorization.principal(identity) if identity else self._deployer
        return self._token(principal, request.query_params.get("resource", ""))

    def _for_machine(self, answer: Callable[[Request, Resource], Response]) -> Callable[[Request], Response]:
        """Find the instance by the secret in the path; metadata services want their own header."""

        def serve(request: Request) -> Response:
            if request.headers.get("metadata", "").lower() != "true":
                return _refused(HTTPStatus.BAD_REQUEST, "Bad request", "Required metadata header not specified.")
            nonce = request.path_params["nonce"]
            instance = self._instances.by_nonce(nonce) or self._batch_node(nonce)
            if instance is None:
                return _refused(HTTPStatus.NOT_FOUND, "Not found", "There is no such machine.")
            return answer(request, instance)

        return serve

    def _machine_token(self, request: Request, instance: Resource) -> Response:
        identities = [found for found in map(self._store.get, instance.internal["identities"]) if found is not None]
        if client_id := request.query_params.get("client_id", "").lower():
            identities = [found for found in identities if found.properties["clientId"] == client_id]
        if named := (request.query_params.get("msi_res_id") or request.query_params.get("mi_res_id", "")):
            identities = [found for found in identities if found.key == named.lower()]
        if not identities:
            return _refused(HTTPStatus.BAD_REQUEST, "invalid_request", "Identity not found")
        if len(identities) > 1:
            message = "Multiple user assigned identities exist, please specify the clientId of one in the token request"
            return _refused(HTTPStatus.BAD_REQUEST, "invalid_request", message)
        return self._token(self._authorization.principal(identities[0]), request.query_params.get("resource", ""))

    def _token(self, principal: Principal, resource: str) -> Response:
        if not resource:
            return _refused(HTTPStatus.BAD_REQUEST, "invalid_request", "Required parameter 'resource' is missing.")
        token: AccessToken = self._issuer.issue(principal, resource)
        return JSONResponse(
            {
                "access_token": token.text,
                "client_id": principal.client_id,
                "expires_in": str(token.expires_on - int(time.time())),
                "expires_on": str(token.expires_on),
                "resource": resource,
                "token_type": "Bearer",
            }
        )

    def _instance(self, _request: Request, instance: Resource) -> Response:
        return JSONResponse({"compute": self._document(instance), "network": {"interface": []}})

    def _compute(self, _request: Request, instance: Resource) -> Response:
        return JSONResponse(self._document(instance))

    def _document(self, instance: Resource) -> Json:
        _, subscription, _, group, *_ = segments(instance.id)
        image = (instance.properties.get("storageProfile") or {}).get("imageReference") or {}
        return {
            "azEnvironment": "AzurePublicCloud",
            "location": instance.body["location"],
            "name": node_id_of(instance),
            "offer": image.get("offer", ""),
            "osType": "Windows" if is_windows(instance.properties) else "Linux",
            "provider": "Microsoft.Compute",
            "publisher": image.get("publisher", ""),
            "resourceGroupName": group,
            "resourceId": instance.id,
            "sku": image.get("sku", ""),
            "subscriptionId": subscription,
            "tags": ";".join(f"{key}:{value}" for key, value in (instance.body.get("tags") or {}).items()),
            "vmId": instance.properties["vmId"],
            "vmScaleSetName": _set_of(instance),
            "vmSize": instance.properties["hardwareProfile"]["vmSize"],
        }

    async def _events(self, request: Request) -> Response:
        """Tell a machine of what is about to be done to it (GET), or let that begin at once (POST)."""
        raw = await request.body()

        def answer(asked: Request, machine: Resource) -> Response:
            if asked.method == "GET":
                return JSONResponse(self._instances.events.document(machine))
            try:
                wanted = [str(entry["EventId"]) for entry in json.loads(raw)["StartRequests"]]
            except (ValueError, KeyError, TypeError):
                message = 'The body must be {"StartRequests": [{"EventId": "..."}]}.'
                return _refused(HTTPStatus.BAD_REQUEST, "Bad request", message)
            try:
                self._instances.events.acknowledge(machine, wanted)
            except ArmError as error:
                return _refused(HTTPStatus.BAD_REQUEST, error.code, error.message)
            return Response(status_code=HTTPStatus.OK)

        return await run_in_threadpool(self._for_machine(answer), request)


def _set_of(machine: Resource) -> str:
    """Return the name of the scale set or pool that a machine is in, or nothing."""
    owner = str((machine.properties.get("virtualMachineScaleSet") or {}).get("id", "")).split("/")[-1]
    parts = segments(machine.id)
    return owner if parts[-4].lower() == "providers" else parts[-3]


def _wanted(form: dict[str, str]) -> str:
    """Return what a token is asked for: the scope of a resource, beside which clients ask for those of sign-in."""
    scopes = (form.get("scope") or form.get("resource", "")).split()
    return next((scope for scope in scopes if scope not in _SIGN_IN_SCOPES), "")


def _own_url(request: Request) -> str:
    return f"https://{request.headers.get('host', request.url.netloc)}"


def _refused(status: HTTPStatus, code: str, message: str) -> Response:
    return JSONResponse({"error": code, "error_description": message}, status)
