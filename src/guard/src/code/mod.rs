//! Code of other languages on a command line: what its plain calls would change.
//!
//! This is no parser of those languages. It knows texts, names and brackets, and the calls that
//! remove, write or run something; a call whose argument is no plain text is "cannot tell".

pub(crate) mod editors;
mod python;
pub(crate) mod sed;

use std::collections::HashMap;

use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A name, with the dots or colons in it.
    Name(String),
    /// A text; whether something can be filled in.
    Text(String, bool),
    /// A text in backquotes, which some languages run.
    Ticks(String),
    Mark(char),
    LineEnd,
}

/// Tokens of one text: what is longer is "cannot tell".
const TOKENS_MAX: usize = 50_000;

#[expect(
    clippy::too_many_lines,
    reason = "one arm for each kind, a table in essence"
)]
fn tokens(language: Language, text: &str) -> Option<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if tokens.len() > TOKENS_MAX {
            return None;
        }
        let next = chars.get(at + 1).copied();
        let starts_operand = !matches!(
            tokens.last(),
            Some(Token::Name(_) | Token::Text(..) | Token::Mark(')' | ']'))
        );
        let hash_comment = matches!(
            language,
            Language::Python
                | Language::Perl
                | Language::Ruby
                | Language::Awk
                | Language::Php
                | Language::R
                | Language::Julia
        );
        let slash_comment = matches!(language, Language::Node | Language::Php);
        match c {
            '\n' | ';' => {
                tokens.push(Token::LineEnd);
                at += 1;
            }
            c if c.is_whitespace() => at += 1,
            '#' if hash_comment && (language != Language::Perl || starts_operand) => {
                while chars.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
            }
            '-' if language == Language::Lua && next == Some('-') => {
                while chars.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
            }
            '/' if slash_comment && next == Some('/') => {
                while chars.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
            }
            '/' if starts_operand
                && matches!(
                    language,
                    Language::Awk | Language::Perl | Language::Ruby | Language::Node
                ) =>
            {
                // A pattern.
                at += 1;
                while let Some(&c) = chars.get(at) {
                    at += 1;
                    match c {
                        '\\' => at += 1,
                        '/' | '\n' => break,
                        _ => {}
                    }
                }
                tokens.push(Token::Text(String::new(), false));
            }
            // `%x(...)` of Ruby.
            '%' if language == Language::Ruby
                && starts_operand
                && next == Some('x')
                && chars.get(at + 2).is_some_and(|c| !c.is_alphanumeric()) =>
            {
                let (value, end) = delimited(&chars, at + 2);
                tokens.push(Token::Ticks(value));
                at = end;
            }
            '\'' | '"' | '`' => {
                let (value, filled, end) = quoted(language, &chars, at);
                let prefix_filled = matches!(tokens.last(), Some(Token::Name(name))
                    if language == Language::Python && matches!(name.as_str(), "f" | "F" | "rf" | "fr"));
                let is_prefixed = matches!(tokens.last(), Some(Token::Name(name))
                    if language == Language::Python
                        && chars.get(at.wrapping_sub(1)).is_some_and(char::is_ascii_alphabetic)
                        && matches!(name.as_str(), "f" | "F" | "rf" | "fr" | "r" | "R" | "b" | "B" | "u" | "rb" | "br"));
                if is_prefixed {
                    tokens.pop();
                }
                at = end;
                if c == '`' && !matches!(language, Language::Node | Language::R) {
                    tokens.push(Token::Ticks(value));
                } else {
                    let filled = filled || (is_prefixed && prefix_filled && value.contains('{'));
                    tokens.push(Token::Text(value, filled));
                }
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' || c == '@' => {
                let start = at;
                while let Some(&c) = chars.get(at) {
                    let joins = (c == '.' || c == ':')
                        && chars
                            .get(at + 1)
                            .is_some_and(|c| c.is_alphanumeric() || *c == '_' || *c == ':');
                    if c.is_alphanumeric()
                        || "_$@?!".contains(c) && at == start
                        || c == '_'
                        || joins
                    {
                        at += 1;
                    } else {
                        break;
                    }
                }
                at = at.max(start + 1);
                let name: String = chars[start..at].iter().collect();
                // `qx{...}` and `q(...)` of Perl.
                let quotes = language == Language::Perl
                    && matches!(name.as_str(), "qx" | "q" | "qq")
                    && !matches!(tokens.last(), Some(Token::Mark('>' | '{' | '$')));
                if quotes
                    && let Some(mark) = chars.get(at).filter(|c| !c.is_alphanumeric())
                    && !mark.is_whitespace()
                    && !",;=)".contains(*mark)
                {
                    let (value, end) = delimited(&chars, at);
                    let filled = name == "qq" && value.contains(['$', '@']);
                    tokens.push(match name.as_str() {
                        "qx" => Token::Ticks(value),
                        _ => Token::Text(value, filled),
                    });
                    at = end;
                } else {
                    tokens.push(Token::Name(name));
                }
            }
            c => {
                tokens.push(Token::Mark(c));
                at += 1;
            }
        }
    }
    Some(tokens)
}

