#!/bin/bash
# Installs and starts the scheduler from the bundle this script lies in. May run again at any time: after a restart of
# the machine, with another bundle, with other settings. Usage: install.sh SETTINGS; stage 0 wrote settings.json.
set -Eeuo pipefail
settings="$1"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="${MILLPOND_ROOT:-/}"
root="${root%/}"
state="$root/var/lib/millpond"
account=millpond
service=millpond-scheduler
export PYTHONPATH="$here"

# Each step's output goes to a file, from there to the recorder and, at the end, to the extension's own log.
output="$(mktemp)"
exec 3>&1 >"$output" 2>&1
trap 'cat "$output" >&3; rm -f "$output"' EXIT

number=1 step="" started=""
record() {
  python3 -P -m node_bootstrap.runner.boot_record "$settings" "$number" "$step" "$started" "$1" "$output" || echo "not recorded"
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
setting() {
  python3 -c 'import json, sys; v = json.load(open(sys.argv[1]))[sys.argv[2]]; print("" if v is None else v)' "$settings" "$1"
}
# With systemd this is a machine of its own; without, its processes are all there is of it.
if [[ -z "$root" && "$(id -u)" == 0 && -d /run/systemd/system ]]; then owns_machine=yes; else owns_machine=""; fi

begin install
wanted="$(<"$here/python-version")"
found="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
if [[ "$wanted" != "$found" ]]; then
  echo "the bundle is for Python $wanted, this machine has $found; set scheduler.python to \"$found\" and deploy again"
  false
fi
if [[ ! -d "$here/site" ]]; then
  rm -rf "$here/site.part"
  python3 - "$here/wheels" "$here/site.part" <<'PYTHON'
import pathlib, sys, zipfile
for wheel in sorted(pathlib.Path(sys.argv[1]).glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        # A wheel's data folder has scripts, which nobody calls here; the packages are the rest.
        archive.extractall(sys.argv[2], [n for n in archive.namelist() if ".data/" not in n])
PYTHON
  mv "$here/site.part" "$here/site"
fi
if [[ -n "$owns_machine" ]]; then
  python3 -m compileall -q "$here/site" "$here/scheduler" "$here/node_bootstrap"
  id "$account" >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin "$account"
  chmod 755 "$state"
fi
ln -sfn "$here" "$root/opt/millpond/current"
record 0

begin disk
database="$(setting store_url)"
if [[ -n "$database" ]]; then
  # What is kept here is the present address of the API alone.
  echo "the store is in a database; no data disk is needed"
  data="$state/data"
  mkdir -p "$data"
  if [[ -n "$owns_machine" ]]; then
    chown "$account:$account" "$data"
    chmod 700 "$data"
  fi
  store=("$database" --store-sign-in entra)
elif [[ -n "${MILLPOND_DATA_DISK_0:-}" ]]; then
  data="$MILLPOND_DATA_DISK_0"
  mkdir -p "$data"
  store=("sqlite:///$data/scheduler.sqlite")
else
  data="$state/data"
  store=("sqlite:///$data/scheduler.sqlite")
  bash "$here/data-disk.sh" "$data"
  chown "$account:$account" "$data"
  chmod 700 "$data"
fi
record 0

begin service
launcher="$state/scheduler.sh"
stack="$(setting stack)"
{
  echo '#!/bin/bash'
  # Of one deployment's settings; install.sh writes it anew.
  printf 'export PYTHONPATH=%q MILLPOND_HOME=%q MILLPOND_STACK=%q AZURE_CLIENT_ID=%q\n' \
    "$here:$here/site" "$data/home" "$stack" "$(setting identity_client_id)"
  # Without words it is the service; with words, a command for the people who are logged in.
  printf '[[ $# -gt 0 ]] || set -- scheduler run --settings-url %q --interval %q --port %q --store' \
    "$(setting settings_url)" "$(setting interval_seconds)" "$(setting port)"
  printf ' %q' "${store[@]}"
  printf '\n'
  echo 'exec python3 -P -m scheduler "$@"'
} >"$launcher.part"
chmod 755 "$launcher.part"
mv "$launcher.part" "$launcher"
if [[ -n "$owns_machine" ]]; then
  on_disk=""
  if [[ -z "$database" ]]; then
    # Never on the wrong disk: an empty store would begin another life.
    on_disk="RequiresMountsFor=$data"$'\n'"AssertPathIsMountPoint=$data"
  fi
  cat >/etc/systemd/system/$service.service <<UNIT
[Unit]
Description=Millpond scheduler
After=network-online.target
Wants=network-online.target
$on_disk
StartLimitIntervalSec=0

[Service]
User=$account
ExecStart=/bin/bash $launcher
ExecStopPost=+/bin/bash $here/supervise.sh tail $settings
Restart=always
RestartSec=5
TimeoutStopSec=60
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths=$data
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
UNIT
  cat >/etc/systemd/system/$service-log.service <<UNIT
[Unit]
Description=Puts the end of the scheduler's log into storage

[Service]
Type=oneshot
ExecStart=/bin/bash $here/supervise.sh tail $settings
UNIT
  cat >/etc/systemd/system/$service-log.timer <<UNIT
[Unit]
Description=Puts the end of the scheduler's log into storage, every five minutes

[Timer]
OnBootSec=5min
OnUnitActiveSec=5min

[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload
  systemctl enable --quiet $service.service
  systemctl enable --quiet --now $service-log.timer
  systemctl restart $service.service
  # What people call: the address that the service wrote is for root's and its own eyes.
  printf '#!/bin/bash\nexec sudo %q "$@"\n' "$launcher" >/usr/local/bin/millpond
  chmod 755 /usr/local/bin/millpond
else
  # Another bundle or other settings: the old supervisor ends with its scheduler, then the new one begins.
  old="$(cat "$state/supervisor.pid" 2>/dev/null || true)"
  if [[ -n "$old" ]] && ps -p "$old" -o command= | grep -q 'supervise\.sh'; then
    kill -TERM "$old"
    for ((tries = 0; tries < 600; tries++)); do
      kill -0 "$old" 2>/dev/null || break
      sleep 0.1
    done
  fi
  nohup bash "$here/supervise.sh" keep "$settings" "$launcher" "$state/scheduler.log" </dev/null >/dev/null 2>&1 3>&- &
  echo "$!" >"$state/supervisor.pid"
fi
record 0

begin access
if [[ -n "$owns_machine" ]]; then
  administrator="$(setting administrator)"
  key="$(setting ssh_public_key)"
  keys="/home/$administrator/.ssh/authorized_keys"
  install -d -o "$administrator" -g "$administrator" -m 700 "/home/$administrator/.ssh"
  install -o "$administrator" -g "$administrator" -m 600 /dev/null "$keys"
  if [[ -n "$key" ]]; then
    printf '%s\n' "$key" >"$keys"
    systemctl unmask --quiet ssh.socket ssh.service
    # Which of the two listens depends on the release; masking has kept it enabled.
    if systemctl is-enabled --quiet ssh.socket; then systemctl start ssh.socket; else systemctl start ssh.service; fi
  else
    # Nobody has a key, so nothing listens. The machine's agent still runs commands.
    systemctl mask --quiet --now ssh.socket ssh.service
  fi
fi
record 0
