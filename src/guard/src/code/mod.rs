//! Code of other languages on a command line: what its plain calls would change.
//!
//! This is no parser of those languages. It knows texts, names and brackets, and the calls that
//! remove, write or run something; a call whose argument is no plain text is "cannot tell".

mod arguments;
mod awk;
pub(crate) mod editors;
mod python;
pub(crate) mod sed;
mod table;
mod tokens;

use std::collections::HashMap;

use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Part, Value};
use arguments::{
    Argument, Known, argument, arguments, constants, other_names, passed_on, real_name, receiver,
};
use table::{Call, call};
use tokens::{Token, tokens};

/// A language whose code can stand on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    Perl,
    Ruby,
    Lua,
    Node,
    Php,
    Awk,
    R,
    Julia,
}

impl Language {
    /// The language that a program runs.
    pub(crate) fn of_program(name: &str) -> Option<Self> {
        let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        Some(match plain {
            "python" | "pypy" | "ipython" => Self::Python,
            "perl" => Self::Perl,
            "ruby" => Self::Ruby,
            "lua" | "luajit" => Self::Lua,
            "node" | "nodejs" | "deno" | "bun" => Self::Node,
            "php" => Self::Php,
            "R" | "Rscript" | "r" => Self::R,
            "julia" => Self::Julia,
            "awk" | "gawk" | "mawk" | "nawk" => Self::Awk,
            _ => return None,
        })
    }

    /// The language of a script, when its first line names one that is no shell.
    pub(crate) fn of_shebang(line: &str) -> Option<Self> {
        let words = line.strip_prefix("#!")?;
        words
            .split_whitespace()
            .filter_map(|word| word.rsplit('/').next())
            .find_map(Self::of_program)
    }
}

/// Judges code.
pub(crate) fn judge(
    walk: &mut Walk<'_>,
    language: Language,
    text: &str,
    arguments: &[Value],
    shown: &str,
) {
    if language == Language::Python
        && walk.apart(|walk| python::judge(walk, text, arguments, shown))
    {
        return;
    }
    let Some(tokens) = tokens(language, text) else {
        walk.ask(shown, "the code is very long");
        return;
    };
    let known = constants(&tokens);
    let names = other_names(&tokens);
    walk.apart(|walk| judge_tokens(walk, language, &tokens, &known, &names, shown));
}

