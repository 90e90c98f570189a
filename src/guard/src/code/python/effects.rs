//! What functions of the library do with their arguments.

use super::Python;
use super::calls::{Given, is_of_system};
use super::library::Does;
use super::value::{Val, join, parent};
use crate::findings::Act;
use crate::value::{Output, Value};

pub(super) const PATH: &[&str] = &["path", "file", "filename", "name", "src", "source", "fname"];
const TARGET: &[&str] = &["dst", "filename", "dest", "extract_dir", "f"];

impl Python<'_, '_> {
    /// Calls a function of the library.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each kind, a table in essence"
    )]
    pub(super) fn library(&mut self, does: Does, name: &str, given: &Given) -> Val {
        let first = given.at(0, PATH).unwrap_or(Val::Plain);
        match does {
            Does::Remove => self.act(Act::Remove, &first, name),
            Does::Write => {
                self.act(Act::Write, &first, name);
                if matches!(name, "write_text" | "write_bytes") {
                    let content = given
                        .at(1, &["data"])
                        .map_or(Output::Nothing, |it| it.output());
                    self.keep(&first, content);
                }
            }
            Does::Create => self.act(Act::Create, &first, name),
            Does::Change => self.act(Act::Change, &first, name),
            Does::WriteSecond => {
                let second = given.at(1, TARGET).unwrap_or_else(|| Val::text("."));
                self.act(Act::Write, &second, name);
                if name.contains("urlretrieve") {
                    self.keep(&second, Output::Unknown("what was downloaded".to_owned()));
                }
                return second;
            }
            Does::Move => {
                self.act(Act::Remove, &first, name);
                let second = given.at(1, &["dst", "target"]).unwrap_or(Val::Plain);
                self.act(Act::Write, &second, name);
            }
            Does::Link => {
                let second = given.at(1, &["dst"]).unwrap_or(Val::Plain);
                self.act(Act::Create, &second, name);
                if let (Some(to), Val::Text(from)) = (first.exact(), &second)
                    && let Some(from) = self.walk.path(from)
                {
                    self.walk.state.links.insert(from, to);
                }
            }
            Does::Open => {
                let mode = given.at(1, &["mode"]);
                let writes = match &mode {
                    None => false,
                    Some(mode) => match mode.exact() {
                        Some(mode) => mode.contains(['w', 'a', 'x', '+']),
                        None => matches!(mode, Val::Unknown(_) | Val::Either(_)),
                    },
                };
                if writes {
                    self.act(Act::Write, &first, name);
                    self.keep(&first, Output::Nothing);
                }
                return first;
            }
            Does::OpenFlags => {
                let flags = given.at(1, &["flags"]).unwrap_or(Val::Plain);
                let reads = matches!(&flags, Val::Named(name) if name == "os.O_RDONLY")
                    || flags.number() == Some(0);
                if !reads {
                    self.act(Act::Write, &first, name);
                }
            }
            Does::Run => {
                return self.run(
                    &given.at(0, &["args", "cmd"]).unwrap_or(Val::Plain),
                    name,
                    given,
                );
            }
            Does::RunWords => {
                let words = given.all.get(1..).unwrap_or_default();
                // The first word is what the program is told of its name.
                let words = if name.starts_with("os.") {
                    words.get(1..).unwrap_or_default()
                } else {
                    words
                };
                self.run_words(&first, words);
            }
            Does::RunList => {
                let words = match given.all.get(1) {
                    Some(Val::List(words)) => words.get(1..).unwrap_or_default().to_vec(),
                    _ => vec![Val::unknown("an argument")],
                };
                self.run_words(&first, &words);
            }
            Does::SpawnWords => {
                let program = given.all.get(1).cloned().unwrap_or(Val::Plain);
                let words = given.all.get(3..).unwrap_or_default();
                self.run_words(&program, words);
            }
            Does::SpawnList => {
                let program = given.all.get(1).cloned().unwrap_or(Val::Plain);
                let words = match given.all.get(2) {
                    Some(Val::List(words)) => words.get(1..).unwrap_or_default().to_vec(),
                    _ => vec![Val::unknown("an argument")],
                };
                self.run_words(&program, &words);
            }
            Does::Evaluate => {
                return self.evaluate(
                    &given.at(0, &["stmt", "source"]).unwrap_or(Val::Plain),
                    name,
                );
            }
            Does::RunFile => {
                let content = match &first {
                    Val::Text(path) => self.content(path),
                    other => other.clone(),
                };
                return self.evaluate(&content, name);
            }
            Does::ChangeDirectory => match &first {
                Val::Text(path) => self.walk.change_directory(path),
                Val::Plain => {}
                other => {
                    let word = other.word();
                    self.walk.change_directory(&word);
                }
            },
            Does::Import => {
                return match first.exact() {
                    // `__import__("os.path")` gives `os`.
                    Some(module) if name == "__import__" => {
                        Val::Named(module.split('.').next().unwrap_or_default().to_owned())
                    }
                    Some(module) => Val::Named(module),
                    None => Val::Dynamic,
                };
            }
            Does::List => {
                let root = match given.all.first() {
                    Some(root) => root.word(),
                    None => Value::text("."),
                };
                let inner = if name == "os.scandir" {
                    join(&root, &Value::name())
                } else {
                    Value::name()
                };
                return Val::List(vec![Val::Text(inner)]);
            }
            Does::Glob => {
                let root = given.named(&["root_dir"]);
                let all = first.each().into_iter().map(|pattern| match &root {
                    Some(root) => Val::Text(join(&root.word(), &pattern.word())),
                    None => Val::Text(pattern.word()),
                });
                return Val::List(all.collect());
            }
            Does::WalkTree => {
                let mut roots = Vec::new();
                for root in first.each() {
                    roots.push(Val::List(vec![
                        Val::Text(join(&root.word(), &Value::name())),
                        Val::List(vec![Val::Text(Value::name())]),
                        Val::List(vec![Val::Text(Value::name())]),
                    ]));
                }
                return Val::List(roots);
            }
            Does::Join => {
                let mut all = vec![Value::default()];
                for next in &given.all {
                    let mut longer = Vec::new();
                    for base in &all {
                        for next in next.each() {
                            longer.push(join(base, &next.word()));
                        }
                    }
                    longer.truncate(16);
                    all = longer;
                }
                if given.all.is_empty() {
                    all = vec![Value::text(".")];
                }
                return all.into_iter().map(Val::Text).fold(Val::Plain, Val::or);
            }
            Does::Same => {
                return match &first {
                    Val::Text(path) => Val::Text(self.at_home(path)),
                    Val::Plain | Val::Number(_) => Val::Text(first.word()),
                    other => other.clone(),
                };
            }
            Does::Parent => {
                return match &first {
                    Val::Text(path) => Val::Text(parent(path)),
                    other => other.clone(),
                };
            }
            Does::LastName => {
                return match first.exact() {
                    Some(text) => Val::text(text.rsplit('/').next().unwrap_or(&text)),
                    None => Val::Text(Value::name()),
                };
            }
            Does::Variable => {
                let default = given.at(1, &["default"]);
                return match first.exact() {
                    Some(key) => self.variable(&key, default),
                    None => Val::unknown("a variable of the environment"),
                };
            }
            Does::Here => {
                return match self.walk.state.cwd.as_slice() {
                    [Some(one)] => Val::text(one.clone()),
                    _ => Val::unknown("the directory"),
                };
            }
            Does::Home => return Val::text(self.walk.context.home.clone()),
            Does::Temporary => {
                return match name {
                    "tempfile.gettempdir" => Val::text("/tmp"),
                    "tempfile.mkstemp" => Val::List(vec![Val::Plain, Val::Text(Value::below())]),
                    _ => match given.named(&["dir"]) {
                        Some(dir @ Val::Text(_)) => {
                            self.act(Act::Create, &dir, name);
                            Val::Text(Value::below())
                        }
                        _ => Val::Text(Value::below()),
                    },
                };
            }
            Does::Kill => match first.number() {
                Some(1) => self
                    .walk
                    .refuse(self.shown, "ends the first process of the sandbox"),
                Some(-1) => self
                    .walk
                    .refuse(self.shown, "ends every process that it can reach"),
                _ => {}
            },
            Does::Fork => {
                if self.loops > 0 {
                    self.walk
                        .refuse(self.shown, "starts itself again and again, without end");
                }
            }
            Does::Attribute => {
                if matches!(name, "globals" | "locals") {
                    return Val::Named("builtins.__dict__".to_owned());
                }
                if name == "vars" {
                    return match &first {
                        Val::Named(module) => Val::Named(format!("{module}.__dict__")),
                        _ => Val::unknown("a value"),
                    };
                }
                if name != "getattr" {
                    return Val::unknown("a value");
                }
                let last = given.all.get(1).cloned().unwrap_or(Val::Plain);
                return match (&first, last.exact()) {
                    (_, Some(last)) => super::expr::attribute(&first, &last),
                    (Val::Named(module), None) if is_of_system(module) => Val::Dynamic,
                    _ => Val::unknown("an attribute"),
                };
            }
            // What needs decoding is not to be read: whoever hides it is asked about it.
            Does::Decode => return Val::unknown("a decoded text"),
            Does::Apply => {
                let elements: Vec<Val> = given.all.iter().skip(1).map(Val::element).collect();
                let result = self.call(&first, &Given::of(elements.clone()));
                return Val::List(vec![if name == "filter" {
                    elements.into_iter().next().unwrap_or(Val::Plain)
                } else {
                    result
                }]);
            }
            Does::Partial => {
                return Val::Partial(Box::new(first), given.rest().all);
            }
            Does::Text => {
                return match name {
                    "bytes" | "bytearray" => match first {
                        Val::List(items) => {
                            let chars = items
                                .iter()
                                .map(|item| char::from_u32(u32::try_from(item.number()?).ok()?));
                            chars
                                .collect::<Option<String>>()
                                .map_or_else(|| Val::unknown("a text made of numbers"), Val::text)
                        }
                        other => other,
                    },
                    "chr" => match first
                        .number()
                        .and_then(|n| char::from_u32(u32::try_from(n).ok()?))
                    {
                        Some(c) => Val::text(c.to_string()),
                        None => Val::unknown("a text made of numbers"),
                    },
                    "textwrap.dedent" => first,
                    "shlex.split" => match first.exact() {
                        Some(text) => Val::List(text.split_whitespace().map(Val::text).collect()),
                        None => Val::unknown("words of a text"),
                    },
                    _ => Val::unknown("what is typed"),
                };
            }
            Does::Plain => {}
            Does::Elements => {
                return match name {
                    "enumerate" => Val::List(vec![Val::List(vec![Val::Plain, first.element()])]),
                    "zip" => Val::List(vec![Val::List(
                        given.all.iter().map(Val::element).collect(),
                    )]),
                    "max" | "min" | "next" | "random.choice" => first.element(),
                    "itertools.chain" => {
                        let all = given.all.iter().map(Val::element);
                        Val::List(vec![all.fold(Val::Plain, Val::or)])
                    }
                    _ => match first {
                        Val::Plain => Val::List(Vec::new()),
                        list @ Val::List(_) => list,
                        other => Val::List(vec![other.element()]),
                    },
                };
            }
            Does::Edit => {
                if given.named(&["inplace"]).is_some() {
                    let files = given.at(0, &["files"]).unwrap_or(Val::Plain);
                    let files = match files {
                        Val::List(_) => files.element(),
                        other => other,
                    };
                    self.act(Act::Write, &files, name);
                }
            }
        }
        Val::Plain
    }
}