/// A text between marks of one's own choice, such as brackets: what it says, and its end.
fn delimited(chars: &[char], at: usize) -> (String, usize) {
    let open = chars[at];
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        '<' => '>',
        other => other,
    };
    let (mut value, mut depth, mut end) = (String::new(), 0_usize, at + 1);
    while let Some(&c) = chars.get(end) {
        end += 1;
        if c == close && depth == 0 {
            break;
        }
        if c == close {
            depth -= 1;
        } else if c == open {
            depth += 1;
        }
        value.push(c);
    }
    (value, end)
}

/// A quoted text from its opening mark: what it says, whether something is filled in, its end.
fn quoted(language: Language, chars: &[char], at: usize) -> (String, bool, usize) {
    let mark = chars[at];
    let triple = language == Language::Python
        && chars.get(at + 1) == Some(&mark)
        && chars.get(at + 2) == Some(&mark);
    let mut end = at + if triple { 3 } else { 1 };
    let mut value = String::new();
    let mut filled = false;
    while let Some(&c) = chars.get(end) {
        if c == '\\' {
            if let Some(&next) = chars.get(end + 1) {
                match next {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    // Which character it stands for is not worked out.
                    'x' | 'u' | 'U' | 'N' | '0'..='7' => filled = true,
                    next => value.push(next),
                }
            }
            end += 2;
            continue;
        }
        if c == mark {
            let closes =
                !triple || (chars.get(end + 1) == Some(&mark) && chars.get(end + 2) == Some(&mark));
            if closes {
                end += if triple { 3 } else { 1 };
                return (value, filled, end);
            }
        }
        let interpolates = match language {
            Language::Perl | Language::Php => mark != '\'' && (c == '$' || c == '@'),
            Language::Ruby => mark != '\'' && c == '#' && chars.get(end + 1) == Some(&'{'),
            Language::Node => mark == '`' && c == '$' && chars.get(end + 1) == Some(&'{'),
            Language::Julia => c == '$',
            Language::Python | Language::Lua | Language::Awk | Language::R => false,
        };
        filled |= interpolates;
        value.push(c);
        end += 1;
    }
    (value, true, end)
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Its arguments are removed.
    Remove,
    /// Its first argument is written.
    Write,
    /// Its second argument is written.
    WriteSecond,
    /// Its first argument goes away, and the second is written.
    Move,
    /// Its first argument's mode or owner changes.
    Change,
    /// Its argument is a shell's, or a list of words.
    Run,
    /// Its argument is code of the same language.
    Evaluate,
    /// The second argument decides whether it writes.
    Open,
    /// Relative paths lead elsewhere from here on.
    ChangeDirectory,
    /// It ends processes.
    End,
    Fork,
}

