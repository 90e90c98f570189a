//! `sed`: which files its script writes, and which commands it runs.

/// What a script does beyond changing the lines that pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Writes to this file.
    Write(String),
    /// Runs this command.
    Run(String),
    /// Runs the line as a command.
    RunLine,
}

/// Reads a script as GNU `sed` does. What does not read as a script has no effects: `sed` refuses it.
pub(crate) fn effects(script: &str) -> Vec<Effect> {
    let mut reader = Reader {
        rest: script,
        effects: Vec::new(),
    };
    while !reader.rest.is_empty() && reader.command().is_some() {}
    reader.effects
}

struct Reader<'a> {
    rest: &'a str,
    effects: Vec<Effect>,
}

impl<'a> Reader<'a> {
    /// One command with its addresses; `None` where there is none.
    fn command(&mut self) -> Option<()> {
        self.skip(|c| c.is_whitespace() || c == ';' || c == '}');
        self.address()?;
        self.skip(char::is_whitespace);
        if self.rest.starts_with(',') {
            self.next();
            self.skip(char::is_whitespace);
            self.address()?;
        }
        self.skip(|c| c.is_whitespace() || c == '!');
        match self.next()? {
            '#' | ':' | 'a' | 'i' | 'c' => self.text(),
            '{' => {}
            'w' | 'W' => {
                let file = self.line().trim();
                self.effects.push(Effect::Write(file.to_owned()));
            }
            'e' => {
                let command = self.line().trim();
                self.effects.push(if command.is_empty() {
                    Effect::RunLine
                } else {
                    Effect::Run(command.to_owned())
                });
            }
            'r' | 'R' => {
                self.line();
            }
            's' => self.substitution()?,
            'y' => {
                let mark = self.next()?;
                self.until(mark)?;
                self.until(mark)?;
            }
            // A label, a number, or nothing.
            _ => self.skip(|c| !matches!(c, ';' | '\n' | '}')),
        }
        Some(())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, fits: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(fits);
    }

    /// What is left of the line.
    fn line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        line
    }

    /// A text that goes on where its lines end with a backslash.
    fn text(&mut self) {
        while self.line().ends_with('\\') && !self.rest.is_empty() {}
    }

    /// A line number, `$`, or a pattern; or nothing.
    fn address(&mut self) -> Option<()> {
        match self.rest.chars().next() {
            Some('/') => {
                self.next();
                self.until('/')?;
                self.skip(|c| matches!(c, 'I' | 'M'));
            }
            Some('\\') => {
                self.next();
                let mark = self.next()?;
                self.until(mark)?;
                self.skip(|c| matches!(c, 'I' | 'M'));
            }
            _ => self.skip(|c| c.is_ascii_digit() || matches!(c, '$' | '~' | '+')),
        }
        Some(())
    }

    /// Up to a mark that is neither quoted nor in brackets.
    fn until(&mut self, mark: char) -> Option<&'a str> {
        let mut is_quoted = false;
        for (at, c) in self.rest.char_indices() {
            if is_quoted {
                is_quoted = false;
            } else if c == '\\' {
                is_quoted = true;
            } else if c == mark {
                let text = &self.rest[..at];
                self.rest = &self.rest[at + c.len_utf8()..];
                return Some(text);
            }
        }
        None
    }

    fn substitution(&mut self) -> Option<()> {
        let mark = self.next()?;
        self.until(mark)?;
        let replacement = self.until(mark)?;
        loop {
            match self.rest.chars().next() {
                Some('g' | 'p' | 'i' | 'I' | 'm' | 'M' | '0'..='9') => drop(self.next()),
                Some('e') => {
                    self.next();
                    let command = replacement.replace("\\/", "/");
                    self.effects.push(Effect::Run(command));
                    self.effects.push(Effect::RunLine);
                }
                Some('w') => {
                    self.next();
                    let file = self.line().trim();
                    self.effects.push(Effect::Write(file.to_owned()));
                    return Some(());
                }
                _ => return Some(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, expected: &[Effect]) {
        assert_eq!(effects(script), expected, "{script}");
    }

    #[test]
    fn files_and_commands_are_found_wherever_they_stand() {
        let write = |file: &str| Effect::Write(file.to_owned());
        let run = |command: &str| Effect::Run(command.to_owned());
        check("s/a/b/g; /^w x/d; y/ew/we/; p", &[]);
        check("w a", &[write("a")]);
        check("$w/etc/a", &[write("/etc/a")]);
        check("/a/,/b/w /etc/a", &[write("/etc/a")]);
        check("/a/{s/x/y/w b\nd}", &[write("b")]);
        check("\\,a,!{s|a|b|gw c\n}", &[write("c")]);
        check("1e rm x", &[run("rm x")]);
        check("1!e", &[Effect::RunLine]);
        check("s/.*/rm \\/x/e", &[run("rm /x"), Effect::RunLine]);
        check("a e rm\n2e ls", &[run("ls")]);
        check("a\\\ne rm\\\ne rm\n2e ls", &[run("ls")]);
        check("b e; :e", &[]);
        check("s/[/]w a/b/", &[]);
    }
}