fn judge_tokens(
    walk: &mut Walk<'_>,
    language: Language,
    tokens: &[Token],
    known: &Known,
    names: &HashMap<String, String>,
    shown: &str,
) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Ticks(command) => {
                let command = script_of(&Argument::Filled(command.clone()), known);
                walk.text_as_script_of(&command, shown);
            }
            Token::Name(name) => {
                let system = [
                    "os",
                    "shutil",
                    "subprocess",
                    "builtins",
                    "__builtins__",
                    "pathlib",
                ];
                let is_dynamic = name == "getattr"
                    && matches!(tokens.get(at + 2), Some(Token::Name(of)) if system.contains(&real_name(of, names).as_str()));
                if is_dynamic {
                    walk.ask(shown, "which function it calls is not known");
                }
                let name = real_name(name, names);
                judge_name(walk, language, tokens, at, &name, known, shown);
            }
            Token::Mark('>' | '|') if language == Language::Awk => {
                awk::output(walk, tokens, at, known, shown);
            }
            Token::Text(..) | Token::Mark(_) | Token::LineEnd => {}
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm for each kind, a table in essence"
)]
fn judge_name(
    walk: &mut Walk<'_>,
    language: Language,
    tokens: &[Token],
    at: usize,
    name: &str,
    known: &Known,
    shown: &str,
) {
    if matches!(tokens.get(at.wrapping_sub(1)), Some(Token::Name(word)) if matches!(word.as_str(), "def" | "function" | "import" | "sub"))
    {
        return;
    }
    if let Some((act, paths, is_unsure)) = passed_on(language, tokens, at, name, known) {
        for path in paths {
            on_path(walk, act, &path, is_unsure, name, shown);
        }
        return;
    }
    let Some((call, is_unsure)) = call(language, name) else {
        return;
    };
    if call == Call::Evaluate
        && !is_unsure
        && matches!(tokens.get(at.wrapping_sub(1)), Some(Token::Mark('(' | ',')))
        && matches!(tokens.get(at + 1), Some(Token::Mark(')' | ',')))
    {
        walk.ask(shown, &format!("what `{name}` runs is not known"));
        return;
    }
    let bare = matches!(call, Call::End | Call::Fork)
        || (call == Call::Evaluate && matches!(tokens.get(at + 1), Some(Token::Name(_))));
    // Without a path it is the one that a loop is at.
    let is_implied = language == Language::Perl
        && call == Call::Remove
        && match tokens.get(at + 1) {
            None | Some(Token::LineEnd | Token::Mark('}')) => true,
            Some(Token::Name(word)) => matches!(word.as_str(), "if" | "unless" | "for" | "foreach"),
            Some(_) => false,
        };
    let implied = Token::Name("$_".to_owned());
    let implied = is_implied.then(|| vec![argument(&[&implied], known)]);
    let given = implied
        .or_else(|| arguments(tokens, at, known))
        .or_else(|| bare.then(|| vec![Argument::Open]));
    let Some(mut given) = given else {
        return;
    };
    // `require("fs").rmSync`: what stands before the dot may be the system's module.
    let after_dot = matches!(tokens.get(at.wrapping_sub(1)), Some(Token::Mark('.')));
    let module = |name: &Argument| matches!(name, Argument::Text(name) if matches!(name.as_str(), "fs" | "os" | "child_process" | "shutil" | "subprocess" | "fs/promises" | "node:fs" | "node:fs/promises" | "node:child_process" | "fs-extra" | "graceful-fs" | "fileutils"));
    let mut is_unsure = is_unsure;
    let method = receiver(tokens, at, known);
    match &method {
        Some(object) if module(object) => is_unsure = false,
        Some(object) if after_dot && !matches!(call, Call::Run | Call::Evaluate | Call::Open) => {
            given.insert(0, object.clone());
        }
        _ => {
            // `name.unlink()`: the variable is the path.
            if let Some((object, _)) = name.rsplit_once('.')
                && matches!(call, Call::Remove | Call::Write)
                && !matches!(
                    object,
                    "os" | "shutil" | "fs" | "File" | "FileUtils" | "fs.promises" | "Dir" | "IO"
                )
                && matches!(
                    name.rsplit('.').next(),
                    Some("unlink" | "rmdir" | "write_text" | "write_bytes" | "touch" | "mkdir")
                )
            {
                let object = Token::Name(object.to_owned());
                given.insert(0, argument(&[&object], known));
            }
        }
    }
    let none = Argument::Open;
    let first = given.first().unwrap_or(&none).clone();
    let second = given.get(1).unwrap_or(&none).clone();
    match call {
        Call::Remove => {
            for argument in if language == Language::Perl {
                &given[..]
            } else {
                &given[..given.len().min(1)]
            } {
                on_path(walk, Act::Remove, argument, is_unsure, name, shown);
            }
        }
        Call::Write => on_path(walk, Act::Write, &first, is_unsure, name, shown),
        Call::WriteSecond => on_path(walk, Act::Write, &second, is_unsure, name, shown),
        Call::Move => {
            on_path(walk, Act::Remove, &first, is_unsure, name, shown);
            on_path(walk, Act::Write, &second, is_unsure, name, shown);
        }
        Call::ChangeDirectory => {
            let target = match &first {
                Argument::Text(path) => Value::text(path),
                Argument::Texts(_) | Argument::Filled(_) | Argument::Open => {
                    Value::unknown("the directory")
                }
            };
            walk.change_directory(&target);
        }
        // Perl and Ruby have the mode or owner first, and then any number of paths.
        Call::Change if matches!(language, Language::Perl | Language::Ruby) => {
            for path in given.iter().skip(1) {
                on_path(walk, Act::Change, path, is_unsure, name, shown);
            }
        }
        Call::Change => on_path(walk, Act::Change, &first, is_unsure, name, shown),
        Call::Open if language == Language::Perl => open_of_perl(walk, &given, known, shown),
        Call::Open => {
            if let Argument::Text(mode) = &second
                && mode.contains(['w', 'a', 'x', '+'])
            {
                on_path(walk, Act::Write, &first, is_unsure, name, shown);
            }
        }
        Call::End => {
            // What it ends comes first for some, and after the signal for others.
            let targets = &tokens[at + 1..];
            let end = targets.iter().position(|token| *token == Token::LineEnd);
            let targets = &targets[..end.unwrap_or(targets.len())];
            let is_all = targets
                .windows(2)
                .any(|pair| matches!(pair, [Token::Mark('-'), Token::Name(one)] if one == "1"));
            let is_first = language == Language::Node
                && matches!(targets.get(1), Some(Token::Name(one)) if one == "1");
            if is_all || is_first {
                walk.refuse(
                    shown,
                    "ends every process that it can reach, or the first one",
                );
            }
        }
        Call::Fork => {
            let repeats = |token: &Token| matches!(token, Token::Name(name) if matches!(name.as_str(), "while" | "loop" | "until"));
            if tokens.iter().any(repeats) {
                walk.refuse(shown, "starts itself again and again, without end");
            }
        }
        Call::Run => match first {
            Argument::Text(_) | Argument::Filled(_) => {
                let text = script_of(&first, known);
                // `system("rm", "-rf", "/x")` and `execFileSync("rm", ["-rf"])`.
                let mut words = vec![text.clone()];
                let mut is_list = false;
                for next in given.iter().skip(1) {
                    match next {
                        Argument::Texts(texts) => {
                            is_list = true;
                            words.extend(texts.iter().cloned());
                        }
                        Argument::Text(text)
                            if !matches!(language, Language::Python | Language::Node) =>
                        {
                            is_list = true;
                            words.push(text.clone());
                        }
                        Argument::Text(_) | Argument::Filled(_) | Argument::Open => {}
                    }
                }
                if is_list {
                    run_words(walk, &words);
                } else if !is_unsure || text.contains(' ') {
                    walk.text_as_script_of(&text, shown);
                }
            }
            Argument::Texts(words) => run_words(walk, &words),
            Argument::Open if is_unsure => {}
            Argument::Open => walk.ask(shown, &format!("what `{name}` runs is not known")),
        },
        Call::Evaluate => match first {
            Argument::Text(text) if text.len() < 10_000 && walk.enter() => {
                judge(walk, language, &text, &[], shown);
                walk.leave();
            }
            Argument::Text(_) | Argument::Texts(_) | Argument::Filled(_) | Argument::Open
                if is_unsure => {}
            // A block, whose calls are looked at where they stand.
            Argument::Open if matches!(tokens.get(at + 1), Some(Token::Mark('{'))) => {}
            Argument::Text(_) | Argument::Texts(_) | Argument::Filled(_) | Argument::Open => {
                walk.ask(shown, &format!("what `{name}` runs is not known"));
            }
        },
    }
}

