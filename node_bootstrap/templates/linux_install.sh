#!/bin/bash
# Installs and starts the task runner from the bundle this script lies in. May run again at any time.
# Usage: install.sh SETTINGS; settings.json was written by stage 0.
set -Eeuo pipefail
# Tasks read what is laid here, and stage 0 lets nobody; what only the runner may read is made so by name.
umask 022
settings="$1"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="${MILLPOND_ROOT:-/}"
root="${root%/}"
state="$root/var/lib/millpond"
account=millpond-task
plan="$here/boot-plan.json"
export PYTHONPATH="$here"
python=""

# Each step's output goes to a file, from there to the recorder and, at the end, to the extension's own log.
output="$(mktemp)"
exec 3>&1 >"$output" 2>&1
trap 'cat "$output" >&3; rm -f "$output"' EXIT

# A step's number is its place in every boot, so that records stand in order; stage 0 has 0 and 1.
number=2 step="" started=""
record() {
  # Before there is a Python that can run the runner's modules, the step records itself.
  if [[ -z "$python" ]]; then return 0; fi
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
  number="$1" step="$2" started="$(date -u +%Y-%m-%dT%H:%M:%S+00:00)"
  echo "== $step"
}

# The image's Python may be older than the runner needs; then the stack pins one, which lies beside the bundle. All that
# follows runs on it, this fetch on the image's own.
begin 2 python
found="$(python3 - "$settings" "$root/opt/millpond" <<'PYTHON'
import hashlib, http.client, io, json, os, shutil, sys, tarfile, time, urllib.request

settings_file, folder = sys.argv[1:]
with open(settings_file) as file:
    settings = json.load(file)
digest = settings.get("python_sha256")
if not digest and sys.version_info >= (3, 11):
    print(shutil.which("python3"))
    sys.exit()
target = f"{folder}/python-{str(digest)[:12]}"
imds = os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254") + "/metadata/identity/oauth2/token"
query = "?api-version=2018-02-01&resource=https://storage.azure.com/&client_id=" + settings["identity_client_id"]
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def ask(url, headers, data=None):
    # As in stage 0: whatever is refused may be allowed in a minute.
    deadline, pause = time.monotonic() + 1200, 0.5
    while True:
        try:
            request = urllib.request.Request(url, data, headers, method="PUT" if data else "GET")
            with direct.open(request, timeout=120) as reply:
                return reply.read()
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise
            print("millpond: waiting for", url.split("?")[0], error, file=sys.stderr)
            time.sleep(pause)
            pause = min(pause * 2, 15)

def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())

def fetch():
    if not digest:
        raise ValueError("Python 3.11 is needed, this is " + sys.version.split()[0] + "; set pinned_python: true")
    if not os.path.exists(target):
        data = ask(f"{settings['blob_endpoint']}bundles/{digest}.tar.gz", auth)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError("the pinned Python has another hash than " + digest)
        shutil.rmtree(target + ".part", True)
        os.umask(0o022)
        tarfile.open(fileobj=io.BytesIO(data)).extractall(target + ".part", filter="data")
        os.rename(target + ".part", target)
    for place in ("python/bin", "bin"):
        if os.path.exists(f"{target}/{place}/python3"):
            return f"{target}/{place}/python3"
    raise ValueError("there is no bin/python3 in the pinned Python")

started, code, said = now(), 0, ""
token = json.loads(ask(imds + query, {"Metadata": "true"}))["access_token"]
auth = {"Authorization": "Bearer " + token, "x-ms-version": "2023-11-03"}
try:
    print(fetch())
except Exception as error:
    code, said = 1, f"step python failed at line {sys.exc_info()[2].tb_lineno} of its script: {error}"
    print("millpond:", said, file=sys.stderr)
node = settings["node_id"]
record = dict(schema_version=1, node_id=node, step="python", started_at=started, ended_at=now(), exit_code=code, output=said)
ask(f"{settings['blob_endpoint']}nodes/boot/{node}/2-python.json", {**auth, "x-ms-blob-type": "BlockBlob"}, json.dumps(record).encode())
sys.exit(code)
PYTHON
)"
python="$found"

# What the plan says that is done here; packages and start commands are done by the runner's own modules.
facts="$("$python" -S - "$plan" "$settings" <<'PYTHON'
import json, sys
with open(sys.argv[1]) as plan, open(sys.argv[2]) as settings:
    plan, settings = json.load(plan), json.load(settings)
print(plan["time_zone"])
print("yes" if plan["metadata_for_tasks"] else "")
print("yes" if settings["data_disk"] else "")
print("yes" if plan["packages"] or plan["start_commands"] else "no")  # a last line that is not empty
PYTHON
)"
{ read -r time_zone; read -r metadata_for_tasks; read -r data_disk; read -r own_steps; } <<<"$facts"
# With MILLPOND_ROOT the machine is somebody else's: nothing outside of that folder is touched.
if [[ -z "$root" && "$(id -u)" == 0 ]]; then owns_machine=yes; else owns_machine=""; fi
if [[ -n "$owns_machine" && -d /run/systemd/system ]]; then systemd=yes; else systemd=""; fi

