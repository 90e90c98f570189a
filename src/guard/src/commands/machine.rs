//! Programs that change the machine: none of it is in the workspace.

use super::Line;
use crate::shell::Walk;
use crate::value::{Part, Value};

/// Programs that only ever change what is outside the workspace, and what they do.
const ALWAYS: &[(&str, &str)] = &[
    ("reboot", "stops the machine"),
    ("shutdown", "stops the machine"),
    ("halt", "stops the machine"),
    ("poweroff", "stops the machine"),
    ("telinit", "changes the state of the machine"),
    ("kexec", "starts another kernel"),
    ("useradd", "changes the users of the system"),
    ("userdel", "changes the users of the system"),
    ("usermod", "changes the users of the system"),
    ("adduser", "changes the users of the system"),
    ("deluser", "changes the users of the system"),
    ("groupadd", "changes the groups of the system"),
    ("groupdel", "changes the groups of the system"),
    ("groupmod", "changes the groups of the system"),
    ("gpasswd", "changes the groups of the system"),
    ("passwd", "changes the users of the system"),
    ("chpasswd", "changes the users of the system"),
    ("chsh", "changes the users of the system"),
    ("visudo", "changes the rights on the system"),
    ("vipw", "changes the users of the system"),
    ("umount", "changes what is mounted"),
    ("pivot_root", "changes what is mounted"),
    ("switch_root", "changes what is mounted"),
    ("swapoff", "changes the memory of the machine"),
    ("wipefs", "overwrites a device"),
    ("blkdiscard", "overwrites a device"),
    ("sgdisk", "overwrites a device"),
    ("badblocks", "overwrites a device"),
    ("cryptsetup", "changes a device"),
    ("lvremove", "changes a device"),
    ("vgremove", "changes a device"),
    ("pvremove", "changes a device"),
    ("lvreduce", "changes a device"),
    ("lvresize", "changes a device"),
    ("lvcreate", "changes a device"),
    ("vgcreate", "changes a device"),
    ("vgreduce", "changes a device"),
    ("pvcreate", "changes a device"),
    ("sg_format", "overwrites a device"),
    ("e2fsck", "changes a device"),
    ("fsck", "changes a device"),
    ("debugfs", "changes a device"),
    ("xfs_repair", "changes a device"),
    ("ntfsfix", "changes a device"),
    ("mdadm", "changes a device"),
    ("hdparm", "changes a device"),
    ("losetup", "changes a device"),
    ("tune2fs", "changes a device"),
    ("resize2fs", "changes a device"),
    ("insmod", "changes the kernel"),
    ("rmmod", "changes the kernel"),
    ("modprobe", "changes the kernel"),
    ("setenforce", "changes the rights on the system"),
    ("update-grub", "changes how the machine starts"),
    ("grub-install", "changes how the machine starts"),
    ("ldconfig", "changes what programs load"),
    ("update-alternatives", "changes what is installed"),
];