/// What a name means, and whether it means that only where its argument says so.
fn call(language: Language, name: &str) -> Option<(Call, bool)> {
    let last = name.rsplit(['.', ':']).next().unwrap_or(name);
    let owner = &name[..name.len() - last.len()];
    let owner = owner.trim_end_matches(['.', ':']);
    let of_system = matches!(
        owner,
        "os" | "shutil"
            | "subprocess"
            | "sp"
            | "fs"
            | "child_process"
            | "cp"
            | "File"
            | "FileUtils"
            | "Dir"
            | "Kernel"
            | "IO"
            | "fsp"
            | "fs.promises"
            | "pty"
            | "commands"
            | "os.path"
    );
    let sure = |call| Some((call, false));
    // Names that mean other things too count where they belong to the system's modules.
    let maybe = |call| Some((call, !of_system));
    match last {
        "unlink" | "rmtree" | "remove_tree" | "rmdir" | "removedirs" | "rmSync" | "unlinkSync"
        | "rmdirSync" | "rm_rf" | "rm_r" | "rm_f" | "remove_entry" | "delete_tree"
        | "remove_dir" | "removeSync" | "emptyDirSync" => sure(Call::Remove),
        "remove" if matches!(name, "file.remove") => sure(Call::Remove),
        "rm" if language == Language::Julia => sure(Call::Remove),
        "remove" if owner == "Deno" => sure(Call::Remove),
        "writeTextFile" | "writeTextFileSync" | "outputFileSync" => sure(Call::Write),
        "system2" | "shell" if language == Language::R => sure(Call::Run),
        "sink" | "saveRDS" | "pdf" | "png" if language == Language::R => match last {
            "saveRDS" => sure(Call::WriteSecond),
            _ => maybe(Call::Write),
        },
        "remove" | "delete" | "rm" => maybe(Call::Remove),
        "rename" | "renames" | "move" | "renameSync" | "mv" => maybe(Call::Move),
        // Texts have a method of this name too.
        "replace" if of_system => sure(Call::Move),
        "system"
        | "popen"
        | "getoutput"
        | "getstatusoutput"
        | "check_call"
        | "check_output"
        | "Popen"
        | "execSync"
        | "execFileSync"
        | "spawnSync"
        | "execFile"
        | "shell_exec"
        | "passthru"
        | "proc_open"
        | "execv"
        | "execve"
        | "execvp"
        | "execl"
        | "execlp"
        | "spawnl"
        | "create_subprocess_shell"
        | "create_subprocess_exec"
        | "qx" => sure(Call::Run),
        "run" | "call" | "spawn" => maybe(Call::Run),
        "exec" => match language {
            Language::Python => Some((Call::Evaluate, !owner.is_empty())),
            Language::Node => maybe(Call::Run),
            Language::Perl
            | Language::Ruby
            | Language::Php
            | Language::Lua
            | Language::Awk
            | Language::R
            | Language::Julia => sure(Call::Run),
        },
        "eval" if language != Language::Awk => Some((Call::Evaluate, !owner.is_empty())),
        "execute" if owner == "os" && language == Language::Lua => sure(Call::Run),
        "writeFileSync" | "writeFile" | "appendFileSync" | "appendFile" | "file_put_contents"
        | "truncateSync" | "mkdirSync" | "createWriteStream" | "write_text" | "write_bytes" => {
            sure(Call::Write)
        }
        "makedirs" | "mkdir_p" | "mkdir" | "touch" | "truncate" | "mknod" | "mkfifo" => {
            maybe(Call::Write)
        }
        "write" if owner == "File" || owner == "IO" => sure(Call::Write),
        "copyfile" | "copy2" | "copytree" | "copyFileSync" | "cpSync" => sure(Call::WriteSecond),
        "copy" | "symlink" | "link" | "cp_r" | "ln_s" => maybe(Call::WriteSecond),
        "chmod" | "chown" | "chmodSync" | "chownSync" | "chmod_R" | "lchown" => maybe(Call::Change),
        "open" if owner.is_empty() || matches!(owner, "io" | "codecs" | "File" | "os" | "fs") => {
            sure(Call::Open)
        }
        "fopen" | "openSync" => sure(Call::Open),
        "chdir" => sure(Call::ChangeDirectory),
        "kill" if matches!(owner, "" | "process" | "Process") && language != Language::Awk => {
            sure(Call::End)
        }
        "fork" if matches!(owner, "" | "Process" | "os") => sure(Call::Fork),
        _ => None,
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

/// Other names for modules and functions: `import os as o`, `from os import remove as r`, `f = os.remove`.
fn other_names(tokens: &[Token]) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for window in tokens.windows(3) {
        let (name, other) = match window {
            [Token::Name(name), Token::Name(word), Token::Name(other)] if word == "as" => {
                (name, other)
            }
            [Token::Name(other), Token::Mark('='), Token::Name(name)] if name.contains('.') => {
                (name, other)
            }
            // `const { rmSync: remove } = require("fs")`.
            [Token::Name(name), Token::Mark(':'), Token::Name(other)]
                if call(Language::Node, name).is_some_and(|(_, is_unsure)| !is_unsure) =>
            {
                (name, other)
            }
            _ => continue,
        };
        names.insert(other.clone(), name.clone());
    }
    names
}

/// A name as it is known to all.
fn real_name(name: &str, names: &HashMap<String, String>) -> String {
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    match (names.get(first), rest) {
        (Some(real), Some(rest)) => format!("{real}.{rest}"),
        (Some(real), None) => real.clone(),
        (None, _) => name.to_owned(),
    }
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
                awk_output(walk, tokens, at, known, shown);
            }
            Token::Text(..) | Token::Mark(_) | Token::LineEnd => {}
        }
    }
}