begin 3 install
ln -sfn "$here" "$root/opt/millpond/current"
if [[ "$time_zone" != UTC && ! -e "/usr/share/zoneinfo/$time_zone" ]]; then
  echo "the image does not know the time zone $time_zone; set bootstrap.time_zone to one that /usr/share/zoneinfo has"
  false
fi
export TZ="$time_zone"
task_account=""
if [[ -n "$owns_machine" ]]; then
  # Tasks run as this account, which can neither read the runner's files nor act as the node.
  id "$account" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$account"
  task_account="$account"
  ln -sfn "/usr/share/zoneinfo/$time_zone" /etc/localtime
  echo "$time_zone" >/etc/timezone
fi
if [[ -n "$systemd" ]]; then
  # A node is replaced, not patched: an update would take its processor and its disk, and restart what tasks use.
  systemctl disable --quiet --now apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service 2>/dev/null || true
  # Nobody has a key, so nothing listens. Azure Batch logs in to its nodes itself.
  if [[ -z "${AZ_BATCH_NODE_ID:-}" ]]; then systemctl mask --quiet --now ssh.socket ssh.service || true; fi
fi
record 0

work=""
if [[ -n "$owns_machine" ]]; then
  begin 4 disk
  if [[ -n "$data_disk" ]]; then
    # The pool's data disk: tasks work on it.
    bash "$here/data-disk.sh" /srv/millpond
    work=/srv/millpond/work
  else
    # The size's temporary disk, where the image has mounted it: faster than the OS disk, and made for what is lost.
    for link in /dev/disk/cloud/azure_resource-part1 /dev/disk/azure/resource-part1; do
      if [[ -e "$link" ]]; then mount="$(findmnt -n -o TARGET --source "$(readlink -f "$link")" | head -n 1 || true)"; fi
    done
    if [[ -n "${mount:-}" ]]; then work="$mount/millpond"; fi
  fi
  echo "tasks work in ${work:-$state}"
  record 0
fi

runner="$state/runner.json"
"$python" -m node_bootstrap.runner.boot_settings "$settings" "$plan" "$runner" "root=$work" "task_account=$task_account"
if [[ "$own_steps" == yes ]]; then
  # They record themselves, one by one; what fails there has its own record, and ends the boot here.
  trap - ERR
  "$python" -m node_bootstrap.runner.boot_steps "$runner" "$plan" || exit "$?"
  trap 'failed $? $LINENO' ERR
fi

# Without these rules nothing starts; "+": they need rights that the runner does not have.
close_metadata="ExecStartPre=+/bin/bash $here/close-metadata.sh $account"
if [[ -n "$metadata_for_tasks" ]]; then close_metadata="# Tasks may reach the metadata address: the pool asks for it."; fi

unit() {
  cat <<UNIT
[Unit]
Description=Millpond task runner
After=network-online.target
Wants=network-online.target
RequiresMountsFor=${work:-$state}
# However often it ends: a node without a runner costs and does nothing.
StartLimitIntervalSec=0

[Service]
Environment=PYTHONPATH=$here
$close_metadata
ExecStart=/usr/bin/env $python -P -m node_bootstrap.runner $runner
Restart=always
RestartSec=5
# The runner's word for "retired": this node is about to be removed and takes nothing more.
RestartPreventExitStatus=3
KillMode=mixed
TimeoutStopSec=60
# A task that takes too much memory is ended alone; the runner sees it and reports it.
OOMPolicy=continue
LimitNOFILE=1048576
TasksMax=infinity
# To start tasks as their account, to end them, to give them their files: nothing else of root's.
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SYS_PTRACE
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
UNIT
}

begin 7 service
if [[ -n "$systemd" ]]; then
  file=/etc/systemd/system/millpond.service
  unit >"$file.part"
  # Run again on a machine that works: its tasks go on.
  if cmp -s "$file.part" "$file" && systemctl is-active --quiet millpond.service; then
    rm "$file.part"
    echo "the runner is there already"
  else
    mv "$file.part" "$file"
    systemctl daemon-reload
    systemctl enable --quiet millpond.service
    systemctl restart millpond.service
  fi
elif [[ -s "$state/runner.pid" ]] && kill -0 "$(<"$state/runner.pid")" 2>/dev/null; then
  echo "the runner is there already, process $(<"$state/runner.pid")"
else
  if [[ -n "$owns_machine" && -z "$metadata_for_tasks" ]]; then bash "$here/close-metadata.sh" "$account"; fi
  : >"$state/runner.pid"
  nohup "$python" -P -m node_bootstrap.runner "$runner" </dev/null >>"$state/console.log" 2>&1 3>&- &
  echo "$!" >"$state/runner.pid"
fi
record 0