/// Words of other programs that change something there: program, words, what they do.
const SOMETIMES: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "apt", "apt-get", "aptitude", "yum", "dnf", "zypper", "apk", "snap", "brew", "emerge",
            "flatpak",
        ],
        &[
            "install",
            "remove",
            "purge",
            "autoremove",
            "upgrade",
            "dist-upgrade",
            "full-upgrade",
            "update",
            "del",
            "add",
            "erase",
            "clean",
            "reinstall",
            "uninstall",
        ],
        "changes what is installed on the system",
    ),
    (
        &["pacman", "yay", "paru"],
        &["-S", "-R", "-U", "--sync", "--remove", "--upgrade"],
        "changes what is installed on the system",
    ),
    (
        &["zfs", "zpool", "btrfs", "bcachefs"],
        &[
            "destroy",
            "rollback",
            "create",
            "delete",
            "remove",
            "labelclear",
            "detach",
            "offline",
            "set",
            "add",
            "replace",
            "receive",
            "rename",
            "split",
            "device",
            "balance",
            "format",
        ],
        "changes a file system",
    ),
    (
        &[
            "nvme",
            "dmsetup",
            "multipath",
            "iscsiadm",
            "efibootmgr",
            "fwupdmgr",
            "flashrom",
        ],
        &[
            "format",
            "sanitize",
            "remove",
            "remove_all",
            "wipe_table",
            "-F",
            "-B",
            "-w",
            "-W",
            "install",
            "update",
            "delete-ns",
            "--logout",
            "-u",
        ],
        "changes a device",
    ),
    (
        &["dpkg", "rpm"],
        &[
            "-i",
            "-r",
            "-P",
            "-e",
            "-U",
            "-F",
            "--install",
            "--remove",
            "--purge",
            "--erase",
            "--configure",
        ],
        "changes what is installed on the system",
    ),
    (
        &["systemctl", "service", "initctl", "rc-service"],
        &[
            "start",
            "stop",
            "restart",
            "reload",
            "disable",
            "enable",
            "mask",
            "kill",
            "isolate",
            "poweroff",
            "reboot",
            "halt",
            "edit",
            "daemon-reload",
        ],
        "changes the services of the machine",
    ),
    (
        &["iptables", "ip6tables", "nft", "ufw", "ipset"],
        &[
            "-F", "-A", "-D", "-I", "-X", "-P", "-R", "-N", "-Z", "--flush", "flush", "add",
            "delete", "disable", "enable", "reset", "destroy",
        ],
        "changes the network of the machine",
    ),
    (
        &["ip", "ifconfig", "route", "tc", "nmcli"],
        &[
            "set", "add", "del", "delete", "flush", "down", "up", "change", "replace",
        ],
        "changes the network of the machine",
    ),
];

/// `pkill -f "server.py --port 1"`: a command line that nothing else has, and not just a program.
fn names_own_program(line: &Line<'_>) -> bool {
    let options = line.options("stPguUGFx", &["signal", "pidfile", "parent", "user"]);
    let (is_whole, [pattern]) = (options.has(&["f", "full"]), options.operands.as_slice()) else {
        return false;
    };
    let others = ["u", "U", "g", "G", "v", "inverse", "user"];
    let pattern = pattern.exact().unwrap_or_default();
    let words = pattern.split([' ', '/', '.', ':']);
    let words = words.filter(|word| word.len() > 1 && word.chars().all(char::is_alphanumeric));
    line.name == "pkill" && is_whole && !options.has(&others) && words.count() > 1
}

/// Programs whose letters for what is done stand together with others: `rpm -Uvh`, `pacman -Rns`.
fn is_package_file(name: &str) -> bool {
    matches!(name, "rpm" | "pacman" | "yay" | "paru")
}

fn begins_with_one(word: &str, changing: &[&str]) -> bool {
    let looks = ["-Ss", "-Si", "-Sl", "-Sg"];
    !looks.contains(&word)
        && changing
            .iter()
            .any(|flag| flag.len() == 2 && word.starts_with(flag))
}

