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
    ("apt-key", "changes what is installed on the system"),
    (
        "add-apt-repository",
        "changes what is installed on the system",
    ),
    (
        "dpkg-reconfigure",
        "changes what is installed on the system",
    ),
    ("dpkg-divert", "changes what is installed on the system"),
    (
        "dpkg-statoverride",
        "changes what is installed on the system",
    ),
    (
        "debconf-set-selections",
        "changes what is installed on the system",
    ),
    ("alternatives", "changes what is installed on the system"),
    (
        "nix-collect-garbage",
        "changes what is installed on the system",
    ),
    ("depmod", "changes what is installed on the system"),
    ("dkms", "changes what is installed on the system"),
    ("update-initramfs", "changes how the machine starts"),
    ("dracut", "changes how the machine starts"),
    ("mkinitcpio", "changes how the machine starts"),
    ("grub2-mkconfig", "changes how the machine starts"),
    ("grub-mkconfig", "changes how the machine starts"),
    ("grub2-install", "changes how the machine starts"),
    ("aa-teardown", "changes the rights on the system"),
    ("aa-disable", "changes the rights on the system"),
    ("aa-complain", "changes the rights on the system"),
    ("aa-enforce", "changes the rights on the system"),
    ("aa-remove-unknown", "changes the rights on the system"),
    ("apparmor_parser", "changes the rights on the system"),
    ("setsebool", "changes the rights on the system"),
    ("semanage", "changes the rights on the system"),
    ("restorecon", "changes the rights on the system"),
    ("faillock", "changes the rights on the system"),
    ("pam_tally2", "changes the rights on the system"),
    ("newusers", "changes the users of the system"),
    ("chage", "changes the users of the system"),
    ("pwconv", "changes the users of the system"),
    ("pwunconv", "changes the users of the system"),
    ("delgroup", "changes the users of the system"),
    ("addgroup", "changes the users of the system"),
    ("rmuser", "changes the users of the system"),
    ("vigr", "changes the users of the system"),
    ("vgchange", "changes a device"),
    ("lvchange", "changes a device"),
    ("lvconvert", "changes a device"),
    ("lvextend", "changes a device"),
    ("pvmove", "changes a device"),
    ("vgrename", "changes a device"),
    ("lvrename", "changes a device"),
    ("e2label", "changes a device"),
    ("dosfslabel", "changes a device"),
    ("growpart", "changes a device"),
    ("kpartx", "changes a device"),
    ("ethtool", "changes a device"),
    ("partclone", "changes a device"),
    ("fsfreeze", "changes a device"),
    ("zramctl", "changes a device"),
    ("rtcwake", "changes a device"),
    ("xfs_growfs", "changes a device"),
    ("systemd-tmpfiles", "changes the services of the machine"),
    ("systemd-sysusers", "changes the services of the machine"),
    ("udevadm", "changes the services of the machine"),
    ("logrotate", "changes the services of the machine"),
    ("sshfs", "changes what is mounted"),
    ("fusermount", "changes what is mounted"),
    ("mount.nfs", "changes what is mounted"),
    ("mount.cifs", "changes what is mounted"),
    ("ssh-copy-id", "changes another machine"),
    ("wg-quick", "changes the network of the machine"),
    ("exportfs", "changes the network of the machine"),
    ("quotaoff", "changes the rights on the system"),
    ("quotaon", "changes the rights on the system"),
    ("setquota", "changes the rights on the system"),
    ("edquota", "changes the rights on the system"),
    ("kadmin", "changes the users of the system"),
    ("kadmin.local", "changes the users of the system"),
    ("smbpasswd", "changes the users of the system"),
    ("ldapdelete", "changes the users of the system"),
    ("ldapmodify", "changes the users of the system"),
    ("ldapadd", "changes the users of the system"),
    ("update-alternatives", "changes what is installed"),
];

/// Words of other programs that change something there: program, words, what they do.
const SOMETIMES: &[(&[&str], &[&str], &str)] = &[
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
        &["iptables", "ip6tables", "nft", "ipset"],
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
pub(super) fn names_own_program(line: &Line<'_>) -> bool {
    let options = line.options("stPguUGFx", &["signal", "pidfile", "parent", "user"]);
    let (is_whole, [pattern]) = (options.has(&["f", "full"]), options.operands.as_slice()) else {
        return false;
    };
    let others = ["u", "U", "g", "G", "v", "inverse", "user"];
    let pattern = pattern.exact().unwrap_or_default();
    let words = pattern.split([' ', '/', '.', ':']);
    let words = words.filter(|word| word.len() > 1 && word.chars().all(char::is_alphanumeric));
    matches!(line.name, "pkill" | "pgrep") && is_whole && !options.has(&others) && words.count() > 1
}

impl Walk<'_> {
    /// Judges programs that change the machine, if this is one.
    pub(crate) fn system(&mut self, line: &Line<'_>) -> bool {
        if line.is_about_itself() {
            return false;
        }
        // What some of them are asked, and `logrotate -d`.
        let looks: &[&str] = match line.name {
            "passwd" => &["-S", "--status"],
            "chage" => &["-l", "--list"],
            "mdadm" => &["--detail", "-D", "--examine", "-E"],
            "losetup" => &["-a", "-l", "--list", "-j"],
            "udevadm" => &["info", "monitor", "settle", "test"],
            "logrotate" => &["-d", "--debug"],
            "hdparm" => &["-I", "-i", "-g"],
            "ethtool" | "alternatives" | "update-alternatives" => {
                &["--list", "--display", "-i", "-S", "--query"]
            }
            _ => &[],
        };
        if line.has(looks) || (line.name == "auditctl" && line.has(&["-l", "-s"])) {
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
            "nvidia-smi" => {
                if line.has(&["--gpu-reset", "-r", "-pl", "-pm", "-mig", "-c"]) {
                    self.refuse(&line.shown, "changes a device");
                }
            }
            "auditctl" => self.refuse(&line.shown, "changes what the machine records"),
            "journalctl" => {
                let words = line.texts();
                let changes = ["--vacuum", "--rotate", "--flush", "--sync", "--setup-keys"];
                if words
                    .iter()
                    .any(|word| changes.iter().any(|it| word.starts_with(it)))
                {
                    self.refuse(&line.shown, "removes what the machine recorded");
                }
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
            let dry = line.is_about_itself()
                || line.before_end().any(|word| {
                    matches!(
                        word.exact().as_deref(),
                        Some("--dry-run" | "-s" | "--simulate")
                    )
                });
            let changes = words.iter().any(|word| {
                changing.contains(&word.as_str())
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
