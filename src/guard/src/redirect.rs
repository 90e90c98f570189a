//! Redirections: what is read, and where what is written goes.

use brush_parser::ast::{IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, RedirectList};

use crate::findings::{Act, shorten};
use crate::shell::Walk;
use crate::value::{Output, Part, Value};

/// Where standard output goes.
pub(crate) struct Into {
    files: Vec<Value>,
    appends: bool,
}

impl Walk<'_> {
    pub(crate) fn redirected(
        &mut self,
        redirects: Option<&RedirectList>,
        body: impl FnOnce(&mut Self) -> Output,
    ) -> Output {
        let redirects: Vec<&IoRedirect> = redirects.iter().flat_map(|list| &list.0).collect();
        let stdin = self.state.stdin.clone();
        let into = self.redirects(&redirects);
        let output = body(self);
        self.state.stdin = stdin;
        self.written(into, output)
    }

    pub(crate) fn written(&mut self, into: Option<Into>, output: Output) -> Output {
        let Some(into) = into else { return output };
        for value in into.files {
            if let Some(path) = self.path(&value) {
                self.write_file(path, output.clone(), into.appends);
            }
        }
        Output::Nothing
    }

    /// Carries out redirections: sets standard input, and gives where standard output goes.
    pub(crate) fn redirects(&mut self, redirects: &[&IoRedirect]) -> Option<Into> {
        let mut into = None;
        for redirect in redirects {
            let shown = shorten(&redirect.to_string());
            let shown = shown.trim();
            match redirect {
                IoRedirect::File(fd, kind, target) => {
                    let writes = match kind {
                        IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput => false,
                        IoFileRedirectKind::Write
                        | IoFileRedirectKind::Append
                        | IoFileRedirectKind::ReadAndWrite
                        | IoFileRedirectKind::Clobber
                        | IoFileRedirectKind::DuplicateOutput => true,
                    };
                    let values = match target {
                        IoFileRedirectTarget::Filename(word) => self.expand(&word.value).0,
                        IoFileRedirectTarget::Duplicate(word) => {
                            let values = self.expand(&word.value).0;
                            let is_fd = |value: &Value| {
                                value.exact().is_some_and(|text| {
                                    text.chars().all(|c| c.is_ascii_digit() || c == '-')
                                }) || value.0 == [Part::Name]
                            };
                            values.into_iter().filter(|value| !is_fd(value)).collect()
                        }
                        IoFileRedirectTarget::Fd(_) => Vec::new(),
                        IoFileRedirectTarget::ProcessSubstitution(_, subshell) => {
                            let output = self.apart(|walk| {
                                if writes {
                                    walk.state.stdin =
                                        Output::Unknown("the output of a command".to_owned());
                                }
                                walk.list(&subshell.list)
                            });
                            if !writes {
                                self.state.stdin = output;
                            }
                            continue;
                        }
                    };
                    for value in &values {
                        let text = value.prefix();
                        if text.starts_with("/dev/tcp/") || text.starts_with("/dev/udp/") {
                            self.refuse(shown, "connects to another machine");
                        } else if writes {
                            self.act(Act::Write, value, shown);
                        }
                    }
                    if !writes && !values.is_empty() && fd.is_none_or(|fd| fd == 0) {
                        let file = values.first().and_then(|value| self.path(value));
                        let known = file.and_then(|path| self.state.files.get(&path));
                        self.state.stdin = known.cloned().unwrap_or(Output::File);
                        if values
                            .iter()
                            .any(|value| value.exact().as_deref() == Some("/dev/null"))
                        {
                            self.state.stdin = Output::Nothing;
                        }
                    }
                    if writes && fd.is_none_or(|fd| fd == 1) && !values.is_empty() {
                        into = Some(Into {
                            files: values,
                            appends: matches!(kind, IoFileRedirectKind::Append),
                        });
                    }
                }
                IoRedirect::HereDocument(_, document) => {
                    let body = &document.doc.value;
                    let body = if document.remove_tabs {
                        let lines = body.split('\n').map(|line| line.trim_start_matches('\t'));
                        lines.collect::<Vec<_>>().join("\n")
                    } else {
                        body.clone()
                    };
                    self.state.stdin = if document.requires_expansion {
                        let values = self.document(&body);
                        text_of(&values)
                    } else {
                        Output::Text(body)
                    };
                }
                IoRedirect::HereString(_, word) => {
                    let values = self.whole(&word.value);
                    self.state.stdin = text_of(&values).then(Output::Text("\n".to_owned()));
                }
                IoRedirect::OutputAndError(word, appends) => {
                    let values = self.expand(&word.value).0;
                    for value in &values {
                        self.act(Act::Write, value, shown);
                    }
                    into = Some(Into {
                        files: values,
                        appends: *appends,
                    });
                }
            }
        }
        into
    }
}

/// Values as the text that a program reads.
pub(crate) fn text_of(values: &[Value]) -> Output {
    match values {
        [one] => match one.exact() {
            Some(text) => Output::Text(text),
            None => Output::Items(vec![one.clone()]),
        },
        many => Output::Items(many.to_vec()),
    }
}
