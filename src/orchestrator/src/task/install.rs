//! Install: drafts are made, and become versions when the task accepts them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use store::{Move, Publication};

use super::arguments::{CreateSubagent, Finish, FinishStatus, name, path};
use super::drafts::{Draft, list};
use super::skills::{Answer, Refusal};
use super::{Saved, Session, TaskStatus};
use crate::python;

/// What the sandbox's compiler is going to say, said before a run is spent on it.
pub(super) fn syntax_notes(draft: &Draft) -> String {
    let mut notes = String::new();
    for (path, content) in draft
        .files
        .iter()
        .filter(|(path, _)| path.as_bytes().ends_with(b".py"))
    {
        if let Some(error) = std::str::from_utf8(content)
            .ok()
            .and_then(python::syntax_error)
        {
            let _ = write!(
                notes,
                "\nsyntax error in {path}, line {}: {}",
                error.line, error.message
            );
        }
    }
    notes
}

impl Session<'_> {
    pub(super) fn create(&mut self, given: CreateSubagent) -> Result<Answer, Refusal> {
        let name = name(&given.name)?;
        let mut files = BTreeMap::new();
        for file in given.files {
            if files
                .insert(path(&file.path)?, file.code.into_bytes())
                .is_some()
            {
                return Err(format!(
                    "the file `{}` is given twice",
                    spec::printable(&file.path, 80)
                )
                .into());
            }
        }
        let own_file = format!("{}.py", name.as_str().replace('-', "_"));
        let entry = match (&given.entry, &given.code, files.len()) {
            (Some(entry), _, _) => path(entry)?,
            (None, Some(_), _) => path(&own_file)?,
            (None, None, 1) => files.keys().next().cloned().unwrap_or(path(&own_file)?),
            (None, None, 0) => return Err("give `code`, or `files`".to_owned().into()),
            (None, None, _) => return Err("name the `entry` file".to_owned().into()),
        };
        if let Some(code) = given.code
            && files.insert(entry.clone(), code.into_bytes()).is_some()
        {
            return Err(format!("`code` and `files` both give `{entry}`").into());
        }
        let skills = self.grants(&given.skills)?;
        // One that exists is superseded, with its history, when this one is saved.
        let parent = self.factory.head(&name)?;
        let draft = Draft::new(
            name.clone(),
            given.description,
            files,
            entry,
            skills,
            parent,
        )?;
        let mut content = format!(
            "created `{name}` (entry {}, skills: {}); run it with run_subagent",
            draft.entry,
            list(draft.skills.iter())
        );
        if parent.is_some() {
            content
                .push_str("\nnote: a saved subagent has this name; saving this one supersedes it");
        }
        content.push_str(&syntax_notes(&draft));
        self.drafts.insert(name.clone(), draft);
        Ok(Answer {
            content,
            subject: name.to_string(),
            ..Answer::default()
        })
    }

    pub(super) fn finish(&mut self, given: Finish) -> Result<Answer, Refusal> {
        if given.status == FinishStatus::Failure {
            if !given.save.is_empty() {
                return Err("a failed task accepted nothing: leave `save` empty"
                    .to_owned()
                    .into());
            }
            return Ok(Answer {
                content: "finished".to_owned(),
                end: Some((TaskStatus::Failure, given.answer)),
                ..Answer::default()
            });
        }
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        for item in given.save {
            let name = name(&item.name)?;
            if accepted
                .iter()
                .any(|(draft, _): &(Draft, String)| draft.name == name)
            {
                return Err(format!("`save` names `{name}` twice").into());
            }
            match self.drafts.get_mut(&name) {
                None if self.factory.head(&name)?.is_some() => {} // Reused unchanged: it is saved already.
                None => refused.push(self.unknown(name.as_str())?),
                Some(draft) if !draft.is_proven => refused.push(format!(
                    "`{name}` cannot be saved: its last run, in its present form, did not complete"
                )),
                Some(draft) => {
                    if let Some(description) = item.description {
                        draft.description = description;
                    }
                    accepted.push((draft.clone(), item.note.unwrap_or_default()));
                }
            }
        }
        if !refused.is_empty() {
            return Err(refused.join("\n").into());
        }
        self.saved = self.promote(&accepted)?;
        let mut content = "finished".to_owned();
        for saved in &self.saved {
            let _ = write!(
                content,
                "\nsaved {} as {}",
                saved.name,
                saved.version.short()
            );
        }
        Ok(Answer {
            content,
            end: Some((TaskStatus::Success, given.answer)),
            ..Answer::default()
        })
    }

    /// Makes versions of drafts and moves their heads, all in one operation.
    fn promote(&self, accepted: &[(Draft, String)]) -> Result<Vec<Saved>, Refusal> {
        let store = &self.factory.store;
        let mut saved = Vec::new();
        let mut moves = Vec::new();
        let mut evidence = Vec::new();
        let mut notes = Vec::new();
        let mut staged = Vec::new();
        for (draft, note) in accepted {
            let version = store.stage(&draft.content())?;
            let to = version.digest();
            staged.push(version);
            if draft.parent != Some(to) {
                moves.push(Move {
                    name: draft.name.clone(),
                    from: draft.parent,
                    to,
                });
                evidence.extend(&draft.completed);
                if !note.is_empty() {
                    notes.push(format!("{}: {note}", draft.name));
                }
            }
            saved.push(Saved {
                name: draft.name.clone(),
                version: to,
                parent: draft.parent,
                head_moved: true,
            });
        }
        if moves.is_empty() {
            return Ok(saved);
        }
        let publication = Publication {
            moves,
            at: self.factory.now(),
            task: Some(self.id.to_string()),
            evidence,
            note: notes.join("\n"),
        };
        match store.publish(publication) {
            Ok(_) => Ok(saved),
            Err(error) if error.kind() == store::StoreErrorKind::Conflict => {
                // Somebody else published meanwhile. Theirs stays the head; ours keeps a name.
                for one in &mut saved {
                    let tag = format!("task-{}", self.id);
                    store.tag(&one.name, &tag, &one.version, self.factory.now())?;
                    one.head_moved = false;
                }
                tracing::warn!(error = %error, "a head moved during the task; the versions were tagged instead");
                Ok(saved)
            }
            Err(error) => Err(error.into()),
        }
    }
}
