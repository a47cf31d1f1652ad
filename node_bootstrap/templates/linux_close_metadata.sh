#!/bin/bash
# Closes the machine's own addresses to the account of the tasks: whoever reaches them can act as the node.
# 169.254.169.254 is the metadata address, 168.63.129.16 on these two ports the one of the machine's agent (its port 53
# is the name service, which tasks need). May run again at any time. Usage: close-metadata.sh ACCOUNT
set -Eeuo pipefail
failed() { echo "millpond: close-metadata.sh failed at line $2, exit code $1" >&2; exit "$1"; }
trap 'failed $? $LINENO' ERR
account="$1"
id "$account" >/dev/null

if command -v iptables >/dev/null; then
  for rule in "-d 169.254.169.254" "-d 168.63.129.16 -p tcp -m multiport --dports 80,32526"; do
    read -ra words <<<"$rule -m owner --uid-owner $account -j REJECT"
    # -w: the machine's agent may be changing rules at the same time.
    iptables -w 60 -C OUTPUT "${words[@]}" 2>/dev/null || iptables -w 60 -I OUTPUT "${words[@]}"
  done
else
  # One transaction: the table is never there without its rules.
  nft -f - <<RULES
table inet millpond
delete table inet millpond
table inet millpond {
  chain output {
    type filter hook output priority filter; policy accept;
    meta skuid "$account" ip daddr 169.254.169.254 reject
    meta skuid "$account" ip daddr 168.63.129.16 tcp dport { 80, 32526 } reject
  }
}
RULES
fi
