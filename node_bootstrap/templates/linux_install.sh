#!/bin/bash
# Installs and starts the task runner from the bundle this script lies in. May run again at any time.
# Usage: install.sh SETTINGS; settings.json was written by stage 0.
set -Eeuo pipefail
settings="$1"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="${MILLPOND_ROOT:-/}"
root="${root%/}"
state="$root/var/lib/millpond"
account=millpond-task
export PYTHONPATH="$here"
python=python3

# Each step's output goes to a file, from there to the recorder and, at the end, to the extension's own log.
output="$(mktemp)"
exec 3>&1 >"$output" 2>&1
trap 'cat "$output" >&3; rm -f "$output"' EXIT

number=1 step="" started=""
record() {
  "$python" -m node_bootstrap.runner.boot_record "$settings" "$number" "$step" "$started" "$1" "$output" || echo "not recorded"
}
failed() {
  trap - ERR
  echo "step $step failed at line $2, exit code $1"
  record "$1"
  exit "$1"
}
trap 'failed $? $LINENO' ERR
begin() {
  number=$((number + 1)) step="$1" started="$(date -u +%Y-%m-%dT%H:%M:%S+00:00)"
  echo "== $step"
}

# The image's Python may be older than the runner needs; then the stack pins one, which lies beside the bundle. All that
# follows runs on it, this fetch on the image's own.
step=python started="$(date -u +%Y-%m-%dT%H:%M:%S+00:00)"
found="$(python3 - "$settings" "$root/opt/millpond" <<'PYTHON'
import hashlib, io, json, os, shutil, sys, tarfile, time, urllib.request

settings_file, folder = sys.argv[1:]
with open(settings_file) as file:
    settings = json.load(file)
digest = settings.get("python_sha256")
if not digest:
    print("python3")
    sys.exit()
target = f"{folder}/python-{digest[:12]}"
imds = os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254") + "/metadata/identity/oauth2/token"
query = "?api-version=2018-02-01&resource=https://storage.azure.com/&client_id=" + settings["identity_client_id"]
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def ask(url, headers):
    # As in stage 0: whatever is refused may be allowed in a minute.
    deadline = time.monotonic() + 1200
    while True:
        try:
            with direct.open(urllib.request.Request(url, headers=headers), timeout=120) as reply:
                return reply.read()
        except OSError as error:
            if time.monotonic() > deadline:
                raise
            print("millpond: waiting for", url.split("?")[0], error, file=sys.stderr)
            time.sleep(5)

if not os.path.exists(target):
    token = json.loads(ask(imds + query, {"Metadata": "true"}))["access_token"]
    headers = {"Authorization": "Bearer " + token, "x-ms-version": "2023-11-03"}
    data = ask(f"{settings['blob_endpoint']}bundles/{digest}.tar.gz", headers)
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit("millpond: the pinned Python has another hash than " + digest)
    shutil.rmtree(target + ".part", True)
    os.umask(0o022)
    tarfile.open(fileobj=io.BytesIO(data)).extractall(target + ".part", filter="data")
    os.rename(target + ".part", target)
for place in ("python/bin", "bin"):
    if os.path.exists(f"{target}/{place}/python3"):
        print(f"{target}/{place}/python3")
        sys.exit()
sys.exit("millpond: there is no bin/python3 in the pinned Python")
PYTHON
)"
python="$found"

begin install
ln -sfn "$here" "$root/opt/millpond/current"
if [[ -z "$root" && "$(id -u)" == 0 ]]; then
  # Tasks run as this account, which can neither read the runner's files nor act as the node.
  id "$account" >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin "$account"
  "$python" - "$settings" "$account" <<'PYTHON'
import json, sys
with open(sys.argv[1], "r+") as file:
    settings = json.load(file) | {"task_account": sys.argv[2]}
    if settings.get("data_disk"):
        settings["root"] = "/mnt/millpond"
    file.seek(0)
    json.dump(settings, file)
    file.truncate()
PYTHON
fi
record 0

if [[ -z "$root" && "$(id -u)" == 0 ]] && grep -q '"data_disk": true' "$settings"; then
  # The pool's data disk, at LUN 0 (docs: azure-vm-utils, by SCSI and by NVMe): tasks work on it.
  begin disk
  disk=""
  for link in /dev/disk/azure/scsi1/lun0 /dev/disk/azure/data/by-lun/0; do
    if [[ -e "$link" ]]; then disk="$(readlink -f "$link")"; fi
  done
  [[ -n "$disk" ]]
  blkid "$disk" || mkfs.ext4 -q "$disk"
  mkdir -p /mnt/millpond
  if ! mountpoint -q /mnt/millpond; then
    echo "UUID=$(blkid -s UUID -o value "$disk") /mnt/millpond ext4 defaults,nofail 0 2" >>/etc/fstab
    mount /mnt/millpond
  fi
  record 0
fi

begin service
if [[ -z "$root" && -d /run/systemd/system ]]; then
  rule="-d 169.254.169.254 -m owner --uid-owner $account -j REJECT"
  cat >/etc/systemd/system/millpond.service <<UNIT
[Unit]
Description=Millpond task runner
After=network-online.target
Wants=network-online.target

[Service]
Environment=PYTHONPATH=/opt/millpond/current
# Tasks do not reach the metadata address: whoever does can act as the node. Without the rule nothing starts.
ExecStartPre=/bin/sh -c 'iptables -C OUTPUT $rule 2>/dev/null || iptables -I OUTPUT $rule'
ExecStart=/usr/bin/env $python -m node_bootstrap.runner $settings
Restart=always
RestartSec=5
# The runner's word for "retired": this node is about to be removed and takes nothing more.
RestartPreventExitStatus=3
KillMode=mixed
TimeoutStopSec=60

[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable millpond.service
  systemctl restart millpond.service
elif [[ -s "$state/runner.pid" ]] && kill -0 "$(<"$state/runner.pid")" 2>/dev/null; then
  echo "the runner is there already, process $(<"$state/runner.pid")"
else
  nohup "$python" -m node_bootstrap.runner "$settings" </dev/null >>"$state/console.log" 2>&1 3>&- &
  echo "$!" >"$state/runner.pid"
fi
record 0