/// Whether a function gives the paths that a text names, or those in it.
fn is_listing(name: &str) -> bool {
    matches!(
        name,
        "glob"
            | "fs.readdirSync"
            | "readdirSync"
            | "fs.globSync"
            | "globSync"
            | "glob.sync"
            | "Dir.glob"
            | "Dir.entries"
            | "Dir.children"
            | "Dir.each_child"
            | "list.files"
    )
}

/// The name that each path of a listing gets: `for (const NAME of ...)`, `for my NAME (...)`,
/// `.each { |NAME| ...`, `.forEach(NAME => ...`.
fn name_of_each(tokens: &[Token], at: usize) -> Option<String> {
    let is_blank = |name: &str| {
        matches!(
            name,
            "of" | "in"
                | "my"
                | "our"
                | "const"
                | "let"
                | "var"
                | "each"
                | "forEach"
                | "map"
                | "do"
        )
    };
    let mut before = tokens[..at].iter().rev().take(4);
    if let Some(Token::Name(name)) = before.find(|token| {
        matches!(token, Token::Name(name) if !is_blank(name) && !matches!(name.as_str(), "for" | "foreach"))
            || matches!(token, Token::LineEnd | Token::Mark('{' | '}'))
    }) && tokens[..at]
        .iter()
        .rev()
        .take(6)
        .any(|token| matches!(token, Token::Name(name) if name == "for" || name == "foreach"))
    {
        return Some(name.clone());
    }
    let is_loop = tokens[..at]
        .iter()
        .rev()
        .take(3)
        .any(|token| matches!(token, Token::Name(name) if name == "for" || name == "foreach"));
    if is_loop {
        return Some("$_".to_owned());
    }
    // Behind its brackets, up to the first name.
    let mut behind = tokens[at + 1..]
        .iter()
        .skip_while(|token| !matches!(token, Token::Mark(')' | ']')))
        .skip(1)
        .take(6);
    behind.find_map(|token| match token {
        Token::Name(name) if !is_blank(name) => Some(name.clone()),
        _ => None,
    })
}

/// Names that stand for plain texts: given once, or each element of a plain list.
type Known = HashMap<String, Option<Vec<String>>>;

fn constants(tokens: &[Token]) -> Known {
    let mut known = Known::new();
    let mut learn = |name: &String, value: Option<Vec<String>>| {
        let changed = known.get(name).is_some_and(|known| *known != value);
        known.insert(name.clone(), if changed { None } else { value });
    };
    for (at, token) in tokens.iter().enumerate() {
        let path = match (token, tokens.get(at + 1), tokens.get(at + 2)) {
            (Token::Name(name), Some(Token::Mark('(')), Some(Token::Text(path, false)))
            | (Token::Name(name), Some(Token::Text(path, false)), _)
                if is_listing(name) =>
            {
                path
            }
            (Token::Name(name), Some(Token::Mark('[')), Some(Token::Text(path, false)))
                if name == "Dir" =>
            {
                path
            }
            _ => continue,
        };
        if let Some(name) = name_of_each(tokens, at) {
            learn(&name, Some(vec![path.clone()]));
        }
    }
    for (at, window) in tokens.windows(4).enumerate() {
        match window {
            // The list was learnt above.
            [
                Token::Name(word),
                Token::Name(_),
                Token::Name(of),
                Token::Name(function),
            ] if word == "const" && of == "of" && is_listing(function) => {}
            [Token::Name(name), Token::Mark('='), value, after] => {
                let value = match (value, after) {
                    (Token::Text(text, false), Token::LineEnd) => Some(vec![text.clone()]),
                    _ => None,
                };
                learn(name, value);
            }
            [
                Token::Name(word),
                Token::Name(name),
                Token::Name(of),
                Token::Mark('[' | '('),
            ] if word == "for" && (of == "in" || of == "of") => {
                learn(name, list(&tokens[at + 4..]));
            }
            _ => {}
        }
    }
    known
}

