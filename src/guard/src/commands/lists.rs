//! Programs whose output is known well enough to say where the paths in it lead.

use super::{Line, Options, plain_text};
use crate::place::Place;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};
use crate::words::unescaped;

impl Walk<'_> {
    /// The output of programs that only write to standard output.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    pub(crate) fn listing(&mut self, line: &Line<'_>) -> Option<Output> {
        let arguments = line.arguments;
        Some(match line.name {
            "echo" => echoed(arguments),
            "printf" => {
                if let Some(first) = arguments.first()
                    && first.exact().as_deref() == Some("-v")
                {
                    let values = match printed(arguments.get(2..).unwrap_or_default()) {
                        Output::Text(text) => vec![Value::text(text)],
                        other => other.values(),
                    };
                    if let Some(name) = arguments.get(1) {
                        self.subscript(name);
                    }
                    if let Some(name) = arguments.get(1).and_then(Value::exact) {
                        self.assign(&name, values, false);
                    }
                    return Some(Output::Nothing);
                }
                printed(arguments)
            }
            "cat" | "tac" | "sort" | "uniq" | "head" | "tail" | "nl" => self.passed(line),
            "cut" if matches!(self.state.stdin, Output::Items(_)) => {
                chosen(&self.state.stdin.clone(), line)
            }
            "pwd" => {
                let all = self.state.cwd.iter().map(|cwd| match cwd {
                    Some(cwd) => Value::text(cwd.clone()),
                    None => Value::unknown("the directory"),
                });
                Output::Items(all.collect())
            }
            "mktemp" => {
                let options = line.options("p", &["tmpdir", "suffix"]);
                let mut paths = options.values(&["p", "tmpdir"]);
                paths.extend(options.operands);
                let is_plain = |value: &Value| {
                    self.places(value)
                        .iter()
                        .all(|place| matches!(place, Place::Inside(_) | Place::Scratch(_)))
                };
                if paths.iter().all(is_plain) {
                    Output::Items(vec![Value::below()])
                } else {
                    self.each(crate::findings::Act::Create, &paths, line);
                    Output::Unknown("the output of `mktemp`".to_owned())
                }
            }
            "date" if !line.has(&["-s"]) && !line.shown.contains("--set") => {
                Output::Items(vec![Value::name()])
            }
            "seq" | "wc" | "nproc" | "id" | "whoami" | "uname" | "arch" | "uuidgen" | "md5sum"
            | "sha256sum" | "expr" | "bc" | "basename" | "hostid" | "logname" => {
                Self::paths_of_numbers(line)
            }
            "dirname" => match arguments {
                [one] => match one.exact() {
                    Some(text) => {
                        let folder = text.trim_end_matches('/').rsplit_once('/');
                        let folder = folder.map_or(".", |(folder, _)| folder);
                        Output::Text(if folder.is_empty() { "/" } else { folder }.to_owned())
                    }
                    None if matches!(one.0.as_slice(), [Part::Below]) => {
                        Output::Items(vec![Value::below()])
                    }
                    None if one.0.iter().all(|part| *part == Part::Name) => {
                        Output::Text(".".to_owned())
                    }
                    None => Output::Unknown(line.shown.clone()),
                },
                _ => Output::Unknown(line.shown.clone()),
            },
            // What they write is made to be evaluated, and sets variables.
            "ssh-agent" | "dircolors" | "lesspipe" | "register-python-argcomplete" => {
                Output::Nothing
            }
            "pyenv" | "rbenv" | "nodenv" | "direnv" | "brew" | "conda" | "mamba" | "starship"
            | "zoxide" | "opam" | "mise" | "fnm" | "jenv"
                if line.has(&["init", "hook", "shellenv", "env", "activate", "shell.bash"]) =>
            {
                Output::Nothing
            }
            // Who listens at a port, and programs by a whole command line: started here.
            "lsof"
                if line.options("iptuacd", &[]).has(&["i"])
                    || line.texts().iter().any(|word| word.starts_with("-ti")) =>
            {
                Output::Items(vec![Value(vec![Part::Job])])
            }
            "pgrep" if super::machine::names_own_program(line) => {
                Output::Items(vec![Value(vec![Part::Job])])
            }
            "realpath" | "readlink" => {
                let mut operands = line.options("", &["relative-to", "relative-base"]).operands;
                operands.retain(|operand| !operand.0.is_empty());
                for operand in &mut operands {
                    // What is at the end of a link is meant.
                    operand.push(Part::Text("/".to_owned()));
                }
                self.located(&operands, line)
            }
            "ls" | "du" => {
                let operands = line.options("IwT", &[]).operands;
                // Names without their folder, unless files were named.
                if operands.is_empty() {
                    self.located(&[Value::text(".")], line)
                } else if line.name == "ls" && operands.iter().all(|value| value.exact().is_some())
                {
                    Output::Items(vec![Value::name()]).then(self.located(&operands, line))
                } else {
                    self.located(&operands, line)
                }
            }
            "grep" | "egrep" | "fgrep" | "rg" | "ag" => {
                let options = line.options(
                    "efmABCd",
                    &[
                        "regexp",
                        "file",
                        "max-count",
                        "include",
                        "exclude",
                        "exclude-dir",
                    ],
                );
                let lists = options.has(&["l", "L", "files-with-matches", "files-without-match"]);
                let skip = usize::from(!options.has(&["e", "f", "regexp", "file"]));
                let paths = options.operands.get(skip..).unwrap_or_default();
                if !lists {
                    if paths.is_empty() && !options.has(&["r", "R"]) && !options.has(&["o"]) {
                        // A choice of the lines that come in.
                        return Some(chosen(&self.state.stdin.clone(), line));
                    }
                    return Some(Output::Unknown(format!("the output of `{}`", line.shown)));
                }
                if paths.is_empty() {
                    self.located(&[Value::text(".")], line)
                } else {
                    self.located(paths, line)
                }
            }
            _ => return None,
        })
    }

    fn paths_of_numbers(line: &Line<'_>) -> Output {
        match line.name {
            // Their lines hold names of files too.
            "wc" | "md5sum" | "sha256sum" if !line.arguments.is_empty() => {
                Output::Unknown(format!("the output of `{}`", line.shown))
            }
            "basename" => match line.arguments.first().and_then(Value::exact) {
                Some(text) if line.arguments.len() == 1 => {
                    let text = text.trim_end_matches('/');
                    Output::Text(text.rsplit('/').next().unwrap_or(text).to_owned())
                }
                _ => Output::Items(vec![Value::name()]),
            },
            _ => Output::Items(vec![Value::name()]),
        }
    }

    /// Paths in or below these.
    pub(crate) fn located(&self, roots: &[Value], line: &Line<'_>) -> Output {
        let mut items = Vec::new();
        for root in roots {
            for place in self.places(root) {
                items.push(match place {
                    Place::Inside(_) | Place::Named(_) => Value::below(),
                    Place::Stream => continue,
                    Place::Outside(path)
                    | Place::Scratch(path)
                    | Place::HomeItself(path)
                    | Place::Home(path, _) => {
                        let mut value = Value::text(format!("{}/", path.trim_end_matches('/')));
                        value.push(Part::Name);
                        value
                    }
                    Place::Unknown(why) => Value::unknown(why),
                });
            }
        }
        items.dedup();
        if items.is_empty() {
            return Output::Unknown(format!("the output of `{}`", line.shown));
        }
        Output::Items(items)
    }

    /// A file of the workspace that is a program by its name: piping it into an interpreter is
    /// running it.
    fn is_own_script(&self, file: &Value) -> bool {
        const ENDINGS: &[&str] = &[
            ".sh", ".bash", ".py", ".pl", ".rb", ".js", ".mjs", ".php", ".lua", ".r", ".awk",
            ".sql",
        ];
        let Some(name) = file.exact() else {
            return false;
        };
        let name = name.to_lowercase();
        ENDINGS.iter().any(|ending| name.ends_with(ending))
            && matches!(self.places(file).as_slice(), [Place::Inside(_)])
    }

    /// Programs that pass on what they read.
    fn passed(&mut self, line: &Line<'_>) -> Output {
        let options: Options = match line.name {
            "head" | "tail" => line.options("nc", &["lines", "bytes"]),
            "sort" => line.options("okStT", &["output", "key"]),
            "uniq" => line.options("fsw", &[]),
            _ => line.options("", &[]),
        };
        let whole = line.name == "cat" && options.flags.is_empty();
        if let [file] = options.operands.as_slice()
            && file
                .exact()
                .and_then(|file| Some(file.rsplit_once('.')?.1 == "pid"))
                == Some(true)
            && self.script_text(file).is_none()
        {
            // Where programs of the workspace keep the number of their process.
            return Output::Items(vec![Value(vec![Part::Job])]);
        }
        let stdin = self.state.stdin.clone();
        let mut output = Output::Nothing;
        let mut files = options.operands;
        if files.is_empty() {
            files.push(Value::text("-"));
        }
        for file in &files {
            let content = match file.exact() {
                Some(text) if text == "-" => stdin.clone(),
                exact => {
                    let path = self.path(file).or(exact);
                    let known = path.and_then(|path| self.state.files.get(&path).cloned());
                    let is_script = whole && files.len() == 1 && self.is_own_script(file);
                    known
                        .or(is_script.then_some(Output::File))
                        .unwrap_or_else(|| {
                            Output::Unknown(format!("the output of `{}`", line.shown))
                        })
                }
            };
            output = output.then(content);
        }
        if whole { output } else { chosen(&output, line) }
    }
}

