//! Commands of editors: `vi`, `ex`, `ed`.

/// What a command of an editor does beyond editing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Writes to this file.
    Write(String),
    /// Runs this command.
    Run(String),
    /// Runs code of the editor's own language.
    Code,
}

/// What a script of `ed` does: commands by lines, with texts between them.
pub(crate) fn of_script(script: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        effects.extend(of_command(line));
        let last = line.trim_start_matches(is_address);
        if matches!(last, "a" | "i" | "c") {
            // A text up to a dot.
            for line in lines.by_ref() {
                if line == "." {
                    break;
                }
            }
        }
    }
    effects
}

fn is_address(c: char) -> bool {
    c.is_ascii_digit()
        || matches!(
            c,
            '%' | '$' | '.' | ',' | '+' | '-' | ' ' | ':' | '\'' | '<' | '>'
        )
}

/// What one command does.
pub(crate) fn of_command(command: &str) -> Option<Effect> {
    let mut plain = command.trim().trim_start_matches(is_address);
    if let Some(rest) = plain.strip_prefix('/') {
        plain = rest.split_once('/').map_or("", |(_, rest)| rest);
        plain = plain.trim_start_matches(is_address);
    }
    if let Some(run) = plain.strip_prefix('!') {
        return Some(Effect::Run(run.trim_start_matches('!').to_owned()));
    }
    let end = plain
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(plain.len());
    let (name, rest) = plain.split_at(end);
    let rest = rest.trim_start_matches('!').trim();
    match name {
        "w" | "W" | "wq" | "x" | "write" | "sav" | "saveas" | "r" | "read" | "e" | "edit" | "f"
        | "file" | "up" | "update" => {
            // `w !cmd` and `r !cmd`, and `w>>file`.
            if let Some((_, run)) = plain[end..].split_once(" !") {
                return Some(Effect::Run(run.to_owned()));
            }
            if name == "e" && plain.starts_with("e !") {
                return Some(Effect::Run(rest.to_owned()));
            }
            let writes = !matches!(name, "r" | "read" | "e" | "edit");
            let file = rest.trim_start_matches('>').trim();
            (writes && !file.is_empty()).then(|| Effect::Write(file.to_owned()))
        }
        // Each line that fits is edited by a command.
        "g" | "v" | "global" | "vglobal" => {
            let mark = rest.chars().next()?;
            let after = rest.get(mark.len_utf8()..)?.split_once(mark)?.1;
            of_command(after)
        }
        "call" | "cal" | "exe" | "exec" | "execute" | "py" | "python" | "pyx" | "perl" | "ruby"
        | "lua" | "tcl" | "so" | "source" | "let" | "terminal" | "ter" | "term" | "make"
        | "silent" | "sil" | "eval" | "au" | "autocmd" | "echo" | "pyfile" | "luafile"
        | "redir" => Some(Effect::Code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &str, expected: impl Into<Option<Effect>>) {
        assert_eq!(of_command(command), expected.into(), "{command}");
    }

    #[test]
    fn what_leaves_the_editor_is_found() {
        let run = |text: &str| Some(Effect::Run(text.to_owned()));
        let write = |text: &str| Some(Effect::Write(text.to_owned()));
        check("%s/a/b/g", None);
        check("wq", None);
        check("1,$d", None);
        check(":!rm x", run("rm x"));
        check("%!sort", run("sort"));
        check("w !sh", run("sh"));
        check("r !ls", run("ls"));
        check("w! /etc/x", write("/etc/x"));
        check("1,5w a", write("a"));
        check("g/a/w b", write("b"));
        check("call system('rm')", Some(Effect::Code));
        assert_eq!(
            of_script("a\n!rm\n.\n!ls\nq"),
            [Effect::Run("ls".to_owned())]
        );
    }
}
