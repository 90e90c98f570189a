//! What is found out about a command: what it does to which path, and how that is said.

use crate::place::{Place, places};
use crate::shell::Walk;
use crate::value::{Part, Value};
use crate::verdict::FINDINGS_MAX;
use crate::{Decision, Finding};

/// What is done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Remove,
    Write,
    Change,
    Create,
}

impl Act {
    fn verb(self) -> &'static str {
        match self {
            Self::Remove => "removes",
            Self::Write => "writes to",
            Self::Change => "changes the mode or owner of",
            Self::Create => "creates",
        }
    }
}

impl Walk<'_> {
    pub(crate) fn find(
        &mut self,
        decision: Decision,
        reason: &str,
        command: &str,
        path: Option<String>,
    ) {
        let finding = Finding {
            decision,
            reason: printable(reason),
            command: shorten(command),
            path,
        };
        if self.findings.contains(&finding) {
            return;
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else if self.findings.iter().all(|known| known.decision < decision) {
            self.findings.pop();
            self.findings.push(finding);
        }
    }

    /// What a part of the command does cannot be told.
    pub(crate) fn ask(&mut self, command: &str, why: &str) {
        let shown = match shorten(command) {
            nothing if nothing.is_empty() => "this".to_owned(),
            command => format!("`{command}`"),
        };
        let reason = format!("cannot tell what {shown} changes: {why}");
        self.find(Decision::Ask, &reason, command, None);
    }

    /// A part of the command does something that is not about a path.
    pub(crate) fn refuse(&mut self, command: &str, what: &str) {
        let reason = format!("`{}` {what}", shorten(command));
        self.find(Decision::Refuse, &reason, command, None);
    }

    pub(crate) fn places(&self, value: &Value) -> Vec<Place> {
        places(value, &self.state.cwd, &self.state.links, self.context)
    }

    /// A path's plain form, when it is known exactly.
    pub(crate) fn path(&self, value: &Value) -> Option<String> {
        value.exact()?;
        match self.places(value).as_slice() {
            [
                Place::Inside(path)
                | Place::Scratch(path)
                | Place::HomeItself(path)
                | Place::Home(path, _)
                | Place::Outside(path),
            ] => Some(path.clone()),
            _ => None,
        }
    }

    /// Something is done to a path.
    #[expect(
        clippy::match_same_arms,
        reason = "in the order of the places, what is refused first"
    )]
    pub(crate) fn act(&mut self, act: Act, value: &Value, command: &str) {
        let mut target = value.clone();
        if act != Act::Remove && !target.0.is_empty() {
            // What is at the end of a link is meant.
            target.push(Part::Text("/".to_owned()));
        }
        let shown = shorten(command);
        let verb = act.verb();
        let removes = act == Act::Remove;
        for place in self.places(&target) {
            let (decision, path, why) = match place {
                // What is put in its place is no device any more.
                Place::Stream if removes => (
                    Decision::Refuse,
                    value.shown(),
                    ", which programs write to and read from",
                ),
                Place::Stream => continue,
                Place::Inside(path) => (Decision::Allow, path, ""),
                Place::Scratch(path) if removes => {
                    (Decision::Refuse, path, ", the scratch directory itself")
                }
                Place::Scratch(path) => (Decision::Allow, path, ""),
                Place::HomeItself(path) if removes => {
                    (Decision::Refuse, path, ", the whole home directory")
                }
                Place::HomeItself(path) => (Decision::Allow, path, ""),
                Place::Home(path, rest) if is_obeyed(&rest) => (
                    Decision::Refuse,
                    path,
                    ", which decides what later programs do",
                ),
                Place::Home(path, rest) if rest.ends_with("sh_history") => {
                    (Decision::Refuse, path, ", the record of what was run")
                }
                Place::Home(path, rest) if removes && !is_cache(&rest) => (
                    Decision::Ask,
                    path,
                    ", which is in the home directory and not in the workspace",
                ),
                Place::Home(path, _) => (Decision::Allow, path, ""),
                Place::Outside(path)
                    if path.starts_with("/dev/tcp/") || path.starts_with("/dev/udp/") =>
                {
                    (Decision::Refuse, path, ", a connection to another machine")
                }
                Place::Outside(path) if path.starts_with("/dev/") => {
                    (Decision::Refuse, path, ", which is a device")
                }
                Place::Outside(path) => {
                    (Decision::Refuse, path, ", which is outside the workspace")
                }
                Place::Named(path) => (Decision::Allow, path, ""),
                Place::Unknown(why) => {
                    let why = if why.starts_with('$') {
                        format!("the value of `{}` is not known", shorten(&why))
                    } else {
                        format!("{} is not known", shorten(&why))
                    };
                    let reason = format!("cannot tell what `{shown}` {verb}: {why}");
                    self.find(Decision::Ask, &reason, command, None);
                    continue;
                }
            };
            let path = shorten(&path);
            let reason = format!("`{shown}` {verb} {path}{why}");
            self.find(decision, &reason, command, Some(path));
        }
    }
}

/// Files of a home that programs obey.
fn is_obeyed(rest: &str) -> bool {
    let first = rest.split('/').next().unwrap_or_default();
    let starts = [
        ".config/autostart",
        ".config/systemd",
        ".config/fish",
        ".config/environment.d",
    ];
    if starts.iter().any(|start| rest.starts_with(start)) {
        return true;
    }
    matches!(
        first,
        ".ssh"
            | ".azure"
            | ".docker"
            | ".password-store"
            | ".bash_aliases"
            | ".pam_environment"
            | ".xinitrc"
            | ".xprofile"
            | ".xsession"
            | ".zlogin"
            | ".zlogout"
            | ".kshrc"
            | ".cshrc"
            | ".tcshrc"
            | ".login"
            | ".pypirc"
            | ".gnupg"
            | ".aws"
            | ".kube"
            | ".bashrc"
            | ".bash_profile"
            | ".bash_login"
            | ".bash_logout"
            | ".profile"
            | ".zshrc"
            | ".zshenv"
            | ".zprofile"
            | ".netrc"
    )
}

/// Parts of a home that tools fill again.
fn is_cache(rest: &str) -> bool {
    let first = rest.split('/').next().unwrap_or_default();
    matches!(first, ".cache" | ".npm" | ".local" | ".cargo" | ".config")
}

/// A part of a command as it is shown: one line, nothing that moves the cursor, not long.
pub(crate) fn shorten(text: &str) -> String {
    const LENGTH: usize = 100;
    let text = text.trim();
    let mut shown: String = printable(text).chars().take(LENGTH).collect();
    if text.chars().nth(LENGTH).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Text in one line, with nothing that moves the cursor or is not seen.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_control() => ' ',
            // Marks that change the order of what is shown, or show nothing.
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{e0000}'..='\u{e0fff}' => '?',
            c => c,
        })
        .collect()
}