/// The texts of a list, from behind its opening bracket.
fn list(tokens: &[Token]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for token in tokens {
        match token {
            Token::Text(text, false) => texts.push(text.clone()),
            Token::Mark(',') | Token::LineEnd => {}
            Token::Mark(']' | ')') => return Some(texts),
            Token::Text(_, true) | Token::Name(_) | Token::Ticks(_) | Token::Mark(_) => {
                return None;
            }
        }
    }
    None
}

/// One argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Argument {
    Text(String),
    Texts(Vec<String>),
    /// A text in which something is filled in.
    Filled(String),
    Open,
}

/// The arguments of a call whose name is at `at`: in brackets, or without them.
fn arguments(tokens: &[Token], at: usize, known: &Known) -> Option<Vec<Argument>> {
    let bracketed = matches!(tokens.get(at + 1), Some(Token::Mark('(')));
    let mut rest = at + if bracketed { 2 } else { 1 };
    let is_value = match tokens.get(rest) {
        Some(Token::Text(..)) => true,
        Some(Token::Name(name)) => name.starts_with(['$', '@']) || name == "my" || is_listing(name),
        _ => false,
    };
    if !bracketed && !is_value {
        return None;
    }
    let mut all = Vec::new();
    let mut current: Vec<&Token> = Vec::new();
    let mut depth = 0_usize;
    loop {
        let token = tokens.get(rest);
        rest += 1;
        match token {
            None => break,
            Some(Token::LineEnd) if !bracketed => break,
            Some(Token::LineEnd) => {}
            Some(Token::Mark(')' | '}' | ']')) if depth == 0 => break,
            Some(Token::Mark(',')) if depth == 0 => {
                all.push(argument(&current, known));
                current.clear();
            }
            Some(token) => {
                match token {
                    Token::Mark('(' | '[' | '{') => depth += 1,
                    Token::Mark(')' | ']' | '}') => depth -= 1,
                    _ => {}
                }
                current.push(token);
            }
        }
    }
    if !current.is_empty() {
        all.push(argument(&current, known));
    }
    Some(all)
}

fn argument(tokens: &[&Token], known: &Known) -> Argument {
    // `name=value` of Python.
    let tokens = match tokens {
        [Token::Name(_), Token::Mark('='), rest @ ..] if !rest.is_empty() => rest,
        tokens => tokens,
    };
    let text = |token: &Token| match token {
        Token::Text(text, false) => Some(text.clone()),
        Token::Name(name) => match known.get(name) {
            Some(Some(texts)) if texts.len() == 1 => texts.first().cloned(),
            _ => None,
        },
        Token::Text(_, true) | Token::Ticks(_) | Token::Mark(_) | Token::LineEnd => None,
    };
    match tokens {
        [Token::Mark('['), inner @ .., Token::Mark(']')] => {
            let texts = inner
                .iter()
                .filter(|token| !matches!(token, Token::Mark(',') | Token::LineEnd))
                .map(|token| text(token))
                .collect::<Option<Vec<String>>>();
            texts.map_or(Argument::Open, Argument::Texts)
        }
        [Token::Name(name)] => match known.get(name).cloned().flatten() {
            Some(texts) => match texts.as_slice() {
                [one] => Argument::Text(one.clone()),
                _ => Argument::Texts(texts),
            },
            None => Argument::Open,
        },
        // A path of Python made from a text.
        [Token::Name(name), Token::Mark('('), inner, Token::Mark(')')]
            if name.ends_with("Path") || name == "str" =>
        {
            text(inner).map_or(Argument::Open, Argument::Text)
        }
        // Paths by a pattern.
        [Token::Name(name), inner @ ..] if is_listing(name) => match inner {
            [one @ Token::Text(..)] | [Token::Mark('('), one, ..] => match text(one) {
                Some(path) => Argument::Text(path),
                None => Argument::Open,
            },
            _ => Argument::Open,
        },
        [Token::Text(text, true)] => Argument::Filled(text.clone()),
        [first, rest @ ..] => {
            let Some(mut all) = text(first) else {
                return Argument::Open;
            };
            for pair in rest.chunks(2) {
                match pair {
                    [Token::Mark('+'), next] => match text(next) {
                        Some(text) => all.push_str(&text),
                        None => return Argument::Open,
                    },
                    _ => return Argument::Open,
                }
            }
            Argument::Text(all)
        }
        [] => Argument::Open,
    }
}

