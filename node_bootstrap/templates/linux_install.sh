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

# Each step's output goes to a file, from there to the recorder and, at the end, to the extension's own log.
output="$(mktemp)"
exec 3>&1 >"$output" 2>&1
trap 'cat "$output" >&3; rm -f "$output"' EXIT

number=1 step="" started=""
record() {
  python3 -m node_bootstrap.runner.boot_record "$settings" "$number" "$step" "$started" "$1" "$output" || echo "not recorded"
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

begin install
ln -sfn "$here" "$root/opt/millpond/current"
if [[ -z "$root" && "$(id -u)" == 0 ]]; then
  # Tasks run as this account, which can neither read the runner's files nor act as the node.
  id "$account" >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin "$account"
  python3 - "$settings" "$account" <<'PYTHON'
import json, sys
with open(sys.argv[1], "r+") as file:
    settings = json.load(file) | {"task_account": sys.argv[2]}
    file.seek(0)
    json.dump(settings, file)
    file.truncate()
PYTHON
fi
record 0

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
ExecStart=/usr/bin/env python3 -m node_bootstrap.runner $settings
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
  nohup python3 -m node_bootstrap.runner "$settings" </dev/null >>"$state/console.log" 2>&1 3>&- &
  echo "$!" >"$state/runner.pid"
fi
record 0
