//! Downloads: where they are put.

use crate::commands::Line;
use crate::findings::Act;
use crate::shell::Walk;
use crate::value::{Output, Value};

impl Walk<'_> {
    /// Judges a program that downloads, if this is one.
    pub(super) fn fetched_by_web(&mut self, line: &Line<'_>) -> bool {
        match line.name {
            "curl" => {
                let options = line.options(
                    "oHdXuAebcDFTUwxmKrYyzCEQ",
                    &[
                        "output",
                        "output-dir",
                        "header",
                        "data",
                        "request",
                        "user",
                        "cookie-jar",
                        "dump-header",
                        "form",
                        "config",
                        "data-raw",
                        "data-binary",
                        "max-time",
                        "upload-file",
                        "user-agent",
                        "proxy",
                        "trace",
                        "stderr",
                        "cacert",
                        "cert",
                        "key",
                        "retry",
                        "write-out",
                        "url",
                    ],
                );
                let into = options.values(&[
                    "o",
                    "output",
                    "output-dir",
                    "c",
                    "cookie-jar",
                    "D",
                    "dump-header",
                    "trace",
                    "stderr",
                ]);
                self.each(Act::Write, &into, line);
                self.remember(&into, &Output::Unknown("what was downloaded".to_owned()));
                if options.has(&["O", "remote-name", "J"]) {
                    self.act(Act::Write, &Value::text("."), &line.shown);
                    self.downloaded(&options.operands);
                }
            }
            "wget" => {
                let options = line.options(
                    "OPoaTtUeiBQwl",
                    &[
                        "output-document",
                        "directory-prefix",
                        "output-file",
                        "append-output",
                        "timeout",
                        "tries",
                        "user-agent",
                        "header",
                        "post-data",
                        "post-file",
                        "use-askpass",
                    ],
                );
                let into = options.values(&[
                    "O",
                    "P",
                    "o",
                    "a",
                    "output-document",
                    "directory-prefix",
                    "output-file",
                    "append-output",
                ]);
                let files: Vec<Value> = into
                    .iter()
                    .filter(|value| value.exact().as_deref() != Some("-"))
                    .cloned()
                    .collect();
                self.each(Act::Write, &files, line);
                if files.is_empty() {
                    self.act(Act::Write, &Value::text("."), &line.shown);
                }
                self.remember(&files, &Output::Unknown("what was downloaded".to_owned()));
                self.downloaded(&options.operands);
            }
            _ => return false,
        }
        true
    }

    /// Files that a download names after its address.
    pub(super) fn downloaded(&mut self, addresses: &[Value]) {
        for address in addresses {
            if let Some(text) = address.exact() {
                let name = text.split(['?', '#']).next().unwrap_or_default();
                let name = name
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                let content = Output::Unknown("what was downloaded".to_owned());
                self.remember(&[Value::text(name)], &content);
            }
        }
    }
}