/// The text of the path on which a method is called: `Path("x").unlink()`.
fn receiver(tokens: &[Token], at: usize, known: &Known) -> Option<Argument> {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    match (before(1), before(2), before(3), before(4)) {
        (Some(Token::Mark('.')), Some(Token::Mark(')')), Some(inner), Some(Token::Mark('('))) => {
            Some(argument(&[inner], known))
        }
        (Some(Token::Mark('.')), ..) => Some(Argument::Open),
        _ => None,
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
    let Some((call, is_unsure)) = call(language, name) else {
        return;
    };
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
    let module = |name: &Argument| matches!(name, Argument::Text(name) if matches!(name.as_str(), "fs" | "os" | "child_process" | "shutil" | "subprocess" | "fs/promises" | "node:fs" | "node:child_process"));
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
        walk.run(&argv);
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

/// `print > "file"` and `print | "command"`.
fn awk_output(walk: &mut Walk<'_>, tokens: &[Token], at: usize, known: &Known, shown: &str) {
    // `"command" | getline`, and `||` is none of this.
    let reads = matches!(tokens[at], Token::Mark('|'))
        && matches!(tokens.get(at + 1), Some(Token::Name(name)) if name == "getline");
    if reads {
        let before = at.checked_sub(1).map(|at| &tokens[at]);
        match before.map(|token| argument(&[token], known)) {
            Some(Argument::Text(text)) => walk.text_as_script_of(&text, shown),
            // A bracket closes an expression, a name may be anything.
            Some(Argument::Texts(_) | Argument::Filled(_) | Argument::Open) | None => {
                walk.ask(shown, "which program it reads from is not known");
            }
        }
        return;
    }
    let is_or =
        |at: Option<usize>| at.is_some_and(|at| matches!(tokens.get(at), Some(Token::Mark('|'))));
    if matches!(tokens[at], Token::Mark('|')) && (is_or(Some(at + 1)) || is_or(at.checked_sub(1))) {
        return;
    }
    let mut depth = 0_i32;
    let prints = tokens[..at]
        .iter()
        .rev()
        .take_while(|token| !matches!(token, Token::LineEnd | Token::Mark('{')))
        .any(|token| {
            match token {
                Token::Mark(')') => depth += 1,
                Token::Mark('(') => depth -= 1,
                _ => {}
            }
            matches!(token, Token::Name(name) if name == "print" || name == "printf") && depth >= 0
        });
    if !prints {
        return;
    }
    let runs = matches!(tokens[at], Token::Mark('|'));
    let mut next = at + 1;
    while matches!(tokens.get(next), Some(Token::Mark('>' | '&'))) {
        next += 1;
    }
    let ends = matches!(
        tokens.get(next + 1),
        None | Some(Token::LineEnd | Token::Mark('}'))
    );
    match tokens.get(next) {
        Some(token @ (Token::Text(_, false) | Token::Name(_))) if runs => {
            match argument(&[token], known) {
                Argument::Text(text) if ends => {
                    // What it reads is made of the lines.
                    let stdin = Output::Unknown("what awk writes".to_owned());
                    let before = std::mem::replace(&mut walk.state.stdin, stdin);
                    walk.text_as_script_of(&text, shown);
                    walk.state.stdin = before;
                }
                Argument::Text(_) | Argument::Texts(_) | Argument::Filled(_) | Argument::Open => {
                    walk.ask(shown, "which program it writes to is not known");
                }
            }
        }
        Some(name @ Token::Name(_)) if ends => {
            if let Argument::Text(text) = argument(&[name], known) {
                walk.act(Act::Write, &Value::text(text), shown);
            }
        }
        Some(Token::Text(text, false)) if ends || text.starts_with('/') => {
            walk.act(Act::Write, &Value::text(text), shown);
        }
        // Names from the lines: files beside each other.
        _ if !runs => {}
        _ => walk.ask(shown, "which program it writes to is not known"),
    }
}
