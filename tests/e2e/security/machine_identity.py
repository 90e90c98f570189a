"""Attempts: to learn which machine it is on: identifiers that are the same in every run, serial numbers, hardware addresses.
Seen from outside: none can be read.
Kind: theft
Expect: {"outcome": {"kind": "completed"}, "answer": "read []"}
Except runsc: its kernel makes these up, and they name no machine
"""
import glob
import os
import socket
import uuid


def main(query):
    read = []
    paths = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id", "/proc/cmdline", "/proc/keys", "/proc/net/arp",
             "/sys/class/dmi/id/product_uuid", "/sys/devices/virtual/dmi/id/board_serial", "/sys/firmware/dmi/tables/DMI",
             "/sys/hypervisor/uuid", "/proc/device-tree/serial-number", "/proc/partitions", "/proc/diskstats", "/proc/swaps",
             "/proc/version_signature", "/proc/sys/kernel/hostname.real", "/proc/1/cgroup", *glob.glob("/sys/class/net/*/address"),
             *glob.glob("/sys/block/*/device/serial"), *glob.glob("/proc/scsi/*")]
    for path in paths:
        try:
            with open(path, "rb") as file:
                text = file.read(200).strip()
        except OSError:
            continue
        # A table without entries names nobody, and a private view of control groups only says `/`.
        lines = [line for line in text.splitlines() if not line.startswith((b"IP address", b"Filename", b"major")) and line.strip()]
        if lines and not all(line.endswith(b":/") for line in lines):
            read.append([path, text])
    if socket.gethostname() != "sandbox" or os.uname().nodename != "sandbox":
        read.append(os.uname().nodename)
    if not (uuid.getnode() >> 40) & 1:  # A random one has this bit.
        read.append(hex(uuid.getnode()))
    return {"answer": f"read {read}"}