/// A text in front of what is filled in, and the rest.
fn filled_at(text: &str) -> (&str, &str) {
    let at = text.find(['$', '@', '#']).unwrap_or(text.len());
    text.split_at(at)
}

/// A text for a shell: what is filled in is a variable there, known or not.
fn script_of(argument: &Argument, known: &Known) -> String {
    let text = match argument {
        Argument::Text(text) => return text.clone(),
        Argument::Filled(text) => text.replace("#{", "${"),
        Argument::Texts(_) | Argument::Open => return String::new(),
    };
    let mut script = text;
    for (name, value) in known {
        if let Some([one]) = value.as_deref() {
            let plain = name.trim_start_matches('$');
            script = script.replace(&format!("${{{plain}}}"), one);
            script = script.replace(&format!("${plain}"), one);
        }
    }
    script
}

/// `open` of Perl: a path with a mode, or a program in a pipe.
fn open_of_perl(walk: &mut Walk<'_>, given: &[Argument], known: &Known, shown: &str) {
    let Some(Argument::Text(mode) | Argument::Filled(mode)) = given.get(1) else {
        return;
    };
    let pipes = mode.trim().starts_with('|') || mode.trim().ends_with('|');
    match given.get(2) {
        Some(Argument::Text(_) | Argument::Filled(_)) if pipes || mode.contains('|') => {
            let words: Vec<String> = given[2..].iter().map(|it| script_of(it, known)).collect();
            match words.as_slice() {
                [one] => walk.text_as_script_of(one, shown),
                words => run_words(walk, words),
            }
        }
        Some(path) if mode.contains(['>', '+']) => {
            on_path(walk, Act::Write, path, false, "open", shown);
        }
        Some(_) => {}
        None if pipes => {
            let command = mode.trim().trim_matches('|').to_owned();
            walk.text_as_script_of(&script_of(&Argument::Filled(command), known), shown);
        }
        // Mode and path in one text.
        None => {
            if let Some(path) = mode.trim().strip_prefix('>') {
                let path = Argument::Filled(path.trim_start_matches(['>', ' ']).to_owned());
                on_path(walk, Act::Write, &path, false, "open", shown);
            }
        }
    }
}

fn run_words(walk: &mut Walk<'_>, words: &[String]) {
    if walk.enter() {
        let argv: Vec<Value> = words.iter().map(Value::text).collect();
        walk.within_program(|walk| walk.run(&argv));
        walk.leave();
    }
}

fn on_path(
    walk: &mut Walk<'_>,
    act: Act,
    argument: &Argument,
    is_unsure: bool,
    name: &str,
    shown: &str,
) {
    match argument {
        Argument::Text(path) => {
            // A call that may mean something else counts where its text is a path.
            if !is_unsure || path.starts_with('/') || path.contains("..") {
                walk.act(act, &Value::text(path), shown);
            }
        }
        Argument::Texts(paths) => {
            for path in paths {
                walk.act(act, &Value::text(path), shown);
            }
        }
        Argument::Filled(text) => {
            let (before, rest) = filled_at(text);
            let mut path = Value::text(before);
            path.push(Part::Unknown(rest.to_owned()));
            if !is_unsure || before.starts_with('/') {
                walk.act(act, &path, shown);
            }
        }
        Argument::Open if is_unsure => {}
        Argument::Open => walk.ask(shown, &format!("which path `{name}` is given is not known")),
    }
}
