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
  python3 -m node_bootstrap.boot_record "$settings" "$number" "$step" "$started" "$1" "$output" || echo "not recorded"
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
if [[ -z "$root" && "$(id -u)" == 0 ]] && ! id "$account" >/dev/null 2>&1; then
  # Tasks run as this account, which can neither read the runner's files nor act as the node.
  useradd --system --no-create-home --shell /usr/sbin/nologin "$account"
fi
record 0

begin service
if [[ -z "$root" && -d /run/systemd/system ]]; then
  cat >/etc/systemd/system/millpond.service <<UNIT
[Unit]
Description=Millpond task runner
After=network-online.target
Wants=network-online.target

[Service]
Environment=PYTHONPATH=/opt/millpond/current
ExecStart=/usr/bin/env python3 -m node_bootstrap.runner $settings
Restart=always
RestartSec=5
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
