#!/bin/bash
# Mounts the machine's data disk, LUN 0, at a folder; formats it when it is blank. May run again at any time.
# Usage: data-disk.sh FOLDER
set -Eeuo pipefail
failed() { echo "data-disk.sh failed at line $2, exit code $1"; exit "$1"; }
trap 'failed $? $LINENO' ERR
folder="$1"
patience_tries=60

# By its number, as names such as sdc change; the second path is that of sizes with NVMe disks (docs: azure-vm-utils).
device=""
for ((tries = 0; tries < patience_tries; tries++)); do
  for link in /dev/disk/azure/scsi1/lun0 /dev/disk/azure/data/by-lun/0; do
    if [[ -e "$link" ]]; then device="$(readlink -f "$link")"; fi
  done
  [[ -z "$device" ]] || break
  echo "waiting for the data disk"
  sleep 5
done
if [[ ! -b "$device" ]]; then
  echo "there is no data disk with LUN 0; see that it is attached to this machine"
  false
fi
# Formatted only when blank: blkid knows of nothing on it (2), and it has no partitions. Any doubt stops here.
found=0
blkid -p "$device" || found=$?
if [[ "$found" == 2 && "$(lsblk -n -o NAME "$device" | wc -l)" == 1 ]]; then
  mkfs.ext4 -q -L millpond "$device"
fi
kind="$(blkid -p -o value -s TYPE "$device" || true)"
if [[ "$kind" != ext4 ]]; then
  echo "the data disk has something else on it than our file system (${kind:-no file system}); it is left as it is"
  false
fi
disk_id="$(blkid -p -o value -s UUID "$device")"
mkdir -p "$folder"
if ! grep -q "^UUID=$disk_id " /etc/fstab; then
  sed -i "\\| $folder |d" /etc/fstab
  # nofail: a machine without its disk still starts and can be looked at; the service does not start there.
  echo "UUID=$disk_id $folder ext4 defaults,nofail,x-systemd.device-timeout=90s 0 2" >>/etc/fstab
  if [[ -d /run/systemd/system ]]; then systemctl daemon-reload; fi
fi
mountpoint -q "$folder" || mount "$folder"
# A disk that was made larger meanwhile.
resize2fs "$device"