/// Some of the lines, in some order.
fn chosen(output: &Output, line: &Line<'_>) -> Output {
    match output {
        Output::Nothing => Output::Nothing,
        Output::Text(_) | Output::Items(_) => Output::Items(output.items()),
        Output::File | Output::Unknown(_) => {
            Output::Unknown(format!("the output of `{}`", line.shown))
        }
    }
}

fn echoed(arguments: &[Value]) -> Output {
    let mut escapes = false;
    let mut newline = true;
    let mut words = arguments;
    while let Some((first, rest)) = words.split_first() {
        match first.exact().as_deref() {
            Some("-e" | "-ne" | "-en") => {
                escapes = true;
                newline &= first.exact().as_deref() == Some("-e");
            }
            Some("-n") => newline = false,
            Some("-E") => {}
            _ => break,
        }
        words = rest;
    }
    let mut value = Value::default();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            value.push(Part::Text(" ".to_owned()));
        }
        value.extend(word);
    }
    let Some(text) = value.exact() else {
        return Output::Items(vec![value]);
    };
    let mut text = if escapes { unescaped(&text) } else { text };
    if newline {
        text.push('\n');
    }
    Output::Text(text)
}

/// `printf`, for `%s`, `%d`, `%b`, `%q` and escapes; anything else is not known.
fn printed(arguments: &[Value]) -> Output {
    let unknown = || Output::Unknown("the output of `printf`".to_owned());
    let arguments = match arguments.first().and_then(Value::exact).as_deref() {
        Some("--") => &arguments[1..],
        _ => arguments,
    };
    let Some((format, words)) = arguments.split_first() else {
        return Output::Nothing;
    };
    let Some(format) = plain_text(format) else {
        return unknown();
    };
    let mut words: std::collections::VecDeque<&Value> = words.iter().collect();
    let mut value = Value::default();
    for _ in 0..64 {
        let before = words.len();
        let mut rest = format.as_str();
        while let Some(at) = rest.find('%') {
            value.push(Part::Text(unescaped(&rest[..at])));
            let directive = rest[at + 1..].trim_start_matches(['-', '+', '#', '0', ' ']);
            let directive = directive.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let is_formatted = directive.len() + at + 1 < rest.len();
            let mut chars = directive.chars();
            match chars.next() {
                Some('d' | 'i' | 'u' | 'x' | 'X' | 'o' | 'e' | 'f' | 'g')
                    if is_formatted || !rest[at + 1..].starts_with(['d', 'i']) =>
                {
                    words.pop_front();
                    value.push(Part::Name);
                }
                // Blanks around it split words, and what is cut off is another path.
                Some('s' | 'q' | 'b') if is_formatted => return unknown(),
                Some('%') => value.push(Part::Text("%".to_owned())),
                Some('s' | 'd' | 'i' | 'q') => {
                    if let Some(word) = words.pop_front() {
                        value.extend(word);
                    }
                }
                Some('b') => match words.pop_front().map(Value::exact) {
                    Some(Some(text)) => value.push(Part::Text(unescaped(&text))),
                    Some(None) => return unknown(),
                    None => {}
                },
                _ => return unknown(),
            }
            rest = chars.as_str();
        }
        value.push(Part::Text(unescaped(rest)));
        if words.is_empty() {
            break;
        }
        if words.len() == before || before > 64 {
            return unknown();
        }
    }
    match value.exact() {
        Some(text) => Output::Text(text),
        None => Output::Items(vec![value]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printf_repeats_its_format() {
        let words = ["%s\\n", "a", "b"].map(Value::text);
        assert_eq!(printed(&words), Output::Text("a\nb\n".to_owned()));
        // A number, whatever it is.
        let words = ["n%08x", "1"].map(Value::text);
        let Output::Items(items) = printed(&words) else {
            panic!("it is one word");
        };
        assert_eq!(items[0].0, [Part::Text("n".to_owned()), Part::Name]);
        let words = ["%-9s", "a"].map(Value::text);
        assert!(matches!(printed(&words), Output::Unknown(_)));
    }
}
