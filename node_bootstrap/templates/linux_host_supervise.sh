#!/bin/bash
# Keeps the scheduler running where there is no systemd, and puts the end of its log into storage.
# Usage: supervise.sh keep SETTINGS LAUNCHER LOG, or supervise.sh tail SETTINGS [LOG] (without LOG: of the journal).
set -Eeuo pipefail
failed() { echo "millpond: supervise.sh failed at line $2, exit code $1" >&2; exit "$1"; }
trap 'failed $? $LINENO' ERR
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
restart_seconds=5

# The tail is one more record of the boot; it overwrites the one before.
tail_log() {
  local settings="$1" log="${2:-}" code="${3:-0}" lines
  lines="$(mktemp)"
  if [[ -n "$log" ]]; then
    tail -n 100 "$log" >"$lines"
  else
    journalctl --unit millpond-scheduler --lines 100 --no-pager --output short-iso >"$lines"
  fi
  PYTHONPATH="$here" python3 -P -m node_bootstrap.runner.boot_record \
    "$settings" 9 log "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$code" "$lines" || echo "the log's end is not in storage"
  rm -f "$lines"
}

keep() {
  local settings="$1" launcher="$2" log="$3" child="" stopping="" code
  trap 'stopping=yes; [[ -z "$child" ]] || kill -TERM "$child" 2>/dev/null || true' TERM INT
  while [[ -z "$stopping" ]]; do
    code=0
    bash "$launcher" >>"$log" 2>&1 &
    child=$!
    # A signal ends the first wait before the child does.
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do wait "$child" || code=$?; done
    child=""
    echo "supervise.sh: the scheduler ended with exit code $code" >>"$log"
    tail_log "$settings" "$log" "$code"
    # Waited for in the background: a signal is not heard while a command in the foreground runs.
    if [[ -z "$stopping" ]]; then
      sleep "$restart_seconds" &
      wait "$!" || true
    fi
  done
}

case "$1" in
  keep) keep "$2" "$3" "$4" ;;
  tail) tail_log "$2" "${3:-}" ;;
  *) echo "usage: supervise.sh keep|tail SETTINGS ..." >&2; exit 2 ;;
esac
