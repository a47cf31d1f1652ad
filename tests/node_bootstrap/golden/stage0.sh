#!/bin/bash
# Stage 0: names the node, fetches the bundle by its hash, runs its install script. May run again at any time.
set -Eeuo pipefail
umask 077
failed() { echo "millpond: stage 0 failed at line $2, exit code $1" >&2; exit "$1"; }
trap 'failed $? $LINENO' ERR
export MILLPOND_ROOT="${MILLPOND_ROOT:-/}"
export MILLPOND_PROFILE='{"blob_endpoint":"https://millpondsample.blob.core.windows.net/","bundle_sha256":"abababababababababababababababababababababababababababababababab","data_disk":false,"events_queue":"events","generation":"0123abcd","group":"d2sv5","identity_client_id":"11111111-2222-3333-4444-555555555555","pool":"risk","python_sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","queue_endpoint":"https://millpondsample.queue.core.windows.net/","status_interval_seconds":10.0,"task_slots":2,"work_queue":"risk-d2sv5-0123abcd"}'
command -v python3 >/dev/null || { echo "millpond: the image has no python3" >&2; exit 3; }
install=$(python3 - <<'PYTHON'
import hashlib, http.client, io, json, os, shutil, sys, tarfile, time, urllib.request

profile = json.loads(os.environ["MILLPOND_PROFILE"])
root = os.environ["MILLPOND_ROOT"].rstrip("/")
imds = os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254") + "/metadata/"
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def ask(url, headers, data=None):
    # New roles take minutes to spread: 401, 403, 404 mean "not yet".
    deadline, pause = time.monotonic() + 1200, 0.5
    while True:
        try:
            with direct.open(urllib.request.Request(url, data, headers, method=data and "PUT"), timeout=60) as reply:
                return reply.read()
        except (OSError, http.client.HTTPException) as e:
            if time.monotonic() > deadline:
                raise
            print("millpond: waiting for", url.split("?")[0], e, file=sys.stderr)
            time.sleep(pause)
            pause = min(pause * 2, 15)

def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())

def record(name, started, code, said=""):
    text = json.dumps(dict(schema_version=1, node_id=node, step=name[2:], started_at=started, ended_at=now(), exit_code=code, output=said))
    ask(f"{blobs}nodes/boot/{node}/{name}.json", {**auth, "x-ms-blob-type": "BlockBlob"}, text.encode())

def failed(kind, error, trace):
    said = f"step {step[2:]} failed at line {trace.tb_lineno}: {error!r}"
    print("millpond:", said, file=sys.stderr)
    auth and record(step, started, 1, said)

sys.excepthook, step, auth, here = failed, "0-stage-0", None, {"Metadata": "true"}
query = "?api-version=2018-02-01&resource=https://storage.azure.com/&client_id=" + profile["identity_client_id"]
started = now()
node = os.environ.get("AZ_BATCH_NODE_ID") or json.loads(ask(imds + "instance/compute?api-version=2021-02-01", here))["name"]
token = json.loads(ask(imds + "identity/oauth2/token" + query, here))["access_token"]
auth = {"Authorization": "Bearer " + token, "x-ms-version": "2023-11-03"}
blobs, digest = profile["blob_endpoint"], profile["bundle_sha256"]
record(step, started, 0)
step, started = "1-fetch", now()
target, state = f"{root}/opt/millpond/{digest[:12]}", root + "/var/lib/millpond"
if not os.path.exists(target):
    data = ask(f"{blobs}bundles/{digest}.tar.gz", auth)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("the bundle has another hash than " + digest)
    shutil.rmtree(target + ".part", True)
    os.umask(0o022)
    tarfile.open(fileobj=io.BytesIO(data)).extractall(target + ".part", filter="data")
    os.rename(target + ".part", target)
os.makedirs(state, 0o755, True)
with open(os.open(state + "/new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
    json.dump({**profile, "node_id": node, "root": state}, file)
os.replace(state + "/new", state + "/settings.json")
record(step, started, 0)
print(target + "/install.sh")
PYTHON
)
exec bash "$install" "${MILLPOND_ROOT%/}/var/lib/millpond/settings.json"