impl Walk<'_> {
    /// Judges programs that change the machine, if this is one.
    pub(crate) fn system(&mut self, line: &Line<'_>) -> bool {
        if line.has(&["--help", "--version"]) {
            return false;
        }
        if line.name == "passwd" && line.has(&["-S", "--status"]) {
            return true;
        }
        if let Some((_, what)) = ALWAYS.iter().find(|(name, _)| *name == line.name) {
            self.refuse(&line.shown, what);
            return true;
        }
        let operands = line.options("", &[]).operands;
        match line.name {
            "init" => {
                if !operands.is_empty() {
                    self.refuse(&line.shown, "changes the state of the machine");
                }
            }
            "mount" | "swapon" => {
                if !operands.is_empty() || line.has(&["-a", "--all"]) {
                    self.refuse(&line.shown, "changes what is mounted");
                }
            }
            "fdisk" | "parted" | "sfdisk" | "cfdisk" | "gdisk" => {
                if !line.has(&["-l", "--list", "-d", "--dump", "print"]) {
                    self.refuse(&line.shown, "changes the partitions of a device");
                }
            }
            "sysctl" => {
                if line.shown.contains('=') || line.has(&["-w", "-p", "--write", "--load"]) {
                    self.refuse(&line.shown, "changes the kernel");
                }
            }
            "hostname" | "hostnamectl" | "timedatectl" | "localectl" | "domainname" => {
                let sets = operands
                    .iter()
                    .any(|value| !matches!(value.exact().as_deref(), Some("status" | "show")));
                if sets {
                    self.refuse(&line.shown, "changes the machine");
                }
            }
            "date" | "hwclock" => {
                self.refuse(&line.shown, "sets the clock of the machine");
            }
            "crontab" => {
                let lists = line.has(&["-l"]);
                if !lists {
                    self.refuse(&line.shown, "changes what the machine runs by itself");
                }
            }
            "kill" => self.kill(line),
            "pkill" | "killall" | "killall5" | "skill" | "xkill" => {
                let only_looks = line.has(&["-0", "-l", "--list", "--signal=0"]);
                if !only_looks && !names_own_program(line) {
                    self.ask(&line.shown, "which programs it ends is not known");
                }
            }
            "nc" | "ncat" | "netcat" | "socat" | "telnet" => {
                let runs = line.has(&["-e", "-c", "--exec", "--sh-exec"])
                    || line.shown.to_lowercase().contains("exec:")
                    || line.shown.to_lowercase().contains("system:");
                if runs {
                    self.refuse(&line.shown, "lets another machine run commands here");
                }
            }
            "fuser" if line.options("kmnNM", &[]).has(&["k", "kill"]) || line.has(&["-k"]) => {
                self.ask(&line.shown, "which programs it ends is not known");
            }
            "renice" => self.ask(&line.shown, "which programs it changes is not known"),
            _ => return false,
        }
        true
    }

    /// Judges programs that change the machine with some of their words, if this is one.
    pub(crate) fn sometimes(&mut self, line: &Line<'_>) -> bool {
        let words = line.texts();
        for (names, changing, what) in SOMETIMES {
            if !names.contains(&line.name) {
                continue;
            }
            let dry = line.has(&["--dry-run", "-s", "--simulate", "--help", "--version"]);
            let changes = words.iter().any(|word| {
                changing.contains(&word.as_str())
                    || (is_package_file(line.name) && begins_with_one(word, changing))
                    || (word.starts_with('-')
                        && changing
                            .iter()
                            .any(|flag| word.starts_with(&format!("{flag}="))))
            });
            if changes && !dry {
                self.refuse(&line.shown, what);
            }
            return true;
        }
        false
    }

    fn kill(&mut self, line: &Line<'_>) {
        let mut rest = line.arguments.iter();
        let mut targets: Vec<Value> = Vec::new();
        let mut has_signal = false;
        while let Some(value) = rest.next() {
            let text = value.exact().unwrap_or_default();
            match text.as_str() {
                "-l" | "-L" | "--list" | "--table" | "-0" => return,
                "-s" | "-n" | "--signal" => {
                    has_signal = true;
                    rest.next();
                }
                "--" => {
                    targets.extend(rest.by_ref().cloned());
                }
                _ if text.starts_with('-') && !has_signal && targets.is_empty() => {
                    has_signal = true;
                }
                _ => targets.push(value.clone()),
            }
        }
        if targets.is_empty() && line.has(&["-1"]) {
            // `kill -1` alone is a usage error; with a signal before it, it is everything.
            return;
        }
        for target in targets {
            let text = target.exact().unwrap_or_default();
            match text.as_str() {
                "1" => self.refuse(&line.shown, "ends the first process of the sandbox"),
                "0" => {}
                "-1" => self.refuse(&line.shown, "ends every process that it can reach"),
                _ if text.starts_with('%') => {}
                _ if target
                    .0
                    .iter()
                    .all(|part| matches!(part, Part::Job | Part::Name))
                    && !target.0.is_empty() => {}
                _ => self.ask(&line.shown, "which program it ends is not known"),
            }
        }
    }
}
