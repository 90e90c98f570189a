//! Programs that write to devices.

use crate::commands::Line;
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

impl Walk<'_> {
    /// Judges a program that writes to a device, if this is one.
    pub(super) fn on_device(&mut self, line: &Line<'_>) -> bool {
        match line.name {
            "mknod" => self.refuse(&line.shown, "makes a device"),
            "dd" | "dcfldd" | "dc3dd" => {
                for value in line.arguments {
                    if value.prefix().starts_with("of=") {
                        self.act(Act::Write, &value.after(3), &line.shown);
                        let content = Output::Unknown(format!("the output of `{}`", line.shown));
                        self.remember(&[value.after(3)], &content);
                    }
                }
            }
            "ddrescue" | "partimage" => {
                let operands = line.options("bcimnorsSX", &[]).operands;
                self.each(Act::Write, operands.get(1..).unwrap_or_default(), line);
            }
            "mkfs" | "mke2fs" | "mkswap" | "mkdosfs" | "mkfs.ext2" | "mkfs.ext3" | "mkfs.ext4"
            | "mkfs.xfs" | "mkfs.btrfs" | "mkfs.vfat" | "mkfs.fat" | "mkfs.ntfs" | "mkfs.f2fs"
            | "mkntfs" => {
                // `-F` forces for most of them, and takes a number for those of FAT.
                let is_fat = ["fat", "dos"].iter().any(|it| line.name.contains(it))
                    || line.has(&["vfat", "fat", "msdos"]);
                let short = if is_fat {
                    "tLFnisrRfbmM"
                } else {
                    "tLbNiIOEUmCdgGJoT"
                };
                let mut targets = line.options(short, &["type"]).operands;
                // A device is overwritten wherever it stands.
                let is_device = |value: &&Value| value.prefix().starts_with("/dev/");
                targets.extend(line.arguments.iter().filter(is_device).cloned());
                self.each(Act::Write, &targets, line);
            }
            _ => return false,
        }
        true
    }
}
