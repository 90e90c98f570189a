//! What words become: quotes, variables, substitutions, braces, patterns.

mod arithmetic;
mod builder;
mod parameter;
mod pattern;
mod text;

use brush_parser::word::{TildeExpr, WordPiece, WordPieceWithSource};

use crate::depth::{has_deep_braces, is_too_deep};
use crate::judge::options;
use crate::shell::Walk;
use crate::value::{Part, Value};
use builder::{Builder, patterns};
use parameter::Shape;
pub(crate) use text::unescaped;
use text::{BRACES_MAX, has_long_number, unfolded};

impl Walk<'_> {
    /// The words that a word becomes, and whether they are alternatives.
    pub(crate) fn expand(&mut self, raw: &str) -> (Vec<Value>, bool) {
        let mut words = Vec::new();
        let mut forked = false;
        for raw in self.braces(raw) {
            let mut builder = Builder::new();
            for piece in self.pieces(&raw) {
                self.piece(&piece, false, &mut builder);
            }
            let (some, fork) = builder.finish();
            words.extend(some);
            forked |= fork;
        }
        (words, forked)
    }

    /// The values that a word may have where it is not split, such as in an assignment.
    pub(crate) fn whole(&mut self, raw: &str) -> Vec<Value> {
        let pieces = self.pieces(raw);
        self.joined(&pieces)
    }

    /// The values of a here-document's body.
    pub(crate) fn document(&mut self, raw: &str) -> Vec<Value> {
        let pieces = if is_too_deep(raw) || has_long_number(raw) {
            None
        } else {
            brush_parser::word::parse_heredoc(raw, &options()).ok()
        };
        match pieces {
            Some(pieces) => {
                let mut builder = Builder::new();
                for piece in &pieces {
                    self.piece(&piece.piece, true, &mut builder);
                }
                builder.open
            }
            None => vec![self.unreadable(raw)],
        }
    }

    fn joined(&mut self, pieces: &[WordPiece]) -> Vec<Value> {
        let mut builder = Builder::new();
        for piece in pieces {
            // A pattern stays what it is, and nothing is split.
            match piece {
                WordPiece::Text(text) => builder.push(&Part::Text(text.clone())),
                piece => self.piece(piece, true, &mut builder),
            }
        }
        builder.open
    }

    fn unreadable(&mut self, raw: &str) -> Value {
        let shown: String = raw.chars().take(40).collect();
        self.ask(&shown, "a word of it cannot be read");
        Value::unknown(shown)
    }

    fn pieces(&mut self, raw: &str) -> Vec<WordPiece> {
        if is_too_deep(raw) || has_long_number(raw) {
            return vec![WordPiece::SingleQuotedText(self.unreadable(raw).shown())];
        }
        if let Ok(pieces) = brush_parser::word::parse(raw, &options()) {
            pieces.into_iter().map(|piece| piece.piece).collect()
        } else {
            let value = self.unreadable(raw);
            vec![WordPiece::SingleQuotedText(value.shown())]
        }
    }

    fn braces(&mut self, raw: &str) -> Vec<String> {
        if !raw.contains('{') || is_too_deep(raw) {
            return vec![raw.to_owned()];
        }
        if has_deep_braces(raw) || has_long_number(raw) {
            return vec![self.unreadable(raw).shown()];
        }
        let Ok(Some(pieces)) = brush_parser::word::parse_brace_expansions(raw, &options()) else {
            return vec![raw.to_owned()];
        };
        let words = unfolded(&pieces, 0);
        if words.len() > BRACES_MAX {
            // More than will be looked at one by one: as if each stood for any.
            self.ask(raw, "it stands for very many words");
        }
        words
    }

    fn piece(&mut self, piece: &WordPiece, quoted: bool, builder: &mut Builder) {
        match piece {
            WordPiece::Text(text) if quoted => builder.push(&Part::Text(text.clone())),
            WordPiece::Text(text) => {
                for part in patterns(text) {
                    builder.push(&part);
                }
            }
            WordPiece::SingleQuotedText(text) => builder.push(&Part::Text(text.clone())),
            WordPiece::AnsiCQuotedText(text) => builder.push(&Part::Text(unescaped(text))),
            WordPiece::DoubleQuotedSequence(pieces)
            | WordPiece::GettextDoubleQuotedSequence(pieces) => {
                builder.push(&Part::Text(String::new()));
                self.quoted(pieces, builder);
            }
            WordPiece::TildeExpansion(tilde) => builder.push(&self.tilde(tilde)),
            WordPiece::ParameterExpansion(expr) => {
                let (values, shape) = self.parameter(expr);
                builder.forked |= shape == Shape::Any;
                self.insert(&values, shape != Shape::One, quoted, builder);
            }
            WordPiece::CommandSubstitution(text) => {
                let values = self.substitution(text).values();
                self.insert(&values, false, quoted, builder);
            }
            WordPiece::BackquotedCommandSubstitution(text) => {
                let text = text
                    .replace("\\`", "`")
                    .replace("\\$", "$")
                    .replace("\\\\", "\\");
                let values = self.substitution(&text).values();
                self.insert(&values, false, quoted, builder);
            }
            WordPiece::EscapeSequence(text) => {
                let text = text.strip_prefix('\\').unwrap_or(text);
                if text != "\n" {
                    builder.push(&Part::Text(text.to_owned()));
                }
            }
            WordPiece::ArithmeticExpression(expr) => {
                self.arithmetic(&expr.value);
                builder.push(&Part::Name);
            }
        }
    }

    fn quoted(&mut self, pieces: &[WordPieceWithSource], builder: &mut Builder) {
        for piece in pieces {
            self.piece(&piece.piece, true, builder);
        }
    }

    /// Values that an expansion gave: one of them, or when it is a list, one word for each.
    fn insert(&mut self, values: &[Value], list: bool, quoted: bool, builder: &mut Builder) {
        let separators = self.separators();
        if list && values.is_empty() {
            return;
        }
        if list {
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    builder.cut();
                }
                if quoted {
                    builder.either(std::slice::from_ref(value));
                } else {
                    builder.split(value, &separators);
                }
            }
            return;
        }
        match (values, quoted) {
            (values, true) => builder.either(values),
            ([one], false) => builder.split(one, &separators),
            (many, false) => {
                builder.forked = true;
                for (index, value) in many.iter().enumerate() {
                    if index > 0 {
                        builder.cut();
                    }
                    builder.split(value, &separators);
                }
            }
        }
    }

    pub(crate) fn separators(&self) -> String {
        let ifs = self.state.variables.get("IFS");
        let ifs = ifs.and_then(|ifs| ifs.values.first()?.exact());
        ifs.unwrap_or_else(|| " \t\n".to_owned())
    }

    fn tilde(&self, tilde: &TildeExpr) -> Part {
        let cwd = |cwd: &crate::place::Directories| match cwd.as_slice() {
            [Some(one)] => Part::Text(one.clone()),
            _ => Part::Unknown("the directory".to_owned()),
        };
        let nowhere = || Part::Unknown("a directory of the stack".to_owned());
        match tilde {
            TildeExpr::Home => match self.state.variables.get("HOME") {
                Some(home) if home.values.len() == 1 => match home.values[0].exact() {
                    Some(home) => Part::Text(home),
                    None => Part::Unknown("~".to_owned()),
                },
                _ => Part::Unknown("~".to_owned()),
            },
            TildeExpr::UserHome(user) if user == "root" => Part::Text("/root".to_owned()),
            TildeExpr::UserHome(user) => Part::Text(format!("/home/{user}")),
            TildeExpr::WorkingDir => cwd(&self.state.cwd),
            TildeExpr::OldWorkingDir => cwd(&self.state.cwd_before),
            TildeExpr::NthDirFromTopOfDirStack { n, .. } => match n {
                0 => cwd(&self.state.cwd),
                n => {
                    let at = self.state.directories.len().checked_sub(*n);
                    at.map_or_else(nowhere, |at| cwd(&self.state.directories[at]))
                }
            },
            TildeExpr::NthDirFromBottomOfDirStack { n } => match self.state.directories.get(*n) {
                Some(directory) => cwd(directory),
                None if self.state.directories.len() == *n => cwd(&self.state.cwd),
                None => nowhere(),
            },
        }
    }
}
